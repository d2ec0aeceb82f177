"""export --via aihub: compiled by the stand-in cloud for real, compared on its simulated phone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import onnx.parser
import pytest

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import load_tower
from mcad_mobile.errors import AiHubError, ExportError
from mcad_mobile.export.aihub import AiHub, CloudDevice
from mcad_mobile.export.aihub_compiler import CloudCompiler
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.bench.devices.aihub_cloud import Cloud
from tests.support.exported import mcad_json
from tests.support.tiny_students import write_open_clip

ELITE = find_target("snapdragon-8-elite")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """What `--student` calls a tiny one: the default one's towers take the simulator a minute."""
    folder = write_open_clip(tmp_path_factory.mktemp("student") / "tiny")
    return f"open_clip:local-dir:{folder}"


@pytest.fixture(scope="module")
def student(tiny):
    return load_student(tiny)


@pytest.mark.slow
def test_command_compiles_a_bundle_there_and_compares_it_on_the_phone(
    cloud: Cloud, tiny: str, tmp_path: Path
) -> None:
    out = tmp_path / "sd"
    given = ("-t", ELITE.id, "-o", out, "--student", tiny, "--samples", 4, "--allow-low-parity")
    document = mcad_json("export", *given, "--via", "aihub")
    bundle = Bundle.load(out)
    for name in ("image", "text"):
        rung = bundle.tower(name).rungs[0]
        assert rung.runtime == document["towers"][name]["runtime"] == "qnn"
        assert rung.parity is not None and rung.parity.cosine_min > 0.97
        assert rung.npu_nodes == rung.total_nodes == document["towers"][name]["npu_nodes"] == 7
        assert "Samsung Galaxy S25" in rung.notes[0]
    assert bundle.image.rungs[-1].runtime == "onnx"
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
    assert load_tower(bundle, text.rungs[0]) is not None


def test_phone_with_another_chip_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Galaxy S24 has snapdragon-8gen3"):
        CloudCompiler.open(ELITE, "Samsung Galaxy S24")


def test_chip_that_no_phone_there_has_is_told(cloud: Cloud) -> None:
    with pytest.raises(AiHubError, match="no phone with snapdragon-888"):
        AiHub().device_with(find_target("snapdragon-888"))


@pytest.mark.parametrize(
    ("chipset", "target"),
    [
        ("snapdragon-8-elite-for-galaxy", "snapdragon-8-elite"),
        ("snapdragon-8gen2", "snapdragon-8-gen-2"),
        ("snapdragon-8gen2-leading-version", "snapdragon-8-gen-2"),
        ("qcs6490-proxy", "qcs6490"),
        ("snapdragon-888", "snapdragon-888"),
        ("snapdragon-7gen4", "snapdragon-7-gen-4"),
        ("snapdragon-x-elite", "snapdragon-x-elite"),
        ("qcs8550-proxy", "qcs8550"),
        ("sa8775p", "sa8255p"),
        ("google-tensor-g4", "tensor-g4"),
        ("", None),
    ],
)
def test_chipsets_are_those_of_our_table(chipset: str, target: str | None) -> None:
    found = CloudDevice("phone", chipset=chipset).target
    assert (found.id if found else None) == target


def test_failed_compilation_leaves_no_bundle(cloud: Cloud, student, tmp_path: Path) -> None:
    cloud.fail = {"compile": "Unsupported operator Foo"}
    compiler = CloudCompiler.open(ELITE)
    with pytest.raises(ExportError, match="Unsupported operator Foo"):
        export(student, [BundleRequest(ELITE, tmp_path / "sd", compiler)], ExportOptions(samples=4))
    assert not (tmp_path / "sd").exists()


def _zip(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"job.onnx/model.{name}", content)
    return packed.getvalue()


def _context(inputs: str) -> bytes:
    """An EPContext model that reads these inputs, and its binary under a name of the cloud's."""
    model = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 17, "com.microsoft" : 1]>
        agraph ({inputs}) => (float[1, 64] y)
        {{ y = com.microsoft.EPContext
           <ep_cache_context = "job_xyz.bin", notes = "x"> (pixels) }}"""
    )
    return _zip(onnx=model.SerializeToString(), bin=b"binary")


def test_what_the_cloud_compiled_is_named_as_this_bundle_names_it(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    compiler = CloudCompiler.open(ELITE)
    assert compiler.device.os == "15"
    source, out = bundle.directory / "image.onnx", tmp_path / "image_qnn_w8a16.onnx"
    cloud.archive = _context("float[1, 3, 32, 32] pixels")
    (binary,), nodes = compiler.compile(source, out, ELITE)
    assert (binary.name, binary.read_bytes()) == ("image_qnn_w8a16_qnn.bin", b"binary")
    assert nodes == len(onnx.load(source).graph.node)
    (node,) = onnx.load(out).graph.node
    stored = {item.name: item.s for item in node.attribute}
    assert stored == {"ep_cache_context": binary.name.encode(), "notes": b"x"}


def test_a_model_of_the_cloud_with_other_inputs_is_told(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.archive = _context("float[1, 32, 32, 3] pixels")
    compiler = CloudCompiler.open(ELITE)
    with pytest.raises(ExportError, match=r"32, 32, 3\]; the tower takes pixels .*3, 32, 32\]"):
        compiler.compile(bundle.directory / "image.onnx", tmp_path / "image.onnx", ELITE)


def test_a_phone_s_embeddings_come_with_where_its_layers_ran(
    cloud: Cloud, bundle: Bundle, tmp_path: Path
) -> None:
    cloud.compute_units = ["NPU"] * 4 + ["CPU", "GPU"]
    compiler = CloudCompiler.open(ELITE)
    golden = bundle.image.golden
    rung = msgspec.structs.replace(bundle.image.rungs[0], notes=("Of before.",))
    inputs = {"pixels": bundle.array(golden.inputs["pixels"])}
    embeddings, ran = compiler.run(bundle, rung, inputs)
    assert np.allclose(embeddings, bundle.array(golden.embeddings), atol=1e-4)
    assert (ran.npu_nodes, ran.total_nodes) == (4, 6)
    before, note = ran.notes
    assert before == "Of before." and "compared on a Samsung Galaxy S25" in note


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"no zip", "which is not a zip of a precompiled model"),
        (_zip(onnx=b""), "holds 1 models and 0 context binaries"),
    ],
    ids=["no zip", "no binary"],
)
def test_archive_that_is_no_precompiled_model_is_told(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, archive: bytes, message: str
) -> None:
    cloud.archive = archive
    compiler = CloudCompiler.open(ELITE)
    with pytest.raises(ExportError, match=message):
        compiler.compile(bundle.directory / "image.onnx", tmp_path / "image.onnx", ELITE)
    assert not (tmp_path / "image.onnx").exists()


@pytest.mark.parametrize(
    ("lost", "message"), [("profile", "has no profile"), ("output", "produced nothing")]
)
def test_comparison_without_results_is_told(
    cloud: Cloud, bundle: Bundle, tmp_path: Path, lost: str, message: str
) -> None:
    cloud.without = {lost}
    compiler = CloudCompiler.open(ELITE)
    golden = bundle.image.golden.inputs["pixels"]
    inputs = {"pixels": np.load(bundle.path(golden))}
    with pytest.raises(AiHubError, match=message):
        compiler.run(bundle, bundle.image.rungs[0], inputs)
