"""Random weights that all affect the output, and a SentencePiece model, for checkpoints of
benchmarks and tests."""

from __future__ import annotations

import io
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos.decode import open_photo

CAPTIONS = (
    resources.files("mcad_mobile.export.quantization").joinpath("captions.txt").read_text("utf-8")
)
_PHOTOS = 8


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Move weights so far from their initialization that each affects the output."""
    for parameter in model.parameters():
        size = 0.5 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.add_(size * torch.randn_like(parameter))


@torch.no_grad()
def settle(image: nn.Module, size: int | tuple[int, int]) -> None:
    """Give batch norms running statistics of photos of this size, as training would, none of them
    0, 1."""
    norms = [module for module in image.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the mean over all batches, here one
        norm.reset_running_stats()
    sides = size if isinstance(size, tuple) else (size, size)
    photos = [np.asarray(open_photo(path).resize(sides)) for path in packaged_photos()[:_PHOTOS]]
    image.train()(torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2) / 255.0)
    image.eval()


def sentences_tokenizer(folder: Path, size: int) -> Any:
    """Train SigLIP's tokenizer, with at most `size` SentencePiece pieces, on this package's
    captions: no package ships the published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS.splitlines()),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=-1,
        unk_id=2,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    return transformers.SiglipTokenizer(str(folder / "spiece.model"))
