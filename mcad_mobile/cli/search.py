"""mcad-mobile search"""

from __future__ import annotations

import math
import shlex
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

from mcad_mobile.base.files import as_disk_error, is_address
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.base.templates import render
from mcad_mobile.cli.output import (
    IndexedOptions,
    TowerOptions,
    argument,
    coloured,
    command_line_options,
    flag,
    load_bundle,
    option,
    printable,
    warn,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, SearchEngine, open_index
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.photos.thumbnails import inline_jpeg
from mcad_mobile.engine.query import Part, PhotoKey

_SHEET_PX = 480  # sharp at the 240 CSS pixels that a photo of the contact sheet takes
# --duplicates takes these options; it would ignore all others.
_WITH_DUPLICATES = {"bundle", "index", "duplicates", "json"}


@dataclass(frozen=True, kw_only=True)
class SearchOptions(IndexedOptions, TowerOptions):
    query: list[str] = argument("What the photo shows, in words.", default=[])
    k: int = option("-k", "How many photos to return.", default=10, min=1)
    plus: list[str] = option("--plus", "Also this.", default=[], metavar="TEXT[=WEIGHT]")
    minus: list[str] = option("--minus", "But not this.", default=[], metavar="TEXT[=WEIGHT]")
    like: list[str] = option(
        "--like", "More like this photo.", default=[], metavar="PHOTO[=WEIGHT]"
    )
    unlike: list[str] = option(
        "--unlike", "Less like this photo.", default=[], metavar="PHOTO[=WEIGHT]"
    )
    min_score: float | None = option("--min-score", "Only photos with this score or more.")
    folders: list[str] = option(
        "--in", "Only photos in this folder or below; repeatable.", default=[], metavar="DIR"
    )
    after: str | None = option("--after", "Only photos taken on this day or later.", metavar="DAY")
    before: str | None = option("--before", "Only photos taken before this day.", metavar="DAY")
    duplicates: float | None = option(
        "--duplicates",
        "Without a query: print groups of photos whose cosine is at least this, more than 0.5 and "
        "up to 1; for example 0.97.",
        metavar="COSINE",
    )
    exact: bool = flag("--exact", "Score every photo, not only the best candidates.")
    show: bool = flag(
        "--show", "Also write the results to a page, BUNDLE.search.html, and open it."
    )


def search(options: SearchOptions, context: typer.Context) -> None:
    """Find photos by words, by photos, or by both.

    \b
      mcad-mobile search a dog on the beach
      mcad-mobile search "a red car in the snow" --bundle build/sd -k 3 --json
      mcad-mobile search "a dog" --plus snow --minus "a ball=0.5" --bundle build/sd
      mcad-mobile search --like IMG_1234.jpg --minus people --bundle build/sd
      mcad-mobile search "a dog" --in ~/Pictures/2024 --after 2024-05-01 --before 2024-06-01 \\
          --bundle build/sd
      mcad-mobile search "a birthday cake" -k 60 --show --bundle build/sd
      mcad-mobile search --duplicates 0.97 --bundle build/sd

    Results are the nearest photos, best first, whether or not they show what was asked for.
    DAY is in this machine's time zone and begins at midnight; a time works, too: 2024-05-01T18:30.
    A photo's time is what its camera wrote, or else when its file last changed.
    If the words of an option contain an equals sign, add a weight after them: --plus "E=mc2=1".
    """
    parts = [
        *([Part(" ".join(options.query))] if options.query else []),
        *_parts("--plus", options.plus, 1),
        *_parts("--minus", options.minus, -1),
        *_parts("--like", options.like, 1, photos=True),
        *_parts("--unlike", options.unlike, -1, photos=True),
    ]
    _check_options(context, parts)
    bundle = load_bundle(options.bundle)
    photos = open_index(bundle, options.index)
    if options.duplicates is not None:
        _print_duplicates(photos, options.duplicates, options.json)
        return
    rows = PhotoIndex.filter(*options.folders, after=options.after, before=options.before)
    found = _find(options, bundle, photos, parts, rows)
    if options.show:
        place = options.bundle.resolve()
        _show(found, place.with_name(f"{place.name}.search.html"))
    if options.json:
        print_json(asdict(found))
    else:
        _print(found, photos, rows, bundle.tokenizer.length, options)


def _find(
    options: SearchOptions, bundle: Bundle, photos: PhotoIndex, parts: list[Part], rows: RowFilter
) -> Found:
    """Search, and drop results below the lowest score that was asked for."""
    engine = SearchEngine(bundle, runtime=options.runtime, threads=options.threads, warn=warn)
    found = engine.search_parts(photos, parts, options.k, rows=rows, exact=options.exact)
    least = options.min_score
    results = [r for r in found.results if least is None or r.score >= least]
    results = [replace(r, gone=is_gone(r.path)) for r in results]
    return replace(found, results=results)


def _print(
    found: Found, photos: PhotoIndex, rows: RowFilter, query_length: int, options: SearchOptions
) -> None:
    for result in found.results:
        gone = coloured("  (gone)", "red") if result.gone else ""
        print(f"{coloured(f'{result.score:.3f}', 'green')}  {printable(result.path)}{gone}")
    if count := sum(result.gone for result in found.results):
        places: list[str | Path] = ["--bundle", options.bundle]
        if options.index is not None:
            places += ["--index", options.index]
        print(
            f"({count} of these files {'is' if count == 1 else 'are'} gone; to drop such photos: "
            f"mcad-mobile index --prune {shlex.join(map(str, places))})"
        )
    if not photos.photos:
        print("The index holds no photos.")
    elif not photos.count(rows):
        print("No photo of the index passes --in, --after and --before.")
    elif not found.results:
        if options.min_score is not None:
            print("No photo is left: all score below --min-score.")
        else:
            print("No photo is left but those of the query.")
    if found.unknown:
        print(f"(not understood by the model: {printable(', '.join(found.unknown))})")
    if found.truncated:
        print(f"(only the first {query_length} tokens of the query were read)")


def _check_options(context: typer.Context, parts: list[Part]) -> None:
    """Refuse, as wrong usage, a search for nothing, and options that would be ignored."""
    options = command_line_options(context)
    if "duplicates" in options:
        for name, flag in options.items():
            if name not in _WITH_DUPLICATES:
                shown = "a query" if name == "query" else flag
                raise typer.BadParameter(f"--duplicates cannot be used with {shown}: leave it out")
    elif not parts:
        raise typer.BadParameter("give words, --like PHOTO, or --duplicates", param_hint="QUERY")


def _parts(flag: str, values: list[str], sign: int, *, photos: bool = False) -> Iterator[Part]:
    """Yield the parts of values such as "snow=0.5"; without an equals sign, the weight is 1. Names
    of photos may contain equals signs; in words, a weight follows the last one."""
    for value in values:
        content, equals, text = value.rpartition("=")
        try:
            weight = float(text) if equals else None
        except ValueError:
            weight = None
        if weight is None and equals and content.strip() and not photos:
            raise typer.BadParameter(
                f"{flag} {value!r}: {text!r} is not a weight, as in {content + '=0.5'!r}; to "
                f"search for all of it: {value + '=1'!r}"
            )
        if (photos and (weight is None or not content or Path(value).exists())) or not equals:
            content, weight = value, 1.0
        elif not content.strip():
            raise typer.BadParameter(f"{flag} {value!r} has a weight but no words")
        elif weight is None or not (math.isfinite(weight) and weight > 0):
            opposite = {"--plus": "--minus", "--minus": "--plus", "--like": "--unlike"}
            raise typer.BadParameter(
                f"{flag} {value!r}: a weight is more than 0 (the opposite is "
                f"{opposite.get(flag, '--like')})"
            )
        yield Part(PhotoKey(content) if photos else content, sign * weight)


def _show(found: Found, sheet: Path) -> None:
    write_contact_sheet(found, sheet)
    if not (sys.stdout.isatty() and webbrowser.open(sheet.as_uri())):
        print(f"The page is {sheet}", file=sys.stderr)


def contact_sheet(found: Found) -> str:
    """Render the results as one HTML file that contains its photos, and loads nothing from
    elsewhere. Photos that are gone are shown by name. MissingExtra without jinja2."""
    return render(
        "mcad_mobile.cli",
        "contact_sheet.html.jinja",
        query=found.query,
        ms=None if found.simulated else f"{found.ms['total']:.1f}",
        unknown=found.unknown,
        truncated=found.truncated,
        photos=[
            {
                "name": Path(result.path).name,
                "link": "" if is_address(result.path) else Path(result.path).absolute().as_uri(),
                "score": f"{result.score:.3f}",
                "jpeg": inline_jpeg(Path(result.path), _SHEET_PX),
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
        raise as_disk_error(path, error) from error


def _print_duplicates(photos: PhotoIndex, least: float, json: bool) -> None:
    groups = photos.near_duplicates(least)
    if json:
        print_json({"photos": photos.photos, "least": least, "groups": groups})
        return
    for group in groups:
        print("\n".join(printable(path) for path in group), end="\n\n")
    noun = "group" if len(groups) == 1 else "groups"
    print(f"{len(groups)} {noun}, {sum(map(len, groups))} of {photos.photos} photos")
