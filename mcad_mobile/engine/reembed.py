"""Re-embeds an index's photos with another student; the old index stays searchable."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mcad_mobile.base.files import replace_folder, restore
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.engine import SearchEngine, create_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import is_gone
from mcad_mobile.engine.sync import SyncResult, add_photos
from mcad_mobile.errors import PhotoIndexError


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
    PhotoIndexError: `old` or `directory` is unsuitable, or a writer is at work."""
    # Built as BUNDLE.index.partial: the index at `directory`, which may be `old` itself, stays
    # searchable until the end, and an interrupted run resumes where it stopped.
    restore(directory)
    source = PhotoIndex.open(old)
    bundle = engine.bundle
    partial = directory.absolute().with_name(f"{directory.absolute().name}.partial")
    target = partial
    if PhotoIndex.exists(directory) and old.resolve() != directory.resolve():
        open_index(bundle, directory)  # another student's is refused
        target = directory
    elif source.student_sha256 == bundle.student.image_sha256:
        raise PhotoIndexError(
            f"The index {old} was made with this bundle's student already.",
            "To take in new photos: mcad-mobile index PHOTOS --bundle "
            f"{shlex.quote(str(bundle.directory))}",
        )
    exists = PhotoIndex.exists(target)
    index = open_index(bundle, target) if exists else create_index(bundle, target)
    result, total, done = ReembedResult(), source.photos, 0
    paths = (path for path, _ in source.membership().missing(""))
    while batch := list(islice(paths, batch_photos)):
        present = [Path(path) for path in batch if not is_gone(path)]
        result.gone += [path for path in batch if is_gone(path)]
        batch_result = add_photos(engine, index, present, _shifted(progress, done, total))
        result.added += batch_result.added
        result.changed += batch_result.changed
        result.unchanged += batch_result.unchanged
        result.skipped += batch_result.skipped
        done += len(batch)
        progress("photos", done, total)
    if target == partial:
        index.close()
        replace_folder(directory, partial)
        index = open_index(bundle, directory)
    return index, result


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda step, done=0, _=0: progress(step, before + done, total)
