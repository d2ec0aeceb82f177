"""`export` makes what its options ask for."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.export import pipeline
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.bundle_builder import BundleRequest
from mcad_mobile.export.pipeline import ExportOptions
from mcad_mobile.export.targets import find_target
from mcad_mobile.students import load
from tests.support.paths import ROOT

SHIPPED = str(ROOT / "models" / "mcad-s")


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command, and returns the student, the requests and the options of the export."""

    def call(*options: object) -> Any:
        calls = []

        def run(student, requests, options, progress):
            calls.append((student, requests, options))
            raise KeyboardInterrupt

        class Student:
            def __init__(self, *asked: object) -> None:
                self.asked = asked

            def sha256(self) -> str:
                return "0" * 64

        monkeypatch.setattr(pipeline, "export", run)
        monkeypatch.setattr(load, "load_student", Student)
        done = CliRunner().invoke(app, ["export", *map(str, options)])
        assert calls, f"{done.output}{done.exception}"
        return calls[0]

    return call


def test_a_target_alone_is_calibrated_on_32_packaged_photos(export, tmp_path):
    student, (request,), options = export("-t", "SM8650", "-o", tmp_path / "b")
    assert student.asked == (None, None)
    assert (request.target.id, request.out) == ("snapdragon-8-gen-3", tmp_path / "b")
    assert (request.cloud, request.precisions) == (None, None)
    assert options == ExportOptions(calibrate_on=[])
    assert (options.samples, options.simulated_inputs) == (32, 16)


def test_several_targets_have_folders_of_their_own_in_the_order_they_were_named(export, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(packaged_photos()[0], own)
    student, requests, options = export(
        *("-t", "SM8750", "-t", "SM8650", "-t", "sm8750", "-o", tmp_path / "all", "--samples", 9),
        *("--student", SHIPPED, "--dim", 64, "--precision", "w4a16", "--allow-low-parity"),
        *("--calibration", own),
    )
    assert student.asked == (SHIPPED, 64)
    ids = ["snapdragon-8-elite", "snapdragon-8-gen-3"]
    assert [request.target.id for request in requests] == ids
    assert [request.out for request in requests] == [tmp_path / "all" / name for name in ids]
    assert [request.precisions for request in requests] == [{"image": "w4a16", "text": "w4a16"}] * 2
    assert options == ExportOptions(own, 9, (), allow_low_parity=True)


def test_a_search_measures_on_val_and_calibrates_on_train(export, packaged_pairs, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "images").symlink_to(packaged_pairs / "images")
    text = (packaged_pairs / "dataset_packaged.json").read_text()
    (data / "dataset_packaged.json").write_text(text.replace('"val"', '"test"', 1))
    chosen = ("-t", "cpu", "-o", tmp_path / "b", "--precision", "auto", "--data", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcad_mobile.cli.export.embed_by_student", lambda *_: None)
        _, (request,), options = export(*chosen)
        assert options.budget.points == 0.5
        assert [*options.budget.photos] == load_captions(data, "val")
        assert [*options.calibrate_on] == load_captions(data, "train")
        assert options.budget.data.split == "val"
        assert request.precisions is None
        more = ("--max-recall-drop", 1.5, "--calibration", data / "images")
        _, _, options = export(*chosen, *more)
    assert (options.budget.points, [*options.calibrate_on]) == (1.5, [])
    assert options.calibration == data / "images"


def test_a_cloud_compiles_for_the_phone_that_was_named(export, tmp_path, monkeypatch):
    opened = []

    def open_cloud(*arguments):
        opened.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(CloudCompiler, "open", open_cloud)
    for via in ("aihub", "aihub:Galaxy S25"):
        options = ["export", "-t", "SM8750", "-o", str(tmp_path / "b"), "--via", via]
        CliRunner().invoke(app, options)
    assert [(chip.chip, jobs, phone) for chip, jobs, phone in opened] == [
        ("SM8750", tmp_path / "b.aihub.json", None),
        ("SM8750", tmp_path / "b.aihub.json", "Galaxy S25"),
    ]
    wrong = CliRunner().invoke(app, ["export", "-t", "cpu", "-o", "b", "--via", "aihub"])
    assert wrong.exit_code == 2 and "Snapdragon chips" in wrong.output
    assert not Path("b").exists()


class Weighed:
    """A student of so many weights."""

    def __init__(self, image: int, text: int, table: int) -> None:
        self._weights = {"image": image, "text": text}
        self.token_table = torch.zeros(table)

    def tower(self, name: str) -> nn.Module:
        return nn.Linear(self._weights[name], 1, bias=False)


@pytest.mark.parametrize(
    ("chip", "bytes_a_weight"),
    [("cpu", 1 + 4), ("SM8650", 1 + 1)],  # int8 and fp32; a context binary and int8
)
def test_room_is_asked_for_what_cannot_be_less(monkeypatch, tmp_path, chip, bytes_a_weight):
    asked = []
    monkeypatch.setattr(pipeline, "check_writable", lambda *about: asked.append(about))
    monkeypatch.setattr(pipeline, "check_room", lambda *about: asked.append(about))
    request = BundleRequest(find_target(chip), tmp_path / "bundle")
    pipeline.check_place(Weighed(3000, 5000, 700), request)
    assert asked == [
        (tmp_path / "bundle", bytes_a_weight * 8000 + 2 * 700),
        (Path(tempfile.gettempdir()), 4 * 5000),
    ]


def test_captions_of_data_calibrate_texts_eight_for_a_photo(monkeypatch, tmp_path):
    class Begun(Exception):
        pass

    def build(*about, **options):
        begun.append((about[:3], options))
        raise Begun

    begun = []
    monkeypatch.setattr(pipeline, "check_place", lambda *about: None)
    monkeypatch.setattr(pipeline, "BundleBuilder", build)
    monkeypatch.setattr(pipeline, "missing_samples", lambda *about: [])
    monkeypatch.setattr(pipeline, "load_samples", lambda *about: (about, "held out"))
    monkeypatch.setattr(pipeline, "captioned_samples", lambda *about, **sizes: (about, sizes))
    requests = [BundleRequest(find_target(chip), tmp_path / chip) for chip in ("cpu", "cpu")]
    own = ExportOptions(Path("own"), 4, allow_low_parity=True, simulated_inputs=5)
    for options in (own, ExportOptions(samples=4, calibrate_on=["photo"])):
        with pytest.raises(Begun):
            pipeline.export("student", requests, options)
    first, second = [about for about, _ in begun]
    assert first == ("student", ("student", Path("own"), 4), "held out")
    captioned = (("student", ["photo"]), {"photos": 4, "texts": 32})
    assert second == ("student", captioned, "held out")
    asked = begun[0][1]
    assert (asked["allow_low_parity"], asked["simulated_inputs"]) == (True, 5)
    assert asked["rungs"] == 4  # int8 and fp32 of either tower, made once for both


def test_data_says_where_it_is_too_small_for_its_budget():
    data = SimpleNamespace(photos=100, split="val")
    for needed, said in ((100, []), (101, ["101 would do"])):
        record = SimpleNamespace(photos_to_tell=needed, data=data, max_recall_drop=0.5)
        found = pipeline.missing_photos(record)
        assert len(found) == len(said) and all(words in found[0] for words in said)
