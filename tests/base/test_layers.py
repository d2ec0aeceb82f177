"""What import-linter's contracts in pyproject.toml do not say: no module imports itself, by
however many others."""

from __future__ import annotations

import grimp


def test_no_imports_run_in_a_circle():
    graph = grimp.build_graph("mcad_mobile", cache_dir=None)
    remaining = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    while leaves := {name for name, imported in remaining.items() if not imported & set(remaining)}:
        for name in leaves:
            del remaining[name]
    assert not remaining, f"these modules import each other in a circle: {sorted(remaining)}"
