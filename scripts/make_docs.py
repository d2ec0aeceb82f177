"""Write the pages that are made from something else: docs/cli.md from `--help`; docs/benchmarks.md
and tables of docs/targets.md and README.md from benchmarks/results; docs/chips.md from the table of
targets; and stored figures into the sentences of other pages (scripts/sentences)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from mcad_mobile.cli import app
from mcad_mobile.targets import all_targets

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "scripts")]


def cli_page() -> str:
    verbs = list(typer.main.get_group(app).commands)
    parts = ["# Command line\n\nMade from `--help` by `make docs`; a test keeps it true.\n"]
    for arguments in [[], *[[verb] for verb in verbs]]:
        name = " ".join(["mcad-mobile", *arguments])
        shown = CliRunner().invoke(
            app, [*arguments, "--help"], prog_name="mcad-mobile", terminal_width=96
        )
        text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def benchmarks_page() -> str:
    import distill_ablation
    import main_job
    import no_match
    import peers as tower_peers

    from benchmarks import index

    towers = json.loads((RESULTS / "peers.json").read_text("utf-8"))
    sizes = {size: index.stored(size) for size in index.SIZES}
    first = next(documents[0] for documents in sizes.values() if documents)
    match = json.loads((RESULTS / "no_match.json").read_text("utf-8"))
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Made from `benchmarks/results/*.json` by `make docs`; a test keeps it true. Run them",
            "again with `make bench DATA=DIR` (Flickr8k in the Karpathy layout). No figure here is",
            "a phone's.",
            "",
            "## The main job",
            "",
            *(
                line
                for job in reversed(main_job.stored())
                for line in (
                    main_job.table(job),
                    "",
                    _made_with(job["date"], job["device"]["os"], job["versions"]),
                    "",
                )
            ),
            "Peak PSS and RSS are of the process that searches. Each processor as it was last at",
            "hand. Re-run: `benchmarks/main_job.py`.",
            "",
            "## The towers and their peers",
            "",
            "The default student's towers in every runtime, one input at a time, one thread on",
            f"{towers['device']['cpu']}; and two other architectures with random weights, which do",
            "for time and memory. Bold: what a `cpu` bundle ships first, and what ratios are to.",
            "Cosine: the worst of the golden inputs, against the float student. Texts are given",
            "without padding wherever a runtime takes any number of tokens; LiteRT takes 32.",
            "",
            tower_peers.table(towers),
            "",
            tower_peers.verdict(towers),
            "",
            _made_with(towers["date"], towers["device"]["os"], towers["versions"]),
            "Re-run: `benchmarks/peers.py`.",
            "",
            *_students(),
            *_kernels(),
            *_million(),
            *_scan(),
            *_filters(),
            *_index_students(),
            "## The index and its peers",
            "",
            "Rows of ours are of the format before, scanned with faiss or numpy: the tables above",
            "are of the one of today, which was not measured beside its peers yet.",
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
            _made_with(first["date"], first["machine"]["cpu"], first["versions"]),
            "",
            "## When nothing matches",
            "",
            f"{match['captions_with_photo']:,} captions whose photo is in the index, and "
            f"{match['captions_without']} that name what no photo",
            "of it shows. A missed match is a caption of the first kind whose best photo scores",
            "below the threshold, a false match one of the second kind with a photo above it. The",
            "margin of each row is fitted on the captions of half of the photos and judged on",
            f"those of the other half, over {match['draws']} draws of the photos that are indexed. "
            "*By score alone*: with",
            "a limit on the score that misses as many. *Shipped*: the line through the fits, which",
            f"`search` uses for any number of photos: {match['fit']['margin']} + "
            f"{match['fit']['margin_per_log_n']} ln N. Re-run: `benchmarks/no_match.py`.",
            "",
            no_match.as_markdown(match),
            "",
            *_indexing(),
            *_java_index(),
            *_android_app(),
            *_serve(),
            "## What MCAD adds",
            "",
            "Flickr8k, official test split (1,000 photos, 5,000 captions), percent; mean and",
            "standard deviation over seeds, of as many as were run. The dual-stream teachers of",
            "two neighbouring seeds share one of their two members. All students have the same",
            "architecture, the same 30,000 captioned pairs and the same number of epochs. Where no",
            "dual-stream teacher draws the student, labels weigh 1.0 instead of 0.1, with more",
            "dropout: without that, they score lower. Rows are in `benchmarks/distill_rows.py`;",
            "how it works, and what of it is ours, in [method.md](method.md). Re-run:",
            "`benchmarks/distill_ablation.py`.",
            "",
            distill_ablation.as_markdown(ablation := distill_ablation.stored_rows()),
            "",
            _gain(ablation),
            "",
            *_recipe(),
            *sorted(
                {
                    _made_with(run["date"], run["device"]["cpu"], run["versions"])
                    for run in distill_ablation.stored_runs()
                }
            ),
            "",
        ]
    )


def _gain(rows: list[dict[str, Any]]) -> str:
    recall = {row["name"]: row["mean"]["mean_recall"] for row in rows}
    gains = [
        f"{recall[name] - recall['contrastive']:.1f} points of mR {how}"
        for name, how in (("mcad", "without unpaired data"), ("mcad-extra", "with unpaired data"))
        if name in recall
    ]
    return "MCAD's gain over contrastive training: " + ", ".join(gains) + "."


def _recipe() -> list[str]:
    """The default recipe from nothing, once it has been timed."""
    import distill_recipe

    if not distill_recipe.RESULT.is_file():
        return []
    result = json.loads(distill_recipe.RESULT.read_text("utf-8"))
    return [
        "The recipe of `mcad-extra` from nothing, teachers and caches included, and what came out:",
        "",
        distill_recipe.as_markdown(result),
        "",
        "Re-run: `benchmarks/distill_recipe.py`.",
        "",
    ]


def _loads(sizes: dict[int, list[dict[str, Any]]]) -> str:
    rows = [document["row"] for documents in sizes.values() for document in documents]
    loads = [load for row in rows for load in row["load_average"]]
    return f"{min(loads):.1f} to {max(loads):.1f}"


def _students() -> list[str]:
    """Published students with random weights, once they have been measured."""
    import students

    if not students.RESULT.is_file():
        return []
    result = students.stored()
    measured = result["students"].values()
    machines = sorted({_with_instructions(found["device"]) for found in measured})
    made = sorted(
        {_made_with(one["date"], one["device"]["os"], one["versions"]) for one in measured}
    )
    return [
        "## Published students",
        "",
        "Architectures of open_clip and transformers with random weights, saved as checkpoints and",
        f"exported for `cpu`, on {'; '.join(machines)}.",
        "Time, memory, bytes and cosine to the float tower are real with them; recall is not",
        "measured. Text towers: four texts one at a time, one thread, each row a process of its",
        "own; bold is what a bundle ships, and ratios are to it. *library*: the text tower as the",
        "library exports it, always 77 tokens long (SigLIP 2: 64), in ONNX Runtime. MobileCLIP2",
        "and SigLIP 2 were trained to see their padding, and read as many in all rows; texts of",
        "the others are as long as they are in ours. Whole search: `bench --synthetic "
        f"{students.PHOTOS}`.",
        "PSS divides what other processes of the machine map too, RSS does not.",
        "",
        students.table(result),
        "",
        students.verdict(result),
        "Why MobileCLIP2-S0 cannot be within 8 ms on one thread here: its padding",
        '([targets.md](targets.md), "What was tried and left").',
        "",
        *students.default_table(result),
        *made,
        "Re-run: `benchmarks/students.py`.",
        "",
    ]


def _with_instructions(device: dict[str, Any]) -> str:
    return f"{device['cpu']} ({', '.join(device['instruction_sets'])})"


def _kernels() -> list[str]:
    """One bundle with and without VNNI, once it has been measured."""
    import kernels

    if not kernels.RESULT.is_file():
        return []
    result = json.loads(kernels.RESULT.read_text("utf-8"))
    return [
        "## Processors with and without VNNI",
        "",
        f"One `cpu` bundle of the default student on {result['device']['cpu']} "
        f"({', '.join(result['device']['instruction_sets'])}),",
        "and with instruction sets hidden from it: the kernels are those that such a processor",
        "gets, the speed is this one's. Bold: what the engine takes there; `index` takes the",
        "fastest way that is right where the fast 8-bit kernels are wrong. One thread; ways are",
        "timed in turn, in one process.",
        "",
        kernels.as_markdown(result),
        "",
        _made_with(result["date"], result["device"]["os"], result["versions"]),
        "Re-run: `benchmarks/kernels.py`.",
        "",
    ]


def _million() -> list[str]:
    """A whole search among a million photos, once it has been measured."""
    import million

    if not million.RESULT.is_file():
        return []
    result = json.loads(million.RESULT.read_text("utf-8"))
    waited = [share for share in result["waited_share"] if share is not None]
    return [
        "## A whole search among a million photos",
        "",
        f"The text tower and the index in one process, one thread on {result['device']['cpu']}; "
        f"{result['runs']} runs,",
        f"medians; scanned by {result.get('scan', 'numpy')}. The process waited for a core up to "
        f"{max(waited, default=0):.0%} of the time.",
        "",
        million.table(result),
        "",
        _made_with(result["date"], result["device"]["os"], result["versions"]),
        "Re-run: `benchmarks/million.py`.",
        "",
    ]


def _indexing() -> list[str]:
    """Photos a second, once they have been measured."""
    import indexing_told

    result = indexing_told.stored()
    return indexing_told.told(result) if result else []


def _android_app() -> list[str]:
    """The app's logic with many photos, and its package, once they have been measured."""
    import android_app

    if not android_app.RESULTS.is_file():
        return []
    result = json.loads(android_app.RESULTS.read_text("utf-8"))
    load = result["machine"]["load"]
    return [
        "## The app with many photos",
        "",
        "Through `PhotoSearch`, on a JVM, on one core of "
        f"{result['machine']['cpu']}, with the default",
        "student's bundle and random embeddings. Medians of "
        f"{result['setup']['starts']} processes that were started anew,",
        "the JVM's own start left out; searches among some photos alternate with searches among",
        f"all in one process. The load average was {load[0]:.1f} before and {load[1]:.1f} after. A "
        "server's JVM, not a",
        "phone. Re-run: `python -m benchmarks.android_app`.",
        "",
        android_app.table(result),
        "",
    ]


