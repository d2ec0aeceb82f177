"""Disks that are full or not to be written: a sentence, before the work where that can be known,
and nothing left behind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcad_mobile.base.files import check_file, check_room, check_writable
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.cli import bench as bench_verb
from mcad_mobile.cli.command import app
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import DiskError
from tests.support.mounts import mcad_on_disk, run_on_disk
from tests.support.processes import run_command
from tests.support.report_documents import measured

pytestmark = pytest.mark.long


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "c", needed=1)
    check_file(tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DiskError, match=f"{tmp_path} has .* MB free"):
        check_writable(tmp_path / "a" / "b" / "c", needed=10**15)


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"file/a/out cannot be written: Not a directory"):
        check_writable(tmp_path / "file" / "a" / "out")
    with pytest.raises(DiskError, match=r"file/a.html cannot be written: Not a directory"):
        check_file(tmp_path / "file" / "a.html")
    with pytest.raises(DiskError, match="is a folder, but a file"):
        check_file(tmp_path)


def test_too_little_room_is_said_with_both_sides(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"MB free; at least 1,000,000,000 are needed") as caught:
        check_room(tmp_path, 10**15)
    assert "TMPDIR" in caught.value.hint


def test_a_full_disk_is_known_by_itself_whatever_a_library_says(disk: Path) -> None:
    program = (
        "from pathlib import Path; from mcad_mobile.base.files import disk_error; "
        "print(disk_error(Path('out').absolute(), RuntimeError('bad model')))"
    )
    done = run_on_disk(disk, "size=64k", "-c", program, first="head -c 1M /dev/zero > big; true")
    assert "is full: bad model" in done.stdout, done.stderr


@pytest.mark.parametrize("options", [["--json"], []])
def test_standard_output_on_a_full_disk_is_told(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        streams = {"capture_output": False, "stdout": full, "stderr": subprocess.PIPE}
        done = run_command("targets", *options, **streams)
    assert done.returncode == 1
    said = json.loads(done.stderr)["error"] if options else done.stderr
    assert "A file cannot be read or written: No space left" in said
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("ro,size=2m", id="read-only", marks=pytest.mark.slow),
        pytest.param("size=2m", id="small"),
    ],
)
def test_export_looks_at_the_disk_before_it_works(disk: Path, options: str) -> None:
    done = mcad_on_disk(disk, options, ("export", "-t", "cpu", "-o", "a/b"))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    printed = "Read-only file system" if options.startswith("ro") else "MB free; at least"
    assert printed in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("report", "RESULT", "--out", "page.md"), ("app", "-b", "BUNDLE", "--out", "demo.apk")],
    ids=["report", "app"],
)
def test_a_verb_says_that_it_cannot_write(
    bundle: Bundle, disk: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    result = tmp_path / "result.json"
    result.write_text(json.dumps(complete_document(bundle, measured())))
    places = {"RESULT": result, "BUNDLE": bundle.directory}
    done = mcad_on_disk(disk, "ro", [places.get(part, part) for part in arguments])
    assert done.returncode == 1
    assert f"error: {arguments[-1]} cannot be written: Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_written_costs_no_measurement(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before anything is measured; what is only known afterwards comes after the printing."""
    measured_times = []

    def measure(*_: object) -> object:
        measured_times.append(1)
        (tmp_path / "later").touch()  # in the way of the folder that was to be made
        return [complete_document(bundle, measured())], []

    monkeypatch.setattr(bench_verb, "measure", measure)
    arguments = ["bench", "-b", str(bundle.directory), "--json", "--report"]
    (tmp_path / "file").touch()
    before = CliRunner().invoke(app, [*arguments, str(tmp_path / "file" / "r.json")])
    assert isinstance(before.exception, DiskError)
    assert measured_times == []
    after = CliRunner().invoke(app, [*arguments, str(tmp_path / "later" / "r.json")])
    assert isinstance(after.exception, DiskError)
    assert '"mcad-bench/1"' in after.stdout


@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_distill_looks_at_its_folders_before_anything(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    places = {"--out": "out", "--cache": "cache", option: "file"}
    arguments = [part for name, place in places.items() for part in (name, str(tmp_path / place))]
    done = CliRunner().invoke(app, ["distill", "--data", str(tmp_path / "no"), *arguments])
    assert isinstance(done.exception, DiskError)
    assert "file/file cannot be written" in str(done.exception)
