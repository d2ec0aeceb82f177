"""Pages that are written by hand and have sections that are made."""

from __future__ import annotations

import json

import export_matrix
import headroom
import quantization
import quantizers
import readme_table
import simulated
import smallest
import snapdragon_chips
from sentences.scale import rates_table

from pages.results import RESULTS, ROOT, made_with


def targets_page() -> str:
    """The page as it is, with its made sections made again."""
    page = (ROOT / "docs" / "targets.md").read_text("utf-8")
    page = _with_section(page, "export_matrix", _export_matrix())
    page = _with_section(page, "quantization", _quantization())
    page = _with_section(page, "quantizers", _quantizers())
    page = _with_section(page, "headroom", _headroom())
    page = _with_section(page, "smallest", _smallest())
    page = _with_section(page, "simulated", _simulated())
    return _with_section(page, "snapdragon_chips", _snapdragon_chips())


def readme_page() -> str:
    page = (ROOT / "README.md").read_text("utf-8")
    return _with_section(page, "peers", readme_table.lines())


def scale_page() -> str:
    """The page as it is, with what was measured."""
    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    return _with_section(
        page, "rates", rates_table(json.loads((RESULTS / "embed_scale.json").read_text("utf-8")))
    )


def _with_section(page: str, name: str, lines: list[str]) -> str:
    """What stands between the two comments of this name is replaced."""
    begin, end = (f"<!-- {name}: {what} -->" for what in ("made by `make docs`", "end"))
    before, rest = page.split(begin)
    return "\n".join([f"{before}{begin}", *lines, f"{end}{rest.split(end)[1]}"])


def _quantization() -> list[str]:
    if not quantization.RESULT.is_file():
        return []
    return ["", *quantization.told(json.loads(quantization.RESULT.read_text("utf-8"))), ""]


def _quantizers() -> list[str]:
    ours = json.loads(quantization.RESULT.read_text("utf-8"))["towers"]
    return ["", *quantizers.told(json.loads(quantizers.RESULT.read_text("utf-8")), ours), ""]


def _headroom() -> list[str]:
    return ["", *headroom.told(json.loads(headroom.RESULT.read_text("utf-8"))), ""]


def _smallest() -> list[str]:
    return ["", *smallest.told(json.loads(smallest.RESULT.read_text("utf-8"))), ""]


def _simulated() -> list[str]:
    return ["", *simulated.told(json.loads(simulated.RESULT.read_text("utf-8"))), ""]


def _snapdragon_chips() -> list[str]:
    if not snapdragon_chips.RESULT.is_file():
        return []
    result = json.loads(snapdragon_chips.RESULT.read_text("utf-8"))
    return [
        "",
        *snapdragon_chips.verdict(result),
        "",
        made_with(result["date"], result["device"]["cpu"], result["versions"]),
        "Re-run: `benchmarks/snapdragon_chips.py`.",
        "",
    ]


def _export_matrix() -> list[str]:
    results = export_matrix.stored()
    return export_matrix.told(results) if results else []
