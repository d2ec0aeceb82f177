"""mcad-mobile search"""

from __future__ import annotations

import math
import sys
import webbrowser
from dataclasses import asdict, replace
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
    given_options,
    load_bundle,
    printable,
    warn,
)
from mcad_mobile.engine.engine import Found, SearchEngine, open_index
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.photos.dates import moment
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.query import Part
from mcad_mobile.errors import QueryError

# What says which photos are alike, and where: all else would be ignored.
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
    parts = _parts(query, plus or [], minus or [], like or [], unlike or [])
    _check_options(context, parts, matches)
    loaded = load_bundle(bundle)
    photos = open_index(loaded, index)
    if duplicates is not None:
        _print_duplicates(photos, duplicates, json)
        return
    if matches and loaded.no_match is None:
        raise QueryError(
            "It was never measured from which score on a photo matches, for the student "
            f"{loaded.student.name}.",
            "Leave --matches out, or choose a score: --min-score.",
        )
    engine = SearchEngine(loaded, runtime=runtime, threads=threads, warn=warn)
    rows = _rows(folders or [], after, before)
    found = engine.search_parts(photos, parts, k, rows=rows, exact=exact)
    limits = [min_score, found.threshold if matches else None]
    least = max((limit for limit in limits if limit is not None), default=-2.0)
    kept = [r for r in found.results if r.score >= least]
    found = replace(found, results=[replace(r, gone=is_gone(r.path)) for r in kept])
    if show:
        _show(found, bundle.resolve().with_name(f"{bundle.resolve().name}.search.html"))
    if json:
        print_json(asdict(found))
        return
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
        print(f"(only the first {loaded.tokenizer.length} tokens of the query were read)")


def _rows(folders: list[Path], after: str | None, before: str | None) -> RowFilter:
    rows = RowFilter(
        tuple(str(folder.expanduser().resolve()) for folder in folders),
        None if after is None else moment(after),
        None if before is None else moment(before),
    )
    if rows.after is not None and rows.before is not None and rows.after >= rows.before:
        raise QueryError(f"No photo was taken after {after} and before {before}.", "Swap the days.")
    return rows


def _parts(
    query: str | None, plus: list[str], minus: list[str], like: list[str], unlike: list[str]
) -> list[Part]:
    parts = [Part(query)] if query is not None else []
    for flag, given, sign in (("--plus", plus, 1), ("--minus", minus, -1)):
        for text, weight in (_weighted_words(flag, one) for one in given):
            parts.append(Part(text, sign * weight))
    for flag, given, sign in (("--like", like, 1), ("--unlike", unlike, -1)):
        for photo, weight in (_weighted_photo(flag, one) for one in given):
            parts.append(Part(photo, sign * weight))
    return parts


def _check_options(context: typer.Context, parts: list[Part], matches: bool) -> None:
    """Wrong usage: nothing to search for, and what was given and would be ignored."""
    given = given_options(context)
    if "duplicates" in given:
        for name, written in given.items():
            if name not in _WITH_DUPLICATES:
                shown = "a query" if name == "query" else written
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


def _weighted_words(flag: str, given: str) -> tuple[str, float]:
    """ "snow=0.5" -> ("snow", 0.5); 1 where there is no equals sign. Wrong usage: what stands
    behind the last one is no weight, or nothing before it."""
    words, equals, weight = given.rpartition("=")
    if not equals:
        return given, 1.0
    if not words.strip():
        raise typer.BadParameter(f"{flag} {given!r} has a weight and no words")
    number = _number(weight)
    if number is None:
        raise typer.BadParameter(
            f"{flag} {given!r}: {weight!r} is no weight, as in {words + '=0.5'!r}; to search for "
            f"all of it: {given + '=1'!r}"
        )
    return words, _checked(flag, given, number)


def _weighted_photo(flag: str, given: str) -> tuple[Path, float]:
    """As _weighted_words, but names of photos may hold equals signs."""
    path, _, weight = given.rpartition("=")
    number = _number(weight)
    if number is None or not path or Path(given).exists():
        return Path(given), 1.0
    return Path(path), _checked(flag, given, number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _checked(flag: str, given: str, weight: float) -> float:
    if not (math.isfinite(weight) and weight > 0):
        other = {"--plus": "--minus", "--minus": "--plus", "--like": "--unlike"}.get(flag, "--like")
        raise typer.BadParameter(
            f"{flag} {given!r}: a weight is more than 0 (the opposite is {other})"
        )
    return weight


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
