"""Reports as they are told and drawn today. What changes them on purpose writes them anew:

python -m tests.golden.make_report
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import (
    html,
    markdown,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found
from tests.support.report_documents import (
    counted,
    measured,
    of_phone,
    parity_of_an_emulator,
    precisions_chosen,
    rung,
    spread,
)
from tests.support.tiny_bundle import make_tiny_bundle

HERE = Path(__file__).parent
FOLDER = HERE / "report"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in reports(make_tiny_bundle(Path(folder) / "bundle")).items():
            (FOLDER / name).write_text(text, "utf-8")


def reports(bundle: Bundle) -> dict[str, str]:
    """By file, Markdown and pages without their style: of one result with all that may be told of
    one, of one that failed, and of several."""
    chosen = precisions_chosen(replace(bundle, tools={"onnx": "1.0"}))
    whole, failed = _whole(chosen), _failed(bundle)
    searches = [Found("<b>cats</b> & dogs", [], {"total": 1.0}, truncated=False)]
    several = [
        whole,
        failed,
        complete_document(bundle, parity_of_an_emulator()),
        of_phone(bundle, "Galaxy S24"),
    ]
    for number, document in enumerate(several):
        document["created"] = f"2026-11-0{number + 1}T10:00:00+00:00"
    return {
        "whole.md": markdown(whole),
        "whole.html": _page(html(whole, bundle=chosen, searches=searches)),
        "failed.md": markdown(failed),
        "several.md": markdown(*several),
        "several.html": _page(html(*several)),
    }


def _whole(bundle: Bundle) -> dict[str, Any]:
    found = measured(peak=71.25, total=2.5)
    found["device"] |= {
        "memory_mib": 8000,
        "memory_available_mib": 5000,
        "core_max_mhz": {"0": 2000, "1": 3200},
        "instruction_sets": ["avx2", "vnni"],
        "load_average_1m": 0.25,
    }
    found["conditions"]["waited_share"] = 0.012
    found["conditions"]["repeats"] = [counted(2.5), counted(3.9, "thermal status 2")]
    found["conditions"]["repeats"][0]["before"]["capped"] = {"7": 2400}
    found["ladder"]["text"] = [rung("onnx", "pass", npu=90, gpu=3, cpu=7)]
    for stage, ms in (("tokenize", 0.1), ("text", 1.2), ("scan", 0.7), ("rescore", 0.5)):
        found["latency_ms"][stage] = spread(ms)
        found["samples_ms"][stage] = [ms * (0.9 + n * 37 % 100 / 150) for n in range(200)]
    return complete_document(bundle, found)


def _failed(bundle: Bundle) -> dict[str, Any]:
    found = measured(peak=120.0, total=12.0)
    found["device"]["load_average_1m"] = 3.2
    found["conditions"] |= {"waited_share": 0.31, "threads": 2}
    found["index"]["photos"] = 5000
    found["ladder"]["image"] = [
        rung("qnn", "skip", "libQnnHtp.so is missing"),
        rung("litert", "fail", "its embeddings | are wrong here"),
        rung("onnx", "pass"),
    ]
    found["samples_ms"] = {}
    return complete_document(replace(bundle, name="other"), found)


def _page(text: str) -> str:
    return re.sub(r"<style>.*?</style>", "<style/>", text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
