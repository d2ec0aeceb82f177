"""The server: the page's files, the API's routes, and what becomes of an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mcad_mobile.errors import McadError
from mcad_mobile.serve.http import Refused, problem, told
from mcad_mobile.serve.openapi import Operation, document
from mcad_mobile.serve.operations import OPERATIONS, Handler
from mcad_mobile.serve.state import DECODERS, State

_UPLOADS_AT_ONCE = 2  # the others wait in the network's buffers
_KINDS = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


def create_app(state: State) -> Starlette:
    """The whole server but for what guards it (security.Guard)."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.turn = asyncio.Lock()
        app.state.decoding = asyncio.Semaphore(DECODERS)
        app.state.uploading = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        beside = [asyncio.create_task(one) for one in (state.follow(), state.make_ahead())]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await asyncio.to_thread(state.close)

    routes = [
        Route(operation.path, _answering(state, operation, run), methods=[operation.method])
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


def _answering(
    state: State, operation: Operation, run: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with what a user can meet told as JSON."""

    async def answer(request: Request) -> Response:
        if operation.path != "/api/status":  # which an open page asks for all the time
            state.last_request = time.monotonic()
        try:
            return await run(state, request)
        except Refused as refused:
            return problem(refused.status, refused.error, refused.hint)
        except ClientDisconnect:
            return Response(status_code=499)
        except McadError as error:
            return told(error)

    return answer


async def _told_by_framework(request: Request, error: Exception) -> Response:
    """No such route, or not by that method."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, "See /openapi.json.")


async def _unforeseen(request: Request, error: Exception) -> Response:
    return problem(500, f"{type(error).__name__}: {error}", "Report this, with what was asked.")
