"""Calls on threads whose results are taken in the order in which they were begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OrderedPool(Generic[T]):
    """Runs calls on `threads` threads, at most `ahead` of them before their results are taken.
    Leaving its block cancels the calls that no thread has begun."""

    def __init__(self, threads: int, ahead: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._ahead = ahead
        self._waiting: deque[Future[T]] = deque()

    def submit(
        self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs
    ) -> Iterator[T]:
        """Begin a call; return the results that are to be taken, so that at most `ahead` wait."""
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
