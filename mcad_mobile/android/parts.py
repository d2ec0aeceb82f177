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

ABI = "arm64-v8a"
ASSETS = "assets/bundle"
_LICENCE = "{} is under Qualcomm's own licence: read it before you give the app to others."


@dataclass(frozen=True)
class Parts:
    """What is taken from where: `aars` are Android archives to merge (a QNN runtime),
    `onnxruntime` is one that takes the place of ours, `r8` a jar with D8. From a Maven `repository`
    comes ONNX Runtime and, where the bundle has rungs for a Snapdragon's NPU and no `aars` are
    given, what these need."""

    aars: tuple[Path, ...] = ()
    onnxruntime: Path | None = None
    r8: Path | None = None
    repository: str | None = None


OURS = Parts()


@dataclass(frozen=True)
class Gathered:
    """Native libraries and jars, those of their archives that came from a Maven repository, the
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
    if bundle and parts.repository is not None and not chosen and set(abis) == {NPU_ABI}:
        fetched = npu_archives(bundle, parts.repository, progress)
    found = libraries(
        work,
        abis,
        [*parts.aars, *fetched],
        onnxruntime=parts.onnxruntime,
        repository=parts.repository,
        progress=progress,
    )
    found.notes += [_LICENCE.format(what) for what in fetched.values() if what.group == QUALCOMM]
    if bundle is None:
        return Gathered(found, fetched)
    no_npu = None if found.runs_npu() else NO_QNN if chosen else NO_NPU
    packed, left_out = lean(bundle, work / "bundle", keep_float=keep_float, no_npu=no_npu)
    return Gathered(found, fetched, packed, left_out)
