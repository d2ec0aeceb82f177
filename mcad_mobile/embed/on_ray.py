"""Run a job on a Ray cluster. What a node that is lost had in hand is begun anew by Ray; photos
that end a process are guard.py's."""

from __future__ import annotations

import hashlib
import io
import logging
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from mcad_mobile import errors
from mcad_mobile.base.locks import alone
from mcad_mobile.embed.guard import Guarded
from mcad_mobile.embed.job import Done
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Setup
from mcad_mobile.engine.bundle import MANIFEST, Bundle
from mcad_mobile.errors import ClusterError, McadError, require

# A Ray cluster as a function over many messages: Ray Data's map_batches with actors.

_KNOCK_S = 10.0
_START = "Start one (`ray start --head`), or give its address: --ray HOST:6379 or ray://HOST:10001."


def connected(address: str) -> Any:
    """Ray, connected to the cluster at `address` ("auto": the one of this machine; "local": one
    that is made for this process). ClusterError if there is none."""
    ray = require("ray", "ray")
    if ray.is_initialized():
        return ray
    where = {} if address == "local" else {"address": address}
    try:
        _knock(address)
        ray.init(**where, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # ConnectionError, ValueError, and what gRPC says
        said = " ".join(str(error).split())[:300]
        raise ClusterError(f"There is no Ray cluster at {address}: {said}", _START) from error
    return ray


def _knock(address: str) -> None:
    """OSError where nothing answers at HOST:PORT: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


def mapped(
    address: str,
    worker: type,
    arguments: tuple[Any, ...],
    messages: Sequence[bytes],
    workers: int,
    *,
    cpus: int = 1,
    gpus: float = 0.0,
    ordered: bool = False,
) -> Iterator[bytes]:
    """What actors answer to `messages`, as they do or `ordered`. An actor is made as
    `worker(*arguments)`, each argument put into the cluster's memory once, has `cpus` and `gpus`,
    and is called with a message. What a lost node had in hand is done again elsewhere.

    ClusterError if there is no cluster, it has no room for one actor, or gives up.
    """
    ray, data = connected(address), require("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plan of each execution
    have = ray.cluster_resources()
    for kind, number in (("CPU", float(cpus)), ("GPU", gpus)):
        if have.get(kind, 0.0) < number:
            raise ClusterError(
                f"The cluster at {address} has {have.get(kind, 0.0):g} {kind}s; a worker asks for "
                f"{number:g}.",
                "Ask for fewer --threads or --gpus, or add nodes.",
            )
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = ordered
    held = [ray.put(argument) for argument in arguments]
    # A task a message: what a lost node costs is one of them for each actor of it.
    rows = data.from_items(
        [{"message": message} for message in messages], override_num_blocks=len(messages)
    )
    answers = rows.map_batches(
        _Actor,
        batch_size=1,
        compute=data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(messages))),
        fn_constructor_args=(worker, held),
        num_cpus=cpus,
        num_gpus=gpus or None,
    )
    try:
        for row in answers.iter_rows():
            yield row["answer"]
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"The cluster at {address} gave up: {' '.join(str(error).split())[-600:]}",
            "Look at its dashboard; what is done is kept, and the same command goes on.",
        ) from error


class _Actor:
    def __init__(self, worker: type, held: list[Any]) -> None:
        import ray

        self._worker = worker(*ray.get(held))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (message,) = batch["message"]
        return {"answer": [self._worker(message)]}


class _Told(msgspec.Struct, frozen=True):
    """A shard, or an error of ours: raised in an actor, Ray would wrap it and try again."""

    done: Done | None = None
    kind: str = ""
    what: str = ""
    hint: str = ""


def run_on_ray(
    setup: Setup, pieces: Sequence[Piece], workers: int, address: str, gpus: float = 0.0
) -> Iterator[Done]:
    """The shards of `pieces`, as they are finished, by so many actors of `setup.threads` processors
    and `gpus` GPUs each. The bundle travels with the job; photos and shards have to lie where every
    node finds them. Errors: see cluster.mapped; and the first of a worker ends all."""
    answers = mapped(
        address,
        _Worker,
        (msgspec.json.encode(setup), packed(Path(setup.bundle))),
        [msgspec.json.encode(piece) for piece in pieces],
        workers,
        cpus=setup.threads,
        gpus=gpus,
    )
    for answer in answers:
        told = msgspec.json.decode(answer, type=_Told)
        if told.done is None:
            raise getattr(errors, told.kind, McadError)(told.what, told.hint)
        yield told.done


class _Worker:
    """A guarded process on a node, and the bundle on the node's disk."""

    def __init__(self, setup: bytes, bundle: bytes) -> None:
        made = msgspec.json.decode(setup, type=Setup)
        self._guard = Guarded(replace(made, bundle=str(unpacked(bundle))))

    def __call__(self, message: bytes) -> bytes:
        piece: Piece = msgspec.json.decode(message, type=Piece)
        try:
            told = _Told(done=self._guard(piece))
        except McadError as error:
            told = _Told(kind=type(error).__name__, what=error.message, hint=error.hint)
        return msgspec.json.encode(told)


def packed(bundle: Path) -> bytes:
    """A bundle's files as one archive, as they are."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as together:
        loaded = Bundle.load(bundle, verify=False)
        for name in [MANIFEST, *dict.fromkeys(record.path for record in loaded.files())]:
            together.write(bundle / name, name)
    return archive.getvalue()


def unpacked(archive: bytes) -> Path:
    """The folder of a packed bundle on this machine, its files checked: laid out once for all
    workers."""
    name = f"mcad-{hashlib.sha256(archive).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    with alone(folder.with_suffix(".lock")):
        if not folder.exists():
            made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder.parent))
            with zipfile.ZipFile(io.BytesIO(archive)) as together:
                together.extractall(made)
            made.rename(folder)
        Bundle.load(folder)
    return folder
