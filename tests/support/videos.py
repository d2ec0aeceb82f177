"""Small videos whose scenes are colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def make_video(
    path: Path,
    scenes: Sequence[Any],
    *,
    seconds: float = 2,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    taken: str | None = None,
    **settings: Any,
) -> Path:
    """Write a video of scenes (colours, or frames [H, W, 3] uint8) with a key frame each second;
    `settings` are attributes of its codec."""
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(path), "w") as out:
        if taken:
            out.metadata["creation_time"] = taken
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = 10
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for scene in scenes:
            frame = np.broadcast_to(np.asarray(scene, np.uint8), (size[1], size[0], 3))
            for _ in range(round(10 * seconds)):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return path
