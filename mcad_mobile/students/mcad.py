"""The default student: EfficientNet-Lite0 and three layers of MiniLM, 256 dimensions."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from mcad_mobile.base.documents import Record, Size, Word, decode, folder_kind
from mcad_mobile.engine.bundle import TowerName
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.token_rows import rounded_rows, unpacked
from mcad_mobile.engine.text.tokenizer import Tokenizer, TokenizerSpec
from mcad_mobile.errors import Remedy, StudentError
from mcad_mobile.students.efficientnet_lite import ImageTower
from mcad_mobile.students.published import RowTower, TextLayers, read_ids
from mcad_mobile.students.student import (
    Source,
    Texts,
    TextSpec,
    check_cut,
    image_identity,
    save_weights,
)
from mcad_mobile.students.text_transformer import MASKED_SCORE, TextConfig, TextTower
from mcad_mobile.students.tokenizers.trained import SentencePieceConfig, WordPieceConfig
from mcad_mobile.students.weights_licences import weights_licence

SCHEMA = "mcad-student/1"
WEIGHTS = "model.safetensors"
_TABLE, _SCALES = "text.token.weight", ".scales"
_MATRIX = re.compile(r"text\.layers\..*(?<!norm)\.weight")


class StudentConfig(Record, frozen=True, omit_defaults=True):
    """A student's config.json. What was not in it is not written, so a copy has the same hash."""

    name: Word
    dim: Annotated[int, Meta(ge=1, le=2**12)]
    image_hidden: Annotated[int, Meta(ge=1, le=2**14)]
    text: TextConfig
    preprocess: Preprocess
    tokenizer: WordPieceConfig | SentencePieceConfig
    widths: tuple[Size, ...] = (128, 64)  # narrower ones that it was trained for
    trunk: Literal[0, 2] = 0  # the size of its EfficientNet-Lite
    classes: Annotated[int, Meta(ge=0, le=2**14)] = 0  # see ImageTower
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if self.tokenizer.length > self.text.length:
            raise ValueError(
                f"the tokenizer's length is {self.tokenizer.length}, more than the "
                f"{self.text.length} of the text tower"
            )
        last = self.tokenizer.last_special
        if last >= self.text.vocab:
            raise ValueError(f"token {last} is none of the {self.text.vocab} of the text tower")

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {"schema": SCHEMA, **plain, "preprocess": self.preprocess.to_json()}


