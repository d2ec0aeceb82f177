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
from tests.distill.test_any_student import RECIPE, silent, start


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
        ("opn_clip:ViT-B-32", ("opn_clip:ViT-B-32", "Nearest: open_clip")),
        ("open_clip:ViT-B-32:openai", ("names weights",)),
        ("open_clip:coca_ViT-B-32", ("cannot be exported", "CoCa")),
    ],
)
def test_an_unknown_student_lists_the_nearest(spec, message, material, tmp_path):
    found = refused(StudentChoice(spec, from_scratch=True), material, tmp_path)
    assert all(part in found for part in message), found


def test_batch_norms_with_a_batch_of_one_are_named(material, tmp_path):
    asked = start("open_clip by name", tmp_path / "start")
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
