"""Generated pages: each module has a function that returns the text of a page."""

import sys
from pathlib import Path

# Benchmarks format their own results. Some are modules of a package, some are scripts.
_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "benchmarks")]
