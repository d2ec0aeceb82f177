"""The rungs of a tower: which of them run on this machine, and the choice of one whose embeddings
are right here."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import LEAST_PARITY, READER_SHAPES, Bundle, Rung, TowerName
from mcad_mobile.engine.towers.protocol import Inputs, LoadedTower, normalize, summary
from mcad_mobile.engine.towers.runtimes import runtime_of
from mcad_mobile.errors import MissingExtra, Remedy, RuntimeUnavailable

# The least cosine of a tower's embeddings here to its recorded ones. ONNX Runtime's and XNNPACK's
# 8-bit arithmetic was bit-identical on all x86 and Arm processors that were tried
# (test_kernels.py), and `expected` includes the cost of quantization.
LEAST_AGREEMENT = 0.999
_TRIES = 3
_FASTER = 0.9  # of the time of the best rung so far; else the better precision is kept


def rungs_of(
    bundle: Bundle, tower: TowerName, runtime: str | None = None, precision: str | None = None
) -> tuple[Rung, ...]:
    """Return the rungs of a tower, best first: those of `runtime`, if given, and of `precision`, if
    the tower has it. RuntimeUnavailable if there are none."""
    rungs = bundle.tower(tower).rungs
    found = tuple(rung for rung in rungs if runtime in (None, rung.runtime))
    found = tuple(rung for rung in found if rung.precision == precision) or found
    if not found:
        offered = ", ".join(dict.fromkeys(rung.runtime for rung in rungs))
        raise RuntimeUnavailable(
            f"{bundle.directory} has no {tower} tower for runtime {runtime!r}.",
            f"It has: {offered}.",
        )
    return found


def why_not(rung: Rung) -> str | None:
    """Return why a rung is not chosen automatically on this machine, or None."""
    return runtime_of(rung).why_not(rung)


def load_tower(bundle: Bundle, rung: Rung, threads: int = 1, *, gpu: bool = False) -> LoadedTower:
    """Load a rung's tower; with `gpu`, an ONNX rung runs on CUDA. RuntimeUnavailable or
    MissingExtra if it cannot run here."""
    return runtime_of(rung).load(bundle, rung, threads, gpu)


@dataclass(frozen=True)
class LoadedRung:
    """A rung that passed the self-test here, its tower, and the worst cosine to its recorded
    embeddings."""

    rung: Rung
    tower: LoadedTower
    cosine: float

    def __str__(self) -> str:
        return f"{self.rung.name} by {self.tower.kernels}"


def time_tower(bundle: Bundle, name: TowerName, tower: LoadedTower) -> float:
    """Return the shortest time in s of a few runs over the golden inputs."""
    inputs = golden_inputs(bundle, name)
    return min(timeit.repeat(lambda: tower(inputs), number=1, repeat=_TRIES))


def choose_rung(
    bundle: Bundle,
    name: TowerName,
    *,
    runtime: str | None = None,
    precision: str | None = None,
    threads: int = 1,
    fastest: bool = False,
    warn: Callable[[str], None] = lambda sentence: None,
    measure: Callable[[Bundle, TowerName, LoadedTower], float] = time_tower,
) -> LoadedRung:
    """Load the first of `rungs_of` that runs here and passes the self-test, or the `fastest`, as
    `measure` finds; call `warn` for each that fails. RuntimeUnavailable, with all reasons, if none
    passes."""
    passed: list[tuple[float, LoadedRung]] = []
    reasons: list[str] = []
    rungs = rungs_of(bundle, name, runtime, precision)
    slow_too = not any(runtime_of(rung).on_any_cpu for rung in rungs)
    tried = [
        (
            rung,
            None
            if runtime or (slow_too and runtime_of(rung).slow_on_cpus(rung))
            else why_not(rung),
        )
        for rung in rungs
    ]
    runtimes = {runtime_of(rung) for rung, reason in tried if reason is None}
    # Which of two runtimes is faster depends on the processor; exact 8-bit kernels may be slower
    # than floats.
    compares = fastest and (len(runtimes) > 1 or any(found.overflows() for found in runtimes))
    for rung, reason in tried:
        if reason is not None:
            reasons.append(f"{rung.name}: {reason}")
            continue
        try:
            loaded = load_rung(bundle, name, rung, threads)
        except (RuntimeUnavailable, MissingExtra) as error:
            if runtime is not None:
                raise
            reasons.append(f"{rung.name}: {error.message}")
            warn(f"{error.message} The tower's next rung is used instead.")
            continue
        if not compares:
            return loaded
        passed.append((measure(bundle, name, loaded.tower), loaded))
    if passed:
        best = passed[0]
        for candidate in passed[1:]:
            best = candidate if candidate[0] < _FASTER * best[0] else best
        return best[1]
    raise RuntimeUnavailable(
        f"No {name} tower of {bundle.directory} runs on this machine: {'; '.join(reasons)}",
        "Export it again: every bundle from torch or ONNX ends in an ONNX CPU model.",
    )


def load_rung(
    bundle: Bundle, name: TowerName, rung: Rung, threads: int = 1, *, gpu: bool = False
) -> LoadedRung:
    """Load a rung and run its self-test. RuntimeUnavailable or MissingExtra if it fails or cannot
    run."""
    tower = load_tower(bundle, rung, threads, gpu=gpu)
    inputs = golden_inputs(bundle, name)
    try:
        cosine = agreement(bundle, rung, tower(inputs))
    except (LookupError, TypeError, ValueError) as error:  # inputs of another tower
        raise RuntimeUnavailable(
            f"The {name} tower {rung.name} cannot be tested: {error}.",
            Remedy.EXPORT_AGAIN,
        ) from error
    why = disagreement(rung, cosine)
    if why is not None:
        raise RuntimeUnavailable(
            f"The {name} tower {rung.name} fails its self-test: {why}.",
            Remedy.USE_NEXT_RUNG,
        )
    return LoadedRung(rung, tower, cosine)


def golden_inputs(bundle: Bundle, name: TowerName) -> Inputs:
    """Return a tower's golden inputs; the reader's are stored small, and repeated to fill its
    shape."""
    records = bundle.tower(name).golden.inputs
    inputs = {key: bundle.array(record) for key, record in records.items()}
    if name in READER_SHAPES:
        return {key: repeated(value, READER_SHAPES[name]) for key, value in inputs.items()}
    return inputs


def repeated(pixels: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Repeat pixels [N, 3, h, w] to fill pictures of the shape [1, 3, H, W]."""
    return np.tile(pixels, [1, 1, shape[2] // pixels.shape[2], shape[3] // pixels.shape[3]])


def agreement(bundle: Bundle, rung: Rung, embeddings: object) -> float:
    """Return the worst cosine of `embeddings` [N, dim] of the golden inputs, or of the summary of
    other outputs, to the rung's recorded ones; NaN if their shape is wrong."""
    width = bundle.dim if len(rung.outputs[0].shape) == 2 else None
    expected: NDArray[np.float32] = normalize(bundle.array(rung.expected, width))
    with suppress(TypeError, ValueError):  # of different lengths
        found = summary(np.asarray(embeddings, np.float32))
        if found.shape == expected.shape:
            return float(np.min((expected * normalize(found)).sum(1)))
    return float("nan")


def least_agreement(rung: Rung) -> float:
    """Return the cosine that a rung needs. A value between two steps may be rounded differently by
    another version of a runtime; many layers amplify that to a part of what quantization costs."""
    if rung.parity is None:
        return LEAST_AGREEMENT
    return min(LEAST_AGREEMENT, max(LEAST_PARITY, rung.parity.cosine_mean))


def disagreement(rung: Rung, worst: float) -> str | None:
    """Return why a worst cosine is too low, as the end of a sentence; None if it is not."""
    least = least_agreement(rung)
    if worst >= least:
        return None
    if np.isnan(worst):
        return "its output is not one embedding for each golden input"
    return (
        f"its golden-input embeddings are wrong here: cosine {worst:.4f} to the stored ones; at "
        f"least {least:.4g} is needed"
    )
