"""Precisions that are chosen by recall: the choice, what is told of it, and that it goes on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from mcad_mobile.base.progress import silent
from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import CaptionedPhoto, load_captions
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.export import pipeline
from mcad_mobile.export.backends.backend import Candidate
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.export_report import ExportReport, read_report
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.recall_drop import FLOAT, RecallMeter, data_facts
from mcad_mobile.export.smallest_pair import Budget
from mcad_mobile.recall import embed
from mcad_mobile.students.load import load_student
from mcad_mobile.students.student import Texts
from mcad_mobile.targets import find_target
from tests.support.report_documents import precisions_chosen
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_students import with_other_texts, write_open_clip

pytestmark = pytest.mark.usefixtures("traced_once")

BUDGET, EACH = 1.0, 0.1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_open_clip(tmp_path_factory.mktemp("smallest") / "student")


@pytest.fixture(scope="module")
def student(checkpoint):
    return load_student(f"open_clip:local-dir:{checkpoint}")


@pytest.fixture(scope="module")
def make(student, packaged_pairs, tmp_path_factory):
    """Exports for a budget of so many points, where each weight of 4 bits that the files hold costs
    EACH more than it does: towers of random weights lose nothing."""
    folder = tmp_path_factory.mktemp("exported")
    other = with_other_texts(student, folder / "other")
    photos = load_captions(packaged_pairs, None)
    split = {name: [photo for photo in photos if photo.split == name] for name in ("train", "val")}
    real = RecallMeter.drop

    def dearer(self, towers):
        found = real(self, towers)
        count = sum(len(packed(candidate.path)) for candidate in towers.values())
        return replace(found, points=found.points + EACH * count, margin=0.0)

    def run(points: float, out: str, allow_low_parity: bool = True) -> Bundle:
        budget = Budget(points, split["val"], data_facts(packaged_pairs, split["val"]))
        (exported,) = export(
            student,
            [BundleRequest(find_target("cpu"), folder / out)],
            ExportOptions(
                samples=4,
                calibrate_on=split["train"],
                allow_low_parity=allow_low_parity,
                budget=budget,
                multilingual=other,
            ),
        )
        return exported.bundle

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecallMeter, "drop", dearer)
        yield run


def packed(path: Path) -> list[str]:
    """Weights that a file holds in 4 bits."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return [tensor.name for tensor in tensors if tensor.name.endswith("/packed")]


@pytest.fixture(scope="module")
def chosen(make):
    return make(BUDGET, "chosen")


@pytest.mark.slow
def test_the_smallest_pair_that_was_measured_within_is_what_is_written(chosen):
    record = read_report(chosen).precision
    found = next(step for step in record.steps if step.within)
    assert all(step.within == (step.drop <= BUDGET) for step in record.steps)
    assert any(not step.within for step in record.steps)
    assert all(step.bytes >= found.bytes for step in record.steps if step.within)
    total, count = 0, 0
    for name in TOWERS:
        rung = chosen.tower(name).rungs[0]
        four = packed(chosen.path(rung.files[0]))
        assert len(four) == sum(w.tower == name and w.bits == 4 for w in record.weights)
        recorded = getattr(found, name)
        assert recorded.startswith(f"{len(four)} of") if four else recorded == rung.precision
        alone = next(row for row in record.alone if (row.tower, row.precision) == (name, recorded))
        total += alone.bytes
        count += len(four)
    assert total == found.bytes
    assert 0 < count < len(record.weights)
    assert found.image in record.why
    assert f"{found.drop:.2f}" in record.why


@pytest.mark.slow
def test_a_second_text_tower_is_not_searched_for(chosen):
    record = read_report(chosen).precision
    assert {found.tower for found in (*record.weights, *record.alone)} == {*TOWERS}
    assert [rung.precision for rung in chosen.multilingual.text.rungs] == ["int8", "fp32"]


@pytest.mark.slow
def test_the_recorded_recall_is_that_of_the_files(chosen, packaged_pairs):
    photos = load_captions(packaged_pairs, "val")
    engine = SearchEngine(chosen, runtime="onnx")
    found = embed(photos, engine.embed_photo, engine.embed_text, lambda *_: None).retrieval()
    last = next(step for step in read_report(chosen).precision.steps if step.within)
    four = sum(weight.bits == 4 for weight in read_report(chosen).precision.weights)
    assert last.mean_recall + EACH * four == pytest.approx(found.mean_recall, abs=0.01)
    assert read_report(chosen).precision.data.photos == len(photos)


