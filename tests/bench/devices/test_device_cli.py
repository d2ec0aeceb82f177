"""`bench --device` and `report` as commands: what they print, where, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcad_mobile.bench.samples import real_embeddings, sample_photos
from mcad_mobile.cli.command import app
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index
from tests.bench.devices.aihub_cloud import S24, S25, TOKEN, Cloud
from tests.support.adbd import Adbd

COMMAND = str(Path(sys.executable).with_name("mcad-mobile"))


def run(
    *arguments: object, code: int = 0, device: Adbd | None = None
) -> subprocess.CompletedProcess[str]:
    path = os.environ["PATH"] if device is None else f"{device.tools}:{os.environ['PATH']}"
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def result(_device: Adbd, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result over adb, measured by the command with an index of three small photos."""
    folder = tmp_path_factory.mktemp("result")
    photos = sample_photos(bundle, folder, 3, (160, 120))
    with create_index(bundle, folder / "index").writer() as writer:
        writer.add([*map(str, photos)], real_embeddings(bundle)[:3])
    quick = ("--index", folder / "index", "--searches", "5", "--repeats", "1")
    over = ("--device", f"adb:{_device.serial}")
    done = run("bench", "-b", bundle.directory, *over, *quick, "--json", device=_device)
    path = folder / "board.json"
    path.write_text(done.stdout)
    return path


def test_json_over_adb_is_the_document_and_nothing_else(result: Path) -> None:
    document = json.loads(result.read_text())
    assert document["schema"] == "mcad-bench/1"
    assert document["device"]["kind"] == "adb"


def test_report_checks_a_baseline_by_its_exit_code(result: Path, tmp_path: Path) -> None:
    slower = json.loads(result.read_text())
    # A tiny bundle on a busy machine: far beyond the floor and the noise.
    slower["latency_ms"]["total"]["p50"] += 1000.0
    (tmp_path / "slower.json").write_text(json.dumps(slower))
    run("report", result, "--baseline", result)
    failed = run("report", tmp_path / "slower.json", "--baseline", result, code=1)
    assert "whole search, median" in failed.stderr
    assert "times the baseline" in failed.stderr
    allowed = ("--baseline", result, "--max-slowdown", "1e6")
    run("report", tmp_path / "slower.json", *allowed)


@pytest.mark.slow
def test_report_writes_one_page_of_several_results(result: Path, tmp_path: Path) -> None:
    page, text = tmp_path / "both.html", tmp_path / "both.md"
    run("report", result, result, "--out", page)
    run("report", result, result, "--out", text)
    assert "Results side by side" in page.read_text("utf-8")
    assert text.read_text("utf-8").startswith("# Results side by side")
    both = json.loads(run("report", result, result, "--json").stdout)
    assert len(both) == 2
    assert run("report", result, "--out", tmp_path / "page.pdf", code=2).stdout == ""


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("toaster", "No device is called 'toaster'"),
        ("adb:nothing", "No device 'nothing' is attached"),
        ("aihub", "No phone of AI Hub is named"),
    ],
)
def test_device_that_is_not_there_ends_with_1(
    _device: Adbd, bundle: Bundle, device: str, message: str
) -> None:
    arguments = ("bench", "-b", bundle.directory, "--device", device)
    assert message in run(*arguments, code=1, device=_device).stderr


def test_phones_in_the_cloud_print_a_list_and_no_word_of_the_client(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    phones = "aihub:Samsung Galaxy S25,Samsung Galaxy S24"
    done = run("bench", "-b", bundle.directory, "--device", phones, "--json")
    documents = json.loads(done.stdout)
    assert [document["device"]["model"] for document in documents] == [
        "Samsung Galaxy S25",
        "Samsung Galaxy S24",
    ]
    assert TOKEN not in done.stdout + done.stderr


def test_phone_whose_jobs_failed_ends_with_1(cloud: Cloud, bundle: Bundle, tmp_path: Path) -> None:
    cloud.fail = {"inference": "Device ran out of memory"}
    phone = ("--device", "aihub:Samsung Galaxy S25")
    failed = run("bench", "-b", bundle.directory, *phone, code=1)
    assert "Device ran out of memory" in failed.stderr


def test_result_of_one_phone_is_printed_and_the_other_ends_it_with_1(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.wrong = {S25}
    phones = ("--device", f"aihub:{S25},{S24}")
    done = run("bench", "-b", bundle.directory, *phones, "--json", code=1)
    assert json.loads(done.stdout)["device"]["model"] == S24
    output = " ".join(done.stderr.split())
    assert f"{S25}, text tower" in output
    assert "golden-input embeddings are wrong" in output


@pytest.mark.parametrize(
    ("device", "options", "message"),
    [
        ("emulator", ["--threads", "1"], "--threads cannot be used with --device emulator"),
        ("emulator", ["--synthetic", "9"], "--synthetic cannot be used with --device emulator"),
        ("aihub:Samsung Galaxy S25", ["--index", "x"], "--index cannot be used with --device"),
        (
            "aihub:Samsung Galaxy S25",
            ["--searches", "200"],
            "--searches cannot be used with --device",
        ),
        ("aihub:Samsung Galaxy S25", ["--repeats", "2"], "--repeats cannot be used with --device"),
        (
            "aihub:Samsung Galaxy S25",
            ["--cool-down", "1"],
            "--cool-down cannot be used with --device",
        ),
        (
            "aihub:Samsung Galaxy S25",
            ["--compile", "qnn", "--runtime", "onnx"],
            "--runtime cannot be used with --compile",
        ),
        ("host", ["--index", "x", "--synthetic", "9"], "--index cannot be used with --synthetic"),
        ("host", ["--searches", "0"], "Invalid value for '--"),
        ("host", ["--synthetic", "0"], "Invalid value for '--"),
        ("host", ["--force"], "--force cannot be used with --device host"),
        ("host", ["--runner", "x"], "--runner cannot be used with --device host"),
        ("toaster", ["--force"], "--force cannot be used with --device toaster"),
        ("adb:SERIAL", ["--compile", "onnx"], "--compile cannot be used with --device adb"),
        ("adb", ["--runner", "x", "--aar", "y.aar"], "--aar cannot be used with --runner"),
    ],
)
def test_option_that_would_be_ignored_is_wrong_usage(
    bundle: Bundle, device: str, options: list[str], message: str
) -> None:
    arguments = ["bench", "-b", str(bundle.directory), "--device", device, *options]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 2
    assert message in " ".join(shown.output.replace("│", " ").split())


def test_baseline_is_read_before_anything_is_measured(bundle: Bundle, tmp_path: Path) -> None:
    """No device is asked: the serial is of none."""
    over = ("--device", "adb:nothing", "--baseline", tmp_path / "typo.json")
    failed = run("bench", "-b", bundle.directory, *over, code=1)
    assert "typo.json does not exist" in failed.stderr


def test_export_via_aihub_is_for_snapdragon(tmp_path: Path) -> None:
    run("export", "-t", "dimensity", "-o", tmp_path / "out", "--via", "aihub", code=2)
    run("export", "-t", "snapdragon", "-o", tmp_path / "out", "--via", "aws", code=2)
    run("export", "-t", "SM8550,SM8650", "-o", tmp_path / "out", "--via", "aihub", code=2)
