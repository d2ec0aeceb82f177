"""Teachers from libraries: any student as a dual-stream teacher, and transformers' BLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.features import GridTrunk
from mcad_mobile.distill.teachers.teacher import (
    DualStreamTeacher,
    Fused,
    SingleStreamTeacher,
    TextStates,
)
from mcad_mobile.errors import TeacherError, require
from mcad_mobile.students.hub import find_folder, loading
from mcad_mobile.students.load import load_student
from mcad_mobile.students.student import model_sha256
from mcad_mobile.students.transformers import WEIGHTS, load_parts, plain_config

_TEXT_LENGTH = 32  # tokens, if the model allows as many
_PAIRS = 64  # scored together, so that memory does not grow with the number of pairs


def load_duals(specs: Sequence[str], device: str) -> list[DualStreamTeacher] | None:
    """Load any number of students, named as for `load_student`, or return None for `reference`
    alone. Raises StudentError."""
    if list(specs) == ["reference"]:
        return None
    return [StudentTeacher(spec, device) for spec in specs]


def load_single(spec: str, device: str) -> SingleStreamTeacher | None:
    """Load `hf:NAME_OR_FOLDER` (BLIP); None for `reference`. TeacherError, StudentError."""
    kind, _, name = spec.partition(":")
    if spec == "reference":
        return None
    if kind != "hf" or not name:
        raise TeacherError(
            f"{spec!r} is not a single-stream teacher.",
            "Write reference, or hf:NAME_OR_FOLDER of a BLIP checkpoint.",
        )
    return BlipTeacher(name, device)


class StudentTeacher:
    """A student's towers as a DualStreamTeacher. Raises StudentError."""

    trunks: Sequence[GridTrunk] = ()

    def __init__(self, spec: str, device: str = "cpu") -> None:
        student = load_student(spec)
        self.name, self.dim = student.name, student.dim
        self.identity = student.sha256[:16]
        self._student, self._device = student, torch.device(device)
        self._image, self._text = (student.tower(name).to(device) for name in ("image", "text"))

    @torch.no_grad()
    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        pixels = np.stack([self._student.preprocess.pixels(photo) for photo in photos])
        return F.normalize(self._image(torch.from_numpy(pixels).to(self._device)).cpu(), dim=1)

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        inputs = self._student.read(list(captions)).inputs().values()
        rows = self._text(*(torch.from_numpy(array).to(self._device) for array in inputs))
        return F.normalize(rows.cpu(), dim=1)


class BlipTeacher:
    """BLIP's image-text matching, from what save_pretrained() wrote in a folder, or published under
    a name. The fused feature is the last state of the first token, which the matching head reads;
    the score is the head's logit for "match" minus that for "no match". TeacherError,
    StudentError."""

    trunks: Sequence[GridTrunk] = ()
    cosines = False

    def __init__(self, path: str, device: str = "cpu") -> None:
        transformers = require("transformers", "students")
        folder = find_folder(path, ["config.json"], WEIGHTS)
        with loading(path, "a teacher"):
            config: Any = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if config.model_type != "blip":
            raise TeacherError(
                f"{path} holds a {config.model_type} model, not a BLIP.",
                "Give a checkpoint of BLIP's image-text retrieval.",
            )
        kind = "BlipForImageTextRetrieval"
        loaded = load_parts(transformers, kind, folder, config, path, attention=None)
        facts = {
            "config": plain_config(config),
            "image": loaded.processor.to_dict(),
            "vocabulary": loaded.tokenizer.get_vocab(),
        }
        self.name = folder.resolve().name
        self.identity = model_sha256(loaded.model, facts)[:16]
        self.fused_dim: int = config.text_config.hidden_size
        self._text_length = min(_TEXT_LENGTH, config.text_config.max_position_embeddings)
        self._processor, self._tokenizer = loaded.processor, loaded.tokenizer
        self._device, self._model = torch.device(device), loaded.model.to(device)

    @torch.no_grad()
    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> the vision encoder's last states, [B, patches + 1, C] float16."""
        inputs = self._processor(images=list(photos), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._device)
        states: Tensor = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return states.half().cpu()

    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Captions -> token ids [M, L] int64 and their mask on the CPU, cut to L."""
        inputs = self._tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        )
        return TextStates(inputs["input_ids"], inputs["attention_mask"].float())

    # Not inference mode, whose tensors may not enter a student's loss.
    @torch.no_grad()
    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        features, scores = torch.empty(len(pairs), self.fused_dim), torch.empty(len(pairs))
        for start in range(0, len(pairs), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            photo_rows, text_rows = pairs[chunk].unbind(1)
            # Runs parts of the model: the whole would encode each photo again for every pair.
            first = self._model.text_encoder(
                input_ids=texts.states[text_rows].to(self._device),
                attention_mask=texts.mask[text_rows].to(self._device).long(),
                encoder_hidden_states=photos[photo_rows].to(self._device, torch.float32),
            ).last_hidden_state[:, 0]
            no_match, match = self._model.itm_head(first).unbind(1)
            features[chunk], scores[chunk] = first, match - no_match
        return Fused(features, scores)
