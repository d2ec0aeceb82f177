"""Targets: every spelling of a chip finds it, and a wrong one says what is near."""

from __future__ import annotations

import ctypes
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from mcad_mobile.engine.towers import RUNTIMES
from mcad_mobile.errors import TargetError
from mcad_mobile.targets import all_targets, find_target, find_targets, fitting_chips
from tests.support.pythons import needs_litert


@pytest.mark.parametrize(
    ("spelling", "target"),
    [
        ("snapdragon", "snapdragon-8-elite"),
        ("dimensity", "dimensity-9400"),
        ("tensor", "tensor-g5"),
        ("Google Tensor G3", "tensor-g3"),
        ("Tensor_G6", "tensor-g6"),
        ("cpu", "cpu"),
        ("SM8650", "snapdragon-8-gen-3"),
        ("sm8650", "snapdragon-8-gen-3"),
        ("snapdragon-8-gen-3", "snapdragon-8-gen-3"),
        ("Snapdragon 8 Gen 3", "snapdragon-8-gen-3"),
        ("Snapdragon 8+ Gen 1", "snapdragon-8-plus-gen-1"),
        ("Snapdragon 8 Gen 1", "snapdragon-8-gen-1"),
        ("mt6991", "dimensity-9400"),
        ("Dimensity 1080", "dimensity-7050"),
        ("MT6878", "dimensity-7300"),
        ("SM8550-AC", "snapdragon-8-gen-2"),
        ("SM8750-AC", "snapdragon-8-elite"),
        ("MT6877V/TTZA", "dimensity-7050"),
        ("mt6989w", "dimensity-9300"),
        ("Snapdragon 7+ Gen 3", "snapdragon-7-plus-gen-3"),
        ("Snapdragon 7 Gen 3", "snapdragon-7-gen-3"),
        ("Snapdragon 8s Gen 3", "snapdragon-8s-gen-3"),
        ("SXR2250P", "snapdragon-xr2-gen-2"),
        ("qcm6490", "qcs6490"),
    ],
)
def test_a_chip_is_found_however_it_is_written(spelling, target):
    assert find_target(spelling).id == target


def test_an_unknown_chip_is_an_error_that_names_the_nearest():
    with pytest.raises(TargetError, match=r"'snapdragon-9-gen-3'.*snapdragon-8-gen-3"):
        find_target("snapdragon-9-gen-3")


def test_even_a_name_that_is_like_no_chip_has_nearest_ones():
    with pytest.raises(TargetError, match="The nearest are"):
        find_target("kirin")


def test_a_mistyped_family_is_among_the_nearest():
    with pytest.raises(TargetError) as caught:
        find_target("snapdragn")
    assert " The nearest are: snapdragon, snapdragon-8" in caught.value.message


def test_a_longer_number_is_not_a_model_with_a_suffix():
    with pytest.raises(TargetError, match="SM86500"):
        find_target("SM86500")


def test_a_name_like_no_chip_is_pointed_to_the_list():
    with pytest.raises(TargetError, match="No chip is called"):
        find_target("??")


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.id)
def test_every_chip_has_a_ladder_that_ends_on_the_cpu(target):
    first, *_, last = target.ladder
    assert last.runtime == "onnx"
    npu = {"cpu": "onnx", "snapdragon": "qnn", "dimensity": "neuropilot", "tensor": "tpu"}[
        target.family
    ]
    uncompiled = target.id in ("cpu-litert", "dimensity-8200")
    assert first.runtime == ("litert" if uncompiled else npu)
    assert all(plan.runtime in RUNTIMES for plan in target.ladder)
    if target.family == "snapdragon":
        assert target.soc_model and target.htp_arch and target.vtcm_mb


def test_no_spelling_is_of_two_chips():
    spellings = [
        (find_target(spelling).id, target.id)
        for target in all_targets()
        for spelling in (target.id, target.chip, *target.names)
    ]
    assert [found for found, _ in spellings] == [target for _, target in spellings]


