"""Train a multilingual text tower for a student's image tower.

It is multilingual-e5-small, which embeds a sentence near its translations, cut to the tokens that
these languages need. Only its last layers and a new head are trained, on texts alone: English ones,
phrase-book captions in all languages, and names of things. The targets are the student's own
embeddings of the same texts in English.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mcad_mobile.base.documents import (
    Count,
    NotNegative,
    Positive,
    Size,
    decode,
    read_file,
)
from mcad_mobile.base.progress import Progress
from mcad_mobile.distill.accelerator import accelerator, autocast, choose_arithmetic
from mcad_mobile.distill.caption_words import common_words
from mcad_mobile.distill.dataset import load_extra
from mcad_mobile.distill.features import EncodeTexts, FeatureCache, by_length, half
from mcad_mobile.distill.languages import (
    ENGLISH,
    LANGUAGES,
    PhraseBook,
    Thing,
    choose_pieces,
    draw_phrases,
    everyday_things,
    read_books,
    read_things,
    without_held_out,
)
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule
from mcad_mobile.distill.losses import distribution_loss, feature_loss
from mcad_mobile.distill.pretrained import E5, E5_LAYERS
from mcad_mobile.distill.recipe import Arithmetic, ArithmeticOption, Recipe, Seed, Share
from mcad_mobile.distill.result import check_out
from mcad_mobile.distill.teachers.classifiers import imagenet_kinds, imagenet_names
from mcad_mobile.engine.text.token_rows import rounded_rows, unpacked
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, StudentError, TrainingError, require
from mcad_mobile.students.load import load_student, load_with_text
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.students.tokenizers.trained import (
    SPECIALS,
    SentencePieceConfig,
    sentencepiece_model,
)
from mcad_mobile.students.weights_licences import write_model_card

MODEL = "tokenizer.model"
_LEAST_CAPTIONS = 100  # that use a word, for it to be taught alone
_PROMPTS = ("{}", "a {}", "a photo of a {}")


class TextRecipe(Recipe, frozen=True):
    """How a text tower is trained: frozen layers, texts of each kind per step, weights of losses.
    The token table is not trained."""

    frozen: Count = 4  # how many of e5's first layers are not trained
    # With 40,000 tokens, everyday words of these languages split into meaningless pieces.
    vocab: Size = 72_000  # tokens of the vocabulary
    length: Size = 40  # the most tokens of a text
    steps: Size = 2800  # rounded up to whole checkpoints
    checkpoint: Size = 50  # steps between checkpoints
    most_captions: Size = 60_000  # the most captions that are used, drawn at random
    most_phrases: Size = 20_000  # the most phrases, each in any language of the phrase book
    names: Size = 96  # names of things per step
    prompts: Size = 80  # English prompts per step
    english: Size = 84  # English captions and phrases per step
    phrases: Size = 104  # phrases in other languages per step
    feature: NotNegative = 10.0  # weight of the feature loss
    distribution: NotNegative = 2.0  # weight of the distribution loss
    temperature: Positive = 0.05  # of its similarities
    head_lr: Positive = 2e-3  # of the head
    tuned_lr: Positive = 2e-4  # of the trained layers
    weight_decay: NotNegative = 0.01  # AdamW's
    warmup: Share = 0.05  # share of the steps in which the learning rate rises
    arithmetic: ArithmeticOption = "auto"  # of matrix products; auto: bf16 where that is faster
    seed: Seed = 0  # of everything random

    @staticmethod
    def load(path: Path) -> TextRecipe:
        """Read a JSON file of changed fields. Raises DataError."""
        hint = "Give keys of TextRecipe (docs/data.md) as JSON."
        raw = read_file(path, DataError, hint)
        return decode(raw, TextRecipe, f"{path} is not a recipe: it", DataError, hint)


@dataclass(frozen=True)
class TextMaterial:
    """The student whose space is learned, English captions, things in `languages`, phrase books by
    language, if any, and the student whose text tower to start from; None for e5."""

    student: McadStudent
    captions: Sequence[str]
    things: Sequence[Thing]
    languages: Sequence[str]
    books: Mapping[str, PhraseBook] = field(default_factory=dict)
    begin_with: McadStudent | None = None

    @staticmethod
    def read(
        student: str | None,
        captions: list[Path],
        archive: Path,
        languages: Sequence[str],
        phrases: Path | None = None,
        begin_with: str | None = None,
    ) -> TextMaterial:
        """Read caption files, phrase books from the folder `phrases`, and things in `languages`, by
        default LANGUAGES: the archive's except those held out for tests, and the books'. Raises
        DataError, StudentError."""
        loaded = load_student(student)
        if not isinstance(loaded, McadStudent):
            raise StudentError(
                f"{loaded.name} is not a student that `mcad-mobile distill` wrote.",
                "Give its folder; text towers of other libraries' students are not replaced.",
            )
        chosen = languages or LANGUAGES
        if not {*chosen} - {ENGLISH}:
            raise DataError("English is the only language.", "Name others, too: de,ja,zh-Hant.")
        books = {} if phrases is None else read_books(phrases, chosen)
        things = [*without_held_out(read_things(archive, chosen)), *everyday_things(books)]
        start = None if begin_with is None else load_with_text(begin_with, student)
        assert start is None or isinstance(start, McadStudent)
        english = load_extra([], captions).captions
        return TextMaterial(loaded, english, things, chosen, books, start)


def train_text_tower(
    material: TextMaterial, out: Path, recipe: TextRecipe, cache: Path, show: Progress
) -> McadStudent:
    """Train a student with the same image tower into `out`. An interrupted run resumes from its
    last checkpoint; a finished one is not repeated. DataError, TrainingError, MissingExtra."""
    if (processes := accelerator().num_processes) > 1:
        raise TrainingError(
            f"--text-only trains in one process, not in {processes}.",
            "Start it without `accelerate launch`.",
        )
    for student in filter(None, (material.student, material.begin_with)):
        check_out(out, student.directory)
    torch.manual_seed(recipe.seed)
    texts = _Texts(material, recipe)
    facts = {
        "recipe": msgspec.to_builtins(recipe),
        "languages": [*material.languages],
        "student": material.student.sha256,
        "begin_with": None if material.begin_with is None else material.begin_with.sha256,
        "texts": hashlib.sha256("\0".join(texts.distinct()).encode()).hexdigest(),
    }
    document, checkpoint = json.dumps(facts, indent=2) + "\n", out / "checkpoint.pt"
    finished = out / "training.json"
    if finished.exists() and not checkpoint.exists() and finished.read_text("utf-8") == document:
        return McadStudent.load(out)
    if material.begin_with is not None:
        student = material.begin_with
        _check_tokens(recipe, student)
        student.config = msgspec.structs.replace(student.config, name=out.name)
    else:
        show("choosing tokens")
        e5 = E5.load()
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "e5.model").write_bytes(_model(e5, range(len(SPECIALS), len(e5.pieces))))
        read_all = Tokenizer(*_tokenizer_config("e5.model", recipe.length).compiled(cache))
        wanted = choose_pieces(e5.pieces, read_all, texts.distinct(), recipe.vocab - len(SPECIALS))
        student = _start(material.student, e5, wanted, cache, out.name, recipe)
    features = FeatureCache(cache, show)
    texts.embed(features)
    learner = _Learner(student, recipe)
    per_epoch = min(recipe.checkpoint, recipe.steps)
    schedule = Schedule(
        math.ceil(recipe.steps / per_epoch),
        per_epoch,
        recipe.warmup,
        recipe.weight_decay,
        recipe.seed,
    )
    loop = Loop(
        learner, learner.groups(recipe), schedule, checkpoint, document, "text tower",
        choose_arithmetic(recipe.arithmetic),
    )  # fmt: skip
    loop.run(lambda forward, step: texts.losses(forward, step, student.tokenizer), show)
    student.eval().save(out)
    about = f"The image tower of {material.student.name}, and a text tower of many languages."
    start = material.student.source
    write_model_card(out, about, start.weights, start.licence)
    finished.write_text(document, "utf-8")
    loop.finish()
    features.remove_abandoned()
    return McadStudent.load(out)


def _check_tokens(recipe: TextRecipe, begun: McadStudent) -> None:
    """Raise DataError if the recipe changes `vocab` or `length`: a tower keeps its own."""
    own = {"vocab": begun.config.text.vocab, "length": begun.config.tokenizer.length}
    for name, kept in own.items():
        asked = getattr(recipe, name)
        if asked not in (kept, getattr(TextRecipe(), name)):
            raise DataError(
                f"The recipe's {name} is {asked}, and the tower of --begin-with has {kept}.",
                f"Leave {name} out of the recipe, or leave --begin-with out.",
            )


def _tokenizer_config(file: str, length: int) -> SentencePieceConfig:
    # e5 splits "Beagle" and "beagle" differently, and would have to learn every name twice.
    return SentencePieceConfig(file=file, length=length, lowercase=True)


def _model(e5: E5, wanted: Sequence[int]) -> bytes:
    sentencepiece = require("sentencepiece", "distill")
    # XLM-RoBERTa's character table is the library's "nmt_nfkc".
    rules = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    pieces = (e5.pieces[number] for number in wanted)
    return sentencepiece_model(pieces, rules.serialized_normalizer_spec())


@torch.no_grad()
def _start(
    base: McadStudent, e5: E5, wanted: list[int], cache: Path, name: str, recipe: TextRecipe
) -> McadStudent:
    """Return `base` with e5 as its text tower and e5's rows for the pieces `wanted`, quantized as
    they will be saved. `cache` keeps its tokenizer."""
    model = _model(e5, wanted)
    folder = cache / f"tokenizer-{hashlib.sha256(model).hexdigest()[:24]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model)
    scales, stored = rounded_rows(e5.token_rows([*range(len(SPECIALS)), *wanted]).numpy(), 4)
    rows = torch.from_numpy(unpacked(stored, 4) * scales[:, None])
    text = msgspec.structs.replace(
        base.config.text, vocab=len(rows), length=recipe.length, layers=E5_LAYERS,
        embedding_rank=base.config.text.width, table_bits=4,
    )  # fmt: skip
    tokenizer = _tokenizer_config(MODEL, recipe.length)
    config = msgspec.structs.replace(base.config, name=name, text=text, tokenizer=tokenizer)
    student = McadStudent(config, folder)
    student.image.load_state_dict(base.image.state_dict())
    e5.fill(student.text)
    student.text.token.weight.copy_(rows)
    student.text.widen.weight.copy_(torch.eye(rows.shape[1]))
    return student


class _Learner(nn.Module):
    """A text tower whose last layers and head are trained."""

    def __init__(self, student: McadStudent, recipe: TextRecipe) -> None:
        super().__init__()
        self.tower = student.text
        self.tower.requires_grad_(False)
        for module in (*self.tower.layers[recipe.frozen :], self.tower.head):
            module.requires_grad_(True)
        for module in self.tower.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def groups(self, recipe: TextRecipe) -> list[dict[str, Any]]:
        layers = [*self.tower.layers[recipe.frozen :].parameters()]
        head = {"params": [*self.tower.head.parameters()], "lr": recipe.head_lr}
        return [head, {"params": layers, "lr": recipe.tuned_lr}]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] -> embeddings [B, dim] of unit length."""
        return _unit(self.tower.head(by_length(self.tower.mean, ids, mask)))