@pytest.mark.slow
def test_a_tower_below_the_least_parity_is_not_chosen(chosen, make, monkeypatch):
    parity = {name: chosen.tower(name).rungs[0].parity.cosine_mean for name in TOWERS}
    least = min(parity.values()) + 1e-6
    monkeypatch.setattr("mcad_mobile.engine.bundle.LEAST_PARITY", least)
    bundle = make(BUDGET, "accepted", allow_low_parity=False)
    assert all(bundle.tower(name).rungs[0].parity.cosine_mean >= least for name in TOWERS)
    tried = {(row.tower, row.precision) for row in read_report(bundle).precision.alone}
    left_out = {(row.tower, row.precision) for row in read_report(chosen).precision.alone} - tried
    first = next(step for step in read_report(chosen).precision.steps if step.within)
    lowest = min(TOWERS, key=lambda name: parity[name])
    assert (lowest, getattr(first, lowest)) in left_out
    assert all(f"{recorded} (" in read_report(bundle).precision.why for _, recorded in left_out)


@pytest.mark.slow
def test_where_even_8_bits_cost_too_much_towers_stay_float(student, make, monkeypatch):
    real = RecallMeter._embedded

    def spoiled(self, name, tower, label, place):
        found = real(self, name, tower, label, place)
        return found if label == FLOAT else np.zeros_like(found)

    monkeypatch.setattr(RecallMeter, "_embedded", spoiled)
    bundle = make(BUDGET, "float")
    for name in TOWERS:
        assert [rung.precision for rung in bundle.tower(name).rungs] == ["fp32"]
    assert next(step for step in read_report(bundle).precision.steps if step.within).drop == 0
    assert {weight.bits for weight in read_report(bundle).precision.weights} == {32}


def test_a_search_is_written_beside_the_bundle_of_what_it_chose(student, tmp_path, monkeypatch):
    record = read_report(precisions_chosen(make_tiny_bundle(tmp_path / "tiny"))).precision
    chosen = {name: Candidate(name, "fp32", "fp32", 1, 1, tmp_path, None) for name in TOWERS}
    monkeypatch.setattr(pipeline, "choose_precisions", lambda *asked: (chosen, record))
    request = BundleRequest(find_target("cpu"), tmp_path / "out")
    options = ExportOptions(samples=4, budget=Budget(BUDGET, [], record.data))
    (found,) = export(student, [request], options)
    assert read_report(found.bundle) == found.report == ExportReport(precision=record)
    rungs = [found.bundle.tower(name).rungs for name in TOWERS]
    assert [[rung.precision for rung in of_tower] for of_tower in rungs] == [["fp32"]] * 2


def test_a_bundle_without_data_tells_of_none(cpu):
    document = json.loads((cpu.directory / "bundle.json").read_text())
    assert document["recall"] is None and document["precision"] is None
    assert read_report(Bundle.load(cpu.directory)).precision is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "cpu", "--precision", "auto"], "--data"),
        (
            ["--target", "snapdragon", "--target", "cpu", "--precision", "auto", "--data", "DATA"],
            "family",
        ),
        (
            ["--target", "SM8350", "--target", "SM8750", "--precision", "auto", "--data", "DATA"],
            "v73",
        ),
        (
            ["--target", "snapdragon", "--via", "aihub", "--precision", "auto", "--data", "DATA"],
            "runs on this machine",
        ),
        (["--target", "cpu", "--precision", "w8a8"], "chips with an NPU"),
        (["--target", "snapdragon", "--precision", "w4"], "w4"),
    ],
)
def test_a_precision_that_cannot_be_chosen_is_wrong_usage(
    options, message, packaged_pairs, tmp_path
):
    options = [str(packaged_pairs) if option == "DATA" else option for option in options]
    result = CliRunner().invoke(app, ["export", *options, "--out", str(tmp_path / "b")])
    assert result.exit_code == 2
    assert message in result.output.replace("│", " ").replace("\n", " ")
    assert not (tmp_path / "b").exists()


def test_the_users_calibration_counts_more_than_the_captions_of_the_data(
    checkpoint, packaged_pairs, tmp_path
):
    data = shutil.copytree(packaged_pairs, tmp_path / "data")
    (captions,) = data.glob("*.json")
    images = json.loads(captions.read_text())["images"]
    images[-1]["split"] = "test"
    captions.write_text(json.dumps({"images": images}))
    own = tmp_path / "own"
    own.mkdir()
    (own / "only.jpg").write_bytes(b"no photo")
    (own / "captions.csv").write_text("photo,caption\nonly.jpg,the only caption\n")
    options = ["--student", f"open_clip:local-dir:{checkpoint}", "--target", "cpu", "--precision"]
    options += ["auto", "--data", str(data), "--max-recall-drop", "9", "--samples", "4"]
    options += ["--allow-low-parity", "--calibration", str(own), "--out", str(tmp_path / "b")]
    done = CliRunner().invoke(app, ["export", *options])
    assert f"None of the photos in {own} can be decoded" in str(done.exception)


