"""Searches and their first hits, with the photos as small JPEGs that a page holds itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.errors import MissingExtra, PhotoError
from mcad_mobile.preprocess import open_photo

if TYPE_CHECKING:
    from mcad_mobile.engine import Found

_HITS = 6
_SIDE = 220  # pixels: sharp at the 150 CSS pixels that a hit takes
_JPEG_QUALITY = 72


def thumbnails(searches: Sequence[Found], root: Path) -> list[dict[str, Any]]:
    """Each query with its milliseconds and first six photos: names, scores, JPEGs in base64.

    Relative paths are looked up below `root`. A photo that cannot be read has a name alone.
    """
    return [
        {
            "query": found.query,
            "ms": f"{found.ms['total']:.1f}",
            "hits": [
                {
                    "name": Path(result.path).name,
                    "score": f"{result.score:.3f}",
                    "jpeg": _jpeg(root / result.path),
                }
                for result in found.results[:_HITS]
            ],
        }
        for found in searches
    ]


def _jpeg(path: Path) -> str:
    """In base64, or "" where there is no photo to read."""
    try:
        image = open_photo(path, at_least=_SIDE)
    except (PhotoError, MissingExtra):
        return ""
    # Shown as a square: it is the shorter side that must have the pixels.
    scale = _SIDE / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(out.getvalue()).decode("ascii")
