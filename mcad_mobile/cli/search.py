"""mcad-mobile search"""

from __future__ import annotations

import math
import os
import shlex
import sys
import webbrowser
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import typer

from mcad_mobile.base.files import as_disk_error, is_address
from mcad_mobile.base.standard_output import counted, print_json
from mcad_mobile.bench.report.page import render
from mcad_mobile.cli.options import (
    BundlePath,
    IndexPath,
    Json,
    Language,
    RuntimeName,
    Threads,
    allow_only,
    flag,
    optional,
    several,
)
from mcad_mobile.cli.output import coloured, load_bundle, note, printable, warn
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import (
    Channel,
    Found,
    Result,
    SearchEngine,
    default_index,
    find_index,
    open_index,
)
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.index.filters import Kind
from mcad_mobile.engine.index.moments import clock
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.photos.thumbnails import inline_jpeg
from mcad_mobile.engine.query import Part, PhotoKey
from mcad_mobile.engine.stacks import search_in_stacks

_MATCHES = 2  # lines of a photo to print; --json has all
_SHEET_PX = 480  # sharp at the 240 CSS pixels that a photo of the contact sheet takes
_SHEET_PHOTOS = 500  # of near duplicates: tens of megabytes
_NAMED = 5  # folders, where one is not known


def search(
    *,
    context: typer.Context,
    bundle: BundlePath,
    index: IndexPath = None,
    query: list[str] = typer.Argument([], help="What the photo shows, in words."),
    k: int = typer.Option(10, "-k", min=1, help="How many photos to return."),
    plus: list[str] = several(metavar="TEXT[=WEIGHT]", help="Also this."),
    minus: list[str] = several(metavar="TEXT[=WEIGHT]", help="But not this."),
    like: list[str] = several(metavar="PHOTO[=WEIGHT]", help="More like this photo."),
    unlike: list[str] = several(metavar="PHOTO[=WEIGHT]", help="Less like this photo."),
    min_score: float | None = optional(help="Only photos with this score or more."),
    folders: list[str] = several(
        "--in", metavar="DIR", help="Only photos in this folder or below; repeatable."
    ),
    after: str | None = optional(metavar="DAY", help="Only photos taken on this day or later."),
    before: str | None = optional(metavar="DAY", help="Only photos taken before this day."),
    kind: Kind | None = optional(help="Only photos, or only videos."),
    moments: bool = flag("--moments", help="Each moment of a video, not only its best one."),
    place: str | None = optional(
        metavar="NAME", help="Only photos taken in this city, region or country."
    ),
    duplicates: float | None = optional(
        metavar="COSINE",
        help="Without a query: print groups of photos whose cosine is at least this, more than 0.5 "
        "and up to 1; for example 0.97.",
    ),
    by: Channel | None = optional(
        help="Only by what photos show, or only by their text, names and places.",
    ),
    stack: bool | None = optional(
        "--stack/--no-stack",
        help="Show near duplicates (cosine 0.97 or more) as one result with its number of copies. "
        "Default: yes, but not with --json.",
    ),
    exact: bool = flag("--exact", help="Score every photo, not only the best candidates."),
    show: bool = flag(
        "--show", help="Also write the results to a page, BUNDLE.search.html, and open it."
    ),
    language: Language = None,
    runtime: RuntimeName = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Find photos by words, by photos, or by both.

    \b
      mcad-mobile search a dog on the beach
      mcad-mobile search "a red car in the snow" --bundle build/sd -k 3 --json
      mcad-mobile search "a dog" --plus snow --minus "a ball=0.5" --bundle build/sd
      mcad-mobile search --like IMG_1234.jpg --minus people --bundle build/sd
      mcad-mobile search "a dog" --in ~/Pictures/2024 --after 2024-05-01 --before 2024-06-01 \\
          --bundle build/sd
      mcad-mobile search "beach" --place Lisbon --bundle build/sd
      mcad-mobile search "Hund am Strand" --language de --bundle build/sd
      mcad-mobile search "a birthday cake" -k 60 --show --bundle build/sd
      mcad-mobile search "blowing out candles" --kind video --bundle build/sd
      mcad-mobile search --duplicates 0.97 --in ~/Pictures/2024 --show --bundle build/sd

    Results are the nearest photos, best first, whether or not they show what was asked for.
    DAY is in this machine's time zone and begins at midnight; a time works, too: 2024-05-01T18:30.
    A photo's time is what its camera wrote, or else when its file last changed.
    If the words of an option contain an equals sign, add a weight after them: --plus "E=mc2=1".
    """
    if duplicates is not None:
        narrowing = ("folders", "after", "before", "place", "kind")
        allowed = ("bundle", "index", "duplicates", "show", "json", *narrowing)
        allow_only(context, "with --duplicates", *allowed)
        photos = _open(load_bundle(bundle), index)
        rows = _rows(photos, folders, after=after, before=before, place=place, kind=kind)
        _find_duplicates(photos, rows, duplicates, bundle.resolve() if show else None, json)
        return
    parts = [
        *([Part(" ".join(query))] if query else []),
        *_parts("--plus", plus, 1),
        *_parts("--minus", minus, -1),
        *_parts("--like", like, 1, photos=True),
        *_parts("--unlike", unlike, -1, photos=True),
    ]
    if not parts:
        raise typer.BadParameter("give words, --like PHOTO, or --duplicates", param_hint="QUERY")
    loaded = load_bundle(bundle).for_language(language)
    photos = _open(loaded, index)
    rows = _rows(photos, folders, after=after, before=before, place=place, kind=kind)
    engine = SearchEngine(loaded, runtime=runtime, threads=threads, warn=warn)
    find = partial(
        engine.search_parts, photos, parts, rows=rows, exact=exact, by=by, moments=moments
    )
    stacked = not json if stack is None else stack
    found = search_in_stacks(photos, find, k) if stacked else find(k)
    least = -math.inf if min_score is None else min_score
    results = [replace(r, gone=is_gone(r.path)) for r in found.results if r.score >= least]
    found = replace(found, results=results)
    if show:
        _show(contact_sheet(found), bundle.resolve())
    if json:
        print_json(_as_json(found))
        return
    for result in results:
        _print(result)
    if count := sum(result.gone for result in results):
        places = ["--bundle", str(bundle), *([] if index is None else ["--index", str(index)])]
        print(
            f"({count} of these files {'is' if count == 1 else 'are'} gone; to drop such photos: "
            f"mcad-mobile index --prune {shlex.join(places)})"
        )
    if not results:
        print(_why_nothing(photos, rows, min_score, by))
    if found.unknown:
        other = "; try --language" if loaded.multilingual else ""
        print(f"(not understood by the model: {printable(', '.join(found.unknown))}{other})")
    if found.truncated:
        print(f"(only the first {loaded.tokenizer.length} tokens of the query were read)")


def _open(bundle: Bundle, index: Path | None) -> PhotoIndex:
    place = index or find_index(bundle)
    if index is None and place != default_index(bundle.directory):
        note(f"the index is {place}, of the same image tower")
    return open_index(bundle, place)


def _rows(photos: PhotoIndex, folders: list[str], **wanted: Any) -> RowFilter:
    """The photos to search; a folder of --in without photos is named, with those that have some."""
    rows = PhotoIndex.filter(*folders, **wanted)
    unknown = [folder for folder in rows.folders if not photos.count(RowFilter((folder,)))]
    if unknown and photos.photos:
        known = Counter(os.path.dirname(path) for path in photos.paths())  # noqa: PTH120  any bytes
        named = [f"{printable(folder)} ({count:,})" for folder, count in known.most_common(_NAMED)]
        more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
        warn(
            f"the index has no photo in {printable(', '.join(unknown))}. It has photos in "
            f"{', '.join(named)}{more}."
        )
    return rows


def _as_json(found: Found) -> dict[str, Any]:
    document = asdict(found)
    for result in document["results"]:
        for name in ("matched", "at_ms", "moments", "copies"):
            if result[name] is None or result[name] == ():
                del result[name]
    return document


def _print(result: Result) -> None:
    gone = coloured("  (gone)", "red") if result.gone else ""
    path = printable(result.path) + _moment(result)
    stack = f"  (+{counted(len(result.copies), 'near duplicate')})" if result.copies else ""
    score = coloured(f"{result.score:.3f}", "green")
    print(f"{score}  {path}{stack}{gone}")
    shown = (match for match in result.matched if match.source != "name")  # which the path shows
    for match in sorted(shown, key=lambda match: -len(match.words))[:_MATCHES]:
        print(f"       {match.source}: {printable(match.line)}")


def _moment(result: Result) -> str:
    """What to say after a video's name: " at 1:07"."""
    if result.at_ms is None:
        return ""
    return f" at {clock(result.at_ms)}"


def _why_nothing(
    photos: PhotoIndex, rows: RowFilter, min_score: float | None, by: Channel | None
) -> str:
    if not photos.photos:
        return "The index holds no photos."
    if not photos.count(rows):
        return "No photo of the index passes --in, --after, --before, --place and --kind."
    if min_score is not None:
        return "No photo is left: all score below --min-score."
    if by == "words":
        return "No photo has these words."
    return "No photo is left but those of the query."


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
            pairs = {"--plus": "--minus", "--like": "--unlike"}
            opposite = (pairs | {other: one for one, other in pairs.items()})[flag]
            raise typer.BadParameter(
                f"{flag} {value!r}: a weight is more than 0 (the opposite is {opposite})"
            )
        yield Part(PhotoKey(content) if photos else content, sign * weight)


def _show(page: str, bundle: Path) -> None:
    sheet = bundle.with_name(f"{bundle.name}.search.html")
    write_contact_sheet(page, sheet)
    if not (sys.stdout.isatty() and webbrowser.open(sheet.as_uri())):
        print(f"The page is {sheet}", file=sys.stderr)


def contact_sheet(found: Found) -> str:
    """Render the results as one HTML file that contains its photos, and loads nothing from
    elsewhere. Photos that are gone are shown by name. MissingExtra without jinja2."""
    time = "simulated, so no meaningful time" if found.simulated else f"{found.ms['total']:.1f} ms"
    about = [f"{counted(len(found.results), 'photo')}; {time}."]
    if found.unknown:
        about.append(f"Not understood by the model: {', '.join(found.unknown)}.")
    if found.truncated:
        about.append(
            "Only the beginning of the query was used: it is longer than the model can read."
        )
    photos = [_on_sheet(result) for result in found.results]
    return _sheet(found.query, about, [("", photos)])


def duplicate_sheet(groups: list[list[str]], least: float) -> str:
    """Render groups of near duplicates, the first of them, as `contact_sheet` renders results."""
    shown = [number for number in accumulate(map(len, groups)) if number <= _SHEET_PHOTOS]
    about = [f"{counted(len(groups), 'group')} of photos whose cosine is {least:g} or more."]
    if len(shown) < len(groups):
        about.append(f"The first {counted(max(len(shown), 1), 'group')} are shown.")
    return _sheet(
        "Near duplicates",
        about,
        [
            (
                counted(len(group), "photo"),
                [_on_sheet(Result(path, math.nan)) for path in group[:_SHEET_PHOTOS]],
            )
            for group in groups[: max(len(shown), 1)]
        ],
    )


def _sheet(title: str, about: list[str], groups: list[tuple[str, list[dict[str, Any]]]]) -> str:
    return render(
        "mcad_mobile.cli", "contact_sheet.html.jinja", title=title, about=about, groups=groups
    )


def _on_sheet(result: Result) -> dict[str, Any]:
    path = Path(result.path)
    return {
        "name": path.name + _moment(result),
        "link": "" if is_address(result.path) else path.absolute().as_uri(),
        "score": "" if math.isnan(result.score) else f"{result.score:.3f}",
        "copies": f"+{len(result.copies)}" if result.copies else "",
        "jpeg": inline_jpeg(path, _SHEET_PX, result.at_ms),
    }


def write_contact_sheet(page: str, path: Path) -> None:
    """Write a page to `path`. DiskError if it cannot be written."""
    try:
        path.write_text(page, "utf-8", "xmlcharrefreplace")
    except OSError as error:
        raise as_disk_error(path, error) from error


def _find_duplicates(
    photos: PhotoIndex, rows: RowFilter, least: float, shown_for: Path | None, json: bool
) -> None:
    groups = photos.near_duplicates(least, rows=rows)
    among = len(photos.passing_paths(rows))
    if shown_for is not None:
        _show(duplicate_sheet(groups, least), shown_for)
    if json:
        print_json({"photos": among, "least": least, "groups": groups})
        return
    for group in groups:
        print("\n".join(printable(path) for path in group), end="\n\n")
    alike = sum(map(len, groups))
    print(f"{counted(len(groups), 'group')}, {alike:,} of {counted(among, 'photo')}")
