"""The teachers' space in the student's width, which feature distillation compares in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, Dataset
from mcad_mobile.distill.labels import DualLabels
from mcad_mobile.distill.trainee import Reader, Trainee, embedded

_TURNED_BY = 1000  # photos and captions: a rotation of 512 dimensions has 131,000 angles


def space_for(trainee: Trainee, dual: DualLabels, reader: Reader, data: Dataset) -> Tensor:
    """[D, dim] float32, orthonormal columns: the teachers' space narrowed to the student's width
    and, if the student embeds photos and captions already, turned to where its own space lies."""
    space = dual.principal(trainee.dim)
    if not trainee.has_a_space:
        return space
    photos = np.arange(min(data.paired_photos, _TURNED_BY))
    captions = np.arange(min(len(data.owner), _TURNED_BY))
    said = dual.of(Batch(photos, np.zeros_like(photos), captions, 0))
    return turned(space, torch.cat(said), torch.cat(embedded(trainee, reader, photos, captions)))


def turned(space: Tensor, teachers: Tensor, student: Tensor) -> Tensor:
    """`space` [D, dim] in the basis in which embeddings [N, D] of the teachers lie as near as they
    can to those of the student, [N, dim]: what was trained before has the least to unlearn. By a
    rotation (orthogonal Procrustes: Schoenemann, Psychometrika 31, 1966), so that cosines stay
    what they are."""
    narrowed = F.normalize(teachers @ space, dim=1)
    left, _, right = torch.linalg.svd(narrowed.double().T @ student.double())
    rotated: Tensor = space @ (left @ right).float()
    return rotated
