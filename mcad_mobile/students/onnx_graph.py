"""ONNX graphs as torch modules: shapes are fixed, operators that were taken apart are put together,
and each operator becomes one of torch."""

from __future__ import annotations

import math
import operator
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.errors import StudentError, short_message
from mcad_mobile.students.rewrites.attention import linear

_OPSET = 20  # the first that has Gelu
HINT = (
    "Export the model in float, by torch.onnx.export, without optimizations of a runtime; or give "
    "the modules in torch: my_module:make_student."
)


def plain_onnx(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Return a model whose inputs have these shapes, with constants folded, and with GELU and layer
    norms whole. StudentError if ONNX Runtime refuses it."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    graph = fixed.graph
    del graph.value_info[:]
    for value in graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shapes[value.name]))
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        if max(item.version for item in fixed.opset_import if not item.domain) < _OPSET:
            fixed = version_converter.convert_version(fixed, _OPSET)
        with tempfile.TemporaryDirectory(prefix="mcad-") as scratch:
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
            ort.InferenceSession(fixed.SerializeToString(), options, ["CPUExecutionProvider"])
            folded = onnx.load(options.optimized_model_filepath)
    except Exception as error:  # onnx and ONNX Runtime raise their own, without a common base
        raise StudentError(
            f"ONNX Runtime {ort.__version__} cannot read the model: {short_message(error)}", HINT
        ) from error
    folded = onnx.shape_inference.infer_shapes(folded)
    _write_pads(folded.graph)
    return folded


