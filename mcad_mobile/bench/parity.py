"""A document of parity only: what an emulated processor can vouch for."""

from __future__ import annotations

from typing import Any

from mcad_mobile.bench.devices.base import Spec
from mcad_mobile.bench.ladder import Ladder, choose
from mcad_mobile.bundle import TOWERS


def parity_only(
    spec: Spec, about: dict[str, Any], ladder: Ladder, *, emulator: str
) -> dict[str, Any]:
    """A device's part of the mcad-bench/1 document without any time or memory: those of an
    emulator are another machine's. `about` has "device" and "tools"."""
    chosen = {name: choose(ladder, name) for name in TOWERS}
    about["device"]["emulator"] = emulator
    return {
        **about,
        "conditions": {"threads": spec.threads, "pinned_cores": [], "repeats": []},
        "ladder": ladder,
        "runtime": {
            name: {
                "runtime": rung["runtime"],
                "precision": rung["precision"],
                "bytes": spec.bundle.tower(name).rungs[rung["rung"]].bytes,
                "nodes": rung["nodes"],
            }
            for name, rung in chosen.items()
        },
        "index": {"photos": None, "bytes_per_photo": None},
        "memory_mib": {"peak_pss": None, "peak_rss": None, "steps": []},
        "latency_ms": {},
        "samples_ms": {},
        "indexing": {"unsupported": f"the processor is emulated ({emulator})"},
        "measured": ["Embeddings of the bundle's golden inputs, against the float student's"],
        "not_measured": [
            f"Time and memory: the processor is emulated ({emulator}), and emulated time is never "
            "a device's",
        ],
    }
