"""Backends that do less than the real ones, for tests: in the registry, as any backend is."""

from __future__ import annotations

from typing import Any

import pytest

from mcad_mobile.export.backends import BACKENDS, backend_of


def replace_methods(patch: pytest.MonkeyPatch, runtime: str, **methods: Any) -> None:
    """Register, for a test, the backend of `runtime` with these functions as its methods."""
    kind = type(backend_of(runtime))
    fake = type(f"Fake{kind.__name__}", (kind,), {k: staticmethod(v) for k, v in methods.items()})
    patch.setitem(BACKENDS, runtime, fake())
