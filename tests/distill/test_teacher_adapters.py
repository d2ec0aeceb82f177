"""Teachers of libraries say what their libraries' models say, and name a checkpoint that is not
one. Every checkpoint is tiny, random, and written here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.teachers.library import BlipTeacher, load_duals, load_single
from mcad_mobile.distill.teachers.teacher import TextStates
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import McadError, StudentError, TeacherError
from tests.support.tiny_students import edit, write_hf, write_open_clip
from tests.support.tiny_teachers import PATCH, SIDE, write_blip

transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

CAPTIONS = ["a cat", "an espresso in a red cup", "a motorcycle stands on the left of a garage"]
WEIGHTS, CONFIG = "model.safetensors", "config.json"
PAIRS = torch.cartesian_prod(torch.arange(3), torch.arange(3))


@pytest.fixture(scope="module")
def photos():
    """Three photos, of three shapes."""
    names = ("chelsea.png", "coffee.png", "motorcycle_left.png")
    return [open_photo(path) for path in packaged_photos() if path.name in names]


@pytest.fixture(scope="module")
def blip(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return write_blip(tmp_path_factory.mktemp("teachers") / "blip")


@torch.no_grad()
@pytest.mark.parametrize("library", ["hf", "open_clip"])
def test_a_student_teaches_what_its_library_says_of_it(library, photos, tmp_path):
    if library == "hf":
        folder = write_hf(tmp_path / "tiny", "clip")
        model = transformers.AutoModel.from_pretrained(folder).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        pixels = processor(images=photos, return_tensors="pt")["pixel_values"]
        image = model.get_image_features(pixel_values=pixels).pooler_output
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        texts = [
            model.get_text_features(**tokenizer(caption, return_tensors="pt")).pooler_output[0]
            for caption in CAPTIONS
        ]
        spec = f"hf:{folder}"
    else:
        name = f"local-dir:{write_open_clip(tmp_path / 'tiny')}"
        model, _, transform = open_clip.create_model_and_transforms(name)
        image = model.eval().encode_image(torch.stack([transform(photo) for photo in photos]))
        texts = model.encode_text(open_clip.get_tokenizer(name)(CAPTIONS))
        spec = f"open_clip:{name}"
    (teacher,) = load_duals([spec], "cpu")
    assert (teacher.name, teacher.dim) == ("tiny", 48)
    found = teacher.embed_photos(photos)
    assert torch.allclose(found, normalize(image), atol=1e-2)
    assert (found[0] - found[1]).abs().max() > 2e-2
    assert torch.allclose(
        teacher.embed_texts(CAPTIONS), normalize(torch.stack([*texts])), atol=1e-5
    )


def test_what_a_teacher_says_may_enter_a_loss(blip, photos, tmp_path):
    (clip,) = load_duals([f"hf:{write_hf(tmp_path / 'clip', 'clip')}"], "cpu")
    teacher = BlipTeacher(str(blip))
    fused = teacher.fuse(teacher.photo_states(photos), teacher.text_states(CAPTIONS), PAIRS)
    for target in (clip.embed_texts(CAPTIONS), fused.features, fused.scores):
        student = torch.ones_like(target, requires_grad=True)
        (target * student).sum().backward()
        assert torch.equal(student.grad, target)


@torch.no_grad()
def test_pairs_are_seen_as_blips_own_head_sees_them(blip, photos):
    teacher = load_single(f"hf:{blip}", "cpu")
    states = teacher.photo_states(photos)
    assert states.shape == (3, (SIDE // PATCH) ** 2 + 1, 32)
    fused = teacher.fuse(states, teacher.text_states(CAPTIONS), PAIRS)
    model = transformers.BlipForImageTextRetrieval.from_pretrained(blip).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(blip, backend="pil")
    pixels = processor(images=photos, return_tensors="pt")["pixel_values"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(blip)
    close = 2e-3  # states are kept in float16, which has three digits
    for row, (photo, text) in enumerate(PAIRS):
        inputs = tokenizer(CAPTIONS[text], return_tensors="pt")
        del inputs["token_type_ids"]
        output = model(**inputs, pixel_values=pixels[photo : photo + 1], use_itm_head=True)
        assert torch.allclose(fused.features[row], output.question_embeds[0, 0], atol=close)
        assert torch.allclose(fused.scores[row], output.itm_score[0].diff()[0], atol=close)
    assert fused.scores.std() > 10 * close


def test_a_pair_is_seen_alike_alone_and_among_many_in_any_order(blip, photos):
    teacher = BlipTeacher(str(blip))
    states, texts = teacher.photo_states(photos), teacher.text_states(CAPTIONS)
    pairs = PAIRS.repeat(8, 1)[torch.randperm(72, generator=torch.Generator().manual_seed(1))]
    fused = teacher.fuse(states, texts, pairs)
    assert fused.features.shape == (72, teacher.fused_dim)
    assert states.dtype == torch.float16  # half the file of photos
    for row in (0, 30, 71):  # 71 lies in the second chunk
        alone = teacher.fuse(states, texts, pairs[row : row + 1])
        assert torch.allclose(alone.features[0], fused.features[row], atol=1e-5)
        assert torch.allclose(alone.scores[0], fused.scores[row], atol=1e-5)
    assert teacher.fuse(states, texts, pairs[:0]).features.shape == (0, teacher.fused_dim)


def test_padding_does_not_change_what_is_seen(blip, photos):
    teacher = BlipTeacher(str(blip))
    states, texts = teacher.photo_states(photos[:1]), teacher.text_states(["a cat"])
    assert texts.states.shape == (1, 32) and texts.mask.sum() == 4
    bare = TextStates(texts.states[:, :4], texts.mask[:, :4])
    pair = torch.zeros(1, 2, dtype=torch.long)
    padded, unpadded = teacher.fuse(states, texts, pair), teacher.fuse(states, bare, pair)
    assert torch.allclose(padded.features, unpadded.features, atol=1e-5)


def test_identity_follows_weights_preprocessing_and_activation(blip, tmp_path):
    copy = shutil.copytree(blip, tmp_path / "copy")
    found = [BlipTeacher(str(blip)).identity, BlipTeacher(str(copy)).identity]
    assert found[0] == found[1]
    edit(next(copy.glob("*processor_config.json")), "image_mean", value=[0.1, 0.2, 0.3])
    found.append(BlipTeacher(str(copy)).identity)
    edit_weights(copy / WEIGHTS, lambda weights: next(iter(weights.values())).add_(1))
    found.append(BlipTeacher(str(copy)).identity)
    edit(copy / CONFIG, "text_config", "hidden_act", value="relu")
    found.append(BlipTeacher(str(copy)).identity)
    assert len({*found}) == 4


def edit_weights(path: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


DAMAGES = {
    "no folder": (shutil.rmtree, "no folder"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "cannot be loaded"),
    "weights cut": (lambda folder: (folder / WEIGHTS).write_bytes(b"{"), "cannot be loaded"),
    "weight missing": (lambda folder: edit_weights(folder / WEIGHTS, dict.popitem), "lacks 1 "),
    "not json": (lambda folder: (folder / CONFIG).write_text("{"), "cannot be loaded"),
    "foreign": (lambda folder: (folder / CONFIG).write_text('{"model_type": "bert"}'), "a bert"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_missing_damaged_or_foreign_checkpoint_is_an_error_that_names_it(blip, tmp_path, how):
    copy = shutil.copytree(blip, tmp_path / "copy")
    damage, message = DAMAGES[how]
    damage(copy)
    with pytest.raises(McadError, match=rf"(?s){message}.*\n  \S") as caught:
        load_single(f"hf:{copy}", "cpu")
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("spec", ["", "clip", "references", "hf", "hf:", "open_clip:ViT-B-32"])
def test_a_spec_that_names_no_teacher_is_an_error_that_names_it(spec):
    with pytest.raises(TeacherError, match=r"(?s)is not a single-stream.*\n  Write") as error:
        load_single(spec, "cpu")
    assert repr(spec) in error.value.message
    if spec not in ("", "open_clip:ViT-B-32"):  # "" is the current folder
        with pytest.raises(StudentError) as error:
            load_duals([spec], "cpu")
        assert spec in error.value.message


def test_the_reference_is_nobody_yet():
    assert load_duals(["reference"], "cpu") is None
    assert load_single("reference", "cpu") is None
