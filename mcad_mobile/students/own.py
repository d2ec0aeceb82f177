"""A student of one's own: two torch modules, a table of token rows, a tokenizer."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mcad_mobile.base.licences import UNKNOWN
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.tokenizer import Pool
from mcad_mobile.errors import StudentError

# The name is public, and whoever only searches has no torch.
if TYPE_CHECKING:
    from torch import Tensor, nn

    from mcad_mobile.students.student import Student

# How students of these kinds were trained to see photos.
PREPROCESS = {
    "clip": Preprocess(
        size=224,
        resize="shortest",
        interpolation="bicubic",
        mean=(0.48145466, 0.4578275, 0.40821073),  # open_clip/constants.py
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    "siglip": Preprocess(
        size=224, resize="squash", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    ),
    "imagenet": Preprocess(
        size=224,
        resize="shortest",
        interpolation="bilinear",
        mean=(0.485, 0.456, 0.406),  # torchvision's classifiers
        std=(0.229, 0.224, 0.225),
    ),
    "mobileclip": Preprocess(  # open_clip/pretrained.py
        size=256,
        resize="shortest",
        interpolation="bilinear",
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        centre="round",
    ),
}


def student(  # noqa: PLR0913  a name for each thing that only its owner knows
    *,
    image: nn.Module,
    text: nn.Module,
    token_table: Tensor,
    tokenizer: Any,
    size: int,
    length: int,
    pool: Pool = "eos",
    preprocess: Literal["clip", "siglip", "imagenet", "mobileclip"] | Preprocess = "clip",
    name: str = "own",
    licence: str = UNKNOWN,
) -> Student:
    """Make a student of two torch modules, to export them.

    Args:
        image: pixels [B, 3, size, size] float32 -> embeddings [B, D]. It is rewritten in place.
        text: token rows [B, L, W], mask [B, L] (1 token, 0 padding) and pooling weights [B, L], all
            float32 -> embeddings [B, D]. It has no token embedding of its own: a phone looks rows
            up in a file. The weights sum to 1: multiplied by the states, they give the pooled one.
        token_table: [V, W] float32, the row of each token: an nn.Embedding's weight.
        tokenizer: a tokenizer of transformers, with a token for padding, or open_clip's of CLIP.
        size: the side of the square of pixels.
        length: L, the most tokens of a text, start and end included.
        pool: the state that is pooled: at the first end token ("eos"), at the "first" or "last"
            position, or the "mean" over all tokens.
        preprocess: how photos are resized and normalized: as for CLIP, SigLIP, a classifier of
            ImageNet or MobileCLIP, or in any other way.
        name: the student's name in bundles and indexes.
        licence: the weights' licence, by its SPDX name.

    Returns:
        A student for `export_bundle`.

    Raises:
        StudentError: the towers share no space, or no phone can have this tokenizer.
    """
    from torch import nn

    from mcad_mobile.students.published import StudentTowers, build_student
    from mcad_mobile.students.student import Source, TextSpec
    from mcad_mobile.students.transformers import tokenize_with
    from mcad_mobile.students.weights_licences import WeightsLicence

    if isinstance(preprocess, str):
        preprocess = msgspec.structs.replace(PREPROCESS[preprocess], size=size)
    of_open_clip = hasattr(tokenizer, "eot_token_id")
    end = tokenizer.eot_token_id if of_open_clip else tokenizer.eos_token_id
    spec = TextSpec(length, token_table.shape[1], pool, end if pool == "eos" else None)
    table = token_table.detach().float().cpu()
    model = nn.ModuleDict({"image": image, "text": text})
    model.register_buffer("token_table", table)
    return build_student(
        name,
        Source(name, "given", WeightsLicence(licence)),
        preprocess,
        StudentTowers(spec, table, image, text),
        tokenizer,
        (lambda texts: (tokenizer(texts, length).numpy(), None))
        if of_open_clip
        else tokenize_with(tokenizer, spec),
        model,
        {"preprocess": preprocess.to_json(), "pool": pool},
    )


def call(spec: str) -> Student:
    """Call the function `package.module:function`, of the working directory or installed, for a
    student. StudentError if there is none, or it returns something else."""
    from mcad_mobile.students.published import PublishedStudent

    module, _, function = spec.partition(":")
    sys.path.insert(0, "")
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise StudentError(
            f"{spec} cannot be called: {error}.",
            "Give a module and its function without arguments: my_package.my_module:make_student.",
        ) from error
    finally:
        sys.path.remove("")
    if not isinstance(made, PublishedStudent):
        raise StudentError(
            f"{spec} returned {type(made).__name__}, not a student.",
            "Return what mcad_mobile.student(...) returns.",
        )
    return made
