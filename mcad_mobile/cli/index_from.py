"""mcad-mobile index --from: no folder of photos, but another student's index, or shards."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from mcad_mobile.again import embed_again
from mcad_mobile.bundle import Bundle
from mcad_mobile.cli.indexed import tell
from mcad_mobile.cli.output import given_options, printable, progress_bar
from mcad_mobile.engine import SearchEngine, open_index
from mcad_mobile.errors import ShardError, require
from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.manifest import NAME

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
        index, result = embed_again(
            engine, origin, directory, lambda done, total: advance("photos", done, total)
        )
    tell(directory, index, result, str(filler), time.perf_counter() - started, json)
    if not json:
        for path in result.gone:
            print(f"  gone {printable(path)}")


def index_shards(
    address: str, select: Path | None, bundle: Bundle, directory: Path, json: bool
) -> None:
    """Take what `embed` wrote at `address` into the index at `directory`."""
    require("pyarrow", "embed")
    from mcad_mobile.embed import phone

    started = time.perf_counter()
    wanted = None if select is None else phone.read_selection(select)
    shards = phone.Shards(address)
    shards.check_student(bundle)
    index = open_index(bundle, directory, create=True)
    with progress_bar() as advance:
        result = phone.index_shards(
            shards, index, wanted, lambda done, total: advance("photos", done, total)
        )
    seconds = time.perf_counter() - started
    tell(directory, index, result, ", ".join(shards.filled_by), seconds, json)
    if result.skipped and not (result.added + result.changed + result.unchanged):
        raise ShardError(
            f"None of the {len(result.skipped)} keys of {select} is in {address}.",
            "Give keys as the shards have them: docs/embed.md.",
        )
