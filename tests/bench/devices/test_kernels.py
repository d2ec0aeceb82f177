"""One bundle, the same embeddings on every kind of processor: the lean runner by qemu-user, with
the CPU rungs of bundles that were exported on this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import onnxruntime as ort
import pytest
from msgspec.structs import replace

import mcad_mobile
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices.host import EmulatorDevice, HostLauncher
from mcad_mobile.bench.self_test import Ladder
from mcad_mobile.bench.session import Session
from mcad_mobile.engine.bundle import TOWERS, Bundle, Tower
from tests.support.exported import Exported

# SSE4 alone, AVX2 without VNNI (Intel, AMD). With VNNI: this machine, where it has it, by all
# other tests; qemu knows no AVX-512.
X86 = {"Nehalem": "CPU", "Haswell-noTSX": "CPU, exact kernels", "EPYC": "CPU, exact kernels"}
# Without dot product, with it, with i8mm too.
ARM = ("cortex-a53", "cortex-a76", "neoverse-n2")


# What `make test` runs of them: AVX2.
QUICK = {("cpu", "Haswell-noTSX")}


def on(processors: Iterable[str]) -> pytest.MarkDecorator:
    """Each kind of bundle on each of these."""
    pairs = product(("cpu", "dimensity"), processors)
    given = [pytest.param(*p, marks=[] if p in QUICK else pytest.mark.slow) for p in pairs]
    return pytest.mark.parametrize(("exported", "processor"), given, indirect=["exported"])


def quantized(bundle: Bundle) -> Bundle:
    """Without the float rungs, which come last: qemu multiplies and adds floats in software."""
    return replace(bundle, image=_quantized(bundle.image), text=_quantized(bundle.text))


def _quantized(tower: Tower) -> Tower:
    rungs = tuple(rung for rung in tower.rungs if rung.precision != "fp32")
    assert rungs == tower.rungs[: len(rungs)]
    return replace(tower, rungs=rungs)


def check_on_x86(qemu: str, processor: str, bundle: Bundle) -> Ladder:
    """The self-test of all rungs on an emulated processor."""
    paths = [str(Path(mcad_mobile.__file__).parents[1]), str(Path(ort.__file__).parents[1])]
    python = str(Path(sys.executable).resolve())
    command = [qemu, "-cpu", processor, python, "-m", "mcad_mobile.bench.runner"]
    command[1:1] = ["-E", f"PYTHONPATH={os.pathsep.join(paths)}"]
    spec = Spec(bundle)
    return Session(HostLauncher(spec, Path(), 600, tuple(command)), spec).check()[0]


def statuses(ladder: Ladder) -> list[str]:
    """Of all rungs that run on a CPU."""
    return [
        f"{name} {rung['runtime']} {rung['precision']} {rung['status']} {rung['why']}".strip()
        for name, rungs in ladder.items()
        for rung in rungs
        if (rung["runtime"], rung["precision"]) != ("litert", "w8a16")
    ]


def expected(bundle: Bundle) -> list[str]:
    return [
        f"{name} {rung.name} pass"
        for name in TOWERS
        for rung in bundle.tower(name).rungs
        if (rung.runtime, rung.precision) != ("litert", "w8a16")
    ]


@on(X86)
def test_x86_processors_give_what_the_files_say(
    qemu_x86: str, exported: Exported, processor: str
) -> None:
    tried = quantized(Bundle.load(exported.directory))
    ladder = check_on_x86(qemu_x86, processor, tried)
    assert statuses(ladder) == expected(tried)
    by = {r["provider"] for r in ladder["text"] if r["precision"] == "int8"}
    assert by == {X86[processor]}


@pytest.mark.usefixtures("recent_qemu")
@on(ARM)
def test_arm_processors_give_what_the_files_say(
    arm64: Path, exported: Exported, processor: str
) -> None:
    tried = quantized(Bundle.load(exported.directory))
    device = EmulatorDevice(root=arm64, processor=processor)
    ((document,), failures) = device.measure_towers(tried)
    assert failures == []
    assert statuses(document["ladder"]) == expected(tried)
    for rungs in document["ladder"].values():
        assert min(r["cosine_min"] for r in rungs if r["cosine_min"] is not None) > 0.9999


@pytest.mark.usefixtures("recent_qemu")
@pytest.mark.slow
@pytest.mark.parametrize("processor", [*X86, *ARM])
def test_float_rungs_too_are_the_same_everywhere(
    qemu_x86: str, arm64: Path, cpu: Exported, processor: str
) -> None:
    whole = Bundle.load(cpu.directory)
    if processor in X86:
        ladder = check_on_x86(qemu_x86, processor, whole)
    else:
        device = EmulatorDevice(root=arm64, processor=processor)
        ladder = device.measure_towers(whole)[0][0]["ladder"]
    assert statuses(ladder) == expected(whole)


@pytest.mark.slow
def test_without_exact_kernels_a_processor_without_vnni_is_found_out(
    qemu_x86: str, cpu: Exported, tmp_path: Path
) -> None:
    """The self-test sees what overflows: nothing else has to know the processor."""
    (tmp_path / "sitecustomize.py").write_text(
        "from mcad_mobile.engine.towers import onnx\nonnx.saturates = lambda: False\n"
    )
    bundle = quantized(Bundle.load(cpu.directory))
    paths = [str(tmp_path), str(Path(mcad_mobile.__file__).parents[1])]
    paths.append(str(Path(ort.__file__).parents[1]))
    python = str(Path(sys.executable).resolve())
    command = [qemu_x86, "-E", f"PYTHONPATH={os.pathsep.join(paths)}", "-cpu", "Haswell-noTSX"]
    command += [python, "-m", "mcad_mobile.bench.runner"]
    spec = Spec(bundle)
    ladder = Session(HostLauncher(spec, Path(), 600, tuple(command)), spec).check()[0]
    for rungs in ladder.values():
        assert [rung["status"] for rung in rungs] == ["fail"]
        assert "are wrong here: cosine 0.9" in rungs[0]["why"]


def test_a_lossy_bundle_is_judged_by_its_own_file(cpu: Exported) -> None:
    """Its loss to the float student is not this machine's: the rung passes all the same."""
    from mcad_mobile.engine.towers import choose_rung

    bundle = Bundle.load(cpu.directory)
    text = replace(bundle.text, golden=replace(bundle.text.golden, embeddings=bundle.sample))
    assert choose_rung(replace(bundle, text=text), "text").rung.precision == "int8"
