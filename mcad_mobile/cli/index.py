"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    given_options,
    load_bundle,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.cli.results import print_json
from mcad_mobile.cores import allowed_cores
from mcad_mobile.engine import SearchEngine, default_index, open_index
from mcad_mobile.errors import PhotoError, ShardError, require
from mcad_mobile.folder import has_photos
from mcad_mobile.index import PhotoIndex
from mcad_mobile.sync import Synced


def index(
    context: typer.Context,
    bundle: BundleOption,
    photos: Annotated[
        Path | None, typer.Argument(help="A folder of photos; subfolders are read too.")
    ] = None,
    index: IndexOption = None,
    shards: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SHARDS",
            help="In place of a folder: what `embed` wrote, here or at an address. Nothing is"
            " embedded.",
        ),
    ] = None,
    select: Annotated[
        Path | None,
        typer.Option(
            "--select",
            metavar="FILE",
            help="Of --from, the photos of these keys alone, one a line.",
        ),
    ] = None,
    drop_gone: Annotated[
        bool,
        typer.Option("--prune", help="Also drop photos outside this folder whose files are gone."),
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
      mcad-mobile index --from shards --bundle build/sd --index phone.index --select keys.txt
    """
    if shards is not None:
        _check_options(context)
        _index_shards(shards, select, bundle, index or default_index(bundle), json)
        return
    if photos is None:
        raise typer.BadParameter("give a folder of photos, or --from SHARDS", param_hint="PHOTOS")
    if select is not None:
        raise typer.BadParameter("--select is for --from: a folder is indexed whole")
    started = time.perf_counter()
    loaded = load_bundle(bundle)
    directory = index or default_index(bundle)
    if not PhotoIndex.exists(directory) and not has_photos(photos):
        raise PhotoError(f"No photos in {photos}.", "Give a folder that holds photos.")
    photo_index = open_index(loaded, directory, create=True)
    engine = SearchEngine(
        loaded,
        runtime=runtime,
        threads=threads or allowed_cores(),
        fastest=True,
        warn=warn,
    )
    filler = engine.image_rung  # loaded and tested before any photo is
    with progress_bar() as advance:
        result = engine.index_folder(
            photo_index,
            photos,
            lambda done, total: advance("photos", done, total),
            drop_gone=drop_gone,
        )
    seconds = time.perf_counter() - started
    _tell(directory, photo_index, result, str(filler), seconds, json)
    seen = result.added + result.changed + result.moved + result.unchanged
    if result.skipped and not seen:
        raise PhotoError(
            f"None of the {len(result.skipped)} photos in {photos} could be read; the first: "
            f"{printable(result.skipped[0].why.splitlines()[0])}",
            "Give a folder that holds photos; what the index held, it holds still.",
        )


_WITH_SHARDS = ("shards", "select", "bundle", "index", "json")


def _check_options(context: typer.Context) -> None:
    for name, written in given_options(context).items():
        if name not in _WITH_SHARDS:
            shown = "PHOTOS" if name == "photos" else written
            raise typer.BadParameter(f"--from embeds nothing: leave {shown} out")


def _index_shards(
    address: str, select: Path | None, bundle: Path, directory: Path, json: bool
) -> None:
    require("pyarrow", "embed")
    from mcad_mobile.embed.phone import Shards, index_shards, read_selection

    started = time.perf_counter()
    loaded = load_bundle(bundle)
    wanted = None if select is None else read_selection(select)
    shards = Shards(address)
    shards.check_student(loaded)
    photo_index = open_index(loaded, directory, create=True)
    with progress_bar() as advance:
        result = index_shards(
            shards, photo_index, wanted, lambda done, total: advance("photos", done, total)
        )
    seconds = time.perf_counter() - started
    _tell(directory, photo_index, result, ", ".join(shards.filled_by), seconds, json)
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {select} is in {address}.",
            "Give keys as the shards have them: docs/embed.md.",
        )


def _tell(
    directory: Path, index: PhotoIndex, result: Synced, filled_by: str, seconds: float, json: bool
) -> None:
    document = {
        "index": str(directory),
        **asdict(result),
        "photos": index.photos,
        "filled_by": filled_by,
        "bytes_per_photo": index.bytes_per_photo,
        "photos_per_s": round((result.added + result.changed) / seconds, 2),
    }
    if json:
        print_json(document)
    else:
        _print(document, result)


def _print(document: dict[str, Any], result: Synced) -> None:
    print(
        f"{document['index']}: {document['photos']} photos, {result.added} new, "
        f"{result.changed} changed, {result.moved} moved, {result.removed} gone, "
        f"{document['bytes_per_photo']:.0f} bytes each, {document['photos_per_s']} photos/s"
    )
    for photo in result.skipped:
        print(f"  skipped {printable(photo.path)}: {printable(photo.why.splitlines()[0])}")
