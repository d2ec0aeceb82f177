"""Run a job on a Ray cluster, by actors of Ray Data. Ray repeats the work of a lost node; guard.py
handles photos that kill a process."""

from __future__ import annotations

import io
import logging
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mcad_mobile.embed.guard import GuardedWorker
from mcad_mobile.embed.job import ShardRecord, ShardsManifest, job_of
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Failed, Finished, Setup
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import ClusterError, McadError, ShardError, require

_CONNECT_S = 10.0
_START = "Start one (`ray start --head`), or give its address: --ray HOST:6379 or ray://HOST:10001."


def connect(address: str) -> Any:
    """Connect Ray to the cluster at `address`, and return it. "auto" is this machine's cluster;
    "local" makes one for this process. ClusterError if there is none."""
    ray = require("ray", "ray")
    if ray.is_initialized():
        return ray
    where = {} if address == "local" else {"address": address}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself would try for minutes where nothing answers
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        ray.init(**where, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, ValueError, and gRPC's own
        reason = " ".join(str(error).split())[:300]
        raise ClusterError(f"There is no Ray cluster at {address}: {reason}", _START) from error
    return ray


def run_on_ray(
    setup: Setup, pieces: Sequence[Piece], workers: int, address: str, gpus: float = 0.0
) -> Iterator[ShardRecord]:
    """Yield the shards of `pieces` as they are finished, by at most `workers` actors with
    `setup.threads` CPUs and `gpus` GPUs each. The bundle is sent with the job. The first error of a
    worker ends the run. ClusterError if there is no cluster, no room for one actor in it, or its
    work fails."""
    ray, data = connect(address), require("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # hide the plan of each execution
    resources = ray.cluster_resources()
    for kind, number in (("CPU", float(setup.threads)), ("GPU", gpus)):
        if resources.get(kind, 0.0) < number:
            raise ClusterError(
                f"The cluster at {address} has {resources.get(kind, 0.0):g} {kind}s; a worker asks "
                f"for {number:g}.",
                "Ask for fewer --threads or --gpus, or add nodes.",
            )
    data.DataContext.get_current().enable_progress_bars = False
    job = (msgspec.json.encode(setup), pack_bundle(Path(setup.bundle)))
    # One task per piece, so that a lost node costs one piece for each of its actors.
    rows = data.from_items(
        [{"piece": msgspec.json.encode(piece)} for piece in pieces],
        override_num_blocks=len(pieces),
    )
    answers = rows.map_batches(
        _Actor,
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(pieces))),
        fn_constructor_args=([ray.put(part) for part in job],),
        num_cpus=setup.threads,
        num_gpus=gpus or None,
    )
    try:
        for row in answers.iter_rows():
            message = msgspec.json.decode(row["answer"], type=Finished | Failed)
            if isinstance(message, Failed):
                raise message.error()
            yield message.shard
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"The cluster at {address} gave up: {' '.join(str(error).split())[-600:]}",
            "Look at its dashboard. Finished shards are kept, and the same command continues.",
        ) from error


class _Actor:
    def __init__(self, job: list[Any]) -> None:
        import ray

        self._worker = BundleWorker(*ray.get(job))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (piece,) = batch["piece"]
        return {"answer": [self._worker(piece)]}

    def __del__(self) -> None:  # by Ray, when the actor ends
        if hasattr(self, "_worker"):
            self._worker.stop()


class BundleWorker:
    """A guarded worker on a node, with its bundle in a folder with an unpredictable name. Errors
    are returned as answers: Ray would wrap an exception and try again."""

    def __init__(self, setup: bytes, bundle: bytes) -> None:
        decoded = msgspec.json.decode(setup, type=Setup)
        self._folder = tempfile.TemporaryDirectory(prefix="mcad-")
        with ExitStack() as on_error:
            folder = Path(on_error.enter_context(self._folder))
            _unpack_checked(bundle, folder, decoded.job)
            on_error.pop_all()
        self._worker = GuardedWorker(replace(decoded, bundle=str(folder)))

    def __call__(self, message: bytes) -> bytes:
        piece: Piece = msgspec.json.decode(message, type=Piece)
        try:
            return msgspec.json.encode(Finished(self._worker(piece)))
        except McadError as error:
            return msgspec.json.encode(Failed.of(error))

    def stop(self) -> None:
        self._worker.stop()
        self._folder.cleanup()


def pack_bundle(bundle: Path) -> bytes:
    """Pack a bundle's files into one uncompressed archive."""
    archive = io.BytesIO()
    # Files may be dated before 1980, where a zip's dates begin.
    with zipfile.ZipFile(archive, "w", strict_timestamps=False) as packed:
        loaded = Bundle.load(bundle, verify=False)
        for name in [MANIFEST, *dict.fromkeys(record.path for record in loaded.files())]:
            packed.write(bundle / name, name)
    return archive.getvalue()


def _unpack_checked(archive: bytes, folder: Path, job: ShardsManifest) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(folder)
    bundle = Bundle.load(folder)
    if job_of(bundle, job.runtime, job.precision, job.photos_a_shard).job != job.job:
        raise ShardError(
            f"The bundle that a worker was given is not that of job {job.job}.",
            "Run it again; if that does not help, look who else can write to the cluster.",
        )
