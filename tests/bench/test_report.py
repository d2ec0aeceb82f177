"""The bench document, judged and told: Markdown and the HTML page."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import html, markdown
from mcad_mobile.bench.report.rows import ladder_rows, measured_rungs
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, Result
from mcad_mobile.export.export_report import ExportReport, WeightRecord, read_report
from tests.support.report_documents import (
    Page,
    lines_and_texts,
    measured,
    parity_of_an_emulator,
    precisions_chosen,
    spread,
    text_of,
)


@pytest.mark.parametrize(
    ("given", "target", "figure", "passes"),
    [
        ({"peak": 99.9994}, "memory", 99.999, True),
        ({"peak": 100.0}, "memory", 100.0, True),
        ({"peak": 100.01}, "memory", 100.01, False),
        ({"total": 7.999}, "search", 7.999, True),
        ({"total": 8.0}, "search", 8.0, True),
        ({"total": 8.001}, "search", 8.001, False),
    ],
)
def test_a_target_is_judged_right_at_its_limit(
    bundle: Bundle, given: dict[str, float], target: str, figure: float, passes: bool
) -> None:
    found = measured(**given)
    before = copy.deepcopy(found)
    document = complete_document(bundle, found)
    limit = {"memory": {"limit_mib": 100.0}, "search": {"limit_ms": 8.0}}[target]
    unit = next(iter(limit)).removeprefix("limit_")
    assert document["targets"][target] == {**limit, f"measured_{unit}": figure, "pass": passes}
    assert json.loads(json.dumps(document)) == document
    assert found == before


def test_an_unmeasured_memory_tile_has_the_limit_alone(bundle: Bundle) -> None:
    found = measured()
    found["memory_mib"] |= {"peak_pss": None, "peak_rss": None, "steps": []}
    document = complete_document(bundle, found)
    text = Page(html(document)).text
    notes = [line.strip() for line in text.splitlines() if line.strip().startswith("limit 100")]
    assert notes == ["limit 100 MiB"]
    assert "Within the target for time. Memory was not measured here." in text
    document["targets"]["search"]["pass"] = False
    assert "Over the target for time. Memory was not measured here." in markdown(document)


def test_page_shows_measured_recall_and_the_search_for_precisions(bundle: Bundle) -> None:
    chosen = precisions_chosen(bundle)
    text = html(complete_document(chosen, measured()), bundle=chosen)
    for sentence in (
        "How precisions were chosen",
        "2 of 9 weights in 4 bits",
        ">9.0<",
        ">4.1<",
        "0.75 ± 0.40",
        "0.55 ± 0.20",
        ">over<",
        ">chosen<",
    ):
        assert sentence in text
    assert "Because of this." in text
    assert "0.33 ± 0.21" in text
    for sentence in ("texts by float", ">onnx mixed<", "43.75 (1.25 ± 0.10)"):
        assert sentence in text
    assert "blocks.3.expand 0.0042 (8 bits)" in text
    assert "layers.1.up 0.0007 (4 bits)" in text
    for chart in re.findall(r"<svg[^>]*with one weight in 4 bits.*?</svg>", text, flags=re.DOTALL):
        ((left, top, right, bottom),) = lines_and_texts(chart, "axis")[0]
        assert left == right
        assert abs(bottom - top) > 10  # where bars begin, beside all of them
    plain = html(complete_document(bundle, measured()), bundle=bundle)
    assert "How precisions" not in plain
    assert "<h2>Recall</h2>" not in plain


def test_page_is_well_formed_and_loads_nothing(bundle: Bundle) -> None:
    text = html(complete_document(bundle, measured()), bundle=bundle)
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed"}
    assert "http://" not in text
    assert "https://" not in text
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:"))
    assert not re.search(r"url\((?!#)|@import", text)


def test_page_distinguishes_pass_and_fail(bundle: Bundle) -> None:
    page = Page(html(complete_document(bundle, measured(peak=120.0, total=3.0))))
    verdicts = [a["class"] for _, a in page.tags if "verdict" in (a.get("class") or "")]
    assert verdicts == ["verdict pass", "verdict fail"]
    assert "Over the target for memory." in page.text
    widths = re.findall(r"width:([\d.]+)%", html(complete_document(bundle, measured(peak=120.0))))
    assert max(map(float, widths)) == 100.0  # a bar ends where its tile does


def test_text_from_outside_is_escaped(bundle: Bundle) -> None:
    found = Found("<b>cats</b> & dogs", [], {"total": 1.0}, truncated=False)
    text = html(complete_document(bundle, measured()), searches=[found])
    assert "<b>cats" not in text
    assert "<b>cats</b> & dogs" in Page(text).text
    assert "A <CPU> & more (this computer, not a phone)" in Page(text).text


def test_hits_are_small_photos_inside_the_page(bundle: Bundle, tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), "red").save(tmp_path / "red.jpg")
    results = [Result("red.jpg", 0.31), Result("gone.jpg", 0.2)]
    found = Found("a red square", results, {"total": 1.0}, truncated=False)
    text = html(complete_document(bundle, measured()), searches=[found], photo_root=tmp_path)
    images = [attributes for tag, attributes in Page(text).tags if tag == "img"]
    assert [image["alt"] for image in images] == ["red.jpg"]
    assert "gone.jpg" in Page(text).text
    assert len(images[0]["src"] or "") < 20_000
    nine = [Result(f"photo {number}.jpg", 0.5) for number in range(9)]
    many = Found("photos", nine, {"total": 1.0}, truncated=False)
    page = Page(html(complete_document(bundle, measured()), searches=[many]))
    assert [f"photo {number}.jpg" in page.text for number in range(9)] == [True] * 6 + [False] * 3


def test_page_describes_the_towers_when_it_has_the_bundle(bundle: Bundle) -> None:
    document = complete_document(bundle, measured())
    assert "Operators" not in html(document)
    placed = replace(bundle.text.rungs[0], npu_nodes=bundle.text.rungs[0].total_nodes)
    bundle = replace(bundle, text=replace(bundle.text, rungs=(placed,)))
    text = Page(html(document, bundle=bundle)).text
    assert f"{placed.npu_nodes}/{placed.total_nodes} on the NPU" in text
    assert "1.0000" in text


def test_emulated_result_has_parity_and_no_time(bundle: Bundle) -> None:
    document = complete_document(bundle, parity_of_an_emulator())
    text = text_of(document)
    assert "Embeddings correct: cosine 0.9980 or better" in text
    assert "emulated by qemu-aarch64" in text
    assert "No verdict against the targets" in text
    assert not re.search(r"\d (ms|MiB)\b", text)
    assert "| Search, median | 8 ms | not measured | not measured |" in markdown(document)


def test_towers_alone_have_no_verdict(bundle: Bundle) -> None:
    found = parity_of_an_emulator()
    found["device"] = {"kind": "aihub", "cpu": "Samsung Galaxy S25", "os": "Android 15"}
    found["conditions"]["threads"] = None
    found["memory_mib"]["towers"] = {"text": {"load_peak": [40.0, 45.0], "run_peak": None}}
    found["samples_ms"] = {"text": [0.9, 1.0, 1.1]}
    found["latency_ms"] = {"text": spread(1.0)}
    found["jobs"] = {"text": {"compile": None, "inference": "j123", "url": "http://x"}}
    text = text_of(complete_document(bundle, found))
    assert "Text tower 1.00\u00a0ms" in text
    assert "40 to 45" in text
    assert "inference j123" in text
    assert "Qualcomm AI Hub" in text


@pytest.mark.parametrize("total", [4.9, 30.0])
def test_no_limit_is_drawn_through_a_label(bundle: Bundle, total: float) -> None:
    """A slow machine: its limit lies where the names of the stages stand; and one whose limit lies
    just beyond the mark at p99. What begins right of a line is not crossed by it."""
    slow = complete_document(bundle, measured(total=total))
    charts = re.findall(r"<svg.*?</svg>", html(slow, slow), flags=re.DOTALL)
    bars, _, _, latency, *_ = charts
    for chart in (bars, latency):
        lines, texts = lines_and_texts(chart)
        assert lines and len(texts) > 2
        for left, top, _, bottom in lines:
            low, high = min(top, bottom) + 1, max(top, bottom)
            assert not [y for x, y in texts if low < y < high and x <= left]


def test_memory_near_its_limit_is_labelled_beside_the_line(bundle: Bundle) -> None:
    for last in (99.0, 101.0, 103.0, 105.0):
        found = measured(peak=last + 1)
        found["memory_mib"]["steps"][-1] = {"step": "last", "pss": last, "rss": last + 5}
        (chart, _) = re.findall(
            r"<svg.*?</svg>", html(complete_document(bundle, found)), flags=re.DOTALL
        )
        ((_, limit, *_),) = lines_and_texts(chart)[0]
        for text in (f"{last:.1f}", f"peak {last + 1:.1f}"):
            at = re.search(rf' y="([\d.]+)"[^>]*>{re.escape(text)}<', chart)
            assert at, text
            baseline = float(at[1])
            assert not baseline - 7 < limit < baseline + 0.5, (last, text)


def test_the_weights_that_cost_most_are_drawn_by_the_ends_of_their_names(bundle: Bundle) -> None:
    weights = tuple(
        WeightRecord("image", f"{'blocks.' * 12}{number}", 9, number / 1000, 8)
        for number in range(50)
    )
    chosen = precisions_chosen(bundle)
    record = replace(read_report(chosen).precision, weights=weights)
    ExportReport(precision=record).save(chosen.directory)
    page = html(complete_document(chosen, measured()), bundle=chosen)
    drawn = re.findall(r"<text[^>]*>(\u2026[^<]*)</text>", page)
    assert [text.removesuffix(", 9").rpartition(".")[2] for text in drawn] == [
        str(number) for number in range(49, 9, -1)
    ]
    assert {len(text) for text in drawn} == {54}


def test_a_busy_machine_is_noted_beside_the_verdict(bundle: Bundle) -> None:
    busy = measured(total=12.0)
    busy["conditions"]["waited_share"] = 0.31
    busy["device"]["load_average_1m"] = 3.2
    for text in (
        text_of(complete_document(bundle, busy)),
        markdown(complete_document(bundle, busy)),
    ):
        assert "Over the target for time. The machine was busy: 31 % of the time" in text
        assert "a load average of 3.2 in the minute before" in text
    for share, noted in ((0.004, False), (0.05, False), (0.06, True)):
        busy["conditions"]["waited_share"] = share
        assert ("busy" in markdown(complete_document(bundle, busy))) == noted
    del busy["conditions"]["waited_share"]  # a kernel or a runner that does not tell
    assert "its load average was 3.2 on 2 cores" in markdown(complete_document(bundle, busy))
    for load, noted in ((1.9, False), (2.0, True)):
        busy["device"]["load_average_1m"] = load
        assert ("busy" in markdown(complete_document(bundle, busy))) == noted


def test_the_first_rung_that_is_right_is_the_one_used() -> None:
    tried = {"runtime": "onnx", "precision": "int8", "nodes": {"npu": 0, "gpu": 2, "cpu": 1}}
    failed = {"status": "fail", "why": "cosine too low", "cosine_min": 0.5, "nodes": {}}
    skipped = {"status": "skip", "why": "no such chip", "cosine_min": None, "nodes": None}
    right = {"status": "pass", "why": "", "cosine_min": 0.99876}
    rungs = [failed, skipped, right, right]
    kept = [{}, {}, {"low_parity": True}, {}]
    document = {
        "ladder": {"text": [{**tried, **rung, "rung": n} for n, rung in enumerate(rungs)]},
        "bundle": {"towers": {"text": kept}},
    }
    assert measured_rungs(document) == {"text": document["ladder"]["text"][2]}
    assert ladder_rows(document) == [
        ("text", "onnx int8", "wrong vectors: cosine too low", "0.5000", "not reported"),
        ("text", "onnx int8", "skipped: no such chip", "not measured", "not reported"),
        ("text", "onnx int8", "used, low parity", "0.9988", "GPU 2, CPU 1"),
        ("text", "onnx int8", "correct, not used", "0.9988", "GPU 2, CPU 1"),
    ]
