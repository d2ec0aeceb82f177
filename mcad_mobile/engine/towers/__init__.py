"""Towers in memory: one file per runtime, a protocol, the self-test and the ladder of rungs."""

from mcad_mobile.engine.towers.ladder import LoadedRung, choose_rung, load_tower, why_not
from mcad_mobile.engine.towers.protocol import Inputs, LoadedTower, normalize
from mcad_mobile.engine.towers.runtimes import RUNTIMES, runtime_of

__all__ = [
    "RUNTIMES",
    "Inputs",
    "LoadedRung",
    "LoadedTower",
    "choose_rung",
    "load_tower",
    "normalize",
    "runtime_of",
    "why_not",
]
