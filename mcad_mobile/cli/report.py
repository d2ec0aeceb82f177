"""mcad-mobile report"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from mcad_mobile.base.files import as_disk_error, check_file
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.bench.report import html, load_documents, markdown, regressions
from mcad_mobile.bench.report.markdown import labels
from mcad_mobile.bench.report.rows import busy, verdict_rows
from mcad_mobile.cli.options import Json, optional
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BenchError, require

_ENDINGS = (".html", ".md", ".json")


# Options that can make results end in exit code 1.
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline", help="An earlier result. Exit code 1 if time or memory grew too much."
    ),
]
MaxSlowdown = Annotated[
    float, typer.Option("--max-slowdown", min=1.0, help="Largest allowed ratio to the baseline.")
]
FailOnTarget = Annotated[
    bool,
    typer.Option(
        "--fail-on-target", help="Exit code 1 if 8 ms or 100 MiB is exceeded or not measured."
    ),
]


def report(
    *,
    baseline: Baseline = None,
    max_slowdown: MaxSlowdown = 1.2,
    fail_on_target: FailOnTarget = False,
    results: list[Path] = typer.Argument(..., help="Files of `bench --json`."),
    out: Path | None = optional(
        "--out", "-o", help="A page (.html), Markdown (.md) or JSON (.json)."
    ),
    json: Json = False,
) -> None:
    """Show results of `bench`, one or several side by side, and check for regressions.

    \b
      mcad-mobile report s24.json s25.json --out phones.html
      mcad-mobile report s24.json s24-npu.json --baseline main.json --max-slowdown 1.2
    """
    check_report(out)
    before = read_baseline(baseline)
    documents = load_documents(results)
    if json:
        print_json(documents)
    elif out is None:
        print(markdown(*documents))
    if out is not None:
        write_report(out, documents)
    judge(documents, before, max_slowdown, fail_on_target)


def read_baseline(path: Path | None) -> dict[str, Any] | None:
    """Read the baseline before any work. BenchError: it does not hold one result, or nothing in it
    can be compared."""
    if path is None:
        return None
    documents = load_documents([path])
    if len(documents) != 1:
        raise BenchError(
            f"{path} holds {len(documents)} results; a baseline must hold exactly one.",
            "Give a file with one result.",
        )
    regressions(documents[0], documents[0], 1.0)
    return documents[0]


def judge(
    documents: Sequence[dict[str, Any]],
    before: dict[str, Any] | None,
    max_slowdown: float,
    fail_on_target: bool,
) -> None:
    """Raise BenchError if a result is worse than the baseline, or missed a target."""
    if before is not None:
        _check_baseline(before, documents, max_slowdown)
    if fail_on_target:
        _check_targets(documents)


def check_report(path: Path | None) -> None:
    """Check before any work that a report can be made and written at `path`."""
    if path is None:
        return
    if path.suffix not in _ENDINGS:
        raise typer.BadParameter(f"a report ends in .html, .md or .json, not {path.name!r}")
    if path.suffix == ".html":
        require("jinja2", "report")
    check_file(path)


def write_report(
    path: Path, documents: Sequence[dict[str, Any]], bundle: Bundle | None = None
) -> None:
    """Write HTML, Markdown or JSON, by the suffix of `path`; several results as a JSON list.
    DiskError: `path` cannot be written any more."""
    if path.suffix == ".html":
        text = html(*documents, bundle=bundle)
    elif path.suffix == ".md":
        text = markdown(*documents)
    else:
        text = dumps(documents[0] if len(documents) == 1 else documents, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise as_disk_error(path, error) from error


def _check_baseline(
    before: dict[str, Any], documents: Sequence[dict[str, Any]], max_slowdown: float
) -> None:
    worse = []
    for label, document in zip(labels(documents), documents, strict=True):
        of = f"{label}: " if len(documents) > 1 else ""
        for regression in regressions(before, document, max_slowdown):
            if regression.excuse:
                print(f"Not counted: {of}{regression}", file=sys.stderr)
            else:
                worse.append(f"{of}{regression}")
    if worse:
        remarks = dict.fromkeys(filter(None, map(busy, documents)))
        raise BenchError(
            "\n    ".join([f"More than {max_slowdown:g} times the baseline:", *worse]),
            "Other programs may have used the processor: measure again while the machine is idle. "
            + " ".join(remarks),
        )
    print(f"Nothing is more than {max_slowdown:g} times the baseline.", file=sys.stderr)


def _check_targets(documents: Sequence[dict[str, Any]]) -> None:
    missed = [
        f"{label}: {name} {measured}, limit {limit}"
        for label, document in zip(labels(documents), documents, strict=True)
        for name, limit, measured, verdict in verdict_rows(document)
        if verdict != "pass"
    ]
    if missed:
        remarks = dict.fromkeys(filter(None, map(busy, documents)))
        raise BenchError(
            "\n    ".join(["Over the limits or not measured:", *missed]), " ".join(remarks)
        )
