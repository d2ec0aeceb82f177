"""The frames of a video that stand for it in an index, decoded in a process that may be ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from threading import Timer
from typing import IO, TYPE_CHECKING

import numpy as np

from mcad_mobile.engine.arrays import F32, U8
from mcad_mobile.engine.photos.decode import regular_file
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.engine.photos.video_decoder import HEAD
from mcad_mobile.errors import MissingExtra, PhotoError, install_line

if TYPE_CHECKING:
    from PIL import Image

# How an MP4 begins: a box of type "ftyp" with a few names of formats (ISO/IEC 14496-12, 4.3).
_MP4 = re.compile(rb"\0\0\0[\x10-\xff]ftyp[\w ]{4}", re.ASCII)
MOST_MOMENTS = 32  # of a video
MOST_S = 120.0  # of decoding, beside other work
_SAME_COSINE = 0.95  # of the embeddings of two frames that show nearly the same
_ENDS = 1 << 20  # bytes at a file's start and end that tell whether it changed
_PQ, _HLG = 16, 18  # transfer functions of HDR: ITU-T H.273, table 3
_WHITE = 203.0  # candelas per square metre of diffuse white: ITU-R BT.2408
# From the colours of BT.2020 to those of BT.709: ITU-R BT.2087.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


@dataclass(frozen=True)
class Frame:
    """A key frame, upright and RGB, so many milliseconds from the video's start, and when the video
    was taken, in minutes since 1970 (UTC), if its file says so."""

    milliseconds: int
    image: Image.Image
    taken: int | None


def check_decoder() -> None:
    """Raise MissingExtra where videos cannot be decoded."""
    if find_spec("av") is None:
        raise MissingExtra(
            "Videos need PyAV, which is not installed.",
            f"Install it with: {install_line('video')}",
        )


def read_stamp(path: str) -> tuple[os.stat_result, tuple[int, int]]:
    """Return a video's state and its stamp: that of a photo, whose second number is the CRC-32 of
    the file's first and last MiB. PhotoError if it cannot be read."""
    with regular_file(path, "video") as (file, found):
        ends = file.read(_ENDS)
        file.seek(max(found.st_size - _ENDS, len(ends)))
        return found, (stat_stamp(found), zlib.crc32(ends + file.read(_ENDS)))


def video_behind(photo: bytes) -> int:
    """Return where the video of a motion photo begins in the bytes of its file, 0 if there is none.

    Android's and Samsung's formats both put an MP4 behind a JPEG, with its place in metadata, which
    may be wrong and which other programs remove; its first bytes are unmistakable. A HEIC has it in
    a box of type "mpvd" (Motion Photo format 1.0).
    """
    if photo[4:8] == b"ftyp" and (box := photo.rfind(b"mpvd")) > 0:
        found = _MP4.search(photo, box, box + 24)  # behind the box's head
    elif photo.startswith(b"\xff\xd8") and b"ftyp" in photo:  # faster than the pattern
        found = _MP4.search(photo)
    else:
        return 0
    return found.start() if found else 0


def key_frames(
    path: str, at_least: int, only: int | None = None, *, start: int = 0, most_s: float = MOST_S
) -> Iterator[Frame]:
    """Decode up to 96 key frames of a video, spread over its length.

    Args:
        path: the file, absolute.
        at_least: frames are reduced while both sides keep twice so many pixels.
        only: decode the key frame at so many milliseconds alone.
        start: the byte of the file at which the video begins.
        most_s: seconds after which the decoder is ended.

    Yields:
        Frames by ascending time, the first at 0.

    Raises:
        PhotoError: it holds no video, or none that can be decoded within the limits of time and
            memory.
        MissingExtra: the extra `video` is not installed.
    """
    check_decoder()
    module = "mcad_mobile.engine.photos.video_decoder"
    numbers = at_least, -1 if only is None else only, start
    # -P: do not import an av.py from the user's folder.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, path, *map(str, numbers)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process
    )
    assert process.stdout is not None
    assert process.stderr is not None
    limit = Timer(most_s, process.kill)
    limit.start()
    try:
        yield from _frames(process.stdout)
        why = process.stderr.read(10_000).decode("utf-8", "replace").strip()
        code = process.wait(most_s)
    finally:
        limit.cancel()
        process.kill()
        process.communicate()
    if code:
        last = why.splitlines()[-1] if why else f"its decoder ended with {code}"
        raise PhotoError(f"{path} cannot be decoded: {last}.", "Save it again as MP4 (H.264).")


def _frames(pixels: IO[bytes]) -> Iterator[Frame]:
    from PIL import Image

    while len(head := pixels.read(HEAD.size)) == HEAD.size:
        milliseconds, taken, width, height, line, turns, transfer = HEAD.unpack(head)
        data = pixels.read(line * height)
        if len(data) < line * height:
            return
        rgb = np.frombuffer(data, np.uint8).reshape(height, line)[:, : 3 * width]
        rgb = rgb.reshape(height, width, 3)
        rgb = np.rot90(_tone_mapped(rgb, transfer), -turns)
        yield Frame(milliseconds, Image.fromarray(np.ascontiguousarray(rgb)), taken // 60 or None)


def _tone_mapped(rgb: U8, transfer: int) -> U8:
    """Return HDR pixels [H, W, 3] as a screen without HDR shows them; others as they are."""
    if transfer not in (_PQ, _HLG):
        return rgb
    light = _light(transfer)[rgb] @ _TO_709.T
    light = np.maximum(light, 0)
    light = light * (1 + light / 16) / (1 + light)  # Reinhard et al. 2002, eq. 4; white at 4
    return np.asarray(np.rint(255 * np.minimum(light, 1) ** (1 / 2.2)), np.uint8)


@cache
def _light(transfer: int) -> F32:
    """The light [256] of each level, in units of diffuse white."""
    level = np.arange(256) / 255
    if transfer == _PQ:  # SMPTE ST 2084, eq. 4.1
        power = level ** (1 / 78.84375)
        over = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return np.asarray(10_000 / _WHITE * over ** (1 / 0.1593017578125), np.float32)
    # HLG: ITU-R BT.2100, table 5, for a screen of 1,000 candelas
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12)
    return np.asarray(1000 / _WHITE * scene**1.2, np.float32)


def choose_moments(milliseconds: Sequence[int], embeddings: F32) -> list[int]:
    """Choose the frames that stand for a video: at most 32, the first among them.

    Args:
        milliseconds: N times, ascending.
        embeddings: [N, D] float32 of unit length.

    Returns:
        Positions, ascending. A frame that is nearly the one chosen before it is left out; if there
        are still too many, the one that differs most from that one stays in each of 32 equal
        spans of the video.
    """
    chosen, change = [0], [2.0]
    for number in range(1, len(milliseconds)):
        cosine = float(embeddings[number] @ embeddings[chosen[-1]])
        if cosine < _SAME_COSINE:
            chosen.append(number)
            change.append(1 - cosine)
    if len(chosen) <= MOST_MOMENTS:
        return chosen
    best: dict[int, int] = {}
    for position, number in enumerate(chosen):
        span = milliseconds[number] * MOST_MOMENTS // (milliseconds[-1] + 1)
        if span not in best or change[position] > change[best[span]]:
            best[span] = position
    return [chosen[position] for position in best.values()]
