"""The device of a process, and the arithmetic of its products, by default the fastest one here."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn

from mcad_mobile.base import machine
from mcad_mobile.base.documents import Positive, Record, decode
from mcad_mobile.base.files import Partial
from mcad_mobile.distill.recipe import Arithmetic, ArithmeticOption
from mcad_mobile.errors import TrainingError, require
from mcad_mobile.students.efficientnet_lite import FEATURES, Block, SameConv
from mcad_mobile.students.text_transformer import Layer, TextConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_HALVES: dict[Arithmetic, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SECONDS = 1.0
_CLEARLY = 1.2  # times as fast; less may be noise
_MUCH = 2.0  # times as fast: a run changes its arithmetic for no less


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def accelerator() -> Accelerator:
    """This process's. `autocast` decides how products are computed, whatever the options of
    `accelerate launch`."""
    package = require("accelerate", "distill")
    return package.Accelerator(mixed_precision="no")


def keep_freed_memory() -> None:
    """Ask glibc's malloc to keep what is freed for the next step, for the whole process: it
    otherwise gives large blocks back, and the kernel clears their pages again and again. Measured
    on one core of an AMD EPYC: a photo's grid of EfficientNet-Lite0 takes 9.8 ms, not 20.6."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def autocast(arithmetic: Arithmetic, device: torch.device) -> torch.autocast:
    """Compute matrix products and convolutions in `arithmetic`; all else stays float32."""
    half = _HALVES.get(arithmetic)
    return torch.autocast(device.type, half, enabled=half is not None)


def to_product_type(rows: Tensor) -> Tensor:
    """Cast `rows` to the type of autocast's products, once for several products."""
    kind = rows.device.type
    return rows.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else rows


class Choice(Record, frozen=True):
    """`ms`: of the measured work; empty where the recipe names the arithmetic."""

    arithmetic: Arithmetic
    device: str
    ms: dict[Arithmetic, Positive]


def choose(option: ArithmeticOption, before: Arithmetic | None = None) -> Choice:
    """Choose the arithmetic, the same in all processes, which measure at once; `before` is that
    which a run began with. TrainingError if the device lacks what the recipe names."""
    device = accelerator().device
    if option == "auto":
        gather = require("accelerate.utils", "distill").gather_object
        ms = slowest(gather([measure(device)]))
        return Choice(fastest(ms, before), device_name(device), ms)
    if option == "fp16" and device.type != "cuda":
        raise TrainingError(
            f"The recipe's arithmetic is fp16, which takes a GPU; this runs on {device.type}.",
            "Take auto, fp32 or bf16 (--arithmetic).",
        )
    return Choice(option, device_name(device), {})


def choices(option: ArithmeticOption, note: Path) -> list[Choice]:
    """The arithmetics of the run so far, from its file `note`, and the one from now on, which is
    added to the file."""
    known: list[Choice] = []
    if note.exists():
        hint = "Remove it: the run chooses its arithmetic again."
        known = decode(note.read_bytes(), list[Choice], note, TrainingError, hint)
    now = choose(option, known[-1].arithmetic if known else None)
    if not known or (now.arithmetic, now.device) != (known[-1].arithmetic, known[-1].device):
        known.append(now)
    accelerator().wait_for_everyone()  # to have read the note
    if accelerator().is_main_process:
        with Partial(note) as partial:
            partial.file.truncate()
            partial.file.write(msgspec.json.encode(known))
            partial.finish()
    return known


def fastest(ms: dict[Arithmetic, float], before: Arithmetic | None = None) -> Arithmetic:
    """Of measured times: float32 unless a half type is clearly faster, and bfloat16, which needs
    no scaled gradients, unless float16 is clearly faster than that. A run that began with `before`
    goes on with it, unless another is much faster: it was moved to another processor."""
    chosen, gain = (before, _MUCH) if before in ms else ("fp32", _CLEARLY)
    for name in ms:
        if gain * ms[name] < ms[chosen]:
            chosen = name
    return chosen


def slowest(measured: Sequence[dict[Arithmetic, float]]) -> dict[Arithmetic, float]:
    """Take the slowest process's ms in each arithmetic that all processes have."""
    shared = [name for name in measured[0] if all(name in ms for ms in measured)]
    return {name: max(ms[name] for ms in measured) for name in shared}


def measure(device: torch.device, seconds: float = _SECONDS) -> dict[Arithmetic, float]:
    """Measure a small piece of a run's work, in ms, in each arithmetic of the device, float32
    first: the best of three rounds, and of more while `seconds` last. On CPUs it is processor time
    of one thread, which a busy machine hardly changes."""
    known: list[Arithmetic] = ["fp32"]
    if device.type == "cpu":
        known += ["bf16"]
    elif device.type == "cuda":
        # Where it is only emulated it is no faster than float32.
        known += ["bf16", "fp16"] if torch.cuda.is_bf16_supported(False) else ["fp16"]
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work = trial_work(device)
        rounds: dict[Arithmetic, list[float]] = {arithmetic: [] for arithmetic in known}
        started = clock()
        while len(rounds["fp32"]) < 3 or clock() - started < seconds:
            for arithmetic, taken in rounds.items():
                before = clock()
                with autocast(arithmetic, device):
                    work()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(1000 * (clock() - before))
    finally:
        torch.set_num_threads(threads)
    return {arithmetic: round(min(taken), 2) for arithmetic, taken in rounds.items()}


def trial_work(device: torch.device) -> Callable[[], None]:
    """A frozen trunk's block, forward; the student's last block, its last convolution and a layer
    of its text tower, forward and backward."""
    # A GPU is not filled by less than a step; on a busy CPU little pieces find a quiet moment.
    photos, captions = (2, 8) if device.type == "cpu" else (128, 256)
    frozen = Block(40, 40, 5, 1, 6)
    last = nn.Sequential(Block(192, 320, 3, 1, 6), SameConv(320, FEATURES, 1))
    layer = Layer(TextConfig())
    wide = torch.rand(photos, 40, 28, 28)
    grids = torch.rand(photos, 192, 7, 7)
    tokens = torch.rand(captions, 16, TextConfig().width)
    for module in (frozen, last, layer):
        module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    wide, grids = (rows.to(device, memory_format=torch.channels_last) for rows in (wide, grids))
    tokens, hidden = tokens.to(device), torch.zeros(captions, 1, 1, 16, device=device)

    def work() -> None:
        with torch.no_grad():
            frozen(wide)
        last(grids).float().square().mean().backward()
        layer(tokens, hidden).float().square().mean().backward()

    return work


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return machine.summary()
    return device.type
