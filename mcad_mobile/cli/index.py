"""mcad-mobile index"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from mcad_mobile.base.documents import folder_kind
from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.standard_output import counted, print_json
from mcad_mobile.cli.options import (
    BundlePath,
    IndexPath,
    Json,
    RuntimeName,
    allow_only,
    flag,
    optional,
)
from mcad_mobile.cli.output import (
    format_speed,
    listed,
    load_bundle,
    photos_per_second,
    print_result,
    print_skipped,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, default_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import has_photos, is_folder, no_folder, no_photos
from mcad_mobile.engine.reading.read_index import ReadResult
from mcad_mobile.engine.reembed import reembed_index
from mcad_mobile.engine.sync import SyncResult, prune, recheck
from mcad_mobile.errors import PhotoError, ShardError, require

_ALWAYS = ("bundle", "index", "json")  # options that every use of the command takes
Outcome = tuple[dict[str, Any], str]  # of a use of the command: for --json, and in words


def index(
    *,
    context: typer.Context,
    bundle: BundlePath,
    index: IndexPath = None,
    photos: Path | None = typer.Argument(None, help="A folder of photos; subfolders are read too."),
    origin: str | None = optional(
        "--from",
        metavar="INDEX|SHARDS",
        help="Instead of a folder: another student's index, whose photos are embedded again, or "
        "shards that `embed` wrote, here or at an address, whose embeddings are taken as they are.",
    ),
    select: Path | None = optional(
        metavar="FILE", help="Only the photos with these keys, one per line. For shards."
    ),
    drop_gone: bool = flag(
        "--prune",
        help="With or without PHOTOS: drop all photos whose files are gone, in every folder, even "
        "on an unmounted drive.",
    ),
    rebuild: bool = flag(
        "--rebuild",
        help="Without PHOTOS: write the index again, tuned on the photos that it holds, without "
        "embedding.",
    ),
    verify: bool = flag(
        "--verify",
        help="Without PHOTOS: read the whole index and name the first damaged file. Where bundle "
        "and photos are at hand, a few are embedded again and compared.",
    ),
    repair: bool = flag(
        "--repair",
        help="Without PHOTOS: drop damaged parts; the next run over the folder embeds those photos "
        "again.",
    ),
    runtime: RuntimeName = None,
    threads: int | None = optional(min=1, help="CPU threads. Default: one per available core."),
    json: Json = False,
) -> None:
    """Bring the index of a bundle up to date with a folder of photos.

    The first run embeds all photos. Later runs embed new and changed photos, keep the embeddings of
    moved ones, and drop deleted ones; an interrupted run continues where it was. Where the bundle
    reads text, the text in photos is read after all are embedded. Photos of other
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
    directory = index or default_index(bundle)
    if rebuild:
        allow_only(context, "with --rebuild", *_ALWAYS, "rebuild")
        document, text = _rebuild(directory)
    elif verify:
        allow_only(context, "with --verify", *_ALWAYS, "verify")
        document, text = _verify(directory, bundle)
    elif repair:
        allow_only(context, "with --repair", *_ALWAYS, "repair")
        document, text = _repair(directory)
    # A damaged manifest is treated as an index's, so that its error is shown.
    elif origin is not None and folder_kind(Path(origin)) == "a photo index":
        allow_only(context, "with --from INDEX", *_ALWAYS, "origin", "runtime", "threads")
        _reembed(_engine(bundle, runtime, threads), Path(origin), directory, json)
        return
    elif origin is not None:
        allow_only(context, "with --from SHARDS", *_ALWAYS, "origin", "select")
        _index_shards(load_bundle(bundle), origin, select, directory, json)
        return
    elif photos is not None:
        taken = ("photos", "drop_gone", "runtime", "threads")
        allow_only(context, "with PHOTOS", *_ALWAYS, *taken)
        _index_folder(_engine(bundle, runtime, threads), photos, directory, drop_gone, json)
        return
    elif drop_gone:
        allow_only(context, "with --prune", *_ALWAYS, "drop_gone")
        document, text = _prune(directory)
    else:
        raise typer.BadParameter(
            "give a folder of photos, or --from INDEX|SHARDS", param_hint="PHOTOS"
        )
    print_result({"index": directory, **document}, f"{directory}: {text}", json)


def _engine(bundle: Path, runtime: str | None, threads: int | None) -> SearchEngine:
    return SearchEngine(
        load_bundle(bundle),
        runtime=runtime,
        threads=threads or allowed_cores(),
        fastest=True,
        warn=warn,
    )


def _rebuild(directory: Path) -> Outcome:
    """Write the index anew, with parameters measured on the photos that it holds."""
    rebuilt = PhotoIndex.rebuild(directory)
    files, size = rebuilt.count_files(), rebuilt.bytes_per_photo
    return (
        {**files, "bytes_per_photo": size},
        f"written anew, {listed(files)}, {size:.0f} bytes each",
    )


