"""Ways to load an 8-bit text tower, and the kernels it could have: what was tried and left.

    python benchmarks/tower_memory.py BUNDLE     # writes benchmarks/results/tower_memory.json

Each way is a process of its own, in turn: numpy, ONNX Runtime, the tower, its golden inputs twenty
times. Memory is what the process has grown by since it imported numpy, split into anonymous pages,
which only it can hold, and pages of files, which the system takes back when memory is short.
Kernels: one product of 8-bit or 4-bit weights of the sizes that CLIP's text tower has, processor
time. This machine is no phone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts, pin
from mcad_mobile.bench.watch import watch
from mcad_mobile.bundle import Bundle
from mcad_mobile.runtimes.base import without_padding
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "tower_memory.json"
SHIPPED = "as shipped"
WAYS: dict[str, dict[str, str]] = {
    SHIPPED: {},
    "weights not prepacked": {"session.disable_prepacking": "1"},
    "prepacked weights in a file": {},
    "weights in the model's file": {},
}
_RUNS, _SEARCHES, _TRIES = 3, 20, 200
_WIDTH, _INNER = 512, 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    bundle = Bundle.load(given.bundle, verify=False)
    if given.way:
        print(json.dumps(measure(bundle, given.way, given.model)))
        return
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        models = _models(bundle, Path(folder))
        for _ in range(_RUNS):
            for way, model in models.items():
                command = [sys.executable, __file__, str(given.bundle)]
                command += ["--way", way, "--model", str(model)]
                one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                found = watch(command, timeout_s=300, environment=one_thread)
                taken[way].append({**found.document, "peak_rss_mib": found.peak.rss})
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(("onnxruntime", "numpy")),
        "bundle": bundle.name,
        "runs": _RUNS,
        "ways": {
            way: {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}
            for way, runs in taken.items()
        },
        "products_per_ns": _kernels(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result["ways"], indent=1), json.dumps(result["products_per_ns"], indent=1))


def measure(bundle: Bundle, way: str, model: Path) -> dict[str, float]:
    """One way to load the tower, in this process."""
    import numpy as np

    from mcad_mobile.runtimes.agreement import golden_inputs
    from mcad_mobile.runtimes.base import one_by_one

    pin(1)
    before = _split()
    import onnxruntime  # noqa: F401

    started = time.process_time()
    session = _session(model, WAYS[way])
    loaded = time.process_time()
    singles = one_by_one(golden_inputs(bundle, "text"))
    if any(isinstance(size, str) for size in session.get_inputs()[0].shape):
        singles = [without_padding(single) for single in singles]
    times = []
    for _ in range(_SEARCHES):
        for single in singles:
            at = time.process_time()
            outputs = session.run(None, single)[0]
            times.append((time.process_time() - at) * 1e3)
    assert np.isfinite(outputs).all()
    after = _split()
    return {
        "load_ms": (loaded - started) * 1e3,
        "run_ms": min(times),
        **{f"{kind}_mib": after[kind] - before[kind] for kind in after},
    }


def _session(model: Path, settings: dict[str, str]) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _models(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """The file of each way."""
    import onnx
    import onnxruntime as ort

    shipped = bundle.path(bundle.text.rungs[0].files[0])
    whole, packed = folder / "whole.onnx", folder / "packed.onnx"
    onnx.save(onnx.load(shipped), whole)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(packed)
    for key, value in (
        ("session.optimized_model_external_initializers_file_name", "packed.onnx.data"),
        ("session.optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("session.save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(key, value)
    ort.InferenceSession(shipped, options, providers=["CPUExecutionProvider"])
    other = {"prepacked weights in a file": packed, "weights in the model's file": whole}
    return {way: other.get(way, shipped) for way in WAYS}


def _split() -> dict[str, float]:
    """MiB of this process: resident in all, anonymous, and of files."""
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    anonymous = kib["Anonymous"] / 1024
    rss = kib["Rss"] / 1024
    return {"rss": rss, "anonymous": anonymous, "files": rss - anonymous}


def _kernels() -> dict[str, dict[str, float]]:
    """Products of one number by another, per nanosecond, for texts of so many tokens."""
    import numpy as np

    pin(1)
    random = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for kind, model in (("8 bits", _eight_bits), ("4 bits", _four_bits)):
        session = _session_of(model(random))
        for tokens in (12, 77):
            x = random.normal(size=(tokens, _WIDTH)).astype(np.float32)
            best = min(_timed(session, x) for _ in range(_TRIES))
            rate = tokens * _WIDTH * _INNER / best / 1e9
            found.setdefault(kind, {})[f"{tokens} tokens"] = round(rate, 1)
    return found


def _timed(session: Any, x: Any) -> float:
    started = time.process_time()
    session.run(None, {"x": x})
    return time.process_time() - started


def _session_of(model: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _eight_bits(random: Any) -> bytes:
    import numpy as np

    weights = {
        "w": random.integers(-127, 128, (_WIDTH, _INNER)).astype(np.int8),
        "scale": np.ones(_INNER, np.float32),
        "zero": np.zeros(_INNER, np.int8),
    }
    return _one_node("DynamicQuantizeMatMul", weights)


def _four_bits(random: Any) -> bytes:
    """In blocks of 32, multiplied as 8-bit integers: ONNX Runtime's fastest way on CPUs."""
    import numpy as np

    weights = {
        "w": random.integers(0, 256, (_INNER, _WIDTH // 32, 16)).astype(np.uint8),
        "scale": np.full(_INNER * _WIDTH // 32, 0.01, np.float32),
    }
    facts = {"K": _WIDTH, "N": _INNER, "bits": 4, "block_size": 32, "accuracy_level": 4}
    return _one_node("MatMulNBits", weights, **facts)


def _one_node(kind: str, weights: dict[str, Any], **facts: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node(kind, ["x", *weights], ["y"], domain="com.microsoft", **facts)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", _INNER])
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    versions = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "one", [x], [y], held)
    model = helper.make_model(graph, opset_imports=versions, ir_version=9)
    return model.SerializeToString()  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
