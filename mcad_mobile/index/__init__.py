"""The photo index: embeddings of N photos in a few bytes each, memory-mapped and crash-safe."""

from mcad_mobile.index.passing import RowFilter
from mcad_mobile.index.search import Hits
from mcad_mobile.index.store import PhotoIndex

__all__ = ["Hits", "PhotoIndex", "RowFilter"]
