"""What `export --precision auto` chooses for NPUs, and what each way to write a tower costs there.

    python benchmarks/smallest.py --data flickr8k snapdragon    # writes results/smallest.json

Half a point of mR may be lost, on split val. Recall of a Snapdragon's towers is judged by ONNX
Runtime on the graph that is compiled, that of a Dimensity's by LiteRT: on this processor, and
on no NPU. No time is taken. Of chips that are not named, what is stored stays. A Dimensity's search
takes long: LiteRT's own kernels for 16-bit activations are slow. `w8a8`, `w8a16`: what
both of a Dimensity's towers lose by that, on split test; the second takes half an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.sizes import megabytes
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "smallest.json"
TOOLS = ("torch", "onnx", "onnxruntime", "onnxruntime-qnn", "ai-edge-quantizer", "numpy")
CHIPS = ("snapdragon", "dimensity")
GIVEN = ("w8a8", "w8a16")
BUDGET = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    named = (*CHIPS, *GIVEN)
    parser.add_argument("chips", nargs="*", default=named, help=", ".join(named))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/smallest"), help="for bundles")
    given = parser.parse_args()
    stored = json.loads(RESULT.read_text("utf-8"))
    found = {one["chip"]: one for one in stored["chips"]}
    by_name = {name: stored[name] for name in GIVEN if name in stored}
    for name in given.chips:
        chip, precision = ("dimensity", name) if name in GIVEN else (name, "auto")
        out = given.work / name
        if not out.exists():
            command = [sys.executable, "-m", "mcad_mobile", "export", "--target", chip]
            command += ["--precision", precision, "--max-recall-drop", BUDGET]
            command += ["--data", given.data, "--out", out]
            subprocess.run([*map(str, command)], check=True, timeout=7200)
        bundle = Bundle.load(out)
        one = {
            "chip": bundle.target.chip,
            "date": time.strftime("%Y-%m-%d"),
            "device": device_facts(),
            "versions": tool_versions(TOOLS),
            "test": on_test(bundle),
        }
        if bundle.precision is None:
            size = sum(bundle.tower(tower).rungs[0].bytes for tower in TOWERS)
            by_name[name] = {**one, "bytes": size}
        else:
            found[one["chip"]] = {**one, "precision": bundle.precision.to_json()}
    chips = [*found.values()]
    result = {"student": "mcad-s", "data": "Flickr8k, val", "chips": chips, **by_name}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print("\n".join(told(result)))


def told(result: dict[str, Any]) -> list[str]:
    """Lines of Markdown, for docs/targets.md."""
    lines = []
    for one in result["chips"]:
        found = one["precision"]
        lines += [
            f"**{one['chip']}**, judged by {found['judged_by']}:",
            "",
            *alone_told(found),
            "",
            *why_told(found),
            *_test_told(one),
            "",
            _made(one),
            "",
        ]
    return [*lines, *_given_told(result), "Re-run: `benchmarks/smallest.py`."]


def _given_told(result: dict[str, Any]) -> list[str]:
    lines = []
    for name in GIVEN:
        if name in result:
            one = result[name]
            lost = one["test"]
            lines += [
                f"**{one['chip']}, {name}** of both towers, ranges by min-max: "
                f"{megabytes(one['bytes'])} MB, and on split test mR falls by {lost['drop']:.2f} "
                f"± {lost['margin']:.2f} points.",
                "",
                _made(one),
                "",
            ]
    return lines


def on_test(bundle: Bundle) -> dict[str, Any] | None:
    """What the first rungs lose on split test, where this machine runs them."""
    from mcad_mobile.export.rung_recalls import called

    assert bundle.recall is not None
    first = tuple(called(bundle.tower(name).rungs[0]) for name in TOWERS)
    for pair in bundle.recall.pairs:
        if (pair.image, pair.text) == first:
            return {"drop": pair.drop, "margin": pair.margin}
    return None


def _test_told(one: dict[str, Any]) -> list[str]:
    lost = one["test"]
    if lost is None:
        return []
    return ["", f"On split test, that chose nothing, {lost['drop']:.2f} ± {lost['margin']:.2f}."]


def _made(one: dict[str, Any]) -> str:
    """When and by what a chip's row was made."""
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    return f"{one['date']}, {one['device']['cpu']}; {versions}."


def alone_told(found: dict[str, Any]) -> list[str]:
    """What each candidate of a search loses beside the other tower in float."""
    rows = [
        f"| {one['tower']} | {one['precision']} | {megabytes(one['bytes'])} | "
        f"{one['drop']:.2f} ± {one['margin']:.2f} |"
        for one in found["alone"]
    ]
    return ["| tower | precision | MB | drop alone |", "|---|---|---:|---:|", *rows]


def within_told(found: dict[str, Any]) -> list[str]:
    """The pairs that a search found within its budget."""
    rows = [
        f"| {step['image']} | {step['text']} | {megabytes(step['bytes'])} | "
        f"{step['mean_recall']:.2f} | {step['drop']:.2f} ± {step['margin']:.2f} |"
        for step in found["steps"]
        if step["within"]
    ]
    return ["| image | text | MB | mR | drop |", "|---|---|---:|---:|---:|", *rows]


def why_told(found: dict[str, Any]) -> list[str]:
    """Why a search chose what it chose."""
    return [
        f"{found['why']} A drop of {found['max_recall_drop']:g} points is told from none by "
        f"{found['photos_to_tell']:,} photos."
    ]


if __name__ == "__main__":
    main()
