"""The LiteRT rung in Java, by LiteRT's own Android library where an app has it. That one runs on
Android alone: a class of its name stands for it here, and asks LiteRT in Python."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct

from mcad_mobile.android.downloads import Artifact, fetch_unpinned
from mcad_mobile.android.parts import BuildOptions, gather_parts
from mcad_mobile.android.toolchain import compile_java
from mcad_mobile.base.progress import silent
from mcad_mobile.engine.bundle import Bundle, FileRecord, TensorSpec
from mcad_mobile.engine.towers import choose_rung
from mcad_mobile.errors import BuildError
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target
from tests.support.archives import archive
from tests.support.framework import ClassFile, called_methods, read_class
from tests.support.litert_towers import write_pair
from tests.support.paths import ROOT
from tests.support.probe import Probe, variant
from tests.support.pythons import needs_litert
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_students import write_open_clip

LIBRARY = [
    Artifact("org.tensorflow", name, "2.16.1", "aar")
    for name in ("tensorflow-lite", "tensorflow-lite-api")
]
STANDS_IN = ROOT / "tests" / "android" / "litert"
ECHO = """
package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter {
    public Interpreter(java.io.File model, Options options) {
        if (model.getName().equals("no_library.tflite")) {
            throw new UnsatisfiedLinkError("no native library");
        }
        if (model.getName().equals("no_model.tflite")) {
            throw new IllegalArgumentException("no model");
        }
    }

    public String[] getSignatureKeys() {
        return new String[] {"serving_default"};
    }

    public String[] getSignatureInputs(String key) {
        return new String[] {"args_0"};
    }

    public String[] getSignatureOutputs(String key) {
        return new String[] {"output_0"};
    }

    public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key) {
        ByteBuffer input = ((ByteBuffer) inputs.get("args_0")).duplicate();
        ByteBuffer output = (ByteBuffer) outputs.get("output_0");
        output.put(input.limit(input.position() + output.remaining()));
    }

    public void close() {}

    public static class Options {
        public Options setNumThreads(int threads) {
            return this;
        }
    }
}
"""


@pytest.fixture(scope="module")
def with_litert(java_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    folder = tmp_path_factory.mktemp("litert")
    classes = compile_java([STANDS_IN], [], folder / "classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCAD_TEST_PYTHON", sys.executable)
        patch.setenv("MCAD_TEST_SCRIPT", str(STANDS_IN / "run_signature.py"))
        probe = Probe(java_classes, folder, classes)
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def dimensity_like(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a tiny student; LiteRT knows no version of MediaTek's compiler for this chip."""
    folder = tmp_path_factory.mktemp("dimensity")
    student = load_student(f"open_clip:local-dir:{write_open_clip(folder / 'student')}")
    request = BundleRequest(find_target("dimensity-8200"), folder / "bundle")
    (made,) = export(student, [request], ExportOptions(samples=4, allow_low_parity=True))
    return made.bundle


