"""What a phone needs never imports torch."""

from __future__ import annotations

import pytest

from tests.support.processes import run_python

LEAN = [
    "engine.bundle",
    "engine.engine",
    "engine.index",
    "engine.photos.preprocess",
    "engine.query",
    "engine.sync",
    "engine.text.tokenizer",
    "engine.towers",
    "engine.towers.litert",
    "engine.towers.onnx",
    "engine.towers.qnn",
    "targets",
    "cli",
]


@pytest.mark.parametrize("module", LEAN)
def test_a_clean_interpreter_imports_it_without_torch(module):
    program = (
        f"import mcad_mobile.{module}, sys; "
        "print(*{'torch', 'onnx', 'litert_torch', 'matplotlib'} & set(sys.modules))"
    )
    assert run_python("-c", program, check=True).stdout.strip() == ""
