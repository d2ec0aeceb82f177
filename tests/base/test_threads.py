"""A pool whose results come in the order of its calls."""

from __future__ import annotations

import threading

import pytest

from mcad_mobile.base.threads import OrderedPool


def test_results_come_in_the_order_of_the_calls_and_at_most_so_many_wait() -> None:
    with OrderedPool[int](1, 2) as pool:
        taken = [list(pool.submit(divmod(number, 10).__getitem__, 1)) for number in range(5)]
        assert taken == [[], [], [0], [1], [2]]
        assert (list(pool.drain(1)), list(pool.drain()), list(pool.drain())) == ([3], [4], [])
    second = threading.Event()
    with OrderedPool[bool](2, 9) as pool:
        list(pool.submit(second.wait, 60))
        list(pool.submit(lambda: second.set() or False))
        assert list(pool.drain()) == [True, False]


def test_an_error_ends_the_calls_that_have_begun_and_starts_no_other() -> None:
    begun, leave, called = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        leave.wait(0.05)
        called.append("slow")

    with pytest.raises(ZeroDivisionError), OrderedPool[None](1, 9) as pool:
        list(pool.submit(slow))
        list(pool.submit(called.append, "later"))
        assert begun.wait(60)
        raise ZeroDivisionError
    assert called == ["slow"]
