"""Tiny towers, traced once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same tower of a module's tests is the same float ONNX and the same float .tflite: to
    trace a tiny one takes longer than all that is done to it afterwards."""
    from mcad_mobile.export import litert, onnx, tower_job

    folder = tmp_path_factory.mktemp("traced")

    def once(write):
        def written(tower, out, *given, **named):
            digest = hashlib.sha256(repr((write.__name__, tower, given, named)).encode())
            for name, value in sorted(tower.state_dict().items()):
                digest.update(name.encode() + value.contiguous().numpy().tobytes())
            kept = folder / digest.hexdigest()
            if not kept.exists():
                write(tower, kept, *given, **named)
            shutil.copy(kept, out)

        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_job, "export_onnx", once(onnx.export_onnx))
        patch.setattr(litert, "convert_litert", once(litert.convert_litert))
        yield
