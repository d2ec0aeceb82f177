"""What cannot be trained says why before it begins: a student, its batches, a photo, a library."""

from __future__ import annotations

import re
import sys

import pytest
from msgspec.structs import replace

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.dataset import Extra
from mcad_mobile.distill.train_student import Material, RunOptions, train
from mcad_mobile.distill.trainee import StudentChoice
from mcad_mobile.errors import MissingExtra, PhotoError, StudentError, TrainingError, install_line
from mcad_mobile.students.load import load_student
from tests.distill.test_any_student import RECIPE, silent, start
from tests.support.tiny_students import write_hf


def refused(asked, material, tmp_path, recipe=RECIPE, error=StudentError):
    with pytest.raises(error) as caught:
        train(
            material,
            tmp_path / "out",
            recipe,
            tmp_path / "cache",
            silent,
            RunOptions(student=asked),
        )
    assert caught.value.hint and not (tmp_path / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_clip:ViT-B-33", ("has no model called 'ViT-B-33'", "ViT-B-32")),
        ("towers:timm/resnet19+hf/x", ("has no model called 'resnet19'", "resnet18")),
        ("towers:timm/test_vit+hf/./nowhere", ("no folder ./nowhere",)),
        ("towers:resnet18", ("does not name two towers", "towers:timm/")),
        ("opn_clip:ViT-B-32", ("opn_clip:ViT-B-32", "Nearest: open_clip")),
        ("open_clip:ViT-B-32:openai", ("names weights",)),
        ("open_clip:coca_ViT-B-32", ("cannot be exported", "CoCa")),
    ],
)
def test_an_unknown_student_lists_the_nearest(spec, message, material, tmp_path):
    found = refused(StudentChoice(spec, from_scratch=True), material, tmp_path)
    assert all(part in found for part in message), found


def test_a_text_tower_without_a_rewrite_lists_those_that_have_one(material, tmp_path):
    folder = write_hf(tmp_path / "clip", "clip")
    asked = StudentChoice(f"towers:timm/test_vit+hf/{folder}", from_scratch=True)
    assert "bert, xlm-roberta" in refused(asked, material, tmp_path)


def test_towers_of_different_width_without_a_projection_are_named(material, text_tower, tmp_path):
    asked = StudentChoice(f"towers:timm/test_vit+hf/{text_tower}", from_scratch=True)
    found = refused(asked, material, tmp_path, replace(RECIPE, projection=0))
    assert "64" in found and "32" in found and "projection" in found


def test_batch_norms_with_a_batch_of_one_are_named(material, tmp_path):
    asked = start("towers", tmp_path / "start")
    small = replace(RECIPE, batch=1)
    assert "batch norms" in refused(asked, material, tmp_path, small, TrainingError)
    # Layer norms do not mind.
    train(
        material,
        tmp_path / "s",
        small,
        tmp_path,
        silent,
        RunOptions(student=start("hf", tmp_path / "hf")),
    )


def test_a_photo_that_does_not_decode_is_named_before_training(material, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(packaged_photos()[-1].read_bytes()[:2000])
    more = Material(material.train, material.val, Extra((broken,), ()))
    recipe = replace(RECIPE, extra_photos=0)  # no step would ever ask for it
    with pytest.raises(PhotoError, match=r"broken\.jpg"):
        train(
            more,
            tmp_path / "out",
            recipe,
            tmp_path,
            silent,
            RunOptions(student=start("hf", tmp_path / "s")),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "spec"),
    [
        ("open_clip", "open_clip:ViT-B-32"),
        ("transformers", "hf:some/clip"),
        ("timm", "towers:timm/test_vit+hf/x"),
    ],
)
def test_a_missing_library_names_the_extra(module, spec, material, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=re.escape(install_line("students"))):
        train(
            material, tmp_path / "out", RECIPE, tmp_path / "cache", silent,
            RunOptions(student=StudentChoice(spec, from_scratch=True)),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_towers_that_were_never_trained_are_no_student_yet(text_tower):
    with pytest.raises(StudentError, match="has never been trained"):
        load_student(f"towers:timm/test_vit+hf/{text_tower}")


def test_a_damaged_folder_of_towers_is_named(material, tmp_path):
    asked = start("towers", tmp_path / "start")
    train(material, tmp_path / "s", RECIPE, tmp_path, silent, RunOptions(student=asked))
    (tmp_path / "s" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(StudentError, match="is damaged"):
        load_student(str(tmp_path / "s"))
    (tmp_path / "s" / "config.json").write_text('{"schema": "mcad-towers/1", "image": 3}')
    with pytest.raises(StudentError, match=r"`\$\.image`"):
        load_student(str(tmp_path / "s"))
