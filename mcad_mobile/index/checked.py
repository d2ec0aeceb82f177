"""What a writer is given: paths and embeddings that an index can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import F32, NORM_TOLERANCE
from mcad_mobile.index.paths import MAX_LENGTH, path_to_bytes


def checked_paths(paths: Sequence[str]) -> list[bytes]:
    """Return the bytes of paths. PhotoIndexError: one is empty or too long."""
    raw = [path_to_bytes(path) for path in paths]
    for path in raw:
        if not 0 < len(path) <= MAX_LENGTH:
            what = "an empty path" if not path else f"a path of {len(path)} bytes"
            raise PhotoIndexError(
                f"A photo has {what}.", f"Give each photo a path of 1 to {MAX_LENGTH} bytes."
            )
    return raw


def checked_rows(paths: Sequence[str], embeddings: npt.NDArray[np.float32], dim: int) -> F32:
    """Return embeddings [N, D] float32, each of length exactly 1. PhotoIndexError: they are not of
    this shape, or one is not of about that length."""
    if embeddings.shape != (len(paths), dim):
        raise PhotoIndexError(
            f"{len(paths)} paths came with embeddings of shape {list(embeddings.shape)}; this "
            f"index takes [{len(paths)}, {dim}].",
            "Embed the photos with the bundle that the index was made with.",
        )
    rows = np.asarray(embeddings, np.float32)
    norms = exact.lengths(rows).astype(np.float32)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        first = int(wrong[0])
        raise PhotoIndexError(
            f"The embedding of {paths[first]} has length {norms[first]}, not 1 "
            f"({len(wrong)} of {len(paths)} are like that).",
            "Give L2-normalized float32 embeddings without NaN or infinity.",
        )
    scaled: F32 = rows / norms[:, None]
    return scaled