class _Texts:
    """All texts of a run and their targets, the student's embeddings."""

    def __init__(self, material: TextMaterial, recipe: TextRecipe) -> None:
        rng = np.random.default_rng(recipe.seed)
        things = self._things = material.things
        self._material, self._recipe = material, recipe
        drawn = rng.permutation(len(material.captions))[: recipe.most_captions]
        captions = [material.captions[number] for number in drawn]
        classes = [name for names in imagenet_names() for name in names]
        kinds = [name for kind in imagenet_kinds() for name in kind.names]
        words = common_words(captions, _LEAST_CAPTIONS)
        names = [*(thing.english for thing in things), *classes, *kinds, *words]
        self._prompts = len(names) * len(_PROMPTS)
        english = material.books.get(ENGLISH)
        self._phrases = draw_phrases(english.sizes(), recipe.most_phrases, rng) if english else []
        # Prompts of things come first: their mean is a thing's target. Phrases come last.
        self._english = [
            *(prompt.format(name) for name in names for prompt in _PROMPTS),
            *captions,
            *(english.text(phrase) for phrase in self._phrases if english),
        ]
        self._books = [book for name, book in material.books.items() if name != ENGLISH]
        self._names = [
            (number, thing.names[language])
            for number, thing in enumerate(things)
            for language in material.languages
            if language != ENGLISH and language in thing.names
        ]

    def distinct(self) -> list[str]:
        items = (item for book in self._books for item in book.texts())
        return [*self._english, *(text for _, text in self._names), *items]

    def embed(self, cache: FeatureCache) -> None:
        """Compute all targets."""
        base = self._material.student
        arithmetic = choose_arithmetic(self._recipe.arithmetic)
        encode = _embed(base.tokenizer, base.text.eval(), arithmetic)
        self._english_targets = cache.of_captions(
            self._english, base.sha256, f"{base.name}: texts", encode
        )
        prompts = self._english_targets[: len(self._things) * len(_PROMPTS)].astype(np.float32)
        means = torch.from_numpy(prompts.reshape(len(self._things), len(_PROMPTS), -1)).mean(1)
        self._thing_targets = _unit(means)

    def losses(self, forward: Forward, step: int, tokenizer: Tokenizer) -> Losses:
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, step])
        prompts = rng.integers(0, self._prompts, recipe.prompts)
        captions = rng.integers(self._prompts, len(self._english), recipe.english)
        english = np.concatenate([prompts, captions])
        names = [self._names[row] for row in rng.integers(0, len(self._names), recipe.names)]
        phrases = rng.integers(0, len(self._phrases), recipe.phrases if self._books else 0)
        books = [self._books[row] for row in rng.integers(0, len(self._books) or 1, len(phrases))]
        texts = [
            *(name for _, name in names),
            *(self._english[row] for row in english),
            *(book.text(self._phrases[row]) for book, row in zip(books, phrases, strict=True)),
        ]
        device = accelerator().device
        ids, mask = (torch.from_numpy(rows).to(device) for rows in tokenizer.batch(texts))
        embeddings = forward(ids.long(), mask)
        first_phrase = len(self._english) - len(self._phrases)
        rows = self._english_targets[[*english, *(first_phrase + phrases)]].astype(np.float32)
        targets = torch.cat(
            [self._thing_targets[[row for row, _ in names]], torch.from_numpy(rows)]
        )
        targets, sharpness = targets.to(device), 1 / recipe.temperature
        divergence = distribution_loss(
            sharpness * embeddings @ targets.T, sharpness * targets @ targets.T
        )
        return {
            "feature": recipe.feature * feature_loss(embeddings, targets),
            "distribution": recipe.distribution * divergence,
        }


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows.float(), dim=-1)


def _embed(tokenizer: Tokenizer, tower: Forward, arithmetic: Arithmetic) -> EncodeTexts:
    """A function from texts to unit-length embeddings [B, D] float16, as caches keep them."""

    @torch.no_grad()
    def embed(texts: list[str]) -> Tensor:
        ids, mask = tokenizer.batch(texts)
        with autocast(arithmetic, torch.device("cpu")):
            return _unit(by_length(tower, torch.from_numpy(ids).long(), torch.from_numpy(mask)))

    return half(embed)
