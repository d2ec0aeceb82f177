"""The parts of an app or library: build options, the bundle's rungs that run there, and the native
libraries that run them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from mcad_mobile.android.downloads import (
    ONNXRUNTIME_QNN,
    QUALCOMM_LICENCE,
    Artifact,
    fetch,
    fetch_unpinned,
)
from mcad_mobile.android.native_libraries import Libraries, libraries, qnn_version
from mcad_mobile.android.notices import check_licence, notices
from mcad_mobile.android.packages import Entry
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import MANIFEST, READER_SHAPES, Bundle, Rung, Tower
from mcad_mobile.engine.towers import runtime_of
from mcad_mobile.engine.towers.litert import SLOW_16_BITS
from mcad_mobile.errors import BuildError

ABI = "arm64-v8a"  # the ABI of phones, and the only one Qualcomm publishes its runtime for
ASSETS = "assets/bundle"
QUALCOMM = "com.qualcomm.qti"
NO_NPU = "nothing in the app can run it: give --npu, or by --aar what the NPU needs"
NO_QNN = "the archives hold no {}"
_FOR_SNAPDRAGONS = "Qualcomm's runtime"
_NO_RUNTIME = "the app has no {}"
_FLOAT = "not needed beside an 8-bit rung; --keep-float keeps it"
_LICENCE = "{} is under the {}: read it before you give the app to others."


@dataclass(frozen=True)
class BuildOptions:
    """Options of an app or library: the ABIs that it runs on; Android archives to merge (a QNN
    runtime); an archive with ONNX Runtime that replaces ours; whether to fetch what the bundle's
    Snapdragon rungs need, under Qualcomm's own licence; whether to keep float rungs behind
    quantized ones; the accepted licence of weights that not everyone may ship; whether a library
    searches only its app's own photos, so that its manifest needs no permissions; and whether to
    keep LiteRT rungs although the archives lack LiteRT, which the app that uses the library
    adds."""

    abis: tuple[str, ...] = (ABI,)
    aars: tuple[Path, ...] = ()
    onnxruntime: Path | None = None
    npu: bool = False
    keep_float: bool = False
    accept_licence: str | None = None
    own_photos: bool = False
    litert: bool = False


DEFAULTS = BuildOptions()


@dataclass(frozen=True)
class Parts:
    """Native libraries and jars, the archives fetched for an NPU, the bundle to pack (None without
    one), the reason for each rung that is left out, and all licences, as assets."""

    libraries: Libraries
    fetched: dict[Path, Artifact] = field(default_factory=dict)
    bundle: Bundle | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    notices: list[Entry] = field(default_factory=list)

    def assets(self) -> list[Entry]:
        """The bundle's files and the notices, as assets."""
        if self.bundle is None:
            return self.notices
        names = sorted({MANIFEST, *(record.path for record in self.bundle.files())})
        folder = self.bundle.directory
        files = [Entry(f"{ASSETS}/{name}", (folder / name).read_bytes()) for name in names]
        return [*files, *self.notices]


def gather_parts(
    bundle: Bundle | None,
    options: BuildOptions,
    work: Path,
    progress: Progress,
    *,
    as_dependency: bool = False,
) -> Parts:
    """Fetch what `bundle` needs, except ONNX Runtime `as_dependency`, and unpack it into the folder
    `work` without the rungs that the app cannot run. BuildError, also for weights that not everyone
    may ship, unless their licence was accepted."""
    if bundle is not None:
        check_licence(bundle, options.accept_licence)
    fetched: dict[Path, Artifact] = {}
    if options.npu:
        if bundle is None:
            raise BuildError(
                "--npu needs a bundle: Qualcomm's runtime must have its compiler's version.",
                "Give --bundle DIR, or the archives with --aar.",
            )
        _check_npu(options)
        fetched = npu_archives(bundle, progress)
    found = libraries(
        work,
        options.abis,
        [*options.aars, *fetched],
        onnxruntime=options.onnxruntime,
        as_dependency=as_dependency,
        progress=progress,
    )
    found.notes += [
        _LICENCE.format(artifact, QUALCOMM_LICENCE)
        for artifact in fetched.values()
        if artifact.group == QUALCOMM
    ]
    texts = notices(found, fetched, bundle)
    if bundle is None:
        return Parts(found, fetched, notices=texts)
    supplied = bool(options.aars or fetched) or options.onnxruntime is not None
    _check_qnn_version(bundle, found.qnn_version)
    htp_archs = [chip.htp_arch for chip in bundle.chips if chip.htp_arch is not None]
    if htp_archs:
        found.keep_for_npu(htp_archs)
    missing = found.missing_for_npu(htp_archs)
    no_npu = missing and (NO_QNN.format(missing) if supplied else NO_NPU)
    packed, left_out = pack_bundle(
        bundle,
        work / "bundle",
        keep_float=options.keep_float,
        no_npu=no_npu,
        litert=found.litert or options.litert,
    )
    return Parts(found, fetched, packed, left_out, texts)


