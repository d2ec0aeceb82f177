"""The self-test before a measurement: which rungs give the right embeddings on the device.

Accelerators may return wrong vectors without an error. So each rung embeds the bundle's golden
inputs on the device, and only rungs that give the expected embeddings are measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName
from mcad_mobile.engine.towers.ladder import agreement, disagreement
from mcad_mobile.errors import BenchError

Ladder = dict[TowerName, list[dict[str, Any]]]


def judge_ladder(bundle: Bundle, checked: dict[str, Any]) -> Ladder:
    """Judge what a runner printed in mode "check", and return the document's "ladder"."""
    return {
        name: [judge_rung(bundle, name, tried) for tried in checked["ladder"][name]]
        for name in TOWERS
    }


def judge_rung(bundle: Bundle, name: TowerName, tried: dict[str, Any]) -> dict[str, Any]:
    """Judge a rung: its status is "pass", "fail" for wrong vectors, or "skip" if it did not run;
    "cosine_min" is the lowest cosine to its expected embeddings over the golden inputs."""
    rung = bundle.tower(name).rungs[tried["rung"]]
    found = {
        "rung": tried["rung"],
        "runtime": rung.runtime,
        "precision": rung.precision,
        "provider": tried.get("provider"),
        "nodes": tried.get("nodes"),
        "cosine_min": None,
        "why": " ".join(tried.get("why", "").split()),  # it may have several lines
    }
    if not tried["loaded"]:
        return {**found, "status": "skip"}
    cosine = agreement(bundle, rung, tried.get("embeddings"))
    if math.isfinite(cosine):
        found["cosine_min"] = round(cosine, 6)
    why = disagreement(rung, cosine)
    if why is None and "tokens" in tried:
        assert bundle.text.golden.ids is not None
        expected = bundle.array(bundle.text.golden.ids)
        if not np.array_equal(expected, np.asarray(tried["tokens"])):
            why = "the device's tokenizer gives other ids for the golden texts"
    return {**found, "status": "pass"} if why is None else {**found, "status": "fail", "why": why}


def choose_rung(ladder: Ladder, name: TowerName) -> dict[str, Any]:
    """Return the first rung that passed. BenchError: none did; it lists why."""
    for tried in ladder[name]:
        if tried["status"] == "pass":
            return tried
    reasons = "; ".join(f"{r['runtime']} {r['precision']}: {r['why']}" for r in ladder[name])
    raise BenchError(
        f"No rung of the {name} tower can be measured on this device: "
        f"{reasons or 'the bundle has none of this runtime'}.",
        "Leave --runtime out to go down the whole ladder, or export for this chip.",
    )


def used_rung(bundle: Bundle, name: TowerName, judged: dict[str, Any]) -> dict[str, Any]:
    """Return a judged rung's entry in the document's "runtime"."""
    return {
        "runtime": judged["runtime"],
        "precision": judged["precision"],
        "bytes": bundle.tower(name).rungs[judged["rung"]].bytes,
        "nodes": judged["nodes"],
    }


def nothing_timed(reason: str) -> dict[str, Any]:
    """The figures of a device on which no search runs."""
    return {
        "index": {"photos": None, "bytes_per_photo": None},
        "memory_mib": {"peak_pss": None, "peak_rss": None, "steps": []},
        "latency_ms": {},
        "samples_ms": {},
        "indexing": {"unsupported": reason},
    }


def parity_only(
    spec: Spec, fields: dict[str, Any], ladder: Ladder, *, emulator: str
) -> dict[str, Any]:
    """Return a device's part of the mcad-bench/1 document without time and memory, which mean
    nothing on an emulator. `fields` has "device" and "tools"."""
    fields["device"]["emulator"] = emulator
    return {
        **fields,
        "conditions": {"threads": spec.threads, "pinned_cores": [], "repeats": []},
        "ladder": ladder,
        "runtime": {
            name: used_rung(spec.bundle, name, choose_rung(ladder, name)) for name in TOWERS
        },
        **nothing_timed(f"the processor is emulated ({emulator})"),
        "measured": ["Embeddings of the bundle's golden inputs, against the float student's"],
        "not_measured": [
            f"Time and memory: the processor is emulated ({emulator}), and emulated time is never "
            "a device's",
        ],
    }
