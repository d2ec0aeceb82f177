"""Students that join timm's image tower and transformers' text tower, trained by `distill`."""

from __future__ import annotations

import copy
import difflib
import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from mcad_mobile.base.documents import Record, Word, decode
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import StudentError, require, short_message
from mcad_mobile.students.hub import find_folder, find_weights, loading
from mcad_mobile.students.image_transforms import timm_preprocess
from mcad_mobile.students.published import (
    PublishedStudent,
    StudentTowers,
    TextLayers,
    Trainable,
    build_student,
    trained_widths,
)
from mcad_mobile.students.student import Source, TextSpec, save_weights
from mcad_mobile.students.transformers import (
    WEIGHTS,
    known_length,
    load_model,
    plain_config,
    tokenize_with,
)
from mcad_mobile.students.weights_licences import WeightsLicence, weights_licence

SCHEMA = "mcad-towers/1"
SPELLED = "towers:timm/NAME+hf/NAME_OR_FOLDER"
_HINT = "Give a folder that a training of towers:... wrote."
# Captions have about twenty tokens; BERT's 512 positions are too many to compute on a phone.
_LONGEST = 64
_TIMM_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Text towers whose layers take states and scores and whose tokenizers run on phones (RoBERTa's
# byte-level one does not). XLM-RoBERTa's positions start after its padding id.
_TEXT = {"bert": "BertModel", "xlm-roberta": "XLMRobertaModel"}


class TowersConfig(Record, frozen=True):
    """config.json. `image`: timm's model name; `projected`: maps lead into a shared space."""

    image: Word
    preprocess: Preprocess
    length: Annotated[int, Meta(ge=2, le=2**12)]
    dim: Annotated[int, Meta(ge=1, le=2**14)]
    projected: bool
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {"schema": SCHEMA, **fields, "preprocess": self.preprocess.to_json()}


class Towers(nn.Module):
    """Both towers as the libraries' own modules."""

    def __init__(self, image: nn.Module, text: Any, size: int, dim: int) -> None:
        """`size`: the side of photos; `dim` 0: no maps."""
        super().__init__()
        self.image, self.text = image.eval(), text
        with torch.no_grad():  # some architectures widen the last grid's `num_features`
            width = image(torch.zeros(1, 3, size, size)).shape[1]
        self.widths = int(width), int(text.config.hidden_size)
        maps = [nn.Linear(own, dim, bias=False) if dim else nn.Identity() for own in self.widths]
        self.image_map, self.text_map = maps

    def embed_photos(self, pixels: Tensor) -> Tensor:
        return self.image_map(self.image(pixels))  # type: ignore[no-any-return]

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the mapped mean of each text's token states, as in sentence encoders."""
        longest = int(mask.sum(1).max())
        ids, mask = ids[:, :longest], mask[:, :longest]
        states = self.text(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask / mask.sum(1, keepdim=True)
        return self.text_map((weights[:, None, :] @ states.float()).squeeze(1))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LoadedTowers:
    """Both towers and their tokenizer. `where`: the student's source, for display."""

    name: str
    where: str
    config: TowersConfig
    towers: Towers
    tokenizer: Any
    licence: WeightsLicence = field(default_factory=WeightsLicence)
    widths: tuple[int, ...] = ()


def load_towers(folder: Path) -> PublishedStudent:
    """Load the student in `folder`."""
    return _as_student(_read(folder))


def trainable_towers(spec: str, from_scratch: bool, dim: int) -> Trainable:
    """Load `timm/NAME+hf/NAME_OR_FOLDER`, with maps to `dim` dimensions; 0: no maps."""
    timm_name, plus, hf_name = spec.removeprefix("timm/").partition("+hf/")
    if not (spec.startswith("timm/") and timm_name and plus and hf_name):
        raise StudentError(
            f"towers:{spec} does not name two towers.",
            f"Write {SPELLED}, as in "
            "towers:timm/mobilenetv4_conv_small+hf/sentence-transformers/all-MiniLM-L6-v2.",
        )
    image, preprocess = _image(timm_name, from_scratch)
    text, tokenizer = _text(hf_name, from_scratch)
    towers = Towers(image, text, preprocess.size, dim).eval()
    widths = towers.widths
    if not dim and widths[0] != widths[1]:
        raise StudentError(
            f"{timm_name} gives {widths[0]} numbers for a photo, and {hf_name} {widths[1]} for a "
            "text: without a projection they share no space.",
            'Give "projection" in the recipe a width, such as 256.',
        )
    config = TowersConfig(
        image=timm_name,
        preprocess=preprocess,
        length=min(_LONGEST, known_length(tokenizer, text.config) - _first_place(text)),
        dim=dim or widths[0],
        projected=bool(dim),
    )
    new = [*towers.image_map.parameters(), *towers.text_map.parameters()]
    if from_scratch:
        new = list(towers.parameters())
    name = spec.replace("/", "-")
    return _trainable(LoadedTowers(name, f"towers:{spec}", config, towers, tokenizer), new)


def trainable_folder(folder: Path) -> Trainable:
    """Load the student in `folder`, to be trained further."""
    return _trainable(_read(folder), [])


def _trainable(loaded: LoadedTowers, new: list[nn.Parameter]) -> Trainable:
    return Trainable(
        as_exported=_as_student(replace(loaded, towers=copy.deepcopy(loaded.towers))),
        module=loaded.towers,
        image=loaded.towers.embed_photos,
        text=loaded.towers.embed_texts,
        write=partial(_write, loaded),
        new=tuple(new),
    )


def _image(name: str, from_scratch: bool) -> tuple[nn.Module, Preprocess]:
    timm = require("timm", "students")
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), 5, 0.4)
        raise StudentError(
            f"timm {timm.__version__} has no model called {name!r}.",
            f"Nearest: {', '.join(near) or 'none'}. All: python -c 'import timm; "
            "print(timm.list_models())'.",
        )
    published = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    source: dict[str, Any] = {}
    if not from_scratch:
        if published is None or not published.hf_hub_id:
            tags = timm.list_models(f"{architecture}.*", pretrained=True)
            raise StudentError(
                f"timm has no published weights of {name}.",
                f"Give one of: {', '.join(tags)}." if tags else "Train from scratch.",
            )
        file = find_weights(published.hf_hub_id, _TIMM_WEIGHTS, published.hf_hub_filename or "")
        source = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    with loading(name, "an image tower"):
        module = timm.create_model(name, num_classes=0, **source)
        config = timm.data.resolve_model_data_config(module)
    return module, timm_preprocess(config)


