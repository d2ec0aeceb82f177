"""Decodes a video's key frames, in a process of its own: a damaged file may crash or hang it.

Run by `video.py` with a file, the least side of a frame, for one frame alone its milliseconds,
else -1, and the byte at which the video begins. It writes a HEAD and the pixels of each frame, or
to standard error what is wrong.
"""

from __future__ import annotations

import resource
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from typing import Any

# Milliseconds; seconds from 1970 to when the video was taken, or 0; width, height, bytes of a line,
# quarters of a turn clockwise, transfer function.
HEAD = struct.Struct("<qqIIIII")
MOST_FRAMES = 96  # of an hour, one in 38 s
MOST_BYTES = 1 << 30  # of memory
MOST_CPU_S = 60
_LEAST_STEP_S = 1
_MOST_PIXELS = 40_000_000  # 8K has 33 million
# Formats whose files hold their video, never a list of other files or addresses.
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm",
    "protocol_whitelist": "file,subfile",
}


def main(path: str, least: int, only: int, start: int) -> None:
    """Write the frames of the video, or the one at a time, to standard output."""
    for kind, most in ((resource.RLIMIT_AS, MOST_BYTES), (resource.RLIMIT_CPU, MOST_CPU_S)):
        with suppress(ValueError):  # macOS refuses the first
            resource.setrlimit(kind, (most, most))
    import av

    address = f"subfile,,start,{start},end,0,,:file:{path}" if start else f"file:{path}"
    with av.open(address, options=_OPTIONS, metadata_errors="replace") as container:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise ValueError("it holds no video")
        stream = streams[0]
        if stream.codec_context is None:
            raise ValueError("its codec is unknown")
        stream.codec_context.thread_count = 1
        stream.codec_context.skip_frame = "NONKEY"
        if stream.width * stream.height > _MOST_PIXELS:
            raise ValueError(f"it has {stream.width} x {stream.height} pixels")
        found, taken = False, _taken(container.metadata)
        for milliseconds, frame in _key_frames(container, stream, only):
            _write(frame, milliseconds, taken, least, stream.sample_aspect_ratio)
            found = True
        if not found:
            raise ValueError("none of its frames can be decoded")


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _taken(metadata: dict[str, str]) -> int:
    """Return the container's time, whose clock starts in 1904 where it was not set."""
    for key in ("com.apple.quicktime.creationdate", "creation_time"):
        with suppress(KeyError, ValueError, OverflowError):
            when = datetime.fromisoformat(metadata[key])
            if when.year > 1970:
                return int(when.timestamp())
    return 0


def _key_frames(container: Any, stream: Any, only: int) -> Iterator[tuple[int, Any]]:
    """Yield key frames and their milliseconds, spread over the video's length."""
    import av

    base, first = stream.time_base, stream.start_time or 0
    length = (container.duration or 0) / av.time_base
    step = max(length / MOST_FRAMES, _LEAST_STEP_S)
    last = -1
    wanted = [number * step for number in range(MOST_FRAMES) if number * step <= length]
    if only >= 0:
        wanted = [(only + 1) / 1000]  # whatever its milliseconds were rounded to
    for seconds in wanted:
        try:
            # To the key frame at that time or before.
            container.seek(first + round(seconds / base), stream=stream)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            if last < 0:
                raise
            continue
        if frame is None or frame.pts is None:
            continue
        milliseconds = max(round((frame.pts - first) * base * 1000), 0)
        if milliseconds > last:
            # What is searched for is the file's first frame, wherever its clock starts.
            last = milliseconds if last >= 0 else 0
            yield last, frame


def _write(frame: Any, milliseconds: int, taken: int, least: int, aspect: Fraction | None) -> None:
    """Write a frame, reduced while both sides keep twice `least` pixels, with square pixels."""
    if frame.width * frame.height > _MOST_PIXELS:
        raise ValueError(f"it has {frame.width} x {frame.height} pixels")
    width = frame.width * float(aspect or 1)
    shrunk = max(min(width, frame.height) / (2 * least), 1.0)
    size = max(round(width / shrunk), 1), max(round(frame.height / shrunk), 1)
    small = frame.reformat(*size, format="rgb24", interpolation="AREA")
    plane, turns = small.planes[0], -frame.rotation // 90 % 4
    head = HEAD.pack(milliseconds, taken, *size, plane.line_size, turns, frame.color_trc or 0)
    sys.stdout.buffer.write(head + bytes(plane))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except BrokenPipeError:  # the process that started it has enough
        sys.stderr.close()
    except Exception as error:  # PyAV raises anything on broken files
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
