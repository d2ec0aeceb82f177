"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from mcad_mobile.base.documents import folder_kind
from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    IndexedOptions,
    RuntimeOptions,
    argument,
    command_line_options,
    flag,
    format_speed,
    load_bundle,
    option,
    photos_per_second,
    print_skipped,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, default_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import has_photos
from mcad_mobile.engine.reembed import reembed_index
from mcad_mobile.engine.sync import SyncResult
from mcad_mobile.errors import PhotoError, ShardError, require

# The options that --from INDEX and --from SHARDS take.
_WITH_INDEX = ("origin", "bundle", "index", "runtime", "threads", "json")
_WITH_SHARDS = ("origin", "select", "bundle", "index", "json")


@dataclass(frozen=True, kw_only=True)
class IndexOptions(IndexedOptions, RuntimeOptions):
    photos: Path | None = argument("A folder of photos; subfolders are read too.")
    origin: str | None = option(
        "--from",
        "Instead of a folder: another student's index, whose photos are embedded again, or shards "
        "that `embed` wrote, here or at an address, whose embeddings are taken as they are.",
        metavar="INDEX|SHARDS",
    )
    select: Path | None = option(
        "--select", "Only the photos with these keys, one per line. For shards.", metavar="FILE"
    )
    drop_gone: bool = flag(
        "--prune",
        "Drop all photos whose files are gone, in every folder, even on an unmounted drive or if "
        "PHOTOS is empty.",
    )
    rebuild: bool = flag(
        "--rebuild",
        "Without PHOTOS: write the index again, tuned on the photos that it holds, without "
        "embedding.",
    )
    verify: bool = flag("--verify", "Without PHOTOS: read the whole index and name damaged files.")
    repair: bool = flag(
        "--repair",
        "Without PHOTOS: drop damaged parts; the next run over the folder embeds those photos "
        "again.",
    )
    threads: int | None = option(
        "--threads", "CPU threads. Default: one per available core.", min=1
    )

    @property
    def directory(self) -> Path:
        """The folder of the index."""
        return self.index or default_index(self.bundle)

    def engine(self, bundle: Bundle) -> SearchEngine:
        return SearchEngine(
            bundle,
            runtime=self.runtime,
            threads=self.threads or allowed_cores(),
            fastest=True,
            warn=warn,
        )


def index(options: IndexOptions, context: typer.Context) -> None:
    """Bring the index of a bundle up to date with a folder of photos.

    The first run embeds all photos. Later runs embed new and changed photos, keep the embeddings of
    moved ones, and drop deleted ones; an interrupted run continues where it was. Photos of other
    folders in the same index stay, and so do those of subfolders that are gone or empty, as on an
    unmounted drive. Photos that do not decode are skipped and listed.

    These are left out and counted: files that are not photos, hidden files and folders (whose names
    start with a dot; to index such a folder, give its own path) and links to folders. A link to a
    photo counts as a photo. --json names up to 1,000 of each kind.

    \b
      mcad-mobile index ~/Pictures --bundle build/sd
      mcad-mobile index /media/camera --bundle build/sd     # a second folder, same index
      mcad-mobile index --from build/old.index --bundle build/new   # photos of an older index
      mcad-mobile index --from shards --bundle build/sd --index phone.index --select keys.txt
      mcad-mobile index --rebuild --bundle build/sd         # tune it again
      mcad-mobile index --verify --bundle build/sd          # check every byte
    """
    alone = {"--rebuild": _rebuild, "--verify": _verify, "--repair": _repair}
    chosen = [name for name in alone if getattr(options, name.removeprefix("--"))]
    if chosen:
        if options.photos is not None or len(chosen) > 1:
            others = " or ".join(name for name in alone if name != chosen[0])
            raise typer.BadParameter(f"{chosen[0]} cannot be combined with PHOTOS, {others}")
        alone[chosen[0]](options)
    elif options.origin is not None:
        of_index = _is_index(options.origin)
        _check_options(context, of_index)
        if of_index:
            _reembed(options, Path(options.origin))
        else:
            _index_shards(options, options.origin)
    elif options.photos is None:
        raise typer.BadParameter(
            "give a folder of photos, or --from INDEX|SHARDS", param_hint="PHOTOS"
        )
    elif options.select is not None:
        raise typer.BadParameter("--select is for --from SHARDS: a folder is indexed whole")
    else:
        _index_folder(options, options.photos)


def _index_folder(options: IndexOptions, photos: Path) -> None:
    """Make the index hold the photos of a folder as they are now."""
    started = time.perf_counter()
    bundle = load_bundle(options.bundle)
    if not PhotoIndex.exists(options.directory) and not has_photos(photos):
        message = f"No photos in {photos}."
        if not photos.is_dir():
            message = f"{photos} {'is not a folder' if photos.exists() else 'does not exist'}."
        raise PhotoError(message, "Give a folder that holds photos.")
    index = open_index(bundle, options.directory, create=True)
    engine = options.engine(bundle)
    rung = str(engine.folder_rung)  # loaded and tested before any photo is
    with progress_bar() as progress:
        result = engine.index_folder(index, photos, progress, drop_gone=options.drop_gone)
    print_result(options, index, result, rung, time.perf_counter() - started)
    seen = result.added + result.changed + result.moved + result.unchanged
    if result.skipped and not seen:
        raise PhotoError(
            f"None of the {len(result.skipped)} photos in {photos} could be read; the first: "
            f"{printable(result.skipped[0].why.splitlines()[0])}",
            "Give a folder that holds photos.",
        )


