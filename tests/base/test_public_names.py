"""The public names are there on a base install, and say what they take, return and raise."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import mcad_mobile
from mcad_mobile.errors import install_line
from tests.support.processes import run_python

# What the extras bring, hidden as where none is installed.
BASE_INSTALL = """
import sys

for module in ("torch", "onnx", "safetensors", "litert_torch", "ai_edge_litert", "transformers"):
    sys.modules[module] = None
from mcad_mobile import *
import mcad_mobile

assert "Bundle" in globals() and "export_bundle" in globals()
help(mcad_mobile)
for call in (lambda: export_bundle("cpu", "nowhere"), load_student):
    try:
        call()
    except mcad_mobile.McadError as error:
        print(type(error).__name__, error.hint)
"""
RAISE_NOTHING = {
    "Bundle.chip",
    "Bundle.files",
    "Bundle.for_language",
    "Bundle.low_parity_warnings",
    "Bundle.path",
    "PhotoIndex.close",
    "PhotoIndex.exists",
    "Target.to_json",
    "all_targets",
}


def public_functions() -> Iterator[Any]:
    """Yield the functions among the public names, and the public methods of the classes."""
    for name in mcad_mobile.__all__:
        found = getattr(mcad_mobile, name)
        if inspect.isfunction(found):
            yield found
        elif inspect.isclass(found):
            members = [getattr(found, member) for member in vars(found) if member[0] != "_"]
            yield from filter(inspect.isfunction, members)
            yield from filter(inspect.ismethod, members)  # class methods


def test_a_base_install_has_every_name() -> None:
    done = run_python("-c", BASE_INSTALL, check=True)
    hints = [line for line in done.stdout.splitlines() if line.startswith("MissingExtra ")]
    assert len(hints) == 2
    assert all(install_line("export") in hint for hint in hints)


@pytest.mark.parametrize(
    "function", [*public_functions()], ids=lambda function: function.__qualname__
)
def test_a_public_function_says_what_it_takes_returns_and_raises(function: Any) -> None:
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    names = signature.parameters.keys() - {"self"}
    sections = {
        "Args:": bool(names),
        "Returns:": signature.return_annotation != "None",
        "Raises:": function.__qualname__ not in RAISE_NOTHING,
    }
    assert {section: f"\n{section}\n" in text for section in sections} == sections
    assert {name for name in names if f"\n    {name}: " not in text} == set()
