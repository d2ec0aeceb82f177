"""The routes: the page, its photos, and the API, each operation once in a table from which the
OpenAPI document is made, too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mcad_mobile.errors import McadError, MissingExtra, PhotoError, QueryError
from mcad_mobile.serve import records
from mcad_mobile.serve.openapi import Operation, document
from mcad_mobile.serve.photos import UPLOAD_BYTES, VIEW_PX, state_of
from mcad_mobile.serve.state import DECODERS, State
from mcad_mobile.thumbnail import jpeg
from mcad_mobile.typed import decode

T = TypeVar("T")
Handler = Callable[[State, Request], Awaitable[Response]]
REQUEST_BYTES = 256 << 10  # a query of 20,000 characters, each escaped, fits
_UPLOADS_AT_ONCE = 2  # the others wait in the network's buffers
_GONE = 404
_KINDS = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


class _Refused(Exception):
    """A request that is answered with a status of its own."""

    def __init__(self, status: int, error: str, hint: str = "") -> None:
        self.status, self.error, self.hint = status, error, hint


async def status(state: State, request: Request) -> Response:
    return _json(await state.on(state.quick, state.status))


async def folders(state: State, request: Request) -> Response:
    index = state.index(request.path_params["index"])
    return _json(await state.on(state.quick, state.folders, index))


async def search(state: State, request: Request) -> Response:
    wanted = await _read(request, records.SearchRequest)

    def answer() -> records.Answer:
        asked = state.asked(wanted, wanted.parts, wanted.filter, wanted.exact)
        return state.searcher.answer(asked, wanted.offset, wanted.limit)

    return _json(await _in_turn(state, request, answer))


async def compare(state: State, request: Request) -> Response:
    wanted = await _read(request, records.CompareRequest)

    def answer() -> records.Comparison:
        left, right = (
            state.asked(side, wanted.parts, wanted.filter) for side in (wanted.left, wanted.right)
        )
        return state.searcher.compare(left, right, wanted.limit)

    return _json(await _in_turn(state, request, answer))


async def upload(state: State, request: Request) -> Response:
    async with request.app.state.uploading:
        with state.uploads.spool() as file:
            size = 0
            async for chunk in _limited(request, UPLOAD_BYTES):
                file.write(chunk)
                size += len(chunk)
            name, taken = await state.on(state.decoders, state.uploads.take, file)
    return _json(records.Upload(name, taken.width, taken.height), 201)


async def uploaded(state: State, request: Request) -> Response:
    held = state.uploads.get(request.path_params["upload"])
    return Response(held.thumbnail, media_type="image/jpeg", headers=_NOT_STORED)


async def thumbnail(state: State, request: Request) -> Response:
    return await _photo(state, request, state.thumbnails.make, state.thumbnails.held)


async def view(state: State, request: Request) -> Response:
    def large(path: str, tag: str) -> bytes:
        return jpeg(Path(path), longer=VIEW_PX)

    return await _photo(state, request, large, lambda path, tag: None)


async def start_indexing(state: State, request: Request) -> Response:
    wanted = await _read(request, records.Side)
    bundle = state.bundle(wanted.bundle)
    index = state.indexes_of(bundle)[0] if wanted.index is None else state.index(wanted.index)
    index.now.index.check_student(*bundle.student)
    return _json(state.indexing.start(bundle, index).info(), 202)


async def stop_indexing(state: State, request: Request) -> Response:
    job = state.indexing.job
    if job is None:
        raise _Refused(_GONE, "Nothing was indexed since the server started.")
    await state.on(state.quick, job.stop, 1.0)
    return _json(job.info())


_SIDE = "What embeds: a bundle, one of its rungs, an index."
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


def create_app(state: State) -> Starlette:
    """The whole server but for what guards it (security.Guard)."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.turn = asyncio.Lock()
        app.state.decoding = asyncio.Semaphore(DECODERS)
        app.state.uploading = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        following = asyncio.create_task(state.follow())
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(state.close)

    routes = [
        Route(operation.path, _answering(state, run), methods=[operation.method])
        for operation, run in OPERATIONS
    ]
    described = msgspec.json.encode(document([operation for operation, _ in OPERATIONS]))
    routes.append(_fixed("/openapi.json", described, "application/json"))
    for name, (content, kind) in _page().items():
        routes.append(_fixed("/" if name == "index.html" else f"/static/{name}", content, kind))
    handlers = {HTTPException: _told_by_framework, Exception: _unforeseen}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _page() -> dict[str, tuple[bytes, str]]:
    """The page's files, by name: read once, so that no request reaches the file system."""
    folder = resources.files("mcad_mobile.serve") / "static"
    return {
        file.name: (file.read_bytes(), _KINDS[file.name.rpartition(".")[2]])
        for file in folder.iterdir()
        if file.is_file()
    }


