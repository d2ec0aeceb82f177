"""Requests and responses of the API. Requests are validated against these types, and the OpenAPI
document is generated from them."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from mcad_mobile.base.documents import Record
from mcad_mobile.engine.engine import Channel

MOST_RESULTS = 10_000  # of one query, page by page
_Id = Annotated[str, Meta(min_length=1, max_length=200)]
_Words = Annotated[str, Meta(min_length=1, max_length=20_000)]
_Weight = Annotated[float, Meta(ge=-10, le=10)]
_Offset = Annotated[int, Meta(ge=0, le=10_000_000)]
_Limit = Annotated[int, Meta(ge=1, le=1000)]


class Part(Record, frozen=True):
    """Words, a photo of an index, or a photo that was uploaded, and how much it counts: negative
    weights rank similar photos lower. Exactly one of `text`, `photo` and `upload` is given."""

    text: _Words | None = None
    photo: _Id | None = None
    upload: _Id | None = None
    weight: _Weight = 1.0

    def __post_init__(self) -> None:
        if (self.text, self.photo, self.upload).count(None) != 2:
            raise ValueError("a part is one of text, photo and upload")
        if self.weight == 0:
            raise ValueError("a weight of 0 says nothing: leave the part out")


_Parts = Annotated[tuple[Part, ...], Meta(max_length=16)]


class Filter(Record, frozen=True):
    """Which photos count: those below a folder (its id), taken from the day `after` to the day
    `before`, both included. A photo's day is what its camera wrote (EXIF), else its file's.
    `place`: the city, region or country where they were taken."""

    folder: _Id | None = None
    after: datetime.date | None = None
    before: datetime.date | None = None
    place: _Id | None = None


class Side(Record, frozen=True):
    """What searches, and where. Without `bundle`, the first bundle; without `rung`, the best that
    runs here; without `index`, the first index of the bundle's student."""

    bundle: _Id | None = None
    rung: _Id | None = None
    index: _Id | None = None


class SearchRequest(Side, frozen=True, kw_only=True):
    """Results `offset` to `offset` + `limit`, best first; without `parts`, all photos, newest
    first. `exact`, `stack` and `by`: see `mcad-mobile search`."""

    parts: _Parts = ()
    filter: Filter = Filter()
    stack: bool = False
    by: Channel | None = None
    offset: _Offset = 0
    limit: _Limit = 100
    exact: bool = False


class CompareRequest(Record, frozen=True, kw_only=True):
    """The same query, asked of two sides."""

    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=16)]
    left: Side
    right: Side
    filter: Filter = Filter()
    stack: bool = False
    by: Channel | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 24


class Copy(msgspec.Struct, frozen=True):
    """A near duplicate of a hit."""

    id: str
    name: str
    folder: str


class Matched(msgspec.Struct, frozen=True):
    """Words that were asked for: the `line` that they stand in, without control characters, and its
    `source`, "text", "name" or "place". `box`: x and y of a line's four corners, in
    ten-thousandths of the upright photo's width and height."""

    source: str
    line: str
    box: tuple[int, ...] | None = None


class PhotoText(msgspec.Struct, frozen=True):
    """The lines that were read in a photo, and the places where it was taken, without control
    characters."""

    lines: list[str]
    places: list[str]


class Hit(msgspec.Struct, frozen=True):
    """A photo. `score` is its cosine to the query, null where there was none; `taken` its date,
    "" where that is not known. `copies` are the near duplicates that it stands for.
    In a comparison, `elsewhere` is its place on the other side,
    counted from 1, or null if it is not among the first there; `only_here` says that the other
    side does not show it. `at_ms` is the moment of a `video`, which `name` tells, too."""

    id: str
    name: str
    folder: str
    taken: str
    score: float | None = None
    elsewhere: int | None = None
    only_here: bool = False
    copies: tuple[Copy, ...] = ()
    matched: tuple[Matched, ...] = ()
    video: bool = False
    at_ms: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """`photos` pass the filter; `total` results are available, page by page, or fewer: how many
    photos are copies further down is known once they are asked for. `ms` is by stage, and
    null for a `simulated` rung, whose time means nothing.
    `truncated`: the end of the text was not read. `unknown`: words that no tower can have learned.
    `generation` counts the index's commits."""

    hits: list[Hit]
    photos: int
    total: int
    bundle: str
    rung: str
    index: str
    generation: int
    offset: int = 0
    ms: dict[str, float] | None = None
    simulated: bool = False
    truncated: bool = False
    unknown: tuple[str, ...] = ()


class Comparison(msgspec.Struct, frozen=True):
    """`shared`: how many photos both sides show."""

    left: Answer
    right: Answer
    shared: int


class RungInfo(msgspec.Struct, frozen=True):
    """One way to run a bundle's text tower. A `simulated` rung gives right numbers, but no time.
    `why` says why it does not run here, if it does not."""

    name: str
    best: bool
    simulated: bool
    why: str | None = None


class BundleInfo(msgspec.Struct, frozen=True):
    """`generation` counts how often the bundle was loaded. `note` says why an older state of it is
    served, if it is."""

    id: str
    path: str
    target: str
    student: str
    rungs: list[RungInfo]
    indexes: list[str]
    generation: int
    note: str | None = None


class IndexInfo(msgspec.Struct, frozen=True):
    """`photos`: how many photos and videos. `filled_by`: rungs that embedded them. `first_day` and
    `last_day` on which photos were taken, "" where none is known. `has_words`: its photos have
    words. `being_written`: another process holds its lock. `note`: why an older state of it is
    served, if it is."""

    id: str
    path: str
    photos: int
    generation: int
    bytes_per_photo: float
    filled_by: list[str]
    first_day: str
    last_day: str
    has_words: bool
    being_written: bool
    folders_to_index: list[str]
    note: str | None = None


class FolderInfo(msgspec.Struct, frozen=True):
    """A folder and its subfolders: how many photos, and the depth below the first that has any."""

    id: str
    name: str
    path: str
    depth: int
    photos: int


class JobInfo(msgspec.Struct, frozen=True):
    """Indexing. `state` is "running", "done", "stopped" or "failed"; `left_s` is null where it
    is not known yet."""

    state: str
    index: str
    folder: str
    done: int
    total: int
    photos_per_s: float
    left_s: float | None
    message: str
    skipped: list[str]


class MachineInfo(msgspec.Struct, frozen=True):
    """This computer and this server's process; memory in MiB, null where it is not known."""

    cpu: str
    cores: int
    pss_mib: float | None
    rss_mib: float | None


class Status(msgspec.Struct, frozen=True):
    version: str
    bundles: list[BundleInfo]
    indexes: list[IndexInfo]
    machine: MachineInfo
    upload_limit_bytes: int
    job: JobInfo | None = None


class Upload(msgspec.Struct, frozen=True):
    """A photo to search by, `width` x `height` pixels when it is upright. It is kept until others
    take its place, and never indexed."""

    id: str
    width: int
    height: int


class Problem(msgspec.Struct, frozen=True):
    """What went wrong, with which value, and what to do next."""

    error: str
    hint: str = ""
