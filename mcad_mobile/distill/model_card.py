"""The model card of a student that was trained from other weights."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.base.licences import UNKNOWN, find_licence
from mcad_mobile.students.student import Source


def write_model_card(folder: Path, about: str, start: Source) -> None:
    """Write the card of a student trained from the weights `start`, and their licence's text.

    A limit of their licence holds for the student, too. Without one its licence is unknown: the
    photos and captions that it was trained on have licences, too, which only the user knows.
    """
    licence = find_licence(start.licence.name)
    card = f"---\nlicense: {licence.name if licence.limit else UNKNOWN}\n---\n{about}\n\n"
    card += f"The licence of the weights that training started from: {licence.name}.\n"
    if not licence.limit:
        card += "Name yours above, as `license:`, if your photos and captions allow one.\n"
    (folder / "README.md").write_text(card, "utf-8")
    text = start.licence.document(start.weights)
    if text is not None:
        (folder / "LICENSE").write_bytes(text)
