"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    BundleOption,
    IndexOption,
    JsonOption,
    RuntimeOption,
    given_options,
    load_bundle,
    per_second,
    printable,
    progress_bar,
    told_speed,
    warn,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, default_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.manifest import NAME
from mcad_mobile.engine.photos.folder import has_photos
from mcad_mobile.engine.reembed import embed_again
from mcad_mobile.engine.sync import Synced
from mcad_mobile.errors import PhotoError, ShardError, require

# What `index` says at its end, wherever the photos came from.


def tell(
    directory: Path, index: PhotoIndex, result: Synced, filled_by: str, seconds: float, json: bool
) -> None:
    """Print what was done to the index at `directory` in `seconds`, as a document or in words."""
    per_s = per_second(result.added + result.changed, seconds)
    if json:
        print_json(
            {
                "index": str(directory),
                **asdict(result),
                "photos": index.photos,
                "filled_by": filled_by,
                "bytes_per_photo": index.bytes_per_photo,
                "photos_per_s": per_s,
            }
        )
        return
    print(
        f"{directory}: {index.photos} photos, {result.added} new, "
        f"{result.changed} changed, {result.moved} moved, {result.removed} gone, "
        f"{index.bytes_per_photo:.0f} bytes each, {told_speed(per_s)}"
    )
    for photo in result.skipped:
        print(f"  skipped {printable(photo.path)}: {printable(photo.why.splitlines()[0])}")
    by_count = sorted(result.left_out.items(), key=lambda item: -item[1].count)
    for kind, left_out in by_count:
        more = ", ..." if left_out.count > 1 else ""
        print(f"  left out {left_out.count:,} ({kind}): {printable(left_out.paths[0])}{more}")


# mcad-mobile index --from: no folder of photos, but another student's index, or shards.

_SHARDS = b'"mcad-embed/'
_WITH_AN_INDEX = ("origin", "bundle", "index", "runtime", "threads", "json")
_WITH_SHARDS = ("origin", "select", "bundle", "index", "json")


def is_an_index(origin: str) -> bool:
    """Whether --from names an index; else it names shards, here or at an address. Both have a
    manifest.json, and a damaged one of an index is told as such."""
    directory = Path(origin)
    return PhotoIndex.exists(directory) and _SHARDS not in (directory / NAME).read_bytes()


def check_options(context: typer.Context, *, again: bool) -> None:
    """BadParameter for an option that has no meaning beside --from, of an index if `again`."""
    taken = _WITH_AN_INDEX if again else _WITH_SHARDS
    for name, written in given_options(context).items():
        if name not in taken:
            shown = "PHOTOS" if name == "photos" else written
            why = "takes an index's photos" if again else "embeds nothing"
            raise typer.BadParameter(f"--from {why}: leave {shown} out")


def index_again(engine: SearchEngine, origin: Path, directory: Path, json: bool) -> None:
    """Embed the photos of the index `origin` by `engine`'s student, into one at `directory`."""
    started = time.perf_counter()
    filler = engine.folder_rung  # loaded and tested before any photo is
    with progress_bar() as advance:
        index, result = embed_again(engine, origin, directory, advance)
    tell(directory, index, result, str(filler), time.perf_counter() - started, json)
    if not json:
        for path in result.gone:
            print(f"  gone {printable(path)}")


def index_shards(
    address: str, select: Path | None, bundle: Bundle, directory: Path, json: bool
) -> None:
    """Take what `embed` wrote at `address` into the index at `directory`."""
    require("pyarrow", "embed")
    from mcad_mobile.embed import phone_index

    started = time.perf_counter()
    wanted = None if select is None else phone_index.read_selection(select)
    shards = phone_index.Shards(address)
    shards.check_student(bundle)
    index = open_index(bundle, directory, create=True)
    with progress_bar() as advance:
        result = phone_index.index_shards(shards, index, wanted, advance)
    seconds = time.perf_counter() - started
    tell(directory, index, result, ", ".join(shards.filled_by), seconds, json)
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {select} is in {address}.",
            "Give keys as the shards have them: docs/embed.md.",
        )


def index(
    context: typer.Context,
    bundle: BundleOption,
    photos: Annotated[
        Path | None, typer.Argument(help="A folder of photos; subfolders are read too.")
    ] = None,
    index: IndexOption = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="INDEX|SHARDS",
            help="In place of a folder: another student's index, whose photos are embedded anew, "
            "beside it; or what `embed` wrote, here or at an address, where nothing is embedded.",
        ),
    ] = None,
    select: Annotated[
        Path | None,
        typer.Option(
            "--select",
            metavar="FILE",
            help="Of shards, the photos of these keys alone, one a line.",
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
            help="No photos: write the index anew, measured on the photos that it holds, embedding "
            "none.",
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

    Left out, and counted by kind, are files that are no photos, hidden files and folders (their
    names start with a dot; name such a folder itself to have it indexed) and links to folders.
    Links to photos are photos. --json names up to 1,000 of each kind.

    \b
      mcad-mobile index ~/Pictures --bundle build/sd
      mcad-mobile index /media/camera --bundle build/sd     # a second folder, same index
      mcad-mobile index --from build/old.index --bundle build/new   # an older one's photos
      mcad-mobile index --from shards --bundle build/sd --index phone.index --select keys.txt
      mcad-mobile index --rebuild --bundle build/sd         # measured anew
    """
    if rebuild:
        if photos is not None:
            raise typer.BadParameter("--rebuild takes no photos: it embeds none")
        _rebuild(index or default_index(bundle), json)
        return
    if origin is not None:
        again = is_an_index(origin)
        check_options(context, again=again)
        loaded, directory = load_bundle(bundle), index or default_index(bundle)
        if again:
            index_again(_engine(loaded, runtime, threads), Path(origin), directory, json)
        else:
            index_shards(origin, select, loaded, directory, json)
        return
    if photos is None:
        raise typer.BadParameter(
            "give a folder of photos, or --from INDEX|SHARDS", param_hint="PHOTOS"
        )
    if select is not None:
        raise typer.BadParameter("--select is for --from SHARDS: a folder is indexed whole")
    started = time.perf_counter()
    loaded = load_bundle(bundle)
    directory = index or default_index(bundle)
    if not PhotoIndex.exists(directory) and not has_photos(photos):
        raise PhotoError(f"No photos in {photos}.", "Give a folder that holds photos.")
    photo_index = open_index(loaded, directory, create=True)
    engine = _engine(loaded, runtime, threads)
    filler = engine.folder_rung  # loaded and tested before any photo is
    with progress_bar() as advance:
        result = engine.index_folder(
            photo_index,
            photos,
            advance,
            drop_gone=drop_gone,
        )
    seconds = time.perf_counter() - started
    tell(directory, photo_index, result, str(filler), seconds, json)
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
