"""Sections of docs/benchmarks.md on indexing, the app and the page of `serve`."""

from __future__ import annotations

import json

import android_app as app_result
import indexing_told
import serve as serve_result

from pages.results import made_with


def indexing() -> list[str]:
    """Photos a second, once they have been measured."""
    result = indexing_told.stored()
    return indexing_told.told(result) if result else []


def android_app() -> list[str]:
    """The app's logic with many photos, and its package, once they have been measured."""
    if not app_result.RESULTS.is_file():
        return []
    result = json.loads(app_result.RESULTS.read_text("utf-8"))
    load = result["machine"]["load"]
    return [
        "## The app with many photos",
        "",
        "Through `PhotoSearch`, on a JVM, on one core of "
        f"{result['machine']['cpu']}, with the default",
        f"student's bundle and {result['setup']['embeddings']} embeddings. Medians of "
        f"{result['setup']['starts']} processes that were started anew,",
        "the JVM's own start left out; searches among some photos alternate with searches among",
        f"all in one process. The load average was {load[0]:.1f} before and {load[1]:.1f} after. A "
        "server's JVM, not a",
        "phone. Re-run: `python -m benchmarks.android_app`.",
        "",
        app_result.table(result),
        "",
    ]


def serve() -> list[str]:
    """The page of `mcad-mobile serve`, once it has been measured."""
    if not serve_result.RESULT.is_file():
        return []
    result = json.loads(serve_result.RESULT.read_text("utf-8"))
    return [
        "## The page of `serve`",
        "",
        *serve_result.paragraph(result),
        "",
        serve_result.table(result),
        "",
        made_with(result["date"], result["device"]["os"], result["versions"]),
        "Re-run: `benchmarks/serve.py`.",
        "",
    ]
