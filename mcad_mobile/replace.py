"""A folder takes the place of another: two renames, and what a cut between them leaves is put
back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def replace_folder(out: Path, made: Path) -> None:
    """Put the folder `made` where `out` is; what was there goes only once the new one stands, and
    comes back if it does not."""
    import shutil

    old = set_aside(out)
    shutil.rmtree(old, ignore_errors=True)
    try:
        if out.exists():
            out.rename(old)
        made.rename(out)
    except BaseException:
        restore(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore(out: Path) -> None:
    """Put back what lay at `out` if a process that was to replace it was killed between its two
    renames. What cannot be renamed stays aside."""
    if not out.exists():
        with suppress(OSError):
            set_aside(out).rename(out)


def set_aside(out: Path) -> Path:
    """Where what is at `out` lies while something else takes its place."""
    whole = out.absolute()
    return whole.parent / f".{whole.name}.old"
