"""`mcad-mobile serve` in its own process, and the data it serves."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.serve.server import create_app
from mcad_mobile.serve.state import State
from tests.support.tiny_bundle import make_tiny_bundle

TIMEOUT_S = 60


class Server:
    """`mcad-mobile serve` in its own process, with its own user `cache` directory."""

    def __init__(self, *arguments: object, cache: Path) -> None:
        command = [sys.executable, "-m", "mcad_mobile", "serve", "--json", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "XDG_CACHE_HOME": str(cache)},
        )
        assert self.process.stdout is not None
        lines = []
        while (line := self.process.stdout.readline()) and line != "}\n":
            lines.append(line)
        if not line:
            pytest.fail(f"the server did not start:\n{self.stop()[1]}")
        self.started = json.loads("".join([*lines, line]))
        self.url = str(self.started["url"])
        self.port = int(self.url.rsplit(":", 1)[1].strip("/"))

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower-case names) and body. Underscores in names are dashes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, document: object, status: int = 200) -> Any:
        body = json.dumps(document).encode()
        found, _, answer = self.request("POST", path, body, content_type="application/json")
        assert found == status, answer
        return json.loads(answer)

    def search(self, *parts: object, **more: object) -> Any:
        words = [{"text": part} if isinstance(part, str) else part for part in parts]
        return self.post("/api/search", {"parts": words, **more})

    def upload(self, photo: Path) -> str:
        status, _, body = self.request("POST", "/api/uploads", photo.read_bytes())
        assert status == 201, body
        return str(json.loads(body)["id"])

    def wait(self, true: Callable[[Any], bool]) -> Any:
        """Wait until the status satisfies `true`; return it."""
        until = time.monotonic() + TIMEOUT_S
        while not true(status := self.get("/api/status")):
            assert time.monotonic() < until, status
            time.sleep(0.1)
        return status

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code and standard error."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        _, messages = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, messages


Answer = tuple[int, dict[str, str], bytes]


def in_process(state: State, requests: Callable[..., Awaitable[None]]) -> None:
    """Run a function, which is given one that asks the server and returns status, headers and
    body; a request whose sender has `left` is one that nobody waits for."""
    app = create_app(state)

    async def ask(
        method: str, path: str, body: object = b"", *, left: bool = False, **headers: str
    ) -> Answer:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"content_type": "application/json", **headers}
        given = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": given}
        coming = [] if method == "GET" else [{"type": "http.request", "body": content}]
        sent: list[Any] = []

        async def receive() -> Any:
            if coming:
                return coming.pop()
            if not left:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "query_string": b""}, receive, send)
        found = {name.decode(): text.decode() for name, text in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(message["body"] for message in sent[1:])

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await requests(ask)

    asyncio.run(run())


def tiny(folder: Path, name: str, *, seed: int = 7) -> Bundle:
    bundle = replace(make_tiny_bundle(folder / name, seed=seed), name=name)
    bundle.save()
    return bundle


def indexed(bundle: Bundle, photos: Path) -> Path:
    directory = bundle.directory.with_name(f"{bundle.directory.name}.index")
    found = find_photos(photos.resolve())
    SearchEngine(bundle).index_photos(create_index(bundle, directory), found)
    return directory
