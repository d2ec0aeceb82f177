"""Run a job on a Ray cluster, by actors of Ray Data. Ray repeats the work of a lost node; a guarded
worker handles photos that kill a process."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mcad_mobile.embed.job import ShardRecord, job_of
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Failed, Finished, GuardedWorker, Setup
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
    # One task per piece, so that a lost node costs one piece for each of its actors.
    rows = data.from_items(
        [{"piece": msgspec.json.encode(piece)} for piece in pieces],
        override_num_blocks=len(pieces),
    )
    answers = rows.map_batches(
        BundleWorker,
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(pieces))),
        fn_constructor_args=(
            msgspec.json.encode(setup),
            [ray.put(read_bundle(Path(setup.bundle)))],
        ),
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


class BundleWorker:
    """An actor: a guarded worker on a node, with its bundle in a folder with an unpredictable name.
    Errors are returned as answers: Ray would wrap an exception and try again."""

    def __init__(self, setup: bytes, bundle: list[Any]) -> None:
        """`bundle`: Ray's reference to the bundle's files, in a list so that it stays one."""
        self._folder = tempfile.TemporaryDirectory(prefix="mcad-")
        decoded, folder = msgspec.json.decode(setup, type=Setup), Path(self._folder.name)
        (files,) = require("ray", "ray").get(bundle)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        job = decoded.job
        if job_of(Bundle.load(folder), job.runtime, job.precision, 1).job != job.job:
            raise ShardError(
                f"The bundle that a worker was given is not that of job {job.job}.",
                "Run it again; if that does not help, look who else can write to the cluster.",
            )
        self._worker = GuardedWorker(replace(decoded, bundle=str(folder)))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (message,) = batch["piece"]
        piece: Piece = msgspec.json.decode(message, type=Piece)
        answer: Finished | Failed
        try:
            answer = Finished(self._worker(piece))
        except McadError as error:
            answer = Failed.of(error)
        return {"answer": [msgspec.json.encode(answer)]}

    def __del__(self) -> None:  # by Ray, when the actor ends
        if hasattr(self, "_worker"):
            self._worker.stop()
        self._folder.cleanup()


def read_bundle(bundle: Path) -> dict[str, bytes]:
    """Read a bundle's files by their names in it."""
    names = [MANIFEST, *(record.path for record in Bundle.load(bundle, verify=False).files())]
    return {name: (bundle / name).read_bytes() for name in names}
