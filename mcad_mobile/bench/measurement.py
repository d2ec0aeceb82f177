"""Measure a bundle on a device, and judge it against the targets for memory and latency."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.base import machine
from mcad_mobile.base.documents import convert
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.bench.device_protocol import RESULT_SCHEMA, Device, Parts, Spec, TowerDevice
from mcad_mobile.bench.devices.host import EmulatedHost, EmulatorDevice, HostDevice
from mcad_mobile.bench.document import BenchDocument, TowerFacts
from mcad_mobile.bench.samples import (
    PHOTO_SIZE,
    index_photos,
    page_of_text,
    sample_photos,
    synthetic_index,
)
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.photos.video import check_decoder
from mcad_mobile.errors import BenchError, MissingExtra

# Everyday queries. The length decides how many tokens a text tower reads; most have two to six
# words.
QUERIES = tuple(
    resources.files("mcad_mobile.bench").joinpath("queries.txt").read_text("utf-8").splitlines()
)

MEMORY_LIMIT_MIB = 100.0
SEARCH_LIMIT_MS = 8.0
DEFAULT_PHOTOS = 100_000  # a large personal library, and what the targets are stated for
_DIGITS = 3
_VIDEOS = 3  # of an index, to decode


def open_device(
    name: str,
    compile_to: str | None = None,
    *,
    force: bool = False,
    runner: Path | None = None,
    aars: tuple[Path, ...] = (),
) -> Device | TowerDevice:
    """Open "host", "adb", "adb:SERIAL", "aihub:PHONE,PHONE" or "emulator". Options that only some
    devices use: see AdbDevice and AiHubDevice. BenchError: there is no such device."""
    kind, _, detail = name.partition(":")
    if name == "host":
        return EmulatedHost() if machine.emulator() else HostDevice()
    if name == "emulator":
        return EmulatorDevice()
    if kind == "adb":
        from mcad_mobile.bench.devices.adb import AdbDevice

        return AdbDevice(detail or None, force, runner, aars)
    if kind == "aihub":
        from mcad_mobile.bench.devices.aihub import AiHubDevice

        phones = tuple(filter(None, (phone.strip() for phone in detail.split(","))))
        if not phones:
            raise BenchError(
                "No phone of AI Hub is named.",
                'Name one or more: --device aihub:"Samsung Galaxy S25" '
                "(`qai-hub list-devices` lists them).",
            )
        return AiHubDevice(phones, compile_to, force)
    raise BenchError(
        f"No device is called {name!r}.",
        "Use host, adb, adb:SERIAL (`adb devices` lists them), aihub:PHONE, or emulator.",
    )


@dataclass(frozen=True)
class Workload:
    """The searches to measure, in the real `index`, whose photos are also decoded, or in an index
    of `synthetic` photos. `runtime` None leaves the choice to the ladder, `repeats` and
    `cool_down_s` None to the device."""

    index: Path | None = None
    synthetic: int = DEFAULT_PHOTOS
    searches: int = 200
    threads: int = 1
    runtime: str | None = None
    repeats: int | None = None
    cool_down_s: float | None = None
    decoded_photos: int = 24
    photo_size: tuple[int, int] = PHOTO_SIZE
    read_text: bool = False


def measure(
    bundle: Bundle,
    device: Device | TowerDevice,
    workload: Workload,
    progress: Progress = silent,
) -> Parts:
    """Return a mcad-bench/1 document per device, and why devices have no document."""
    if isinstance(device, TowerDevice):
        return bench_towers(bundle, device, runtime=workload.runtime, progress=progress)
    return [bench(bundle, workload, device, progress)], []


def bench(
    bundle: Bundle,
    workload: Workload = Workload(),
    device: Device | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure memory and latency of `bundle` on `device`, by default this host, and return the
    mcad-bench/1 document. BenchError, PhotoIndexError."""
    device = device or HostDevice()
    progress("identifying the device")
    device.check(bundle)
    if workload.read_text:
        bundle.tower("detector")  # BundleError if it has no reader
    with tempfile.TemporaryDirectory(prefix="mcad-bench-") as folder:
        index, photos_source = workload.index, "photos of the index"
        photos: list[Path] = []
        videos: list[Path] = []
        if index is None:
            index = Path(folder) / "index"
            progress(f"building an index of {workload.synthetic:,} synthetic photos")
            synthetic_index(bundle, index, workload.synthetic)
        else:
            photos = index_photos(bundle, index, workload.decoded_photos)
            with suppress(MissingExtra):
                check_decoder()
                videos = index_photos(bundle, index, _VIDEOS, videos=True)
        if not photos:
            count = workload.decoded_photos
            progress(f"making {count} photos to decode")
            photos = sample_photos(bundle, Path(folder), count, workload.photo_size)
            photos_source = (
                "the bundle's golden photos, enlarged to 12-megapixel JPEG files with grain"
            )
            if workload.read_text:
                photos.append(page_of_text(Path(folder)))
                photos_source += ", and a screenshot"
        repeats, cool_down_s = workload.repeats, workload.cool_down_s
        spec = Spec(
            bundle=bundle,
            index=index,
            queries=(*bundle.text.golden.texts, *QUERIES),
            photos=tuple(photos),
            videos=tuple(videos),
            searches=workload.searches,
            threads=workload.threads,
            runtime=workload.runtime,
            repeats=device.repeats if repeats is None else repeats,
            cool_down_s=device.cool_down_s if cool_down_s is None else cool_down_s,
            read_text=workload.read_text,
        )
        measured = device.measure(spec, progress)
    measured["index"]["source"] = str(
        workload.index or "synthetic embeddings, distributed like those of real photos"
    )
    measured["indexing"]["source"] = photos_source
    return complete_document(bundle, measured)


def bench_towers(
    bundle: Bundle,
    device: TowerDevice,
    *,
    runtime: str | None = None,
    progress: Progress = silent,
) -> Parts:
    """Measure the towers alone: a document per device, whose targets have no verdict, and why
    devices have no document."""
    parts, failures = device.measure_towers(bundle, runtime, progress)
    for measured in parts:
        measured["index"]["source"] = "none"
    return [complete_document(bundle, measured) for measured in parts], failures


def complete_document(bundle: Bundle, measured: dict[str, Any]) -> dict[str, Any]:
    """Complete a device's part (see Device.measure) to a mcad-bench/1 document. Figures are rounded
    before they are judged, so a reader sees what passed. BenchError: a figure is impossible."""
    document: dict[str, Any] = _rounded(
        {
            "schema": RESULT_SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "bundle": _bundle_facts(bundle),
            **measured,
        }
    )
    peak = document["memory_mib"]["peak_pss"]
    search = document["latency_ms"].get("total", {}).get("p50")
    document["targets"] = {
        "memory": _target("mib", MEMORY_LIMIT_MIB, peak),
        "search": _target("ms", SEARCH_LIMIT_MS, search),
    }
    hint = "Measure again; if it stays so, report this."
    convert(document, BenchDocument, "The measured result", BenchError, hint)
    return document


def _target(unit: str, limit: float, measured: float | None) -> dict[str, Any]:
    passed = None if measured is None else measured <= limit
    return {f"limit_{unit}": limit, f"measured_{unit}": measured, "pass": passed}


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "created": bundle.created,
        "student": msgspec.to_builtins(bundle.student),
        "target": msgspec.to_builtins(bundle.target),
        "dim": bundle.dim,
        "tools": bundle.tools,
        "towers": {
            name: [
                {fact: getattr(rung, fact) for fact in TowerFacts.__struct_fields__}
                for rung in bundle.tower(name).rungs
            ]
            for name in TOWERS
        },
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
