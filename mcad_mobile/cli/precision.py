"""What `export --precision` may name, and which splits of its data a search reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from mcad_mobile.bundle import TowerName
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.data.captions import load_captions
from mcad_mobile.errors import require
from mcad_mobile.targets import Target
from mcad_mobile.targets.target import Precision

_OF_NPUS: tuple[Precision, ...] = ("w8a8", "w8a16", "w4a16")


def first_rung(
    name: str | None, chips: Sequence[Target], data: Path | None
) -> dict[TowerName, Precision] | None:
    """The precisions that `--precision` names; None where the target or a search tells them."""
    families = {chip.family for chip in chips}
    if name is None:
        return None
    if name == "auto" and data is None:
        raise typer.BadParameter("--precision auto measures recall: give --data DIR")
    if name == "auto" and len({_form(chip) for chip in chips}) > 1:
        raise typer.BadParameter(
            "--precision auto chooses for chips that take the same files: one family, and "
            f"Snapdragons before Hexagon v73 apart; not {', '.join(chip.id for chip in chips)}"
        )
    if name == "auto":
        return None
    precision = next((one for one in _OF_NPUS if one == name), None)
    if precision is None or "cpu" in families:
        raise typer.BadParameter(
            f"--precision takes auto, and {', '.join(_OF_NPUS)} for chips with an NPU; "
            f"not {name!r} for {', '.join(chip.id for chip in chips)}"
        )
    return {"image": precision, "text": precision}


def _form(chip: Target) -> tuple[str, int]:
    require("onnxruntime", "export")
    from mcad_mobile.quantize.htp import w8a16_form

    return chip.family, 0 if chip.htp_arch is None else w8a16_form(chip.htp_arch)


def splits(data: Path | None) -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """What a search judges by, and what it calibrates on. Where there is no `val`, `test` is
    judged by, and the recall that is told at the end is that of the choice."""
    assert data is not None
    photos = load_captions(data, None)
    found = {split: [one for one in photos if one.split == split] for split in ("train", "val")}
    return found["val"] or load_captions(data, "test"), found["train"]