def _verify(directory: Path, bundle: Path) -> Outcome:
    """Read every byte of the index, and compare a few photos with what it holds of them.
    PhotoIndexError names the file that is damaged, or the photo that differs."""
    with PhotoIndex.open(directory) as opened:
        opened.verify()
        if folder_kind(bundle) == "a bundle":
            engine = _engine(bundle, None, None)
            if engine.bundle.student.image_sha256 == opened.student_sha256:
                recheck(engine, opened)
        files = opened.count_files()
        return {**files, "whole": True}, f"{listed(files)}, intact"


def _repair(directory: Path) -> Outcome:
    """Drop the damaged parts of the index."""
    lost = PhotoIndex.repair(directory)
    files = PhotoIndex.open(directory).count_files()
    return {**files, "dropped": lost}, f"{listed(files)}; {lost:,} in damaged files, dropped"


def _prune(directory: Path) -> Outcome:
    """Drop the photos whose files are gone."""
    with PhotoIndex.open(directory) as opened:
        removed, files = prune(opened), opened.count_files()
    return {**files, "removed": removed}, f"{listed(files)}, {removed:,} gone"


def _index_folder(
    engine: SearchEngine, photos: Path, directory: Path, drop_gone: bool, json: bool
) -> None:
    """Make the index hold the photos of a folder as they are now."""
    started = time.perf_counter()
    PhotoIndex.check_apart(directory, photos)  # before an index is made there
    if not PhotoIndex.exists(directory) and not has_photos(photos):
        raise no_photos(photos) if is_folder(photos) else no_folder(photos)
    index = open_index(engine.bundle, directory, create=True)
    rung = str(engine.folder_rung)  # loaded and tested before any photo is
    with progress_bar() as progress:
        result = engine.index_folder(index, photos, progress, drop_gone=drop_gone)
        seconds, texts = time.perf_counter() - started, None
        if engine.bundle.reader is not None:
            texts = engine.read_texts(index, progress)
    print_sync(directory, index, result, rung, seconds, json, texts)
    seen = result.added + result.changed + result.moved + result.unchanged
    if result.skipped and not seen:
        raise PhotoError(
            f"No photo in {photos} could be read, {len(result.skipped):,} tried; the first: "
            f"{printable(result.skipped[0].why.splitlines()[0])}",
            "Give a folder that holds photos.",
        )


def _reembed(engine: SearchEngine, origin: Path, directory: Path, json: bool) -> None:
    """Embed the photos of another student's index into the index of this bundle."""
    started = time.perf_counter()
    rung = str(engine.folder_rung)  # loaded and tested before any photo is
    with progress_bar() as progress:
        index, result = reembed_index(engine, origin, directory, progress)
    print_sync(directory, index, result, rung, time.perf_counter() - started, json)
    if not json:
        for path in result.gone:
            print(f"  gone {printable(path)}")


def _index_shards(
    bundle: Bundle, origin: str, select: Path | None, directory: Path, json: bool
) -> None:
    """Add the photos of the shards that `embed` wrote to the index."""
    require("pyarrow", "embed")
    from mcad_mobile.embed import phone_index

    started = time.perf_counter()
    wanted = None if select is None else phone_index.read_selection(select)
    shards = phone_index.Shards(origin)
    shards.check_student(bundle)
    index = open_index(bundle, directory, create=True)
    with progress_bar() as progress:
        result = phone_index.index_shards(shards, index, wanted, progress)
    print_sync(
        directory, index, result, ", ".join(shards.filled_by), time.perf_counter() - started, json
    )
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {select} is in {origin}.",
            "Give keys as the shards have them: docs/embed.md.",
        )


def print_sync(
    directory: Path,
    index: PhotoIndex,
    result: SyncResult,
    filled_by: str,
    seconds: float,
    json: bool,
    texts: ReadResult | None = None,
) -> None:
    """Print what was done to the index in `seconds`, and which texts were read, as a document or in
    words."""
    photos_per_s = photos_per_second(result.added + result.changed, seconds)
    files = index.count_files()
    if json:
        print_json(
            {
                "index": directory,
                **asdict(result),
                **files,
                "filled_by": filled_by,
                "bytes_per_photo": index.bytes_per_photo,
                "photos_per_s": photos_per_s,
                **({} if texts is None else {"texts": asdict(texts)}),
            }
        )
        return
    speed = f", {format_speed(photos_per_s)}" if result.added + result.changed else ""
    print(
        f"{directory}: {listed(files)}, {result.added} new, "
        f"{result.changed} changed, {result.moved} moved, {result.removed} gone, "
        f"{index.bytes_per_photo:.0f} bytes each{speed}"
    )
    if texts is not None and texts.photos:
        print(f"  text read in {texts.photos:,} photos; {texts.with_text:,} have some")
    if result.kept:
        print(
            f"  kept {counted(result.kept, 'photo')} of folders that are gone or empty; "
            "to drop such photos: --prune"
        )
    unread = [] if texts is None else texts.skipped
    print_skipped((photo.path, photo.why) for photo in (*result.skipped, *unread))
    for kind, left_out in sorted(result.left_out.items(), key=lambda item: -item[1].count):
        more = ", ..." if left_out.count > 1 else ""
        print(f"  left out {left_out.count:,} ({kind}): {printable(left_out.paths[0])}{more}")
