"""Figures in docs/targets.md of what was tried for published students' text towers on CPUs."""

from __future__ import annotations

from figures import Sentence, stored

from sentences.results import Results


def tried(read: Results) -> list[Sentence]:
    memory, padding = read("tower_memory"), read("constant_padding")
    text = read("students")["students"][padding["student"]]["text"][0]
    ways = memory["ways"]
    shipped, packed = ways["as shipped"], ways["prepacked weights in a file"]
    unpacked, kept = ways["weights not prepacked"], ways["its code kept"]
    inside = ways["weights in the model's file"]
    eight, four = (memory["products_per_ns"][f"{bits} bits"] for bits in (8, 4))
    return [
        stored("({:.1f} MB in 8 bits, {:.1f} ms a text;", text["bytes"] / 1e6, shipped["run_ms"]),
        stored(
            "grows by {:.1f} MiB with it, {:.1f} of them anonymous",
            shipped["rss_mib"],
            shipped["anonymous_mib"],
        ),
        stored(
            "and mapped | {:.1f} MiB, {:.1f} anonymous; loads in {:.0f} ms for {:.0f} |",
            packed["rss_mib"],
            packed["anonymous_mib"],
            packed["load_ms"],
            shipped["load_ms"],
        ),
        stored(
            "| no packing | {:.1f} MiB, {:.1f} anonymous; {:.1f} ms |",
            unpacked["rss_mib"],
            unpacked["anonymous_mib"],
            unpacked["run_ms"],
        ),
        stored(
            "own file | {:.1f} MiB, {:.1f} anonymous |", inside["rss_mib"], inside["anonymous_mib"]
        ),
        stored(
            "left where it is | {:.1f} MiB | {:.0f} MiB that only loading runs",
            kept["rss_mib"],
            kept["rss_mib"] - shipped["rss_mib"],
        ),
        stored(
            "{:.0f} products a nanosecond for {:.0f} (12 tokens), {:.0f} for {:.0f} (77)",
            four["12 tokens"],
            eight["12 tokens"],
            four["77 tokens"],
            eight["77 tokens"],
        ),
        stored(
            "cosine {:.4f} on average, {:.3f} at worst | different captions have {:.3f}",
            padding["cosine_mean"],
            padding["cosine_min"],
            padding["cosine_of_different_captions"],
        ),
        stored(
            "are {:.1f} billion products: {:.0f} ms by the fastest kernel alone",
            37.7 * 77 / 1000,
            37.7e6 * 77 / eight["77 tokens"] / 1e6,
        ),
    ]
