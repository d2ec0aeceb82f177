"""mcad-mobile search"""

from __future__ import annotations

import math
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.contact_sheet import write_contact_sheet
from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    command_line_options,
    load_bundle,
    printable,
    warn,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, SearchEngine, open_index
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.photos.dates import moment
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.query import Part
from mcad_mobile.errors import QueryError

# --duplicates takes these options; it would ignore all others.
_WITH_DUPLICATES = {"bundle", "index", "duplicates", "json"}


def search(
    context: typer.Context,
    bundle: BundleOption,
    query: Annotated[str | None, typer.Argument(help="What the photo shows, in words.")] = None,
    index: IndexOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many photos to return.")] = 10,
    plus: Annotated[
        list[str] | None, typer.Option("--plus", metavar="TEXT[=WEIGHT]", help="Also this.")
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option("--minus", metavar="TEXT[=WEIGHT]", help="But not this.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option("--like", metavar="PHOTO[=WEIGHT]", help="More like this photo."),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option("--unlike", metavar="PHOTO[=WEIGHT]", help="Less like this photo."),
    ] = None,
    matches: Annotated[
        bool,
        typer.Option("--matches", help="Only photos that match, also if there are none."),
    ] = False,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Only photos with this score or more.")
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--in", metavar="DIR", help="Only photos in this folder or below; repeatable."
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="DAY", help="Only photos taken on this day or later."),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--before", metavar="DAY", help="Only photos taken before this day."),
    ] = None,
    duplicates: Annotated[
        float | None,
        typer.Option(
            "--duplicates",
            metavar="COSINE",
            help="No query: groups of photos at least so alike (0.97, say).",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score every photo, not only the best candidates.")
    ] = False,
    show: Annotated[
        bool,
        typer.Option(
            "--show", help="Also write what was found as a page, BUNDLE.search.html, and open it."
        ),
    ] = False,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    json: JsonOption = False,
) -> None:
    """Find photos by words, by photos, or by both.

    \b
      mcad-mobile search "a dog on the beach" --bundle build/sd
      mcad-mobile search "our hotel in Lisbon" --bundle build/sd -k 3 --json
      mcad-mobile search "a dog" --plus snow --minus "a ball=0.5" --bundle build/sd
      mcad-mobile search --like IMG_1234.jpg --minus people --bundle build/sd
      mcad-mobile search "a dog" --in ~/Pictures/2024 --after 2024-05-01 --before 2024-06-01 \\
          --bundle build/sd
      mcad-mobile search "a birthday cake" -k 60 --show --bundle build/sd
      mcad-mobile search --duplicates 0.97 --bundle build/sd

    A search always has a nearest photo. Whether it shows what was asked for is another question:
    for one text, results below its `threshold` are marked, and --matches leaves them out.
    A day is one of this machine's time zone and begins at midnight; 2024-05-01T18:30 is possible,
    too. A photo was taken when its camera says, or else when its file last changed.
    A weight stands behind the last equals sign of words that hold several: "E=mc2=1".
    """
    parts = [
        *([] if query is None else [Part(query)]),
        *_word_parts("--plus", plus, 1),
        *_word_parts("--minus", minus, -1),
        *_photo_parts("--like", like, 1),
        *_photo_parts("--unlike", unlike, -1),
    ]
    _check_options(context, parts, matches)
    loaded = load_bundle(bundle)
    photos = open_index(loaded, index)
    if duplicates is not None:
        _print_duplicates(photos, duplicates, json)
        return
    rows = _rows(folders or [], after, before)
    request = _Request(parts, k, rows, matches, min_score, exact, runtime, threads)
    found = _find(loaded, photos, request)
    if show:
        _show(found, bundle.resolve().with_name(f"{bundle.resolve().name}.search.html"))
    if json:
        print_json(asdict(found))
    else:
        _print(found, photos, rows, loaded.tokenizer.length)


@dataclass(frozen=True)
class _Request:
    """What to search for, and how."""

    parts: list[Part]
    k: int
    rows: RowFilter
    matches: bool
    min_score: float | None
    exact: bool
    runtime: str | None
    threads: int


def _find(bundle: Bundle, photos: PhotoIndex, request: _Request) -> Found:
    """Search, and drop results below the least score. QueryError for --matches where the student
    has no measured threshold."""
    if request.matches and bundle.no_match is None:
        raise QueryError(
            "It was never measured from which score on a photo matches, for the student "
            f"{bundle.student.name}.",
            "Leave --matches out, or choose a score: --min-score.",
        )
    engine = SearchEngine(bundle, runtime=request.runtime, threads=request.threads, warn=warn)
    found = engine.search_parts(
        photos, request.parts, request.k, rows=request.rows, exact=request.exact
    )
    limits = (request.min_score, found.threshold if request.matches else None)
    least = max((limit for limit in limits if limit is not None), default=-2.0)
    results = [replace(r, gone=is_gone(r.path)) for r in found.results if r.score >= least]
    return replace(found, results=results)


