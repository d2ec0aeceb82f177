"""Give back the code that only loading a model runs.

Building and optimizing a graph runs much of ONNX Runtime's library, and what was run once stays a
part of the process. A search runs a few kernels of it (benchmarks/results/tower_memory.json). The
kernel keeps the pages in its cache, and maps them again as they are run.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

_CODE = "r-xp"


def give_back_code(library: str) -> None:
    """Unmap the pages of code of the loaded libraries whose file's name begins with `library`, as
    if they had not been run yet. Nothing is lost: code is never written to. Without /proc (Linux)
    nothing happens."""
    try:
        mappings = Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for mapping in mappings:
        span, permissions, _, _, _, *file = mapping.split(maxsplit=5)
        if permissions == _CODE and file and Path(file[0]).name.startswith(library):
            start, end = (int(address, 16) for address in span.split("-"))
            libc = ctypes.CDLL(None)
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