def default_config(name: str = "mcad-s") -> StudentConfig:
    """Return the configuration of `models/mcad-s`, with EfficientNet-Lite's own mean and std."""
    text = TextConfig()
    return StudentConfig(
        name=name,
        dim=256,
        image_hidden=512,
        text=text,
        preprocess=Preprocess(
            size=224,
            resize="squash",
            interpolation="bilinear",
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
        ),
        tokenizer=WordPieceConfig(
            file="vocab.txt",
            length=text.length,
            pad=0,
            specials={"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102},
        ),
    )


class McadStudent(nn.Module):
    """The student that `distill` trains; its files are in `directory`."""

    def __init__(self, config: StudentConfig, directory: Path) -> None:
        super().__init__()
        self.config = config
        self.directory = directory
        self._was_cut = False
        self.name, self.dim, self.preprocess = config.name, config.dim, config.preprocess
        text = config.text
        self.text_spec = TextSpec(
            config.tokenizer.length, text.embedding_rank, "mean", table_bits=text.table_bits
        )
        self.image = ImageTower(config.dim, config.image_hidden, config.trunk, config.classes)
        self.text = TextTower(config.text, config.dim)
        self.tokenizer = Tokenizer(*config.tokenizer.compiled(directory))

    @property
    def source(self) -> Source:
        return Source(self.directory.name, "its config.json", weights_licence(self.directory))

    @property
    def token_table(self) -> Tensor:
        """[vocab, rank] float32, a factor of the token embeddings; the graph holds the other."""
        return self.text.token.weight.detach()

    def tower(self, name: TowerName) -> nn.Module:
        if name == "image":
            return self.image
        text = self.text
        parts = TextLayers(
            text.position, text.layers, text.head, widen=text.widen, before=text.norm
        )
        length = self.config.tokenizer.length
        return RowTower(parts, mask_kind="padding", length=length, hidden_score=MASKED_SCORE).eval()

    def read(self, texts: list[str]) -> Texts:
        return read_ids(*self.tokenizer.batch(texts), self.token_table, self.text_spec)

    @property
    def tokenizer_file(self) -> tuple[TokenizerSpec, bytes]:
        return self.config.tokenizer.compiled(self.directory)

    def cut(self, dim: int) -> McadStudent:
        check_cut(self.name, dim, self.dim, self.config.widths)
        config = msgspec.structs.replace(self.config, dim=dim)
        with torch.device("meta"):
            narrow = McadStudent(config, self.directory)
        kept = {}
        for name, value in narrow.state_dict().items():  # only the heads' last layers get narrower
            kept[name] = self.state_dict()[name][: len(value)] if value.ndim else value
        narrow.load_state_dict(kept, assign=True)
        narrow._was_cut = True
        return narrow.eval()

    def save(self, directory: Path) -> None:
        """Write config.json, model.safetensors and the vocabulary. Weights are float16; a text
        tower with a 4-bit token table is stored as on phones: table in 4 bits, layers in 8."""
        weights = {name: value.half() for name, value in self.state_dict().items()}
        if self.config.text.table_bits == 4:
            for name in [_TABLE, *(name for name in weights if _MATRIX.fullmatch(name))]:
                table = self.state_dict()[name].cpu().numpy()
                scales, rows = rounded_rows(table, 4 if name == _TABLE else 8)
                weights[name] = torch.from_numpy(rows)
                weights[name + _SCALES] = torch.from_numpy(scales)
        save_weights(weights, directory / WEIGHTS)
        config = json.dumps(self.config.to_json(), indent=2)
        (directory / "config.json").write_text(config + "\n", "utf-8")
        vocabulary = self.config.tokenizer.file
        if self.directory.resolve() != directory.resolve():
            shutil.copyfile(self.directory / vocabulary, directory / vocabulary)

    @staticmethod
    def load(directory: Path) -> McadStudent:
        """Load a student's folder. StudentError if it is missing, of another kind or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        config = read_config(directory)
        try:
            # On "meta", so that wrong sizes in config.json allocate no memory.
            with torch.device("meta"):
                student = McadStudent(config, directory)
            weights = load_file(directory / WEIGHTS)
            for name in [name for name in weights if name.endswith(_SCALES)]:
                scales, name = weights.pop(name), name.removesuffix(_SCALES)
                rows = unpacked(weights[name].numpy(), 4 if name == _TABLE else 8)
                weights[name] = torch.from_numpy(rows) * scales[:, None]
            floats = {name: value.float() for name, value in weights.items()}
            student.load_state_dict(floats, assign=True)
        except (OSError, SafetensorError, RuntimeError, LookupError, ValueError) as error:
            raise StudentError(
                f"The student in {directory} is damaged: {error}.",
                f"Restore {WEIGHTS} and {config.tokenizer.file}, or train it again.",
            ) from error
        tokens = config.tokenizer.tokens(directory)
        if tokens > config.text.vocab:
            raise StudentError(
                f"The student in {directory} is damaged: {config.tokenizer.file} has {tokens} "
                f"tokens, and the text tower {config.text.vocab}.",
                f"Restore {config.tokenizer.file}.",
            )
        return student.eval()

    @property
    def sha256(self) -> str:
        """Of what determines the embeddings: configuration, weights and vocabulary."""
        digest = hashlib.sha256(f"{self.dim}".encode() if self._was_cut else b"")
        for name in ("config.json", WEIGHTS, self.config.tokenizer.file):
            digest.update(hashlib.sha256((self.directory / name).read_bytes()).digest())
        return digest.hexdigest()

    @property
    def image_sha256(self) -> str:
        return image_identity(self.image, self.preprocess)


def read_config(directory: Path) -> StudentConfig:
    """Read a student's config.json. StudentError if it is missing, foreign or damaged."""
    path = directory / "config.json"
    hint = Remedy.GIVE_STUDENT
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        kind = folder_kind(directory)
        why = f"it is {kind}" if kind not in ("", "a student") else "config.json is missing"
        raise StudentError(f"No student in {directory}: {why}.", hint) from None
    except OSError as error:
        raise StudentError(f"{path} cannot be read: {error}.", hint) from error
    return decode(raw, StudentConfig, path, StudentError, hint, schema=SCHEMA)
