"""Which rung of a tower serves on this machine, and who hears of those that don't."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.android.parts import pack_bundle
from mcad_mobile.cli.command import app
from mcad_mobile.cli.doctor import examine_bundle
from mcad_mobile.engine.bundle import Bundle, FileRecord, Parity, Rung
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.towers import RUNTIMES, choose_rung, normalize
from mcad_mobile.engine.towers.ladder import agreement, load_rung
from mcad_mobile.engine.towers.onnx import OnnxRuntime
from mcad_mobile.errors import ParityError, Remedy, RuntimeUnavailable
from mcad_mobile.export.parity import check_kernels
from tests.support.tiny_bundle import (
    AGREEMENTS,
    make_tiny_bundle,
    off_by,
    text_rung_that_fails,
)

pytestmark = pytest.mark.long


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_tiny_bundle(tmp_path / "bundle")


def wrong_here(bundle: Bundle, name: str) -> Rung:
    """A rung that this processor gets wrong: its file says that it gives other embeddings."""
    rung = bundle.tower(name).rungs[0]  # type: ignore[arg-type]
    expected = np.roll(np.load(bundle.path(rung.expected)), 1, axis=1)
    path = bundle.directory / f"{name}-expected.npy"
    np.save(path, expected)
    return replace(rung, precision="int8", expected=FileRecord.of(bundle.directory, path))


def with_wrong_first(bundle: Bundle) -> Bundle:
    image = replace(bundle.image, rungs=(wrong_here(bundle, "image"), *bundle.image.rungs))
    text = replace(bundle.text, rungs=(wrong_here(bundle, "text"), *bundle.text.rungs))
    changed = replace(bundle, image=image, text=text)
    changed.save()
    return changed


def test_a_rung_that_is_wrong_here_is_left_out_with_a_sentence(bundle: Bundle) -> None:
    heard: list[str] = []
    found = choose_rung(with_wrong_first(bundle), "text", warn=heard.append)
    assert found.rung.precision == "fp32"
    (sentence,) = heard
    assert "text tower onnx int8 fails its self-test" in sentence
    assert "next rung is used" in sentence


def test_a_rung_that_is_right_is_not_spoken_of(bundle: Bundle) -> None:
    heard: list[str] = []
    assert choose_rung(bundle, "image", warn=heard.append).rung.precision == "fp32"
    assert heard == []


def test_a_rung_that_fails_as_it_runs_gives_way(bundle: Bundle) -> None:
    rungs = (text_rung_that_fails(bundle), *bundle.text.rungs)
    heard: list[str] = []
    changed = replace(bundle, text=replace(bundle.text, rungs=rungs))
    assert choose_rung(changed, "text", warn=heard.append).rung.precision == "fp32"
    assert len(heard) == 1


def test_where_no_rung_is_right_each_reason_is_told(bundle: Bundle) -> None:
    text = replace(bundle.text, rungs=(wrong_here(bundle, "text"),))
    with pytest.raises(RuntimeUnavailable, match=r"No text tower .* int8: .*self-test"):
        choose_rung(replace(bundle, text=text), "text")


def test_a_runtime_that_is_asked_for_is_tried_and_its_own_error_raised(bundle: Bundle) -> None:
    first = bundle.image.rungs[0]
    rungs = (replace(first, runtime="neuropilot", precision="w8a8"), *bundle.image.rungs)
    changed = replace(bundle, image=replace(bundle.image, rungs=rungs))
    with pytest.raises(RuntimeUnavailable, match="is compiled for the NPU of") as caught:
        choose_rung(changed, "image", runtime="neuropilot")
    assert caught.value.remedy == Remedy.USE_LITERT
    assert choose_rung(changed, "image").rung == first


def test_a_precision_is_taken_where_the_tower_has_it(bundle: Bundle) -> None:
    first = replace(bundle.image.rungs[0], precision="int8")
    changed = replace(bundle, image=replace(bundle.image, rungs=(first, *bundle.image.rungs)))
    for asked, found in ((None, "int8"), ("fp32", "fp32"), ("w4a16", "int8")):
        assert choose_rung(changed, "image", precision=asked).rung.precision == found


def test_a_tower_agrees_as_well_as_its_worst_embedding(bundle: Bundle) -> None:
    rung = bundle.image.rungs[0]
    found = 3 * np.load(bundle.path(rung.expected))
    assert agreement(bundle, rung, found) == pytest.approx(1)
    found[0] *= -1
    assert agreement(bundle, rung, found) == pytest.approx(-1)
    for wrong in (found[:1], found[:, :-1], found[None], "embeddings", [[1.0], [1.0, 2.0]]):
        assert np.isnan(agreement(bundle, rung, wrong))
    assert not normalize(np.zeros((1, 4), np.float32)).any()


@pytest.mark.parametrize(("cosine", "parity", "taken"), AGREEMENTS)
def test_a_rung_may_be_as_far_from_its_file_as_that_is_from_float(
    bundle: Bundle, cosine: float, parity: float | None, taken: bool
) -> None:
    rungs = (off_by(bundle, bundle.directory, cosine, parity), *bundle.image.rungs)
    heard: list[str] = []
    found = choose_rung(
        replace(bundle, image=replace(bundle.image, rungs=rungs)), "image", warn=heard.append
    )
    assert (found.rung.precision == "int8") == taken
    assert taken or f"cosine {cosine:.4f}" in heard[0]


class Fake(OnnxRuntime):
    """Runs every rung by ONNX Runtime; `here`: why it is not chosen; `wrong`: it overflows."""

    def __init__(self, here: str | None = None, *, wrong: bool = False) -> None:
        self.here, self.wrong = here, wrong

    def why_not(self, rung: Rung) -> str | None:
        return self.here

    def overflows(self) -> bool:
        return self.wrong


@pytest.fixture
def slow_first(bundle: Bundle) -> Bundle:
    """Two right image rungs of one runtime."""
    first = replace(bundle.image.rungs[0], precision="int8")
    return replace(bundle, image=replace(bundle.image, rungs=(first, *bundle.image.rungs)))


def chosen(bundle: Bundle, *seconds: float, fastest: bool = True) -> str:
    """The precision that is chosen if the image towers take so long, best first."""
    left = iter(seconds)
    measure = lambda *tower: next(left)  # noqa: E731
    return choose_rung(bundle, "image", fastest=fastest, measure=measure).rung.precision


@pytest.mark.parametrize(("here", "precision"), [(None, "fp32"), ("not installed", "int8")])
def test_time_decides_between_two_runtimes_that_are_here(
    slow_first: Bundle, monkeypatch: pytest.MonkeyPatch, here: str | None, precision: str
) -> None:
    monkeypatch.setitem(RUNTIMES, "onnx", Fake())
    monkeypatch.setitem(RUNTIMES, "litert", Fake(here))
    first, *rest = slow_first.image.rungs
    image = replace(slow_first.image, rungs=(replace(first, runtime="litert"), first, *rest))
    assert chosen(replace(slow_first, image=image), 2.0, 2.0, 1.0) == precision


@pytest.mark.parametrize(
    ("wrong", "seconds", "fastest", "precision"),
    [
        (True, (2.0, 1.0), True, "fp32"),
        (False, (2.0, 1.0), True, "int8"),
        (True, (1.0, 0.95), True, "int8"),  # only a little faster
        (True, (2.0, 1.0), False, "int8"),  # a search spends no time on choosing
    ],
)
def test_between_rungs_of_one_runtime_time_decides_where_its_fast_kernels_are_wrong(
    slow_first: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    wrong: bool,
    seconds: tuple[float, ...],
    fastest: bool,
    precision: str,
) -> None:
    monkeypatch.setitem(RUNTIMES, "onnx", Fake(wrong=wrong))
    assert chosen(slow_first, *seconds, fastest=fastest) == precision


@pytest.mark.parametrize(
    ("kernels", "excused"), [(0.9995, True), (0.9945, True), (0.9935, False), (0.97, False)]
)
def test_kernels_may_cost_three_times_what_quantization_did(
    bundle: Bundle, kernels: float, excused: bool
) -> None:
    exact = np.eye(3, dtype=np.float32)[:2]
    written = turned(exact, 0.998)
    found = turned(written, kernels)
    rung = bundle.image.rungs[0]
    if excused:
        check_kernels("image", rung, exact, written, found)
        return
    with pytest.raises(ParityError, match="On this processor, the runtime") as caught:
        check_kernels("image", rung, exact, written, found)
    assert caught.value.remedy == Remedy.EXPORT_ELSEWHERE


def test_one_golden_input_that_the_kernels_get_wrong_is_enough(bundle: Bundle) -> None:
    written = np.eye(3, dtype=np.float32)[:2]
    found = written.copy()
    check_kernels("image", bundle.image.rungs[0], written, written, found)
    found[1] = turned(written[1:], 0.97)
    with pytest.raises(ParityError, match=r"On this processor, the runtime.*evaluation is 0\.9700"):
        check_kernels("image", bundle.image.rungs[0], written, written, found)


def test_the_golden_input_that_the_kernels_get_wrong_is_named(bundle: Bundle) -> None:
    """Not the one that is furthest off: its quantization is."""
    exact = np.eye(3, dtype=np.float32)[:2]
    reference = np.concatenate([turned(exact[:1], 0.9), turned(exact[1:], 0.9999)])
    found = np.concatenate([turned(reference[:1], 0.95), turned(reference[1:], 0.98)])
    with pytest.raises(ParityError, match=r"evaluation is 0\.98.* to the float student is 0\.9999"):
        check_kernels("image", bundle.image.rungs[0], exact, reference, found)


def turned(rows: np.ndarray, cosine: float) -> np.ndarray:
    aside = np.zeros_like(rows)
    aside[:, 2] = np.sqrt(1 - cosine**2)
    return (cosine * rows / np.linalg.norm(rows, axis=1, keepdims=True) + aside).astype(np.float32)


def test_an_index_notes_what_filled_it(bundle: Bundle, tmp_path: Path) -> None:
    from mcad_mobile.bench.samples import sample_photos

    photos = sample_photos(bundle, tmp_path, 2, size=(80, 60))
    index = create_index(bundle, tmp_path / "index")
    assert index.filled_by == ()
    SearchEngine(bundle).index_photos(index, photos[:1])
    assert PhotoIndex.open(tmp_path / "index").filled_by == ("onnx fp32 by CPU",)
    with index.writer() as writer:
        writer.record_filler("litert w8a8 by XNNPACK")
        writer.delete([str(photos[0])])
    assert index.filled_by == ("litert w8a8 by XNNPACK", "onnx fp32 by CPU")


def test_doctor_tests_each_rung_of_a_bundle(bundle: Bundle) -> None:
    by_tool = {found.tool: found for found in examine_bundle(with_wrong_first(bundle))}
    assert by_tool["image tower onnx int8"].version is None
    assert "are wrong here" in by_tool["image tower onnx int8"].how_to_get
    assert by_tool["text tower onnx fp32"].version == "cosine 1.0000 by CPU"


def low(bundle: Bundle) -> Bundle:
    """As after --allow-low-parity: an 8-bit image rung that lost too much, a float one behind."""
    bad = replace(bundle.image.rungs[0], precision="int8", parity=Parity(16, 0.9, 0.8))
    changed = replace(bundle, image=replace(bundle.image, rungs=(bad, *bundle.image.rungs)))
    changed.save()
    return changed


def test_an_app_keeps_the_float_rung_behind_one_of_low_parity(
    bundle: Bundle, tmp_path: Path
) -> None:
    packed, _ = pack_bundle(low(bundle), tmp_path / "packed", keep_float=False, no_npu=None)
    assert [rung.precision for rung in packed.image.rungs] == ["int8", "fp32"]
    good = replace(bundle.image.rungs[0], precision="int8", parity=Parity(16, 0.99, 0.98))
    fine = replace(bundle, image=replace(bundle.image, rungs=(good, *bundle.image.rungs)))
    packed, _ = pack_bundle(fine, tmp_path / "lean", keep_float=False, no_npu=None)
    assert [rung.precision for rung in packed.image.rungs] == ["int8"]


def test_verbs_say_again_what_was_accepted_at_export(bundle: Bundle, tmp_path: Path) -> None:
    low(bundle)
    create_index(bundle, tmp_path / "bundle.index")
    for verb in (["search", "a dog"], ["doctor"]):
        done = CliRunner().invoke(app, [*verb, "--bundle", str(bundle.directory), "--json"])
        assert done.exit_code == 0, done.output
        assert "warning: The image tower onnx int8 was exported with low parity" in done.stderr
        assert isinstance(json.loads(done.stdout), (dict, list))


def test_a_gpu_that_is_not_there_is_one_error_and_no_cpu_in_disguise(bundle: Bundle) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is a GPU here")
    rung = bundle.image.rungs[0]
    with pytest.raises(RuntimeUnavailable, match="onnxruntime-gpu"):
        load_rung(bundle, "image", rung, gpu=True)
    assert load_rung(bundle, "image", rung).tower.kernels == "CPU"
