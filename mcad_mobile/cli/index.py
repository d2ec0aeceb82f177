"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mcad_mobile.bundle import Bundle
from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    load_bundle,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.cli.results import print_json
from mcad_mobile.cores import allowed_cores
from mcad_mobile.engine import SearchEngine, default_index, open_index
from mcad_mobile.errors import PhotoError
from mcad_mobile.folder import has_photos
from mcad_mobile.index import PhotoIndex
from mcad_mobile.sync import Synced


def index(
    bundle: BundleOption,
    photos: Annotated[
        Path | None, typer.Argument(help="A folder of photos; subfolders are read too.")
    ] = None,
    index: IndexOption = None,
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="OLD.index",
            help="No folder: embed the photos of another student's index anew, beside it.",
        ),
    ] = None,
    drop_gone: Annotated[
        bool,
        typer.Option("--prune", help="Also drop photos outside this folder whose files are gone."),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="No photos: write the index anew, as this version would, embedding none. Converts "
            "indexes of the version before.",
        ),
    ] = False,
    runtime: RuntimeOption = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads. Default: one a core it may use."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the index of a bundle hold the photos of a folder as they are now.

    The first run embeds them all. Later ones embed what is new or changed, carry over what was
    moved, and drop what is gone; a run that was stopped goes on where it was. Photos of other
    folders in the same index are left alone. Photos that do not decode are skipped and listed.

    \b
      mcad-mobile index ~/Pictures --bundle build/sd
      mcad-mobile index /media/camera --bundle build/sd     # a second folder, same index
      mcad-mobile index --from build/old.index --bundle build/new   # an older one's photos
      mcad-mobile index --rebuild --bundle build/sd         # as this version writes it
    """
    if rebuild:
        if photos is not None:
            raise typer.BadParameter("--rebuild takes no photos: it embeds none")
        _rebuild(index or default_index(bundle), json)
        return
    if origin is not None:
        if photos is not None or drop_gone:
            raise typer.BadParameter("--from takes the photos of an index: leave PHOTOS out")
        engine = _engine(load_bundle(bundle), runtime, threads)
        _embed_again(engine, origin, index or default_index(bundle), json)
        return
    if photos is None:
        raise typer.BadParameter("give the folder of photos", param_hint="PHOTOS")
    started = time.perf_counter()
    loaded = load_bundle(bundle)
    directory = index or default_index(bundle)
    if PhotoIndex.is_previous(directory):
        warn(f"{directory} is of the version before and is converted first.")
        PhotoIndex.rebuild(directory)
    if not PhotoIndex.exists(directory) and not has_photos(photos):
        raise PhotoError(f"No photos in {photos}.", "Give a folder that holds photos.")
    photo_index = open_index(loaded, directory, create=True)
    engine = _engine(loaded, runtime, threads)
    filler = engine.image_rung  # loaded and tested before any photo is
    with progress_bar() as advance:
        result = engine.index_folder(
            photo_index,
            photos,
            lambda done, total: advance("photos", done, total),
            drop_gone=drop_gone,
        )
    seconds = time.perf_counter() - started
    document = {
        "index": str(directory),
        **asdict(result),
        "photos": photo_index.photos,
        "filled_by": str(filler),
        "bytes_per_photo": photo_index.bytes_per_photo,
        "photos_per_s": round((result.added + result.changed) / seconds, 2),
    }
    if json:
        print_json(document)
    else:
        _print(document, result)
    seen = result.added + result.changed + result.moved + result.unchanged
    if result.skipped and not seen:
        raise PhotoError(
            f"None of the {len(result.skipped)} photos in {photos} could be read; the first: "
            f"{printable(result.skipped[0].why.splitlines()[0])}",
            "Give a folder that holds photos; what the index held, it holds still.",
        )


def _engine(bundle: Bundle, runtime: str | None, threads: int | None) -> SearchEngine:
    return SearchEngine(
        bundle, runtime=runtime, threads=threads or allowed_cores(), fastest=True, warn=warn
    )


def _embed_again(engine: SearchEngine, origin: Path, directory: Path, json: bool) -> None:
    from mcad_mobile.again import embed_again

    started = time.perf_counter()
    filler = engine.image_rung
    with progress_bar() as advance:
        photo_index, result = embed_again(
            engine, origin, directory, lambda done, total: advance("photos", done, total)
        )
    seconds = time.perf_counter() - started
    document = {
        "index": str(directory),
        **asdict(result),
        "photos": photo_index.photos,
        "filled_by": str(filler),
        "bytes_per_photo": photo_index.bytes_per_photo,
        "photos_per_s": round((result.added + result.changed) / seconds, 2),
    }
    if json:
        print_json(document)
        return
    _print(document, result)
    for path in result.gone:
        print(f"  gone {printable(path)}")


def _rebuild(directory: Path, json: bool) -> None:
    rebuilt = PhotoIndex.rebuild(directory)
    document = {
        "index": str(directory),
        "photos": rebuilt.photos,
        "bytes_per_photo": rebuilt.bytes_per_photo,
    }
    if json:
        print_json(document)
    else:
        print(
            f"{directory}: written anew, {rebuilt.photos} photos, "
            f"{rebuilt.bytes_per_photo:.0f} bytes each"
        )


def _print(document: dict[str, Any], result: Synced) -> None:
    print(
        f"{document['index']}: {document['photos']} photos, {result.added} new, "
        f"{result.changed} changed, {result.moved} moved, {result.removed} gone, "
        f"{document['bytes_per_photo']:.0f} bytes each, {document['photos_per_s']} photos/s"
    )
    for photo in result.skipped:
        print(f"  skipped {printable(photo.path)}: {printable(photo.why.splitlines()[0])}")
