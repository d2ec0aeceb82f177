"""mcad-mobile search"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mcad_mobile.bundle import Bundle
from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    ThreadsOption,
    default_index,
    print_json,
)
from mcad_mobile.engine import SearchEngine, open_index


def search(
    query: Annotated[str, typer.Argument(help="What the photo shows, in words.")],
    bundle: BundleOption,
    index: IndexOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many photos to return.")] = 10,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score every photo, not only the best candidates.")
    ] = False,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    json: JsonOption = False,
) -> None:
    """Find photos by words.

    \b
      mcad-mobile search "a dog on the beach" --bundle build/sd
      mcad-mobile search "our hotel in Lisbon" --bundle build/sd -k 3 --json
    """
    loaded = Bundle.load(bundle)
    photos = open_index(loaded, index or default_index(bundle))
    engine = SearchEngine(loaded, runtime=runtime, threads=threads)
    found = engine.search(photos, query, k, exact=exact)
    if json:
        print_json(asdict(found))
        return
    for result in found.results:
        print(f"{result.score:.3f}  {result.path}")
    if not found.results:
        print("The index holds no photos.")
    if found.truncated:
        print(f"(only the first {loaded.tokenizer.length} tokens of the query were read)")
