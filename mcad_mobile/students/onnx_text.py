"""Text towers in ONNX, which read token ids, as text towers that read token rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.engine.text.tokenizer import Pool
from mcad_mobile.errors import StudentError
from mcad_mobile.students.onnx_graph import HINT, Graph, Step
from mcad_mobile.students.published import HIDDEN_SCORE, MaskKind, causal_scores, padding_scores
from mcad_mobile.students.student import TEXT_INPUTS

_ROWS, _MASK, _POOLING = TEXT_INPUTS
_SCORES = "hidden_scores"
_HIDDEN_BELOW = -10.0  # of scores that are added: no tower learns one as low


@dataclass(frozen=True)
class RowTowerOfGraph:
    """A text tower that takes rows, mask and pooling weights, its table of rows, and how it pools
    and masks."""

    module: nn.Module
    table: Tensor
    pool: Pool
    mask_kind: MaskKind


def row_tower(
    model: onnx.ModelProto, ids: str, mask: str | None, output: str, name: str
) -> RowTowerOfGraph:
    """Cut a plain model at its token table, and replace how it masks and pools. StudentError if it
    does either in a way that is not known."""
    graph = Graph.read(model)
    graph.simplify()
    table = _cut_at_table(graph, ids, name)
    kind = _replace_masks(graph, model, ids, mask, name)
    pool = _replace_pooling(graph, ids, mask, name)
    module = graph.part(TEXT_INPUTS, [graph.raw(output)])
    return RowTowerOfGraph(module, torch.tensor(table, dtype=torch.float32), pool, kind)


def _cut_at_table(graph: Graph, ids: str, name: str) -> NDArray[Any]:
    """Replace the lookup of token rows by an input, and return the table."""
    of_ids = graph.dependents([ids])
    lookups = [
        step
        for step in graph.steps
        if step.op == "Gather"
        and step.inputs[1] in of_ids
        and graph.constants.get(step.inputs[0], np.zeros(0)).ndim == 2
    ]
    if len(lookups) != 1:
        raise StudentError(
            f"{name} looks its token ids {ids!r} up in {len(lookups)} tables.",
            "Give a text tower that starts with one Gather of a constant table [V, W].",
        )
    (lookup,) = lookups
    graph.steps.remove(lookup)
    graph.rename(lookup.outputs[0], _ROWS)
    return graph.constants.pop(lookup.inputs[0])


def _replace_masks(
    graph: Graph, model: onnx.ModelProto, ids: str, mask: str | None, name: str
) -> MaskKind:
    """Replace what hides tokens from attention by finite scores, from the mask that phones give."""
    rows = graph.dependents([_ROWS])
    found: list[tuple[Step, str, str]] = []  # a step that masks, its scores and what is added
    for step in graph.steps:
        before = graph.producer(step.inputs[0]) if step.op == "Softmax" else None
        if before is None or before.op not in ("Add", "Where"):
            continue
        of_rows = [value for value in before.inputs if value in rows]
        others = [value for value in before.inputs if value not in rows]
        if len(of_rows) == 1:
            found.append((before, of_rows[0], others[0]))
    hidden = _hidden(model, found, ids, mask)
    kinds: set[MaskKind] = set()
    for (step, scores, added), (whole, cut) in zip(found, hidden, strict=True):
        kind = _kind(whole, cut)
        if kind is None:
            raise StudentError(
                f"{name} hides tokens from each other in a way that is not known "
                f"(operator {step.op}, node {step.name!r}).",
                "Give a text tower whose tokens attend to all, to earlier ones, or to all but "
                "padding.",
            )
        kinds.add(kind)
        if kind == "nothing" and added in graph.constants:
            continue  # scores that were learned
        graph.steps[graph.steps.index(step)] = (
            Step("Identity", step.name, [scores], step.outputs)
            if kind == "nothing"
            else Step("Add", step.name, [scores, _SCORES], step.outputs)
        )
    if len(kinds) > 1:
        raise StudentError(f"The layers of {name} hide tokens in several ways.", HINT)
    (kind,) = kinds or {"nothing"}
    length = graph.shapes[_ROWS][1]
    if kind == "future":
        graph.constants[_SCORES] = causal_scores(length).numpy()
    elif kind == "padding":
        graph.steps.insert(0, Step("", "", [_MASK], [_SCORES], layer=_PaddingScores()))
    return kind


class _PaddingScores(nn.Module):
    def forward(self, mask: Tensor) -> Tensor:
        return padding_scores(mask, HIDDEN_SCORE)


def _hidden(
    model: onnx.ModelProto, found: list[tuple[Step, str, str]], ids: str, mask: str | None
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Return which tokens [L, L] each step hides from which, in a text that fills the tower and in
    one that fills half of it."""
    if not found:
        return []
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.output[:]
    names = list(dict.fromkeys(other for _, _, other in found))
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    computed = [name for name in names if name not in constants]
    length = next(value for value in model.graph.input if value.name == ids)
    size = length.type.tensor_type.shape.dim[1].dim_value
    seen: list[dict[str, Any]] = [dict(constants), dict(constants)]
    if computed:
        graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
        for values, tokens in zip(seen, (size, size // 2), strict=True):
            feeds = {}
            for value in session.get_inputs():
                kind = np.int32 if "int32" in value.type else np.int64
                feeds[value.name] = np.ones((1, size), kind)
                if value.name == mask:
                    feeds[value.name][:, tokens:] = 0
            values.update(zip(computed, session.run(computed, feeds), strict=True))
    return [
        (_matrix(step, scores, seen[0][other], size), _matrix(step, scores, seen[1][other], size))
        for step, scores, other in found
    ]


def _matrix(step: Step, scores: str, value: NDArray[Any], size: int) -> NDArray[np.bool_]:
    """Return which tokens a step hides that adds `value` to scores, or selects by it."""
    if step.op == "Add":
        hidden = np.asarray(value < _HIDDEN_BELOW)
    else:  # Where(condition, hidden, scores), or Where(condition, scores, hidden)
        hidden = value if step.inputs[2] == scores else ~value
    shape = np.broadcast_shapes(hidden.shape, (1, size, size))
    return np.asarray(np.broadcast_to(hidden, shape).reshape(-1, size, size)[0])


def _kind(whole: NDArray[np.bool_], cut: NDArray[np.bool_]) -> MaskKind | None:
    size = len(whole)
    if not whole.any():
        after = np.arange(size) >= size // 2
        padding = (cut == after).all()
        return "padding" if padding else "nothing" if not cut.any() else None
    # What comes after the end of a text is hidden from it already.
    return "future" if (whole == np.triu(np.ones((size, size), bool), 1)).all() else None


def _replace_pooling(graph: Graph, ids: str, mask: str | None, name: str) -> Pool:
    """Replace what takes the state of one token by a sum with the weights that phones give."""
    rows = graph.dependents([_ROWS])
    of_text = graph.dependents([ids, *([mask] if mask else [])]) - rows
    for step in graph.steps:
        if step.inputs[0] not in rows:
            continue
        pool = _pool_of(graph, step, of_text)
        if pool is not None:
            at = graph.steps.index(step)
            inputs = [step.inputs[0], _MASK, _POOLING]
            graph.constants["pooled_shape"] = np.array(graph.shapes[step.outputs[0]])
            graph.steps[at : at + 1] = [
                Step("", step.name, inputs, ["pooled"], layer=_Pooled()),
                Step("Reshape", step.name, ["pooled", "pooled_shape"], step.outputs),
            ]
            return pool
    raise StudentError(
        f"{name} pools the states of a text's tokens in a way that is not known.",
        "Give a text tower that takes the state of one token (the end, the first, the last) or the "
        "mean of all.",
    )


def _pool_of(graph: Graph, step: Step, of_text: set[str]) -> Pool | None:
    """Return which token's state a step takes; None if it takes those of all."""
    length = graph.shapes[_ROWS][1]
    before, after = (graph.shapes[name] for name in (step.inputs[0], step.outputs[0]))
    tokens = [size for size in before if size != 1]
    if step.op.startswith("Gather") and step.inputs[1] in of_text:
        return "eos"
    if tokens[:1] != [length] or [size for size in after if size != 1] != tokens[1:]:
        return None
    if step.op == "ReduceMean":
        return "mean"
    place = graph.constants[step.inputs[1]].ravel()  # where a slice starts, or what is gathered
    return "first" if place[0] == 0 else "last"


class _Pooled(nn.Module):
    """States [B, L, W] or [B L, W], mask and weights [B, L] -> their sum [B, W]."""

    def forward(self, states: Tensor, mask: Tensor, pooling: Tensor) -> Tensor:
        weights = (pooling * mask)[:, None, :]
        return (weights @ states.reshape(*mask.shape, -1)).squeeze(1)