def test_no_two_chips_share_an_id_a_model_or_a_qnn_number():
    targets = all_targets()
    for key in ("id", "chip"):
        assert len({getattr(target, key) for target in targets}) == len(targets)
    numbers = [target.soc_model for target in targets if target.soc_model is not None]
    assert len(set(numbers)) == len(numbers)


# LiteRT compiles for these, too: chips of tablets and boards.
NO_PHONES = {"MT8171", "MT8188", "MT8189"}


@needs_litert
def test_dimensity_chips_are_those_that_litert_compiles_for():
    from ai_edge_litert.aot.vendors.mediatek.target import SocModel, map_soc_to_np_version

    table = {t.chip: t.neuropilot for t in all_targets() if t.neuropilot is not None}
    known = set(SocModel) - {SocModel.ALL, *NO_PHONES}
    assert table == {chip.value: map_soc_to_np_version(chip) for chip in known}


@needs_litert
def test_a_chip_that_litert_does_not_know_is_not_compiled_for():
    from ai_edge_litert.aot.vendors.mediatek.target import SocModel

    left = [t for t in all_targets() if t.family == "dimensity" and t.neuropilot is None]
    assert [t.chip for t in left] == ["MT6896"]
    assert "MT6896" not in set(SocModel)
    assert [plan.runtime for plan in left[0].ladder] == ["litert", "onnx"]


@needs_litert
@pytest.mark.parametrize("plugin", ["google_tensor", "samsung", "intel_openvino"])
def test_every_chip_of_litert_s_plugins_is_a_target_or_refused_by_name(plugin):
    vendor = importlib.import_module(f"ai_edge_litert.aot.vendors.{plugin}.target")
    chips = {chip.value for chip in vendor.SocModel if chip.value != "ALL"}
    assert chips
    found = set()
    for chip in chips:
        try:
            found.add(find_target(chip).chip)
        except TargetError as error:
            assert "mcad-mobile cannot export for the NPU of" in error.message
    assert found == (chips if plugin == "google_tensor" else set())


@needs_litert
def test_samsung_s_plugin_cannot_be_asked_since_it_does_not_load():
    """When this fails, LiteRT has mended it: see what it accepts, and "Other NPUs" in
    docs/targets.md."""
    (folder,) = find_spec("ai_edge_litert").submodule_search_locations
    plugin = Path(folder, "vendors/samsung/compiler/libLiteRtCompilerPlugin_Samsung.so")
    assert plugin.is_file()
    with pytest.raises(OSError, match=r"undefined symbol: .*flatbuffers.*ClassicLocale"):
        ctypes.CDLL(str(plugin))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("exynos-2500", "knows only E9965"),
        ("Exynos 2600", "does not load"),
        ("S5E9965", "does not load"),
        ("Intel Lunar Lake", "chip of laptops"),
        ("PTL", "chip of laptops"),
    ],
)
def test_a_chip_that_is_no_target_is_refused_with_the_reason(name, reason):
    with pytest.raises(TargetError, match=rf"(?s)cannot export.*{reason}.*target cpu"):
        find_target(name)


def test_the_phones_of_the_last_years_are_a_bundle_that_serves_the_8_and_7_series():
    phones = find_targets("snapdragon-phones")
    assert phones[0] == find_target("snapdragon")
    served = {chip.chip for chip in phones}
    served |= {model for chip in phones for model in fitting_chips(chip, phones)}
    assert served >= {
        "SM8550",
        "SM8635",
        "SM8650",
        "SM8735",
        "SM8750",
        "SM8845",
        "SM8850",
        "SM7675",
    }
    assert find_targets("SM8650, SM8550,SM8650-AB") == tuple(map(find_target, ("SM8650", "SM8550")))
    with pytest.raises(TargetError, match="cpu-phones"):
        find_targets("cpu-phones")
