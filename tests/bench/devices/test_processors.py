"""The same embeddings make the same index, byte for byte, and the same photos are found, with the
same scores, whichever processor it is: kernels of other processors, and other processors."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.native import LIBRARY_VARIABLE
from tests.support.index_embeddings import photos_and_queries
from tests.support.paths import ROOT

PROBE = ROOT / "tests" / "support" / "processor_probe.py"
X86 = platform.machine() == "x86_64"
# OpenBLAS's kernels by name, numpy's by what is switched off, the JPEG decoder's, and threads.
KERNELS = {
    "no vectors but SSE": {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "JSIMD_FORCENONE": "1",
    },
    "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "1 thread": {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "2 threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    "16 threads": {"OPENBLAS_NUM_THREADS": "16", "OMP_NUM_THREADS": "16"},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    photos, queries = photos_and_queries(700, 6, dim=128)
    photos[300:330] = photos[300]  # copies, which tie
    np.save(folder / "photos.npy", photos)
    np.save(folder / "queries.npy", queries)
    (folder / "photos").mkdir()
    image = Image.open(packaged_photos()[0]).convert("RGB")
    # What decoders have kernels for: small decoding, thinned colours, none thinned, none lost.
    image.resize((1100, 900)).save(folder / "photos" / "large.jpg", quality=85)
    image.save(folder / "photos" / "full.jpg", quality=95, subsampling=0)
    image.save(folder / "photos" / "progressive.jpg", progressive=True)
    image.save(folder / "photos" / "lossy.webp")
    image.save(folder / "photos" / "lossless.png")
    return folder


@pytest.fixture(scope="module")
def here(inputs: Path) -> dict[str, Any]:
    """What this processor makes of it; the others search the index that it has made."""
    found = probe([sys.executable], inputs, inputs / "index")
    assert found["duplicates"]
    return found


def probe(
    python: Sequence[object], inputs: Path, out: Path, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    done = subprocess.run(
        [*map(str, python), str(PROBE), str(inputs), str(out)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(not X86, reason="names of x86 kernels")
@pytest.mark.parametrize("kernels", KERNELS)
def test_other_kernels_make_and_find_the_same(
    kernels: str, here: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    assert probe([sys.executable], inputs, tmp_path / "index", KERNELS[kernels]) == here


@pytest.mark.usefixtures("recent_qemu")
@pytest.mark.skipif(not X86, reason="needs this machine's Python to be one for x86")
@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])
def test_other_x86_processors_make_and_find_the_same(
    processor: str, here: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    qemu = shutil.which("qemu-x86_64")
    if qemu is None and os.environ.get("CI") != "true":
        pytest.skip("no qemu-x86_64 (Debian: apt install qemu-user)")
    # The interpreter itself, which does not know of the environment that it serves.
    libraries = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    python = [qemu, "-cpu", processor, Path(sys.executable).resolve()]
    assert probe(python, inputs, tmp_path / "index", {"PYTHONPATH": libraries}) == here


@pytest.mark.slow
def test_an_arm64_processor_makes_and_finds_the_same(
    arm64: Path, arm64_library: Path, here: dict[str, Any], inputs: Path, tmp_path: Path
) -> None:
    python = next((arm64 / "usr" / "bin").glob("python3.*[0-9]"))
    emulated = ["qemu-aarch64", "-cpu", "cortex-a76", "-L", arm64]
    emulated += ["-E", f"PYTHONPATH={ROOT}", "-E", f"PYTHONHOME={arm64 / 'usr'}"]
    emulated += ["-E", f"{LIBRARY_VARIABLE}={arm64_library}"]
    assert probe([*emulated, python], inputs, tmp_path / "index") == here
