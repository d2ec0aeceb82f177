"""A thread pool that returns results in the order of its calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OrderedPool(Generic[T]):
    """Runs calls on `threads` threads, with at most `ahead` results not yet taken. Leaving its
    block cancels the calls that have not started."""

    def __init__(self, threads: int, ahead: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._ahead = ahead
        self._waiting: deque[Future[T]] = deque()

    def submit(
        self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> Iterator[T]:
        """Submit a call; return the oldest results, so that at most `ahead` calls wait."""
        self._waiting.append(self._pool.submit(function, *arguments, **options))
        return self.drain(self._ahead)

    def drain(self, left: int = 0) -> Iterator[T]:
        """Yield the results of all calls but the last `left`."""
        while len(self._waiting) > left:
            yield self._waiting.popleft().result()

    def __enter__(self) -> OrderedPool[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
