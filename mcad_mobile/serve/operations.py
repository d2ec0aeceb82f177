"""The operations of the API in one table, from which routes and the OpenAPI document are made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mcad_mobile.base.package import VERSION
from mcad_mobile.engine.photos.thumbnails import jpeg
from mcad_mobile.errors import MissingExtra, PhotoError, QueryError
from mcad_mobile.serve import records
from mcad_mobile.serve.http import NOT_STORED, Refused, as_json, limited, read
from mcad_mobile.serve.photos import UPLOAD_BYTES, VIEW_PX, file_state
from mcad_mobile.serve.records import Problem
from mcad_mobile.serve.state import State

T = TypeVar("T")
Handler = Callable[[State, Request], Awaitable[Response]]
_REFERENCE = "#/components/schemas/{name}"
_GONE = 404


@dataclass(frozen=True)
class Operation:
    """A method and a path of the API; the types that it `takes` and `gives` as JSON, or bytes for a
    photo."""

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


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document; msgspec writes its schemas (JSON Schema 2020-12)."""
    kinds = [Problem]
    kinds += [
        kind
        for operation in operations
        for kind in (operation.takes, operation.gives)
        if _is_json(kind)
    ]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = list(zip(kinds, schemas, strict=True))
    problem = {"application/json": {"schema": schemas[0]}}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described: dict[str, Any] = {
            "operationId": _name(operation),
            "summary": operation.summary,
            "responses": {
                str(operation.status): {
                    "description": "As asked.",
                    "content": _content(operation, by_kind),
                },
                "default": {"description": "What went wrong.", "content": problem},
            },
        }
        named = re.findall(r"\{(\w+)\}", operation.path)
        if named:
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in named
            ]
        if operation.takes is bytes:
            described["requestBody"] = {
                "required": True,
                "content": {"application/octet-stream": {}},
            }
        elif operation.takes is not None:
            content = {"application/json": {"schema": _schema(operation.takes, by_kind)}}
            described["requestBody"] = {"required": True, "content": content}
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mcad-mobile serve",
            "version": VERSION,
            "description": "Bundles and indexes of this computer, on this computer.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _is_json(kind: Any) -> bool:
    return kind is not None and kind is not bytes


def _content(operation: Operation, by_kind: list[tuple[Any, Any]]) -> dict[str, Any]:
    if operation.gives is bytes:
        return {"image/jpeg": {}}
    return {"application/json": {"schema": _schema(operation.gives, by_kind)}}


def _schema(kind: Any, by_kind: list[tuple[Any, Any]]) -> Any:
    return next(schema for known, schema in by_kind if known == kind)


def _name(operation: Operation) -> str:
    """ "getIndexesPhotosView" of GET /api/indexes/{index}/photos/{photo}/view."""
    words = [
        part for part in operation.path.split("/") if part and part != "api" and "{" not in part
    ]
    return operation.method.lower() + "".join(word.capitalize() for word in words)


@operation("GET", "/api/status", "Bundles, indexes, memory, and indexing.", records.Status)
async def status(state: State, request: Request) -> Response:
    return as_json(await state.on(state.quick, state.status))


@operation(
    "GET",
    "/api/indexes/{index}/folders",
    "Folders of an index's photos, to filter by.",
    list[records.FolderInfo],
)
async def folders(state: State, request: Request) -> Response:
    index = state.index(request.path_params["index"])
    return as_json(await state.on(state.quick, state.folders, index))


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
        asked = state.asked(wanted, wanted.parts, wanted.filter, wanted.exact)
        return state.searcher.answer(asked, wanted.offset, wanted.limit)

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
            state.asked(side, wanted.parts, wanted.filter) for side in (wanted.left, wanted.right)
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
            size = 0
            async for chunk in limited(request, UPLOAD_BYTES):
                file.write(chunk)
                size += len(chunk)
            name, taken = await state.on(state.decoders, state.uploads.take, file)
    return as_json(records.Upload(name, taken.width, taken.height), 201)


@operation("GET", "/api/uploads/{upload}/thumbnail", "An uploaded photo, small.", bytes)
async def uploaded(state: State, request: Request) -> Response:
    held = state.uploads.get(request.path_params["upload"])
    return Response(held.thumbnail, media_type="image/jpeg", headers=NOT_STORED)


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/thumbnail",
    "A photo of an index, small, upright, without its metadata.",
    bytes,
)
async def thumbnail(state: State, request: Request) -> Response:
    return await _photo(state, request, state.thumbnails.held, state.thumbnails.make)


@operation(
    "GET",
    "/api/indexes/{index}/photos/{photo}/view",
    f"A photo of an index, its longer side at most {VIEW_PX} pixels.",
    bytes,
)
async def view(state: State, request: Request) -> Response:
    def large(path: str, tag: str) -> bytes:
        return jpeg(Path(path), longer=VIEW_PX)

    return await _photo(state, request, lambda path, tag: None, large)


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
    index.now.index.check_student(*bundle.student)
    return as_json(state.indexing.start(bundle, index).info(), 202)


@operation("DELETE", "/api/indexing", "Stop indexing; what was embedded is kept.", records.JobInfo)
async def stop_indexing(state: State, request: Request) -> Response:
    job = state.indexing.job
    if job is None:
        raise Refused(_GONE, "Nothing was indexed since the server started.")
    await state.on(state.quick, job.stop, 1.0)
    return as_json(job.info())


async def _photo(
    state: State,
    request: Request,
    held: Callable[[str, str], bytes | None],
    make: Callable[[str, str], bytes],
) -> Response:
    """A photo of an index as JPEG; 304 if the browser has it in this state; 404 if no index holds
    it, its file is gone, or it cannot be decoded. The browser may reuse it for a minute, since a
    query that is edited back and forth shows the same photos again."""
    index = state.index(request.path_params["index"])
    try:
        path = state.photo(index, request.path_params["photo"])
    except QueryError as error:
        raise Refused(_GONE, error.message, error.hint) from None

    def find_stored() -> tuple[str | None, bytes | None]:
        tag = file_state(path)
        return tag, None if tag is None else held(path, tag)

    tag, content = await state.on(state.quick, find_stored)
    if tag is None:
        raise Refused(_GONE, "The photo's file is goperation.", "Index its folder again.")
    headers = {"cache-control": "private, max-age=60", "etag": f'"{tag}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    if content is None:
        try:
            async with request.app.state.decoding:
                if await request.is_disconnected():  # the user has scrolled on
                    raise ClientDisconnect
                content = await state.on(state.decoders, make, path, tag)
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
        return await state.on(state.engines, answer)
