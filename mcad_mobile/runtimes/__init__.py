"""One file per runtime beside one small protocol."""

from mcad_mobile.runtimes.base import Inputs, LoadedTower, normalize
from mcad_mobile.runtimes.load import choose_rung, load_rung, why_not

__all__ = ["Inputs", "LoadedTower", "choose_rung", "load_rung", "normalize", "why_not"]
