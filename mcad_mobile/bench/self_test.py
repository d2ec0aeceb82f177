"""A document of parity only: what an emulated processor can vouch for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcad_mobile.bench.devices.base import Spec
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName
from mcad_mobile.engine.towers.self_test import agreement, disagreement
from mcad_mobile.errors import BenchError

# The self-test before any number counts: which rungs of the ladder give the right embeddings on
# this device?
#
# Accelerators are known to return wrong vectors silently: a driver that rounds otherwise, an
# operator that falls to a slow and different kernel. So each rung embeds the bundle's golden inputs
# on the device itself, and only a rung that gives what its file says is measured.

Ladder = dict[TowerName, list[dict[str, Any]]]


def judge_ladder(bundle: Bundle, checked: dict[str, Any]) -> Ladder:
    """What a runner printed in mode "check" -> each rung with "status" ("pass", "fail": wrong
    vectors, "skip": it did not load, or not run), "cosine_min" to what the rung's file says, over
    the golden inputs, "nodes", "why"."""
    return {
        name: [judge_rung(bundle, name, tried) for tried in checked["ladder"][name]]
        for name in TOWERS
    }


def judge_rung(bundle: Bundle, name: TowerName, tried: dict[str, Any]) -> dict[str, Any]:
    """One rung of judge_ladder."""
    embeddings, tokens = tried.get("embeddings"), tried.get("tokens")
    rung = bundle.tower(name).rungs[tried["rung"]]
    found = {
        "rung": tried["rung"],
        "runtime": rung.runtime,
        "precision": rung.precision,
        "provider": tried.get("provider"),
        "nodes": tried.get("nodes"),
        "cosine_min": None,
        "why": " ".join(tried.get("why", "").split()),  # a runtime's reason may be of several lines
    }
    if not tried["loaded"]:
        return {**found, "status": "skip"}
    cosine = agreement(bundle, rung, embeddings)
    if math.isfinite(cosine):
        found["cosine_min"] = round(cosine, 6)
    why = disagreement(cosine)
    if why is not None:
        return {**found, "status": "fail", "why": why}
    if tokens is not None and not _same_tokens(bundle, tokens):
        why = "the device's tokenizer gives other ids for the golden texts"
        return {**found, "status": "fail", "why": why}
    return {**found, "status": "pass"}


def _same_tokens(bundle: Bundle, tokens: Any) -> bool:
    assert bundle.text.golden.ids is not None
    expected = np.load(bundle.path(bundle.text.golden.ids))
    return bool(np.array_equal(expected, np.asarray(tokens)))


def choose(ladder: Ladder, name: TowerName) -> dict[str, Any]:
    """The first rung that passed. BenchError with what became of each if none did."""
    for tried in ladder[name]:
        if tried["status"] == "pass":
            return tried
    told = "; ".join(f"{r['runtime']} {r['precision']}: {r['why']}" for r in ladder[name])
    raise BenchError(
        f"No rung of the {name} tower can be measured on this device: "
        f"{told or 'the bundle has none of this runtime'}.",
        "Leave --runtime out to go down the whole ladder, or export for this chip.",
    )


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
