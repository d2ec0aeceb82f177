"""Run a job on a Ray cluster. What a node that is lost had in hand is begun anew by Ray; photos
that end a process are guard.py's."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from mcad_mobile import errors
from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.embed.cluster import mapped
from mcad_mobile.embed.guard import Guarded
from mcad_mobile.embed.job import Done
from mcad_mobile.embed.pieces import Piece
from mcad_mobile.embed.worker import Setup
from mcad_mobile.errors import McadError
from mcad_mobile.locks import alone


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
            told = _Told(kind=type(error).__name__, what=error.what, hint=error.hint)
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
