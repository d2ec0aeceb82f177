"""Tiny towers, traced once for all tests of a run."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import nn

from mcad_mobile.base.locks import open_locked


@pytest.fixture(scope="session")
def traced(bundles: Path) -> Path:
    """A folder that all processes of a run share."""
    folder = bundles.with_name("traced")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def traced_once(traced: Path) -> Iterator[None]:
    """The same tower is the same float ONNX and the same float .tflite in all tests: to trace a
    tiny one takes longer than all that is done to it afterwards."""
    from mcad_mobile.export import tower_job
    from mcad_mobile.export.backends.litert import quantize as litert

    def once(write):
        def write_once(tower, out, *arguments, **options):
            kept = traced / digest(write, tower, arguments, options)
            with open_locked(kept.with_suffix(".lock")):
                if not kept.exists():
                    write(tower, out, *arguments, **options)
                    shutil.copy(out, kept)
            shutil.copy(kept, out)

        return write_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tower_job, "export_onnx", once(tower_job.export_onnx))
        patch.setattr(litert, "convert_litert", once(litert.convert_litert))
        yield


def digest(write: Callable[..., None], tower: nn.Module, arguments: object, options: object) -> str:
    """Hash a tower's layers and weights, and the options that it is traced with."""
    found = hashlib.sha256(
        repr((write.__name__, tower)).encode() + pickle.dumps((arguments, options))
    )
    for name, value in sorted(tower.state_dict().items()):
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()
