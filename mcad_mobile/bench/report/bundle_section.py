"""What a bundle says of its towers, as a section of the page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mcad_mobile.bench.report.elements import cells, definitions, section, table
from mcad_mobile.bundle import TOWERS

if TYPE_CHECKING:
    from mcad_mobile.bundle import Bundle

_HEAD = ("Tower", "Runtime", "Precision", "Size, MiB", "NPU nodes", "Cosine mean", "min")


def bundle_section(bundle: Bundle) -> str:
    rows: list[str] = []
    notes: list[str] = []
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            parity = rung.parity
            row = (
                name,
                rung.runtime,
                rung.precision,
                f"{rung.bytes / 2**20:.1f}",
                f"{rung.npu_nodes} of {rung.total_nodes}",
                "not measured" if parity is None else f"{parity.cosine_mean:.4f}",
                "" if parity is None else f"{parity.cosine_min:.4f}",
            )
            rows.append(f"<tr>{cells(row, numbers_from=3)}</tr>")
            notes += rung.notes
    facts = [
        (
            "Target",
            " ".join(
                f"{value}" for value in (bundle.target.id, bundle.target.chip, bundle.target.npu)
            ),
        ),
        ("Student", f"{bundle.student.name}, {bundle.dim} dimensions"),
        ("Exported", f"{bundle.created}, {', '.join(f'{n} {v}' for n, v in bundle.tools.items())}"),
    ]
    listed = "".join(f"<li>{escape(note)}</li>" for note in dict.fromkeys(notes))
    return section(
        "The bundle",
        f"{definitions(facts)}{table(_HEAD, rows, numbers_from=3)}"
        '<p class="note">Cosine: exported against float embeddings of the same real inputs.</p>'
        + (f"<ul class=note>{listed}</ul>" if listed else ""),
    )