def _fixed(path: str, content: bytes, kind: str) -> Route:
    async def give(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return Route(path, give, methods=["GET"])


def _answering(state: State, run: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with what a user can meet told as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await run(state, request)
        except _Refused as refused:
            return _problem(refused.status, refused.error, refused.hint)
        except ClientDisconnect:
            return Response(status_code=499)
        except McadError as error:
            return _problem(_STATUS.get(type(error), 409), error.what, error.hint)

    return answer


# Of errors that a request can meet; what else ends in 409: the server's files are not as they
# should be, or a rung does not run here.
_STATUS = {QueryError: 422, PhotoError: 422}
_NOT_STORED = {"cache-control": "no-store"}


async def _photo(
    state: State,
    request: Request,
    make: Callable[[str, str], bytes],
    held: Callable[[str, str], bytes | None],
) -> Response:
    """JPEG of a photo of an index; 304 if the browser has it in this state already; 404 for a
    photo that no index holds, whose file is gone, or which cannot be shown."""
    index = state.index(request.path_params["index"])
    try:
        path = state.photo(index, request.path_params["photo"])
    except QueryError as error:
        raise _Refused(_GONE, error.what, error.hint) from None
    tag = await state.on(state.quick, state_of, path)
    if tag is None:
        raise _Refused(_GONE, "The photo's file is gone.", "Index its folder again.")
    headers = {"cache-control": "private, no-cache", "etag": f'"{tag}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    content = held(path, tag)
    if content is None:
        try:
            async with request.app.state.decoding:
                if await request.is_disconnected():  # scrolled on
                    raise ClientDisconnect
                content = await state.on(state.decoders, make, path, tag)
        except (PhotoError, MissingExtra) as error:
            raise _Refused(_GONE, error.what, error.hint) from None
    return Response(content, media_type="image/jpeg", headers=headers)


async def _in_turn(state: State, request: Request, answer: Callable[[], T]) -> T:
    """One after another on the engines' thread. Who has typed on meanwhile is passed over."""
    async with request.app.state.turn:
        if await request.is_disconnected():
            raise ClientDisconnect
        return await state.on(state.engines, answer)


async def _read(request: Request, kind: type[T]) -> T:
    """The body, JSON, as a `kind`."""
    told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if told != "application/json":
        raise _Refused(415, f"The request's body is {told or 'of no kind'}.", "Send JSON.")
    body = b"".join([chunk async for chunk in _limited(request, REQUEST_BYTES)])
    return decode(body, kind, "The request", QueryError, "See /openapi.json.")


async def _limited(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, as long as it has no more bytes than that, whatever it says."""
    large = _Refused(413, f"The request's body has more than {most:,} bytes.", "Send less.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise large
        yield chunk


def _json(found: object, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status_code, _NOT_STORED, "application/json")


def _problem(status_code: int, error: str, hint: str = "") -> Response:
    # A body that was not read would be taken for the next request.
    close = {"connection": "close"} if status_code in (413, 415) else {}
    told = msgspec.json.encode(records.Problem(_text(error), _text(hint)))
    return Response(told, status_code, {**_NOT_STORED, **close}, "application/json")


def _text(message: str) -> str:
    """As JSON can hold it: paths may hold bytes that are no text."""
    return message.encode("utf-8", "replace").decode()


async def _told_by_framework(request: Request, error: Exception) -> Response:
    """No such route, or not by that method."""
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, error.detail, "See /openapi.json.")


async def _unforeseen(request: Request, error: Exception) -> Response:
    return _problem(500, f"{type(error).__name__}: {error}", "Report this, with what was asked.")