def pack_bundle(
    bundle: Bundle,
    directory: Path,
    *,
    keep_float: bool,
    no_npu: str | None,
    litert: bool = False,
) -> tuple[Bundle, dict[str, str]]:
    """Copy the bundle into `directory` without the rungs that the app cannot run or does not need.

    Float rungs are most of a bundle's bytes. A float rung behind a quantized one is left out,
    unless `keep_float` is set or the quantized rung has low parity. `no_npu` says why the app
    cannot run QNN rungs, or is None; `litert` says whether it runs LiteRT rungs. Return the copy,
    and the reason for each rung left out ("image qnn w8a16").
    BuildError: a tower has no rung left.
    """
    left_out: dict[str, str] = {}
    towers: dict[str, Tower] = {}
    for name in bundle.towers:
        kept: list[Rung] = []
        quantized = False
        for rung in bundle.tower(name).rungs:
            reason = _why_left_out(rung, no_npu, litert, quantized and not keep_float)
            if reason is None:
                kept.append(rung)
                quantized |= (
                    runtime_of(rung).on_any_cpu and rung.precision != "fp32" and not rung.low_parity
                )
            else:
                left_out[f"{name} {rung.name}"] = reason
        if not kept:
            raise BuildError(
                f"{bundle.directory} has no {name} tower that the app can run: "
                f"{'; '.join(f'{rung}: {reason}' for rung, reason in left_out.items())}.",
                "Export it again: every bundle from torch or ONNX ends in an ONNX CPU model.",
            )
        towers[name] = structs.replace(bundle.tower(name), rungs=tuple(kept))
    reader, other = bundle.reader, bundle.multilingual
    if reader is not None:
        reader = structs.replace(reader, **{name: towers.pop(name) for name in READER_SHAPES})
    if other is not None:
        other = structs.replace(other, text=towers.pop("multilingual"))
    packed = structs.replace(
        bundle, directory=directory, reader=reader, multilingual=other, **towers
    )
    for record in packed.files():
        copy = directory / record.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(record), copy)
    packed.save()
    packed.verify()
    return packed, left_out


def _why_left_out(rung: Rung, no_npu: str | None, litert: bool, drop_float: bool) -> str | None:
    runtime = runtime_of(rung)
    reasons = {
        "ONNX Runtime": None,
        _FOR_SNAPDRAGONS: no_npu,
        **({"LiteRT": None} if litert else {}),
    }
    if runtime.in_app not in reasons:
        return _NO_RUNTIME.format(runtime.label)
    if runtime.slow_on_cpus(rung):
        return SLOW_16_BITS
    if drop_float and runtime.on_any_cpu and rung.precision == "fp32":
        return _FLOAT
    return reasons[runtime.in_app]


def _check_npu(options: BuildOptions) -> None:
    if set(options.abis) != {ABI}:
        raise BuildError(
            f"Qualcomm publishes its runtime only for {ABI}, not for {', '.join(options.abis)}.",
            f"Leave out --npu, or build for --abi {ABI} only.",
        )
    if options.aars or options.onnxruntime is not None:
        raise BuildError(
            "--npu fetches ONNX Runtime and Qualcomm's runtime, but other archives were given.",
            "Leave out --npu, or --aar and --onnxruntime-aar.",
        )


def npu_archives(bundle: Bundle, progress: Progress = silent) -> dict[Path, Artifact]:
    """Fetch ONNX Runtime with QNN, and Qualcomm's runtime, if the bundle has QNN rungs.
    BuildError."""
    runtime = qnn_runtime(bundle)
    if runtime is None:
        return {}
    assert isinstance(ONNXRUNTIME_QNN.source, Artifact)
    return {
        fetch(ONNXRUNTIME_QNN, progress): ONNXRUNTIME_QNN.source,
        fetch_unpinned(runtime, progress): runtime,
    }


def qnn_runtime(bundle: Bundle) -> Artifact | None:
    """Return the runtime in the version that compiled the bundle's QNN rungs, since an older one
    cannot load them; None for a bundle without such rungs. BuildError if the version is not
    known."""
    files = _qnn_files(bundle)
    if not files:
        return None
    version = qnn_version(path.read_bytes() for path in files)
    if version is None:
        raise BuildError(
            f"The QNN rungs of {bundle.directory} do not say which compiler made them.",
            "Give Qualcomm's runtime of that version by hand: --aar qnn-runtime-VERSION.aar.",
        )
    return Artifact(QUALCOMM, "qnn-runtime", ".".join(map(str, version)), "aar")


def _check_qnn_version(bundle: Bundle, runtime: tuple[int, ...] | None) -> None:
    compiler = qnn_version(path.read_bytes() for path in _qnn_files(bundle))
    if runtime is None or compiler is None or runtime >= compiler:
        return
    old, new = (".".join(map(str, version)) for version in (runtime, compiler))
    raise BuildError(
        f"The archives hold Qualcomm's runtime {old}, which loads no binary of a later compiler; "
        f"{bundle.directory} was compiled by {new}.",
        f"Give {QUALCOMM}:qnn-runtime:{new} or later: --aar qnn-runtime-{new}.aar.",
    )


def _qnn_files(bundle: Bundle) -> list[Path]:
    return [
        bundle.path(file)
        for name in bundle.towers
        for rung in bundle.tower(name).rungs
        if runtime_of(rung).in_app == _FOR_SNAPDRAGONS
        for file in rung.files
    ]
