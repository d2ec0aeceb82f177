"""export --via aihub: compiled by the stand-in cloud for real, compared on its simulated phone."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from aihub_cloud import Cloud

from mcad_mobile.aihub.client import AiHub, CloudDevice
from mcad_mobile.bundle import Bundle
from mcad_mobile.errors import AiHubError, ExportError
from mcad_mobile.export.aihub import CloudCompiler
from mcad_mobile.export.pipeline import export
from mcad_mobile.runtimes import load_rung
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target

ELITE = find_target("snapdragon-8-elite")


@pytest.fixture(scope="module")
def student():
    return load_student(None)


def test_bundle_is_compiled_there_and_compared_on_the_phone(
    cloud: Cloud, student, tmp_path: Path
) -> None:
    compiler = CloudCompiler.open(ELITE, tmp_path / "jobs.json")
    assert compiler.device.name == "Samsung Galaxy S25"
    out = tmp_path / "sd"
    exported = export(student, ELITE, out, samples=4, parity_samples=2, cloud=compiler)
    bundle = Bundle.load(out)
    for name in ("image", "text"):
        rung = bundle.tower(name).rungs[0]
        assert rung.runtime == "qnn"
        assert rung.parity is not None and rung.parity.cosine_min > 0.97
        assert rung.npu_nodes == rung.total_nodes == 7
        assert "Samsung Galaxy S25" in rung.notes[0]
    assert exported.bundle.tower("image").rungs[-1].runtime == "onnx"
    kinds = [job.WhichOneof("job") for job in cloud.jobs.values()]
    assert sorted(kinds) == ["compile_job"] * 2 + ["inference_job"] * 2
    # Both towers' binaries lie in one folder, each under the name that its model gives.
    for name in ("image", "text"):
        model, binary = (bundle.path(record) for record in bundle.tower(name).rungs[0].files)
        nodes = onnx.load(model, load_external_data=False).graph.node
        named = {a.s for node in nodes for a in node.attribute if a.name == "ep_cache_context"}
        assert named == {binary.name.encode()}
    # What was written runs here too.
    text = bundle.text
    assert load_rung(bundle, text.rungs[0]) is not None


def test_phone_with_another_chip_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Galaxy S24 has snapdragon-8gen3"):
        CloudCompiler.open(ELITE, tmp_path / "jobs.json", "Samsung Galaxy S24")


def test_chip_that_no_phone_there_has_is_told(cloud: Cloud) -> None:
    with pytest.raises(AiHubError, match="no phone with snapdragon-888"):
        AiHub().device_with(find_target("snapdragon-888"))


@pytest.mark.parametrize(
    ("chipset", "target"),
    [
        ("snapdragon-8-elite-for-galaxy", "snapdragon-8-elite"),
        ("snapdragon-8gen2", "snapdragon-8-gen-2"),
        ("snapdragon-888", "snapdragon-888"),
        ("google-tensor-g4", None),
        ("", None),
    ],
)
def test_chipsets_are_those_of_our_table(chipset: str, target: str | None) -> None:
    found = CloudDevice("phone", chipset=chipset).target
    assert (found.id if found else None) == target


def test_failed_compilation_leaves_no_bundle(cloud: Cloud, student, tmp_path: Path) -> None:
    cloud.fail = {"compile": "Unsupported operator Foo"}
    compiler = CloudCompiler.open(ELITE, tmp_path / "jobs.json")
    with pytest.raises(ExportError, match="Unsupported operator Foo"):
        export(student, ELITE, tmp_path / "sd", samples=4, parity_samples=2, cloud=compiler)
    assert not (tmp_path / "sd").exists()