def _text(name: str, from_scratch: bool) -> tuple[Any, Any]:
    transformers = require("transformers", "students")
    needed = () if from_scratch else (WEIGHTS,)
    folder = find_folder(name, ["config.json"], *needed)
    with loading(name, "a text tower"):
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if config.model_type not in _TEXT:
        raise StudentError(
            f"{name} is a {config.model_type} model, which is no text tower here: no rewrite of it "
            "for phones is known.",
            f"Give a model of type {', '.join(_TEXT)}.",
        )
    kind = _TEXT[config.model_type]
    text = load_model(transformers, kind, folder, config, name, from_scratch, optional=("pooler.",))
    return text, tokenizer


def _first_place(text: Any) -> int:
    return 0 if text.config.model_type == "bert" else int(text.config.pad_token_id) + 1


def _as_student(loaded: LoadedTowers) -> PublishedStudent:
    """Convert to a student, rewriting the towers in place."""
    towers, config = loaded.towers, loaded.config
    embeddings = towers.text.embeddings
    table: Tensor = embeddings.word_embeddings.weight
    spec = TextSpec(config.length, table.shape[1], "mean")
    first = _first_place(towers.text)
    positions = embeddings.position_embeddings.weight[first : first + config.length]
    parts = TextLayers(
        positions + embeddings.token_type_embeddings.weight[0],
        towers.text.encoder.layer,
        towers.text_map,
        before=embeddings.LayerNorm,
    )
    return build_student(
        loaded.name,
        Source(
            loaded.where, "timm's configuration of the image tower", loaded.licence, loaded.widths
        ),
        config.preprocess,
        StudentTowers(spec, table, nn.Sequential(towers.image, towers.image_map), parts, "padding"),
        loaded.tokenizer,
        tokenize_with(loaded.tokenizer, spec),
        towers,
        {"config": config.to_json(), "text": plain_config(towers.text.config)},
    )


def _write(loaded: LoadedTowers, directory: Path) -> None:
    save_weights(loaded.towers.state_dict(), directory / "model.safetensors")
    loaded.towers.text.config.save_pretrained(directory / "text")
    loaded.tokenizer.save_pretrained(directory / "text")
    config = json.dumps(loaded.config.to_json(), indent=2)
    (directory / "config.json").write_text(config + "\n", "utf-8")


def _read(folder: Path) -> LoadedTowers:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "config.json"
    config = decode(path.read_bytes(), TowersConfig, path, StudentError, _HINT, schema=SCHEMA)
    timm = require("timm", "students")
    text, tokenizer = _text(str(folder / "text"), from_scratch=True)
    try:
        image = timm.create_model(config.image, num_classes=0)
        dim = config.dim if config.projected else 0
        towers = Towers(image, text, config.preprocess.size, dim)
        towers.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError, LookupError, ValueError) as error:
        raise StudentError(
            f"The student in {folder} is damaged: {short_message(error)}", _HINT
        ) from error
    name, licence = folder.resolve().name, weights_licence(folder)
    return LoadedTowers(
        name, str(folder), config, towers.eval(), tokenizer, licence, trained_widths(folder)
    )
