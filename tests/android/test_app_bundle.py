"""App Bundles for Google Play, split for phones by Google's bundletool."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.play import PHONES, delivered, npu_archive
from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.engine.bundle import Bundle, FileRecord, TargetFacts
from tests.support.probe import variant
from tests.support.tiny_bundle import make_tiny_bundle

GEN_2 = TargetFacts("snapdragon-8-gen-2", 43, 73, "SM8550", fits=("SM8735",))
GEN_3 = TargetFacts("snapdragon-8-gen-3", 57, 75, "SM8650")


def with_binaries(folder: Path, *chips: TargetFacts) -> Bundle:
    """A tiny bundle with a file of each chip for its text tower's NPU."""
    tiny = make_tiny_bundle(folder / "tiny")
    (rung,) = tiny.text.rungs
    rungs = []
    for chip in chips:
        path = folder / "bundle" / chip.id / "text_qnn_w8a16.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(chip.chip.encode())
        files = (FileRecord.of(folder / "bundle", path),)
        rungs.append(replace(rung, runtime="qnn", precision="w8a16", chip=chip, files=files))
    text = replace(tiny.text, rungs=(*rungs, rung))
    return Bundle.load(variant(tiny, folder / "bundle", text=text, target=chips[0]))


@pytest.mark.slow
def test_google_play_gives_a_phone_the_npus_files_of_its_chip(tmp_path: Path) -> None:
    bundle = with_binaries(tmp_path, GEN_2, GEN_3)
    options = BuildOptions(aars=(npu_archive(bundle, tmp_path / "npu.aar"),))
    build_app(bundle, tmp_path / "demo.aab", options, aab=True)
    phones = delivered(tmp_path / "demo.aab", tmp_path)
    for name, chip in {"Snapdragon 8 Gen 2": GEN_2, "Snapdragon 8 Gen 3 for Galaxy": GEN_3}.items():
        module = chip.id.replace("-", "_")
        files = {apk: inside for apk, inside in phones[name]["apks"].items() if inside}
        assert phones[name]["groups"] == [module]
        assert files == {
            f"{module}-master": [f"assets/bundle/{chip.id}/text_qnn_w8a16.onnx"],
            f"{module}-arm64_v8a": [
                f"lib/arm64-v8a/libQnnHtpV{chip.htp_arch}{half}.so" for half in ("Skel", "Stub")
            ],
        }
    others = [name for name in PHONES if not phones[name]["groups"]]
    assert others == ["Snapdragon 8 Elite", "Dimensity 9300", "Tensor G4"]
    for name in others:
        assert [apk.partition("-")[0] for apk in phones[name]["apks"]] == ["base", "base"]
        assert not any(phones[name]["apks"].values())
    assert phones["Tensor G4"]["mb"] < phones["Snapdragon 8 Gen 2"]["mb"]
