"""The device of a process, and the precision of its matrix products."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mcad_mobile.base import machine
from mcad_mobile.distill.recipe import Arithmetic, ArithmeticOption
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from accelerate import Accelerator

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def accelerator() -> Accelerator:
    """Return this process's Accelerator. `autocast` sets the precision, not `accelerate launch`."""
    package = require("accelerate", "distill")
    return package.Accelerator(mixed_precision="no")


def keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory, in the whole process. By default it returns large
    blocks, and the kernel zeroes their pages again at every step. Measured on one core of an AMD
    EPYC: a photo's grid of EfficientNet-Lite0 takes 9.8 ms, not 20.6."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def autocast(arithmetic: Arithmetic, device: torch.device) -> torch.autocast:
    """Compute matrix products and convolutions in `arithmetic`, everything else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=arithmetic == "bf16")


def to_product_type(rows: Tensor) -> Tensor:
    """Cast `rows` to autocast's dtype, once for several products."""
    kind = rows.device.type
    return rows.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else rows


def choose_arithmetic(option: ArithmeticOption) -> Arithmetic:
    """Return `option`; for "auto", bf16 if every process's device multiplies it faster."""
    if option != "auto":
        return option
    gather = require("accelerate.utils", "distill").gather_object
    return "bf16" if all(gather([multiplies_bfloat16(accelerator().device)])) else "fp32"


def multiplies_bfloat16(device: torch.device, cpuinfo: str | None = None) -> bool:
    """Whether a device multiplies bfloat16 faster than float32. Emulated, it does not; nor do
    Intel's AVX-512 units: 80 GFLOP/s beside 159 on one core of a Sapphire Rapids without AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    facts = machine.cpuinfo() if cpuinfo is None else cpuinfo
    sets = machine.instruction_sets(facts)
    fast = "AMX bf16" in sets or ("bf16" in sets and "GenuineIntel" not in facts)
    return device.type == "cpu" and fast


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return machine.summary()
    return device.type
