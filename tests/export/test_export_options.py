"""`export` makes what its options ask for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle, Parity
from mcad_mobile.errors import DiskError, ExportError, PhotoError
from mcad_mobile.export import export_bundle, pipeline, recall_drop
from mcad_mobile.export.aihub_compiler import CloudCompiler
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.export_report import ExportReport, read_report
from mcad_mobile.export.pipeline import Exported, ExportOptions
from mcad_mobile.recall import EmbeddedPairs
from mcad_mobile.students import load
from mcad_mobile.targets import find_target
from tests.support.paths import ROOT
from tests.support.report_documents import precisions_chosen
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_students import write_open_clip

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
            def __init__(self, *asked: object, **files: object) -> None:
                self.asked = asked

            def sha256(self) -> str:
                return "0" * 64

        monkeypatch.setattr(pipeline, "export", run)
        monkeypatch.setattr(load, "load_student", Student)
        monkeypatch.setattr(load, "load_with_text", Student)
        done = CliRunner().invoke(app, ["export", *map(str, options)])
        assert calls, f"{done.output}{done.exception}"
        return calls[0]

    return call


def test_a_target_alone_is_calibrated_on_32_packaged_photos(export, tmp_path):
    student, (request,), options = export("-t", "SM8650", "-o", tmp_path / "b")
    assert student.asked == (None, None)
    assert (request.target.id, request.out) == ("snapdragon-8-gen-3", tmp_path / "b")
    assert (request.cloud, request.precisions) == (None, None)
    assert options == ExportOptions(None, 32, [], False, 16, None, False)
    other = ("--text", "multilingual", "--student", SHIPPED, "--dim", 64)
    student, *_ = export("-t", "cpu", "-o", tmp_path / "c", *other)
    assert student.asked == ("multilingual", SHIPPED, 64)
    both = ("--text", "default,multilingual", *other[2:])
    student, _, options = export("-t", "cpu", "-o", tmp_path / "d", *both)
    assert student.asked == other[3::2]
    assert options.multilingual.asked == ("multilingual", SHIPPED, 64)


def test_an_export_without_options_checks_its_place_first(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    student = SimpleNamespace(tower=lambda name: None)
    with pytest.raises(ExportError, match=tmp_path.name):
        pipeline.export(student, [BundleRequest(find_target("cpu"), tmp_path)])


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
    precisions = dict.fromkeys(("image", "text", "multilingual"), "w4a16")
    assert [request.precisions for request in requests] == [precisions] * 2
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
    assert [(chip.chip, phone) for chip, phone in opened] == [
        ("SM8750", None),
        ("SM8750", "Galaxy S25"),
    ]
    for chip, via in (("cpu", "aihub"), ("SM8750", "cloud")):
        wrong = CliRunner().invoke(app, ["export", "-t", chip, "-o", "b", "--via", via])
        assert wrong.exit_code == 2 and "Snapdragon chips" in wrong.output
    assert not Path("b").exists()


class Weighed:
    """A student of so many weights."""

    def __init__(self, image: int, text: int, table: int, table_bits: int) -> None:
        self._weights = {"image": image, "text": text}
        self.token_table = torch.zeros(table)
        self.text_spec = SimpleNamespace(table_bits=table_bits)

    def tower(self, name: str) -> nn.Module:
        return nn.Linear(self._weights[name], 1, bias=False, device="meta")


@pytest.mark.parametrize(
    ("chip", "bytes_a_weight", "table_bits"),
    [("cpu", 1 + 4, 16), ("SM8650", 1 + 1, 4)],  # int8 and fp32; a context binary and int8
)
def test_room_is_asked_for_what_cannot_be_less(tmp_path, chip, bytes_a_weight, table_bits):
    request = BundleRequest(find_target(chip), tmp_path / "bundle")
    asked = pipeline.least_room(Weighed(3000, 5000, 700, table_bits), request)
    assert asked == (bytes_a_weight * 8000 + 700 * table_bits // 8, 4 * 5000)
    with pytest.raises(DiskError):
        pipeline.check_place(Weighed(10**15, 10**15, 700, table_bits), request)


@pytest.mark.parametrize("error", [ExportError("It does not compile."), KeyboardInterrupt()])
def test_an_export_that_fails_or_is_interrupted_leaves_no_part_of_a_bundle(error, tmp_path):
    with pytest.raises(type(error)), pipeline.replacing(tmp_path / "new" / "cpu") as partial:
        (partial / "image.onnx").touch()
        raise error
    assert [*tmp_path.iterdir()] == []


def test_an_export_begins_anew_where_a_killed_one_left_a_part_of_a_bundle(tmp_path):
    (tmp_path / ".cpu.partial").mkdir()
    (tmp_path / ".cpu.partial" / "half.onnx").touch()
    with pipeline.replacing(tmp_path / "cpu") as partial:
        assert not [*partial.iterdir()]
    assert [path.name for path in tmp_path.iterdir()] == ["cpu"]


def test_a_bundle_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    make_tiny_bundle(tmp_path / "disk" / "v1", dim=16)
    (tmp_path / "current").symlink_to("disk/v1")
    for _ in range(2):
        with pipeline.replacing(tmp_path / "current") as partial:
            assert partial.parent == tmp_path / "disk"  # a rename does not cross disks
            make_tiny_bundle(partial)
        assert (tmp_path / "current").is_symlink()
        assert Bundle.load(tmp_path / "disk" / "v1").dim != 16
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_captions_of_data_calibrate_texts_eight_for_a_photo(packaged_pairs, tmp_path):
    student = load.load_student(f"open_clip:local-dir:{write_open_clip(tmp_path / 'student')}")
    photos = load_captions(packaged_pairs, None)
    own = pipeline.calibration_samples(student, ExportOptions(samples=4))
    given = pipeline.calibration_samples(student, ExportOptions(samples=4, calibrate_on=photos))
    texts = min(32, len(photos))
    assert [(len(one.pixels), len(one.ids)) for one, _, _ in (own, given)] == [(4, 4), (4, texts)]
    assert {photo.captions[0] for photo in photos} >= {*given[0].texts}
    assert np.array_equal(own[1].pixels, given[1].pixels)  # what is compared on stays


def test_python_finds_no_photos_before_any_work(tmp_path):
    with pytest.raises(PhotoError, match="own"):
        export_bundle("SM8650", tmp_path / "b", student="of no kind", calibration=tmp_path / "own")


def test_data_says_where_it_is_too_small_for_its_budget():
    data = SimpleNamespace(photos=100, split="val")
    for needed, said in ((100, []), (101, ["101 would be enough"])):
        record = SimpleNamespace(photos_to_tell=needed, data=data, max_recall_drop=0.5)
        found = pipeline.missing_photos(record)
        assert len(found) == len(said) and all(words in found[0] for words in said)


@pytest.fixture
def made(monkeypatch, tmp_path) -> Any:
    """Runs the command, where each bundle is a tiny one with a fallback; the last has precisions
    that were chosen."""
    monkeypatch.setenv("COLUMNS", "200")
    tiny = make_tiny_bundle(tmp_path / "made" / "sd")
    (rung,) = tiny.image.rungs
    for_npu = replace(rung, runtime="qnn", precision="w8a16", npu_nodes=2, total_nodes=3)
    for_npu = replace(for_npu, parity=Parity(16, 0.98765, 0.87654), notes=("A note.",))
    rungs = (for_npu, replace(rung, notes=("A note.", "Another.")))
    tiny = replace(tiny, image=replace(tiny.image, rungs=rungs))
    tiny = replace(tiny, student=replace(tiny.student, licence="non-commercial-research"))

    def call(*options: object, bundles: int = 1, measured: bool = False) -> Any:
        all_made = [*[replace(tiny, name="first")] * (bundles - 1), tiny]
        chosen = read_report(precisions_chosen(tiny)).precision if measured else None
        report = ExportReport(precision=chosen)
        results = [
            Exported(bundle, ["Beware.", f"Of {bundle.name}."], report) for bundle in all_made
        ]
        monkeypatch.setattr(pipeline, "export", lambda *about: results)
        monkeypatch.setattr(load, "load_student", lambda *about, **files: "student")
        done = CliRunner().invoke(app, ["export", "-o", str(tmp_path / "o"), *map(str, options)])
        assert done.exception is None, f"{done.output}{done.exception}"
        return done

    call.tiny = tiny
    return call


def test_a_bundle_is_told_with_its_rungs_their_notes_and_its_licence(made):
    tiny, size = made.tiny, "0.8 MB"
    done = made("-t", "SM8650")
    assert done.stdout.splitlines() == [
        f"{tiny.directory} for cpu ()",
        "tower       runs as    size    operators       cosine to float  worst",
        f"image       qnn w8a16  {size}  2/3 on the NPU  0.9877           0.8765",
        f"  fallback  onnx fp32  {size}  -               1.0000           1.0000",
        "text        onnx fp32  0.0 MB  -               1.0000           1.0000",
        "A note.",
        "Another.",
        "Licence of the weights: non-commercial-research, which allows research and education "
        "only; an app needs --accept-licence non-commercial-research.",
    ]
    assert done.stderr.splitlines()[-2:] == ["warning: Beware.", "warning: Of tiny."]
    facts = {
        **{"bundle": str(tiny.directory), "target": "cpu", "student": "tiny"},
        "licence": "non-commercial-research",
        "towers": {name: tiny.tower(name).rungs[0].facts() for name in ("image", "text")},
    }
    assert json.loads(made("-t", "SM8650", "--json").stdout) == facts
    several = made("-t", "SM8650", "-t", "SM8750", "--json", bundles=2)
    assert json.loads(several.stdout) == [facts, facts]
    warned = [line for line in several.stderr.splitlines() if line.startswith("warning")]
    assert warned == ["warning: Beware.", "warning: Of first.", "warning: Of tiny."]
    searched = made("-t", "cpu", measured=True).stdout.splitlines()[8:]
    assert searched == [
        "Tried on photos val: 120 photos, 600 captions; float mR 56.00, budget 0.5 points",
        "Tower  Precision                 MB   Drop alone",
        "text   2 of 9 weights in 4 bits  4.1  0.55 ± 0.20",
        "2 pairs measured, the smallest first:",
        "Image  Text                      MB   mR     Drop         Budget",
        "int8   2 of 9 weights in 4 bits  9.0  55.25  0.75 ± 0.40  over",
        "int8   int8                      9.6  55.75  0.25 ± 0.30  chosen",
        "Because of this. Judged by the files.",
    ]


def test_recall_on_data_is_measured_told_and_kept_in_the_bundles(
    made, monkeypatch, packaged_pairs, tmp_path
):
    """Of eight photos with captions of their own; the exported towers swap the last two."""
    rows = np.eye(8, 64, dtype=np.float32)
    swapped = rows[[0, 1, 2, 3, 4, 5, 7, 6]]
    data = tmp_path / "data"
    data.mkdir()
    (data / "images").symlink_to(packaged_pairs / "images")
    noted = json.loads((packaged_pairs / "dataset_packaged.json").read_text())
    noted["images"] = [{**photo, "split": "test"} for photo in noted["images"][:8]]
    (data / "dataset_test.json").write_text(json.dumps(noted))
    photos = load_captions(data, "test")
    owners = np.repeat(np.arange(8), [len(photo.captions) for photo in photos])
    student = EmbeddedPairs(rows, rows[owners], owners)
    by_engine = {photo.path: swapped[number] for number, photo in enumerate(photos)}
    by_engine |= {
        text: rows[number] for number, photo in enumerate(photos) for text in photo.captions
    }

    class Engine:
        def __init__(self, bundle, runtime=None, precision=None):
            assert (runtime, precision) in ((None, None), ("onnx", "fp32"))
            self.image_rung = self.text_rung = SimpleNamespace(rung=bundle.text.rungs[0])
            self.embed_photo = self.embed_text = by_engine.__getitem__

    monkeypatch.setattr(recall_drop, "SearchEngine", Engine)
    monkeypatch.setattr("mcad_mobile.cli.export.embed_by_student", lambda *about: student)
    done = made("-t", "SM8650", "-t", "SM8750", "--data", data, "--max-recall-drop", 2, bundles=2)
    # A tie counts as a loss: the two photos come last among 8, and their captions among 16.
    whole, lost = "100.0 100.0 100.0", "75.0 75.0 100.0 75.0 75.0 75.0"
    told = done.stdout.splitlines()[16:]
    assert [line.split() for line in told] == [
        line.split()
        for line in (
            f"{data} test: 8 photos, {len(owners)} captions",
            "photos photos photos texts texts texts",
            "R@1 R@5 R@10 R@1 R@5 R@10 mR",
            f"float student {whole} {whole} 100.00",
            f"CPU rungs {lost} 79.17",
            "mR with photos embedded by one rung and texts by another",
            "Photos by texts by float texts by onnx fp32",
            "float 100.00 (0.00 ± 0.00) 100.00 (0.00 ± 0.00)",
            "onnx fp32 79.17 (20.83 ± 26.73) 79.17 (20.83 ± 26.73)",
        )
    ]
    warned = [line for line in done.stderr.splitlines() if "points below" in line]
    assert (
        len(warned) == 2
        and "20.83 ± 26.73 points below the float student's; the limit is 2" in warned[0]
    )
    kept = read_report(made.tiny).recall
    assert (kept.image, kept.text) == ("onnx fp32", "onnx fp32")
    assert (kept.drop, kept.margin) == (20.833, 26.732)
    assert (kept.data.name, kept.data.split, kept.data.photos) == ("data", "test", 8)
    assert (kept.exact.mean_recall, kept.exported.text_to_image.r1) == (100.0, 75.0)
    assert [(pair.image, pair.text) for pair in kept.pairs] == [
        (image, text) for image in ("float", "onnx fp32") for text in ("float", "onnx fp32")
    ]
    (told,) = json.loads(f"[{made('-t', 'SM8650', '--data', data, '--json').stdout}]")
    assert told["recall"]["float"]["mean_recall"] == 100.0
    assert told["recall"]["exported"]["text_to_image"] == {"r1": 75.0, "r5": 75.0, "r10": 100.0}
    assert [pair["drop"] for pair in told["recall"]["pairs"]] == [0.0, 0.0, 20.833, 20.833]
