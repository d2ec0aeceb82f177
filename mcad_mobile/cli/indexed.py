"""What `index` says at its end, wherever the photos came from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mcad_mobile.cli.output import per_second, printable, told_speed
from mcad_mobile.cli.results import print_json
from mcad_mobile.index import PhotoIndex
from mcad_mobile.sync import Synced


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
