"""How a rung is loaded: by its runtime, for its chip, and by exact kernels where fast ones err."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import ladder, litert, onnx
from mcad_mobile.engine.towers.ladder import load_tower, time_tower, why_not
from mcad_mobile.errors import RuntimeUnavailable
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What towers are made of; a QNN tower's module needs Qualcomm's package only when it runs."""
    from mcad_mobile.engine.towers import qnn

    calls: list[Any] = []

    def note(kind: str) -> Any:
        return lambda *arguments, **options: calls.append((kind, arguments[1:], options))

    monkeypatch.setattr(onnx, "OnnxTower", note("onnx"))
    monkeypatch.setattr(litert, "LiteRTTower", note("litert"))
    monkeypatch.setattr(qnn, "QnnTower", note("qnn"))
    return calls


@pytest.mark.parametrize(
    ("precision", "errs", "gpu", "exact"),
    [
        ("int8", True, False, True),
        ("int8", False, False, False),
        ("fp32", True, False, False),
        ("int8", True, True, False),
    ],
)
def test_quantized_rungs_have_exact_kernels_where_the_fast_ones_overflow(
    bundle: Bundle,
    made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    errs: bool,
    gpu: bool,
    exact: bool,
) -> None:
    monkeypatch.setattr(onnx, "saturates", lambda: errs)
    rung = replace(bundle.image.rungs[0], precision=precision)
    load_tower(bundle, rung, 3, gpu=gpu)
    assert made == [("onnx", (3,), {"exact_kernels": exact, "gpu": gpu})]


def test_other_runtimes_get_what_they_need_of_the_bundle(bundle: Bundle, made: list[Any]) -> None:
    rung = replace(bundle.image.rungs[0], runtime="litert")
    load_tower(bundle, rung, 2)
    assert made.pop() == ("litert", (rung.inputs, rung.outputs, 2), {})
    compiled = replace(rung, runtime="qnn")
    chip = replace(bundle.target, soc_model=57, htp_arch=75)
    load_tower(replace(bundle, target=chip), compiled)
    assert made.pop() == ("qnn", (57, 75), {})
    for lacking in ({"soc_model": None}, {"htp_arch": None}):
        with pytest.raises(RuntimeUnavailable, match="for which Snapdragon"):
            load_tower(replace(bundle, target=replace(chip, **lacking)), compiled)
    with pytest.raises(RuntimeUnavailable, match="runs only there"):
        load_tower(bundle, replace(rung, runtime="neuropilot"))
    with pytest.raises(RuntimeUnavailable, match="'magic', which this version does not know"):
        load_tower(bundle, replace(rung, runtime="magic"))
    assert made == []


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
    monkeypatch.setattr(ladder.platform, "machine", lambda: machine)
    monkeypatch.setattr(ladder.importlib.util, "find_spec", lambda name: None)
    found = why_not(replace(bundle.image.rungs[0], runtime=runtime, precision=precision))
    assert found == reason or (found is not None and reason is not None and reason in found)
    monkeypatch.setattr(ladder.importlib.util, "find_spec", lambda name: name)
    assert why_not(replace(bundle.image.rungs[0], runtime="litert", precision="w8a8")) is None


def test_a_tower_is_as_fast_as_its_fastest_of_three_runs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(ladder.timeit, "default_timer", lambda: next(clock))

    def repeat(statement: Any, number: int, repeat: int) -> list[float]:
        return [_timed(statement) for _ in range(repeat) for _ in range(number)]

    def _timed(statement: Any) -> float:
        began = ladder.timeit.default_timer()
        statement()
        return ladder.timeit.default_timer() - began

    monkeypatch.setattr(ladder.timeit, "repeat", repeat)
    assert time_tower(bundle, "image", seen.append) == 2.0  # type: ignore[arg-type]
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
    session_of = onnx.ort.InferenceSession
    monkeypatch.setattr(onnx.ort, "InferenceSession", session)
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
    assert options.graph_optimization_level == onnx.ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.intra_op_num_threads == 1
    opened.clear()
    fails.append("it is broken")
    with pytest.raises(RuntimeUnavailable, match=r"cannot load .*image\.onnx: it is broken"):
        onnx.OnnxTower(path)
    assert len(opened) == 1
