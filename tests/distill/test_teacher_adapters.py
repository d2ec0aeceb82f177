"""Teacher adapters say what their libraries' models say, and name a checkpoint that is not one.

Every checkpoint is tiny, random, and written here.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.teachers.open_clip import OpenClipTeacher
from mcad_mobile.distill.teachers.teacher import TextStates
from mcad_mobile.distill.teachers.transformers import (
    BlipTeacher,
    TransformersDualTeacher,
    ViltTeacher,
)
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import TeacherError
from tests.support.tiny_students import register_open_clip, write_open_clip
from tests.support.tiny_teachers import PATCH, SIDE, write_checkpoint

transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

CAPTIONS = ["a cat", "an espresso in a red cup", "a motorcycle stands on the left of a garage"]
WEIGHTS = "model.safetensors"
LOADERS = dict.fromkeys(("clip", "siglip"), TransformersDualTeacher)
LOADERS |= {"blip": BlipTeacher, "vilt": ViltTeacher}


@pytest.fixture(scope="module")
def photos():
    """Three photos, of three shapes."""
    names = ("chelsea.png", "coffee.png", "motorcycle_left.png")
    return [open_photo(path) for path in packaged_photos() if path.name in names]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(0)
    return {kind: write_checkpoint(kind, root / kind) for kind in LOADERS}


def pixels_of(folder: Path, photos) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(images=photos, return_tensors="pt")["pixel_values"]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_dual_embeddings_are_transformers_own_of_unit_length(checkpoints, photos, kind):
    folder = checkpoints[kind]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    teacher = TransformersDualTeacher(str(folder))
    pixels = pixels_of(folder, photos)
    expected = normalize(model.get_image_features(pixel_values=pixels).pooler_output)
    found = teacher.embed_photos(photos)
    assert found.dtype == torch.float32
    assert found.shape == (3, teacher.dim)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    options = {"truncation": True, "max_length": 16, "return_tensors": "pt"}
    options["padding"] = "max_length" if kind == "siglip" else False
    for caption, row in zip(CAPTIONS, teacher.embed_texts(CAPTIONS), strict=True):
        ids = tokenizer(caption, **options)["input_ids"]
        expected = normalize(model.get_text_features(input_ids=ids).pooler_output)
        assert torch.allclose(row, expected[0], atol=1e-5)


def test_many_captions_and_none_go_in_batches(checkpoints):
    teacher = TransformersDualTeacher(str(checkpoints["clip"]))
    many = [f"a cat {'x' * (i % 7)}" for i in range(130)]
    one_by_one = torch.cat([teacher.embed_texts([caption]) for caption in many[::40]])
    assert torch.allclose(teacher.embed_texts(many)[::40], one_by_one, atol=1e-5)
    assert teacher.embed_texts([]).shape == (0, teacher.dim)
    assert teacher.embed_photos([]).shape == (0, teacher.dim)


def test_a_half_precision_checkpoint_is_computed_in_single(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["clip"], tmp_path / "half")
    transformers.CLIPModel.from_pretrained(folder).half().save_pretrained(folder)
    vectors = TransformersDualTeacher(str(folder)).embed_texts(["a cat"])
    model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(folder)("a cat", return_tensors="pt")
    expected = normalize(model.get_text_features(**inputs).pooler_output)
    assert torch.allclose(vectors, expected, atol=1e-6)


def test_what_a_teacher_says_may_enter_a_loss(checkpoints, photos):
    clip = TransformersDualTeacher(str(checkpoints["clip"]))
    blip = BlipTeacher(str(checkpoints["blip"]))
    fused = blip.fuse(blip.photo_states(photos), blip.text_states(CAPTIONS), all_pairs())
    for target in (clip.embed_texts(CAPTIONS), fused.features, fused.scores):
        student = torch.ones_like(target, requires_grad=True)
        (target * student).sum().backward()
        assert torch.equal(student.grad, target)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["blip", "vilt"])
def test_pairs_are_seen_as_the_models_own_heads_see_them(checkpoints, photos, kind):
    folder = checkpoints[kind]
    teacher = LOADERS[kind](str(folder))
    states = teacher.photo_states(photos)
    fused = teacher.fuse(states, teacher.text_states(CAPTIONS), all_pairs())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if kind == "blip":
        assert states.shape == (3, (SIDE // PATCH) ** 2 + 1, 32)
        model = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
        pixels = pixels_of(folder, photos)
    else:
        assert states.shape == (3, SIDE**2, 3)
        model = transformers.ViltForImageAndTextRetrieval.from_pretrained(folder).eval()
        model.config.max_image_length = -1  # all patches; the checkpoint says 8 of them, at random
        # Square photos go through the checkpoint's own processor as they are.
        squares = [photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for photo in photos]
        pixels = pixels_of(folder, squares).half().float()
    for row, (photo, text) in enumerate(all_pairs()):
        inputs = tokenizer(CAPTIONS[text], return_tensors="pt")
        inputs["pixel_values"] = pixels[photo : photo + 1]
        if kind == "blip":
            del inputs["token_type_ids"]
            output = model(**inputs, use_itm_head=True)
            feature, score = output.question_embeds[0, 0], output.itm_score[0].diff()[0]
        else:
            feature, score = model.vilt(**inputs).pooler_output[0], model(**inputs).logits[0, 0]
        # BLIP's photo states are kept in float16, which has three digits.
        close = {"blip": 2e-3, "vilt": 1e-5}[kind]
        assert torch.allclose(fused.features[row], feature, atol=close)
        assert torch.allclose(fused.scores[row], score, atol=close)
    assert fused.scores.std() > 10 * close


def all_pairs() -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(3), torch.arange(3))


@pytest.mark.parametrize("kind", ["blip", "vilt"])
def test_a_pair_is_seen_alike_alone_and_among_many_in_any_order(checkpoints, photos, kind):
    teacher = LOADERS[kind](str(checkpoints[kind]))
    states, texts = teacher.photo_states(photos), teacher.text_states(CAPTIONS)
    pairs = all_pairs().repeat(8, 1)[torch.randperm(72, generator=torch.Generator().manual_seed(1))]
    fused = teacher.fuse(states, texts, pairs)
    assert fused.features.shape == (72, teacher.fused_dim)
    assert fused.features.dtype == fused.scores.dtype == torch.float32
    assert states.dtype == torch.float16  # half the file of photos
    for row in (0, 30, 71):  # 71 lies in the second chunk
        alone = teacher.fuse(states, texts, pairs[row : row + 1])
        assert torch.allclose(alone.features[0], fused.features[row], atol=1e-5)
        assert torch.allclose(alone.scores[0], fused.scores[row], atol=1e-5)
    nothing = teacher.fuse(states, texts, pairs[:0])
    assert nothing.features.shape == (0, teacher.fused_dim)
    assert teacher.photo_states([]).shape == (0, *states.shape[1:])
    assert teacher.text_states([]).states.shape == (0, texts.states.shape[1])


@pytest.mark.parametrize("kind", ["blip", "vilt"])
def test_padding_does_not_change_what_is_seen(checkpoints, photos, kind):
    teacher = LOADERS[kind](str(checkpoints[kind]))
    states, texts = teacher.photo_states(photos[:1]), teacher.text_states(["a cat"])
    assert texts.states.shape == (1, {"blip": 32, "vilt": 20}[kind])
    assert texts.mask.sum() == 4
    bare = TextStates(texts.states[:, :4], texts.mask[:, :4])
    pair = torch.zeros(1, 2, dtype=torch.long)
    padded, unpadded = teacher.fuse(states, texts, pair), teacher.fuse(states, bare, pair)
    assert torch.allclose(padded.features, unpadded.features, atol=1e-5)


def test_vilt_repeats_itself_to_the_bit_and_leaves_the_generator_alone(checkpoints, photos):
    teacher = ViltTeacher(str(checkpoints["vilt"]))
    states, texts = teacher.photo_states(photos), teacher.text_states(CAPTIONS)
    before = torch.get_rng_state()
    first = teacher.fuse(states, texts, all_pairs())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(teacher.fuse(states, texts, all_pairs()).features, first.features)


@pytest.mark.parametrize("kind", LOADERS)
def test_identity_follows_weights_preprocessing_and_activation(checkpoints, tmp_path, kind):
    load = LOADERS[kind]
    before = load(str(checkpoints[kind])).identity
    assert len(bytes.fromhex(before)) == 8
    copy = shutil.copytree(checkpoints[kind], tmp_path / "copy")
    assert load(str(copy)).identity == before
    path = next(copy.glob("*processor_config.json"))
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "image_mean": [0.1, 0.2, 0.3]}))
    other_mean = load(str(copy)).identity
    assert other_mean != before
    edit_weights(copy / WEIGHTS, lambda weights: next(iter(weights.values())).add_(1))
    other_weights = load(str(copy)).identity
    assert other_weights not in (before, other_mean)
    config = json.loads((copy / CONFIG).read_text())
    holder = config if kind == "vilt" else config["text_config"]
    holder["hidden_act"] = "relu"
    (copy / CONFIG).write_text(json.dumps(config))
    assert load(str(copy)).identity not in (before, other_mean, other_weights)


def edit_weights(path: Path, edit) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


CONFIG = "config.json"
DAMAGES = {
    "no folder": (shutil.rmtree, "no folder"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "cannot be loaded"),
    "weights cut": (lambda folder: truncate(folder / WEIGHTS), "cannot be loaded"),
    "weight missing": (lambda folder: edit_weights(folder / WEIGHTS, dict.popitem), "lacks 1 "),
    "not json": (lambda folder: (folder / CONFIG).write_text("{"), "cannot be loaded"),
    "foreign": (lambda folder: (folder / CONFIG).write_text('{"model_type": "bert"}'), "a bert"),
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", ["clip", "blip", "vilt"])
def test_a_missing_damaged_or_foreign_checkpoint_is_an_error_that_names_it(
    checkpoints, tmp_path, kind, how
):
    copy = shutil.copytree(checkpoints[kind], tmp_path / "copy")
    damage, message = DAMAGES[how]
    damage(copy)
    with pytest.raises(TeacherError, match=rf"(?s){message}.*\n  \S") as caught:
        LOADERS[kind](str(copy))
    assert str(copy) in str(caught.value)


def test_a_hub_id_out_of_reach_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TeacherError, match=r"(?s)nobody/no-such-model is neither.*\n  \S"):
        TransformersDualTeacher("nobody/no-such-model")


@pytest.fixture(scope="module")
def tiny_open_clip(tmp_path_factory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("open_clip") / "vit")


def open_clip_teacher(folder: Path) -> OpenClipTeacher:
    return OpenClipTeacher(f"local-dir:{folder}")


@torch.no_grad()
def test_open_clip_embeddings_are_its_own_of_unit_length(tiny_open_clip, photos):
    name = f"local-dir:{tiny_open_clip}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    teacher = open_clip_teacher(tiny_open_clip)
    assert (teacher.name, teacher.dim) == ("vit", 48)
    pixels = torch.stack([transform(photo) for photo in photos])
    expected = model.encode_image(pixels, normalize=True)
    assert torch.allclose(teacher.embed_photos(photos), expected, atol=1e-5)
    expected = model.encode_text(open_clip.get_tokenizer(name)(CAPTIONS), normalize=True)
    assert torch.allclose(teacher.embed_texts(CAPTIONS), expected, atol=1e-5)
    assert teacher.embed_texts([]).shape == (0, 48)


def test_open_clips_identity_follows_weights_preprocessing_and_activation(tiny_open_clip, tmp_path):
    before = open_clip_teacher(tiny_open_clip).identity
    copy = shutil.copytree(tiny_open_clip, tmp_path / "copy")
    assert open_clip_teacher(copy).identity == before
    path = copy / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
    path.write_text(json.dumps(config))
    other_mean = open_clip_teacher(copy).identity
    assert other_mean != before
    weights = copy / "open_clip_model.safetensors"
    edit_weights(weights, lambda weights: weights["text_projection"].add_(1))
    other_weights = open_clip_teacher(copy).identity
    assert other_weights not in (before, other_mean)
    config["model_cfg"]["quick_gelu"] = True
    path.write_text(json.dumps(config))
    assert open_clip_teacher(copy).identity not in (before, other_mean, other_weights)


def test_a_mean_that_nobody_knows_is_not_guessed_for_a_teacher(tiny_open_clip, tmp_path):
    name = register_open_clip(tmp_path, "mcad-test-teacher")
    weights = tiny_open_clip / "open_clip_model.safetensors"
    with pytest.raises(TeacherError, match=r"(?s)mean and std of mcad-test-teacher.*local-dir"):
        OpenClipTeacher(f"{name}:{weights}")


def test_open_clip_without_good_weights_is_an_error_that_names_them(tiny_open_clip, tmp_path):
    copy = shutil.copytree(tiny_open_clip, tmp_path / "copy")
    truncate(copy / "open_clip_model.safetensors")
    specs = {
        f"local-dir:{copy}": f"{copy} cannot be loaded",
        "ViT-B-32:none.pt": "'none.pt' is neither a published checkpoint",
        "no-such-net": "no model called 'no-such-net'",
    }
    for spec, message in specs.items():
        with pytest.raises(TeacherError, match=rf"(?s){message}.*\n  \S"):
            OpenClipTeacher(spec)
