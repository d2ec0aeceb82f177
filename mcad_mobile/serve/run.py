"""From folders to a server that answers: what is served is opened, and the port is taken."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mcad_mobile.bundle import Bundle
from mcad_mobile.engine import create_index
from mcad_mobile.errors import PhotoIndexError, PlatformError, require
from mcad_mobile.folder import has_photos
from mcad_mobile.index import PhotoIndex
from mcad_mobile.serve.bundles import ServedBundle
from mcad_mobile.serve.indexes import ServedIndex
from mcad_mobile.serve.state import State

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
    from mcad_mobile.serve.app import create_app
    from mcad_mobile.serve.security import Guard

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
