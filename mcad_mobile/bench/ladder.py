"""The self-test before any number counts: which rungs of the ladder give the right embeddings on
this device?

Accelerators are known to return wrong vectors silently: a driver that rounds otherwise, an
operator that falls to a slow and different kernel. So each rung embeds the bundle's golden inputs
on the device itself, and only a rung that agrees with the float student is measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.bundle import TOWERS, Bundle, Rung, TowerName
from mcad_mobile.errors import BenchError
from mcad_mobile.runtimes import normalize

MIN_COSINE = 0.99
# A rung that was off the float student when it was exported, and said so, may be as far off here.
_PARITY_SLACK = 0.005

Ladder = dict[TowerName, list[dict[str, Any]]]


def judge_ladder(bundle: Bundle, checked: dict[str, Any]) -> Ladder:
    """What a runner printed in mode "check" -> each rung with "status" ("pass", "fail": wrong
    vectors, "skip": it did not load, or not run), "cosine_min" over the golden inputs, "nodes",
    "why"."""
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
    cosine = _worst_cosine(bundle, name, embeddings)
    bar = lowest_cosine(rung)
    if not math.isfinite(cosine):
        why = "what it puts out for the golden inputs is not an embedding of each"
        return {**found, "status": "fail", "why": why}
    found["cosine_min"] = round(cosine, 6)
    if cosine < bar:
        why = f"its embeddings of the golden inputs are wrong here: cosine {cosine:.4f}, not {bar}"
        return {**found, "status": "fail", "why": why}
    if tokens is not None and not _same_tokens(bundle, tokens):
        why = "the device's tokenizer gives other ids for the golden texts"
        return {**found, "status": "fail", "why": why}
    return {**found, "status": "pass"}


def lowest_cosine(rung: Rung) -> float:
    """What the worst golden input must reach: 0.99, or nearly what the rung had when it was
    exported where that was lower."""
    if rung.parity is None:
        return MIN_COSINE
    return round(min(MIN_COSINE, rung.parity.cosine_min - _PARITY_SLACK), 4)


def _worst_cosine(bundle: Bundle, name: TowerName, embeddings: Any) -> float:
    golden = bundle.tower(name).golden
    expected = normalize(np.load(bundle.path(golden.embeddings)))
    try:
        found: NDArray[np.float32] = np.asarray(embeddings, np.float32)
    except ValueError:  # of different lengths
        return float("nan")
    if found.shape != expected.shape:
        return float("nan")
    return float((expected * normalize(found)).sum(1).min())


def _same_tokens(bundle: Bundle, tokens: Any) -> bool:
    expected = np.load(bundle.path(bundle.text.golden.inputs["input_ids"]))
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
