"""Read photos with one program, for words_in_photos.py: its time and memory, in its own process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.reading.reader import AT_LEAST, Reader

_HEAD = "| reader | processor s a photo | peak RSS, MiB | wrong characters, % | of six languages |"
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


if __name__ == "__main__":
    name, bundle, folder = sys.argv[1:]
    print(json.dumps(read_by(name, Path(bundle), sorted(Path(folder).glob("*.jpg")))))
