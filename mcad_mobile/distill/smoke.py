"""A run that only shows that everything works here: small data, one look, one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.dataset import Extra
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.train import Material
from mcad_mobile.errors import DataError

PHOTOS = 200
_HELD_OUT = 50


def smallest(recipe: Recipe) -> dict[str, object]:
    """Changes to `recipe` after which a run is as short as one can be that still goes through every
    part of it."""
    teachers = {**recipe.at_most(1)["teachers"], "views": 1, "members": 1}
    return {
        **recipe.at_most(1),
        "views": 1,
        "extra_views": 1,
        "batch": min(recipe.batch, 32),
        "candidates": min(recipe.candidates, 2),
        "names": min(recipe.names, 16),
        "last_photos": min(recipe.last_photos, 64),
        "qat_epochs": 0,
        "teachers": teachers,
    }


def first_of(material: Material) -> Material:
    """The first photos of each kind, with one caption."""
    extra = material.extra
    return Material(
        _briefly(material.train, PHOTOS),
        _briefly(material.val, _HELD_OUT),
        Extra(extra.photos[:PHOTOS], extra.captions[:PHOTOS]),
    )


def packaged_pairs() -> tuple[list[CaptionedPhoto], list[CaptionedPhoto]]:
    """The photos that installed packages ship, named by their files: three in four to train on.
    DataError where there are none."""
    pairs = [_named(path) for path in packaged_photos()]
    if len(pairs) < 4:
        raise DataError(
            "No photos to try it on: none of the packages that ship some is installed.",
            "Give yours by --data, or: pip install 'mcad-mobile[export]'.",
        )
    held_out = pairs[3::4]
    return [pair for pair in pairs if pair not in held_out], held_out


def _named(path: Path) -> CaptionedPhoto:
    return CaptionedPhoto(path, (f"a photo of {path.stem.replace('_', ' ')}",), "train")


def _briefly(photos: list[CaptionedPhoto], number: int) -> list[CaptionedPhoto]:
    return [replace(photo, captions=photo.captions[:1]) for photo in photos[:number]]
