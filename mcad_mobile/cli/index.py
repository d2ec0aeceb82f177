"""mcad-mobile index"""

from __future__ import annotations

import time
from collections.abc import Callable
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
from mcad_mobile.engine.photos.folder import has_photos, is_folder, no_folder, no_photos
from mcad_mobile.engine.reembed import reembed_index
from mcad_mobile.engine.sync import SyncResult, prune
from mcad_mobile.errors import PhotoError, ShardError, require


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
        "With or without PHOTOS: drop all photos whose files are gone, in every folder, even on an "
        "unmounted drive.",
    )
    rebuild: bool = flag(
        "--rebuild",
        "Without PHOTOS: write the index again, tuned on the photos that it holds, without "
        "embedding.",
    )
    verify: bool = flag(
        "--verify", "Without PHOTOS: read the whole index and name the first damaged file."
    )
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
      mcad-mobile index --prune --bundle build/sd           # drop photos whose files are gone
    """
    use = _use(options)
    run, taken = _USES[use]
    for name, shown in command_line_options(context).items():
        if name not in (*taken, "bundle", "index", "json"):
            shown = "PHOTOS" if name == "photos" else shown
            raise typer.BadParameter(f"{shown} cannot be used with {use}: leave it out")
    run(options)


def _use(options: IndexOptions) -> str:
    """Return which use of the command the options ask for, a key of _USES."""
    for name in ("rebuild", "verify", "repair"):
        if getattr(options, name):
            return f"--{name}"
    if options.origin is not None:
        # A damaged manifest is treated as an index's, so that its error is shown.
        is_index = folder_kind(Path(options.origin)) == "a photo index"
        return "--from INDEX" if is_index else "--from SHARDS"
    if options.photos is not None:
        return "PHOTOS"
    if options.drop_gone:
        return "--prune"
    raise typer.BadParameter("give a folder of photos, or --from INDEX|SHARDS", param_hint="PHOTOS")


def _index_folder(options: IndexOptions) -> None:
    """Make the index hold the photos of a folder as they are now."""
    assert options.photos is not None
    photos = options.photos
    started = time.perf_counter()
    bundle = load_bundle(options.bundle)
    if not PhotoIndex.exists(options.directory) and not has_photos(photos):
        raise no_photos(photos) if is_folder(photos) else no_folder(photos)
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


def _reembed(options: IndexOptions) -> None:
    """Embed the photos of another student's index into the index of this bundle."""
    assert options.origin is not None
    engine = options.engine(load_bundle(options.bundle))
    started = time.perf_counter()
    rung = str(engine.folder_rung)  # loaded and tested before any photo is
    with progress_bar() as progress:
        index, result = reembed_index(engine, Path(options.origin), options.directory, progress)
    print_result(options, index, result, rung, time.perf_counter() - started)
    if not options.json:
        for path in result.gone:
            print(f"  gone {printable(path)}")


def _index_shards(options: IndexOptions) -> None:
    """Add the photos of the shards that `embed` wrote to the index."""
    assert options.origin is not None
    bundle = load_bundle(options.bundle)
    require("pyarrow", "embed")
    from mcad_mobile.embed import phone_index

    started = time.perf_counter()
    wanted = None if options.select is None else phone_index.read_selection(options.select)
    shards = phone_index.Shards(options.origin)
    shards.check_student(bundle)
    index = open_index(bundle, options.directory, create=True)
    with progress_bar() as progress:
        result = phone_index.index_shards(shards, index, wanted, progress)
    rungs, seconds = ", ".join(shards.filled_by), time.perf_counter() - started
    print_result(options, index, result, rungs, seconds)
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {options.select} is in {options.origin}.",
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


def _prune(options: IndexOptions) -> None:
    """Drop the photos whose files are gone."""
    with PhotoIndex.open(options.directory) as opened:
        removed, photos = prune(opened), opened.photos
    if options.json:
        print_json({"index": options.directory, "photos": photos, "removed": removed})
    else:
        print(f"{options.directory}: {photos} photos, {removed} gone")


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


# What runs each use of the command, and the options that it takes beside --bundle, --index and
# --json; it would ignore all others.
_USES: dict[str, tuple[Callable[[IndexOptions], None], tuple[str, ...]]] = {
    "--rebuild": (_rebuild, ("rebuild",)),
    "--verify": (_verify, ("verify",)),
    "--repair": (_repair, ("repair",)),
    "--prune": (_prune, ("drop_gone",)),
    "--from INDEX": (_reembed, ("origin", "runtime", "threads")),
    "--from SHARDS": (_index_shards, ("origin", "select")),
    "PHOTOS": (_index_folder, ("photos", "drop_gone", "runtime", "threads")),
}
