"""docs/benchmarks.md, from benchmarks/results."""

from __future__ import annotations

from typing import Any

from benchmarks import against as against_benchmark
from benchmarks import cold as cold_benchmark
from benchmarks import distill_ablation as ablation_benchmark
from benchmarks import index as index_benchmark
from benchmarks import index_engines, text_reader
from benchmarks import kernels as kernels_benchmark
from benchmarks import languages as languages_benchmark
from benchmarks import main_job as main_job_benchmark
from benchmarks import peers as peers_benchmark
from benchmarks import serve as serve_benchmark
from benchmarks.arm import arm_table
from benchmarks.main_job import processor_of
from scripts.pages.results import extent, footer, is_stored, made_with, stored, when

HEAD = [
    "# Benchmarks",
    "For people who compare: the time, memory and recall that we measured, on which machine, "
    "and how to measure again. No figure here is from a phone. `make "
    "docs` writes this page from `benchmarks/results/`; `make bench DATA=DIR` measures the main "
    "job, towers, index, kernels and `serve` again, with Flickr8k in the [Karpathy layout]"
    "(data.md). A + after a commit: the package had changes that were not committed yet.",
]


def benchmarks_page() -> str:
    """Return the page. A benchmark without a stored result has no section."""
    first = (main_job, peers, index, against, kernels, cold, words_index, words_in_photos, reading)
    sections = (*first, languages, serve, distill_ablation, single_stream)
    found = (section() for section in sections if is_stored(section.__name__))
    parts = [*HEAD, *(part for section in found for part in section)]
    return "\n\n".join(parts) + "\n"


def main_job() -> list[str]:
    jobs = main_job_benchmark.stored()[::-1]
    loads = ", ".join(str(job["device"]["load_average_1m"]) for job in jobs)
    return [
        "## The main job",
        "An export of the default student, and searches among "
        f"{main_job_benchmark.PHOTOS:,} photos on one thread: medians of {jobs[0]['runs']} runs, "
        "with the least and the most in parentheses. At a load average above the number of cores, "
        f"times are too long; it was {loads}.",
        main_job_benchmark.table(jobs),
        *(footer(job) for job in jobs),
        "Memory is that of the process that searches. PSS divides shared pages among the processes "
        "that share them, RSS does not; the limit is for PSS. Re-run: `benchmarks/main_job.py`.",
    ]


def peers() -> list[str]:
    parts = [
        "## The towers and their peers",
        "One input at a time on one thread, without tokenizing or decoding, each row in its own "
        "process. *Ours* is the default student in each runtime; texts have no padding, except in "
        "LiteRT, which takes 32 tokens. ONNX Runtime runs all models with our settings (no arena, "
        "no SkipLayerNorm fusion). CLIP and MobileCLIP (research only) have random weights: time "
        "and memory are as with trained weights, recall is not compared. They run as open_clip "
        "runs them, in fp32 on texts of 77 tokens, and as this project exports them, in 8 bits and "
        "fp32, CLIP on texts without padding. Bold: the first rung of a `cpu` bundle; the last "
        "column compares with its time. [Models](models.md) says how far 8 bits move embeddings.",
    ]
    for towers in reversed(stored("peers")):
        parts += [
            peers_benchmark.table(towers),
            peers_benchmark.verdict(towers),
            footer(towers),
        ]
    return [*parts, "Re-run: `benchmarks/peers.py`."]


def index() -> list[str]:
    sizes = {
        (dim, size): index_benchmark.stored(size, dim)
        for dim in (index_benchmark.DIM, index_benchmark.WIDE)
        for size in index_benchmark.SIZES
    }
    documents = [document for found in sizes.values() for document in found]
    first = documents[0]
    parts = [
        "## The index and its peers",
        "Photo embeddings, interpolated between "
        f"{first['blended_from']:,} real ones (Flickr8k by the default student; those of 512 "
        "dimensions are its embeddings and those of another seed, joined), and up to "
        f"{first['queries']} real text queries (at least 100 where a search takes long), on one "
        f"thread of {first['machine']['cpu']}. Recall is against exact float32 search. An engine "
        "with a setting runs at the cheapest value that reaches "
        f"{index_benchmark.GOAL}, or at the last that we tried. "
        f"{index_engines.BUILT} Bytes count everything on disk; ours include paths of 53 bytes. "
        "Memory is the PSS that importing the library, opening the index and all searches of the "
        "run add; files that are mapped count, files that are read do not. Ours leaves out 2 MiB "
        "of library, which the benchmark itself imports. Adding ends when all files are synced to "
        "disk. At a load average above 1, times are too long; the rows of a table ran at different "
        "loads. Re-run: `python -m benchmarks.index`.",
    ]
    for (dim, size), found in sizes.items():
        if found:
            loads = [load for document in found for load in document["row"]["load_average"]]
            busy = extent(f"{min(loads):.1f}", f"{max(loads):.1f}")
            parts += [
                f"### {size:,} photos, {dim} dimensions",
                f"Measured {when(found)}, at a load average of {busy}.",
                index_benchmark.as_markdown(found),
            ]
    return [
        *parts,
        "How much the interpolated embeddings resemble the real ones:",
        index_benchmark.statistics_markdown(first["statistics"]),
        made_with(documents, first["machine"]["cpu"]),
    ]


