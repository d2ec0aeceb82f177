"""One bundle, the same embeddings in Java on other x86 processors: the runner's self-test on a JVM
by qemu-user, with the 8-bit rungs of a bundle that was exported on this one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from exported import Exported

from mcad_mobile.android.downloads import ONNXRUNTIME_JVM, fetch
from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.bench.devices.base import Places, Spec
from mcad_mobile.bench.ladder import Ladder, judge_ladder
from mcad_mobile.bundle import TOWERS, Bundle

# For a run of seconds a compiler, which is emulated too, costs as much as it saves.
QUICK = ("-Xint", "-XX:+UseSerialGC", "-Xmx512m")


@pytest.fixture(scope="session")
def bundle(cpu: Exported) -> Bundle:
    return Bundle.load(cpu.directory)


def check_on_x86(qemu: str, processor: str, classes: Path, bundle: Bundle, folder: Path) -> Ladder:
    """The Java runner's self-test of the first rungs on an emulated processor."""
    places = Places(str(bundle.directory), "", (), "")
    spec = Spec(bundle, Path(), (), ()).document("check", places)
    spec["rungs"] = {name: [0] for name in TOWERS}
    (folder / "spec.json").write_text(json.dumps(spec))
    java = str(Path(executable(JAVA)).resolve())
    command = [qemu, "-cpu", processor, java, *QUICK]
    command += ["-cp", f"{classes}:{fetch(ONNXRUNTIME_JVM)}", "mcad.runner.Main"]
    done = subprocess.run(
        [*command, str(folder / "spec.json")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return judge_ladder(bundle, json.loads(done.stdout))


@pytest.mark.parametrize(
    ("processor", "provider"),
    [
        # AVX2 without VNNI, where the fast kernels overflow; SSE4 alone, where they are exact.
        ("Haswell-noTSX", "CPU, exact kernels"),
        pytest.param("Nehalem", "CPU", marks=pytest.mark.slow),
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
    ladder = check_on_x86(qemu_x86, processor, java_classes, bundle, tmp_path)
    for rungs in ladder.values():
        (rung,) = rungs
        assert (rung["precision"], rung["status"], rung["why"]) == ("int8", "pass", "")
        assert rung["provider"] == provider