def _scan() -> list[str]:
    """Scan and re-score of two commits."""
    from benchmarks import scan

    if not scan.RESULT.is_file():
        return []
    result = json.loads(scan.RESULT.read_text("utf-8"))
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
        scan.table(result["rows"]),
        "",
        "![ms a search by number of photos](scan.png)",
        "",
        f"{result['date']}. Re-run: `python -m benchmarks.scan`.",
        "",
    ]


def _filters() -> list[str]:
    """Searches among the photos of a folder or a time."""
    from benchmarks import filters

    if not filters.RESULT.is_file():
        return []
    result = json.loads(filters.RESULT.read_text("utf-8"))
    load = result["load_average"]
    return [
        "## Among the photos of a folder or a time",
        "",
        f"Scan and re-score with and without a filter, {result['queries']} real text queries, each",
        f"filter in turn, one thread on {result['machine']['cpu']} (load {load[0]:.1f} to "
        f"{load[1]:.1f}). First: the",
        "search that looks for the rows that pass; those after it know them. Recall@10 is against",
        "exact float32 search among the photos that pass.",
        "",
        filters.table(result),
        "",
        f"{result['date']}. Re-run: `python -m benchmarks.filters`.",
        "",
    ]


def _index_students() -> list[str]:
    """What an index chooses for other students' vectors."""
    import contextlib
    import io

    from benchmarks import index_codes

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


