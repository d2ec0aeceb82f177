"""Measure how much results still depend on the processor, its kernels and its threads.

    python -m benchmarks.processors     # writes benchmarks/results/processors.json

Processes export the default student for CPUs with different numbers of threads, and with different
kernels allowed in PyTorch, oneDNN and OpenBLAS; each export's 8-bit image tower embeds photos from
packages. Several OpenBLAS kernels solve for the shares of engine/index/codes.py from one
covariance, before rounding. What must not differ is tested in tests/device/test_processors.py, not
measured here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.towers import load_rung, normalize

RESULT = Path(__file__).parent / "results" / "processors.json"
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
EXPORTS = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "16 threads": {"OMP_NUM_THREADS": "16"},
    "1 thread, AVX2 kernels": {"OMP_NUM_THREADS": "1", **AVX2},
}
THREADS = (1, 2, 16)
KERNELS = ("SkylakeX", "Haswell", "Prescott")
SHARE_UNIT = 2.0**-8
SHARES = """
import sys, numpy as np
random = np.random.default_rng(0)
whole = random.integers(-2**16, 2**16, (31, 256))
rests = random.integers(-64, 64, (4096, 31)) @ whole + random.integers(-2**18, 2**18, (4096, 256))
covariance = (rests.T @ rests) * 2.0**-60
inverse = np.linalg.inv(covariance + 0.1 * np.trace(covariance) / 256 * np.eye(256))
upper = np.linalg.cholesky(inverse).T
np.save(sys.argv[1], upper / np.diag(upper)[:, None])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder for the exports, which is used again")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as folder:
        bundles = {name: _exported(keep or Path(folder), name) for name in EXPORTS}
        first = bundles["1 thread"]
        pixels = np.stack([first.preprocess(photo) for photo in packaged_photos()])
        embeddings = {name: _embedded(bundle, pixels, 0, 1) for name, bundle in bundles.items()}
        shares = _shares(Path(folder))
        towers = {
            rung.precision: max(
                float(np.abs(_embedded(first, pixels, number, threads) - alone).max())
                for threads in THREADS
            )
            for number, rung in enumerate(first.image.rungs)
            for alone in [_embedded(first, pixels, number, 1)]
        }
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "photos": len(pixels),
        "exports": {
            name: {
                "files_that_differ": _differ(first, bundle),
                "cosine_mean": float(np.mean(_cosines(embeddings[name], embeddings["1 thread"]))),
                "cosine_min": float(np.min(_cosines(embeddings[name], embeddings["1 thread"]))),
            }
            for name, bundle in bundles.items()
            if bundle is not first
        },
        "largest_difference_by_threads": towers,
        "shares_before_rounding": {
            "largest_difference": max(float(np.abs(s - shares[0]).max()) for s in shares),
            "expected_to_round_otherwise": max(
                float(np.abs(s - shares[0]).sum() / SHARE_UNIT) for s in shares
            ),
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def _exported(folder: Path, name: str) -> Bundle:
    out = folder / name
    if not out.exists():
        command = [sys.executable, "-m", "mcad_mobile", "export", "--target", "cpu"]
        environment = os.environ | EXPORTS[name]
        subprocess.run(
            [*command, "--out", str(out)], env=environment, check=True, timeout=1800, stdout=2
        )
    return Bundle.load(out)


def _shares(folder: Path) -> list[Any]:
    found = []
    for kernel in KERNELS:
        out = folder / f"{kernel}.npy"
        environment = os.environ | {"OPENBLAS_CORETYPE": kernel}
        subprocess.run([sys.executable, "-c", SHARES, out], env=environment, check=True, timeout=60)
        found.append(np.load(out))
    return found


def _embedded(bundle: Bundle, pixels: Any, rung: int, threads: int) -> Any:
    return normalize(load_rung(bundle, bundle.image.rungs[rung], threads)({"pixels": pixels}))


def _cosines(a: Any, b: Any) -> Any:
    return np.sum(a.astype(np.float64) * b, axis=1)


def _differ(a: Bundle, b: Bundle) -> list[str]:
    """Return the paths of bundle files that differ."""
    return sorted(
        record.path
        for record in a.files()
        if _sha256(a.path(record)) != _sha256(b.directory / record.path)
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
