"""Tiny towers, traced once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same tower of a module's tests is the same float ONNX: to trace a tiny one takes longer
    than all that is done to it afterwards."""
    from mcad_mobile.export import onnx, tower_job

    folder = tmp_path_factory.mktemp("traced")

    def export_onnx(tower, out, inputs, output, any_length=False):
        digest = hashlib.sha256(repr((tower, inputs, output, any_length)).encode())
        for name, value in sorted(tower.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        kept = folder / digest.hexdigest()
        if not kept.exists():
            onnx.export_onnx(tower, kept, inputs, output, any_length)
        shutil.copy(kept, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_job, "export_onnx", export_onnx)
        yield
