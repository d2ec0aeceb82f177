"""One file per runtime beside one small protocol."""

from mcad_mobile.engine.towers.ladder import Climbed, climb, load_rung, why_not
from mcad_mobile.engine.towers.protocol import Inputs, LoadedTower, normalize

__all__ = ["Climbed", "Inputs", "LoadedTower", "climb", "load_rung", "normalize", "why_not"]
