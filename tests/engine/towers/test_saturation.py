"""The probe that asks ONNX Runtime's kernels whether they overflow."""

from __future__ import annotations

import base64
import platform

import onnx
import pytest
from onnx import TensorProto, helper

from mcad_mobile.base import machine
from mcad_mobile.engine.towers.onnx import PRODUCTS, saturates
from tests.support.paths import ROOT

JAVA = ROOT / "android_demo/engine/src/main/java/io/github/mcadmobile/engine/towers/Saturation.java"


def test_the_probe_is_a_product_of_the_largest_numbers() -> None:
    largest = helper.make_tensor("v", TensorProto.INT8, [1], [127])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["b"], value=largest),
        helper.make_node("MatMulInteger", ["a", "b"], ["sums"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [None, 64])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [None, 32])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [64, 32])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.producer_name = ""
    assert onnx.ModelProto.FromString(base64.b64decode(PRODUCTS)) == model


def test_java_asks_the_same() -> None:
    written = "".join(part.strip(' +"') for part in JAVA.read_text("utf-8").split("\n"))
    assert PRODUCTS in written.replace('"', "")


def test_this_processor_saturates_where_it_has_avx2_and_no_vnni() -> None:
    if platform.machine() != "x86_64" or not machine.cpuinfo():
        assert saturates() is False
        return
    sets = machine.instruction_sets(machine.cpuinfo())
    assert saturates() is ("AVX2" in sets and not {"AVX-512 VNNI", "AVX VNNI"} & set(sets))


INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon\nflags\t\t: fpu sse4_1 avx2 avx512f\n"
BIG = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n"
LITTLE = "processor\t: 1\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd05\n"


@pytest.mark.parametrize(
    ("cpuinfo", "sets"),
    [
        (INTEL, ["SSE4.1", "AVX2", "AVX-512"]),
        (INTEL.replace("avx512f", "avx512f avx512_vnni amx_bf16"), None),
        (BIG, ["NEON", "dot product", "i8mm", "bf16"]),
        (BIG + LITTLE, ["NEON", "dot product"]),  # a task may be moved to any core
        ("", []),
    ],
)
def test_instruction_sets_are_those_that_all_cores_have(
    cpuinfo: str, sets: list[str] | None
) -> None:
    expected = ["SSE4.1", "AVX2", "AVX-512", "AVX-512 VNNI", "AMX bf16"] if sets is None else sets
    assert machine.instruction_sets(cpuinfo) == expected
