"""Figures in docs/method.md."""

from __future__ import annotations

import statistics

from figures import Sentence, given, stored

from sentences.results import Results


def method(read: Results) -> list[Sentence]:
    def mean(name: str) -> float:
        return statistics.fmean(read.seeds(name))

    def spread(name: str) -> tuple[float, float]:
        return mean(name), statistics.stdev(read.seeds(name))

    parts = read("distill_arithmetic")["minutes_of_these_parts_in_the_default_recipe"]
    recipe = read("distill_recipe")["rows"][0]
    extra, far = read.seeds("mcad-extra"), read("distill_ablation/mcad-classifier-far-0")
    tried = {row["name"]: row for row in read("single_stream/seed-2")["rows"]}
    closer = tried["vectors-finer"]["mean_recall"]
    closer_again = next(
        row for row in read("single_stream/seed-1")["rows"] if row["name"] == "word-region-finer"
    )
    doubtful = [row["shipped"]["names_missed"] for row in read("no_match")["rows"]]
    return [
        stored(
            "MCAD is worth {:.1f} points of mR over contrastive training, which reads the same "
            "pairs with the same network, and {:.1f} with unpaired data",
            mean("mcad") - mean("contrastive"),
            mean("mcad-extra") - mean("contrastive"),
        ),
        given("the other rows, 0.03, they repeat", "mcad_mobile/distill/recipe.py"),
        given("0.1 is the only other temperature", "benchmarks/distill_rows.py"),
        given("At 0.1 it gains", "benchmarks/distill_rows.py"),
        stored(
            "it gains {:.1f} points ({:.1f} ± {:.1f} over three seeds)",
            mean("single") - mean("contrastive"),
            *spread("single"),
        ),
        stored("candidates alone ({:.1f}, one seed)", read.mean_recall("single-order-0")),
        stored(
            "give {:.1f} points together ({:.1f} ± {:.1f} against {:.1f} ± {:.1f} over "
            "three seeds)",
            mean("mcad-extra") - mean("mcad"),
            *spread("mcad-extra"),
            *spread("mcad"),
        ),
        stored(
            "one seed: {:.1f} with photos, {:.1f} with captions, {:.1f} with neither",
            read.mean_recall("mcad-photos-0"),
            read.mean_recall("mcad-captions-0"),
            read.mean_recall("mcad-0"),
        ),
        stored(
            "Over three seeds, today's recipe without it gives an mR of {:.1f} ± {:.1f}, for "
            "{:.1f} ± {:.1f} with it, and the right name for {:.1f} of a hundred photos, for "
            "{:.1f}, and the right photo for {:.1f} of a hundred names, for {:.1f}",
            *spread("no-classifier"),
            *spread("mcad-classifier"),
            *(
                statistics.fmean(read.things(name, way))
                for way in ("image_to_text", "text_to_image")
                for name in ("no-classifier", "mcad-classifier")
            ),
        ),
        stored(
            "where the dual-stream teachers have an mR of {:.1f} and the recipe's single-stream "
            "one {:.1f}. All start from those. A vector for each word and photo, trained on hard "
            "negatives, has {:.1f}",
            tried["dual"]["mean_recall"],
            tried["word-region"]["mean_recall"],
            tried["vectors"]["mean_recall"],
        ),
        given("shown the photo at 320 pixels instead of 224", "benchmarks/pair_data.py"),
        stored(
            "have {:.1f} as the mean of both sizes; word-region attention over both grids has "
            "{:.1f}, and with such vectors {:.1f}: {:.1f} points more than the dual-stream "
            "teachers",
            tried["dual-finer"]["mean_recall"],
            tried["word-region-finer"]["mean_recall"],
            closer,
            closer - tried["dual"]["mean_recall"],
        ),
        stored(
            "whose single-stream teacher looks so close has an mR of {:.2f} with seed 2 ({:.2f} "
            "with the recipe's, {:.2f} without one) and of {:.2f} with seed 1 ({:.2f} and {:.2f})",
            tried["word-region-finer"]["student"]["mean_recall"],
            read.mean_recall("mcad-classifier-2"),
            read.mean_recall("dual-classifier-2"),
            closer_again["student"]["mean_recall"],
            read.mean_recall("mcad-classifier-1"),
            read.mean_recall("dual-classifier-1"),
        ),
        stored(
            "an mR of {:.1f} ± {:.1f} with it and of {:.1f} ± {:.1f} without, over three seeds: "
            "{:.1f} more",
            *spread("mcad-classifier"),
            *spread("dual-classifier"),
            mean("mcad-classifier") - mean("dual-classifier"),
        ),
        stored(
            "classes not to their photos, gave an mR of {:.1f}, and {:.1f} and {:.1f}",
            far["mean_recall"],
            far["things"]["image_to_text"]["r1"],
            far["things"]["text_to_image"]["r1"],
        ),
        stored(
            "Of the right photos for names, {:.0f} to {:.0f} of a hundred are marked as doubtful",
            100 * min(doubtful),
            100 * max(doubtful),
        ),
        stored(
            "falls from {:.1f} to {:.1f} without it and to {:.1f} with it, and in float it costs "
            "{:.1f} (one seed)",
            read.mean_recall("mcad-extra-0"),
            read.mean_recall("w8a8-0"),
            read.mean_recall("qat-w8a8-0"),
            read.mean_recall("mcad-extra-0") - read.mean_recall("mcad-extra-qat-0"),
        ),
        given("at least 1.2 times as fast", "mcad_mobile/distill/arithmetic.py"),
        stored(
            "took {:.0f} minutes and {:.0f} of processor time in float32, with tests at low "
            "priority beside it, and gave an mR of {:.1f}",
            recipe["minutes"],
            recipe["processor_minutes"],
            recipe["mean_recall"],
        ),
        stored(
            "seed 0 had {:.1f} in the table of [benchmarks.md](benchmarks.md), whose seeds spread "
            "from {:.1f} to {:.1f}",
            extra[0],
            min(extra),
            max(extra),
        ),
        stored(
            "add up to {:.0f} minutes of one thread in float32 and {:.0f} in bfloat16",
            parts["fp32"],
            parts["bf16"],
        ),
    ]
