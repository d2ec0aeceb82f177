"""mcad-mobile embed"""

from __future__ import annotations

from typing import Literal

import typer

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.base.standard_output import counted, print_json
from mcad_mobile.cli.options import BundlePath, Json, RuntimeName, exclude, optional, required
from mcad_mobile.cli.output import (
    format_speed,
    load_bundle,
    photos_per_second,
    print_skipped,
    printable,
    progress_bar,
    warn,
)
from mcad_mobile.errors import PhotoError, require

_SHOWN = 20  # how many photos without an embedding are printed


def embed(
    *,
    context: typer.Context,
    bundle: BundlePath,
    source: str = typer.Argument(
        ...,
        help="A folder, a list of paths (.txt, or - for standard input), Parquet files or "
        "WebDataset shards (.tar); here, or at s3://, gs://, hf:// or another address that fsspec "
        "opens. Patterns (*.parquet) name several files.",
    ),
    out: str = required("--out", "-o", help="Where to write the shards: a folder, or an address."),
    kind: Literal["photos", "list", "parquet", "webdataset"] | None = optional(
        help="What SOURCE is.  [default: by its files' names]"
    ),
    photo_column: str | None = optional(
        help="In Parquet, the column of photos' bytes, paths or URLs."
    ),
    key_column: str | None = optional(help="In Parquet, the column of photos' names."),
    workers: int | None = optional(
        min=1, help="Processes, or actors of a cluster.  [default: all cores divided by --threads]"
    ),
    ray: str | None = optional(
        metavar="ADDRESS",
        help="A Ray cluster: HOST:6379, ray://HOST:10001, or auto, from one of its machines.",
    ),
    gpus: float = typer.Option(
        0.0, min=0, help="On Ray, GPUs per worker; with 0.25, four workers share one."
    ),
    shard: int = typer.Option(10_000, min=1, help="Maximum photos per shard."),
    resume: bool = typer.Option(True, help="Continue the shards at --out, or fail if any exist."),
    runtime: RuntimeName = None,
    threads: int = typer.Option(1, min=1, help="CPU threads per worker."),
    json: Json = False,
) -> None:
    """Embed a collection too large for one machine, into shards.

    One process, several and a Ray cluster write the same shards (Parquet: key, embedding, stamps;
    docs/embed.md). The same command continues an interrupted run, and embeds photos that are new or
    changed; another student's shards are refused. Photos that do not decode, or that crash two
    processes, are left out and listed.

    \b
      mcad-mobile embed ~/Pictures --bundle build/sd --out shards
      mcad-mobile embed s3://photos/2025 --bundle build/sd --out s3://shards/2025 --ray auto
      mcad-mobile embed "s3://sets/train-*.tar" --bundle build/sd --out shards
      mcad-mobile index --from s3://shards/2025 --bundle build/sd --select keys.txt
    """
    if ray is None:
        exclude(context, "without --ray", "gpus")
    require("pyarrow", "embed")
    require("fsspec", "embed")
    from mcad_mobile.embed.make_shards import Options, embed
    from mcad_mobile.embed.source import Source

    run_options = Options(
        workers=workers or max(1, _processors(ray) // threads),
        threads=threads,
        photos_a_shard=shard,
        runtime=runtime,
        ray=ray,
        gpus=gpus,
        resume=resume,
    )
    photos = Source(source, kind, photo_column, key_column)
    with progress_bar() as progress:
        result = embed(photos, load_bundle(bundle), out, run_options, progress, warn)
    manifest, left_out = result.manifest, result.left_out
    photos_per_s = photos_per_second(result.embedded, result.seconds)
    if json:
        print_json(
            {
                "shards": out,
                "student": manifest.student,
                "job": manifest.job,
                "files": len(manifest.shards),
                "photos": manifest.photos,
                "embedded": result.embedded,
                "skipped": [{"path": photo.key, "why": photo.why} for photo in left_out],
                "photos_per_s": photos_per_s,
                "workers": run_options.workers,
            }
        )
    else:
        print(
            f"{out}: {counted(manifest.photos, 'photo')}, {result.embedded} embedded now, "
            f"{format_speed(photos_per_s)}"
        )
        print_skipped([(photo.key, photo.why) for photo in left_out[:_SHOWN]])
        if len(left_out) > _SHOWN:
            print(f"  and {len(left_out) - _SHOWN} more: --json lists all")
    if left_out and not manifest.photos:
        raise PhotoError(
            f"No photo in {source} could be embedded, {len(left_out):,} tried; the first: "
            f"{printable(left_out[0].why.splitlines()[0])}",
            "Give a source that holds photos.",
        )


def _processors(ray: str | None) -> int:
    """CPUs of the Ray cluster at an address, or of this machine."""
    if ray is None:
        return allowed_cores()
    from mcad_mobile.embed.on_ray import connect

    return int(connect(ray).cluster_resources().get("CPU", 1))
