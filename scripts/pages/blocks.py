"""Generated blocks in hand-written pages, each between two comments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import export_matrix, main_job, onnx_students, recall
from benchmarks.main_job import processor_of
from mcad_mobile.base.licences import find_licence
from mcad_mobile.students.weights_licences import published_weights
from scripts.pages.models import models_table, refused_table
from scripts.pages.results import ROOT, footer, made_with, stored, when

_CLIP = "CLIP ViT-B/32"
_TOWERS = (
    (_CLIP, "onnx", "fp32", f"{_CLIP}, fp32, 77 tokens, ONNX Runtime"),
    (f"{_CLIP}, our export", "onnx", "int8", f"{_CLIP}, exported by mcad-mobile in 8 bits"),
    ("ours", "onnx", "int8", "**our student, 8 bits**"),
)
_INDEXES = (
    ("numpy", "numpy, float32"),
    ("sqlite_vec", "sqlite-vec, float32"),
    ("faiss_hnsw", "faiss HNSW, M 16, efConstruction 40"),
    ("ours", "**mcad-mobile**"),
)


def page(name: str) -> str:
    """Return a page in BLOCKS with new lines between the two comments of each block's name."""
    text = (ROOT / name).read_text("utf-8")
    for block, lines in BLOCKS[name]().items():
        begin, end = f"<!-- {block}: made by `make docs` -->", f"<!-- {block}: end -->"
        before, rest = text.split(begin)
        text = "\n".join([f"{before}{begin}", *lines, f"{end}{rest.split(end)[1]}"])
    return text


def readme() -> dict[str, list[str]]:
    english, japanese = main_job.stored()[-1]["searches"]
    return {
        "search": search_block(english, "build/demo/snapdragon -k 3"),
        "other_language": search_block(japanese, "build/demo/multilingual -k 1"),
        "peers": peers_table(),
    }


def search_block(search: dict[str, Any], arguments: str) -> list[str]:
    """Return a search among the demo's photos, as a terminal shows it."""
    command = f'$ mcad-mobile search "{search["query"]}" --bundle {arguments}'
    hits = [f"{hit['score']:.3f}  .../photos/{hit['photo']}" for hit in search["results"]]
    return ["", *(f"    {line}" for line in (command, *hits)), ""]


def decisions() -> list[str]:
    """Return the list of decision records, by the titles of their pages."""
    records = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    titles = {path.name: path.read_text("utf-8").partition("\n")[0] for path in records}
    lines = [f"- [{t[6:].replace(':', '.', 1)}]({name})" for name, t in titles.items()]
    return ["", *lines, ""]


def onnx_students_table() -> list[str]:
    found = stored("onnx_students")
    machine = processor_of(found[0]["device"])
    return ["", *onnx_students.table(found), "", made_with(found, machine), ""]


def student_card(results: str) -> dict[str, list[str]]:
    """Return the tables of a model card from stored results of benchmarks.recall."""
    result = stored(results)
    of_classifiers = result["classifiers"]["words"] if "classifiers" in result else None
    tables = {
        "captions": recall.whole_table(result),
        "things": recall.widths_table(result),
        "groups": recall.groups_table(result),
        "words": recall.words_table(result["words"], of_classifiers),
        "caption_words": recall.words_table(result["caption_words"]),
        "coco": recall.coco_table(result),
        "measured": footer(result),
    }
    return {name: ["", table, ""] for name, table in tables.items()}


def licences_table() -> list[str]:
    """Return a table of published weights, their licences, and what these do not allow."""
    lines = ["", "| weights | licence | what keeps an app from shipping them |", "|---|---|---|"]
    for entry in published_weights():
        limit = find_licence(entry.licence).limit
        lines.append(f"| {entry.family} | [{entry.licence}]({entry.page}) | {limit} |")
    return [*lines, ""]


