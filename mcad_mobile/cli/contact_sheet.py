"""The results of a search as one HTML file that holds its photos."""

from __future__ import annotations

from pathlib import Path

from mcad_mobile.base.files import refused
from mcad_mobile.base.templates import render
from mcad_mobile.engine.engine import Found
from mcad_mobile.engine.photos.thumbnails import inline_jpeg

_SIDE = 480  # pixels: sharp at the 240 CSS pixels that a photo takes


def contact_sheet(found: Found) -> str:
    """Render the page. It loads nothing from elsewhere; of a photo that is gone it shows the name.
    Relative paths are looked up in the working directory. MissingExtra without jinja2."""
    return render(
        "mcad_mobile.cli",
        "contact_sheet.html.jinja",
        query=found.query,
        ms=None if found.simulated else f"{found.ms['total']:.1f}",
        threshold=found.threshold,
        unknown=found.unknown,
        truncated=found.truncated,
        photos=[
            {
                "name": Path(result.path).name,
                "link": Path(result.path).resolve().as_uri(),
                "score": f"{result.score:.3f}",
                "doubtful": found.threshold is not None and result.score < found.threshold,
                "jpeg": inline_jpeg(Path(result.path), _SIDE),
            }
            for result in found.results
        ],
    )


def write_contact_sheet(found: Found, path: Path) -> None:
    """Write the page to `path`. DiskError if it cannot be written; MissingExtra without jinja2."""
    page = contact_sheet(found)
    try:
        path.write_text(page, "utf-8", "xmlcharrefreplace")
    except OSError as error:
        raise refused(path, error) from error
