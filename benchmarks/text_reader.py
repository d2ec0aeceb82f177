"""Read photos with one program, in its own process: its time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.reading.reader import AT_LEAST, Reader

_HEAD = "| reader | processor s a photo | peak RSS, MiB | wrong characters, % | of six languages |"
_TARGETS_HEAD = (
    "| target | runtime | MB | lines | wrong characters, %: float | exported | scenes | found, % |"
)
READERS = ("mcad-mobile", "rapidocr", "tesseract")
TESSERACT = {"en": "eng", "de": "deu", "fr": "fra", "es": "spa", "pt": "por", "it": "ita"}


def read_by(name: str, bundle: Path, paths: list[Path]) -> dict[str, Any]:
    """Read photos; return their texts, processor seconds per photo, and the most memory."""
    who = resource.RUSAGE_SELF
    if name == "mcad-mobile":
        reader = Reader.of(Bundle.load(bundle))

        def read(path: Path) -> list[str]:
            return [line.text for line in reader.read(open_photo(path, at_least=AT_LEAST))]
    elif name == "rapidocr":
        from rapidocr import RapidOCR

        threads = {
            f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")
        }
        theirs = RapidOCR(params=threads)

        def read(path: Path) -> list[str]:
            return [*(theirs(str(path)).txts or ())]
    else:
        who = resource.RUSAGE_CHILDREN
        command = ("tesseract", "-", "stdout", "-l", "+".join(TESSERACT.values()))

        def read(path: Path) -> list[str]:
            options: Any = {"capture_output": True, "timeout": 300}
            done = subprocess.run(command, input=path.read_bytes(), check=True, **options)
            return done.stdout.decode().splitlines()

    started = resource.getrusage(who)
    texts = {str(path): read(path) for path in paths}
    used = resource.getrusage(who)
    seconds = used.ru_utime + used.ru_stime - started.ru_utime - started.ru_stime
    found = {"texts": texts, "processor_s_a_photo": seconds / len(paths)}
    # A process's ru_maxrss is that of its parent at least; VmHWM is its own.
    own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    return found | {"peak_rss_mib": (used.ru_maxrss if name == READERS[2] else own) / 1024}


def measured(name: str, bundle: Path, folder: Path) -> dict[str, Any]:
    """Return what `read_by` returns for a folder's photos, in a process with one thread."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.text_reader", name, str(bundle), str(folder)],
        stdout=subprocess.PIPE,
        timeout=3600,
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def section(result: dict[str, Any]) -> list[str]:
    """Return the paragraphs of docs/benchmarks.md about a result of words_in_photos.py."""
    found = [
        " | ".join([f"| {query}", by, *(f"{rate:.1f}" for rate in rates.values())]) + " |"
        for query, key in (("two words", "two_words"), ("a caption", "captions"))
        for by, rates in result[key].items()
    ]
    readers = [
        f"| {name} | {read['processor_s_a_photo']:.2f} | {read['peak_rss_mib']:.0f} | "
        f"{read['error_rate']:.2f} | {read['error_rate_in_six_languages']:.2f} |"
        for name, read in result["readers"].items()
    ]
    return [
        "## Words in photos",
        f"{result['of_text']} made photos of text in {len(result['languages'])} languages among "
        f"{result['photos']} photos. Of queries of two words that stand in one, and of Flickr8k's "
        "captions, this percentage finds its photo within k.",
        "\n".join(["| query | by | 1 | 5 | 10 |", "|---|---|---:|---:|---:|", *found]),
        "The made photos, on one thread; Tesseract has six of the languages.",
        "\n".join([_HEAD, "|---|---:|---:|---:|---:|", *readers]),
    ]


def section_of_targets(results: list[dict[str, Any]]) -> list[str]:
    """Return the paragraphs of docs/benchmarks.md about results of reading.py."""
    rows = []
    for result in results:
        line, scene = result["recognizer"], result["detector"]
        rows.append(
            f"| {result['target']} | {line['rung']} | {(line['bytes'] + scene['bytes']) / 1e6:.1f} "
            f"| {line['pictures']} | {line['float_error_rate']:.2f} | {line['error_rate']:.2f} "
            f"| {scene['pictures']} | {scene['found']:.1f} |"
        )
    paragraphs = [
        "## Readers of text",
        "What exported readers make of pictures that they were not calibrated on: the percentage "
        "of a line's characters that are wrong, beside that of the float model, and the percentage "
        "of the float detector's boxes that are found. Snapdragon's run on the simulator of its "
        "NPU, Dimensity's by LiteRT on the host. Re-run: `benchmarks/reading.py`.",
        "\n".join([_TARGETS_HEAD, "|---|---|---:|---:|---:|---:|---:|---:|", *rows]),
    ]
    for result in results:
        if "costs" in result:
            page, photo = (result["costs"][name] for name in ("screenshot", "photo"))
            paragraphs.append(
                f"On one thread, the reader for {result['target']} takes "
                f"{1000 * page['processor_s_a_photo']:.0f} ms of processor time for a phone's "
                f"screenshot of {page['lines']:.0f} lines, and "
                f"{1000 * photo['processor_s_a_photo']:.0f} ms for a photo of 12 megapixels "
                f"without text, with decoding. Its process takes up to "
                f"{max(page['peak_rss_mib'], photo['peak_rss_mib']):.0f} MiB."
            )
            if "java" in result["costs"]:
                java = result["costs"]["java"]
                (ms,) = java["processor_ms"].values()
                paragraphs[-1] += (
                    f" The app's reader takes {ms:.0f} ms and {java['mib']:.0f} MiB for the "
                    "screenshot, on a server's JVM with 128 MiB of heap."
                )
    return paragraphs


if __name__ == "__main__":
    name, bundle, folder = sys.argv[1:]
    print(json.dumps(read_by(name, Path(bundle), sorted(Path(folder).glob("*.jpg")))))
