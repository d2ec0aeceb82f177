"""Variants of what one test checks: a few run in `make test`, the rest in `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_of(values: Iterable[Any], run: int = 1) -> list[Any]:
    """Return the values for `parametrize`, where all but the first `run` are marked as slow."""
    fast, rest = [*values][:run], [*values][run:]
    return [*fast, *(pytest.param(*_tuple(value), marks=pytest.mark.slow) for value in rest)]


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
