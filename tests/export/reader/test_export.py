"""`export --read-text`: a bundle whose reader reads what the float models read."""

from __future__ import annotations

import numpy as np
import pytest

from mcad_mobile.engine.bundle import READER_SHAPES, Bundle
from mcad_mobile.engine.towers import choose_rung, load_tower
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.errors import RuntimeUnavailable
from mcad_mobile.export.reader.models import float_model, published_model
from tests.export.reader.reading import compared, exported, read

pytestmark = pytest.mark.slow

MOST_BYTES = 11_000_000


@pytest.fixture(scope="module")
def cpu(tmp_path_factory) -> Bundle:
    return exported(tmp_path_factory.mktemp("reader"), "cpu")


def characters_of(bundle: Bundle) -> list[str]:
    return bundle.path(bundle.reader.characters).read_text("utf-8").split("\n")


def test_a_reader_has_one_small_rung_for_cpus(cpu):
    rungs = [cpu.tower(name).rungs for name in READER_SHAPES]
    assert [[rung.name for rung in found] for found in rungs] == [["onnx int8"]] * 2
    assert sum(rung.bytes for found in rungs for rung in found) < MOST_BYTES
    golden = [cpu.tower(name).golden.inputs["pixels"] for name in READER_SHAPES]
    assert all(file.bytes < 400_000 for file in golden)
    assert cpu.tools["rapidocr"]
    assert "PP-OCRv6" in cpu.path(cpu.reader.licence_text).read_text("utf-8")


@pytest.mark.parametrize("name", READER_SHAPES)
def test_a_rung_is_chosen_if_it_passes_its_self_test(cpu, name, tmp_path):
    assert choose_rung(cpu, name).cosine > 0.999
    rung = cpu.tower(name).rungs[0]
    expected = cpu.array(rung.expected)
    path = cpu.path(rung.expected)
    kept = path.read_bytes()
    try:
        np.save(path, np.roll(expected, expected.shape[1] // 3, axis=1))
        with pytest.raises(RuntimeUnavailable, match="self-test"):
            choose_rung(cpu, name)
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize("name", READER_SHAPES)
def test_a_rung_reads_what_the_float_model_reads(cpu, name, tmp_path):
    spec, count = cpu.tower(name).rungs[0], {"detector": 24, "recognizer": 200}[name]
    path = tmp_path / "float.onnx"
    model = published_model(name)
    float_model(model, spec.inputs[0], spec.outputs[0], path, any_size=False)
    listed = characters_of(cpu)
    exact = read(OnnxTower(path), name, count, listed)
    rates = compared(name, exact, read(load_tower(cpu, spec), name, count, listed))
    if name == "detector":
        assert rates["found"] >= 97  # of few boxes; 98 of many
    else:
        assert rates["float_error_rate"] < 2
        assert rates["error_rate"] <= rates["float_error_rate"] + 0.5


def test_onnx_rungs_take_other_sizes(cpu):
    for name, shape, output in (
        ("detector", (1, 3, 320, 256), (1, 1, 320, 256)),
        ("recognizer", (1, 3, 48, 160), (1, 20, len(characters_of(cpu)) + 1)),
    ):
        tower = load_tower(cpu, cpu.tower(name).rungs[-1])
        assert tower({"pixels": np.zeros(shape, np.float32)}).shape == output


@pytest.mark.parametrize(("chip", "runtime"), [("SM8650", "qnn"), ("MT6989", "litert")])
def test_an_npu_takes_every_operator_in_16_bits(chip, runtime, tmp_path):
    bundle = exported(tmp_path, chip, samples=4, simulated_inputs=2)
    rungs = [bundle.tower(name).rungs for name in READER_SHAPES]
    names = [f"{runtime} w8a16", "onnx int8"]
    assert [[rung.name for rung in found] for found in rungs] == [names] * 2
    for rung, _ in rungs:
        assert rung.npu_nodes == rung.total_nodes > 150
        assert rung.parity.cosine_mean > 0.98
    assert sum(rung.bytes for rung, _ in rungs) < MOST_BYTES
