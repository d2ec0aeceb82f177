"""What goes into an app or a library: the bundle's rungs that run there, and the native libraries
that run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcad_mobile.android.aar import Libraries, libraries
from mcad_mobile.android.downloads import Progress
from mcad_mobile.android.lean import NO_NPU, NO_QNN, lean
from mcad_mobile.android.maven import Artifact
from mcad_mobile.android.npu import ABI as NPU_ABI
from mcad_mobile.android.npu import QUALCOMM, npu_archives
from mcad_mobile.android.package import Entry
from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.errors import BuildError

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
