"""What is available on which Python."""

from __future__ import annotations

import sys

import pytest

LITERT = sys.version_info < (3, 14)
WHY = "on Python 3.14 the extra [dimensity] brings nothing (pyproject.toml)"
needs_litert = pytest.mark.skipif(not LITERT, reason=WHY)
