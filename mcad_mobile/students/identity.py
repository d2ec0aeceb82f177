"""Which student it is: one hash over all that its embeddings depend on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def sha256_of(model: nn.Module, facts: dict[str, Any], *files: bytes) -> str:
    """SHA-256 over every tensor of `model` (name, type, shape, bytes), over `facts`, which JSON
    can hold, and over `files`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()
