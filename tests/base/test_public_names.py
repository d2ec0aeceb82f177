"""The public names are there on a base install, and say what they take, return and raise."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import mcad_mobile
from mcad_mobile.errors import install_line

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
CALLABLES = [mcad_mobile.export_bundle, mcad_mobile.load_student, mcad_mobile.open_index]
CALLABLES += [mcad_mobile.Bundle.load, mcad_mobile.SearchEngine.embed_text]
CALLABLES += [mcad_mobile.SearchEngine.embed_photo, mcad_mobile.SearchEngine.search]
CALLABLES += [mcad_mobile.SearchEngine.search_parts, mcad_mobile.SearchEngine.index_folder]


def test_a_base_install_has_every_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    hints = [line for line in done.stdout.splitlines() if line.startswith("MissingExtra ")]
    assert len(hints) == 2
    assert all(install_line("export") in hint for hint in hints)


@pytest.mark.parametrize("function", CALLABLES, ids=lambda function: function.__qualname__)
def test_a_public_function_names_each_argument(function: object) -> None:
    text = inspect.getdoc(function) or ""
    sections = ("Args:", "Returns:", "Raises:")
    assert all(f"\n{section}\n" in text for section in sections)
    for name in inspect.signature(function).parameters:  # type: ignore[arg-type]
        assert name == "self" or f"\n    {name}: " in text