@pytest.fixture(scope="module")
def echo(java_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    """An app whose LiteRT gives the first bytes of the input as its output, and refuses files of
    two names."""
    folder = tmp_path_factory.mktemp("echo")
    source = folder / "java" / "org" / "tensorflow" / "lite" / "Interpreter.java"
    source.parent.mkdir(parents=True)
    source.write_text(ECHO)
    probe = Probe(java_classes, folder, compile_java([folder / "java"], [], folder / "classes"))
    yield probe
    probe.close()


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_litert_is_given_what_its_input_stores_and_read_by_its_output_s_scale(
    echo: Probe, tmp_path: Path, dtype: str
) -> None:
    tiny = make_tiny_bundle(tmp_path / "tiny")
    whole = dtype != "float32"
    scales = {"scale": 0.005, "zero_point": 3}, {"scale": 0.25, "zero_point": -7}
    before, after = scales if whole else ({}, {})
    size = tiny.preprocess.size
    pixels = TensorSpec("pixels", dtype, (1, size, size, 3), "NHWC", **before)
    embedding = TensorSpec("image_embedding", dtype, (1, tiny.dim), "ND", **after)

    def run(photos: np.ndarray) -> np.ndarray:
        values = photos.transpose(0, 2, 3, 1).reshape(len(photos), -1)[:, : tiny.dim]
        if not whole:
            return values
        limits = np.iinfo(dtype)
        steps = np.rint(values / np.float32(0.005)) + 3
        return np.float32(0.25) * (np.clip(steps, limits.min, limits.max) + 7)

    folder = tmp_path / "bundle"
    folder.mkdir()
    np.save(folder / "echo.npy", run(np.load(tiny.path(tiny.image.golden.inputs["pixels"]))))
    rung = replace_struct(
        tiny.image.rungs[0], runtime="litert", inputs=(pixels,), outputs=(embedding,),
        expected=FileRecord.of(folder, folder / "echo.npy"),
    )  # fmt: skip
    image = replace_struct(tiny.image, rungs=(rung, *tiny.image.rungs))
    bundle = variant(tiny, folder, image=image)
    given = np.random.default_rng(1).uniform(-1, 1, (3, 3, size, size)).astype(np.float32)
    (tmp_path / "pixels").write_bytes(given.tobytes())
    found = echo.arrays("embed_pixels", bundle=bundle, pixels=tmp_path / "pixels")
    assert echo.ask("choose_rung", bundle=bundle, tower="image")["provider"] == "LITERT"
    assert np.array_equal(found, run(given))


@pytest.mark.parametrize("reason", ["no library", "no model"])
def test_where_litert_cannot_load_a_rung_the_next_one_runs(
    echo: Probe, tmp_path: Path, reason: str
) -> None:
    tiny, folder = make_tiny_bundle(tmp_path / "tiny"), tmp_path / "bundle"
    model = folder / f"{reason.replace(' ', '_')}.tflite"
    folder.mkdir()
    model.touch()
    rung = replace_struct(
        tiny.image.rungs[0], runtime="litert", files=(FileRecord.of(folder, model),)
    )
    image = replace_struct(tiny.image, rungs=(rung, *tiny.image.rungs))
    found = echo.ask("choose_rung", bundle=variant(tiny, folder, image=image), tower="image")
    assert found["runtime"] == "onnx"
    _, detail = found["skipped"][0]
    assert f"LiteRT cannot load {model}" in detail and reason.split()[1] in detail


@pytest.mark.parametrize("precision", ["w8a16", "w4a16"])
def test_litert_does_not_run_16_bit_activations_before_a_fast_rung(
    echo: Probe, tmp_path: Path, precision: str
) -> None:
    tiny = make_tiny_bundle(tmp_path / "tiny")
    rung = replace_struct(tiny.image.rungs[0], runtime="litert", precision=precision)
    image = replace_struct(tiny.image, rungs=(rung, *tiny.image.rungs))
    bundle = variant(tiny, tmp_path / "bundle", image=image)
    found = echo.ask("choose_rung", bundle=bundle, tower="image")
    assert found["runtime"] == "onnx"
    assert found["skipped"][0] == [
        "SLOW",
        f"litert {precision} by LiteRT, CPU: LiteRT has no fast CPU kernels for 16-bit activations",
    ]


@needs_litert
@pytest.mark.slow
@pytest.mark.parametrize(("name", "runtime"), [("image", "litert"), ("text", "onnx")])
def test_where_an_app_has_litert_it_takes_the_same_rung_as_python(
    with_litert, probe, dimensity_like, name, runtime
):
    folder = dimensity_like.directory
    assert dimensity_like.tower(name).rungs[0].runtime == "litert"
    found = with_litert.ask("choose_rung", bundle=folder, tower=name)
    assert found["runtime"] == choose_rung(dimensity_like, name).rung.runtime == runtime
    assert found["cosine"] > 0.9999  # to what its file gave in Python
    without = probe.ask("choose_rung", bundle=folder, tower=name)
    assert without["runtime"] == "onnx"
    assert without["skipped"][0][0] == "NO_RUNTIME"


@needs_litert
@pytest.mark.slow
def test_a_text_tower_that_reads_ids_runs_in_an_app(with_litert: Probe, tmp_path: Path) -> None:
    given = load_student(write_pair(tmp_path / "given"), preprocess="clip")
    request = BundleRequest(find_target("dimensity-8200"), tmp_path / "bundle")
    (made,) = export(given, [request], ExportOptions(samples=4))
    for name in ("image", "text"):
        found = with_litert.ask("choose_rung", bundle=made.bundle.directory, tower=name)
        assert found["runtime"] == "litert" and found["cosine"] > 0.9999


@needs_litert
@pytest.mark.slow
def test_an_app_keeps_litert_rungs_where_litert_is_or_comes_later(dimensity_like, tmp_path):
    classes = {"org/tensorflow/lite/Interpreter.class": b""}
    with zipfile.ZipFile(tmp_path / "classes.jar", "w") as jar:
        for name, data in classes.items():
            jar.writestr(name, data)
    own = archive(tmp_path / "litert.aar", {"classes.jar": (tmp_path / "classes.jar").read_bytes()})
    later = BuildOptions(litert=True, accept_licence="unknown")
    here = BuildOptions(aars=(own,), accept_licence="unknown")
    for options, litert in ((later, True), (here, True), (replace(later, litert=False), False)):
        work = tmp_path / f"work{len([*tmp_path.iterdir()])}"
        work.mkdir()
        parts = gather_parts(dimensity_like, options, work, silent)
        assert parts.bundle is not None
        assert (parts.bundle.image.rungs[0].runtime == "litert") == litert
        assert ("the app has no LiteRT" in parts.left_out.values()) != litert


def test_what_we_call_is_what_litert_has(java_classes):
    """Its predecessor of the same name, rather: LiteRT itself is not on Maven Central."""
    has: dict[str, ClassFile] = {}
    for artifact in LIBRARY:
        try:
            library = zipfile.ZipFile(fetch_unpinned(artifact))
        except BuildError as error:
            pytest.skip(f"Maven Central is out of reach: {error.message}")
        with zipfile.ZipFile(io.BytesIO(library.read("classes.jar"))) as classes:
            for name in classes.namelist():
                if name.endswith(".class"):
                    has[name.removesuffix(".class")] = read_class(classes.read(name))
    tower = (
        java_classes / "io" / "github" / "mcadmobile" / "engine" / "towers" / "LiteRtTower.class"
    ).read_bytes()
    called = [call for call in called_methods(tower) if call[0].startswith("org/tensorflow/")]
    assert {name for _, name, _ in called} == {
        *("<init>", "setNumThreads", "getSignatureKeys", "getSignatureInputs"),
        *("getSignatureOutputs", "runSignature", "close"),
    }

    def is_there(owner: str, name: str, types: str) -> bool:
        return owner in has and (
            (name, types) in has[owner].members
            or any(is_there(above, name, types) for above in has[owner].above)
        )

    assert [call for call in called if not is_there(*call)] == []
