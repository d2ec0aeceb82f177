"""How a search for precisions and recalls of rungs are told as tables, wherever they are shown."""

from __future__ import annotations

from mcad_mobile.base.files import megabytes
from mcad_mobile.export.export_report import (
    DataFacts,
    PairRecall,
    PrecisionRecord,
    RecallRecord,
    Recalls,
    SingleTowerRecord,
    StepRecord,
    alone_rows,
    matrix_head,
    matrix_rows,
    pair_rows,
)
from mcad_mobile.recall import RecallAt

DATA = DataFacts("photos", "val", 120, 600, "0" * 64)


def test_sizes_are_millions_of_bytes():
    assert [megabytes(count) for count in (0, 49_000, 1_050_001, 2**20 * 10)] == [
        "0.0",
        "0.0",
        "1.1",
        "10.5",
    ]


def test_pairs_show_the_last_few_smaller_and_all_larger_ones():
    within = [*[False] * 8, True, False, True]
    steps = tuple(
        StepRecord(f"image {n}", "int8", (n + 1) * 10**6, 55.0, 1.0, 0.25, passed)
        for n, passed in enumerate(within)
    )
    alone = (SingleTowerRecord("image", "int8", 4_950_001, 0.125, 0.5),)
    record = PrecisionRecord(DATA, "the files", 0.5, 56.0, (), alone, steps, 300, "Because.")
    rows = pair_rows(record)
    assert [row[0] for row in rows] == [f"image {n}" for n in range(3, 11)]
    assert [row[-1] for row in rows] == [*["over"] * 5, "chosen", "over", "within"]
    assert rows[0] == ("image 3", "int8", "4.0", "55.00", "1.00 ± 0.25", "over")
    assert alone_rows(record) == [("image", "int8", "5.0", "0.12 ± 0.50")]


def test_each_rung_that_embeds_photos_has_a_row_and_each_that_embeds_texts_a_column():
    recalls = Recalls(RecallAt(20, 40, 60), RecallAt(30, 50, 70), 45.0)
    pairs = tuple(
        PairRecall(image, text, 40 + number, number / 4, 0.5)
        for number, (image, text) in enumerate(
            [
                ("float", "float"),
                ("float", "onnx int8"),
                ("litert", "float"),
                ("litert", "onnx int8"),
            ]
        )
    )
    record = RecallRecord("litert", "onnx int8", DATA, recalls, recalls, 0.5, 0.5, pairs)
    assert matrix_head(record) == ("Photos by", "texts by float", "texts by onnx int8")
    assert matrix_rows(record) == [
        ("float", "40.00 (0.00 ± 0.50)", "41.00 (0.25 ± 0.50)"),
        ("litert", "42.00 (0.50 ± 0.50)", "43.00 (0.75 ± 0.50)"),
    ]
