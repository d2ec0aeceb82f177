"""The photo index: embeddings of N photos in a few bytes each, memory-mapped and crash-safe."""

from mcad_mobile.engine.index.filters import RowFilter
from mcad_mobile.engine.index.store import Hits, PhotoIndex
from mcad_mobile.engine.native import TuningLimits

__all__ = ["Hits", "PhotoIndex", "RowFilter", "TuningLimits"]
