"""What a bundle says of its towers, for a section of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcad_mobile.bundle import TOWERS

if TYPE_CHECKING:
    from mcad_mobile.bundle import Bundle

_HEAD = ("Tower", "Runtime", "Precision", "Size, MiB", "NPU nodes", "Cosine mean", "min")


def bundle_section(bundle: Bundle) -> dict[str, Any]:
    """Facts (name, value), a table of rungs (head, rows), and notes."""
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            parity = rung.parity
            rows.append(
                (
                    name,
                    rung.runtime,
                    rung.precision,
                    f"{rung.bytes / 2**20:.1f}",
                    f"{rung.npu_nodes} of {rung.total_nodes}",
                    "not measured" if parity is None else f"{parity.cosine_mean:.4f}",
                    "" if parity is None else f"{parity.cosine_min:.4f}",
                )
            )
            notes += rung.notes
    tools = ", ".join(f"{name} {version}" for name, version in bundle.tools.items())
    return {
        "facts": [
            ("Target", f"{bundle.target.id} {bundle.target.chip} {bundle.target.npu}"),
            ("Student", f"{bundle.student.name}, {bundle.dim} dimensions"),
            ("Exported", f"{bundle.created}, {tools}"),
        ],
        "head": _HEAD,
        "rows": rows,
        "notes": list(dict.fromkeys(notes)),
    }
