"""The page's words for remedies. The page has no options: what it cannot do by itself is a command
for the terminal that the server runs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.errors import McadError, Remedy, fill

# Other remedies need no words of the page: their own sentence suits it.
WORDS = {
    Remedy.INDEX_FOLDER: (
        "Start the server with a folder: --photos DIR. Or in a terminal: mcad-mobile index PHOTOS "
        "--bundle {bundle}"
    ),
    Remedy.MAKE_INDEX: (
        "In a terminal: mcad-mobile index PHOTOS --bundle {bundle} --index {index}"
    ),
    Remedy.TUNE_INDEX: (
        "Tune it again in a terminal: mcad-mobile index --rebuild --bundle {bundle} --index {index}"
    ),
    Remedy.REPAIR_INDEX: (
        "Drop the damaged parts in a terminal: mcad-mobile index --repair --bundle {bundle} "
        "--index {index}. Then press Index again."
    ),
    Remedy.EMBED_AGAIN: (
        "Choose the bundle that it was built with, or embed its photos again in a terminal: "
        "mcad-mobile index --from {index} --bundle {bundle} --index NEW"
    ),
    Remedy.DROP_GONE: (
        "To drop indexed photos whose files are gone, in a terminal: mcad-mobile index PHOTOS "
        "--bundle {bundle} --prune"
    ),
    Remedy.USE_LITERT: "Choose its LiteRT rung: the .tflite that it was compiled from.",
    Remedy.USE_NEXT_RUNG: "Choose another rung, or update that runtime.",
}


def hint_of(error: McadError, bundles: Sequence[Path]) -> str:
    """Return an error's next step as the page says it. An index does not know where its bundle is:
    it is the only one that is served, if there is just one."""
    if error.remedy not in WORDS:
        return error.hint
    known = {"bundle": bundles[0]} if len(bundles) == 1 else {}
    return fill(WORDS[error.remedy], {**known, **error.values})
