"""What every runtime provides, and its loaded towers, which are called like functions."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, Rung, TensorSpec

Inputs = dict[str, NDArray[Any]]
FEWEST_TOKENS = 2  # a start and an end


class LoadedTower(Protocol):
    """A tower in memory, which several threads may call at once. `simulated`: the chip is
    simulated, so times mean nothing. `kernels` names the kernels that run it."""

    simulated: bool
    kernels: str

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        """Inputs by name, batch first, float32 (pixels [B, 3, S, S]; token_rows [B, L, W],
        attention_mask [B, L] and pooling [B, L]) -> embeddings [B, dim] float32, not normalized.
        """
        ...


class Runtime:
    """Runs rungs here, or says why it does not; a new one is a line of `RUNTIMES`.

    Attributes:
        name: as bundle.json has it.
        label: as people write it.
        library: the module that runs it on this machine, imported when a tower is loaded.
        package: the package on PyPI that has the library.
        in_app: the library that runs it in an app; "" if none does.
        source: the runtime of the rung whose integers its files have, compiled; "" for others.
        for_one_chip: whether its files run only on the chip that they are compiled for.
        simulated: whether the chip is simulated here.
        on_any_cpu: whether every machine and every app runs it.
        counts: what the NPU does with the nodes that a rung counts for it.
    """

    name = ""
    label = ""
    library = ""
    package = ""
    in_app = ""
    source = ""
    for_one_chip = False
    simulated = False
    on_any_cpu = False
    counts = "on the NPU"

    @property
    def runs_here(self) -> bool:
        """Whether its own kernels compute on this machine."""
        return bool(self.library) and not self.simulated

    def why_not(self, rung: Rung) -> str | None:
        """Return why a rung is not chosen by itself on this machine, or None."""
        return None

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> LoadedTower:
        """Load a rung's tower. RuntimeUnavailable or MissingExtra if it cannot run here."""
        raise NotImplementedError

    def slow_on_cpus(self, rung: Rung) -> bool:
        """Whether a CPU runs the rung, but far too slowly."""
        return False

    def overflows(self) -> bool:
        """Whether its fast 8-bit kernels give wrong sums on this processor."""
        return False

    def stored_inputs(self, inputs: Inputs, specs: tuple[TensorSpec, ...]) -> Inputs:
        """Return inputs by the names, and in the layouts and types, of a rung's file."""
        return inputs

    def real_output(self, stored: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.float32]:
        """Return the real values of what a rung's file gave."""
        return stored.astype(np.float32, copy=False)

    def for_npu(self, rung: Rung) -> str:
        """Say how many nodes the NPU gets: "309/309 on the NPU", which Qualcomm's compiler tells;
        "508/508 accepted", by the list of a compiler; "508/508 compiled"; "-" without an NPU."""
        return f"{rung.npu_nodes}/{rung.total_nodes} {self.counts}" if rung.npu_nodes else "-"


_SQUARE, _CLASSES = 16, 64


def summary(outputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what outputs of a tower are compared by, [N, D]. Embeddings are their own; of maps [N,
    1, H, W], the means of squares of 16 pixels; of characters [N, T, C], the probabilities of all
    whose numbers have the same remainder by 64."""
    count, *sizes = outputs.shape
    if len(sizes) == 3:
        squares = outputs.reshape(count, sizes[1] // _SQUARE, _SQUARE, -1, _SQUARE)
        return np.asarray(squares.mean((2, 4)).reshape(count, -1))
    if len(sizes) == 2:
        padded = np.pad(outputs, [(0, 0), (0, 0), (0, -sizes[1] % _CLASSES)])
        return np.asarray(padded.reshape(count, sizes[0], -1, _CLASSES).sum(2).reshape(count, -1))
    return outputs


def split_batch(inputs: Inputs) -> list[Inputs]:
    """Split a batch: towers are exported for a batch of one, as phones use them."""
    size = len(next(iter(inputs.values())))
    return [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(size)]


def without_padding(inputs: Inputs) -> Inputs:
    """Cut a text [1, L, ...] after the last token that is attended to or pooled; leave a photo as
    it is."""
    if "attention_mask" not in inputs:
        return inputs
    seen = np.flatnonzero(inputs["attention_mask"][0] + inputs["pooling"][0])
    tokens = max(int(seen[-1]) + 1, FEWEST_TOKENS)
    return {name: np.ascontiguousarray(value[:, :tokens]) for name, value in inputs.items()}


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows [N, D] to unit length (a zero row stays zero)."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
