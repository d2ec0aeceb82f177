"""Another text tower for a student's image tower: one that reads many languages.

It starts from the first layers of multilingual-e5-small, and learns from texts alone. The student's
own embeddings are the targets of English texts, of things' names in all languages, and of captions
with some words in another language. All of e5 teaches it what words of these languages mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from mcad_mobile.base.documents import NotNegative, Positive, Record, Size, decode, read_file
from mcad_mobile.base.progress import Progress
from mcad_mobile.distill.dataset import load_extra
from mcad_mobile.distill.device import accelerator, autocast, choose_arithmetic
from mcad_mobile.distill.e5 import E5, PREFIX
from mcad_mobile.distill.features import EncodeTexts, FeatureCache, by_length, half
from mcad_mobile.distill.languages import (
    ENGLISH,
    LANGUAGES,
    Thing,
    choose_pieces,
    read_things,
    taught,
    words_of,
)
from mcad_mobile.distill.loop import Forward, Loop, Losses, Schedule
from mcad_mobile.distill.losses import distribution_loss, feature_loss
from mcad_mobile.distill.recipe import ArithmeticOption, Seed
from mcad_mobile.distill.teachers.classifiers import imagenet_names
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, StudentError, require
from mcad_mobile.students.load import load_student
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.students.tokenizers.convert import read_sentencepiece
from mcad_mobile.students.tokenizers.sentencepiece import (
    SPECIALS,
    SentencePieceConfig,
    sentencepiece_model,
)

MODEL = "tokenizer.model"
_PROMPTS = ("{}", "a {}", "a photo of a {}")
_E5_LENGTH = 64


class TextRecipe(Record, frozen=True):
    """How a text tower is trained: how many texts of each kind a step has, and what losses weigh.
    The token table, of `rank` numbers a token, is not trained."""

    layers: Size = 3
    vocab: Size = 72_000
    rank: Size = 256
    length: Size = 40
    steps: Size = 6000
    checkpoint: Size = 150  # steps
    most_captions: Size = 60_000
    most_foreign: Size = 80_000
    names: Size = 112
    english: Size = 48
    switched: Size = 40  # captions with names of another language
    foreign: Size = 72  # words and keywords, that e5 alone embeds
    feature: NotNegative = 10.0
    distribution: NotNegative = 2.0
    temperature: Positive = 0.05
    meaning: NotNegative = 4.0  # e5's embeddings
    head_lr: Positive = 2e-3
    tuned_lr: Positive = 3e-4
    weight_decay: NotNegative = 0.01
    warmup: Positive = 0.05
    arithmetic: ArithmeticOption = "auto"
    seed: Seed = 0

    @staticmethod
    def load(path: Path) -> TextRecipe:
        """Read a file with the fields that differ. DataError."""
        hint = "Give fields of TextRecipe (mcad_mobile/distill/text_only.py), as JSON."
        raw = read_file(path, DataError, hint)
        return decode(raw, TextRecipe, f"{path} is not a recipe: it", DataError, hint)


@dataclass(frozen=True)
class TextMaterial:
    """The student whose space is learned, English captions, and things in `languages`."""

    student: McadStudent
    captions: Sequence[str]
    things: Sequence[Thing]
    languages: Sequence[str]

    @staticmethod
    def read(
        student: str | None, captions: list[Path], archive: Path, languages: Sequence[str]
    ) -> TextMaterial:
        """Read files of captions, and things in `languages`, by default LANGUAGES. Those by which
        towers are tested are left out. DataError, StudentError."""
        loaded = load_student(student)
        if not isinstance(loaded, McadStudent):
            raise StudentError(
                f"{loaded.name} is not a student that `mcad-mobile distill` wrote.",
                "Give its folder; text towers of other libraries' students are not replaced.",
            )
        chosen = languages or LANGUAGES
        if not {*chosen} - {ENGLISH}:
            raise DataError("English is the only language.", "Name others, too: de,ja,zh-Hant.")
        things = taught(read_things(archive, chosen))
        return TextMaterial(loaded, load_extra([], captions).captions, things, chosen)


def train_text_tower(
    material: TextMaterial, out: Path, recipe: TextRecipe, cache: Path, show: Progress
) -> McadStudent:
    """Train into `out` a student with the same image tower. A run that was cut off continues from
    its last checkpoint; a finished one is not repeated. DataError, TrainingError, MissingExtra."""
    if out.resolve() == material.student.directory.resolve():
        raise DataError(f"{out} is the student itself.", "Give --out another folder.")
    torch.manual_seed(recipe.seed)
    texts = _Texts(material, recipe)
    facts = {
        "recipe": msgspec.to_builtins(recipe),
        "languages": [*material.languages],
        "student": material.student.sha256(),
        "texts": hashlib.sha256("\0".join(texts.distinct()).encode()).hexdigest(),
    }
    document, checkpoint = json.dumps(facts, indent=2) + "\n", out / "checkpoint.pt"
    finished = out / "training.json"
    if finished.exists() and not checkpoint.exists() and finished.read_text("utf-8") == document:
        return McadStudent.load(out)
    show("choosing tokens")
    e5 = E5.load()
    read_all = _e5_tokenizer(e5, cache)
    wanted = choose_pieces(e5.pieces, read_all, texts.distinct(), recipe.vocab - len(SPECIALS))
    student = _start(material.student, e5, wanted, out, recipe)
    texts.embed(e5, read_all, FeatureCache(cache, show), student)
    learner = _Learner(student)
    per_epoch = min(recipe.checkpoint, recipe.steps)
    schedule = Schedule(
        recipe.steps // per_epoch, per_epoch, recipe.warmup, recipe.weight_decay, recipe.seed
    )
    loop = Loop(
        learner, learner.groups(recipe), schedule, checkpoint, document, "text tower",
        choose_arithmetic(recipe.arithmetic),
    )  # fmt: skip
    loop.run(lambda forward, step: texts.losses(forward, step, student.tokenizer), show)
    if accelerator().is_main_process:
        student.eval().save(out)
        licence = material.student.source.licence.name
        about = f"The image tower of {material.student.name}, and a text tower of many languages."
        card = f"---\nlicense: {licence}\n---\n{about}\n"
        (out / "README.md").write_text(card, "utf-8")
        finished.write_text(document, "utf-8")
    loop.finish()
    return McadStudent.load(out)


def _e5_tokenizer(e5: E5, folder: Path) -> Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "e5.model").write_bytes(_model(e5, range(len(SPECIALS), len(e5.pieces))))
    return Tokenizer(*SentencePieceConfig(file="e5.model", length=_E5_LENGTH).compiled(folder))


def _model(e5: E5, wanted: Sequence[int]) -> bytes:
    sentencepiece = require("sentencepiece", "distill")
    # XLM-RoBERTa's table of replaced characters is this one of the library.
    rules = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    pieces = (e5.pieces[number] for number in wanted)
    return sentencepiece_model(pieces, rules.serialized_normalizer_spec())


@torch.no_grad()
def _start(
    base: McadStudent, e5: E5, wanted: list[int], out: Path, recipe: TextRecipe
) -> McadStudent:
    """`base` with the first layers of e5 as its text tower, and its rows of the pieces `wanted`,
    cut to the directions in which they differ most."""
    out.mkdir(parents=True, exist_ok=True)
    (out / MODEL).write_bytes(_model(e5, wanted))
    rows = e5.token_rows([*range(len(SPECIALS)), *wanted])
    text = msgspec.structs.replace(
        base.config.text, vocab=len(rows), length=recipe.length, layers=recipe.layers,
        embedding_rank=recipe.rank, table_bits=8,
    )  # fmt: skip
    tokenizer = SentencePieceConfig(file=MODEL, length=recipe.length)
    config = msgspec.structs.replace(base.config, name=out.name, text=text, tokenizer=tokenizer)
    student = McadStudent(config, out)
    student.image.load_state_dict(base.image.state_dict())
    e5.fill(student.text)
    basis = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, : recipe.rank]
    student.text.token.weight.copy_(rows @ basis)
    student.text.widen.weight.copy_(basis)
    return student


class _Learner(nn.Module):
    """A text tower, and a map of its states to e5's embeddings, for training alone."""

    def __init__(self, student: McadStudent) -> None:
        super().__init__()
        self.tower = student.text
        self.tower.token.requires_grad_(False)
        for module in self.tower.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        self.meaning = nn.Linear(student.config.text.width, student.config.text.width)

    def groups(self, recipe: TextRecipe) -> list[dict[str, Any]]:
        new = [*self.tower.head.parameters(), *self.meaning.parameters()]
        known = {id(parameter) for parameter in new}
        rest = [p for p in self.tower.parameters() if p.requires_grad and id(p) not in known]
        return [{"params": new, "lr": recipe.head_lr}, {"params": rest, "lr": recipe.tuned_lr}]

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L] -> the student's embeddings [B, dim] and e5's [B, width], of unit length."""
        states = by_length(self.tower.mean, ids, mask)
        return _unit(self.tower.head(states)), _unit(self.meaning(states))


class _Texts:
    """All texts of a run, and their targets: the student's embeddings of English texts and things,
    and e5's of words and keywords in all languages."""

    def __init__(self, material: TextMaterial, recipe: TextRecipe) -> None:
        rng = np.random.default_rng(recipe.seed)
        things = self._things = material.things
        self._material, self._recipe = material, recipe
        self._others = [language for language in material.languages if language != ENGLISH]
        captions = _draw(material.captions, recipe.most_captions, rng)
        classes = [name for names in imagenet_names() for name in names]
        names = [*(thing.english for thing in things), *classes]
        # Prompts of things come first: their mean is a thing's target.
        self._english = [prompt.format(name) for name in names for prompt in _PROMPTS] + captions
        self._names = [
            (number, thing.names[language])
            for number, thing in enumerate(things)
            for language in self._others
            if language in thing.names
        ]
        self._by_word = {thing.english.lower(): thing for thing in things}
        first = len(self._english) - len(captions)
        self._switchable = np.array(
            [number for number, text in enumerate(captions, first) if self._known_words(text)],
            np.intp,
        )
        keywords = [
            " ".join(rng.permutation(words)[:4])
            for thing in things
            for language, words in thing.keywords.items()
            if language in self._others and words
        ]
        self._foreign = _draw(keywords, recipe.most_foreign // 2, rng)

    def distinct(self) -> list[str]:
        return [*self._english, *(name for _, name in self._names), *self._foreign]

    def embed(self, e5: E5, read_all: Tokenizer, cache: FeatureCache, student: McadStudent) -> None:
        """Compute all targets; words are those of the student's tokens."""
        base, recipe = self._material.student, self._recipe
        pieces = read_sentencepiece(str(student.directory / MODEL)).pieces
        words = words_of([piece for piece, _ in pieces])
        self._foreign += _draw(words, recipe.most_foreign // 2, np.random.default_rng(recipe.seed))
        of_base = _embed(base.tokenizer, base.text.eval())
        self._space = cache.of_captions(
            self._english, base.sha256(), f"{base.name}: texts", of_base
        )
        encode = _embed(read_all, e5.encoder(_E5_LENGTH), PREFIX)
        self._meaning = cache.of_captions(self._foreign, "e5", "e5: texts", encode)
        prompts = self._space[: len(self._things) * len(_PROMPTS)].astype(np.float32)
        means = torch.from_numpy(prompts.reshape(len(self._things), len(_PROMPTS), -1)).mean(1)
        self._of_things = _unit(means)

    def losses(self, forward: Forward, step: int, tokenizer: Tokenizer) -> Losses:
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, step])
        names = [self._names[row] for row in rng.integers(0, len(self._names), recipe.names)]
        english = rng.integers(0, len(self._english), recipe.english)
        switched = rng.choice(self._switchable, recipe.switched if len(self._switchable) else 0)
        foreign = rng.integers(0, len(self._foreign), recipe.foreign)
        texts = [
            *(name for _, name in names),
            *(self._english[row] for row in english),
            *(self._switch(self._english[row], rng) for row in switched),
            *(self._foreign[row] for row in foreign),
        ]
        # Few people type capitals.
        low = rng.random(len(texts)) < 0.3
        texts = [text.lower() if lower else text for text, lower in zip(texts, low, strict=True)]
        device = accelerator().device
        ids, mask = (torch.from_numpy(rows).to(device) for rows in tokenizer.batch(texts))
        embedding, meaning = forward(ids.long(), mask)
        placed = len(texts) - len(foreign)
        rows = self._space[np.concatenate([english, switched])].astype(np.float32)
        space = torch.cat([self._of_things[[row for row, _ in names]], torch.from_numpy(rows)])
        space = space.to(device)
        found, sharp = embedding[:placed], 1 / recipe.temperature
        told_apart = distribution_loss(sharp * found @ space.T, sharp * space @ space.T)
        meant = torch.from_numpy(self._meaning[foreign].astype(np.float32)).to(device)
        return {
            "feature": recipe.feature * feature_loss(found, space),
            "distribution": recipe.distribution * told_apart,
            "meaning": recipe.meaning * feature_loss(meaning[placed:], meant),
        }

    def _known_words(self, caption: str) -> dict[int, Thing]:
        """The things that a caption's words name, by their places."""
        found = {}
        for place, word in enumerate(caption.split()):
            key = word.strip(".,").lower()
            thing = self._by_word.get(key) or self._by_word.get(key.removesuffix("s"))
            if thing is not None:
                found[place] = thing
        return found

    def _switch(self, caption: str, rng: Generator) -> str:
        """The caption with most names of things in a language drawn at random."""
        language, words = str(rng.choice(self._others)), caption.split()
        for place, thing in self._known_words(caption).items():
            if rng.random() < 0.8:
                words[place] = thing.names.get(language, words[place])
        return " ".join(words)


def _draw(texts: Sequence[str], most: int, rng: Generator) -> list[str]:
    """`most` of them at random, or all."""
    return [texts[number] for number in rng.permutation(len(texts))[:most]]


def _unit(rows: Tensor) -> Tensor:
    return functional.normalize(rows.float(), dim=-1)


def _embed(tokenizer: Tokenizer, tower: Forward, prefix: str = "") -> EncodeTexts:
    """A function from texts to embeddings [B, D] float16 of unit length, as caches keep them."""
    arithmetic = choose_arithmetic("auto")

    @torch.no_grad()
    def embed(texts: list[str]) -> Tensor:
        ids, mask = tokenizer.batch([prefix + text for text in texts])
        with autocast(arithmetic, torch.device("cpu")):
            return _unit(by_length(tower, torch.from_numpy(ids).long(), torch.from_numpy(mask)))

    return half(embed)
