"""Read mcad-bench/1 documents back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from mcad_mobile.bench.devices.base import RESULT_SCHEMA
from mcad_mobile.bench.document import BenchDocument
from mcad_mobile.errors import BenchError
from mcad_mobile.typed import decode

_HINT = "Give a file of `bench --json`; one that was cut short is measured again."


def load_documents(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The documents of `bench --json` or `--report X.json`: one a file, or a list of them. What
    they lack and an older version did not write is there as nothing. BenchError for a file that is
    missing, holds no document, or one with a field that is missing, unknown or of another kind."""
    return [msgspec.to_builtins(one) for path in paths for one in _documents(path)]


def _documents(path: Path) -> list[BenchDocument]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist.", "Make it: bench --json > FILE.") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error}.", _HINT) from error
    if not raw.lstrip().startswith(b"["):
        return [decode(raw, BenchDocument, path, BenchError, _HINT, schema=RESULT_SCHEMA)]
    several = decode(raw, list[msgspec.Raw], path, BenchError, _HINT)
    if not several:
        raise BenchError(f"{path} holds no result: its list is empty.", _HINT)
    return [
        decode(
            bytes(one), BenchDocument, f"{path}[{number}]", BenchError, _HINT, schema=RESULT_SCHEMA
        )
        for number, one in enumerate(several)
    ]
