"""scripts/check_export.py: an export with a planted fault turns it red, a healthy one does not."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.export import tower_job
from tests.support.paths import ROOT
from tests.support.tiny_students import write_open_clip
from tests.support.variants import first_of

Fault = Callable[[onnx.ModelProto], None]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("student") / "vit"
    return f"open_clip:local-dir:{write_open_clip(folder)}"


def exported(student: str, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> Path:
    """What `export --json` prints when the float ONNX model of the image tower has a fault."""
    write = tower_job.export_onnx

    def write_with_fault(tower: Any, out: Path, *arguments: Any, **options: Any) -> None:
        write(tower, out, *arguments, **options)
        model = onnx.load(out)
        if model.graph.input[0].name == "pixels":
            fault(model)
            onnx.save(model, out)

    monkeypatch.setattr(tower_job, "export_onnx", write_with_fault)
    out = folder / "bundle"
    arguments = ["--student", student, "-t", "cpu", "--allow-low-parity", "--samples", "8"]
    done = CliRunner().invoke(app, ["export", *arguments, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    (folder / "export.json").write_text(done.stdout)
    return folder / "export.json"


def check(document: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / "check_export.py", document, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def change(model: onnx.ModelProto, name: str, new: Callable[[Any], Any]) -> None:
    (weight,) = (entry for entry in model.graph.initializer if entry.name == name)
    array = np.ascontiguousarray(new(numpy_helper.to_array(weight)))
    weight.CopyFrom(numpy_helper.from_array(array, name))


def wrong_scale(model: onnx.ModelProto) -> None:
    """The first product of a layer is four times as large."""
    sizes = {entry.name: entry.dims for entry in model.graph.initializer}
    weights = [i for node in model.graph.node for i in node.input if len(sizes.get(i, ())) == 2]
    change(model, weights[0], lambda array: array * 4)


def swapped_channel(model: onnx.ModelProto) -> None:
    """Red and blue change places."""
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    change(model, conv.input[1], lambda array: array[:, ::-1])


def dropped_norm(model: onnx.ModelProto) -> None:
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    del norm.input[1:], norm.attribute[:]
    norm.op_type = "Identity"


@pytest.mark.slow
def test_a_healthy_export_passes(student, tmp_path, monkeypatch):
    done = check(exported(student, tmp_path, monkeypatch, lambda model: None))
    assert (done.returncode, done.stderr) == (0, "")
    assert "| cpu | image | onnx int8 |" in done.stdout


@pytest.mark.parametrize("fault", first_of([swapped_channel, wrong_scale, dropped_norm]))
def test_a_planted_fault_turns_it_red(student, tmp_path, monkeypatch, fault):
    done = check(exported(student, tmp_path, monkeypatch, fault))
    assert done.returncode == 1
    assert "cosine_mean of the image tower is" in done.stderr
    assert "text tower" not in done.stderr


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """What an export for a Snapdragon printed, with a recall."""
    stored = json.loads((ROOT / "benchmarks" / "results" / "main_job.json").read_text("utf-8"))[-1]
    recall = {"float": {"mean_recall": 57.68}, "exported": {"mean_recall": 57.1}}
    return {"target": "snapdragon-8-elite", "towers": stored["towers"], "recall": recall}


def saved(tmp_path: Path, document: dict[str, Any]) -> Path:
    (tmp_path / "export.json").write_text(json.dumps([document]))
    return tmp_path / "export.json"


def test_a_node_that_left_the_npu_turns_it_red(tmp_path, document):
    assert check(saved(tmp_path, document)).returncode == 0
    document["towers"]["text"]["npu_nodes"] -= 2
    document["towers"]["text"]["notes"] = ["Not on the NPU: Gather."]
    done = check(saved(tmp_path, document))
    assert done.returncode == 1
    assert done.stderr == (
        "snapdragon-8-elite: 2 operators of the text tower are not on the NPU. Not on the NPU: "
        "Gather.\n"
    )


def test_recall_under_its_limit_turns_it_red(tmp_path, document):
    file = saved(tmp_path, document)
    assert check(file, "--min-recall", "57", "--max-recall-drop", "0.6").returncode == 0
    assert check(file, "--min-recall", "57.2").stderr.endswith("mR is 57.10, under 57.2.\n")
    dropped = check(file, "--max-recall-drop", "0.5")
    assert dropped.returncode == 1
    assert dropped.stderr == "snapdragon-8-elite: mR fell from 57.68 to 57.10.\n"
    del document["recall"]
    missing = check(saved(tmp_path, document), "--min-recall", "57")
    assert "recall was not measured: export with --data DIR" in missing.stderr


def test_each_cosine_has_its_own_limit_which_it_may_just_reach(tmp_path, document):
    image = document["towers"]["image"]
    image["cosine_mean"], image["cosine_min"] = 0.98, 0.9
    assert check(saved(tmp_path, document)).returncode == 0
    for figure, below, limit in (("cosine_mean", 0.9799, 0.98), ("cosine_min", 0.8999, 0.9)):
        kept = image[figure]
        image[figure] = below
        assert check(saved(tmp_path, document)).stderr == (
            f"snapdragon-8-elite: {figure} of the image tower is {below}, under {limit}.\n"
        )
        image[figure] = kept
    of_both = ("--min-cosine", "0.985", "--min-worst-cosine", "0.91")
    assert check(saved(tmp_path, document), *of_both).stderr.splitlines() == [
        "snapdragon-8-elite: cosine_mean of the image tower is 0.9800, under 0.985.",
        "snapdragon-8-elite: cosine_min of the image tower is 0.9000, under 0.91.",
    ]


def test_every_bundle_is_checked_alone_or_among_others(tmp_path, document):
    other = copy.deepcopy(document)
    other["target"] = "dimensity-9300"
    other["recall"]["exported"]["mean_recall"] = 50.0
    other["towers"]["text"] |= {"npu_nodes": 0, "runtime": "litert", "notes": []}
    total = other["towers"]["text"]["total_nodes"]
    file = tmp_path / "export.json"
    for documents in ([document, other], other):
        file.write_text(json.dumps(documents))
        done = check(file, "--min-recall", "57.1")
        (text, recall) = done.stderr.splitlines()
        assert text.startswith(
            f"dimensity-9300: {total} operators of the text tower are not accepted by the "
        )
        assert "list of the chip's compiler" in text and "NPU" not in text
        assert recall == "dimensity-9300: mR is 50.00, under 57.1."
    other["target"] = "cpu"  # which has no NPU
    file.write_text(json.dumps(other))
    assert check(file).returncode == 0


def test_the_summary_of_a_job_shows_the_towers(tmp_path, document, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("of a step before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    document["towers"]["text"]["runtime"] = "litert"
    check(saved(tmp_path, document))
    lines = summary.read_text().splitlines()
    assert lines[0] == "of a step before"
    image = document["towers"]["image"]
    cosines = f"{image['cosine_mean']:.4f} | {image['cosine_min']:.4f}"
    assert f"| snapdragon-8-elite | image | qnn w8a16 | 63 of 63 on the NPU | {cosines} |" in lines
    (text,) = [line for line in lines if "| text | litert " in line]
    assert " accepted by the list of the chip's compiler |" in text and "NPU" not in text


ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))


def act(
    tmp_path: Path, document: dict[str, Any], **inputs: str
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """Run the action's last step, where an export prints a document, as GitHub does it. Return the
    command's arguments, and how the step ended."""
    given = {name: facts["default"] for name, facts in ACTION["inputs"].items()} | inputs
    step = ACTION["runs"]["steps"][-1]
    names = {value: f"${{{{ inputs.{value} }}}}" for value in given}
    environment = {
        variable: next(given[name] for name, text in names.items() if text == value)
        for variable, value in step["env"].items()
    }
    tools = tmp_path / "mcad-mobile" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    command = tools / "mcad-mobile"
    command.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\ncat {tmp_path}/printed\n'
    )
    command.chmod(0o755)
    (tools / "python").unlink(missing_ok=True)
    (tools / "python").symlink_to(sys.executable)
    (tmp_path / "printed").write_text(json.dumps(document))
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            **{"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path)},
            **{"GITHUB_ACTION_PATH": str(ROOT), **environment},
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (tmp_path / "given").read_text().splitlines(), done


def test_the_action_exports_what_its_inputs_say(tmp_path, document):
    given, done = act(tmp_path, document)
    assert (done.returncode, done.stderr) == (0, "")
    assert given == [
        *("export", "--target=snapdragon", "--out", "build/bundles"),
        *("--allow-low-parity", "--json"),
    ]
    given, _ = act(
        tmp_path,
        document,
        **{"student": "a student", "targets": "cpu dimensity", "calibration": "own photos"},
        **{"data": "a folder", "out": "the bundles"},
    )
    assert given == [
        *("export", "--target=cpu", "--target=dimensity", "--out", "the bundles"),
        *("--allow-low-parity", "--json", "--student", "a student"),
        *("--calibration", "own photos", "--data", "a folder"),
    ]


@pytest.mark.parametrize(
    ("limit", "value", "fault"),
    [
        ("min-cosine", "0.9995", "cosine_mean"),
        ("min-worst-cosine", "0.9995", "cosine_min"),
        ("min-recall", "57.2", "mR is"),
        ("max-recall-drop", "0.5", "mR fell"),
    ],
)
def test_the_action_fails_at_each_of_its_limits(tmp_path, document, limit, value, fault):
    _, done = act(tmp_path, document, **{limit: value})
    assert done.returncode == 1
    assert done.stderr and all(fault in line for line in done.stderr.splitlines())


def test_the_actions_limits_are_those_of_the_script(tmp_path, document):
    image = document["towers"]["image"]
    image["cosine_mean"], image["cosine_min"] = 0.98, 0.9
    assert act(tmp_path, document)[1].returncode == 0
    image["cosine_mean"], image["cosine_min"] = 0.9799, 0.8999
    assert len(act(tmp_path, document)[1].stderr.splitlines()) == 2
