"""What each operation of the API does, in one table: routes and the OpenAPI document are made of
it."""

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
from mcad_mobile.serve.photos import UPLOAD_BYTES, VIEW_PX, state_of
from mcad_mobile.serve.records import Problem
from mcad_mobile.serve.state import State

# The OpenAPI document, from the table of operations and the types that check requests.

_REFERENCE = "#/components/schemas/{name}"


@dataclass(frozen=True)
class Operation:
    """A method and a path of the API: what it `takes` and `gives` as JSON. bytes: a photo."""

    method: str
    path: str
    summary: str
    gives: Any
    status: int = 200
    takes: Any = None


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1, whose schemas are those of JSON Schema 2020-12, as msgspec writes them."""
    kinds = [Problem]
    kinds += [kind for one in operations for kind in (one.takes, one.gives) if _is_json(kind)]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    by_kind = list(zip(kinds, schemas, strict=True))
    problem = {"application/json": {"schema": schemas[0]}}
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        told: dict[str, Any] = {
            "operationId": _name(one),
            "summary": one.summary,
            "responses": {
                str(one.status): {"description": "As asked.", "content": _content(one, by_kind)},
                "default": {"description": "What went wrong.", "content": problem},
            },
        }
        named = re.findall(r"\{(\w+)\}", one.path)
        if named:
            told["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in named
            ]
        if one.takes is bytes:
            told["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
        elif one.takes is not None:
            content = {"application/json": {"schema": _schema(one.takes, by_kind)}}
            told["requestBody"] = {"required": True, "content": content}
        paths.setdefault(one.path, {})[one.method.lower()] = told
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


def _content(one: Operation, by_kind: list[tuple[Any, Any]]) -> dict[str, Any]:
    if one.gives is bytes:
        return {"image/jpeg": {}}
    return {"application/json": {"schema": _schema(one.gives, by_kind)}}


def _schema(kind: Any, by_kind: list[tuple[Any, Any]]) -> Any:
    return next(schema for known, schema in by_kind if known == kind)


def _name(one: Operation) -> str:
    """ "getIndexesPhotosView" of GET /api/indexes/{index}/photos/{photo}/view."""
    words = [part for part in one.path.split("/") if part and part != "api" and "{" not in part]
    return one.method.lower() + "".join(word.capitalize() for word in words)


T = TypeVar("T")
Handler = Callable[[State, Request], Awaitable[Response]]
_GONE = 404


async def status(state: State, request: Request) -> Response:
    return as_json(await state.on(state.quick, state.status))


async def folders(state: State, request: Request) -> Response:
    index = state.index(request.path_params["index"])
    return as_json(await state.on(state.quick, state.folders, index))


async def search(state: State, request: Request) -> Response:
    wanted = await read(request, records.SearchRequest)

    def answer() -> records.Answer:
        asked = state.asked(wanted, wanted.parts, wanted.filter, wanted.exact)
        return state.searcher.answer(asked, wanted.offset, wanted.limit)

    return as_json(await _in_turn(state, request, answer))


async def compare(state: State, request: Request) -> Response:
    wanted = await read(request, records.CompareRequest)

    def answer() -> records.Comparison:
        left, right = (
            state.asked(side, wanted.parts, wanted.filter) for side in (wanted.left, wanted.right)
        )
        return state.searcher.compare(left, right, wanted.limit)

    return as_json(await _in_turn(state, request, answer))


async def upload(state: State, request: Request) -> Response:
    async with request.app.state.uploading:
        with state.uploads.spool() as file:
            size = 0
            async for chunk in limited(request, UPLOAD_BYTES):
                file.write(chunk)
                size += len(chunk)
            name, taken = await state.on(state.decoders, state.uploads.take, file)
    return as_json(records.Upload(name, taken.width, taken.height), 201)


async def uploaded(state: State, request: Request) -> Response:
    held = state.uploads.get(request.path_params["upload"])
    return Response(held.thumbnail, media_type="image/jpeg", headers=NOT_STORED)


async def thumbnail(state: State, request: Request) -> Response:
    return await _photo(state, request, state.thumbnails.held, state.thumbnails.make)


async def view(state: State, request: Request) -> Response:
    def large(path: str, tag: str) -> bytes:
        return jpeg(Path(path), longer=VIEW_PX)

    return await _photo(state, request, lambda path, tag: None, large)


async def start_indexing(state: State, request: Request) -> Response:
    wanted = await read(request, records.Side)
    bundle = state.bundle(wanted.bundle)
    index = state.indexes_of(bundle)[0] if wanted.index is None else state.index(wanted.index)
    index.now.index.check_student(*bundle.student)
    return as_json(state.indexing.start(bundle, index).info(), 202)


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
    """JPEG of a photo of an index; 304 if the browser has it in this state already; 404 for a
    photo that no index holds, whose file is gone, or which cannot be shown. The browser asks again
    a minute later: what is typed on and taken back shows the same photos again."""
    index = state.index(request.path_params["index"])
    try:
        path = state.photo(index, request.path_params["photo"])
    except QueryError as error:
        raise Refused(_GONE, error.message, error.hint) from None

    def look() -> tuple[str | None, bytes | None]:
        tag = state_of(path)
        return tag, None if tag is None else held(path, tag)

    tag, content = await state.on(state.quick, look)
    if tag is None:
        raise Refused(_GONE, "The photo's file is gone.", "Index its folder again.")
    headers = {"cache-control": "private, max-age=60", "etag": f'"{tag}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    if content is None:
        try:
            async with request.app.state.decoding:
                if await request.is_disconnected():  # scrolled on
                    raise ClientDisconnect
                content = await state.on(state.decoders, make, path, tag)
        except (PhotoError, MissingExtra) as error:
            raise Refused(_GONE, error.message, error.hint) from None
    return Response(content, media_type="image/jpeg", headers=headers)


async def _in_turn(state: State, request: Request, answer: Callable[[], T]) -> T:
    """One after another on the engines' thread. Who had to wait, and has typed on meanwhile, is
    passed over."""
    turn: asyncio.Lock = request.app.state.turn
    waited = turn.locked()
    async with turn:
        if waited and await request.is_disconnected():
            raise ClientDisconnect
        return await state.on(state.engines, answer)


OPERATIONS: tuple[tuple[Operation, Handler], ...] = (
    (
        Operation("GET", "/api/status", "Bundles, indexes, memory, and indexing.", records.Status),
        status,
    ),
    (
        Operation(
            "GET",
            "/api/indexes/{index}/folders",
            "Folders of an index's photos, to filter by.",
            list[records.FolderInfo],
        ),
        folders,
    ),
    (
        Operation(
            "POST",
            "/api/search",
            "Photos by words, by photos, or by both; without any, all of them.",
            records.Answer,
            takes=records.SearchRequest,
        ),
        search,
    ),
    (
        Operation(
            "POST",
            "/api/compare",
            "One query, two bundles, rungs or indexes, and what differs.",
            records.Comparison,
            takes=records.CompareRequest,
        ),
        compare,
    ),
    (
        Operation(
            "POST",
            "/api/uploads",
            f"A photo to search by: a JPEG, PNG, WebP or HEIC of up to {UPLOAD_BYTES >> 20} MiB "
            "as the body of the request.",
            records.Upload,
            status=201,
            takes=bytes,
        ),
        upload,
    ),
    (
        Operation("GET", "/api/uploads/{upload}/thumbnail", "An uploaded photo, small.", bytes),
        uploaded,
    ),
    (
        Operation(
            "GET",
            "/api/indexes/{index}/photos/{photo}/thumbnail",
            "A photo of an index, small, upright, without its metadata.",
            bytes,
        ),
        thumbnail,
    ),
    (
        Operation(
            "GET",
            "/api/indexes/{index}/photos/{photo}/view",
            f"A photo of an index, its longer side at most {VIEW_PX} pixels.",
            bytes,
        ),
        view,
    ),
    (
        Operation(
            "POST",
            "/api/indexing",
            "Make an index hold what the folders hold that the server was started with.",
            records.JobInfo,
            status=202,
            takes=records.Side,
        ),
        start_indexing,
    ),
    (
        Operation(
            "DELETE",
            "/api/indexing",
            "Stop indexing; what was embedded is kept.",
            records.JobInfo,
        ),
        stop_indexing,
    ),
)
