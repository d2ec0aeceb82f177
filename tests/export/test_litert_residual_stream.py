"""A .tflite with 8-bit products beside a residual stream of 16 bits."""

from __future__ import annotations

import pytest

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.export.backends.litert.convert import channels_last
from mcad_mobile.export.backends.litert.flatbuffer import operators
from mcad_mobile.export.backends.litert.quantize import (
    float_litert,
    load_quantized,
    quantize_litert,
    quantize_tower,
)
from mcad_mobile.export.backends.litert.vendors import VENDORS, refusals
from mcad_mobile.export.parity import float_embeddings, measure_parity
from mcad_mobile.export.tower_job import TowerJob
from tests.export.test_residual_stream import bert, inputs_of_bert, specs
from tests.support.pythons import needs_litert

pytestmark = [needs_litert, pytest.mark.slow]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> TowerJob:
    module, inputs = bert(), inputs_of_bert()
    output = TensorSpec("text_embedding", "float32", (1, 48), "ND")
    expected = float_embeddings(module, inputs)
    folder = tmp_path_factory.mktemp("job")
    return TowerJob(module, "text", specs(inputs), output, inputs, inputs, expected, None, folder)


def cosine_of(job: TowerJob, path) -> float:
    return measure_parity(job.expected, load_quantized(job, path)(job.validation)).cosine_mean


def test_loud_channels_cost_w8a8_little_where_the_stream_has_16_bits(job, tmp_path):
    flat = tmp_path / "flat.tflite"
    quantize_litert(float_litert(job), flat, job.samples, channels_last(job.inputs), "w8a8")
    assert cosine_of(job, flat) < 0.95
    assert cosine_of(job, quantize_tower(job, "w8a8")) > 0.98


def test_products_have_8_bits_and_sums_16_and_the_npu_takes_them_all(job):
    found = operators(quantize_tower(job, "w8a8"))
    kinds = {
        name: {item.tensors[0].dtype for item in found if item.name == name}
        for name in ("FULLY_CONNECTED", "BATCH_MATMUL", "ADD", "MUL")
    }
    assert kinds["FULLY_CONNECTED"] == kinds["BATCH_MATMUL"] == {"INT8"}
    assert kinds["ADD"] == kinds["MUL"] == {"INT16"}
    assert not refusals(found, VENDORS["MediaTek"])