def test_the_facts_of_a_data_set_cover_its_content(packaged_pairs):
    photos = load_captions(packaged_pairs, "val")
    facts = data_facts(packaged_pairs, photos)
    assert (facts.photos, facts.captions, facts.split) == (len(photos), 2 * len(photos), "val")
    assert data_facts(packaged_pairs, photos) == facts
    assert data_facts(packaged_pairs, photos[1:]).sha256 != facts.sha256
    other = [dataclasses.replace(photos[0], captions=("a dog", "dogs")), *photos[1:]]
    assert data_facts(packaged_pairs, other).sha256 != facts.sha256


def test_the_facts_of_a_data_set_cover_the_photos_bytes(tmp_path):
    photo = tmp_path / "a.jpg"
    found = []
    for content in (b"a cat", b"a dog"):
        photo.write_bytes(content)
        facts = data_facts(tmp_path, [CaptionedPhoto(photo, ("a pet", "an animal"), "val")])
        assert (facts.name, facts.captions) == (tmp_path.name, 2)
        found.append(facts.sha256)
    assert found[0] != found[1]


PHOTOS = 4


class Numbers:
    """A student whose photo or text of a number has that unit vector."""

    def preprocess(self, path: Path) -> np.ndarray:
        return np.eye(PHOTOS, dtype=np.float32)[int(path.name)]

    def read(self, texts: list[str]) -> Texts:
        ids = np.array([[int(text)] for text in texts], np.int32)
        ones = np.ones(ids.shape, np.float32)
        return Texts(ids, np.eye(PHOTOS, dtype=np.float32)[ids], ones, ones)

    def tower(self, name: str) -> torch.nn.Module:
        class First(torch.nn.Module):
            def forward(self, values, *rest):
                return values.flatten(1)

        return First()


@pytest.fixture
def numbers(tmp_path):
    """Make a meter of four photos, whose token table has the last two rows swapped; and candidates
    of towers that change what they are given, and note that they were loaded."""
    photos = [CaptionedPhoto(Path(str(number)), (str(number),)) for number in range(PHOTOS)]
    swapped = np.eye(PHOTOS, dtype=np.float32)[[0, 1, 3, 2]]
    loaded: list[str] = []

    def meter() -> RecallMeter:
        return RecallMeter(Numbers(), photos, swapped.__getitem__, tmp_path / "kept", silent)

    def candidate(tower, content, change, precision="int8") -> Candidate:
        path = tmp_path / f"{tower} {content}"
        path.write_text(path.name)

        def load(path):
            loaded.append(content)
            return lambda inputs: change(next(iter(inputs.values())).reshape(-1, PHOTOS))

        return Candidate(tower, precision, "label", 1, 1, path, load)

    return meter, candidate, loaded


def louder(rows):
    """Each nearest to its own still, but the first has the largest products with all."""
    return (rows + np.float32(0.5)) * np.geomspace(100, 1, len(rows), dtype=np.float32)[:, None]


def test_a_tower_s_drop_is_what_float_finds_and_it_does_not(numbers):
    meter, candidate, loaded = numbers
    same, mixed_up = candidate("image", "same", louder), candidate("image", "mixed", np.flipud)
    text = candidate("text", "text", lambda rows: rows)
    whole = candidate("text", "float", pytest.fail, precision="fp32")
    measured = meter()
    measured.embed([mixed_up, same])
    measured.embed([text, whole])
    lost = {
        name: measured.drop({candidate.tower: candidate}).points
        for name, candidate in {
            "same": same,
            "mixed": mixed_up,
            "float": whole,
            "rows": text,
        }.items()
    }
    third = 100 / 3  # of four photos all are among the first five
    expected = {"same": 0, "mixed": third, "float": 0, "rows": third / 2}
    assert lost == pytest.approx(expected, abs=1e-3)
    assert loaded == ["mixed", "same", "text"]
    # A search that was interrupted goes on with what was kept, by the content of the files.
    again = meter()
    again.embed([same, mixed_up, text, candidate("image", "new", np.flipud)])
    assert again.drop({"image": same, "text": text}).points == pytest.approx(third / 2, abs=1e-3)
    assert loaded == ["mixed", "same", "text", "new"]


def test_progress_counts_through_all_recipes_of_a_tower(student, packaged_pairs, tmp_path):
    def candidate(name: str) -> Candidate:
        (tmp_path / name).write_text(name)
        return Candidate("image", "int8", name, 1, 1, tmp_path / name, lambda path: of_ones)

    def of_ones(inputs):
        return np.ones((len(inputs["pixels"]), 8), np.float32)

    photos = [photo for photo in load_captions(packaged_pairs, None) if photo.split == "val"]
    steps: list[tuple[str, int, int]] = []
    noted = lambda *step: steps.append(step)  # noqa: E731
    meter = RecallMeter(student, photos, lambda ids: None, tmp_path / "kept", noted)
    meter.embed([candidate("first"), candidate("other")])
    done = [count for _, count, _ in steps]
    assert done == sorted(done)
    assert steps[-1] == ("recall of image, other", 2 * len(photos), 2 * len(photos))