def _java_index() -> list[str]:
    """The Java engine's search, once it has been measured on a machine that does nothing else."""
    import java_index

    if not java_index.RESULTS.is_file():
        return []
    result = json.loads(java_index.RESULTS.read_text("utf-8"))
    setup = result["setup"]
    java, limit = result["java"], setup["limit_ms"]
    return [
        "## The same index, searched by Java",
        "",
        f"{setup['photos']:,} photos of {setup['dim']} dimensions, blended from "
        f"{setup['blended_from']:,} real ones, {setup['queries']} real text queries;",
        f"one thread on {result['machine']['cpu']}. The goal is",
        f"{limit} ms for scan and re-score in {setup['heap_limit_mib']} MB of heap. At the median "
        f"it is {'met' if java['total']['p50'] <= limit else 'missed'}, at p99",
        f"{'met' if java['total']['p99'] <= limit else 'missed'}. PSS is of the whole JVM, its "
        "code and the mapped codes included. A server's JVM, not a phone.",
        "",
        java_index.table(result),
        "",
        _made_with(result["date"], result["machine"]["cpu"], result["versions"]),
        "",
    ]


def _serve() -> list[str]:
    """The page of `mcad-mobile serve`, once it has been measured."""
    import serve

    if not serve.RESULT.is_file():
        return []
    result = json.loads(serve.RESULT.read_text("utf-8"))
    return [
        "## The page of `serve`",
        "",
        *serve.paragraph(result),
        "",
        serve.table(result),
        "",
        _made_with(result["date"], result["device"]["os"], result["versions"]),
        "Re-run: `benchmarks/serve.py`.",
        "",
    ]


