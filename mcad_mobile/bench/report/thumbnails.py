"""Searches and their first hits, as HTML with the photos inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.errors import MissingExtra, PhotoError
from mcad_mobile.preprocess import open_photo

if TYPE_CHECKING:
    from mcad_mobile.engine import Found

_HITS = 6
_SIDE = 220  # pixels: sharp at the 150 CSS pixels that a hit takes
_JPEG_QUALITY = 72


def hits_html(searches: Sequence[Found], photo_root: Path | None = None) -> str:
    """Each query with its milliseconds and first six photos, small JPEGs as data URIs.

    Relative paths are looked up below `photo_root`. A photo that cannot be read leaves its name.
    """
    return "".join(_search(found, photo_root or Path()) for found in searches)


def _search(found: Found, root: Path) -> str:
    hits = "".join(
        f"<li>{_photo(root / result.path)}<small>{result.score:.3f}</small></li>"
        for result in found.results[:_HITS]
    )
    return (
        f'<div class="query"><h3>{escape(found.query)}<span>{found.ms["total"]:.1f} ms</span></h3>'
        f'<ol class="hits">{hits}</ol></div>'
    )


def _photo(path: Path) -> str:
    name = escape(path.name)
    try:
        image = open_photo(path, at_least=_SIDE)
    except (PhotoError, MissingExtra):
        return f'<div class="gone">{name}</div>'
    # Shown as a square: it is the shorter side that must have the pixels.
    scale = _SIDE / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(out.getvalue()).decode("ascii")
    return f'<img alt="{name}" title="{name}" src="data:image/jpeg;base64,{data}">'
