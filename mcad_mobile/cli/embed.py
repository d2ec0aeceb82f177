"""mcad-mobile embed"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    BundleOption,
    JsonOption,
    RuntimeOption,
    format_speed,
    load_bundle,
    photos_per_second,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.errors import PhotoError, require

if TYPE_CHECKING:
    from mcad_mobile.embed.run import Embedded

_SHOWN = 20  # photos without an embedding that are printed


def embed(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a list of paths (.txt, or - for standard input), Parquet files or"
            " WebDataset shards (.tar); here, or at s3://, gs://, hf:// and what else fsspec opens."
            " Patterns (*.parquet) are for many."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Where the shards lie: a folder, or an address.")
    ],
    bundle: BundleOption,
    kind: Annotated[
        Literal["photos", "list", "parquet", "webdataset"] | None,
        typer.Option("--kind", help="What SOURCE is.  [default: by its files' names]"),
    ] = None,
    photo_column: Annotated[
        str | None,
        typer.Option("--photo-column", help="Of Parquet: photos' bytes, or their paths or URLs."),
    ] = None,
    key_column: Annotated[
        str | None, typer.Option("--key-column", help="Of Parquet: the photos' names.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Processes, or actors of a cluster.  [default: one a"
            " core; on Ray, one for each --threads processors]",
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of a worker.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="A Ray cluster: HOST:6379, ray://HOST:10001, or auto, from one of its machines.",
        ),
    ] = None,
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="GPUs of a worker, on Ray; 0.25: four share one.")
    ] = 0.0,
    photos_a_shard: Annotated[
        int, typer.Option("--shard", min=1, help="Photos a shard, at most.")
    ] = 10_000,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Go on with what --out holds, or refuse to."),
    ] = True,
    runtime: RuntimeOption = None,
    json: JsonOption = False,
) -> None:
    """Embed more photos than one machine holds into shards.

    The shards (Parquet: key, embedding, stamps; docs/embed.md) are the same from one process, from
    many and from a Ray cluster. The same command goes on where it was stopped, and embeds what is
    new or changed; another student's shards are refused. Photos that do not decode, and those that
    end two processes one after the other, are left out and listed.

    \b
      mcad-mobile embed ~/Pictures --bundle build/sd --out shards
      mcad-mobile embed s3://photos/2025 --bundle build/sd --out s3://shards/2025 --ray auto
      mcad-mobile embed "s3://sets/train-*.tar" --bundle build/sd --out shards
      mcad-mobile index --from s3://shards/2025 --bundle build/sd --select keys.txt
    """
    if gpus and ray is None:
        raise typer.BadParameter("--gpus is for --ray: here, --runtime says what runs")
    require("pyarrow", "embed")
    require("fsspec", "embed")
    from mcad_mobile.embed.run import Options, embed
    from mcad_mobile.embed.source import Source

    options = Options(
        workers=workers or max(1, _processors(ray) // threads),
        threads=threads,
        photos_a_shard=photos_a_shard,
        runtime=runtime,
        ray=ray,
        gpus=gpus,
        resume=resume,
    )
    photos = Source(source, kind, photo_column, key_column)
    with progress_bar() as progress:
        result = embed(photos, load_bundle(bundle), out, options, progress, warn)
    _print(_document(out, result, options.workers), json)
    if result.left_out and not result.manifest.photos:
        raise PhotoError(
            f"None of the {len(result.left_out)} photos of {source} has an embedding; the first: "
            f"{printable(result.left_out[0].why.splitlines()[0])}",
            "Give a source that holds photos.",
        )


def _processors(ray: str | None) -> int:
    """CPUs of the Ray cluster at an address, or of this machine."""
    if ray is None:
        return allowed_cores()
    from mcad_mobile.embed.on_ray import connected

    return int(connected(ray).cluster_resources().get("CPU", 1))


def _document(out: str, result: Embedded, workers: int) -> dict[str, Any]:
    return {
        "shards": out,
        "student": result.manifest.student,
        "job": result.manifest.job,
        "files": len(result.manifest.shards),
        "photos": result.manifest.photos,
        "embedded": result.embedded,
        "skipped": [{"path": photo.key, "why": photo.why} for photo in result.left_out],
        "photos_per_s": photos_per_second(result.embedded, result.seconds),
        "workers": workers,
    }


def _print(document: dict[str, Any], json: bool) -> None:
    if json:
        print_json(document)
        return
    print(
        f"{document['shards']}: {document['photos']} photos in {document['files']} shards, "
        f"{document['embedded']} embedded now, {format_speed(document['photos_per_s'])}, "
        f"{document['workers']} workers"
    )
    for photo in document["skipped"][:_SHOWN]:
        print(f"  skipped {printable(photo['path'])}: {printable(photo['why'].splitlines()[0])}")
    if len(document["skipped"]) > _SHOWN:
        print(f"  and {len(document['skipped']) - _SHOWN} more: --json lists all")
