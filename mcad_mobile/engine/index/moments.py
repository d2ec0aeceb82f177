"""The rows of a video: one for each moment that stands for it, under the path FILE#t=SECONDS, a
media fragment (W3C, Media Fragments URI 1.0, section 4.2.1). Each video has a row at 0. A motion
photo (a JPEG or HEIC with a video behind it) is a row as other photos are, and may have such rows,
too."""

from __future__ import annotations

import os
import re

from mcad_mobile.data.photo_formats import FORMATS, VIDEO_SUFFIXES, is_video, suffix_of

MARK = "#t="
_PHOTOS = (*FORMATS["JPEG"], *FORMATS["HEIF"])
_SUFFIXES = VIDEO_SUFFIXES.union(_PHOTOS)
# No such file's own name ends like that: its suffix would be .000. Android's names of videos have
# no suffix, and before Android 10 end in a volume.
_MOMENT = re.compile(
    rf"(.+(?:{'|'.join(map(re.escape, sorted(_SUFFIXES)))}|/video/media/\d+(?:#[^#=]+)?))"
    rf"{MARK}(\d+)\.(\d\d\d)",
    re.IGNORECASE | re.DOTALL,
)


def moment_path(video: str, milliseconds: int) -> str:
    """Return the path of the row for a moment."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{video}{MARK}{seconds}.{rest:03}"


def clock(milliseconds: int) -> str:
    """Return a moment as players show it: 1:07, 1:00:07."""
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def first_row(file: str) -> str:
    """Return the path of the first row that a photo or video has."""
    return moment_path(file, 0) if is_video(file) else file


def may_have_moments(file: str) -> bool:
    """Say whether a file is a video, or may be a motion photo."""
    return suffix_of(file) in _SUFFIXES


def is_moment(row: bytes) -> bool:
    """Say whether a row's path is that of a moment."""
    return MARK.encode() in row and file_and_moment(os.fsdecode(row))[1] is not None


def is_of_video(row: bytes) -> bool:
    """Say whether a row is a moment of a video, not of a motion photo."""
    return is_moment(row) and suffix_of(file_and_moment(os.fsdecode(row))[0]) not in _PHOTOS


def is_first(row: bytes) -> bool:
    """Say whether a row stands for its file: that of a photo itself, or of a video at 0."""
    return not is_moment(row) or (row.endswith(b"#t=0.000") and is_of_video(row))


def file_and_moment(row: str) -> tuple[str, int | None]:
    """Return the file of a row, and of a moment the milliseconds."""
    found = _MOMENT.fullmatch(row) if MARK in row else None
    return (found[1], int(found[2] + found[3])) if found else (row, None)