def against() -> list[str]:
    result = stored("against")[-1]
    return [
        "## The index before and after a change",
        f"Commit {result['before']}, which wrote, merged and searched the index in Python, against "
        "the core in C that replaced it. Both took turns on the same indexes, of "
        f"{against_benchmark.QUERIES} real text queries and blends of real embeddings, on one "
        f"thread: medians of {result['rounds']} rounds, at a load average of "
        f"{result['device']['load_average_1m']:.1f}. Re-run: `python -m benchmarks.against`.",
        against_benchmark.table(result),
        footer(result),
    ]


def kernels() -> list[str]:
    result = stored("kernels")
    setup, jni, arm = result["setup"], result["jni"], result["arm"]
    p50, p99 = ("met" if jni["cpu"][p] <= setup["limit_ms"] else "missed" for p in ("p50", "p99"))
    return [
        "## The kernels through Java, through Python, and on Arm",
        f"{setup['photos']:,} embeddings of {setup['dim']} dimensions, interpolated between "
        f"{setup['blended_from']:,} real ones, and {setup['queries']} real text queries, on one "
        f"thread of {result['machine']['cpu']} with {result['machine']['cores']} cores. Java and "
        f"Python took turns in one run, at a load average of {result['load_average']:.1f}. "
        f"The goal is {setup['limit_ms']} ms with {setup['heap_limit_mib']} MB of heap: {p50} at "
        f"the median, {p99} at p99. The JVM's heap takes {jni['heap_mib']:.1f} MiB, its PSS is "
        f"{jni['pss_mib']:.0f} MiB, and opening the index takes {jni['open_ms']:.1f} ms. Both find "
        "the same photos. Re-run: `python -m benchmarks.kernels`.",
        kernels_benchmark.table(result),
        f"On Arm, for a search that scans {arm['scanned']:,} photos by {arm['words']} words "
        f"of 64 bits and scores {arm['scored']:,}, QEMU counted the instructions. The times are "
        "estimates from a model, not measurements: 2 instructions per cycle at 2.6 GHz for an A76, "
        "1 at 2.0 GHz for an A55, and 1.5 or 4 \N{MICRO SIGN}s to read each record.",
        arm_table(arm),
        made_with([result], result["machine"]["cpu"]),
    ]


def cold() -> list[str]:
    (result, *_) = reversed(stored("cold"))
    load = result["device"]["load_average_1m"]
    return [
        "## The first search",
        "No page of the index is in memory, as after a restart or after using other apps. Each of "
        f"{result['queries']} text queries opens and searches the index once, in its own process. "
        "Figures are medians on one thread and a virtual disk, at a load average of "
        f"{load:.1f}; pages are 4 KiB. {cold_benchmark.verdict(result)} The last two columns are "
        "estimates, not measurements: the pages divided by the random reads per second that "
        "Samsung publishes for a phone's flash. Most pages lie side by side, which is faster. "
        "Re-run: `python -m benchmarks.cold --embeddings build/embeddings`.",
        cold_benchmark.table(result),
        footer(result),
    ]


