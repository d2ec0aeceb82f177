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
    BenchError for a file that is missing or holds something else; a document of which a part is
    missing raises it when that part is asked for."""
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
        named = "names no schema" if schema is None else f"has schema {schema!r}"
        raise BenchError(
            f"{path} {named}; this version reads {RESULT_SCHEMA!r}.",
            "Give a file of `bench --json`; what summarizes several is none.",
        )
    missing = [name for name in _NEEDED if not isinstance(read.get(name), dict)]
    if missing:
        raise _lacks(path, ", ".join(missing))
    whole: dict[str, Any] = _part(path, "", {**_GREW, **read})
    return whole


class _Part(dict[str, Any]):
    """An object of a document that knows whose it is: what a report needs and does not find is
    named, with its file. Reports differ in what they need, and need less of older documents."""

    def __init__(self, path: Path, place: str, members: dict[str, Any]) -> None:
        super().__init__(members)
        self._path, self._place = path, place

    def __missing__(self, name: str) -> Any:
        raise _lacks(self._path, f"{self._place}{name}")


def _part(path: Path, place: str, read: Any) -> Any:
    if isinstance(read, dict):
        members = {name: _part(path, f"{place}{name}.", value) for name, value in read.items()}
        return _Part(path, place, members)
    if isinstance(read, list):
        return [_part(path, f"{place}{number}.", value) for number, value in enumerate(read)]
    return read


def _lacks(path: Path, field: str) -> BenchError:
    return BenchError(
        f"{path} lacks {field}: it is cut short, or not as `bench` wrote it.", "Measure again."
    )
