"""Re-embeds an index's photos with another student; the old index stays searchable."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mcad_mobile.base.files import real_path, replace_folder, restore
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.manifest import check_replaceable, locked, writing
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.sync import SyncResult, add_photos
from mcad_mobile.errors import PhotoError, PhotoIndexError, Remedy


@dataclass
class ReembedResult(SyncResult):
    """A `SyncResult`; `gone` are photos of the old index whose files no longer exist."""

    gone: list[str] = field(default_factory=list)


def reembed_index(
    engine: SearchEngine,
    old: Path,
    directory: Path,
    progress: Progress = silent,
    *,
    batch_photos: int = 1000,
) -> tuple[PhotoIndex, ReembedResult]:
    """Embed the photos in the index `old` with `engine`'s student into an index at `directory`.
    PhotoIndexError, DiskError: `old` or `directory` is unsuitable, or a writer is at work.
    PhotoError: no photo is left to embed, so both indexes stay as they are."""
    restore(directory)
    source, bundle = PhotoIndex.open(old), engine.bundle
    if PhotoIndex.exists(directory) and old.resolve() != directory.resolve():
        index = open_index(bundle, directory)  # another student's is refused
        return index, _embed_photos(engine, source, index, progress, batch_photos)
    if source.student_sha256 == bundle.student.image_sha256:
        raise PhotoIndexError(
            f"The index {old} was made with this bundle's student already.",
            Remedy.INDEX_FOLDER(bundle=bundle.directory),
        )
    check_replaceable(directory)
    is_new = not directory.exists()
    with writing(directory):
        directory.mkdir(0o700, parents=True, exist_ok=True)
    # Built as BUNDLE.index.partial: the index at `directory`, which may be `old` itself, stays
    # searchable until the end, and an interrupted run resumes where it stopped. Whatever another
    # writer committed to it meanwhile would be lost.
    with locked(directory):
        source = PhotoIndex.open(old)
        partial = real_path(directory).with_name(f"{real_path(directory).name}.partial")
        index = _resume(bundle, partial, source)
        try:
            result = _embed_photos(engine, source, index, progress, batch_photos)
        except PhotoError:
            if index.photos == 0:
                shutil.rmtree(partial)
            if is_new and not PhotoIndex.exists(directory):  # another process may have made one
                shutil.rmtree(directory)
            raise
        index.close()
        replace_folder(directory, partial)
        return open_index(bundle, directory), result


def _embed_photos(
    engine: SearchEngine,
    source: PhotoIndex,
    index: PhotoIndex,
    progress: Progress,
    batch_photos: int,
) -> ReembedResult:
    """Add the photos of `source` to `index`. PhotoError if none can be read."""
    result, total, done = ReembedResult(), source.photos, 0
    paths = (path for path, _ in source.membership().missing(""))
    while batch := list(islice(paths, batch_photos)):
        gone = {path for path in batch if is_gone(path)}
        result.gone += [path for path in batch if path in gone]
        present = [path for path in batch if path not in gone]
        batch_result = add_photos(engine, index, present, _shifted(progress, done, total))
        result.added += batch_result.added
        result.changed += batch_result.changed
        result.unchanged += batch_result.unchanged
        result.skipped += batch_result.skipped
        done += len(batch)
        progress("photos", done, total)
    if result.added or result.changed or result.unchanged:
        return result
    if result.gone:
        raise PhotoError(
            f"No photo of the index could be embedded: {len(result.gone)} files are gone, such as "
            f"{result.gone[0]}.",
            "If they are on another drive, mount it. Then run this again.",
        )
    if result.skipped:
        raise PhotoError(
            "No photo of the index could be embedded, so both indexes stay as they are. The first: "
            f"{result.skipped[0].why.splitlines()[0]}",
            Remedy.EMBED_ADDRESSES,
        )
    return result


def _resume(bundle: Bundle, partial: Path, source: PhotoIndex) -> PhotoIndex:
    """Open what an interrupted run left, or begin again if it was of another student or index, or
    is damaged."""
    if PhotoIndex.exists(partial):
        try:
            index = open_index(bundle, partial)
            if set(source.paths()).issuperset(index.paths()):
                return index
        except PhotoIndexError:
            pass  # nobody but us reads it
        with locked(partial):  # its run may be at work
            shutil.rmtree(partial)
    return create_index(bundle, partial)


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda step, done=0, _=0: progress(step, before + done, total)
