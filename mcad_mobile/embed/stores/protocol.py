"""What a place that is searched offers to whoever fills it."""

from __future__ import annotations

from typing import Protocol

from mcad_mobile.embed.job import Manifest
from mcad_mobile.embed.table import Batch


class VectorStore(Protocol):
    """Vectors by key. Filling it again with the same changes nothing, with others replaces those of
    the same key. StoreError if it cannot be reached, refuses, or holds another student's vectors.
    """

    def begin(self, job: Manifest) -> None:
        """Make what will hold the vectors of `job`, or look whether what is there can."""
        ...

    def add(self, batch: Batch) -> None: ...

    def finish(self) -> int:
        """Have all of it searchable; how many vectors it holds now."""
        ...


def other_student(where: str, found: str, job: Manifest) -> str:
    """What to say of a place that has another student's vectors."""
    return (
        f"{where} holds embeddings of job {found}; these are of job {job.job}, by student "
        f"{job.student} with {job.dim} dimensions, and can't be compared with them."
    )


ANOTHER = "Give another name behind #, or remove what is there."
