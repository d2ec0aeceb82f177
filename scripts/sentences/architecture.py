"""Figures in docs/architecture.md."""

from __future__ import annotations

from figures import Sentence, given, stored

from sentences.results import TARGET, TOKEN_TABLE, Results


def architecture(read: Results) -> list[Sentence]:
    clip, gemma = (
        read("tokenizers")["tokenizers"][name] for name in ("CLIP", "as large as Gemma's")
    )
    largest = next(row for row in read("scan")["rows"] if row["photos"] == 1_000_000)
    exact_kernels, fast_kernels = read("kernels")["rows"][0]["image"][:2]
    process = read("search_process")["medians"]
    lean, command = process["lean search"], process["mcad-mobile search"]
    exports = read("processors")["exports"]
    by_runtime = {
        row["runtime"]: row["p50"]
        for row in read.on("AMD EPYC", "peers")["rows"]
        if (row["model"], row["tower"], row["precision"]) == ("ours", "image", "int8")
    }
    ways = read("tower_memory")["ways"]
    by_arithmetic = read("distill_arithmetic")["mean_recall"]
    thousand = next(row for row in read("no_match")["rows"] if row["photos"] == 1000)
    return [
        given("embeddings of N photos, 305 bytes and a path each", "docs/index-format.md"),
        stored(
            "has {:.1f} MB on Snapdragon without it, plus {:.1f} for the table",
            read.on("AMD EPYC", "main_job")["towers"]["text"]["bytes"] / 1e6,
            TOKEN_TABLE / 1e6,
        ),
        stored(
            "that is {:.1f} MiB in place of {:.1f} to {:.1f} with",
            clip["ours"]["pss_mib"],
            clip["tokenizers, trimmed"]["pss_mib"],
            clip["tokenizers"]["pss_mib"],
        ),
        stored(
            "tokens {:.1f} in place of {:.0f} to {:.0f}",
            gemma["ours"]["pss_mib"],
            gemma["tokenizers, trimmed"]["pss_mib"],
            gemma["tokenizers"]["pss_mib"],
        ),
        stored("opening a million takes {:.1f} ms", largest["after"]["open_ms"]),
        stored(
            "lets through {:.1f} % of what should match nothing, where the score alone, missing as "
            "many, lets through {:.1f} %",
            100 * thousand["captions_false"],
            100 * thousand["captions_false_by_score"],
        ),
        given(
            "Under 0.99 mean cosine is a warning, under 0.95 an error",
            "mcad_mobile/export/validate.py",
        ),
        given("0.999 at worst, whatever the bundle", "mcad_mobile/runtimes/agreement.py"),
        given("by the self-test (0.999 at least)", "mcad_mobile/runtimes/agreement.py"),
        stored(
            "the image tower takes {:.1f} times as long",
            exact_kernels["ms"]["p50"] / fast_kernels["ms"]["p50"],
        ),
        stored(
            "8 bits run {:.1f} times faster by LiteRT on one processor",
            by_runtime["onnx"] / by_runtime["litert"],
        ),
        given("A tower that keeps 0.99 is as it was", "mcad_mobile/export/tower_job.py"),
        stored(
            "stays a part of the process: {:.0f} MiB, whatever the tower",
            ways["its code kept"]["rss_mib"] - ways["as shipped"]["rss_mib"],
        ),
        given("on Android is 1.29, on the JVM 1.17", "mcad_mobile/android/downloads.py"),
        given(
            "Android's tools (99 MB, once), ONNX Runtime (150 MB, once; 52 from a Maven "
            "repository), and for tests the JVM's (165 MB, once)",
            "mcad_mobile/android/downloads.py",
        ),
        stored(
            "{:.1f} MiB of PSS for the lean one ({:.1f} to {:.1f}) and {:.1f} for `mcad-mobile "
            "search`, {:.1f} of private pages in both",
            lean["grown"]["pss"],
            lean["before"]["pss"],
            lean["now"]["pss"],
            command["grown"]["pss"],
            lean["grown"]["private"],
        ),
        given("took more than 1 MiB", "benchmarks/search_process.py"),
        stored(
            "{:.0f} ms more for the lean process and {:.0f} less for the import alone",
            lean["grown"]["cpu_ms"],
            -process["import of the engine"]["grown"]["cpu_ms"],
        ),
        given("no difference of 5 ms either way", TARGET),
        given("and four bytes a photo say which row", "mcad_mobile/index/format.py"),
        given("pages of 16 KB", "tests/android/test_apk.py"),
        given("lie at 16 KB", "tests/android/test_apk.py"),
        stored("image tower: cosine {:.7f} at least", exports["16 threads"]["cosine_min"]),
        stored(
            "8-bit image tower: {:.4f} at least", exports["1 thread, AVX2 kernels"]["cosine_min"]
        ),
        given("over 5 % of the time, `bench` calls", "mcad_mobile/bench/report/rows.py"),
        given("over 0.5 ms or 2 MiB", "mcad_mobile/bench/report/regressions.py"),
        stored(
            "{:.2f} by grids in float32 and {:.2f} by grids in bfloat16",
            by_arithmetic["fp32"],
            by_arithmetic["bf16"],
        ),
    ]
