"""What people measured elsewhere: checked before it stands in a table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks import export_matrix
from benchmarks.random_students import STUDENTS
from mcad_mobile.bench.measurement import complete_document
from scripts import check_result
from scripts.check_result import load_result
from scripts.pages.models import PUBLISHED, models_table
from tests.support.paths import ROOT
from tests.support.report_documents import measured
from tests.support.tiny_bundle import make_tiny_bundle

WEIGHTS = "open_clip:ViT-B-32-SigLIP2-256:webli"


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    bundle = replace(bundle, student=replace(bundle.student, source=WEIGHTS))
    student = bundle.student
    recalls = {"r1": 40.0, "r5": 60.0, "r10": 80.0}
    of_texts = {"r1": 41.0, "r5": 62.0, "r10": 77.0}
    evaluation = {
        "photos": 1000,
        "captions": 5000,
        "text_to_image": recalls,
        "image_to_text": of_texts,
        "mean_recall": 60.0,
        "student": {"name": student.name, "sha256": student.sha256, "source": WEIGHTS},
        "bundle": {"name": bundle.name, "created": bundle.created},
        "runtime": {
            "image": {"runtime": "onnx", "precision": "int8"},
            "text": {"runtime": "onnx", "precision": "int8"},
        },
    }
    bench = complete_document(bundle, measured(peak=64.0, total=2.5))
    bench["device"]["kind"] = "adb"
    return {
        "by": "A. Person",
        "page": "https://example.org/pull/1",
        "weights": WEIGHTS,
        "data": "Flickr8k test",
        "eval": evaluation,
        "bench": bench,
    }


def check(result: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "result.json"
    path.write_text(json.dumps(result, default=str))
    command = [sys.executable, "-m", "scripts.check_result", str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_a_result_is_taken_and_stands_in_the_table(result, tmp_path, monkeypatch):
    done = check(result, tmp_path)
    assert (done.returncode, WEIGHTS in done.stdout) == (0, True), done.stderr
    found = load_result(tmp_path / "result.json")
    monkeypatch.setattr("scripts.pages.models.stored_results", lambda: [found])
    (row,) = [line for line in models_table() if "A. Person" in line]
    assert row.startswith(f"| `{WEIGHTS}` | Apache-2.0 |")
    assert row.endswith(
        "| 60.0 (Flickr8k test, onnx int8) | 2.5 | 64 | [A. Person](https://example.org/pull/1) |"
    )
    assert models_table()[1].endswith("| measured by others |")


def test_each_person_who_measured_the_same_weights_has_a_row(result, tmp_path, monkeypatch):
    for by in ("A. Person", "B. Person"):
        (tmp_path / f"{by}.json").write_text(json.dumps({**result, "by": by}, default=str))
    found = check_result.stored_results(tmp_path)
    monkeypatch.setattr("scripts.pages.models.stored_results", lambda: found)
    rows = [line for line in models_table() if f"`{WEIGHTS}`" in line]
    assert [re.findall(r"\[(.*)\]", row) for row in rows] == [["A. Person"], ["B. Person"]]


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("eval", "student", "sha256"), "1" * 64, "different students"),
        (("eval", "mean_recall"), 60.2, "mean_recall"),
        (("eval", "mean_recall"), 59.8, "mean_recall"),
        (("eval", "text_to_image", "r1"), 101.0, "r1"),
        (("bench", "latency_ms"), {"total": "fast"}, "latency_ms"),
        (("bench", "device", "kind"), "host", "'host', not a phone"),
        (("bench", "device", "kind"), "aihub", "'aihub', not a phone"),
        (("bench", "latency_ms"), {}, "no total"),
        (("weights",), "open_clip:RN50:openai", "eval measured"),
        (("bench", "bundle", "student", "source"), "hf:another", "bench measured 'hf:another'"),
        (("eval", "bundle", "created"), "2020-01-01", "different bundles"),
        (("eval", "bundle", "name"), "another", "different bundles"),
        (("page",), "ftp://x", "https"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_what_is_wrong_in_a_result_is_named(result, place, value, named, tmp_path):
    part = result
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    done = check(result, tmp_path)
    assert done.returncode == 1 and named in done.stderr


@pytest.mark.parametrize("field", ["bundle", "runtime"])
def test_an_evaluation_of_the_float_student_is_refused(field, result, tmp_path):
    del result["eval"][field]
    done = check(result, tmp_path)
    assert done.returncode == 1 and f"lacks eval.{field}" in done.stderr
    assert "eval --bundle" in done.stderr


def test_each_file_is_checked_and_results_are_listed_by_the_names_of_their_files(
    result, tmp_path, monkeypatch, capsys
):
    paths = []
    for name in ("c", "a", "b"):
        found = {**result, "by": name}
        found.pop("bench")  # may be absent
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(found, default=str))
    assert [found.by for found in check_result.stored_results(tmp_path)] == ["a", "b", "c"]
    monkeypatch.setattr(sys, "argv", ["check_result", *map(str, paths)])
    check_result.main()
    assert capsys.readouterr().out == "".join(f"{path}: {WEIGHTS}, mR 60.0\n" for path in paths)
    paths[2].write_text("{}")
    with pytest.raises(SystemExit, match=r"b\.json lacks by"):
        check_result.main()


X, OLD, Y = "X, AVX VNNI", "X, no VNNI", "Y, AVX VNNI"


def exported(*servers: tuple[str, float]) -> list[dict[str, Any]]:
    """Stored exports whose searches ran on these processors and waited for this share of time."""
    found = [
        json.loads((export_matrix.RESULTS / f"{name}.json").read_text("utf-8"))
        for name in ("MobileCLIP2-S0", "RN50")[: len(servers)]
    ]
    for document, (cpu, waited) in zip(found, servers, strict=True):
        name, _, instructions = cpu.partition(", ")
        document["search"]["device"] |= {"cpu": name, "instruction_sets": [instructions]}
        document["search"]["waited_share"] = waited
        document["search"]["ms"]["total"]["p50"] = 25.0
    return found


@pytest.mark.parametrize(
    ("servers", "times", "said"),
    [
        ([(X, 0.0), (X, 0.01)], ["25.0", "25.0"], f"Server: {X}, "),
        ([(Y, 0.0), (X, 0.0)], ["25.0 B", "25.0 A"], f"Servers: A = {X}; B = {Y}; "),
        ([(OLD, 0.0), (X, 0.0)], ["25.0 B", "25.0 A"], f"Servers: A = {X}; B = {OLD}; "),
        ([(X, 0.0), (X, 0.06)], ["25.0", ""], f"Server: {X}, "),
    ],
)
def test_times_of_servers_that_cannot_be_compared_are_marked(servers, times, said, monkeypatch):
    monkeypatch.setattr(export_matrix, "stored", lambda: exported(*servers))
    *table, _, note, _ = models_table()
    assert [row.split(" | ")[6] for row in table if "`open_clip:" in row] == times
    assert note.startswith(said)
    assert ("Compare only times with the same letter" in note) == ("Servers" in said)
    assert ("other work delayed" in note) == ("" in times)


def test_every_student_that_is_exported_with_random_weights_is_published_by_a_name():
    assert {*PUBLISHED} == {*STUDENTS}


def test_every_exported_student_and_every_stored_result_has_its_row():
    table = "\n".join(models_table())
    assert "open_clip:MobileCLIP2-S0:dfndr2b` | apple-amlr, allows research only |" in table
    assert f"`{WEIGHTS}` | Apache-2.0 |" in table
