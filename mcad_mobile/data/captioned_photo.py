"""A photo and what people say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CaptionedPhoto:
    """`split`: "train", "val" or "test", as its dataset says."""

    path: Path
    captions: tuple[str, ...]
    split: str = "test"
