"""A step's photos are read while the step before it is at work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from torch import Tensor


class Ahead:
    """Call it with a step: what `make(step)` gives, begun when the step before was asked for. What
    `make` raises is raised here. `steps`: how many there are."""

    def __init__(self, make: Callable[[int], Tensor], steps: int) -> None:
        self._make = make
        self._steps = steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._next: dict[int, Future[Tensor]] = {}

    def __call__(self, step: int) -> Tensor:
        begun = self._next.pop(step, None) or self._pool.submit(self._make, step)
        rows = begun.result()
        if step + 1 < self._steps:
            self._next[step + 1] = self._pool.submit(self._make, step + 1)
        return rows

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
