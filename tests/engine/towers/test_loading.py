"""How a rung is loaded: by its runtime, for its chip, and by exact kernels where fast ones err."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime as ort
import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import onnx, qnn
from mcad_mobile.engine.towers.ladder import load_tower, time_tower, why_not
from mcad_mobile.errors import RuntimeUnavailable
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(("precision", "gpu"), [("int8", False), ("fp32", False), ("int8", True)])
def test_quantized_rungs_have_exact_kernels_where_the_fast_ones_overflow(
    bundle: Bundle, precision: str, gpu: bool
) -> None:
    rung = replace(bundle.image.rungs[0], precision=precision)
    if gpu and "CUDAExecutionProvider" not in ort.get_available_providers():
        with pytest.raises(RuntimeUnavailable, match="CUDA"):
            load_tower(bundle, rung, 3, gpu=gpu)
        return
    exact = precision != "fp32" and onnx.saturates()
    assert load_tower(bundle, rung, 3, gpu=gpu).kernels == (
        "CUDA" if gpu else "CPU, exact kernels" if exact else "CPU"
    )


def test_what_cannot_be_loaded_here_says_what_it_lacks(bundle: Bundle) -> None:
    rung = bundle.image.rungs[0]
    chip = replace(bundle.target, soc_model=57, htp_arch=75)
    for lacking in ({"soc_model": None}, {"htp_arch": None}):
        with pytest.raises(RuntimeUnavailable, match="for which Snapdragon"):
            load_tower(
                replace(bundle, target=replace(chip, **lacking)), replace(rung, runtime="qnn")
            )
    with pytest.raises(RuntimeUnavailable, match="runs only there"):
        load_tower(bundle, replace(rung, runtime="neuropilot"))
    with pytest.raises(RuntimeUnavailable, match="'magic', which this version does not know"):
        load_tower(bundle, replace(rung, runtime="magic"))


@pytest.mark.parametrize(
    ("runtime", "precision", "machine", "reason"),
    [
        ("onnx", "int8", "aarch64", None),
        ("qnn", "w8a16", "x86_64", "its chip is only simulated here"),
        ("qnn", "w8a16", "AMD64", "its chip is only simulated here"),
        ("qnn", "w8a16", "aarch64", "this runner has no QNN runtime"),
        ("neuropilot", "w8a8", "x86_64", "runs only there"),
        ("tpu", "w8a8", "x86_64", "runs only there"),
        ("litert", "w8a16", "x86_64", "it is for the NPU"),
        ("litert", "w4a16", "x86_64", "it is for the NPU"),
        ("litert", "w8a8", "x86_64", "ai-edge-litert is not installed here"),
    ],
)
def test_a_rung_that_is_not_chosen_by_itself_says_why(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    precision: str,
    machine: str,
    reason: str | None,
) -> None:
    monkeypatch.setattr(qnn.platform, "machine", lambda: machine)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    found = why_not(replace(bundle.image.rungs[0], runtime=runtime, precision=precision))
    assert found == reason or (found is not None and reason is not None and reason in found)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    sys.modules["ai_edge_litert"].__spec__ = ModuleSpec("ai_edge_litert", None)
    assert why_not(replace(bundle.image.rungs[0], runtime="litert", precision="w8a8")) is None


def test_a_tower_is_timed_on_its_golden_inputs(bundle: Bundle) -> None:
    seen: list[Any] = []
    assert time_tower(bundle, "image", seen.append) >= 0  # type: ignore[arg-type]
    assert len(seen) == 3 and seen[0].keys() == {"pixels"}
    assert len(seen[0]["pixels"]) == len(bundle.array(bundle.image.golden.embeddings))


def test_onnx_runtime_takes_little_memory_and_as_many_threads_as_asked(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    def session(path: Path, options: Any, providers: Any) -> Any:
        opened.append((options, providers))
        if fails:
            raise RuntimeError(fails.pop())
        return session_of(path, options, providers=providers)

    fails: list[str] = []
    session_of = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", session)
    path = bundle.path(bundle.image.rungs[0].files[0])
    tower = onnx.OnnxTower(path, 3)
    ((options, providers),) = opened
    assert (tower.kernels, providers) == ("CPU", ["CPUExecutionProvider"])
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert (options.enable_cpu_mem_arena, options.log_severity_level) == (False, 3)
    fusion = "optimization.disable_specified_optimizers"
    assert options.get_session_config_entry(fusion) == "SkipLayerNormFusion"
    with pytest.raises(RuntimeError):
        options.get_session_config_entry("session.x64quantprecision")
    # Where a model has no exact kernels, its products run in floats.
    opened.clear()
    fails.append("no such kernel")
    tower = onnx.OnnxTower(path, exact_kernels=True)
    assert tower.kernels == "CPU, exact kernels" and len(opened) == 2
    options = opened[1][0]
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.intra_op_num_threads == 1
    opened.clear()
    fails.append("it is broken")
    with pytest.raises(RuntimeUnavailable, match=r"cannot load .*image\.onnx: it is broken"):
        onnx.OnnxTower(path)
    assert len(opened) == 1
