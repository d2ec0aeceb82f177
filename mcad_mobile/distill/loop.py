"""The training loop of teachers and students, on the devices that `accelerate` chooses. Each step
is seeded by its number, so that a killed run resumes as if it had never stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcad_mobile.base.files import Partial
from mcad_mobile.base.progress import Progress
from mcad_mobile.distill.accelerator import accelerator, autocast
from mcad_mobile.distill.dataset import Batch, restore_order
from mcad_mobile.distill.recipe import Arithmetic
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.errors import TrainingError

Forward = Callable[..., Any]  # a model's, in the loop's arithmetic
Losses = dict[str, Tensor]
RecordMetrics = Callable[[int, dict[str, float]], None]  # the step, and its values by name


@dataclass(frozen=True)
class Schedule:
    """Settings of AdamW with a one-cycle schedule (arXiv 1708.07120)."""

    epochs: int
    steps_per_epoch: int
    warmup: float
    weight_decay: float
    seed: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


class Loop:
    """Trains `model` with AdamW on parameter `groups`, each with its peak `lr`. Writes `checkpoint`
    after each epoch; only a run with the same `fingerprint` resumes from it."""

    def __init__(
        self,
        model: nn.Module,
        groups: list[dict[str, Any]],
        schedule: Schedule,
        checkpoint: Path,
        fingerprint: str,
        label: str,
        arithmetic: Arithmetic,
    ) -> None:
        self.accelerator = accelerator()
        self.device: torch.device = self.accelerator.device
        self.arithmetic = arithmetic
        self.schedule = schedule
        self.checkpoint = checkpoint
        self.fingerprint = fingerprint
        self.label = label
        self.step = 0
        # Fused, because on CPUs the foreach variant takes an eighth of a step.
        optimizer = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay, fused=True)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        # In a warm-up of exactly one step, torch would divide by the zero steps before its end.
        of_one_step = schedule.warmup * schedule.steps == 1
        self.rates = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in groups],
            total_steps=schedule.steps,
            pct_start=schedule.warmup * (1 - 1e-9 if of_one_step else 1),
        )

    def run(
        self,
        losses: Callable[[Forward, int], Losses],
        progress: Progress,
        after_epoch: Callable[[int], str] = lambda epoch: "saved",
        record: RecordMetrics = lambda step, values: None,
    ) -> None:
        """Train to the end, from the checkpoint if there is one, on the sum of the scalar losses.
        `after_epoch(epoch)`, from 1, returns a summary for progress. Raises TrainingError."""
        self._resume()
        latest = ""
        total, per_epoch = self.schedule.steps, self.schedule.steps_per_epoch
        progress(self.label, self.step, total)
        while self.step < total:
            self.model.train()
            # Dropout must not depend on where a run was interrupted.
            torch.manual_seed(self._seed())
            parts = losses(self._forward, self.step)
            loss = torch.stack(list(parts.values())).sum()
            values = {name: value.item() for name, value in parts.items()}
            self._check(values)
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.rates.step()
            self.step += 1
            epoch = math.ceil(self.step / per_epoch)
            losses_text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
            step = f"{self.label}: epoch {epoch}/{self.schedule.epochs}, {losses_text}{latest}"
            progress(step, self.step, total)
            record(self.step, {f"loss/{name}": value for name, value in values.items()})
            if self.step % per_epoch == 0:
                self._save()
                latest = f"; {after_epoch(epoch)} after epoch {epoch}"

    def share(self, batch: Batch) -> tuple[Batch, Rows, Rows]:
        """This process's part of a batch, and indices that restore gathered photos and texts."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return (
            batch.part(rank, world),
            restore_order(len(batch.photos), world),
            restore_order(len(batch.captions), world),
        )

    def share_rows(self, rows: int) -> tuple[Rows, Rows]:
        """This process's part of `rows` rows, and indices that restore gathered rows."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return np.arange(rows)[rank::world], restore_order(rows, world)

    def finish(self) -> None:
        """Remove the checkpoint, once the trained model is saved."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.checkpoint.unlink(missing_ok=True)

    def _forward(self, *inputs: Any) -> Any:
        with autocast(self.arithmetic, self.device):
            return self.model(*inputs)

    def _seed(self) -> int:
        rank: int = self.accelerator.process_index
        # Torch's seeds have 64 bits.
        return ((self.schedule.seed * 1_000_003 + self.step) * 64 + rank) % 2**64

    def _check(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                advice = "Lower the learning rate in the recipe"
                if self.checkpoint.exists():  # another recipe cannot go on with it
                    advice += f", and delete {self.checkpoint} or give another --out"
                raise TrainingError(
                    f"The {name} loss is {value} at step {self.step + 1}.", f"{advice}."
                )

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        state = {
            "fingerprint": self.fingerprint,
            "step": self.step,
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rates": self.rates.state_dict(),
        }
        with Partial(self.checkpoint) as partial:
            partial.file.truncate()
            torch.save(state, partial.file)
            partial.finish()

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            raise TrainingError(
                f"{self.checkpoint} was written by another recipe, or for other data.",
                "Delete it to start anew, or give another --out.",
            )
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rates.load_state_dict(state["rates"])
        self.step = state["step"]


def gather(rows: Tensor) -> Tensor:
    """[B, ...] of each process -> [world * B, ...] in rank order; gradients flow back."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows))  # type: ignore[no-untyped-call]


class Prefetch:
    """Calls `make(step)` for each of `steps` steps in a thread while the previous step trains. Call
    it with a step for the result; that call raises any error of `make`."""

    def __init__(self, make: Callable[[int], Tensor], steps: int) -> None:
        self._make = make
        self._steps = steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._next: dict[int, Future[Tensor]] = {}

    def __call__(self, step: int) -> Tensor:
        future = self._next.pop(step, None) or self._pool.submit(self._make, step)
        rows = future.result()
        if step + 1 < self._steps:
            self._next[step + 1] = self._pool.submit(self._make, step + 1)
        return rows

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
