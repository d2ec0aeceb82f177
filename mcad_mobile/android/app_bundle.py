"""Android App Bundles, from which Google Play makes what each phone gets: the base, and the files
for an NPU on phones with its chip alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mcad_mobile.android.build_tools import bundletool
from mcad_mobile.android.native_libraries import htp_libraries
from mcad_mobile.android.packages import Entry, complete_manifest, entries_of, link, write_package
from mcad_mobile.android.parts import ABI, ASSETS
from mcad_mobile.engine.bundle import Bundle, TargetFacts
from mcad_mobile.engine.towers import runtime_of

_DEVICE_GROUPS = "com.android.tools.build.bundletool/DeviceGroupConfig.json"
# Google Play compares whole names: the makers that phones with a Snapdragon name, and what follows
# a chip's name: SM8650-AC, SM8635P.
_MAKERS = ("QTI", "Qualcomm")
_VARIANTS = ("", "P", *(f"-A{letter}" for letter in "ABCDEF"))
_MANIFEST = "manifest/AndroidManifest.xml"
# A feature module, as an asset pack has no native libraries: ADR 45.
_FEATURE = """<manifest xmlns:android="http://schemas.android.com/apk/res/android"
        xmlns:dist="http://schemas.android.com/apk/distribution" split="{module}">
    <dist:module dist:title="@string/app_name">
        <dist:delivery>
            <dist:install-time>
                <dist:conditions>
                    <dist:device-groups>
                        <dist:device-group dist:name="{module}" />
                    </dist:device-groups>
                </dist:conditions>
            </dist:install-time>
        </dist:delivery>
        <dist:fusing dist:include="true" />
    </dist:module>
    <application android:hasCode="false" />
</manifest>
"""


def write_app_bundle(
    work: Path,
    linked: Path,
    resources: Path,
    dex: bytes,
    entries: list[Entry],
    package: str,
    bundle: Bundle | None,
    *,
    extracted: bool,
) -> None:
    """Write work/made.aab, unsigned: the manifest and the folder `resources` as `linked`, `dex` and
    `entries`. What an NPU of `bundle` needs of these goes into a module for the phones with its
    chip. `extracted` as for complete_manifest. BuildError."""
    chips = {} if bundle is None else _chips(bundle)
    of_chips = {name for names in chips.values() for name in names}
    base = [Entry("dex/classes.dex", dex), *(e for e in entries if e.name not in of_chips)]
    modules = [work / "base.zip"]
    write_package(modules[0], [*_for_modules(linked), *base])
    for chip, names in chips.items():
        name = _group(chip)
        folder = work / name
        folder.mkdir()
        manifest = complete_manifest(_FEATURE.format(module=name), package, extracted=extracted)
        # Its title is a string of the base, whose number only the same resources give.
        title = _for_modules(link(folder, manifest, resources, proto=True))
        inside = [entry for entry in [*title, *entries] if entry.name in {_MANIFEST, *names}]
        modules.append(folder / f"{name}.zip")
        write_package(modules[-1], inside)
    native = {"enabled": not extracted, "alignment": "PAGE_ALIGNMENT_16K"}
    config = work / "config.json"
    config.write_text(json.dumps({"optimizations": {"uncompressNativeLibraries": native}}))
    arguments = [f"--modules={','.join(map(str, modules))}", f"--config={config}"]
    if chips:
        groups = work / "groups.json"
        groups.write_text(json.dumps(_device_groups(chips)))
        arguments.append(f"--metadata-file={_DEVICE_GROUPS}:{groups}")
    bundletool(["build-bundle", *arguments, f"--output={work / 'made.aab'}"])


def _for_modules(linked: Path) -> list[Entry]:
    places = {"AndroidManifest.xml": _MANIFEST}
    return [replace(entry, name=places.get(entry.name, entry.name)) for entry in entries_of(linked)]


def _chips(bundle: Bundle) -> dict[TargetFacts, set[str]]:
    """Return the names of the entries that a chip alone needs."""
    chips: dict[TargetFacts, set[str]] = {}
    for tower in bundle.towers:
        for rung in bundle.tower(tower).rungs:
            if runtime_of(rung).for_one_chip:
                chip = bundle.chip(rung)
                libraries = [] if chip.htp_arch is None else htp_libraries(chip.htp_arch)
                names = chips.setdefault(chip, {f"lib/{ABI}/{name}" for name in libraries})
                names |= {f"{ASSETS}/{file.path}" for file in rung.files}
    return chips


def _group(chip: TargetFacts) -> str:
    return re.sub(r"\W", "_", chip.id)


def _device_groups(chips: Iterable[TargetFacts]) -> dict[str, object]:
    """Return bundletool's DeviceGroupConfig: which phones have which chip."""
    groups = []
    for chip in chips:
        models = [
            {"manufacturer": maker, "model": f"{model}{variant}"}
            for model in (chip.chip, *(chip.fits or ()))
            for variant in _VARIANTS
            for maker in _MAKERS
        ]
        groups.append({"name": _group(chip), "deviceSelectors": [{"systemOnChips": models}]})
    return {"deviceGroups": groups}
