"""Swap modules of a tower for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def replace_modules(tower: nn.Module, rule: Callable[[Any], nn.Module | None]) -> None:
    """Put what `rule` makes of a module into its place, wherever it makes something. Modules below
    one that was replaced are left alone."""
    for name, child in tower.named_children():
        made = rule(child)
        if made is None:
            replace_modules(child, rule)
        else:
            setattr(tower, name, made)


def is_of(module: Any, library: str, name: str) -> bool:
    """Whether a module is `name` of a library, or of a class derived from it. The library is not
    imported: a tower that has none of its modules does not need it."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == library
        for kind in type(module).__mro__
    )
