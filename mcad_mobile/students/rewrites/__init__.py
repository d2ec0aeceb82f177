"""Rewrites of libraries' towers, and how modules are replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def replace_modules(tower: nn.Module, rule: Callable[[Any], nn.Module | None]) -> None:
    """Replace every module for which `rule` returns another. Modules inside a replaced one are not
    visited."""
    for name, child in tower.named_children():
        made = rule(child)
        if made is None:
            replace_modules(child, rule)
        else:
            setattr(tower, name, made)


def is_of(module: Any, library: str, name: str) -> bool:
    """Whether a module is an instance of a library's class `name`. Does not import the library,
    which a tower without its modules does not need."""
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == library
        for kind in type(module).__mro__
    )
