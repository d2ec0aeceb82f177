"""Figures in README.md."""

from __future__ import annotations

import statistics

from figures import Sentence, given, stored

from sentences.results import TARGET, Results


def readme(read: Results) -> list[Sentence]:
    xeon, epyc = (read.on(cpu, "main_job") for cpu in ("Intel", "AMD EPYC"))
    recall = read("recall")["whole"]
    largest = next(row for row in read("scan")["rows"] if row["photos"] == 1_000_000)
    page = read("serve")
    million, without, slow = (
        read.on("AMD EPYC", "million", vnni=True),
        read.on("AMD EPYC", "million", vnni=False),
        read.on("Intel", "million"),
    )
    shown = [run["shown_ms"]["p50"] for run in page["runs"]]
    return [
        given("photos are indexed in 305 bytes and a path each", "docs/index-format.md"),
        stored(
            "{:.1f} ms and {:.0f} MiB on a slow Intel Xeon of two cores (where an export "
            "takes {:.0f} s, and we want 60); {:.2f} ms and {:.0f} MiB on an AMD EPYC",
            xeon["search_p50_ms"]["median"],
            xeon["peak_pss_mib"]["median"],
            xeon["export_snapdragon_s"]["median"],
            epyc["search_p50_ms"]["median"],
            epyc["peak_pss_mib"]["median"],
        ),
        given("The targets are 8 ms and 100 MB", TARGET),
        stored(
            "(mR {:.1f} of {:.1f})",
            recall["cpu"]["mean_recall"],
            recall["float"]["mean_recall"],
        ),
        given("[305 bytes and a path a photo]", "docs/index-format.md"),
        stored("a recall@10 of {:.3f} among a million", largest["after"]["recall_at_10"]),
        stored(
            "of {:,} photos, results are on the screen {:.0f} ms after the last key: the median of "
            "{} runs on the slow Xeon, which gave {:.0f} to {:.0f}, and we want 50",
            page["photos"],
            statistics.median(shown),
            len(shown),
            min(shown),
            max(shown),
        ),
        stored(
            "scan and re-score take {:.2f} of what they took before",
            largest["after"]["p50_ms"] / largest["before"]["p50_ms"],
        ),
        stored(
            "A whole search among a million takes {:.1f} ms and {:.0f} MiB on an AMD EPYC with "
            "VNNI, and one in a hundred over {:.1f} ms; on one without VNNI {:.1f} and {:.1f}, on "
            "an Intel Xeon {:.1f} and {:.1f}",
            million["search_p50_ms"]["median"],
            million["peak_pss_mib"]["median"],
            million["search_p99_ms"]["median"],
            *(
                one[of]["median"]
                for one in (without, slow)
                for of in ("search_p50_ms", "search_p99_ms")
            ),
        ),
    ]