def _reembed(options: IndexOptions, origin: Path) -> None:
    """Embed the photos of another student's index into the index of this bundle."""
    engine = options.engine(load_bundle(options.bundle))
    started = time.perf_counter()
    rung = str(engine.folder_rung)  # loaded and tested before any photo is
    with progress_bar() as progress:
        index, result = reembed_index(engine, origin, options.directory, progress)
    print_result(options, index, result, rung, time.perf_counter() - started)
    if not options.json:
        for path in result.gone:
            print(f"  gone {printable(path)}")


def _index_shards(options: IndexOptions, address: str) -> None:
    """Add the photos of the shards that `embed` wrote at `address` to the index."""
    bundle = load_bundle(options.bundle)
    require("pyarrow", "embed")
    from mcad_mobile.embed import phone_index

    started = time.perf_counter()
    wanted = None if options.select is None else phone_index.read_selection(options.select)
    shards = phone_index.Shards(address)
    shards.check_student(bundle)
    index = open_index(bundle, options.directory, create=True)
    with progress_bar() as progress:
        result = phone_index.index_shards(shards, index, wanted, progress)
    rungs, seconds = ", ".join(shards.filled_by), time.perf_counter() - started
    print_result(options, index, result, rungs, seconds)
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {options.select} is in {address}.",
            "Give keys as the shards have them: docs/embed.md.",
        )


def _rebuild(options: IndexOptions) -> None:
    """Write the index anew, with parameters measured on the photos that it holds."""
    rebuilt = PhotoIndex.rebuild(options.directory)
    if options.json:
        print_json(
            {
                "index": options.directory,
                "photos": rebuilt.photos,
                "bytes_per_photo": rebuilt.bytes_per_photo,
            }
        )
    else:
        print(
            f"{options.directory}: written anew, {rebuilt.photos} photos, "
            f"{rebuilt.bytes_per_photo:.0f} bytes each"
        )


def _verify(options: IndexOptions) -> None:
    """Read every byte of the index. PhotoIndexError names the file that is damaged."""
    with PhotoIndex.open(options.directory) as opened:
        opened.verify()
        photos = opened.photos
    if options.json:
        print_json({"index": options.directory, "photos": photos, "whole": True})
    else:
        print(f"{options.directory}: {photos} photos, intact")


def _repair(options: IndexOptions) -> None:
    """Drop the damaged parts of the index."""
    lost = PhotoIndex.repair(options.directory)
    photos = PhotoIndex.open(options.directory).photos
    if options.json:
        print_json({"index": options.directory, "photos": photos, "dropped": lost})
    else:
        print(f"{options.directory}: {photos} photos; {lost} were in damaged files and are dropped")


def _is_index(origin: str) -> bool:
    """Whether --from names an index; otherwise it names shards, here or at an address. A damaged
    manifest is treated as an index's, so that its error is shown."""
    return folder_kind(Path(origin)) == "a photo index"


def _check_options(context: typer.Context, of_index: bool) -> None:
    """Raise BadParameter for an option that --from INDEX or --from SHARDS would ignore."""
    for name, shown in command_line_options(context).items():
        if name not in (_WITH_INDEX if of_index else _WITH_SHARDS):
            shown = "PHOTOS" if name == "photos" else shown
            origin = "INDEX" if of_index else "SHARDS"
            raise typer.BadParameter(f"{shown} cannot be used with --from {origin}: leave it out")


def print_result(
    options: IndexOptions, index: PhotoIndex, result: SyncResult, filled_by: str, seconds: float
) -> None:
    """Print what was done to the index in `seconds`, as a document or in words."""
    photos_per_s = photos_per_second(result.added + result.changed, seconds)
    if options.json:
        print_json(
            {
                "index": options.directory,
                **asdict(result),
                "photos": index.photos,
                "filled_by": filled_by,
                "bytes_per_photo": index.bytes_per_photo,
                "photos_per_s": photos_per_s,
            }
        )
        return
    print(
        f"{options.directory}: {index.photos} photos, {result.added} new, "
        f"{result.changed} changed, {result.moved} moved, {result.removed} gone, "
        f"{index.bytes_per_photo:.0f} bytes each, {format_speed(photos_per_s)}"
    )
    if result.kept:
        noun = "photo" if result.kept == 1 else "photos"
        print(
            f"  kept {result.kept:,} {noun} of folders that are gone or empty; "
            "to drop such photos: --prune"
        )
    print_skipped((photo.path, photo.why) for photo in result.skipped)
    for kind, left_out in sorted(result.left_out.items(), key=lambda item: -item[1].count):
        more = ", ..." if left_out.count > 1 else ""
        print(f"  left out {left_out.count:,} ({kind}): {printable(left_out.paths[0])}{more}")
