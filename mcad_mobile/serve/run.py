"""From folders to a server that answers: what is served is opened, and the port is taken."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import has_photos
from mcad_mobile.errors import McadError, PhotoIndexError, PlatformError, require
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.http import Refused, problem, told
from mcad_mobile.serve.indexes import ServedIndex
from mcad_mobile.serve.operations import OPERATIONS, Handler, Operation, document
from mcad_mobile.serve.state import DECODERS, State

# The server: the page's files, the API's routes, and what becomes of an error.

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


ADDRESS = "127.0.0.1"
_WAITING = 1024  # connections that are not taken yet
_GRACE_S = 2


def open_state(
    bundles: Sequence[Bundle],
    indexes: Sequence[Path],
    folders: Sequence[Path] = (),
    *,
    runtime: str | None = None,
    threads: int = 1,
    warn: Callable[[str], None] = lambda sentence: None,
) -> State:
    """All that is served, with each bundle's best rung in memory. An index that does not exist is
    made where there are `folders` to fill it from, by the first bundle. PhotoIndexError: it does
    not exist, or a bundle has none of its student."""
    served = [
        ServedBundle(name, bundle, runtime=runtime, threads=threads, warn=warn)
        for name, bundle in zip(_names([one.directory for one in bundles]), bundles, strict=True)
    ]
    for directory in indexes:
        if folders and not PhotoIndex.exists(directory) and any(map(has_photos, folders)):
            create_index(bundles[0], directory)
    opened = [
        ServedIndex(name, directory)
        for name, directory in zip(_names(indexes), indexes, strict=True)
    ]
    for one in served:
        if not any(index.student == one.student for index in opened):
            raise PhotoIndexError(
                f"None of the indexes given holds embeddings of {one.bundle.student.name}, the "
                f"student of {one.bundle.directory}.",
                f"Make one: mcad-mobile index PHOTOS --bundle {one.bundle.directory}",
            )
        one.engine()
    return State(served, opened, folders)


def take_port(port: int) -> socket.socket:
    """A socket that listens at `port` of this computer alone; any free one for 0. PlatformError
    if it is taken."""
    # The protocol is named, or asyncio does not set TCP_NODELAY: an answer's body would wait until
    # its head is acknowledged, which the other side may put off for 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A server that has just ended leaves its port in TIME_WAIT for a minute.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ADDRESS, port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PlatformError(
                f"Port {port} of {ADDRESS} is in use.",
                "Another `mcad-mobile serve` may be running. Choose another port, or 0 for any "
                "that is free: --port 0",
            ) from None
        raise PlatformError(
            f"Port {port} of {ADDRESS} cannot be taken: {os.strerror(error.errno or 0)}.",
            "Choose one from 1024 on, or 0 for any that is free: --port 0",
        ) from None
    return listening


def serve(state: State, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until interrupted. `ready` is called when requests are answered."""
    uvicorn = require("uvicorn", "serve")
    require("starlette", "serve")
    from mcad_mobile.serve.http import Guard
    from mcad_mobile.serve.run import create_app

    port = listening.getsockname()[1]
    config = uvicorn.Config(
        Guard(create_app(state), port),
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
    )

    class Server(uvicorn.Server):  # type: ignore[misc, name-defined]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    try:
        Server(config).run(sockets=[listening])
    finally:
        state.close()  # also where it never came to answer


def _names(directories: Sequence[Path]) -> list[str]:
    """What to call each: its folder's name, numbered where there are several of it."""
    named: list[str] = []
    for directory in directories:
        name = directory.resolve().name.encode("utf-8", "replace").decode()
        number = 2
        unique = name
        while unique in named:
            unique, number = f"{name}-{number}", number + 1
        named.append(unique)
    return named
