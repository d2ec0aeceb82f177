"""Measurements as devices return them for reports, with figures that are easy to tell apart; and
the resulting page, read back."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from typing import Any

from msgspec.structs import replace

from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import html
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.export.export_report import (
    DataFacts,
    ExportReport,
    PairRecall,
    PrecisionRecord,
    RecallRecord,
    Recalls,
    SingleTowerRecord,
    StepRecord,
    WeightRecord,
)
from mcad_mobile.recall import RecallAt

VOID = {"meta", "img", "br", "hr", "link", "input", "path", "rect", "use"}


def spread(median: float) -> dict[str, float]:
    return {"p50": median, "p90": median * 1.2, "p99": median * 1.6}


def counted(ms: float, why: str = "") -> dict[str, Any]:
    before = {"temperature_c": 30.5, "battery_percent": 80}
    after = {"temperature_c": 34.0, "battery_percent": 79}
    return {"p50_ms": ms, "counted": not why, "why": why, "before": before, "after": after}


def rung(runtime: str, status: str, why: str = "", **nodes: int) -> dict[str, Any]:
    return {
        "rung": 0,
        "runtime": runtime,
        "precision": "int8",
        "provider": None,
        "nodes": nodes or {"npu": 0, "gpu": 0, "cpu": 97},
        "cosine_min": None if status == "skip" else 0.998,
        "why": why,
        "status": status,
    }


def measured(*, peak: float = 64.0, total: float = 2.5) -> dict[str, Any]:
    """A device's measurements, with a peak in MiB and a median search in ms."""
    steps = [
        {"step": "process start", "pss": 8.0, "rss": 12.0},
        {"step": "runtime loaded", "pss": 40.0, "rss": 48.0},
        {"step": "after 100 searches", "pss": 60.0, "rss": 70.0},
    ]
    stages = ("tokenize", "text", "scan", "rescore")
    return {
        "device": {
            "kind": "host",
            "cpu": "A <CPU> & more",
            "cores": 2,
            "arch": "x86_64",
            "os": "Debian",
            "kernel": "6.1",
        },
        "tools": {"mcad-mobile": "0.1.0", "numpy": "2.0"},
        "conditions": {
            "threads": 1,
            "pinned_cores": [1],
            "searches": 200,
            "warm_up_searches": 100,
            "results_per_search": 10,
            "page_cache": "warm",
            "repeats": [counted(total), counted(total)],
        },
        "ladder": {name: [rung("onnx", "pass")] for name in ("image", "text")},
        "runtime": {
            "image": {"runtime": "onnx", "precision": "int8", "bytes": 10},
            "text": {"runtime": "onnx", "precision": "int8", "bytes": 20},
        },
        "index": {"photos": 100_000, "bytes_per_photo": 296.0, "source": "blends"},
        "memory_mib": {
            "peak_pss": peak,
            "peak_rss": peak + 8,
            "steps": steps,
            "indexing": {"peak_pss": 80.0, "peak_rss": 90.0, "steps": steps},
        },
        "samples_ms": {
            **{stage: [total / 4] * 200 for stage in stages},
            # Each block has the same spread: a measurement without noise.
            "total": [total * (1 + n * 37 % 200 / 200) for n in range(200)],
        },
        "latency_ms": {
            **{stage: spread(total / 4) for stage in stages},
            "total": spread(total),
            "decode": spread(40.0),
            "image": spread(3.0),
        },
        "indexing": {"photos": 24, "photos_per_s": 22.0, "source": "photos of the index"},
        "measured": ["Latency of 200 searches"],
        "not_measured": ["On a phone; NPU latency"],
    }


def parity_of_an_emulator() -> dict[str, Any]:
    found = measured()
    found["device"] |= {"kind": "emulator", "emulator": "qemu-aarch64"}
    found["conditions"] = {"threads": 1, "pinned_cores": [], "repeats": []}
    found["memory_mib"] = {"peak_pss": None, "peak_rss": None, "steps": []}
    found["latency_ms"] = found["samples_ms"] = {}
    found["indexing"] = {"unsupported": "the processor is emulated"}
    found["index"] = {"photos": None, "bytes_per_photo": None, "source": "none"}
    return found


def of_phone(bundle: Bundle, name: str) -> dict[str, Any]:
    """Towers alone, on a phone in the cloud."""
    found = parity_of_an_emulator()
    found["device"] = {"kind": "aihub", "cpu": name, "os": "Android 15"}
    found["samples_ms"] = {}
    found["latency_ms"] = {"text": spread(1.0), "image": spread(2.0)}
    return complete_document(bundle, found)


def precisions_chosen(bundle: Bundle) -> Bundle:
    """Return a copy of the bundle with measured recall and searched precisions."""
    data = DataFacts("photos", "val", 120, 600, "0" * 64)
    recalls = Recalls(RecallAt(20, 40, 60), RecallAt(30, 50, 70), 45.0)
    pairs = tuple(
        PairRecall(image, text, 45 - lost, lost, 0.1)
        for image, text, lost in (("float", "float", 0.0), ("onnx mixed", "float", 1.25))
    )
    report = ExportReport(
        recall=RecallRecord("onnx mixed", "onnx int8", data, recalls, recalls, 0.33, 0.21, pairs),
        precision=PrecisionRecord(
            data,
            "the files",
            0.5,
            56.0,
            (
                WeightRecord("image", "blocks.3.expand", 9216, 0.0042, 8),
                WeightRecord("image", "blocks.4.expand", 2048, 0.0011, 4),
                WeightRecord("text", "layers.1.up", 589824, 0.0007, 4),
            ),
            (SingleTowerRecord("text", "2 of 9 weights in 4 bits", 4_140_000, 0.55, 0.2),),
            (
                StepRecord("int8", "2 of 9 weights in 4 bits", 9_040_000, 55.25, 0.75, 0.4, False),
                StepRecord("int8", "int8", 9_600_000, 55.75, 0.25, 0.3, True),
            ),
            300,
            "Because of this.",
        ),
    )
    folder = bundle.directory.with_name(f"{bundle.directory.name}-chosen")
    shutil.copytree(bundle.directory, folder, dirs_exist_ok=True)
    report.save(folder)
    return replace(bundle, directory=folder)


class Page(HTMLParser):
    """Checks nesting while it collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(*documents: dict[str, Any]) -> str:
    return Page(html(*documents)).text


def charts_of(*documents: dict[str, Any]) -> list[str]:
    page = Page(html(*documents))
    return [a["aria-label"] or "" for tag, a in page.tags if tag == "svg"]


def lines_and_texts(
    chart: str, colour: str = "limit"
) -> tuple[list[list[float]], list[tuple[float, float]]]:
    """Return the lines of a colour, each as [x, y, ...], and the positions of texts, [(x, y)]."""
    lines = [
        [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]
        for path in re.findall(rf'<path class="{colour}" d="([^"]*)"', chart)
    ]
    texts = [
        (float(x), float(y)) for x, y in re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"', chart)
    ]
    return lines, texts
