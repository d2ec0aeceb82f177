"""Precisions that are chosen by recall: the choice, what is told of it, and that it goes on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from msgspec import to_builtins
from msgspec.structs import replace as replace_fields
from tiny_students import write_open_clip
from typer.testing import CliRunner

from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.cli import app
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine import SearchEngine
from mcad_mobile.evaluate import Recall, evaluate
from mcad_mobile.export.budget import budget_on
from mcad_mobile.export.pipeline import Order, export, too_little
from mcad_mobile.export.recall_judge import RecallJudge, data_facts
from mcad_mobile.export.smallest import largest_within
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_open_clip(tmp_path_factory.mktemp("smallest") / "student")


@pytest.fixture(scope="module")
def student(checkpoint):
    return load_student(f"open_clip:local-dir:{checkpoint}")


@pytest.fixture(scope="module")
def make(student, packaged_pairs, tmp_path_factory):
    """Exports for a budget of so many points."""
    folder = tmp_path_factory.mktemp("exported")
    photos = load_captions(packaged_pairs, None)
    split = {name: [one for one in photos if one.split == name] for name in ("train", "val")}

    def run(points: float, out: str) -> Bundle:
        budget = budget_on(student, packaged_pairs, split["val"], points)
        (exported,) = export(
            student,
            [Order(find_target("cpu"), folder / out)],
            samples=4,
            allow_low_parity=True,
            budget=replace(budget, kept=folder / "kept"),
            calibrate_on=split["train"],
        )
        assert not (folder / "kept").exists()
        return exported.bundle

    return run


@pytest.fixture(scope="module")
def one_point(make):
    return make(1.0, "one")


@pytest.mark.parametrize("last", [0, 1, 5, 11, 12])
def test_the_largest_that_is_within_is_found_by_halves(last):
    asked = []

    def within(number):
        asked.append(number)
        return number <= last

    assert largest_within(13, within) == last
    assert len(asked) <= 5
    assert 0 not in asked


def test_what_is_chosen_was_measured_and_lies_within(one_point):
    record = one_point.precision
    last = [one for one in record.steps if one.within][-1]
    assert all(one.within == (one.drop <= 1.0) for one in record.steps)
    assert all(one.bytes >= last.bytes for one in record.steps if one.within)
    four = {name: [w for w in record.weights if w.tower == name and w.bits == 4] for name in TOWERS}
    for name in TOWERS:
        rung = one_point.tower(name).rungs[0]
        packed = [
            t
            for t in onnx.load(one_point.path(rung.files[0])).graph.initializer
            if t.name.endswith("/packed")
        ]
        assert len(packed) == len(four[name])
        told = getattr(last, name)
        assert told.startswith(f"{len(packed)} of") if packed else told == rung.precision
    each = [weight.loss / weight.numbers for weight in record.weights]
    assert each == sorted(each)
    assert last.image in record.why
    assert f"{last.drop:.2f}" in record.why


def test_the_recall_that_is_told_is_that_of_the_files(make, packaged_pairs):
    bundle = make(100.0, "all")
    assert all(weight.bits == 4 for weight in bundle.precision.weights)
    assert len(bundle.precision.steps) == 1
    photos = load_captions(packaged_pairs, "val")
    engine = SearchEngine(bundle, runtime="onnx")
    assert {engine.image_rung.rung.precision, engine.text_rung.rung.precision} == {"mixed"}
    found = evaluate(photos, engine.embed_photo, engine.embed_text, lambda *_: None)
    assert bundle.precision.steps[0].mean_recall == pytest.approx(found.mean_recall, abs=0.01)
    assert bundle.precision.data.photos == len(photos)


def test_where_even_8_bits_cost_too_much_towers_stay_float(make, monkeypatch):
    real = RecallJudge._once

    def spoiled(self, key, embed):
        found = real(self, key, embed)
        return found if key.startswith(self.student.sha256()) else np.zeros_like(found)

    monkeypatch.setattr(RecallJudge, "_once", spoiled)
    bundle = make(1.0, "float")
    for name in TOWERS:
        assert [rung.precision for rung in bundle.tower(name).rungs] == ["fp32"]
    assert bundle.precision.steps[-1].drop == 0
    assert {weight.bits for weight in bundle.precision.weights} == {32}


def test_a_search_that_was_cut_goes_on_and_chooses_the_same(one_point, make, monkeypatch):
    whole = one_point
    embedded = []
    real = RecallJudge._embeddings

    def cut(self, name, path):
        if len(embedded) == 2:
            raise KeyboardInterrupt
        embedded.append(name)
        return real(self, name, path)

    monkeypatch.setattr(RecallJudge, "_embeddings", cut)
    with pytest.raises(KeyboardInterrupt):
        make(1.0, "again")
    monkeypatch.setattr(RecallJudge, "_embeddings", real)
    computed = []
    once = RecallJudge._of_photos
    monkeypatch.setattr(
        RecallJudge,
        "_of_photos",
        lambda self, embed, what: computed.append(what) or once(self, embed, what),
    )
    again = make(1.0, "again")
    towers = {one.image for one in whole.precision.steps}
    assert "float" not in computed
    assert len(computed) == len(towers) - 1  # what came before the cut was kept
    assert again.precision == whole.precision
    for name in TOWERS:
        files = [bundle.tower(name).rungs[0].files for bundle in (whole, again)]
        assert files[0] == files[1]


def test_a_bundle_without_data_tells_of_none(cpu):
    said = json.loads((cpu.directory / "bundle.json").read_text())
    assert not {"recall", "precision"} & set(said)
    assert Bundle.load(cpu.directory).precision is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--target", "cpu", "--precision", "auto"], "--data"),
        (["--target", "snapdragon", "--precision", "auto", "--data", "DATA"], "--target cpu"),
        (["--target", "cpu", "--precision", "w8a8"], "Snapdragon"),
        (["--target", "snapdragon", "--precision", "w4"], "w4"),
    ],
)
def test_what_cannot_be_chosen_is_wrong_usage(given, told, packaged_pairs, tmp_path):
    given = [str(packaged_pairs) if one == "DATA" else one for one in given]
    result = CliRunner().invoke(app, ["export", *given, "--out", str(tmp_path / "b")])
    assert result.exit_code == 2
    assert told in result.output.replace("│", " ").replace("\n", " ")
    assert not (tmp_path / "b").exists()


def test_a_data_set_is_told_by_what_is_in_it(packaged_pairs):
    photos = load_captions(packaged_pairs, "val")
    facts = data_facts(packaged_pairs, photos)
    assert (facts.photos, facts.captions, facts.split) == (len(photos), 2 * len(photos), "val")
    assert data_facts(packaged_pairs, photos) == facts
    assert data_facts(packaged_pairs, photos[1:]).sha256 != facts.sha256
    other = [dataclasses.replace(photos[0], captions=("a dog", "dogs")), *photos[1:]]
    assert data_facts(packaged_pairs, other).sha256 != facts.sha256


def test_data_that_is_too_small_to_tell_the_budget_is_said_so(one_point):
    record = replace_fields(one_point.precision, photos_to_tell=10**6)
    (sentence,) = too_little(record)
    assert str(record.data.photos) in sentence
    assert "1000000 would do" in sentence
    assert too_little(replace_fields(record, photos_to_tell=record.data.photos)) == []


def test_recall_float_and_exported_is_kept_with_the_bundle(checkpoint, packaged_pairs, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(packaged_pairs, data)
    file = data / "dataset_packaged.json"
    file.write_text(file.read_text().replace('"val"', '"test"'))
    student = f"open_clip:local-dir:{checkpoint}"
    given = ["--student", student, "--data", str(data), "--samples", "4", "--allow-low-parity"]
    out = tmp_path / "bundle"
    result = CliRunner().invoke(
        app, ["export", "--target", "cpu", "--out", str(out), "--json", *given]
    )
    assert result.exit_code == 0, result.output
    said, recall = json.loads(result.stdout)["recall"], Bundle.load(out).recall
    for way in ("text_to_image", "image_to_text"):
        assert dataclasses.asdict(Recall(**said["float"][way])) == to_builtins(
            getattr(recall.exact, way)
        )
        assert said["exported"][way] == to_builtins(getattr(recall.exported, way))
    lost = said["float"]["mean_recall"] - said["exported"]["mean_recall"]
    assert recall.drop == pytest.approx(lost, abs=0.02)
    assert (recall.image, recall.text) == ("onnx int8", "onnx int8")
    assert recall.data == data_facts(data, load_captions(data, "test"))
