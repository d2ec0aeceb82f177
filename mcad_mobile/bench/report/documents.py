"""Read mcad-bench/1 documents back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcad_mobile.bench.devices.base import RESULT_SCHEMA
from mcad_mobile.errors import BenchError

# Fields that this version's documents have and older ones lack: what they mean when they are not
# there.
_GREW: dict[str, Any] = {"ladder": {}, "samples_ms": {}}
_NEEDED = ("bundle", "device", "conditions", "latency_ms", "memory_mib", "targets", "tools")


def load_documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The documents of `bench --json` or `--report X.json`: one a file, or a list of them.
    BenchError for a file that is missing or holds something else."""
    found = []
    for path in paths:
        try:
            read = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise BenchError(f"{path} does not exist.", "Make it: bench --json > FILE.") from None
        except (OSError, ValueError) as error:
            raise BenchError(
                f"{path} cannot be read: {error}.", "Give a file of `bench --json`."
            ) from error
        found += [_checked(path, one) for one in (read if isinstance(read, list) else [read])]
    return found


def _checked(path: Path, read: Any) -> dict[str, Any]:
    schema = read.get("schema") if isinstance(read, dict) else None
    if schema != RESULT_SCHEMA:
        raise BenchError(
            f"{path} has schema {schema!r}; this version reads {RESULT_SCHEMA!r}.",
            "Give a file of `bench --json`.",
        )
    missing = [name for name in _NEEDED if name not in read]
    if missing:
        raise BenchError(f"{path} lacks {', '.join(missing)}.", "Measure again.")
    return {**_GREW, **read}
