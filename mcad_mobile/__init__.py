"""mcad-mobile: image-text search on phones.

    import mcad_mobile as mcad

    bundle = mcad.export_bundle("snapdragon", "build/sd")
    engine = mcad.SearchEngine(bundle)
    index = mcad.open_index(bundle, create=True)
    engine.index_folder(index, "photos")
    for found in engine.search(index, "a dog on the beach", k=5).results:
        print(found.score, found.path)

Each name is imported on first use, so searching loads no torch. See docs/python.md.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcad_mobile.base import VERSION as __version__

# ONNX Runtime reports usage to Microsoft, and keeps events in the user's cache, unless this is set
# before it is loaded. Child processes inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.engine.engine import Found, SearchEngine, open_index
    from mcad_mobile.engine.index import PhotoIndex
    from mcad_mobile.engine.query import Part
    from mcad_mobile.errors import McadError
    from mcad_mobile.export import export_bundle
    from mcad_mobile.students.load import load_student
    from mcad_mobile.students.own import student
    from mcad_mobile.targets import Target, all_targets

__all__ = [
    "Bundle",
    "Found",
    "McadError",
    "Part",
    "PhotoIndex",
    "SearchEngine",
    "Target",
    "__version__",
    "all_targets",
    "export_bundle",
    "load_student",
    "open_index",
    "student",
]

_HOMES = {
    "Bundle": "engine.bundle",
    "Found": "engine.engine",
    "McadError": "errors",
    "Part": "engine.query",
    "PhotoIndex": "engine.index",
    "SearchEngine": "engine.engine",
    "Target": "targets",
    "all_targets": "targets",
    "export_bundle": "export",
    "load_student": "students.load",
    "open_index": "engine.engine",
    "student": "students.own",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