def peers_table() -> list[str]:
    """Return README's table: a query, a photo and a search of a million photos, ours and peers'."""
    folder = f"index/{1_000_000}"
    cpu = stored(f"{folder}/ours")["machine"]["cpu"]
    # All rows are from one processor.
    peers = next(result for result in stored("peers") if result["device"]["cpu"] == cpu)
    lines = [
        "| task | system | ms | MiB in all | MiB added | recall@10 | bytes per photo |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for tower, job in (("text", "embed a query"), ("image", "embed a photo")):
        for number, (model, runtime, precision, name) in enumerate(_TOWERS):
            wanted = {"model": model, "tower": tower, "runtime": runtime, "precision": precision}
            row = next(row for row in peers["rows"] if wanted.items() <= row.items())
            costs = f"{row['p50']:.2f} | {row['peak_pss_mib']:.0f}"
            lines.append(f"| {'' if number else job} | {name} | {costs} | | | |")
    indexes = [stored(f"{folder}/{engine}") for engine, _ in _INDEXES]
    for number, (index, (_, name)) in enumerate(zip(indexes, _INDEXES, strict=True)):
        row = index["row"]
        memory = row["library_pss_mib"] + row["searched_pss_mib"]
        job = "" if number else "find the ten nearest of a million photos"
        name += f", {row['setting']}" if row["setting"] else ""
        lines.append(
            f"| {job} | {name} | {row['p50_ms']:.2f} | | {memory:.0f} "
            f"| {row['recall_at_10']:.3f} | {row['bytes_per_photo']:,.0f} |"
        )
    return [
        "",
        *lines,
        "",
        "One thread of a server. ms: the median, of the tower alone, without tokenizing the query "
        "or decoding the photo. MiB in all: peak PSS of the process that runs the tower. MiB "
        "added: the PSS that the library, opening the index and the searches of the run add.",
        "",
        f"Measured {when([peers, *indexes])}, on {cpu}. [Versions](docs/benchmarks.md).",
        "",
    ]


def matrix_table() -> list[str]:
    """Return the table of students by chip."""
    found = export_matrix.stored()
    machines = " and ".join(sorted({processor_of(result["device"]) for result in found}))
    return [*export_matrix.as_markdown(found), made_with(found, machines), ""]


def qualcomm_table() -> list[str]:
    """Return a table of SigLIP 2 as Qualcomm publishes it and as `export` makes it, same chips."""
    theirs = stored("qualcomm_siglip2")
    ours = stored("export_matrix/SigLIP-2-transformers")
    lines = ["", "| | Qualcomm's | ours |", "|---|---|---|"]
    lines.append(f"| weights | {theirs['checkpoint']} | the same architecture, random |")
    table = ours["token_table_bytes"] / 1e6
    for tower in ("image", "text"):
        rungs = [ours["targets"][chip]["towers"][tower] for chip in ("SM8650", "SM8750", "SM8850")]
        first = rungs[0]
        more = "" if tower == "image" else f", and {table:.0f} of token table on the host"
        lines += [
            f"| {tower} tower | {theirs['precision']}, {theirs['mb'][tower]} MB "
            f"| {first['precision']}, {first['bytes'] / 1e6:.1f} MB{more} |",
            f"| its nodes on the NPU | {theirs['nodes'][tower]} "
            f"| {first['npu_nodes']}/{first['total_nodes']} |",
            "| its worst cosine to float | not published "
            f"| {first['cosine_min']:.4f}, in the simulator |",
        ]
        times = [f"{ms[tower]:.1f} on {phone}" for phone, ms in theirs["ms"].items()]
        lines.append(f"| its ms | {', '.join(times)} | never on a phone |")
    lines += ["", f"[Theirs]({theirs['source']}): {theirs['runtime']}, read {theirs['read']}."]
    return [*lines, f"Our export. {made_with([ours], processor_of(ours['device']))}", ""]


def play_table() -> list[str]:
    """Return the table of what phones download from Google Play."""
    result = stored("play")
    lines = [
        "",
        f"| a phone with | downloads, of {result['student']}'s app | MB |",
        "|---|---|---:|",
    ]
    for name, phone in result["phones"].items():
        gets = "the NPU's files of its chip" if phone["groups"] else "no NPU's files"
        if phone["chip"] is None:
            name, gets = "", f"for comparison: those of {', '.join(result['chips'])}"
        lines.append(f"| {name} | {gets} | {phone['mb']:.1f} |")
    lines += ["", f"Without Qualcomm's libraries, which we could not fetch. {footer(result)}", ""]
    return lines


BLOCKS: dict[str, Callable[[], dict[str, list[str]]]] = {
    "README.md": readme,
    "docs/adr/README.md": lambda: {"records": decisions()},
    "docs/for-app-developers.md": lambda: {"play": play_table()},
    "docs/for-model-people.md": lambda: {"licences": licences_table()},
    "docs/models.md": lambda: {
        "models": models_table(export_matrix.stored()),
        "refused": refused_table(),
    },
    "docs/python.md": lambda: {"onnx_students": onnx_students_table()},
    "docs/targets.md": lambda: {"export_matrix": matrix_table(), "qualcomm": qualcomm_table()},
    "models/mcad-s/README.md": lambda: student_card("recall"),
    "models/mcad-o/README.md": lambda: student_card("recall_mcad-o"),
}
