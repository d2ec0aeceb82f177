"""Utilities for all other modules: typed documents, files, locks, the machine."""

from __future__ import annotations

from pathlib import Path

VERSION = "0.1.0"
PACKAGE = Path(__file__).parents[1]
