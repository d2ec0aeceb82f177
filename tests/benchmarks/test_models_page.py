"""The table of models: a row for each of the published weights, and times that compare."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import export_matrix
from benchmarks.random_students import STUDENTS
from scripts.pages.models import PUBLISHED, models_table

X, OLD, Y = "X, AVX VNNI", "X, no VNNI", "Y, AVX VNNI"


def exported(*servers: tuple[str, float]) -> list[dict[str, Any]]:
    """Stored exports whose searches ran on these processors and waited for this share of time."""
    found = [
        json.loads((export_matrix.RESULTS / f"{name}.json").read_text("utf-8"))
        for name in ("MobileCLIP2-S0", "RN50")[: len(servers)]
    ]
    for document, (cpu, waited) in zip(found, servers, strict=True):
        name, _, instructions = cpu.partition(", ")
        document["search"]["device"] |= {"cpu": name, "instruction_sets": [instructions]}
        document["search"]["waited_share"] = waited
        document["search"]["ms"]["total"]["p50"] = 25.0
    return found


@pytest.mark.parametrize(
    ("servers", "times", "said"),
    [
        ([(X, 0.0), (X, 0.01)], ["25.0 A", "25.0 A"], f"Servers: A = {X}; "),
        ([(Y, 0.0), (X, 0.0)], ["25.0 B", "25.0 A"], f"Servers: A = {X}; B = {Y}; "),
        ([(OLD, 0.0), (X, 0.0)], ["25.0 B", "25.0 A"], f"Servers: A = {X}; B = {OLD}; "),
        ([(X, 0.0), (X, 0.06)], ["25.0 A", ""], f"Servers: A = {X}; "),
    ],
)
def test_times_of_servers_that_cannot_be_compared_are_marked(servers, times, said):
    *table, _, note, _ = models_table(exported(*servers))
    assert [row.split(" | ")[6] for row in table if "`open_clip:" in row] == times
    assert note.startswith(said)
    assert ("other work delayed" in note) == ("" in times)


def test_every_student_that_is_exported_with_random_weights_is_published_by_a_name():
    assert {*PUBLISHED} == {*STUDENTS}


def test_every_exported_student_has_its_row():
    table = "\n".join(models_table(export_matrix.stored()))
    assert "open_clip:MobileCLIP2-S0:dfndr2b` | apple-amlr, allows research only |" in table
    assert "`open_clip:ViT-B-32-SigLIP2-256:webli` | Apache-2.0 |" in table