def words_index() -> list[str]:
    result = stored("words_index")[-1]
    rows = [
        "| photos | MB | Python: mean ms | MiB | Java: mean ms | MiB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for size in result["sizes"]:
        java = size["java"]
        ms, mib = java["processor_ms"].values(), java["mib"] + java["heap_mib_a_search"]
        rows.append(
            f"| {size['photos']:,} | {size['bytes'] / 1e6:.1f} | {size['mean_ms']:.2f} "
            f"| {size['mib']:.1f} | {sum(ms) / len(ms):.2f} | {mib:.1f} |"
        )
    return [
        "## The index of words",
        "Photos have twelve words each. Searches of one to four words take this processor time, "
        "and this memory beyond that of an open index. Java's is on a server's JVM, not on a "
        "phone: what the process grows by, and what a search allocates on the heap; the load "
        f"average was {result['device']['load_average_1m']}. "
        "Re-run: `python -m benchmarks.words_index --texts captions.txt`.",
        "\n".join(rows),
        footer(result),
    ]


def words_in_photos() -> list[str]:
    result = stored("words_in_photos")[-1]
    return [*text_reader.section(result), footer(result)]


def reading() -> list[str]:
    results = stored("reading")
    return [*text_reader.section_of_targets(results), *map(footer, results)]


def languages() -> list[str]:
    result = stored("languages")
    return [
        "## Search in more languages",
        "The English and the multilingual text tower of the default student, in 8 bits on the CPU, "
        "with the same image tower. Captions: 40, written for this test, of photos in Flickr8k's "
        "validation split (1,000 photos), translated by a language model and not read by native "
        "speakers. Names, among 200 photos of objects: everyday ones from the phrase book, which "
        "the multilingual tower was taught, and names from Unicode CLDR that it was taught only in "
        "English. Searches are of everyday queries, most of two to six words, in a process of "
        f"their own, at a load average of {result['device']['load_average_1m']:.1f}. Re-run: "
        "`python -m benchmarks.languages`.",
        languages_benchmark.table(result),
        footer(result),
    ]


def serve() -> list[str]:
    result = stored("serve")
    return [
        "## The page of `serve`",
        *serve_benchmark.paragraphs(result),
        serve_benchmark.table(result),
        footer(result),
        "Re-run: `benchmarks/serve.py`.",
    ]


def distill_ablation() -> list[str]:
    rows = ablation_benchmark.stored_rows()
    runs = ablation_benchmark.stored_runs()
    several = any(row["seeds"] > 1 for row in rows)
    return [
        "## What MCAD adds",
        "Recall on Flickr8k's test split (1,000 photos, 5,000 captions) in percent"
        f"{', with its standard deviation over seeds' * several}. All students have the same "
        "architecture and 30,000 captioned pairs, and differ from the default recipe only as their "
        "row says, except that rows without words name fewer texts a step. Without teachers, the "
        "contrastive loss weighs 1.0 instead of 0.1, with more dropout, which raises recall. "
        "Photos are read from cached float16 features, so the "
        "default student's recall differs slightly from [its "
        "card's](../models/mcad-s/README.md#how-good-it-is). Rows of one seed have seed 0: "
        "judge their differences by the spread of the default's. "
        f"{'Teachers of neighbouring seeds share a member. ' * several}"
        "[How distillation works](distillation.md) explains the parts; "
        "`benchmarks/distill_rows.py` defines the rows. Re-run: `benchmarks/distill_ablation.py`.",
        ablation_benchmark.as_markdown(rows),
        _gain(rows),
        *(made_with(same, processor_of(same[0]["device"])) for same in _of_one_set_up(runs)),
    ]


def _of_one_set_up(runs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group runs by their day, processor and versions."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: run["date"]):
        groups.setdefault(f"{run['date']} {run['device']['cpu']} {run['versions']}", []).append(run)
    return [*groups.values()]


def _gain(rows: list[dict[str, Any]]) -> str:
    recall = {row["name"]: row["mean"]["mean_recall"] for row in rows}
    teachers = recall["no-classifier"] - recall["contrastive"]
    names = recall["no-classifier"] - recall["default"]
    return (
        f"Dual-stream teachers gain {teachers:.1f} points of mR over training without teachers, "
        "which also lacks the unpaired data. The classifier and the words of captions give "
        f"{names:.1f} points of them back for names and single words."
    )


def single_stream() -> list[str]:
    result = stored("single_stream")
    recipe, epochs = result["recipe"], result["epochs"]
    lines = [
        "| ranked by | text to image R@1 / 5 / 10 | image to text R@1 / 5 / 10 | mR |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        sides = [row[side].values() for side in ("text_to_image", "image_to_text")]
        cells = [" / ".join(f"{recall:.1f}" for recall in side) for side in sides]
        lines.append(f"| {row['row']} | {' | '.join(cells)} | {row['mean_recall']:.1f} |")
    return [
        "## Re-ranking by a single-stream teacher",
        "The first 16 of the dual-stream teachers on Flickr8k's validation split, ranked again. "
        f"Dual-stream teachers: {recipe['members']} reference teacher of {recipe['epochs']} passes "
        f"over {recipe['views']} views, and {', '.join(result['students'])}. Two scales: attention "
        "from words to cells and to windows of cells, with towers of its own, trained in "
        f"{epochs[0]} passes; this is now the reference teacher. Word-region: the one before, on "
        "the dual-stream teachers' towers. Cross-attention: the last two layers of MiniLM also "
        f"attend to cells, {epochs[1]} passes. A sum's weights are learned on 91 photos that "
        "nothing else sees; hubs: how near a photo is to captions in general. One seed. Re-run: "
        f"`benchmarks/single_stream.py` of commit {result['commit']}.",
        "\n".join(lines),
        footer(result),
    ]
