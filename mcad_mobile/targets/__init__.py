"""Targets: the chips of chips.toml, found by any of their names."""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Literal

import msgspec

from mcad_mobile.base.documents import Record, Size, Word
from mcad_mobile.engine.bundle import Precision
from mcad_mobile.errors import Remedy, TargetError

Family = Literal["cpu", "snapdragon", "dimensity", "tensor"]


class RungPlan(Record, frozen=True):
    """A runtime, and each tower's precision in it (docs/targets.md); None: no such rung."""

    runtime: Word
    image: Precision | None = None
    text: Precision | None = None


class _Family(Record, frozen=True):
    """What the chips of a family share: the one that its name stands for, their rungs, and those of
    the phones of the last years."""

    default: Word
    ladder: tuple[RungPlan, ...]
    phones: tuple[Word, ...] = ()


class Target(Record, frozen=True):
    """A chip in chips.toml.

    Attributes:
        id: its name in commands.
        vendor: who makes it.
        chip: its model number.
        names: other names that users may give.
        npu: the name of its NPU.
        family: the chips that are exported for alike.
        ladder: its rungs, best first. A bundle has those whose compilers are installed.
        platform: what Android's ro.board.platform may say instead of the chip (Snapdragon only).
        soc_model: QNN's number of the chip (Snapdragon only).
        htp_arch: QNN's number of its NPU's architecture (Snapdragon only).
        vtcm_mb: memory of its NPU in MiB (Snapdragon only).
        neuropilot: the version of MediaTek's SDK that compiles for it; None if none does.
    """

    id: Word
    vendor: Word
    chip: Word
    names: tuple[Word, ...]
    npu: Word
    family: Family
    ladder: tuple[RungPlan, ...]
    platform: Word | None = None
    soc_model: Size | None = None
    htp_arch: Size | None = None
    vtcm_mb: Size | None = None
    neuropilot: Word | None = None

    @property
    def has_npu(self) -> bool:
        """Whether its bundles have rungs for an NPU."""
        return self.npu != "none"

    def to_json(self) -> dict[str, Any]:
        """Describe the chip as the list of targets in JSON has it.

        Returns:
            What JSON can hold.
        """
        precisions = {p for rung in self.ladder for p in (rung.image, rung.text) if p is not None}
        return {
            "id": self.id,
            "vendor": self.vendor,
            "chip": self.chip,
            "names": list(self.names),
            "npu": self.npu,
            "runtimes": list(dict.fromkeys(rung.runtime for rung in self.ladder)),
            "precisions": sorted(precisions),
        }


def all_targets() -> list[Target]:
    """List the chips.

    Returns:
        Every chip that a bundle can be made for, in the order of the table.
    """
    return [*_table()[0]]


def find_target(name: str) -> Target:
    """Return the chip with this id, model or market name, in any spelling ("SM8650", "snapdragon 8
    gen 3"; a phone may report "MT6989W" or "MT6877V/TTZA"), or the default of a family.
    TargetError lists the nearest names."""
    targets, families, no_targets = _table()
    for chip, why in no_targets.items():
        if _plain(name).endswith(_plain(chip)):
            raise TargetError(
                f"mcad-mobile cannot export for the NPU of {chip}: {why}.",
                "Export for its CPU: the target cpu.",
            )
    spellings = {
        _plain(spelling): target
        for target in targets
        for spelling in (target.id, target.chip, *target.names)
    }
    spellings |= {name: spellings[_plain(family.default)] for name, family in families.items()}
    model = re.match(r"[a-z]{2,3}\d{4}(?!\d)", _plain(name))
    for spelling in filter(None, (_plain(name), model and model.group())):
        if spelling in spellings:
            return spellings[spelling]
    near = difflib.get_close_matches(_plain(name), spellings, n=12, cutoff=0.3)
    names = [spelling if spelling in families else spellings[spelling].id for spelling in near]
    ids = list(dict.fromkeys(names))[:3]
    nearest = f" The nearest are: {', '.join(ids)}." if ids else ""
    raise TargetError(f"No chip is called {name!r}.{nearest}", Remedy.LIST_TARGETS)


def find_targets(names: str) -> tuple[Target, ...]:
    """Return the chips of one bundle, whose names, as for `find_target`, have commas between them,
    or which are a family's phones ("snapdragon-phones"). TargetError."""
    phones = {f"{name}-phones": family.phones for name, family in _table()[1].items()}
    found = map(find_target, phones.get(names) or names.split(","))
    return tuple({chip.id: chip for chip in found}.values())


def fitting_chips(target: Target, targets: Sequence[Target]) -> tuple[str, ...]:
    """Return the chips, by model, that run `target`'s binary because `targets` holds none for them.
    A binary runs on an NPU of its architecture with as much memory or more; of several, the one for
    the most memory is best."""
    if target.htp_arch is None:
        return ()

    def memory(chip: Target) -> int:
        return chip.vtcm_mb or 0

    def best(chip: Target) -> Target | None:
        alike = (one for one in targets if one.htp_arch == chip.htp_arch)
        return max((one for one in alike if memory(one) <= memory(chip)), key=memory, default=None)

    return tuple(one.chip for one in all_targets() if one not in targets and best(one) is target)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower().replace("plus", "+"))


@functools.cache
def _table() -> tuple[tuple[Target, ...], dict[Family, _Family], dict[str, str]]:
    """Return the chips, the families, and why other chips are not targets."""
    text = resources.files("mcad_mobile.targets").joinpath("chips.toml").read_text("utf-8")
    chips = tomllib.loads(text)
    shared, no_targets = chips.pop("families"), chips.pop("no_targets")
    targets = (
        {"id": name, "ladder": shared[facts["family"]]["ladder"], **facts}
        for name, facts in chips.items()
    )
    families = msgspec.convert(shared, dict[Family, _Family])
    return tuple(msgspec.convert(facts, Target) for facts in targets), families, no_targets
