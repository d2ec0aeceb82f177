"""Shared by all tests: no network, and the data that tests may need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket

FLICKR8K = Path(__file__).parents[2] / "shared" / "data" / "flickr8k"


@pytest.fixture(autouse=True)
def no_network():
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture(scope="session")
def flickr8k() -> Path:
    """Flickr8k in the Karpathy layout. Where it is absent, tests skip; in CI they fail."""
    if not FLICKR8K.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{FLICKR8K} is missing, and under CI=true nothing may be skipped")
        pytest.skip(f"{FLICKR8K} is not here")
    return FLICKR8K
