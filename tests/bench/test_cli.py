"""`bench` and `report` as commands: exit codes for targets and baselines, and what is warned of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mcad_mobile.android import parts
from mcad_mobile.bench.measurement import Workload, complete_document
from mcad_mobile.cli import bench as verb
from mcad_mobile.cli.command import app
from mcad_mobile.engine.bundle import Bundle
from tests.support.report_documents import measured, parity_of_an_emulator


@pytest.fixture
def bench(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command where measuring gives the document at hand; `bench.workload` is what it was
    to measure."""

    class Bench:
        device: Any
        workload: Workload

        def __call__(self, found: dict[str, Any], *options: object) -> Result:
            def measure(*arguments: Any) -> tuple[list[dict[str, Any]], list[str]]:
                self.device, self.workload = arguments[1:3]
                return [complete_document(bundle, found)], []

            monkeypatch.setattr(verb, "measure", measure)
            command = ["bench", "-b", str(bundle.directory), "--json", *map(str, options)]
            return CliRunner().invoke(app, command)

    return Bench()


def test_a_missed_target_is_an_exit_code_for_those_who_ask(bench: Any) -> None:
    assert bench(measured(total=9.0)).exit_code == 0
    assert bench(measured(total=7.9), "--fail-on-target").exit_code == 0
    missed = bench(measured(total=9.0, peak=120.0), "--fail-on-target")
    assert missed.exit_code == 1
    assert json.loads(missed.stdout)["schema"] == "mcad-bench/1"
    message = str(missed.exception)
    assert "Search, median 9.00 ms, limit 8 ms" in message
    assert "Memory, peak PSS 120.0 MiB, limit 100 MiB" in message


@pytest.mark.parametrize(
    ("part", "missing", "named"),
    [
        ("memory_mib", {"peak_pss": None, "peak_rss": None}, "Memory, peak PSS not measured"),
        ("latency_ms", {}, "Search, median not measured"),
    ],
)
def test_a_target_that_was_not_measured_is_not_met(
    bench: Any, bundle: Bundle, tmp_path: Path, part: str, missing: dict[str, Any], named: str
) -> None:
    found = measured()
    found[part] = {**found[part], **missing} if missing else {}
    assert bench(found).exit_code == 0
    assert named in str(bench(found, "--fail-on-target").exception)
    (tmp_path / "found.json").write_text(json.dumps(complete_document(bundle, found)))
    report = CliRunner().invoke(app, ["report", str(tmp_path / "found.json"), "--fail-on-target"])
    assert report.exit_code == 1 and named in str(report.exception)


@pytest.mark.parametrize(("allowed", "code"), [((), 1), (("1.1",), 1), (("2",), 0)])
def test_how_much_slower_it_may_be_is_an_option(
    bundle: Bundle, tmp_path: Path, allowed: tuple[str, ...], code: int
) -> None:
    files = {}
    for total in (2.0, 3.0):
        files[total] = str(tmp_path / f"{total:g}.json")
        document = complete_document(bundle, measured(total=total))
        Path(files[total]).write_text(json.dumps(document))
    options = [word for value in allowed for word in ("--max-slowdown", value)]
    command = ["report", files[3.0], "--baseline", files[2.0], *options]
    assert CliRunner().invoke(app, command).exit_code == code


def test_a_busy_machine_gives_a_warning(bench: Any) -> None:
    found = measured(total=9.0)
    found["conditions"]["waited_share"] = 0.4
    done = bench(found, "--fail-on-target")
    assert "warning: The machine was busy: 40 % of the time" in done.stderr
    assert "The machine was busy" in str(done.exception)
    assert "busy" not in bench(measured()).stderr


def test_a_cool_down_of_zero_is_not_the_devices_default(bench: Any) -> None:
    bench(measured(), "--cool-down", 0)
    assert bench.workload.cool_down_s == 0
    bench(measured())
    assert bench.workload.cool_down_s is None


def test_the_archives_for_the_npu_are_fetched_or_given(
    bench: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = {Path("onnxruntime-qnn.aar"): None, Path("qnn-runtime.aar"): None}
    of: list[Path] = []
    monkeypatch.setattr(
        parts, "npu_archives", lambda made, progress: of.append(made.directory) or fetched
    )
    bench(measured(), "--device", "adb", "--npu")
    assert (bench.device.aars, of) == (tuple(fetched), [bundle.directory])
    bench(measured(), "--device", "adb", "--aar", "own.aar")
    assert bench.device.aars == (Path("own.aar"),)
    both = bench(measured(), "--device", "adb", "--npu", "--aar", "own.aar")
    assert both.exit_code == bench(measured(), "--npu").exit_code == 2


def test_a_baseline_raises_the_number_of_runs(bench: Any, bundle: Bundle, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(json.dumps(complete_document(bundle, measured(total=2.5))))
    same = bench(measured(total=2.5), "--baseline", before)
    assert (same.exit_code, bench.workload.repeats) == (0, 3)
    bench(measured(total=2.5), "--baseline", before, "--repeats", 1)
    assert bench.workload.repeats == 1
    bench(measured(total=2.5))
    assert bench.workload.repeats is None
    before.write_text(json.dumps(complete_document(bundle, parity_of_an_emulator())))
    del bench.workload
    refused = bench(measured(total=2.5), "--baseline", before)
    assert "no figure in common" in str(refused.exception)
    assert not hasattr(bench, "workload")  # it is known before anything is measured
    before.write_text(json.dumps(complete_document(bundle, measured(total=2.5))))
    several = bench(measured(total=2.5), "--baseline", before, "--device", "aihub:A,B")
    assert several.exit_code == 2 and not hasattr(bench, "workload")
    worse = bench(measured(total=4.0), "--baseline", before)
    assert "whole search, median: 4.00 ms" in str(worse.exception)


def test_a_slower_part_of_a_search_is_reported_and_does_not_fail(
    bench: Any, bundle: Bundle, tmp_path: Path
) -> None:
    before = tmp_path / "before.json"
    document = complete_document(bundle, measured(total=3.0))
    document["latency_ms"]["text"]["p50"] = 1.5
    before.write_text(json.dumps(document))
    now = measured(total=2.8)
    now["latency_ms"]["text"]["p50"] = 1.81
    done = bench(now, "--baseline", before)
    assert done.exit_code == 0
    assert "Not counted: text tower, median: 1.81 ms" in done.stderr
