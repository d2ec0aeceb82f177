"""Videos for the page's player: a file, or the range of it that a browser asks for."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack, suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.photos.decode import read_photo, regular_file
from mcad_mobile.engine.photos.video import video_behind
from mcad_mobile.errors import PhotoError
from mcad_mobile.serve.state import State

_CHUNK = 256 << 10
# A request for several ranges is answered with the whole file, as RFC 9110 (14.2) allows.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class VideoResponse(Response):
    """A video, read chunk by chunk as the browser takes it."""

    def __init__(self, state: State, request: Request, path: str) -> None:
        """Open the file and find the range that is asked for. PhotoError: it cannot be read, or
        holds no video."""
        begin = 0 if is_video(path) else video_behind(read_photo(path).data)
        if not begin and not is_video(path):
            raise PhotoError(f"{path} holds no video.")
        self._state, self._request = state, request
        with ExitStack() as opened:
            file, found = opened.enter_context(regular_file(path, "video"))
            size = max(found.st_size - begin, 0)
            # QuickTime's files are of MP4's kind, and browsers know them by its name.
            file.seek(begin)
            head = file.read(64)
            kind = "webm" if b"webm" in head else "x-matroska" if head[:1] == b"\x1a" else "mp4"
            tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
            headers = {"content-type": f"video/{kind}", "accept-ranges": "bytes", "etag": tag}
            status, start, end = 200, 0, size
            wanted = _RANGE.fullmatch(request.headers.get("range", ""))
            if wanted and any(wanted.groups()) and request.headers.get("if-range", tag) == tag:
                first, last = wanted.groups()
                start = int(first) if first else max(end - int(last), 0)
                end = min(int(last) + 1, end) if first and last else end
                status = 206 if start < end else 416
                where = f"{start}-{end - 1}" if start < end else "*"
                headers["content-range"] = f"bytes {where}/{size}"
            file.seek(begin + start)
            self._file, self._left = file, max(end - start, 0)
            headers |= {"content-length": str(self._left), "cache-control": "no-store"}
            super().__init__(None, status, headers)
            self._opened = opened.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        left = 0 if scope["method"] == "HEAD" else self._left
        # Where it ends early (the file was cut off, or the server ends), the connection is closed.
        with suppress(asyncio.CancelledError, PhotoError), self._opened:
            await send({"type": "http.response.start", **start})
            while not await self._request.is_disconnected():
                size = min(left, _CHUNK)
                chunk = await self._state.run_on(self._state.quick, self._file.read, size)
                left -= len(chunk)
                more = left > 0
                if more and not chunk:
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
                if not more:
                    return
