"""The tables of docs/models.md: our exports, and what cannot be exported."""

from __future__ import annotations

import string
from typing import Any

from benchmarks.main_job import processor_of
from mcad_mobile.base.licences import find_licence
from mcad_mobile.bench.report.rows import BUSY_SHARE
from mcad_mobile.engine.bundle import TOWERS
from mcad_mobile.students import open_clip, transformers
from mcad_mobile.students.weights_licences import weights_licence
from scripts.pages.results import extent, when

# Published weights of the architectures exported with random ones: their names in open_clip or on a
# hub, with the prefix for `--student`.
PUBLISHED = {
    "TinyCLIP-ViT-8M-16-Text-3M": ("hf:wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M",),
    "MobileCLIP2-S0": ("open_clip:MobileCLIP2-S0:dfndr2b",),
    "MobileCLIP2-S2": ("open_clip:MobileCLIP2-S2:dfndr2b",),
    "MobileCLIP-S1": ("open_clip:MobileCLIP-S1:datacompdr",),
    "MobileCLIP-B": ("open_clip:MobileCLIP-B:datacompdr_lt",),
    "RN50": ("open_clip:RN50:openai",),
    "ViT-B-32": ("open_clip:ViT-B-32:laion2b_s34b_b79k", "open_clip:ViT-B-32:openai"),
    "ViT-B-16": ("open_clip:ViT-B-16:datacomp_xl_s13b_b90k", "open_clip:ViT-B-16:dfn2b"),
    "CLIP ViT-B/32, transformers": ("hf:openai/clip-vit-base-patch32",),
    "Chinese-CLIP": ("hf:OFA-Sys/chinese-clip-vit-base-patch16",),
    "SigLIP, transformers": ("hf:google/siglip-base-patch16-224",),
    "SigLIP 2, transformers": ("hf:google/siglip2-base-patch16-224",),
    "ViT-B-16-SigLIP": ("open_clip:ViT-B-16-SigLIP:webli",),
    "ViT-B-32-SigLIP2-256": ("open_clip:ViT-B-32-SigLIP2-256:webli",),
    "PE-Core-T-16-384": ("open_clip:PE-Core-T-16-384:meta",),
    "PE-Core-S-16-384": ("open_clip:PE-Core-S-16-384:meta",),
    "MobileCLIP2-S3": ("open_clip:MobileCLIP2-S3:dfndr2b",),
    "MobileCLIP2-S4": ("open_clip:MobileCLIP2-S4:dfndr2b",),
    "MetaCLIP-2-S16, transformers": ("hf:facebook/metaclip-2-worldwide-s16",),
    "TinyCLIP-ViT-40M-32-Text-19M": ("hf:wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M",),
}
_COLUMNS = (
    *("`--student`", "licence", "image + text, MB: Snapdragon", "CPU", "worst cosine to float"),
    *("export: processor s", "server: search, ms", "peak MiB"),
)


def models_table(exported: list[dict[str, Any]]) -> list[str]:
    """Return a row for each of the published weights: what our export of its architecture took."""
    servers = sorted({processor_of(found["search"]["device"]) for found in exported})
    letters = dict(zip(servers, string.ascii_uppercase, strict=False))
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for found in exported:
        cells = _exported(found, letters)
        lines += [_row(spec, cells) for spec in PUBLISHED[found["student"]]]
    return ["", *lines, "", f"{_servers(exported, letters)} Exports: {when(exported)}.", ""]


def refused_table() -> list[str]:
    """Return a row per kind of model that cannot be exported: the reasons that errors give."""
    lines = ["", "| `--student` | model | why not |", "|---|---|---|"]
    refused = {"hf": transformers.REFUSED.values(), "open_clip": open_clip.REFUSED}
    for prefix, of_library in refused.items():
        for models, why in dict.fromkeys(of_library):
            lines.append(f"| `{prefix}:` | {models} | {why} |")
    return [*lines, ""]


def _servers(exported: list[dict[str, Any]], letters: dict[str, str]) -> str:
    """Return what ran the searches, and what empty cells mean where there are some."""
    searches = [found["search"] for found in exported]
    dates = sorted({search["date"] for search in searches})
    named = "; ".join(f"{letter} = {server}" for server, letter in letters.items())
    note = f"Servers: {named}; {extent(dates[0], dates[-1])}. Compare only times of one server."
    if any(map(_delayed, searches)):
        note += (
            " Where the time is missing, other work delayed the search (`waited_share` over "
            f"{BUSY_SHARE})."
        )
    return note


def _row(spec: str, exported: list[str]) -> str:
    licence = find_licence(weights_licence(None, spec.partition(":")[2]).name)
    cells = [f"`{spec}`", licence.name + (f", {licence.limit}" if licence.limit else ""), *exported]
    return f"| {' | '.join(cells)} |"


def _exported(found: dict[str, Any], letters: dict[str, str]) -> list[str]:
    targets = found["targets"]
    sizes = (
        "\u00a0+\u00a0".join(
            f"{targets[chip]['towers'][name]['bytes'] / 1e6:.1f}" for name in TOWERS
        )
        for chip in ("SM8650", "cpu")
    )
    cosines = [
        tower["cosine_min"] for chip in targets.values() for tower in chip["towers"].values()
    ]
    search = found["search"]
    letter = letters[processor_of(search["device"])]
    ms = "" if _delayed(search) else f"{search['ms']['total']['p50']:.1f} {letter}"
    return [
        *sizes,
        *(f"{min(cosines):.4f}", f"{found['processor_seconds']:.0f}"),
        *(ms, f"{search['peak_pss_mib']:.0f}"),
    ]


def _delayed(search: dict[str, Any]) -> bool:
    return bool(search["waited_share"] > BUSY_SHARE)
