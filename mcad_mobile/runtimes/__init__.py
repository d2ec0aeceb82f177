"""One file per runtime beside one small protocol."""

from mcad_mobile.runtimes.base import Inputs, LoadedTower, normalize
from mcad_mobile.runtimes.ladder import Climbed, climb
from mcad_mobile.runtimes.load import load_rung, why_not

__all__ = ["Climbed", "Inputs", "LoadedTower", "climb", "load_rung", "normalize", "why_not"]
