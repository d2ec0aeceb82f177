"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
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
    progress_bar,
)
from mcad_mobile.engine import SearchEngine, create_index, open_index
from mcad_mobile.index import PhotoIndex
from mcad_mobile.preprocess import find_photos


def index(
    photos: Annotated[Path, typer.Argument(help="A folder of photos; subfolders are read too.")],
    bundle: BundleOption,
    index: IndexOption = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also drop photos whose files are gone.")
    ] = False,
    runtime: RuntimeOption = None,
    threads: ThreadsOption = 1,
    json: JsonOption = False,
) -> None:
    """Add the photos of a folder to the index of a bundle.

    Photos that the index holds already are left alone, so that the same call again adds only what
    is new, also after a run that was stopped. Photos that do not decode are skipped and listed.

    \b
      mcad-mobile index ~/Pictures --bundle build/sd
    """
    started = time.perf_counter()
    found = [photo.resolve() for photo in find_photos(photos)]
    loaded = Bundle.load(bundle)
    directory = index or default_index(bundle)
    photo_index = (open_index if directory.exists() else create_index)(loaded, directory)
    engine = SearchEngine(loaded, runtime=runtime, threads=threads)
    with progress_bar() as advance:
        result = engine.index_photos(
            photo_index, found, lambda done, total: advance("photos", done, total)
        )
    removed = _prune(photo_index) if prune else 0
    seconds = time.perf_counter() - started
    document = {
        "index": str(directory),
        "added": result.added,
        "unchanged": result.unchanged,
        "removed": removed,
        "skipped": [asdict(photo) for photo in result.skipped],
        "photos": photo_index.photos,
        "bytes_per_photo": photo_index.bytes_per_photo,
        "photos_per_s": round(result.added / seconds, 2),
    }
    if json:
        print_json(document)
        return
    print(
        f"{directory}: {photo_index.photos} photos, {result.added} new, "
        f"{photo_index.bytes_per_photo:.0f} bytes each, {document['photos_per_s']} photos/s"
    )
    for photo in result.skipped:
        print(f"  skipped: {photo.why.splitlines()[0]}")


def _prune(index: PhotoIndex) -> int:
    gone = [path for path in index.paths() if not Path(path).exists()]
    if not gone:
        return 0
    with index.writer() as writer:
        return writer.delete(gone)
