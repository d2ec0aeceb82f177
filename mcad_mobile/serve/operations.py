"""The operations of the API in one table, from which routes and the OpenAPI document are made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mcad_mobile.base import VERSION
from mcad_mobile.base.documents import decode
from mcad_mobile.engine.index.moments import file_and_moment, may_have_moments, moment_path
from mcad_mobile.engine.photos.thumbnails import file_jpeg
from mcad_mobile.engine.words.photo_words import PhotoWords
from mcad_mobile.errors import McadError, MissingExtra, PhotoError, QueryError
from mcad_mobile.serve import records
from mcad_mobile.serve.indexes import ServedIndex
from mcad_mobile.serve.photos import UPLOAD_BYTES, VIEW_PX, VideoResponse, photo_state
from mcad_mobile.serve.rankings import legible
from mcad_mobile.serve.records import Problem
from mcad_mobile.serve.state import State
from mcad_mobile.serve.wording import hint_of

T = TypeVar("T")
Handler = Callable[[State, Request], Awaitable[Response]]
REQUEST_BYTES = 256 << 10  # a query of 20,000 characters, each escaped, fits
_BODY_S = 10.0  # to read the body of a request, and more if it comes at this rate:
_SLOWEST = 128 << 10  # bytes a second: a photo may come through a tunnel
_NOT_STORED = {"cache-control": "no-store"}
_GONE = 404
# Our other errors are 409: the server's files are damaged, or a rung does not run here.
_STATUS = {QueryError: 422, PhotoError: 422}


class Refused(Exception):
    """Raised by a handler to answer a request with a status of its own."""

    def __init__(self, status: int, error: str, hint: str = "") -> None:
        self.status, self.error, self.hint = status, error, hint


@dataclass(frozen=True)
class Operation:
    """A method and a path of the API; the types that it `takes` and `gives` as JSON, or bytes for a
    photo or a video."""

    method: str
    path: str
    summary: str
    gives: Any
    status: int = 200
    takes: Any = None


OPERATIONS: list[tuple[Operation, Handler]] = []


def operation(
    method: str, path: str, summary: str, gives: Any, *, status: int = 200, takes: Any = None
) -> Callable[[Handler], Handler]:
    """Add the decorated handler to OPERATIONS."""

    def add(handler: Handler) -> Handler:
        OPERATIONS.append((Operation(method, path, summary, gives, status, takes), handler))
        return handler

    return add


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document; msgspec writes its schemas (JSON Schema 2020-12)."""
    operations = [operation for operation, _ in OPERATIONS]
    kinds = {kind: None for operation in operations for kind in (operation.takes, operation.gives)}
    documents = [Problem, *(kind for kind in kinds if kind not in (None, bytes))]
    schemas, components = msgspec.json.schema_components(
        documents, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(documents, schemas, strict=True))

    def content(kind: Any, of_bytes: str) -> dict[str, Any]:
        return (
            {of_bytes: {}} if kind is bytes else {"application/json": {"schema": schema_of[kind]}}
        )

    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described: dict[str, Any] = {
            "operationId": _name(operation),
            "summary": operation.summary,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"\{(\w+)\}", operation.path)
            ],
            "responses": {
                str(operation.status): {
                    "description": "As asked.",
                    "content": content(
                        operation.gives,
                        "video/*" if operation.path.endswith("/video") else "image/jpeg",
                    ),
                },
                "default": {"description": "What went wrong.", "content": content(Problem, "")},
            },
        }
        if operation.takes is not None:
            taken = content(operation.takes, "application/octet-stream")
            described["requestBody"] = {"required": True, "content": taken}
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    about = "Bundles and indexes of this computer, on this computer."
    return {
        "openapi": "3.1.0",
        "info": {"title": "mcad-mobile serve", "version": VERSION, "description": about},
        "paths": paths,
        "components": {"schemas": components},
    }


def _name(operation: Operation) -> str:
    """ "getIndexesPhotosView" of GET /api/indexes/{index}/photos/{photo}/view."""
    parts = operation.path.removeprefix("/api/").split("/")
    words = [part.capitalize() for part in parts if "{" not in part]
    return operation.method.lower() + "".join(words)


@operation("GET", "/api/status", "Bundles, indexes, memory, and indexing.", records.Status)
async def status(state: State, request: Request) -> Response:
    return as_json(await state.run_on(state.quick, state.status))


@operation(
    "GET",
    "/api/indexes/{index}/folders",
    "Folders of an index's photos, to filter by.",
    list[records.FolderInfo],
)
async def folders(state: State, request: Request) -> Response:
    index = state.index(request.path_params["index"])
    return as_json(await state.run_on(state.quick, state.folders, index))


