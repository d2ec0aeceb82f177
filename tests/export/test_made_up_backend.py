"""A new backend is a folder, a module, and its line in the registry."""

from __future__ import annotations

import ast
import re
import shutil

import pytest

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers import RUNTIMES, choose_rung
from mcad_mobile.engine.towers.onnx import OnnxRuntime, OnnxTower
from mcad_mobile.errors import ParityError
from mcad_mobile.export import export_bundle
from mcad_mobile.export.backends import BACKENDS
from mcad_mobile.export.backends.backend import Backend, Compiled, Quantized
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import RungPlan, Target
from tests.support.paths import ROOT
from tests.support.tiny_students import write_open_clip


class MadeUpRuntime(OnnxRuntime):
    name, label = "made-up", "A made-up runtime"


class MadeUpBackend(Backend):
    """Its files are float ONNX models with another suffix."""

    suffix = "madeup"

    def quantize(self, order):
        return Quantized(order.tower.float_onnx, order.precision)

    def compile(self, order, quantized, out):
        note = f"Made for {order.target.chip}."
        return Compiled((shutil.copyfile(quantized, out),), 1, notes=(note,))

    def load(self, tower, quantized):
        return OnnxTower(quantized)


class WrongRuntime(MadeUpRuntime):
    def load(self, *arguments):
        right = super().load(*arguments)
        return lambda inputs: -right(inputs)


def test_a_made_up_backend_exports_loads_and_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(RUNTIMES, "made-up", MadeUpRuntime())
    monkeypatch.setitem(BACKENDS, "made-up", MadeUpBackend())
    ladder = (RungPlan("made-up", "w8a8", "w8a8"), RungPlan("onnx", "fp32", "fp32"))
    target = Target("made-up-1", "Us", "MU1", (), "made-up NPU", "cpu", ladder)
    folder = write_open_clip(tmp_path / "student")
    student = load_student(f"open_clip:local-dir:{folder}")
    export_bundle(target, tmp_path / "bundle", student=student, samples=4)
    bundle = Bundle.load(tmp_path / "bundle")
    for name in ("image", "text"):
        chosen = choose_rung(bundle, name)
        assert (chosen.rung.runtime, chosen.rung.precision) == ("made-up", "w8a8")
        assert chosen.rung.files[0].path == f"{name}_made-up_w8a8.madeup"
        assert chosen.rung.notes == ("Made for MU1.",)
        assert chosen.rung.parity.cosine_mean == pytest.approx(1, abs=1e-5)
    assert SearchEngine(bundle).embed_text("a cat").shape == (bundle.dim,)
    monkeypatch.setitem(RUNTIMES, "made-up", WrongRuntime())
    with pytest.raises(ParityError):
        export_bundle(target, tmp_path / "wrong", student=student, samples=4)


NAMES = {*RUNTIMES, "cpu", "snapdragon", "dimensity", "tensor"}
ABOUT = re.compile(r"runtime|family|plan|rung", re.IGNORECASE)


def compared_names(source: str) -> list[str]:
    """Comparisons of a runtime or family with a name: by ==, != or in, or as the key of a table."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            sides = [node.subject, *node.cases]
        else:
            continue
        named = any(
            isinstance(part, ast.Constant) and part.value in NAMES
            for side in sides
            for part in ast.walk(side)
        )
        if named and any(ABOUT.search(ast.unparse(side)) for side in sides):
            found.append(ast.unparse(node))
    return found


def test_runtimes_and_families_are_compared_by_name_in_targets_and_the_registry_alone():
    package = ROOT / "mcad_mobile"
    found = {
        path.relative_to(package).as_posix(): names
        for path in package.rglob("*.py")
        if (names := compared_names(path.read_text("utf-8")))
    }
    assert sum(map(len, found.values())) <= 8
    registry = ("targets/", "engine/towers/runtimes.py", "export/backends/__init__.py")
    assert all(path.startswith(registry) for path in found), found


@pytest.mark.parametrize(
    "line", ['rung.runtime == "qnn"', 'target.family in ("cpu",)', '"tpu" != plan.runtime']
)
def test_such_a_comparison_is_seen(line):
    assert compared_names(f"x = {line}")
