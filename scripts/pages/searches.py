"""Sections of docs/benchmarks.md on searches of an index."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import java_index as java_result
import million as million_result
import no_match as no_match_result
from main_job import stored

from benchmarks import filters as filters_result
from benchmarks import index, index_codes
from benchmarks import scan as scan_result
from pages.results import RESULTS, made_with


def million() -> list[str]:
    """A whole search among a million photos."""
    results = stored(million_result.RESULT)
    latest = results[-1]
    return [
        "## A whole search among a million photos",
        "",
        f"The text tower and the index in one process, one thread; medians of {latest['runs']} "
        "runs.",
        "",
        million_result.table(results),
        "",
        made_with(latest["date"], latest["device"]["os"], latest["versions"]),
        "Re-run: `benchmarks/million.py`.",
        "",
    ]


def _largest(row: dict[str, Any]) -> list[str]:
    after, photos = row["after"], row["photos"]
    return [
        f"{photos:,} photos take {after['p50_ms']:.1f} ms, {after['p99_ms']:.1f} at p99, without "
        f"the text tower, {after['searches_pss_mib']:.0f} MiB",
        "of memory for what is mapped, beside the process and its towers, and "
        f"{after['bytes_per_photo'] * photos / 1e9:.1f} GB of storage.",
        "The targets are 8 ms and 100 MB for all.",
        "",
    ]


def scan() -> list[str]:
    """Scan and re-score of two commits."""
    if not scan_result.RESULT.is_file():
        return []
    result = json.loads(scan_result.RESULT.read_text("utf-8"))
    return [
        "## Scan and re-score, before and after",
        "",
        f"Blends of real embeddings, {result['queries']:,} real text queries that no setting was",
        f"chosen on, one thread on {result['machine']['cpu']} ({result['machine']['cores']} cores, "
        f"load {result['load_average']}); medians of {result['runs']} runs of both",
        "commits in turns. Before: the last format, scanned by numpy. Share: of what that took.",
        f"The scan is by {result['rows'][-1]['after']['scan']}; its bytes a second beside those of",
        "adding up an array larger than any cache.",
        "",
        scan_result.table(result["rows"]),
        "",
        *_largest(result["rows"][-1]),
        "![ms a search by number of photos](scan.png)",
        "",
        f"{result['date']}. Re-run: `python -m benchmarks.scan`.",
        "",
    ]


def filters() -> list[str]:
    """Searches among the photos of a folder or a time."""
    if not filters_result.RESULT.is_file():
        return []
    result = json.loads(filters_result.RESULT.read_text("utf-8"))
    load = result["load_average"]
    return [
        "## Among the photos of a folder or a time",
        "",
        f"Scan and re-score with and without a filter, {result['queries']} real text queries, each",
        f"filter in turn, one thread on {result['machine']['cpu']} (load {load[0]:.1f} to "
        f"{load[1]:.1f}). First: a",
        "search with a new filter, which looks for the rows that pass, beside the first one",
        "without; those after it know them. Recall@10 is against exact float32 search among the",
        "photos that pass.",
        "",
        filters_result.table(result),
        "",
        f"{result['date']}. Re-run: `python -m benchmarks.filters`.",
        "",
    ]


def index_students() -> list[str]:
    """What an index chooses for other students' vectors."""
    if not index_codes.RESULT.is_file():
        return []
    result = json.loads(index_codes.RESULT.read_text("utf-8"))
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        index_codes.print_chosen(result["rows"])
    return [
        "## Other students' vectors",
        "",
        f"What an index of {result['photos']:,} photos chooses, and what it then finds of",
        f"the true ten, by {result['queries']} queries; vectors as in "
        "[index-format.md](index-format.md).",
        f"Strong: {index_codes.STRONG} strong directions in a cone, queries in another. ms: a",
        f"machine with other work beside ({result['machine']['cpu']}).",
        table.getvalue().rstrip(),
        "",
        f"{result['date']}. Re-run: `python -m benchmarks.index_codes`.",
        "",
    ]


