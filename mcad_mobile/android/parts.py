"""What goes into an app or a library: the bundle's rungs that run there, and the native libraries
that run them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mcad_mobile.android.aar import Libraries, libraries
from mcad_mobile.android.downloads import ONNXRUNTIME_QNN, Artifact, fetch, fetch_unpinned
from mcad_mobile.android.package import Entry
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import MANIFEST, TOWERS, Bundle, Rung, Tower
from mcad_mobile.errors import BuildError

# The bundle as an app carries it: without the rungs that nothing there would run.

NO_NPU = "nothing in the app can run it: give --npu, or by --aar what the NPU needs"
NO_QNN = "the archives given hold no ONNX Runtime with QNN, or no libQnnHtp.so"
_NO_RUNTIME = "the app has no {}"
_FLOAT = "behind an 8-bit rung; --keep-float keeps it"


def lean(
    bundle: Bundle, directory: Path, *, keep_float: bool, no_npu: str | None
) -> tuple[Bundle, dict[str, str]]:
    """A copy of the bundle in `directory`, and why each rung is not in it ("image qnn w8a16").

    QNN rungs stay out where there is a reason for it, `no_npu`; float ones behind quantized ones
    unless `keep_float`, or the quantized one was exported with low parity: they are most of a
    bundle's bytes. BuildError if a tower has no rung left.
    """
    left_out: dict[str, str] = {}
    towers: dict[str, Tower] = {}
    for name in TOWERS:
        kept: list[Rung] = []
        quantized = False
        for rung in bundle.tower(name).rungs:
            why = _why_not(rung, no_npu, quantized and not keep_float)
            if why is None:
                kept.append(rung)
                quantized |= rung.runtime == "onnx" and _is_enough(rung)
            else:
                left_out[f"{name} {rung.runtime} {rung.precision}"] = why
        if not kept:
            raise BuildError(
                f"{bundle.directory} has no {name} tower that the app can run.",
                "Export it again: every bundle ends in an ONNX CPU model.",
            )
        towers[name] = msgspec.structs.replace(bundle.tower(name), rungs=tuple(kept))
    packed = msgspec.structs.replace(bundle, directory=directory, **towers)
    for record in packed.files():
        copy = directory / record.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(record), copy)
    packed.save()
    packed.verify()
    return packed, left_out


def _why_not(rung: Rung, no_npu: str | None, drop_float: bool) -> str | None:
    if rung.runtime == "qnn":
        return no_npu
    if rung.runtime != "onnx":
        return _NO_RUNTIME.format({"litert": "LiteRT"}.get(rung.runtime, rung.runtime))
    return _FLOAT if drop_float and rung.precision == "fp32" else None


def _is_enough(rung: Rung) -> bool:
    """Whether a CPU rung needs no float one behind it."""
    return rung.precision != "fp32" and not rung.low_parity


# What a Snapdragon's NPU needs in an app.

QUALCOMM = "com.qualcomm.qti"
NPU_ABI = "arm64-v8a"  # the one that Qualcomm publishes for phones
# How Qualcomm's compiler signs what it makes: version, and day and time of its build.
_SIGNATURE = re.compile(rb"v(\d+\.\d+\.\d+)\.\d{12}")


def qnn_runtime(bundle: Bundle) -> Artifact | None:
    """The runtime that goes with the compiler of the bundle's QNN rungs, or None if it has none: an
    older one does not load what a newer compiler made. BuildError if they do not say which."""
    files = [
        bundle.path(file)
        for name in TOWERS
        for rung in bundle.tower(name).rungs
        if rung.runtime == "qnn"
        for file in rung.files
    ]
    if not files:
        return None
    found = {version for path in files for version in _SIGNATURE.findall(path.read_bytes())}
    if not found:
        raise BuildError(
            f"The QNN rungs of {bundle.directory} do not say which compiler made them.",
            "Give Qualcomm's runtime of that version by hand: --aar qnn-runtime-VERSION.aar.",
        )
    version = max(found, key=lambda text: tuple(map(int, text.split(b".")))).decode()
    return Artifact(QUALCOMM, "qnn-runtime", version, "aar")


def npu_archives(bundle: Bundle, progress: Progress = silent) -> dict[Path, Artifact]:
    """ONNX Runtime with QNN and Qualcomm's runtime, fetched once; none for a bundle without QNN
    rungs. BuildError."""
    runtime = qnn_runtime(bundle)
    if runtime is None:
        return {}
    assert isinstance(ONNXRUNTIME_QNN.source, Artifact)
    return {
        fetch(ONNXRUNTIME_QNN, progress): ONNXRUNTIME_QNN.source,
        fetch_unpinned(runtime, progress): runtime,
    }


ABI = "arm64-v8a"
ASSETS = "assets/bundle"
_LICENCE = "{} is under Qualcomm's own licence: read it before you give the app to others."


@dataclass(frozen=True)
class Parts:
    """What the user chooses: `aars` are Android archives to merge (a QNN runtime), `onnxruntime` is
    one that takes the place of ours, `r8` a jar with D8. With `npu`, what the bundle's rungs for a
    Snapdragon's NPU need is fetched, Qualcomm's runtime under its own licence."""

    aars: tuple[Path, ...] = ()
    onnxruntime: Path | None = None
    r8: Path | None = None
    npu: bool = False


OURS = Parts()


@dataclass(frozen=True)
class Gathered:
    """Native libraries and jars, those of their archives that were fetched for an NPU, the
    bundle as it goes in (None without one), and why rungs of it are left out."""

    found: Libraries
    fetched: dict[Path, Artifact] = field(default_factory=dict)
    bundle: Bundle | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def assets(self) -> list[Entry]:
        """The bundle's files, as assets."""
        if self.bundle is None:
            return []
        names = sorted({MANIFEST, *(record.path for record in self.bundle.files())})
        folder = self.bundle.directory
        return [Entry(f"{ASSETS}/{name}", (folder / name).read_bytes()) for name in names]


def gather(
    bundle: Bundle | None,
    parts: Parts,
    abis: Sequence[str],
    work: Path,
    *,
    keep_float: bool,
    progress: Progress,
) -> Gathered:
    """Fetch and unpack into `work` what `bundle` needs on processors of `abis`; rungs that nothing
    there can run stay out. BuildError."""
    fetched: dict[Path, Artifact] = {}
    chosen = bool(parts.aars) or parts.onnxruntime is not None
    if bundle and parts.npu:
        _check_npu(parts, abis)
        fetched = npu_archives(bundle, progress)
    found = libraries(
        work,
        abis,
        [*parts.aars, *fetched],
        onnxruntime=parts.onnxruntime,
        progress=progress,
    )
    found.notes += [_LICENCE.format(what) for what in fetched.values() if what.group == QUALCOMM]
    if bundle is None:
        return Gathered(found, fetched)
    no_npu = None if found.runs_npu() else NO_QNN if chosen else NO_NPU
    packed, left_out = lean(bundle, work / "bundle", keep_float=keep_float, no_npu=no_npu)
    return Gathered(found, fetched, packed, left_out)


def _check_npu(parts: Parts, abis: Sequence[str]) -> None:
    if set(abis) != {NPU_ABI}:
        raise BuildError(
            f"Qualcomm publishes its runtime for {NPU_ABI} alone, not for {', '.join(abis)}.",
            f"Leave out --npu, or build for --abi {NPU_ABI} only.",
        )
    if parts.aars or parts.onnxruntime is not None:
        raise BuildError(
            "--npu fetches ONNX Runtime and Qualcomm's runtime, and other archives were given.",
            "Leave out --npu, or --aar and --onnxruntime-aar.",
        )
