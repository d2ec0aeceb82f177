"""Which sentences of hand-written pages hold which figures, and where these come from.

`stored`: a place for each figure, and its value from benchmarks/results (or from a file that
ships). `make docs` writes them into the pages. `given`: what no result can hold, with the file that
defines or asserts it, or the address that published it. How pages are read: figures.py.
"""

from __future__ import annotations

from figures import Sentence, given

from sentences.architecture import architecture
from sentences.method import method
from sentences.readme import readme
from sentences.results import TARGET, Results
from sentences.scale import scale
from sentences.students import model_card, targets
from sentences.tried import tried


def sentences(read: Results | None = None) -> dict[str, list[Sentence]]:
    """Sentences by page, from the results that are stored unless others are given."""
    read = read or Results()
    return {
        "README.md": readme(read),
        "docs/architecture.md": architecture(read),
        "docs/bench.md": [
            given("is under 0.999 is skipped", "mcad_mobile/runtimes/agreement.py"),
            given("at least 15 seconds to cool down", "mcad_mobile/bench/devices/adb.py"),
            given("at most 15 % slower than the fastest", "mcad_mobile/bench/repeats.py"),
            given("`memory` (100 MiB) and `search` (8 ms)", TARGET),
            given("more than 5 % of the time", "mcad_mobile/bench/report/rows.py"),
            given("by more than 0.5 ms or 2 MiB", "mcad_mobile/bench/report/regressions.py"),
        ],
        "docs/data.md": [
            given("or 20 seconds, whichever comes first", "mcad_mobile/sync.py"),
            given("## A recipe", "mcad_mobile/distill/recipe.py"),
        ],
        "docs/index-format.md": [
            given("takes a scale 3 % larger", "mcad_mobile/index/codes.py"),
            given("## Worked example", "tests/unit/test_index_format.py"),
            given("the step of 0.25, 0.3 ... 0.85 times", "mcad_mobile/index/lens.py"),
            given("is 256 KiB at most for 256 dimensions", "tests/unit/test_index_format.py"),
            given(
                "`factor` is twice what makes 0.997 (and there 0.999) of their ten",
                "mcad_mobile/index/reach.py",
            ),
            given("over 0.4 of the dimensions have a part in it", "mcad_mobile/index/reach.py"),
            given("half a byte of path_blocks make 304.5", "tests/unit/test_index_format.py"),
        ],
        "docs/method.md": method(read),
        "docs/quickstart.md": [
            given("250 MB of tools are fetched", "mcad_mobile/android/downloads.py"),
        ],
        "docs/parts.md": [
            given("than the engine needs (1.17)", "mcad_mobile/android/aar.py"),
            given("linked for pages of 16 KB", "mcad_mobile/android/elf.py"),
        ],
        "docs/scale.md": scale(read),
        "docs/serve.md": [
            given("or HEIC of up to 32 MiB", "mcad_mobile/serve/photos.py"),
            given("Up to 512 MiB of them", "mcad_mobile/serve/thumbnails.py"),
            given("not seen for 60 days", "mcad_mobile/serve/thumbnails.py"),
        ],
        "docs/targets.md": [
            *targets(read),
            *tried(read),
            given("8-bit ones 1.4 times", "mcad_mobile/quantize/headroom.py"),
            given("above 8 ms on a CPU is their padding", TARGET),
            given("and 37.7 million weights by 77 tokens", "mcad_mobile/students/open_clip.py"),
        ],
        "models/mcad-s/README.md": model_card(read),
        "android_demo/README.md": [
            given("(99 % of the sets at least", "tests/android/test_engine_parity.py"),
            given("(cosine 0.99 at worst)", "tests/android/test_engine_parity.py"),
            given(
                "## What has never been executed",
                "https://developer.android.com/develop/background-work/services/fgs/timeout",
            ),
            given("(9.9 of 10 shared on average, at least)", "tests/android/test_engine_parity.py"),
        ],
    }
