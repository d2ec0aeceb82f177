"""The bundle as an app carries it: without the rungs that nothing there would run."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from mcad_mobile.bundle import TOWERS, Bundle, Rung, Tower
from mcad_mobile.errors import BuildError

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
