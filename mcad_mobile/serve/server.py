"""The server: opens bundles and indexes, takes the port, and serves the page and the API."""

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
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mcad_mobile.base import machine
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import has_photos, no_photos
from mcad_mobile.errors import McadError, PhotoIndexError, PlatformError, Remedy
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.indexes import ServedIndex
from mcad_mobile.serve.operations import (
    OPERATIONS,
    Handler,
    Operation,
    Refused,
    error_response,
    openapi_document,
    problem,
)
from mcad_mobile.serve.security import Guard
from mcad_mobile.serve.state import DECODERS, State

ADDRESS = "127.0.0.1"
_WAITING = 1024  # connections that are not accepted yet
_GRACE_S = 1  # together with the last commit of a job, less than 5 seconds
_HEAD_S = 5.0  # for the head of a request
_UPLOADS_AT_ONCE = 16  # more of them wait in the network's buffers
_MEDIA_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


def create_app(state: State) -> Starlette:
    """Return the whole server, without security.Guard."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.turn = asyncio.Lock()
        app.state.decoding = asyncio.Semaphore(DECODERS)
        app.state.uploading = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        background = [asyncio.create_task(run) for run in (state.follow(), state.make_ahead())]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.to_thread(state.close)

    routes = [
        Route(operation.path, _answering(state, operation, run), methods=[operation.method])
        for operation, run in OPERATIONS
    ]
    described = msgspec.json.encode(openapi_document())
    routes.append(_fixed("/openapi.json", described, "application/json"))
    for name, (content, kind) in _page().items():
        routes.append(_fixed("/" if name == "index.html" else f"/static/{name}", content, kind))
    handlers = {HTTPException: _framework_error, Exception: _unexpected_error}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _page() -> dict[str, tuple[bytes, str]]:
    """The page's files by name, read once: no request reaches the file system."""
    folder = resources.files("mcad_mobile.serve") / "static"
    return {
        file.name: (file.read_bytes(), _MEDIA_TYPES[file.name.rpartition(".")[2]])
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
    """Wrap a handler so that expected errors are answered as JSON."""

    async def answer(request: Request) -> Response:
        if operation.path != "/api/status":  # an open page polls it
            state.last_request = time.monotonic()
        try:
            return await run(state, request)
        except Refused as refused:
            return problem(refused.status, refused.error, refused.hint)
        except (ClientDisconnect, asyncio.CancelledError):  # or the server ends
            return Response(status_code=499)
        except McadError as error:
            served = [bundle.bundle.directory for bundle in state.bundles.values()]
            return error_response(error, served)

    return answer


async def _framework_error(request: Request, error: Exception) -> Response:
    """There is no such route, or not with that method."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, "See /openapi.json.")


async def _unexpected_error(request: Request, error: Exception) -> Response:
    return problem(500, f"{type(error).__name__}: {error}", "Report this, with the request.")


def open_state(
    bundles: Sequence[Bundle],
    indexes: Sequence[Path],
    folders: Sequence[Path] = (),
    *,
    language: str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    warn: Callable[[str], None] = lambda sentence: None,
) -> State:
    """Open bundles and indexes, with the best rung in memory of each bundle's text tower for
    `language`.

    An index that does not exist is created by the first bundle if there are `folders` to fill it
    from.

    Raises:
        PhotoIndexError: An index does not exist, or a bundle has no index of its student.
        PhotoError: An index does not exist, and `folders` hold no photo.
    """
    served = [
        ServedBundle(name, bundle, language=language, runtime=runtime, threads=threads, warn=warn)
        for name, bundle in zip(
            _names([bundle.directory for bundle in bundles]), bundles, strict=True
        )
    ]
    named = dict(zip(_names(indexes), indexes, strict=True))
    created = {
        name for name, directory in named.items() if folders and not PhotoIndex.exists(directory)
    }
    if created and not any(map(has_photos, folders)):
        raise no_photos(folders[0])
    opened = {
        name: ServedIndex(name, directory)
        for name, directory in named.items()
        if name not in created
    }
    students = {index.student for index in opened.values()}
    if created:
        students.add(served[0].student)
    for bundle in served:
        if bundle.student not in students:
            raise PhotoIndexError(
                f"No index that is served holds embeddings of {bundle.bundle.student.name}, the "
                f"student of {bundle.bundle.directory}.",
                Remedy.INDEX_WITH_BUNDLE(bundle=bundle.bundle.directory),
            )
        bundle.engine()
    for name in created:
        create_index(bundles[0], named[name])
        opened[name] = ServedIndex(name, named[name])
    return State(served, [opened[name] for name in named], folders)


def take_port(port: int) -> socket.socket:
    """Return a socket that listens at `port` of this computer alone; at a free port for 0.
    PlatformError: the port is taken."""
    # asyncio sets TCP_NODELAY only if the protocol is named. Without it, a response's body waits
    # until its head is acknowledged, which the other side may delay by 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A server that has just ended leaves its port in TIME_WAIT for a minute.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ADDRESS, port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else "cannot be taken"
        raise PlatformError(
            f"Port {port} of {ADDRESS} {reason}: {os.strerror(error.errno or 0)}.",
            Remedy.CHOOSE_PORT,
        ) from None
    return listening


def serve(state: State, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until interrupted. `ready` is called once requests are answered."""
    machine.return_large_blocks()
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

    try:
        _Server(config, ready).run(sockets=[listening])
    finally:
        state.close()  # also if it never started


class _Server(uvicorn.Server):
    """Calls `ready` once it answers, and drops connections without a complete request head."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._heard: dict[Any, tuple[Any, float]] = {}  # connection -> its last request, and when

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            if connection.flow.write_paused:  # by a player that has enough for now
                connection.transport.abort()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        now = time.monotonic()
        heard = {}
        connections: list[Any] = list(self.server_state.connections)  # h11's, as configured
        for connection in connections:
            request = connection.cycle
            last, since = self._heard.get(connection, (None, now))
            if request is not last or (request is not None and not request.response_complete):
                since = now
            heard[connection] = (request, since)
            if now - since > _HEAD_S:
                connection.transport.abort()
        self._heard = heard
        return await super().on_tick(counter)


def _names(directories: Sequence[Path]) -> list[str]:
    """Return an id for each: its folder's name, with a number if several have the same name."""
    named: list[str] = []
    for directory in directories:
        name = directory.resolve().name.encode("utf-8", "replace").decode()
        number = 2
        unique = name
        while unique in named:
            unique, number = f"{name}-{number}", number + 1
        named.append(unique)
    return named
