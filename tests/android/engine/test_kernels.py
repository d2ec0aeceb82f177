"""One bundle, the same embeddings in Java on other processors, x86 and Arm: the runner's self-test
on a JVM by qemu-user, with the 8-bit rungs of a bundle that was exported on this one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.self_test import Ladder, judge_ladder
from mcad_mobile.engine.bundle import TOWERS, Bundle
from tests.support.exported import Exported

pytestmark = pytest.mark.slow

# For a run of seconds a compiler, which is emulated too, costs as much as it saves.
QUICK = ("-Xint", "-XX:+UseSerialGC", "-Xmx512m")


@pytest.fixture(scope="session")
def bundle(cpu: Exported) -> Bundle:
    return Bundle.load(cpu.directory)


def check(emulated_java: list[str], classes: Path, bundle: Bundle, folder: Path) -> Ladder:
    """The Java runner's self-test of the first rungs, by a JVM on an emulated processor."""
    places = {"bundle": str(bundle.directory), "index": "", "photos": [], "scratch": ""}
    spec = Spec(bundle).document("check", places)
    spec["rungs"] = {name: [0] for name in TOWERS}
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [*emulated_java, *QUICK, "-cp", ":".join(map(str, [classes, *jvm_libraries()]))]
    done = subprocess.run(
        [*command, "io.github.mcadmobile.runner.Main", str(folder / "spec.json")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return judge_ladder(bundle, json.loads(done.stdout))


def assert_int8_passes(ladder: Ladder, provider: str) -> None:
    for rungs in ladder.values():
        (rung,) = rungs
        assert (rung["precision"], rung["status"], rung["why"]) == ("int8", "pass", "")
        assert rung["provider"] == provider


@pytest.mark.parametrize(
    ("processor", "provider"),
    [
        # AVX2 without VNNI, where the fast kernels overflow; SSE4 alone, where they are exact.
        ("Haswell-noTSX", "CPU, exact kernels"),
        ("Nehalem", "CPU"),
    ],
)
def test_x86_processors_give_in_java_what_the_files_say(
    qemu_x86: str,
    java_classes: Path,
    bundle: Bundle,
    tmp_path: Path,
    processor: str,
    provider: str,
) -> None:
    java = str(Path(executable(JAVA)).resolve())
    ladder = check([qemu_x86, "-cpu", processor, java], java_classes, bundle, tmp_path)
    assert_int8_passes(ladder, provider)


# ONNX Runtime has other 8-bit kernels for each: without dot product, with it, with i8mm.
@pytest.mark.parametrize("processor", ["cortex-a53", "cortex-a76", "neoverse-n2"])
def test_arm_processors_give_in_java_what_the_files_say(
    arm64: Path, java_classes: Path, bundle: Bundle, tmp_path: Path, processor: str
) -> None:
    java = next((arm64 / "usr" / "lib" / "jvm").glob("java-*-openjdk-arm64/bin/java"))
    emulated = ["qemu-aarch64", "-cpu", processor, "-L", str(arm64), str(java)]
    assert_int8_passes(check(emulated, java_classes, bundle, tmp_path), "CPU")
