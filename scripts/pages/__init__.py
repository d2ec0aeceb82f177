"""Pages that are made from something else: each a function that gives its text."""

import sys
from pathlib import Path

# Benchmarks tell their own results; some of them are modules of a package, some stand alone.
_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "benchmarks")]