def _print(found: Found, photos: PhotoIndex, rows: RowFilter, query_length: int) -> None:
    for result in found.results:
        doubtful = found.threshold is not None and result.score < found.threshold
        marks = f"{'  ?' if doubtful else ''}{'  (gone)' if result.gone else ''}"
        print(f"{result.score:.3f}  {printable(result.path)}{marks}")
    if gone := sum(result.gone for result in found.results):
        print(
            f"({gone} of these files {'is' if gone == 1 else 'are'} gone; to drop such photos: "
            "mcad-mobile index PHOTOS --prune --bundle BUNDLE)"
        )
    if not photos.photos:
        print("The index holds no photos.")
    elif not photos.count(rows):
        print("The index holds no photos of that folder and time.")
    elif not found.results:
        print("Nothing matches.")
    elif found.threshold is not None and found.results[0].score < found.threshold:
        print(f"(nothing may match: scores from {found.threshold:.3f} would)")
    if found.unknown:
        print(f"(no words to the student: {printable(', '.join(found.unknown))})")
    if found.truncated:
        print(f"(only the first {query_length} tokens of the query were read)")


def _rows(folders: list[Path], after: str | None, before: str | None) -> RowFilter:
    rows = RowFilter(
        tuple(str(folder.expanduser().resolve()) for folder in folders),
        None if after is None else moment(after),
        None if before is None else moment(before),
    )
    if rows.after is not None and rows.before is not None and rows.after >= rows.before:
        raise QueryError(f"No photo was taken after {after} and before {before}.", "Swap the days.")
    return rows


def _check_options(context: typer.Context, parts: list[Part], matches: bool) -> None:
    """Refuse, as wrong usage, a search for nothing, and options that would be ignored."""
    options = command_line_options(context)
    if "duplicates" in options:
        for name, flag in options.items():
            if name not in _WITH_DUPLICATES:
                shown = "a query" if name == "query" else flag
                raise typer.BadParameter(f"--duplicates takes no query: leave {shown} out")
    elif not parts:
        raise typer.BadParameter("give words, --like PHOTO, or --duplicates", param_hint="QUERY")
    elif matches and not (len(parts) == 1 and parts[0].weight > 0 and _is_text(parts[0])):
        raise typer.BadParameter(
            "--matches is for one text; of words and photos together it is not known from which "
            "score on a photo matches (--min-score takes one)"
        )


def _is_text(part: Part) -> bool:
    return isinstance(part.content, str)


def _word_parts(flag: str, values: list[str] | None, sign: int) -> Iterator[Part]:
    """Parts of values such as "snow=0.5", with weight 1 if there is no equals sign. Wrong usage:
    the text behind the last equals sign is no weight, or there are no words before it."""
    for value in values or []:
        words, equals, text = value.rpartition("=")
        if not equals:
            yield Part(value, sign)
            continue
        if not words.strip():
            raise typer.BadParameter(f"{flag} {value!r} has a weight and no words")
        weight = _number(text)
        if weight is None:
            raise typer.BadParameter(
                f"{flag} {value!r}: {text!r} is no weight, as in {words + '=0.5'!r}; to search for "
                f"all of it: {value + '=1'!r}"
            )
        _check_weight(flag, value, weight)
        yield Part(words, sign * weight)


def _photo_parts(flag: str, values: list[str] | None, sign: int) -> Iterator[Part]:
    """As _word_parts, but names of photos may hold equals signs."""
    for value in values or []:
        path, _, text = value.rpartition("=")
        weight = _number(text)
        if weight is None or not path or Path(value).exists():
            yield Part(Path(value), sign)
            continue
        _check_weight(flag, value, weight)
        yield Part(Path(path), sign * weight)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_weight(flag: str, value: str, weight: float) -> None:
    if not (math.isfinite(weight) and weight > 0):
        opposite = {"--plus": "--minus", "--minus": "--plus", "--like": "--unlike"}
        raise typer.BadParameter(
            f"{flag} {value!r}: a weight is more than 0 (the opposite is "
            f"{opposite.get(flag, '--like')})"
        )


def _show(found: Found, sheet: Path) -> None:
    write_contact_sheet(found, sheet)
    if not (sys.stdout.isatty() and webbrowser.open(sheet.as_uri())):
        print(f"The page is {sheet}", file=sys.stderr)


def _print_duplicates(photos: PhotoIndex, least: float, json: bool) -> None:
    groups = photos.near_duplicates(least)
    if json:
        print_json({"photos": photos.photos, "least": least, "groups": groups})
        return
    for group in groups:
        print("\n".join(printable(path) for path in group), end="\n\n")
    print(f"{len(groups)} groups, {sum(map(len, groups))} of {photos.photos} photos")
