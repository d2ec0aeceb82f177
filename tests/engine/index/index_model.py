"""Random changes to an index, and to a plain dictionary that it should equal."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import PhotoIndex
from tests.support.index_embeddings import unit

DIM = 32
Model = dict[str, int]  # path -> seed of its embedding


@dataclass(frozen=True)
class Change:
    """One commit: `kind` is add, delete, move (each path to a new name), rotate (each path to the
    next, all at once), chain (the same, one by one) or compact."""

    kind: str
    paths: tuple[str, ...] = ()
    seed: int = 0


def embedding(path: str, seed: int) -> npt.NDArray[np.float32]:
    return _made_from(zlib.crc32(_in_bytes(path), seed))


def random_change(number: int) -> Change:
    """Return the change of commit `number`, always the same."""
    random = np.random.default_rng(number)
    kind = random.choice(["add", "add", "build", "delete", "move", "rotate", "compact"])
    count = {"add": 150, "build": 1500, "delete": 60, "move": 10, "rotate": 30, "compact": 0}[kind]
    paths = tuple(f"DCIM/{n:05d}.jpg" for n in random.integers(0, 4000, count).tolist())
    return Change("add" if kind == "build" else str(kind), paths, number)


def apply(index: PhotoIndex, change: Change) -> None:
    if change.kind == "compact":
        index.compact()
        return
    with index.writer() as writer:
        if change.kind == "add":
            rows = np.array([embedding(path, change.seed) for path in change.paths])
            writer.add(change.paths, rows.astype(np.float32).reshape(-1, DIM))
        elif change.kind == "delete":
            writer.delete(change.paths)
        elif change.kind == "chain":
            for old, new in targets(change):
                writer.move([(old, new, (change.seed, 1))])
        else:
            writer.move([(old, new, (change.seed, 1)) for old, new in targets(change)])


def targets(change: Change) -> list[tuple[str, str]]:
    """Return the old and new path of each move of a change."""
    paths = [*dict.fromkeys(change.paths)]
    if change.kind == "move":
        return [(path, f"{path}.moved") for path in paths]
    return [*zip(paths, [*paths[1:], *paths[:1]], strict=True)]


def applied(model: Model, change: Change) -> Model:
    after = dict(model)
    if change.kind == "add":
        after |= {path: zlib.crc32(_in_bytes(path), change.seed) for path in change.paths}
    elif change.kind == "delete":
        for path in change.paths:
            after.pop(path, None)
    elif change.kind == "chain":
        for old, new in targets(change):
            if old in after:
                after[new] = after.pop(old)
    elif change.kind != "compact":
        taken = {new: after.pop(old) for old, new in targets(change) if old in after}
        after |= taken
    return after


def holds(index: PhotoIndex, path: str, made: int | None) -> bool:
    """Say whether the index has this embedding at `path`, or, for None, no photo there."""
    held = index.embedding(path)
    if held is None or made is None:
        return held is None and made is None
    return float(held @ _made_from(made)) > 0.999


def assert_equal(index: PhotoIndex, model: Model) -> None:
    """Check that the index holds exactly the model's photos, a sample of them by embedding."""
    index.verify()
    assert index.photos == len(model)
    assert index.paths() == sorted(model, key=_in_bytes)
    for path in [*model][:: max(len(model) // 40, 1)]:
        assert holds(index, path, model[path]), path


def _made_from(number: int) -> npt.NDArray[np.float32]:
    return unit(np.random.default_rng(number).normal(size=DIM) + 1)


def _in_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