def _made_with(date: str, machine: str, versions: dict[str, str]) -> str:
    return f"{date}, {machine}; " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "."


def chips_page() -> str:
    chips = [target for target in all_targets() if target.family != "cpu"]
    families = dict.fromkeys(target.family for target in chips)
    parts = [
        "# Chips",
        "",
        "Made from `mcad_mobile/targets/socs.toml` by `make docs`; a test keeps it true.",
        "`--target` takes an id, a model or a name, however it is written, or a family: `cpu`, "
        + ", ".join(f"`{family}`" for family in families)
        + ".",
        "What is proved of each: [targets.md](targets.md).",
        "",
    ]
    for family in families:
        of_family = [target for target in chips if target.family == family]
        parts += [f"## {of_family[0].vendor}", "", "| id | model | names | NPU | VTCM, MiB |"]
        parts += ["|---|---|---|---|---|"]
        for target in of_family:
            names = ", ".join(target.names)
            vtcm = target.vtcm_mb or ""
            parts.append(f"| `{target.id}` | {target.chip} | {names} | {target.npu} | {vtcm} |")
        parts.append("")
    return "\n".join(parts)


def targets_page() -> str:
    """The page as it is, with its made sections made again."""
    page = (ROOT / "docs" / "targets.md").read_text("utf-8")
    page = _with_section(page, "export_matrix", _export_matrix())
    page = _with_section(page, "quantization", _quantization())
    return _with_section(page, "snapdragon_chips", _snapdragon_chips())


def readme_page() -> str:
    import readme_table

    page = (ROOT / "README.md").read_text("utf-8")
    return _with_section(page, "peers", readme_table.lines())


def _with_section(page: str, name: str, lines: list[str]) -> str:
    """What stands between the two comments of this name is replaced."""
    begin, end = (f"<!-- {name}: {what} -->" for what in ("made by `make docs`", "end"))
    before, rest = page.split(begin)
    return "\n".join([f"{before}{begin}", *lines, f"{end}{rest.split(end)[1]}"])


def _quantization() -> list[str]:
    import quantization

    if not quantization.RESULT.is_file():
        return []
    return ["", *quantization.told(json.loads(quantization.RESULT.read_text("utf-8"))), ""]


def _snapdragon_chips() -> list[str]:
    import snapdragon_chips

    if not snapdragon_chips.RESULT.is_file():
        return []
    result = json.loads(snapdragon_chips.RESULT.read_text("utf-8"))
    return [
        "",
        *snapdragon_chips.verdict(result),
        "",
        _made_with(result["date"], result["device"]["cpu"], result["versions"]),
        "Re-run: `benchmarks/snapdragon_chips.py`.",
        "",
    ]


def _export_matrix() -> list[str]:
    import export_matrix

    results = export_matrix.stored()
    return export_matrix.told(results) if results else []


def scale_page() -> str:
    """The page as it is, with what was measured."""
    from sentences.scale import rates_table

    page = (ROOT / "docs" / "scale.md").read_text("utf-8")
    return _with_section(
        page, "rates", rates_table(json.loads((RESULTS / "embed_scale.json").read_text("utf-8")))
    )


PAGES: dict[Path, Callable[[], str]] = {
    ROOT / "README.md": readme_page,
    ROOT / "docs" / "cli.md": cli_page,
    ROOT / "docs" / "benchmarks.md": benchmarks_page,
    ROOT / "docs" / "chips.md": chips_page,
    ROOT / "docs" / "targets.md": targets_page,
    ROOT / "docs" / "scale.md": scale_page,
}


if __name__ == "__main__":
    import check_figures
    from sentences import sentences

    for page, render in PAGES.items():
        page.write_text(render(), "utf-8")
    check_figures.renew(sentences())