def _write_pads(graph: onnx.GraphProto) -> None:
    """Replace auto_pad SAME_UPPER and SAME_LOWER by the pads that they stand for, where the size of
    what is padded is known."""
    values = [*graph.input, *graph.value_info]
    sizes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in values}
    sizes |= {weight.name: [*weight.dims] for weight in graph.initializer}
    for node in graph.node:
        given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        same = given.get("auto_pad", b"").decode()
        grid = sizes.get(node.input[0], [])[2:] if node.input else []
        if not (same.startswith("SAME") and grid and all(grid)) or node.op_type == "ConvTranspose":
            continue
        kernel = given.get("kernel_shape") or sizes[node.input[1]][2:]
        ones = [1] * len(kernel)
        steps, gaps = given.get("strides", ones), given.get("dilations", ones)
        rows = zip(grid, kernel, steps, gaps, strict=True)
        totals = [
            max((-(-size // step) - 1) * step + (width - 1) * gap + 1 - size, 0)
            for size, width, step, gap in rows
        ]
        before = [(total + (same == "SAME_LOWER")) // 2 for total in totals]
        after = [total - first for total, first in zip(totals, before, strict=True)]
        kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads")]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("pads", [*before, *after])])


def pruned(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """Return the part of a model that computes one of its outputs."""
    steps, made = Graph.read(model).needed([output]), onnx.ModelProto()
    read = {output, *(name for step in steps for name in step.inputs)}
    made.CopyFrom(model)
    graph = made.graph
    for items in (graph.input, graph.initializer, graph.output):
        kept = [item for item in items if item.name in read]
        del items[:]
        items.extend(kept)
    nodes = [node for node in graph.node if read.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    return made


def torch_module(model: onnx.ModelProto) -> nn.Module:
    """Convert a model that `plain_onnx` returned: its inputs in order -> its outputs. StudentError
    for an operator that is not known."""
    graph = Graph.read(model)
    graph.simplify()
    return graph.part(graph.inputs, graph.outputs)


@dataclass(frozen=True)
class Step:
    """A node: `call` takes its inputs, constants of integers as numpy arrays, and gives its outputs
    as a tuple or its only one."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    layer: nn.Module | None = None


@dataclass
class Graph:
    """The steps of a model in their order, its constants, and the shapes of its values."""

    steps: list[Step]
    constants: dict[str, NDArray[Any]]
    shapes: dict[str, tuple[int, ...]]
    inputs: list[str]
    outputs: list[str]

    @classmethod
    def read(cls, model: onnx.ModelProto) -> Graph:
        graph = model.graph
        constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        steps = []
        for node in graph.node:
            attributes = {item.name: _attribute(item) for item in node.attribute}
            op = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            if op == "Constant":
                (value,) = attributes.values()
                constants[node.output[0]] = np.asarray(value)
                continue
            steps.append(Step(op, node.name, list(node.input), list(node.output), attributes))
        values = (*graph.input, *graph.value_info, *graph.output)
        return cls(
            steps,
            constants,
            {
                value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
                for value in values
            },
            [value.name for value in graph.input if value.name not in constants],
            [value.name for value in graph.output],
        )

    def simplify(self) -> None:
        """Put each GELU together, drop guards against softmaxes over nothing, and take products of
        one constant row apart: LiteRT has none of an integer row by activations of 16 bits."""
        self.steps = [
            replace(step, op=_ROW_PRODUCT) if self._is_row_product(step) else step
            for step in _without_nans(self.steps)
        ]
        for step in [step for step in self.steps if step.op in ("Erf", "Tanh")]:
            before, after = [step.inputs[0]], [step.outputs[0]]
            for value in before:
                made_by = self.producer(value)
                if made_by is not None and self._is_function(made_by):
                    before += [name for name in made_by.inputs if name not in self.constants]
            for value in after:
                after += [r.outputs[0] for r in self.readers(value) if self._is_function(r)]
            pairs = [(x, y) for y in dict.fromkeys(after) for x in dict.fromkeys(before)]
            found = [(x, y, kind) for x, y in pairs for kind in [self._gelu(x, y)] if kind]
            for x, y, kind in found[:1]:
                made = Step("Gelu", step.name, [x], [y], {"approximate": kind})
                old = next(step for step in self.steps if y in step.outputs)
                self.steps[self.steps.index(old)] = made

    def _is_row_product(self, step: Step) -> bool:
        row = self.constants.get(step.inputs[0]) if step.op == "MatMul" else None
        return row is not None and row.ndim > 1 and row.shape[-2] == 1

    def _is_function(self, step: Step) -> bool:
        """Whether a step computes each number from single numbers and constants."""
        sizes = (self.constants[name].size for name in step.inputs if name in self.constants)
        return step.op in _ELEMENTWISE and step.op != "MatMul" and all(size == 1 for size in sizes)

    def _gelu(self, x: str, y: str) -> str | None:
        """Return which GELU of `x` the value `y` is, if any: by computing it."""
        numbers = torch.linspace(-6, 6, 101)[None]
        try:
            computed = self.part([x], [y])(numbers)
        except (StudentError, RuntimeError, ValueError):  # it needs more than x, or a grid
            return None
        for kind in ("none", "tanh"):
            if torch.allclose(computed, F.gelu(numbers, approximate=kind), atol=2e-5):
                return kind
        return None

    def producer(self, value: str) -> Step | None:
        return next((step for step in self.steps if value in step.outputs), None)

    def readers(self, value: str) -> list[Step]:
        return [step for step in self.steps if value in step.inputs]

    def rename(self, value: str, name: str) -> None:
        """Give a value that is read, and no longer computed, another name."""
        self.shapes[name] = self.shapes[value]
        for step in self.readers(value):
            step.inputs[:] = [name if taken == value else taken for taken in step.inputs]

    def dependents(self, sources: Iterable[str]) -> set[str]:
        """Return `sources` and every value that is computed from one of them."""
        found = set(sources)
        for step in self.steps:
            if found.intersection(step.inputs):
                found.update(step.outputs)
        return found

    def needed(self, outputs: Iterable[str], given: Iterable[str] = ()) -> list[Step]:
        """Return the steps that compute `outputs`, from the `given` values where they are met."""
        wanted, steps = set(outputs) - set(given), []
        for step in reversed(self.steps):
            if wanted.intersection(step.outputs):
                steps.append(step)
                wanted.update(set(step.inputs) - set(given))
        return steps[::-1]

    def raw(self, output: str) -> str:
        """Return the value that `output` is at unit length, or `output`: the engine normalizes."""
        last = self.producer(output)
        if last is None or last.op != "Div":
            return output
        before, norm = last.inputs
        return before if norm in self.dependents([before]) else output

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> nn.Module:
        """Return the module that computes `outputs` from `inputs`, which may lie inside."""
        steps = self.needed(outputs, inputs)
        made = {*inputs, *self.constants, "", *(name for step in steps for name in step.outputs)}
        missing = {name for step in steps for name in step.inputs}.union(outputs) - made
        if missing:
            raise StudentError(
                f"The output {outputs[0]!r} needs {', '.join(sorted(missing))}, too.", HINT
            )
        return _Part(list(inputs), list(outputs), steps, self.constants)


def _without_nans(steps: list[Step]) -> list[Step]:
    """Drop torch's guard of a softmax over hidden tokens alone, which no text of ours has."""
    tests = {step.outputs[0] for step in steps if step.op == "IsNaN"}
    return [
        Step("Identity", step.name, step.inputs[2:], step.outputs)
        if step.op == "Where" and step.inputs[0] in tests
        else step
        for step in steps
        if step.op != "IsNaN"
    ]


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value.decode() if isinstance(value, bytes) else value


class _Part(nn.Module):
    """Steps as a module. Their shapes are those of a batch of one: other batches are an axis before
    them. Weights of convolutions and linear maps are those of torch's layers, which what follows in
    an export knows; other constants are buffers."""

    def __init__(
        self,
        inputs: list[str],
        outputs: list[str],
        steps: list[Step],
        constants: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.layers = nn.ModuleList()
        self._calls: list[tuple[Any, list[str], list[str]]] = []
        self._plain: dict[str, NDArray[Any] | float | None] = {"": None}
        self._held: dict[str, str] = {}
        for step in steps:
            layer = step.layer or _layer(step, constants)
            taken = step.inputs if layer is None or step.layer else step.inputs[:1]
            for name in filter(constants.__contains__, taken):
                self._hold(name, constants[name], step.op)
            self._calls.append(
                (_function(step) if layer is None else len(self.layers), taken, step.outputs)
            )
            if layer is not None:
                self.layers.append(layer)

    def _hold(self, name: str, value: NDArray[Any], op: str) -> None:
        if not np.issubdtype(value.dtype, np.floating) or op == "Resize":
            self._plain[name] = value
        elif op in _ELEMENTWISE and value.size == 1 and value.ndim < 2:
            self._plain[name] = value.item()
        elif name not in self._held:
            self._held[name] = f"constant_{len(self._held)}"
            self.register_buffer(self._held[name], _tensor(value))

    def forward(self, *arguments: Tensor) -> Any:
        lead = int(len(arguments[0]) > 1)
        values: dict[str, Any] = dict(self._plain)
        values |= {name: self.get_buffer(buffer) for name, buffer in self._held.items()}
        for name, argument in zip(self.inputs, arguments, strict=True):
            values[name] = argument[:, None] if lead else argument
        for call, inputs, outputs in self._calls:
            taken = [values[name] for name in inputs]
            if isinstance(call, int):
                made = self._through(self.layers[call], lead, taken)
            else:
                made = call(lead, *taken)
            values.update(zip(outputs, made if isinstance(made, tuple) else (made,), strict=True))
        found = tuple(values[name][:, 0] if lead else values[name] for name in self.outputs)
        return found[0] if len(found) == 1 else found

    @staticmethod
    def _through(layer: nn.Module, lead: int, inputs: list[Tensor]) -> Any:
        if not lead or isinstance(layer, nn.Linear | nn.LayerNorm):
            return layer(*inputs)
        return layer(*(value.flatten(0, 1) for value in inputs))[:, None]


def _layer(step: Step, constants: Mapping[str, NDArray[Any]]) -> nn.Module | None:
    """Return a step with constant weights as a layer of torch that takes its first input."""
    make = _LAYERS.get(step.op)
    if make is None or any(name not in constants for name in step.inputs[1:] if name):
        return None
    weights = [_tensor(constants[name]) if name else None for name in step.inputs[1:]]
    with _named(step):
        return make(*weights, **step.attributes)


def _function(step: Step) -> Callable[..., Any]:
    if step.op not in {*_ELEMENTWISE, *_FUNCTIONS}:
        raise _refusal(step, "is not known here")
    return partial(_called, step)


def _called(step: Step, lead: int, *arguments: Any) -> Any:
    with _named(step):
        if step.op in _ELEMENTWISE:
            return _ELEMENTWISE[step.op](*arguments, **step.attributes)
        return _FUNCTIONS[step.op](lead, *arguments, **step.attributes)


@contextmanager
def _named(step: Step) -> Iterator[None]:
    """Name the step in errors about attributes and shapes that a function does not take."""
    try:
        yield
    except (TypeError, ValueError, NotImplementedError, KeyError, AttributeError) as error:
        raise _refusal(step, f"cannot be converted: {short_message(error)}") from error


def _refusal(step: Step, why: str) -> StudentError:
    return StudentError(f"The operator {step.op} (node {step.name!r}) {why}.", HINT)


def _tensor(value: NDArray[Any]) -> Tensor:
    return torch.tensor(value, dtype=torch.float32)


def _padding(pads: Sequence[int], auto_pad: str) -> list[int]:
    """ONNX's pads [top, left, bottom, right] in the order of F.pad."""
    if auto_pad not in ("NOTSET", "VALID"):
        raise NotImplementedError(f"auto_pad {auto_pad}")
    half = len(pads) // 2
    return [
        pad
        for pair in zip(pads[half - 1 :: -1], pads[: half - 1 : -1], strict=True)
        for pad in pair
    ]


def _convolution(  # noqa: PLR0913  ONNX's attributes
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Any = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Any = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_padding: Any = None,
    transposed: bool = False,
) -> nn.Module:
    if weight.ndim != 4:
        raise NotImplementedError(f"weights of {weight.ndim} dimensions")
    left, right, top, bottom = _padding(pads, auto_pad)
    even = left == right and top == bottom
    options: Any = {"stride": tuple(strides), "padding": (top, left) if even else 0}
    options |= {"dilation": tuple(dilations), "groups": group, "bias": bias is not None}
    first, second, *kernel = weight.shape
    made: nn.Conv2d | nn.ConvTranspose2d
    if transposed:
        if not even:
            raise NotImplementedError(f"pads {pads}")
        options["output_padding"] = tuple(output_padding or (0, 0))
        made = nn.ConvTranspose2d(first, second * group, kernel, **options)  # type: ignore[arg-type]
    else:
        made = nn.Conv2d(second * group, first, kernel, **options)  # type: ignore[arg-type]
    _fill(made, weight, bias)
    return made if even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), made)


def _fill(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)


def _gemm(
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> nn.Module:
    if transA:
        raise NotImplementedError("transA")
    matrix = weight if transB else weight.T
    if bias is not None:
        bias = beta * bias.expand(1, len(matrix))[0] if bias.ndim < 2 else beta * bias[0]
    return linear(alpha * matrix, bias)


def _layer_norm(
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> nn.Module:
    made = nn.LayerNorm(tuple(weight.shape), eps=epsilon, bias=bias is not None)
    _fill(made, weight, bias)
    return made


def _batch_norm(
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> nn.Module:
    made = nn.BatchNorm2d(len(weight), eps=epsilon)
    _fill(made, weight, bias)
    assert made.running_mean is not None and made.running_var is not None
    made.running_mean.copy_(mean)
    made.running_var.copy_(variance)
    return made.eval()


_LAYERS: dict[str, Callable[..., nn.Module | None]] = {
    "Conv": _convolution,
    "ConvTranspose": partial(_convolution, transposed=True),
    "Gemm": _gemm,
    "MatMul": lambda weight: linear(weight.T, None) if weight.ndim == 2 else None,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
}


# The functions of other operators take `lead`: how many axes lie before those of the graph.


def _axis(x: Tensor, axis: Any, lead: int) -> int:
    """Return an axis of the graph from the end."""
    return int(axis) if axis < 0 else int(axis) - (x.ndim - lead)


def _reshape(lead: int, x: Tensor, shape: NDArray[Any], allowzero: int = 0) -> Tensor:
    sizes = [x.shape[lead + at] if size == 0 else int(size) for at, size in enumerate(shape)]
    return x.reshape([*x.shape[:lead], *sizes])


def _flatten(lead: int, x: Tensor, axis: int = 1) -> Tensor:
    sizes = x.shape[lead:]
    return x.reshape(*x.shape[:lead], math.prod(sizes[:axis]), -1)


def _expand(lead: int, x: Tensor, shape: NDArray[Any]) -> Tensor:
    sizes = np.broadcast_shapes(tuple(x.shape[lead:]), tuple(int(size) for size in shape))
    return _widened(x, lead, len(sizes)).expand(*x.shape[:lead], *sizes)


def _widened(x: Tensor, lead: int, rank: int) -> Tensor:
    return x.reshape(*x.shape[:lead], *(1,) * (rank + lead - x.ndim), *x.shape[lead:])


def _transpose(lead: int, x: Tensor, perm: Sequence[int] | None = None) -> Tensor:
    order = list(range(x.ndim - lead))[::-1] if perm is None else perm
    return x.permute([*range(lead), *(lead + axis for axis in order)])


def _concat(lead: int, *parts: Tensor, axis: int) -> Tensor:
    batch = next((x for x in parts if lead and x.ndim == max(y.ndim for y in parts)), parts[0])
    whole = [x if x.ndim == batch.ndim else x.expand(len(batch), *x.shape) for x in parts]
    return torch.cat(whole, _axis(batch, axis, lead))


def _gather(lead: int, x: Tensor, index: NDArray[Any], axis: int = 0) -> Tensor:
    if not isinstance(index, np.ndarray):
        raise NotImplementedError("its indices are computed")
    at = _axis(x, axis, lead)
    if index.ndim > 1:
        raise NotImplementedError(f"indices of {index.ndim} dimensions")
    if index.ndim == 0:
        return x.narrow(at, int(index) % x.shape[at], 1).squeeze(at)
    return x.index_select(at, torch.from_numpy(index.astype(np.int64)))


def _slice(
    lead: int,
    x: Tensor,
    starts: NDArray[Any],
    ends: NDArray[Any],
    axes: NDArray[Any] | None = None,
    steps: NDArray[Any] | None = None,
) -> Tensor:
    cut = [slice(None)] * x.ndim
    steps = np.ones_like(starts) if steps is None else steps
    axes = np.arange(len(starts)) if axes is None else axes
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cut[_axis(x, axis, lead)] = slice(int(start), int(end), int(step))
    return x[tuple(cut)]


def _split(
    lead: int, x: Tensor, sizes: NDArray[Any] | None = None, *, axis: int = 0, num_outputs: int = 0
) -> tuple[Tensor, ...]:
    at = _axis(x, axis, lead)
    return torch.chunk(x, num_outputs, at) if sizes is None else torch.split(x, sizes.tolist(), at)


def _squeeze(lead: int, x: Tensor, axes: NDArray[Any] | None = None) -> Tensor:
    if axes is None:
        axes = np.array([at for at, size in enumerate(x.shape[lead:]) if size == 1])
    return x.squeeze([_axis(x, axis, lead) for axis in axes])


def _unsqueeze(lead: int, x: Tensor, axes: NDArray[Any]) -> Tensor:
    rank = x.ndim - lead + len(axes)
    for axis in sorted(int(axis) % rank for axis in axes):
        x = x.unsqueeze(lead + axis)
    return x


def _reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(
        lead: int,
        x: Tensor,
        axes: NDArray[Any] | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        over = range(x.ndim - lead) if axes is None else axes
        return function(x, dim=[_axis(x, axis, lead) for axis in over], keepdim=bool(keepdims))

    return reduce


def _on_grid(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function of [B, C, H, W] take the batch as one axis."""

    def call(lead: int, x: Tensor, *others: Any, **attributes: Any) -> Tensor:
        made = function(x.flatten(0, 1) if lead else x, *others, **attributes)
        return made[:, None] if lead else made

    return call


def _pool(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    def pool(  # noqa: PLR0913  ONNX's attributes
        x: Tensor,
        *,
        kernel_shape: Sequence[int],
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] = (0, 0, 0, 0),
        ceil_mode: int = 0,
        auto_pad: str = "NOTSET",
        count_include_pad: int = 0,
        dilations: Sequence[int] = (1, 1),
        storage_order: int = 0,
    ) -> Tensor:
        left, right, top, bottom = _padding(pads, auto_pad)
        even = (left, top) == (right, bottom)
        if max(dilations) > 1 or not (even or function is F.max_pool2d):
            raise NotImplementedError(f"pads {pads}, dilations {dilations}")
        if not even:  # a repeated edge is in each window of its copies, so it changes no maximum
            # By joining, since NPUs' compilers do not know padding of this kind.
            x = torch.cat([x[..., :1]] * left + [x] + [x[..., -1:]] * right, -1)
            x = torch.cat([x[..., :1, :]] * top + [x] + [x[..., -1:, :]] * bottom, -2)
            left = top = 0
        counted = {"count_include_pad": bool(count_include_pad)} if options.get("average") else {}
        return function(
            x,
            tuple(kernel_shape),
            tuple(strides),
            (top, left),
            ceil_mode=bool(ceil_mode),
            **counted,
        )

    return _on_grid(pool)


def _pad(
    lead: int,
    x: Tensor,
    pads: NDArray[Any],
    value: Any = None,
    axes: NDArray[Any] | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    if mode != "constant":
        raise NotImplementedError(f"mode {mode}")
    around = np.zeros((2, x.ndim - lead), np.int64)
    around[:, slice(None) if axes is None else axes] = pads.reshape(2, -1)
    return F.pad(x, around.T[::-1].ravel().tolist(), value=float(value or 0))


def _resize(
    x: Tensor,
    roi: Any = None,
    scales: Any = None,
    sizes: NDArray[Any] | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    **others: Any,
) -> Tensor:
    factors = np.asarray(scales)[2:] if sizes is None else sizes[2:] / np.asarray(x.shape[2:])
    size = [round(side * float(factor)) for side, factor in zip(x.shape[2:], factors, strict=True)]
    if mode == "nearest":
        if not (factors == np.round(factors)).all():
            raise NotImplementedError(f"nearest by {factors.tolist()}")
        return F.interpolate(x, size, mode="nearest")
    if coordinate_transformation_mode not in ("align_corners", "half_pixel", "pytorch_half_pixel"):
        raise NotImplementedError(coordinate_transformation_mode)
    aligned = coordinate_transformation_mode == "align_corners"
    kind = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    return F.interpolate(x, size, mode=kind, align_corners=aligned)


_ROW_PRODUCT = "MatMul of a row"
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": operator.add,
    "Cast": lambda x, to, saturate=1: x,  # all towers are computed in float32
    "Clip": lambda x, low=None, high=None: x.clamp(low, high),
    "Div": operator.truediv,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Gelu": lambda x, approximate="none": F.gelu(x, approximate=approximate),
    # Through 0 to 6, which NPUs' compilers know.
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: F.relu6(6 * (alpha * x + beta)) / 6,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Mul": operator.mul,
    _ROW_PRODUCT: lambda row, x: (row.transpose(-1, -2) * x).sum(-2, keepdim=True),
    "Neg": torch.neg,
    "Pow": operator.pow,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Softplus": F.softplus,
    "Sqrt": torch.sqrt,
    "Sub": operator.sub,
    "Tanh": torch.tanh,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "AveragePool": _pool(F.avg_pool2d, average=True),
    "Concat": _concat,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GlobalAveragePool": _on_grid(lambda x: x.mean((2, 3), keepdim=True)),
    "MaxPool": _pool(F.max_pool2d),
    "Pad": _pad,
    "ReduceL2": _reduced(lambda x, dim, keepdim: x.norm(2, dim, keepdim)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Reshape": _reshape,
    "Resize": _on_grid(_resize),
    "Slice": _slice,
    "Softmax": lambda lead, x, axis=-1: x.softmax(_axis(x, axis, lead)),
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