def java_index() -> list[str]:
    """The Java engine's search, once it has been measured on a machine that does nothing else."""
    if not java_result.RESULTS.is_file():
        return []
    result = json.loads(java_result.RESULTS.read_text("utf-8"))
    setup = result["setup"]
    java, limit = result["java"], setup["limit_ms"]
    return [
        "## The same index, searched by Java",
        "",
        f"{setup['photos']:,} photos of {setup['dim']} dimensions, blended from "
        f"{setup['blended_from']:,} real ones, {setup['queries']} real text queries;",
        f"one thread on {result['machine']['cpu']}, the JVM's compiler on another core.",
        "The goal is",
        f"{limit} ms for scan and re-score in {setup['heap_limit_mib']} MB of heap. At the median "
        f"it is {'met' if java['total']['p50'] <= limit else 'missed'}, at p99",
        f"{'met' if java['total']['p99'] <= limit else 'missed'}. PSS is of the whole JVM, its "
        "code and the mapped codes included. A server's JVM, not a phone.",
        "",
        java_result.table(result),
        "",
        made_with(result["date"], result["machine"]["cpu"], result["versions"]),
        "",
    ]


def _loads(sizes: dict[int, list[dict[str, Any]]]) -> str:
    rows = [document["row"] for documents in sizes.values() for document in documents]
    loads = [load for row in rows for load in row["load_average"]]
    return f"{min(loads):.1f} to {max(loads):.1f}"


def engines() -> list[str]:
    """The index and its peers."""
    sizes = {size: index.stored(size) for size in index.SIZES}
    first = next(documents[0] for documents in sizes.values() if documents)
    return [
        "## The index and its peers",
        "",
        f"Photo embeddings of 256 dimensions, blended from {first['blended_from']:,} real ones "
        "(of Flickr8k",
        f"by the default student), and {first['queries']} real text queries; one thread on "
        f"{first['machine']['cpu']}.",
        "Recall is against exact float32 search. Engines with a setting run at the cheapest",
        f"that reaches {index.GOAL}, or at their most thorough. Bytes are all that lies on",
        "disk; of ours, paths of 53 bytes are a part. Memory (PSS) is what importing the",
        "library, then opening, then opening and searching add. Re-run:",
        "`python -m benchmarks.index`.",
        "",
        f"The machine's load average, before and after each row, was {_loads(sizes)}: above 1,",
        "something else ran beside the engine: build times are not those of a quiet machine.",
        "",
        *(
            line
            for size, documents in sizes.items()
            if documents
            for line in (f"### {size:,} photos", "", index.as_markdown(documents), "")
        ),
        "The blends and the real embeddings that they are made from:",
        "",
        index.statistics_markdown(first["statistics"]),
        "",
        made_with(first["date"], first["machine"]["cpu"], first["versions"]),
        "",
    ]


def no_match() -> list[str]:
    """How well a search knows that nothing matches."""
    match = json.loads((RESULTS / "no_match.json").read_text("utf-8"))
    return [
        "## When nothing matches",
        "",
        f"{match['captions_with_photo']:,} captions whose photo is in the index, and "
        f"{match['captions_without']} that name what no photo",
        f"of it shows; and the names of {match['names']} things: photos of some are a tenth of the "
        "index, the others",
        "are left out. A missed match: no photo scores above the threshold, though one shows what",
        "is asked for; a false one: it scores above it where none does. Many things that are left",
        "out look like one that is there (another breed of dog), and the photo that is found then",
        "counts as false. The margin of a row is fitted on the captions of half of the photos and",
        f"judged on those of the other half, and on names, over {match['draws']} draws of the",
        "photos that are indexed. Names score lower than captions do, and more than half of the",
        "right photos of theirs are marked as doubtful. *Shipped*: the line through the fits,",
        f"which `search` uses for any number of photos: {match['fit']['margin']} + "
        f"{match['fit']['margin_per_log_n']} ln N. Re-run: `benchmarks/no_match.py`.",
        "",
        no_match_result.as_markdown(match),
        "",
    ]