@operation(
    "POST",
    "/api/search",
    "Photos by words, by photos, or by both; without any, all of them.",
    records.Answer,
    takes=records.SearchRequest,
)
async def search(state: State, request: Request) -> Response:
    wanted = await read(request, records.SearchRequest)

    def answer() -> records.Answer:
        query = state.prepare_query(
            wanted, wanted.parts, wanted.filter, wanted.exact, wanted.stack, wanted.by
        )
        return state.searcher.answer(query, wanted.offset, wanted.limit)

    return as_json(await _in_turn(state, request, answer))


@operation(
    "POST",
    "/api/compare",
    "One query, two bundles, rungs or indexes, and what differs.",
    records.Comparison,
    takes=records.CompareRequest,
)
async def compare(state: State, request: Request) -> Response:
    wanted = await read(request, records.CompareRequest)

    def answer() -> records.Comparison:
        left, right = (
            state.prepare_query(side, wanted.parts, wanted.filter, stack=wanted.stack, by=wanted.by)
            for side in (wanted.left, wanted.right)
        )
        return state.searcher.compare(left, right, wanted.limit)

    return as_json(await _in_turn(state, request, answer))


@operation(
    "POST",
    "/api/uploads",
    f"A photo to search by: a JPEG, PNG, WebP or HEIC of up to {UPLOAD_BYTES >> 20} MiB "
    "as the body of the request.",
    records.Upload,
    status=201,
    takes=bytes,
)
async def upload(state: State, request: Request) -> Response:
    async with request.app.state.uploading:
        with state.uploads.spool() as file:
            async for chunk in limited(request, UPLOAD_BYTES):
                file.write(chunk)
            name, taken = await state.run_on(state.decoders, state.uploads.take, file)
    return as_json(records.Upload(name, taken.width, taken.height), 201)


@operation("GET", "/api/uploads/{upload}/thumbnail", "An uploaded photo, small.", bytes)
async def uploaded(state: State, request: Request) -> Response:
    photo = state.uploads.get(request.path_params["upload"])
    return Response(photo.thumbnail, media_type="image/jpeg", headers=_NOT_STORED)


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/thumbnail",
    "A photo of an index, or a video `?at=` a moment in milliseconds, small, upright.",
    bytes,
)
async def thumbnail(state: State, request: Request) -> Response:
    return await _photo(state, request, state.thumbnails.find, state.thumbnails.make)


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/view",
    f"A photo of an index, its longer side at most {VIEW_PX} pixels.",
    bytes,
)
async def view(state: State, request: Request) -> Response:
    def large(path: str, tag: str) -> bytes:
        return file_jpeg(*file_and_moment(path), longer=VIEW_PX)

    return await _photo(state, request, lambda path, tag: None, large)


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/video",
    "A video of an index, whole or a range of its bytes.",
    bytes,
)
async def video(state: State, request: Request) -> Response:
    path = _path(state, state.index(request.path_params["index"]), request)
    if not may_have_moments(path) or not Path(path).is_absolute():
        raise Refused(_GONE, "No video of this computer has that id.")
    run = partial(state.run_on, state.quick)
    try:
        return await run(VideoResponse, request, path, run)
    except PhotoError as error:
        raise Refused(_GONE, error.message, error.hint) from None


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/text",
    "The text that was read in a photo, and where it was taken.",
    records.PhotoText,
)
async def photo_text(state: State, request: Request) -> Response:
    index = state.index(request.path_params["index"])
    path = _path(state, index, request)
    words = await state.run_on(state.quick, index.snapshot.index.words, path) or PhotoWords()
    return as_json(
        records.PhotoText(
            [legible(line.text) for line in words.lines], list(map(legible, words.places))
        )
    )


@operation(
    "POST",
    "/api/indexing",
    "Make an index hold what the folders hold that the server was started with.",
    records.JobInfo,
    status=202,
    takes=records.Side,
)
async def start_indexing(state: State, request: Request) -> Response:
    wanted = await read(request, records.Side)
    bundle = state.bundle(wanted.bundle)
    index = state.indexes_of(bundle)[0] if wanted.index is None else state.index(wanted.index)
    index.snapshot.index.check_student(*bundle.student)
    return as_json(state.start_indexing(bundle, index).info(), 202)


