"""What a search found, as one HTML file that holds its photos: to be looked at."""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path

from mcad_mobile.disk import refused
from mcad_mobile.engine import Found
from mcad_mobile.errors import MissingExtra, PhotoError, require
from mcad_mobile.thumbnail import jpeg

_SIDE = 480  # pixels: sharp at the 240 CSS pixels that a photo takes


def jpeg_thumbnail(path: Path, side: int) -> bytes:
    """A photo as a small JPEG, upright; its shorter side has at most `side` pixels. b"" where there
    is none to read."""
    try:
        return jpeg(path, shorter=side)
    except (PhotoError, MissingExtra):
        return b""


def contact_sheet(found: Found) -> str:
    """The page. Nothing in it is loaded from elsewhere; a photo that is gone has its name alone.
    Relative paths are looked up in the working directory. MissingExtra without jinja2."""
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    place = resources.files("mcad_mobile").joinpath("contact_sheet.html.jinja")
    page: str = environment.from_string(place.read_text("utf-8")).render(
        query=found.query,
        ms=f"{found.ms['total']:.1f}",
        threshold=found.threshold,
        unknown=found.unknown,
        truncated=found.truncated,
        photos=[
            {
                "name": Path(result.path).name,
                "link": Path(result.path).resolve().as_uri(),
                "score": f"{result.score:.3f}",
                "doubtful": found.threshold is not None and result.score < found.threshold,
                "jpeg": base64.b64encode(jpeg_thumbnail(Path(result.path), _SIDE)).decode("ascii"),
            }
            for result in found.results
        ],
    )
    return page


def write_contact_sheet(found: Found, path: Path) -> None:
    """DiskError if it cannot be written; MissingExtra without jinja2."""
    page = contact_sheet(found)
    try:
        path.write_text(page, "utf-8", "xmlcharrefreplace")
    except OSError as error:
        raise refused(path, error) from error
