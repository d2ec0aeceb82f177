"""Bench documents: read back from files, shown or refused; compared with each other, and with a
baseline."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.base.documents import Record
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.report import html, load_documents, markdown, regressions
from mcad_mobile.bench.report.markdown import HEAD, cautions, comparison_rows, labels
from mcad_mobile.cli import main
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError
from tests.support.report_documents import (
    Page,
    charts_of,
    measured,
    of_phone,
    parity_of_an_emulator,
    text_of,
)


def without(document: dict[str, Any], place: tuple[Any, ...]) -> dict[str, Any]:
    short = copy.deepcopy(document)
    part = short
    for step in place[:-1]:
        part = part[step]
    del part[place[-1]]
    return short


def places(part: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is a field in a document."""
    members = part.items() if isinstance(part, dict) else enumerate(part)
    return [
        found
        for name, value in members
        for found in (
            *([(*place, name)] if isinstance(part, dict) else []),
            *(places(value, (*place, name)) if isinstance(value, (dict, list)) else []),
        )
    ]


def test_a_missing_field_is_named_with_its_file(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    document = complete_document(bundle, measured())
    named = set()
    for place in places(document):
        path.write_text(json.dumps(without(document, place)))
        try:
            markdown(*load_documents([path]))
        except BenchError as error:
            *above, field = place
            holder = "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in above)
            where = f" - at `${holder}`" if above else ""
            if f"{path} is invalid: Object missing required field `{field}`{where}." in str(error):
                named.add(f"{holder}.{field}")
    assert {
        ".device",
        ".device.cpu",
        ".targets.search.limit_ms",
        ".memory_mib.steps[1].pss",
        ".latency_ms.total.p90",
        ".ladder.text[0].cosine_min",
        ".conditions.repeats[0].counted",
    } <= named


def test_result_without_samples_or_ladder_is_still_shown(bundle: Bundle, tmp_path: Path) -> None:
    """As version 0.1.0 wrote them."""
    document = complete_document(bundle, measured())
    del document["samples_ms"], document["ladder"], document["conditions"]["repeats"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    (read,) = load_documents([tmp_path / "old.json"])
    assert "A search takes 2.5" in text_of(read)


def test_lists_of_results_are_read_and_others_refused(bundle: Bundle, tmp_path: Path) -> None:
    document = complete_document(bundle, measured())
    (tmp_path / "two.json").write_text(json.dumps([document, document]))
    assert load_documents([tmp_path / "two.json"]) == [document, document]
    (tmp_path / "other.json").write_text('{"schema": "mcad-bundle/1"}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "short.json").write_text('{"schema": "mcad-bench/1"}')
    for name, message in (
        ("other.json", "mcad-bundle/1"),
        ("broken.json", "cannot be read"),
        ("short.json", "missing required field `created`"),
        ("gone.json", "does not exist"),
    ):
        with pytest.raises(BenchError, match=message):
            load_documents([tmp_path / name])


@pytest.mark.parametrize("text", ["[]", " [ ] ", "", "null", "3", '"x"', "[[]]", "[3]", "\x00"])
def test_a_file_without_a_result_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    path = tmp_path / "none.json"
    path.write_text(text)
    for more in ([], ["--json"], ["--out", str(tmp_path / "page.md")]):
        monkeypatch.setattr("sys.argv", ["mcad-mobile", "report", str(path), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (1, "")
        assert str(path) in printed.err
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("device", "cores"), "4", "`int`, got `str` - at `$.device.cores`"),
        (("device", "colour"), "red", "unknown field `colour` - at `$.device`"),
        (("latency_ms", "total", "p50"), -1, ">= 0.0 - at `$.latency_ms.total.p50`"),
        (("latency_ms", "thinking"), {}, "unknown field `thinking` - at `$.latency_ms`"),
        (("targets", "search", "pass"), None, "a verdict but no measurement"),
        (("ladder", "text", 0, "rung"), 1, "rung 1 of the text tower, of 1"),
        (("memory_mib", "peak_rss"), None, "one of peak_pss and peak_rss is null"),
        (("device", "memory_available_mib"), 5, "has memory_available_mib, and lacks memory_mib"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_value(
    bundle: Bundle, tmp_path: Path, place: tuple[Any, ...], value: object, message: str
) -> None:
    document = complete_document(bundle, measured())
    holder = document
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    (tmp_path / "wrong.json").write_text(json.dumps([document]))
    with pytest.raises(BenchError) as caught:
        load_documents([tmp_path / "wrong.json"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("other", "worse"),
    [
        ({}, []),
        ({"total": 3.0}, []),
        ({"total": 3.01}, ["whole search, median"]),
        ({"peak": 77.0}, ["memory, peak PSS"]),
        ({"peak": 9.9, "before": 8.0}, []),
        ({"peak": 10.1, "before": 8.0}, ["memory, peak PSS"]),  # more than 2 MiB
        ({"total": 1.0, "peak": 10.0}, []),
    ],
)
def test_only_what_grew_by_more_than_allowed_is_worse(
    bundle: Bundle, other: dict[str, float], worse: list[str]
) -> None:
    peak = other.pop("before", 64.0)
    before = complete_document(bundle, measured(total=2.5, peak=peak))
    now = complete_document(bundle, measured(**{"total": 2.5, "peak": 64.0, **other}))
    now["latency_ms"]["text"] = before["latency_ms"]["text"]
    assert counted(before, now) == worse


def counted(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [found.name for found in regressions(before, now, 1.2) if not found.excuse]


def changed(document: dict[str, Any], **medians: float) -> dict[str, Any]:
    """The same result with other medians of stages, in ms."""
    other = copy.deepcopy(document)
    for stage, ms in medians.items():
        other["latency_ms"][stage]["p50"] = ms
    return other


def test_a_negligible_growth_is_no_regression(bundle: Bundle) -> None:
    """A part that grew by a fifth of 1.5 ms failed a build whose search had become faster."""
    before = changed(complete_document(bundle, measured()), total=3.0, text=1.5)
    assert counted(before, changed(before, total=2.8, text=1.81)) == []
    forgiven = regressions(before, changed(before, total=2.8, text=1.81), 1.2)
    assert [(found.name, found.excuse) for found in forgiven] == [
        ("text tower, median", "no more than 0.5 ms")
    ]
    slow = changed(before, image=3.0)
    assert counted(slow, changed(slow, image=3.49)) == []
    assert counted(slow, changed(slow, image=3.61)) == ["image tower, median"]


def test_a_part_counts_only_with_the_whole_search(bundle: Bundle) -> None:
    before = changed(complete_document(bundle, measured()), total=5.0, text=1.5)
    faster = changed(before, total=4.0, text=2.5)
    assert counted(before, faster) == []
    assert "as a whole is not worse" in regressions(before, faster, 1.2)[0].excuse
    assert counted(before, changed(before, total=7.0, text=2.5)) == [
        "whole search, median",
        "text tower, median",
    ]
    alone = changed(before, text=1.5)
    del alone["latency_ms"]["total"]  # a cloud measures towers only
    assert counted(alone, changed(alone, text=2.5)) == ["text tower, median"]


def test_a_part_does_not_count_with_a_search_whose_growth_is_negligible(bundle: Bundle) -> None:
    before = changed(complete_document(bundle, measured()), total=2.0, text=1.0)
    now = changed(before, total=2.45, text=1.8)
    assert [(found.name, found.excuse) for found in regressions(before, now, 1.2)] == [
        ("whole search, median", "no more than 0.5 ms"),
        ("text tower, median", "the search as a whole is not worse"),
    ]


def test_a_growth_within_the_noise_of_both_is_no_regression(bundle: Bundle) -> None:
    quiet = complete_document(bundle, measured(total=2.5))
    slower = changed(quiet, total=4.0)
    assert counted(quiet, slower) == ["whole search, median"]
    noisy = copy.deepcopy(slower)
    runs = [[3.0] * 100, [6.0] * 100]  # two runs that do not agree
    noisy["samples_ms"]["total"] = [ms for run in runs for ms in run]
    assert counted(quiet, noisy) == []
    assert "within the noise" in regressions(quiet, noisy, 1.2)[0].excuse
    # Blocks of 3 and of 6 ms deviate by 1.6 ms, and two deviations are allowed.
    assert counted(quiet, changed(noisy, total=5.6)) == []
    assert counted(quiet, changed(noisy, total=5.8)) == ["whole search, median"]


def test_noise_is_that_between_the_runs_that_count(bundle: Bundle) -> None:
    """Samples of a throttled run are not kept; it must not make blocks of the other run smaller."""
    quiet = complete_document(bundle, measured(total=2.5))
    slower = changed(quiet, total=4.0)
    slower["samples_ms"]["total"] = ([3.0] * 20 + [6.0] * 20) * 4  # quarters agree, eighths do not
    slower["conditions"]["repeats"] = [{"counted": True}, {"counted": False}]
    assert counted(quiet, slower) == ["whole search, median"]
    slower["conditions"]["repeats"] = [{"counted": True}, {"counted": True}]
    assert counted(quiet, slower) == []
    slower["conditions"]["repeats"] = []  # of a device that runs once
    assert counted(quiet, slower) == ["whole search, median"]


def test_photos_are_embedded_in_one_run_however_often_searches_are_repeated(bundle: Bundle) -> None:
    steady = changed(complete_document(bundle, measured()), image=10.0)
    steady["conditions"]["repeats"] = [{"counted": True}] * 4
    steady["samples_ms"]["image"] = [10.0, 10.1] * 3 + [11.0, 11.1] * 3 + [9.0, 9.1] * 6
    # Quarters have medians of 10.05, 11.05, 9.05 and 9.05 ms, which deviate by 0.96 ms: 1.35 of
    # both results, doubled.
    assert counted(steady, changed(steady, image=12.6)) == []
    assert counted(steady, changed(steady, image=12.8)) == ["image tower, median"]


def test_a_figure_may_be_as_many_times_the_baseline_as_was_allowed(bundle: Bundle) -> None:
    before = changed(complete_document(bundle, measured()), total=5.0)
    assert regressions(before, changed(before, total=6.0), 1.2) == []
    assert counted(before, changed(before, total=6.001)) == ["whole search, median"]


def test_a_regression_states_its_ratio(bundle: Bundle) -> None:
    before, now = (
        complete_document(bundle, measured(total=2.0)),
        complete_document(bundle, measured(total=3.0)),
    )
    found = regressions(before, now, 1.2)[0]
    assert str(found) == "whole search, median: 3.00 ms, 1.50 times the baseline's 2.00 ms"
    assert found.ratio == 1.5


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("device", "cpu"), "another", "the device was"),
        (("index", "photos"), 5, "the number of photos"),
        (("conditions", "threads"), 4, "the number of threads"),
    ],
)
def test_baselines_of_other_circumstances_are_refused(
    bundle: Bundle, place: tuple[str, str], value: object, message: str
) -> None:
    before, now = complete_document(bundle, measured()), complete_document(bundle, measured())
    now[place[0]] = {**now[place[0]], place[1]: value}
    with pytest.raises(BenchError, match=message):
        regressions(before, now, 1.2)


def test_results_with_nothing_in_common_do_not_pass_unnoticed(bundle: Bundle) -> None:
    document = complete_document(bundle, parity_of_an_emulator())
    with pytest.raises(BenchError, match="no figure in common"):
        regressions(document, document, 1.2)


def test_a_file_without_schema_is_refused(tmp_path: Path) -> None:
    """A benchmark's summary, say."""
    (tmp_path / "summary.json").write_text('{"search_p50_ms": {"median": 1.7}}')
    with pytest.raises(BenchError, match=r"names no schema; this version reads 'mcad-bench/1'"):
        load_documents([tmp_path / "summary.json"])


def records_of(kind: type[Record]) -> list[type[Record]]:
    return [kind, *(record for below in kind.__subclasses__() for record in records_of(below))]


def test_documents_are_immutable() -> None:
    read = [
        record for record in records_of(Record) if record.__module__ == "mcad_mobile.bench.document"
    ]
    assert len(read) > 20
    assert [record.__name__ for record in read if not record.__struct_config__.frozen] == []


def test_several_results_stand_side_by_side_with_ratios_and_cautions(bundle: Bundle) -> None:
    first = complete_document(bundle, measured(total=2.0))
    second = complete_document(bundle, measured(total=3.0, peak=70.0))
    second["index"]["photos"] = 5000
    emulated = complete_document(bundle, parity_of_an_emulator())
    text = text_of(first, second, emulated)
    cells = dict(zip(HEAD, comparison_rows([first, second])[1], strict=True))
    assert cells["Search p50, ms"] == "3.00 (1.50x)"
    assert cells["p99"] == "4.80 (1.50x)"
    assert cells["Peak PSS, MiB"] == "70.0 (1.09x)"
    assert cells["Text tower, ms"] == "0.75 (1.50x)"
    assert cells["Image tower, ms"] == "3.00 (1.00x)"
    assert all(cell in text for cell in list(cells.values())[3:])
    assert "different sizes: 5,000, 100,000 photos" in text
    assert "different sizes" not in text_of(first, first)
    assert "tiny, A <CPU> & more, 5,000 photos" in text
    assert "# Results side by side" in markdown(first, second)
    links = [a["href"] for t, a in Page(html(first, second)).tags if t == "a"]
    assert links == ["#result-1", "#result-2"]


def test_results_that_do_not_compare_say_why(bundle: Bundle) -> None:
    first = complete_document(bundle, measured())
    assert cautions([first, copy.deepcopy(first)]) == []
    other, more = copy.deepcopy(first), copy.deepcopy(first)
    other["bundle"]["student"]["sha256"] = "f" * 64
    more["conditions"]["threads"] = 2
    phone = of_phone(bundle, "Galaxy S24")
    phone["conditions"]["threads"] = None  # of a cloud, which does not tell
    emulated = complete_document(bundle, parity_of_an_emulator())
    for document, caution in (
        (other, ["They are of different students: time compares, recall may differ."]),
        (more, ["They used different numbers of threads."]),
        (phone, []),
        (emulated, ["An emulated processor has no time of its own."]),
    ):
        assert cautions([first, document]) == caution


def test_towers_alone_are_compared_by_the_towers_and_called_by_their_phones(
    bundle: Bundle,
) -> None:
    phones = [of_phone(bundle, name) for name in ("Galaxy S24", "Galaxy S25")]
    assert charts_of(*phones)[:2] == [
        "Median of the text tower: tiny, Galaxy S24 1.00 ms; tiny, Galaxy S25 1.00 ms.",
        "Median of the image tower: tiny, Galaxy S24 2.00 ms; tiny, Galaxy S25 2.00 ms.",
    ]
    assert "tiny, Galaxy S25" in markdown(*phones)
    whole = complete_document(bundle, measured(total=2.0))
    search, text, *_ = charts_of(whole, phones[0])
    assert search.startswith("Median search: tiny, A <CPU> & more 2.00 ms; tiny, Galaxy S24 not me")
    assert text.startswith("Median of the text tower: tiny, A <CPU> & more 0.50 ms")
    assert charts_of(complete_document(bundle, parity_of_an_emulator()), phones[0])[0].startswith(
        "Median of"
    )


def test_results_of_bundles_with_equal_names_have_unique_labels(bundle: Bundle) -> None:
    """The same student exported twice for the same chip, measured on the same machine."""
    old, new = (complete_document(bundle, measured()) for _ in range(2))
    for document, day in ((old, 1), (new, 2)):
        document["bundle"] = {**document["bundle"], "created": f"2026-11-0{day}T10:00:00+00:00"}
    text = text_of(old, new)
    for day in (1, 2):
        assert f"tiny, exported 2026-11-0{day} 10:00:00" in text
    float_rungs = copy.deepcopy(new)
    for rung_used in float_rungs["runtime"].values():
        rung_used["precision"] = "fp32"
    assert labels([new, float_rungs]) == ["tiny, onnx int8", "tiny, onnx fp32"]
    assert labels([new, new]) == ["1. tiny", "2. tiny"]
