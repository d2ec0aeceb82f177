"""A bundle is for one chip: which chip a device has, and which bundles it refuses."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mcad_mobile.bench.devices.adb import AdbDevice, check_chip
from mcad_mobile.bench.devices.adb_facts import read_facts
from mcad_mobile.bench.devices.adb_shell import connect
from mcad_mobile.engine.bundle import Bundle, TargetFacts
from mcad_mobile.errors import BenchError
from tests.support.adbd import Adbd
from tests.support.phones import as_phone


def test_chip_that_is_unknown_is_not_refused(board: Adbd, bundle: Bundle) -> None:
    facts = read_facts(connect())
    assert (facts.soc, facts.targets) == ("", [])
    assert "unknown chip" in facts.cpu
    check_chip(replace(bundle, target=TargetFacts("snapdragon-8-elite", None, None)), facts)


@pytest.mark.parametrize(
    ("props", "made_for", "hint"),
    [
        ({"ro.soc.model": "Tensor G4"}, "snapdragon-8-elite", "--target tensor-g4"),
        ({"ro.soc.model": "SM6375"}, "snapdragon-8-gen-3", "--target cpu"),
        ({"ro.soc.model": "SM7675"}, "snapdragon-8-gen-3", "--target snapdragon-7-plus-gen-3"),
        ({"ro.soc.model": "SM8650-AC"}, "snapdragon-8-elite", "--target snapdragon-8-gen-3"),
        ({"ro.board.platform": "kalama"}, "snapdragon-8-elite", "--target snapdragon-8-gen-2"),
        ({"ro.board.platform": "zuma"}, "dimensity-9400", "--target cpu"),
    ],
)
def test_chip_that_is_known_to_be_another_is_refused(
    phone: Adbd, bundle: Bundle, props: dict[str, str], made_for: str, hint: str
) -> None:
    as_phone(phone, **{"ro.soc.model": "", **props})
    other = replace(bundle, target=TargetFacts(made_for, None, None))
    with pytest.raises(BenchError, match=f"made for {made_for}.*has ") as caught:
        AdbDevice().check(other)
    assert hint in caught.value.hint
    assert "--force" in caught.value.hint
    AdbDevice(force=True).check(other)
    AdbDevice().check(replace(bundle, target=TargetFacts("cpu", None, None)))


def test_a_bundle_is_taken_by_each_of_its_chips_and_by_those_that_it_fits(
    phone: Adbd, bundle: Bundle
) -> None:
    elite = TargetFacts("snapdragon-8-elite", 69, 79, "SM8750")
    gen_2 = TargetFacts("snapdragon-8-gen-2", 43, 73, "SM8550", fits=("SM8735",))
    (rung,) = bundle.image.rungs
    rungs = tuple(replace(rung, chip=chip) for chip in (elite, gen_2))
    both = replace(bundle, target=elite, image=replace(bundle.image, rungs=(*rungs, rung)))
    for soc in ("SM8750-AC", "SM8550", "SM8735"):
        as_phone(phone, **{"ro.soc.model": soc})
        AdbDevice().check(both)
    as_phone(phone, **{"ro.soc.model": "SM8650"})
    with pytest.raises(BenchError, match="has snapdragon-8-gen-3"):
        AdbDevice().check(both)


@pytest.mark.parametrize(
    ("soc", "made_for"),
    [
        ("SM8750-AC", "snapdragon-8-elite"),
        ("SM8650P", "snapdragon-8-gen-3"),
        ("SM8635P", "snapdragon-8s-gen-3"),
        ("SXR2250P", "snapdragon-xr2-gen-2"),
        ("QCM6490", "qcs6490"),
        ("MT6989W", "dimensity-9300"),
        ("kalama", "snapdragon-8-gen-2"),
        ("taro", "snapdragon-8-gen-1"),
        ("taro", "snapdragon-8-plus-gen-1"),
        ("taro", "snapdragon-7-plus-gen-2"),
    ],
)
def test_chip_is_known_by_every_name_that_a_system_has_for_it(
    phone: Adbd, bundle: Bundle, soc: str, made_for: str
) -> None:
    as_phone(phone, **{"ro.soc.model": "", "ro.board.platform": soc})
    AdbDevice().check(replace(bundle, target=TargetFacts(made_for, None, None)))
