"""Files of the package know each other one way."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT

PACKAGE = ROOT / "mcad_mobile"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, known: set[str]) -> set[str]:
    """What a file imports of ours, also inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_two_files_import_each_other() -> None:
    files = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    imports = {name: imported(path, set(files)) for name, path in files.items()}
    assert len(imports) > 150
    pairs = {
        tuple(sorted((name, other)))
        for name, others in imports.items()
        for other in others
        if name in imports[other] and name != other
    }
    assert not pairs
