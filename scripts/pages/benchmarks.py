"""docs/benchmarks.md, from benchmarks/results."""

from __future__ import annotations

from pages import apps, searches, towers, training


def benchmarks_page() -> str:
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Made from `benchmarks/results/*.json` by `make docs`; a test keeps it true. Run them",
            "again with `make bench DATA=DIR` (Flickr8k in the Karpathy layout). No figure here is",
            "a phone's.",
            "",
            *towers.main_job(),
            *towers.peers(),
            *towers.students(),
            *towers.kernels(),
            *searches.million(),
            *searches.scan(),
            *searches.filters(),
            *searches.index_students(),
            *searches.engines(),
            *searches.no_match(),
            *apps.indexing(),
            *searches.java_index(),
            *apps.android_app(),
            *apps.serve(),
            *training.ablation(),
            *training.single_stream(),
            *training.widths(),
        ]
    )
