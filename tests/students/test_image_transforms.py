"""Image transforms of libraries: the pixels that the library's own transform gives."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import open_clip
import pytest
import transformers
from msgspec.structs import replace
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from transformers.models.chinese_clip import image_processing_pil_chinese_clip
from transformers.models.clip import image_processing_pil_clip
from transformers.models.siglip import image_processing_pil_siglip

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError
from mcad_mobile.students.image_transforms import open_clip_preprocess, transformers_preprocess
from mcad_mobile.students.own import PREPROCESS

LEVEL = 1 / 255
# Sides that leave odd numbers of pixels over, and that round up where floors round down.
SIZES = ((500, 333), (333, 501), (301, 300), (641, 427), (97, 640), (50, 60), (225, 224))
PROCESSORS: dict[str, Any] = {
    "CLIP": transformers.CLIPImageProcessor,
    "CLIP by Pillow": image_processing_pil_clip.CLIPImageProcessorPil,
    "SigLIP": transformers.SiglipImageProcessor,
    "SigLIP by Pillow": image_processing_pil_siglip.SiglipImageProcessorPil,
    "Chinese-CLIP": transformers.ChineseCLIPImageProcessor,
    "Chinese-CLIP by Pillow": image_processing_pil_chinese_clip.ChineseCLIPImageProcessorPil,
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    real = [open_photo(path) for path in packaged_photos()[::3]]
    for photo in real:
        photo.thumbnail((700, 700))
    return [*real, *(real[number % len(real)].resize(size) for number, size in enumerate(SIZES))]


def assert_same_pixels(
    ours: Preprocess, theirs: Any, photos: list[Image.Image], *, loose: bool = False
) -> None:
    """Within one of 255 levels, and mostly the same. `loose`: where Pillow 13 squashes a tall photo
    it resizes down before across, and torchvision's resize of 8-bit tensors has weights of 16 bits
    where Pillow's have 22. Then one value in 10,000 is a few levels off."""
    assert len(photos) > 12
    differences = []
    for photo in photos:
        found, expected = ours.pixels(photo), np.asarray(theirs(photo), np.float32)
        assert found.shape == expected.shape
        differences.append(np.abs(found - expected) * np.array(ours.std)[:, None, None] / LEVEL)
    levels = np.stack(differences)
    assert levels.mean() < 0.05
    assert levels.max() <= (6.01 if loose else 1.01)
    assert (levels > 1.01).mean() < 1e-4


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_open_clips_transform_gives_the_same_pixels(photos, resize, interpolation):
    config = PreprocessCfg(size=224, resize_mode=resize, interpolation=interpolation, fill_color=90)
    (known, _) = open_clip_preprocess(asdict(config), "ViT-B-32", "openai")
    ours = replace(known, resize=resize, interpolation=interpolation, fill=(90, 90, 90))
    theirs = image_transform_v2(config, is_train=False)
    assert_same_pixels(ours, theirs, photos, loose=resize == "squash")


@pytest.mark.parametrize(
    ("name", "checkpoint", "named"),
    [
        ("ViT-B-32", "openai", "clip"),
        ("MobileCLIP2-S0", "dfndr2b", "mobileclip"),
        ("ViT-B-16-SigLIP", "webli", "siglip"),
    ],
)
def test_a_published_checkpoint_has_its_own_mean_std_and_resize(photos, name, checkpoint, named):
    known = open_clip.get_pretrained_cfg(name, checkpoint)
    config = PreprocessCfg(size=256)
    ours, source = open_clip_preprocess(asdict(config), name, checkpoint)
    fields = {key: known[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    theirs = image_transform_v2(PreprocessCfg(size=256, **fields), is_train=False)
    assert_same_pixels(ours, theirs, photos, loose=ours.resize == "squash")
    assert source == f"open_clip's {name} {checkpoint}"
    assert replace(PREPROCESS[named], size=256, centre=ours.centre) == ours


def test_a_file_has_what_all_published_checkpoints_of_the_model_have(tmp_path):
    config = asdict(PreprocessCfg(size=256))
    ours, source = open_clip_preprocess(config, "MobileCLIP2-S0", str(tmp_path / "mine.pt"))
    assert (ours.mean, ours.std) == ((0, 0, 0), (1, 1, 1))
    assert source == "all of open_clip's MobileCLIP2-S0 checkpoints (dfndr2b)"


def test_a_mean_that_nobody_knows_is_not_guessed(tmp_path):
    config = asdict(PreprocessCfg(size=224))
    with pytest.raises(StudentError, match="differ between its published checkpoints"):
        open_clip_preprocess(config, "ViT-L-14", str(tmp_path / "mine.pt"))
    with pytest.raises(StudentError, match="of no published checkpoint"):
        open_clip_preprocess(config, "ViT-M-32", str(tmp_path / "mine.pt"))
    with pytest.raises(StudentError, match=r"open_clip_config\.json cannot be read"):
        open_clip_preprocess(config, f"local-dir:{tmp_path}", "")
    for known in ({}, {"mean": [0.1, 0.2, 0.3]}, {"std": [0.1, 0.2, 0.3]}):
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": known}))
        with pytest.raises(StudentError, match="no mean and std"):
            open_clip_preprocess(config, f"local-dir:{tmp_path}", "")


def test_a_folder_says_its_own(tmp_path):
    reports = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "resize_mode": "longest"}
    reports |= {"fill_color": 90}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": reports}))
    ours, source = open_clip_preprocess(
        asdict(PreprocessCfg(size=224)), f"local-dir:{tmp_path}", ""
    )
    assert (ours.mean, ours.std, ours.resize) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "longest")
    assert ours.fill == (90, 90, 90)
    assert source == "preprocess_cfg of open_clip_config.json"


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224},
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224},
        {"resample": 2, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"rescale_factor": 1 / 127.5},
        {"do_normalize": False},
    ],
)
def test_image_processors_give_the_same_pixels(photos, name, changes):
    processor = PROCESSORS[name](**changes)
    ours, source = transformers_preprocess(processor)

    def theirs(photo: Image.Image) -> Any:
        return processor(photo, return_tensors="np")["pixel_values"][0]

    assert_same_pixels(ours, theirs, photos, loose="Pillow" not in name or ours.resize == "squash")
    assert type(processor).__name__ in source


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"do_resize": False}, "does not resize"),
        ({"do_center_crop": False}, "outside a photo"),
        ({"size": {"longest_edge": 224, "shortest_edge": 100}}, "longest_edge"),
        ({"size": {"height": 224, "width": 100}}, "not one square"),
        ({"crop_size": 300}, "crops 300 pixels out of 224"),
        ({"resample": 1}, "filter 1"),
        ({"do_pad": True}, "pads"),
    ],
)
def test_what_a_phone_does_not_do_is_refused_by_name(changes, why):
    with pytest.raises(StudentError, match=why):
        transformers_preprocess(transformers.CLIPImageProcessor(**changes))


def test_sizes_that_follow_the_photo_are_refused_by_name():
    with pytest.raises(StudentError, match=r"Siglip2ImageProcessor .*NaFlex"):
        transformers_preprocess(transformers.Siglip2ImageProcessor())
