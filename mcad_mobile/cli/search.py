"""mcad-mobile search"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    default_index,
    load_bundle,
    print_json,
    printable,
    warn,
)
from mcad_mobile.engine import SearchEngine, open_index
from mcad_mobile.index import PhotoIndex
from mcad_mobile.query import Part


def search(
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
      mcad-mobile search --duplicates 0.97 --bundle build/sd

    A search always has a nearest photo. Whether it shows what was asked for is another question:
    for one text, results below its `threshold` are marked, and --matches leaves them out.
    """
    loaded = load_bundle(bundle)
    photos = open_index(loaded, index or default_index(bundle))
    if duplicates is not None:
        _print_duplicates(photos, duplicates, json)
        return
    parts = [Part(query)] if query is not None else []
    for given, sign in ((plus, 1), (minus, -1)):
        parts += [Part(text, sign * weight) for text, weight in map(_weighted, given or [])]
    for given, sign in ((like, 1), (unlike, -1)):
        parts += [Part(Path(path), sign * weight) for path, weight in map(_weighted, given or [])]
    if not parts:
        raise typer.BadParameter("give words, --like PHOTO, or --duplicates", param_hint="QUERY")
    engine = SearchEngine(loaded, runtime=runtime, threads=threads, warn=warn)
    found = engine.search_parts(photos, parts, k, exact=exact)
    limits = [min_score, found.threshold if matches else None]
    least = max((limit for limit in limits if limit is not None), default=-2.0)
    found = replace(found, results=[r for r in found.results if r.score >= least])
    if json:
        print_json(asdict(found))
        return
    for result in found.results:
        doubtful = found.threshold is not None and result.score < found.threshold
        print(f"{result.score:.3f}  {printable(result.path)}{'  ?' if doubtful else ''}")
    if not photos.photos:
        print("The index holds no photos.")
    elif not found.results:
        print("Nothing matches.")
    elif found.threshold is not None and found.results[0].score < found.threshold:
        print(f"(nothing may match: scores from {found.threshold:.3f} would)")
    if found.truncated:
        print(f"(only the first {loaded.tokenizer.length} tokens of the query were read)")


def _weighted(given: str) -> tuple[str, float]:
    """ "snow=0.5" -> ("snow", 0.5); 1 where there is no weight."""
    parsed = re.fullmatch(r"(.+)=(\d+(?:\.\d+)?)", given, re.DOTALL)
    return (parsed[1], float(parsed[2])) if parsed else (given, 1.0)


def _print_duplicates(photos: PhotoIndex, least: float, json: bool) -> None:
    groups = photos.near_duplicates(least)
    if json:
        print_json({"photos": photos.photos, "least": least, "groups": groups})
        return
    for group in groups:
        print("\n".join(printable(path) for path in group), end="\n\n")
    print(f"{len(groups)} groups, {sum(map(len, groups))} of {photos.photos} photos")
