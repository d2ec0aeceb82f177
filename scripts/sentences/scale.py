"""docs/scale.md: a plan by what benchmarks/embed_scale.py measured and assumes."""

from __future__ import annotations

from typing import Any

from figures import Sentence, given, stored

from sentences.results import Results

_BENCHMARK = "benchmarks/embed_scale.py"


def scale(read: Results) -> list[Sentence]:
    measured = read("embed_scale")
    assumed = measured["assumed"]
    photos, workers = assumed["photos"], assumed["workers"]
    small, large = (_row(measured, megapixels, 1) for megapixels in (1, 12))
    hours = [photos / workers * row["processor_s_a_photo"] / 3600 for row in (small, large)]
    read_tb = [photos * row["bytes_a_photo"] / 1e12 for row in (small, large)]
    shard_tb = photos * measured["shard_bytes_a_photo"] / 1e12
    shards = photos / measured["shard_photos"]
    listed, rows = (
        measured["driver_bytes_a_listed_photo"],
        measured["driver_bytes_a_piece_of_rows"],
    )
    return [
        stored(
            "{:.0f} photos of a megapixel a second, and {:.0f} of a phone's twelve",
            *(1 / row["processor_s_a_photo"] for row in (small, large)),
        ),
        stored(
            "two of them embed {:.1f} and {:.1f} times as many photos a second as one",
            *(
                _row(measured, m, 2)["photos_per_s"] / _row(measured, m, 1)["photos_per_s"]
                for m in (1, 12)
            ),
        ),
        stored("| hours, by 1,000 workers | {:.1f} | {:.1f} |", *hours),
        stored("| core hours | {:,.0f} | {:,.0f} |", *(h * workers for h in hours)),
        stored("| read from the store, TB | {:,.0f} | {:,.0f} |", *read_tb),
        stored(
            "| read while it runs, GB/s | {:.1f} | {:.1f} |",
            *(tb * 1e3 / h / 3600 for tb, h in zip(read_tb, hours, strict=True)),
        ),
        stored(
            "| cores, at {:.2f} USD an hour | {:,.0f} USD | {:,.0f} USD |",
            assumed["usd_a_core_hour"],
            *(h * workers * assumed["usd_a_core_hour"] for h in hours),
        ),
        given("| a billion GETs, at 0.4 USD a million |", _BENCHMARK),
        stored(
            "a billion photos leave {:.2f} TB of shards, {:,.0f} bytes a photo with a key of "
            "{:.0f} bytes: {:.0f} USD a month",
            shard_tb,
            measured["shard_bytes_a_photo"],
            measured["key_bytes"],
            shard_tb * assumed["usd_a_tb_month"],
        ),
        stored("float16 would save {:.1f} TB", photos * measured["dim"] * 2 / 1e12),
        stored(
            "of 10,000 photos is made of shards at {:,.0f} photos a second of one core",
            measured["index_from_photos_per_processor_s"],
        ),
        given("(5 USD, and at a tenth of a second each 28 hours)", _BENCHMARK),
        stored(
            "A listed photo takes {:.0f} bytes of it, so 10 million take {:.1f} GB and a billion "
            "{:.0f}. Rows of Parquet take {:.0f} bytes for 10,000\n   photos, and a billion {:.0f} "
            "MB.",
            listed,
            listed / 100,
            listed,
            rows,
            rows * shards / 1e6,
        ),
        given("12 bytes a photo in memory", "mcad_mobile/embed/job.py"),
        given(
            "(5,500 GETs a second and\n   prefix",
            "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
        ),
        stored(
            "has an entry a shard, {:.0f} bytes: {:.0f} MB for 100,000",
            measured["manifest_bytes_a_shard"],
            measured["manifest_bytes_a_shard"] * shards / 1e6,
        ),
        given("written every half a minute", "mcad_mobile/embed/run.py"),
        given("up to three times as long", "mcad_mobile/embed/guard.py"),
    ]


def rates_table(measured: Any) -> list[str]:
    """The measured rates, as lines of Markdown."""
    lines = [
        f"{measured['processor']}, {measured['date']}; student {measured['student']}, "
        f"{measured['dim']} dimensions.",
        "",
        "| photos | bytes each | workers | photos a second | workers waited for a core | "
        "processor, ms a photo | seconds before the first |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {row['megapixels']} megapixels | {row['bytes_a_photo']:,} | {row['workers']} | "
        f"{row['photos_per_s']} | {row['waited_for_a_core']:.0%} | "
        f"{1e3 * row['processor_s_a_photo']:.1f} | {row['start_s']} |"
        for row in measured["rates"]
    ]


def _row(measured: Any, megapixels: int, workers: int) -> Any:
    return next(
        row
        for row in measured["rates"]
        if (row["megapixels"], row["workers"]) == (megapixels, workers)
    )
