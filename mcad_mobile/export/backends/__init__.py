"""One folder for each backend, which converts, quantizes, compiles and checks towers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mcad_mobile.engine.towers import RUNTIMES

if TYPE_CHECKING:
    from mcad_mobile.export.backends.backend import Backend

BACKENDS: dict[str, Backend] = {}  # by runtime, as they are imported


def backend_of(runtime: str) -> Backend:
    """Return what builds rungs of `runtime`, and import its libraries now: the BACKEND of the
    folder with its name, or with the name of the runtime that it compiles the files of."""
    if runtime not in BACKENDS:
        folder = RUNTIMES[runtime].source or runtime
        BACKENDS[runtime] = import_module(f"{__name__}.{folder}").BACKEND
    return BACKENDS[runtime]
