"""This machine as a device: each part is measured in a lean process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import mcad_mobile
from mcad_mobile.bench.devices.base import MEMORY_SEARCHES, Progress, Spec
from mcad_mobile.bench.measure import device_facts, memory
from mcad_mobile.bench.runner import STEP
from mcad_mobile.errors import BenchError
from mcad_mobile.versions import tool_versions

# Reading a process's memory map holds its lock for a moment: often while it loads, when peaks
# come and go, and rarely while it is timed.
_SAMPLE_S = 0.005
_SAMPLE_TIMING_S = 0.1
_TAIL_LINES = 12
_TOOLS = ("numpy", "onnxruntime", "tokenizers", "pillow", "ai-edge-litert")


@dataclass(frozen=True)
class HostDevice:
    """`timeout_s` bounds each of the two processes."""

    name: str = "host"
    timeout_s: float = 900.0

    def measure(self, spec: Spec, progress: Progress = lambda step: None) -> dict[str, Any]:
        """See Device.measure. The peak is that of the process that searches; indexing, which a
        phone does at another time, has its own."""
        device = device_facts()
        search, peak = self._run("search", spec, progress)
        indexing, indexing_peak = self._run("index", spec, progress)
        return {
            "device": device,
            "tools": tool_versions(_TOOLS),
            "conditions": {
                "threads": spec.threads,
                "pinned_cores": search["pinned_cores"],
                "searches": spec.searches,
                "warm_up_searches": MEMORY_SEARCHES,
                "results_per_search": spec.k,
                "page_cache": "warm",
            },
            "runtime": {"image": indexing["rung"], "text": search["rung"]},
            "index": {
                "photos": search["photos"],
                "bytes_per_photo": search["bytes_per_photo"],
            },
            "memory_mib": {
                **_peak(peak, search["steps"]),
                "steps": search["steps"],
                "indexing": {
                    **_peak(indexing_peak, indexing["steps"]),
                    "steps": indexing["steps"],
                },
            },
            "latency_ms": {**search["latency_ms"], **indexing["latency_ms"]},
            "indexing": {
                "photos": indexing["photos"],
                "photos_per_s": round(indexing["photos_per_s"], 1),
            },
            "measured": [
                "Memory of a process that only searches, at each step and sampled from outside "
                f"every {_SAMPLE_S * 1e3:.0f} ms while it loads. PSS divides a page among the "
                "processes that map it, here the bench itself among them; RSS counts it whole",
                f"Latency of {spec.searches} searches, stage by stage, after {MEMORY_SEARCHES} "
                "to warm up",
                f"Decoding, image tower and index build of {indexing['photos']} photos, in a "
                "process of its own",
            ],
            "not_measured": [
                "A phone: these are this machine's numbers, on its CPU",
                "NPU latency: there is no NPU here, and simulated time is never a latency",
                "The first search after a restart, which reads the index from storage",
                "Energy and heat",
            ],
        }

    def _run(
        self, mode: str, spec: Spec, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, float]]:
        # -P: a file named numpy.py in the user's folder is not what should be imported.
        command = [sys.executable, "-P", "-m", "mcad_mobile.bench.runner"]
        document = json.dumps({"mode": mode, **spec.to_json()})
        found, peak = run_lean(command, document, timeout_s=self.timeout_s, progress=progress)
        if found["foreign_modules"]:
            raise BenchError(
                f"The measured process loaded {', '.join(found['foreign_modules'])}, which no "
                "phone loads.",
                "Find the import with: python -X importtime -m mcad_mobile.bench.runner.",
            )
        return found, peak


def run_lean(
    command: Sequence[str],
    document: str,
    *,
    timeout_s: float,
    progress: Progress = lambda step: None,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run `command` with `document` on its standard input, and sample its memory meanwhile.

    Returns the JSON document that it prints, and {"pss", "rss"}: the highest samples, MiB.
    Lines of its standard error that announce a step go to `progress`. BenchError: it fails (with
    its own reason, or its last lines), prints no document, or runs longer than `timeout_s`.
    """
    peak = {"pss": 0.0, "rss": 0.0}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
    ):
        given.write(document)
        given.seek(0)
        with subprocess.Popen(
            command, stdin=given, stdout=out, stderr=err, env=child_environment()
        ) as process:
            try:
                _watch(process, err, peak, time.monotonic() + timeout_s, progress)
            finally:
                process.kill()
        out.seek(0)
        return _document(out.read(), process.returncode, _tail(err)), peak


def _watch(
    process: subprocess.Popen[bytes],
    err: IO[str],
    peak: dict[str, float],
    deadline: float,
    progress: Progress,
) -> None:
    """Sample until the process ends. BenchError when the deadline passes first."""
    interval = _SAMPLE_S
    seen = 0
    while process.poll() is None:
        try:
            now = memory(process.pid)
        except ProcessLookupError:
            pass
        else:
            peak["pss"], peak["rss"] = max(peak["pss"], now.pss), max(peak["rss"], now.rss)
        # The child writes through the same file offset, so it is read by position.
        new = os.pread(err.fileno(), 65536, seen)
        complete = new[: new.rfind(b"\n") + 1]
        seen += len(complete)
        for line in complete.decode("utf-8", "replace").splitlines():
            if line.startswith(STEP):
                progress(line.removeprefix(STEP))
                interval = _SAMPLE_TIMING_S if line == f"{STEP}timing" else _SAMPLE_S
        if time.monotonic() > deadline:
            process.kill()
            raise BenchError(
                f"The measurement did not end in time; its last lines:\n{_tail(err)}",
                "Measure fewer searches, or an index of fewer photos.",
            )
        time.sleep(interval)


def _document(printed: str, returncode: int, tail: str) -> dict[str, Any]:
    try:
        found = json.loads(printed)
    except ValueError:
        found = None
    if isinstance(found, dict) and "error" in found:
        raise BenchError(found["error"]["what"], found["error"]["hint"])
    if returncode != 0 or not isinstance(found, dict):
        raise BenchError(
            f"The measured process ended with code {returncode}; its last lines:\n{tail}",
            "Report this, with the lines above.",
        )
    return found


def _tail(err: IO[str]) -> str:
    err.seek(0)
    lines = [line for line in err.read().splitlines() if not line.startswith(STEP)]
    return "\n".join(lines[-_TAIL_LINES:]) or "(nothing on standard error)"


def _peak(sampled: dict[str, float], steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """A step can lie above every sample, since samples are apart in time."""
    return {
        f"peak_{kind}": round(max(sampled[kind], *(step[kind] for step in steps)), 2)
        for kind in ("pss", "rss")
    }


def child_environment() -> dict[str, str]:
    """This package importable in the child, wherever it was imported from here."""
    root = str(Path(mcad_mobile.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
