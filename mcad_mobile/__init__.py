"""mcad-mobile: image-text search on phones."""

__version__ = "0.1.0"
