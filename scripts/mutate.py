"""Small changes to a file, one at a time: mutmut's, but for those that no test should notice."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import create_mutations

# A change to a message's wording, to how long a process may take, or to a check of our own
# invariants (zip's `strict`) is no fault that a test should look for.
WORDS = ("print", "echo", "warn", "progress", "Skipped", "cast")
KEYWORDS = ("timeout", "strict", "check", "stacklevel", "encoding")


@dataclass(frozen=True)
class Mutant:
    """`change` is its line, and what becomes of a part of it; `key` stays the same after an edit
    elsewhere in the file."""

    path: str
    lines: range
    change: str
    key: str
    code: Callable[[], str]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.lines.start}"


def mutants_of(root: Path, path: str) -> Iterator[Mutant]:
    """mutmut's mutants of a file, but for those that change words or nothing, or would crash."""
    code = (root / path).read_text("utf-8")
    lines = code.splitlines()
    module, mutations, *_ = create_mutations(path, code)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    parents = wrapper.resolve(ParentNodeProvider)
    positions = wrapper.resolve(PositionProvider)
    seen: Counter[str] = Counter()
    for mutation in mutations:
        old, new = mutation.original_node, mutation.mutated_node
        if any(map(_is_left_alone, _way_up(old, parents))) or _says_little(old, new):
            continue
        at = positions[old] if old in positions else positions[parents[old]]
        here = lines[at.start.line - 1].strip()
        parts = (" ".join(module.code_for_node(node).split()) for node in (old, new))
        change = f"{here}: {' -> '.join(parts)}"
        seen[change] += 1
        key = hashlib.sha256(f"{path}\n{change}\n{seen[change]}".encode()).hexdigest()[:16]
        code_of = functools.partial(_replaced, module, old, new)
        yield Mutant(path, range(at.start.line, at.end.line + 1), change, key, code_of)


def _replaced(module: cst.Module, old: cst.CSTNode, new: cst.CSTNode) -> str:
    changed = module.deep_replace(old, new)
    assert isinstance(changed, cst.Module)
    return changed.code


def _way_up(node: cst.CSTNode, parents: Any) -> Iterator[cst.CSTNode]:
    current: cst.CSTNode | None = node
    while current is not None:
        yield current
        current = parents.get(current)


def _is_left_alone(node: cst.CSTNode) -> bool:
    match node:
        case cst.Raise():
            return True
        case cst.Call(func=cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name))):
            return name in WORDS or name.endswith(("Error", "MissingExtra"))
        case cst.Arg(keyword=cst.Name(value=name)):
            return name.startswith(KEYWORDS)
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))]):
            # A time limit, a name for a type, or what mypy looks after.
            alias = isinstance(node.value, cst.Subscript) and name[0].isupper()
            return alias or "TIMEOUT" in name or name == "__all__"
        case cst.Param(name=cst.Name(value=name)):
            return "progress" in name  # by default, nobody is told
    return False


def _says_little(old: cst.CSTNode, new: cst.CSTNode) -> bool:
    """Is it None in place of a value, which crashes where that is used; an argument that is left
    out and has no default, likely; or another case of a string's letters?"""
    match old, new:
        case cst.SimpleString(), cst.SimpleString():
            return old.value.lower() == new.value.lower()
        case ((cst.Assign() | cst.AnnAssign()), (cst.Assign() | cst.AnnAssign())):
            return True
        case cst.Call(), cst.Call() if len(new.args) == len(old.args):
            return any(
                m.matches(one.value, m.Name("None")) and one is not other
                for one, other in zip(new.args, old.args, strict=True)
            )
        case cst.Call(), cst.Call():
            left_out = next(arg for arg in old.args if arg not in new.args)
            named = left_out.keyword
            return named.value.startswith(KEYWORDS) if named else left_out is not old.args[-1]
    return False
