"""Searches and their first hits, with the photos as small JPEGs that a page holds itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcad_mobile.thumbnail import inline_jpeg

if TYPE_CHECKING:
    from mcad_mobile.engine import Found

_HITS = 6
_SIDE = 220  # pixels: sharp at the 150 CSS pixels that a hit takes


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
                    "jpeg": inline_jpeg(root / result.path, _SIDE),
                }
                for result in found.results[:_HITS]
            ],
        }
        for found in searches
    ]