@operation("DELETE", "/api/indexing", "Stop indexing; what was embedded is kept.", records.JobInfo)
async def stop_indexing(state: State, request: Request) -> Response:
    if state.job is None:
        raise Refused(_GONE, "Nothing was indexed since the server started.")
    await state.run_on(state.quick, state.job.stop, 1.0)
    return as_json(state.job.info())


def _path(state: State, index: ServedIndex, request: Request) -> str:
    try:
        return state.photo(index, request.path_params["photo"])
    except QueryError as error:
        raise Refused(_GONE, error.message, error.hint) from None


async def _photo(
    state: State,
    request: Request,
    find: Callable[[str, str], bytes | None],
    make: Callable[[str, str], bytes],
) -> Response:
    """A photo of an index as JPEG; 304 if the browser has it in this state; 404 if no index holds
    it, its file is gone or not known, or it cannot be decoded. The browser may reuse it for a
    minute, since a query that is edited back and forth shows the same photos again. Of a video, the
    query's `at` chooses the moment, in milliseconds."""
    index = state.index(request.path_params["index"])
    path = row = _path(state, index, request)
    at = request.query_params.get("at", "")
    if may_have_moments(path) and at.isascii() and at.isdigit() and len(at) < 10:
        row = moment_path(path, int(at))

    def find_stored() -> tuple[str | None, bytes | None]:
        tag = photo_state(path)
        return tag, None if tag is None else find(row, tag)

    tag, content = await state.run_on(state.quick, find_stored)
    if tag is None:
        if not Path(path).is_absolute():
            raise Refused(
                _GONE,
                f"{path} is no path on this computer, so the photo cannot be shown.",
                "To see photos, index a folder that holds them.",
            )
        raise Refused(_GONE, "The photo's file is gone.", "Index its folder again.")
    headers = {"cache-control": "private, max-age=60", "etag": f'"{tag}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    if content is None:
        try:
            async with request.app.state.decoding:
                if await request.is_disconnected():  # the user has scrolled on
                    raise ClientDisconnect
                content = await state.run_on(state.decoders, make, row, tag)
        except (PhotoError, MissingExtra) as error:
            raise Refused(_GONE, error.message, error.hint) from None
    return Response(content, media_type="image/jpeg", headers=headers)


async def _in_turn(state: State, request: Request, answer: Callable[[], T]) -> T:
    """Answer queries one after another on the engines' thread. A query that had to wait is dropped
    if the user has typed on meanwhile."""
    turn: asyncio.Lock = request.app.state.turn
    waited = turn.locked()
    async with turn:
        if waited and await request.is_disconnected():
            raise ClientDisconnect
        return await state.run_on(state.engines, answer)


async def read(request: Request, kind: type[T]) -> T:
    """Decode the JSON body as a `kind`. Refused: it is not JSON, or too large; QueryError: it is
    not a `kind`."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        found = f"The request's Content-Type is {content_type}."
        raise Refused(
            415,
            found if content_type else "The request has no Content-Type.",
            "Send application/json.",
        )
    body = b"".join([chunk async for chunk in limited(request, REQUEST_BYTES)])
    return decode(body, kind, "The request", QueryError, "See /openapi.json.")


async def limited(
    request: Request, most: int, *, body_s: float = _BODY_S, slowest: float = _SLOWEST
) -> AsyncIterator[bytes]:
    """Yield the body in chunks. Refused: it has more than `most` bytes, or takes longer than
    `body_s` and what comes at `slowest` bytes a second."""
    large = Refused(413, f"The request's body has more than {most:,} bytes.", "Send less.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise large
    size, stream = 0, request.stream()
    began = asyncio.get_running_loop().time()
    while True:
        try:
            async with asyncio.timeout_at(began + body_s + size / slowest):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refused(
                408,
                f"The request's body took over {body_s + size / slowest:.0f} s.",
                "Send it again.",
            ) from None
        if chunk is None:
            return
        size += len(chunk)
        if size > most:
            raise large
        yield chunk


def as_json(found: object, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status_code, _NOT_STORED, "application/json")


def problem(status_code: int, error: str, hint: str = "") -> Response:
    # JSON cannot hold bytes of paths that are not UTF-8.
    sentences = [sentence.encode("utf-8", "replace").decode() for sentence in (error, hint)]
    response = as_json(Problem(*sentences), status_code)
    if status_code in (408, 413, 415):
        # Otherwise the unread body would be parsed as the next request.
        response.headers["connection"] = "close"
    return response


def error_response(error: McadError, bundles: Sequence[Path]) -> Response:
    return problem(_STATUS.get(type(error), 409), error.message, hint_of(error, bundles))
