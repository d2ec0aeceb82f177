"""Check what `mcad-mobile export --json` printed: exit with 1 and name each fault.

    python scripts/check_export.py export.json --min-cosine 0.98 --max-recall-drop 1

A fault is an operator off the NPU (LiteRT: refused by the list of the chip's compiler, or not
compiled by it), a cosine or recall under its limit, or a missing recall that has a limit. On
GitHub, a table of the towers is added to the job's summary.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

HEAD = "| target | tower | runs as | operators | cosine | worst |\n|---|---|---|---|---|---|"
# Where the counted operators are. Only Qualcomm's compiler tells what the NPU runs.
WHERE = {
    "qnn": "on the NPU",
    "neuropilot": "compiled",
    "tpu": "compiled",
    "litert": "accepted by the list of the chip's compiler",
    "onnx": "on the NPU",
}


def faults(document: dict[str, Any], limits: argparse.Namespace) -> list[str]:
    """Return a sentence for each fault of one bundle."""
    target, found = document["target"], []
    for name, tower in document["towers"].items():
        off = tower["total_nodes"] - tower["npu_nodes"]
        if off and not target.startswith("cpu"):
            where, notes = WHERE[tower["runtime"]], " ".join(tower["notes"])
            found.append(f"{target}: {off} operators of the {name} tower are not {where}. {notes}")
        for figure, limit in (
            ("cosine_mean", limits.min_cosine),
            ("cosine_min", limits.min_worst_cosine),
        ):
            if tower[figure] < limit:
                found.append(
                    f"{target}: {figure} of the {name} tower is {tower[figure]:.4f}, under {limit}."
                )
    if limits.min_recall is None and limits.max_recall_drop is None:
        return found
    if "recall" not in document:
        return [*found, f"{target}: recall was not measured: export with --data DIR."]
    exact, exported = (document["recall"][key]["mean_recall"] for key in ("float", "exported"))
    if limits.min_recall is not None and exported < limits.min_recall:
        found.append(f"{target}: mR is {exported:.2f}, under {limits.min_recall}.")
    if limits.max_recall_drop is not None and exact - exported > limits.max_recall_drop:
        found.append(f"{target}: mR fell from {exact:.2f} to {exported:.2f}.")
    return found


def table(documents: list[dict[str, Any]]) -> str:
    rows = [
        f"| {document['target']} | {name} | {tower['runtime']} {tower['precision']} | "
        f"{counted(tower)} | {tower['cosine_mean']:.4f} | {tower['cosine_min']:.4f} |"
        for document in documents
        for name, tower in document["towers"].items()
    ]
    return "\n".join([HEAD, *rows, ""])


def counted(tower: dict[str, Any]) -> str:
    if not tower["npu_nodes"]:
        return "-"
    return f"{tower['npu_nodes']} of {tower['total_nodes']} {WHERE[tower['runtime']]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--min-cosine", type=float, default=0.98, help="mean, to the float student")
    parser.add_argument("--min-worst-cosine", type=float, default=0.9)
    parser.add_argument("--min-recall", type=float, help="mR of the files, in percent")
    parser.add_argument("--max-recall-drop", type=float, help="points of mR")
    limits = parser.parse_args()
    read = json.loads(limits.file.read_text("utf-8"))
    documents = read if isinstance(read, list) else [read]
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(table(documents))
    print(table(documents))
    sys.exit("\n".join(fault for found in documents for fault in faults(found, limits)) or 0)


if __name__ == "__main__":
    main()
