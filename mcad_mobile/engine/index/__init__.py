"""The photo index: embeddings of N photos in a few bytes each, memory-mapped and crash-safe."""

from mcad_mobile.engine.index.filters import RowFilter
from mcad_mobile.engine.index.search import Hits
from mcad_mobile.engine.index.store import PhotoIndex
from mcad_mobile.engine.index.tuning import RescoreBudget, TuningLimits

__all__ = ["Hits", "PhotoIndex", "RescoreBudget", "RowFilter", "TuningLimits"]
