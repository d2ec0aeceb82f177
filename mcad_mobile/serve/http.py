"""Requests and answers: bodies that are read no further than they may be, and what goes wrong as
JSON with a status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mcad_mobile.base.documents import decode
from mcad_mobile.errors import McadError, PhotoError, QueryError
from mcad_mobile.serve.records import Problem

# What keeps other pages, and other names for this computer, away from a server on localhost.
#
# A browser that shows some web page lets that page send requests here. So: the Host must be ours
# (a name that was rebound to 127.0.0.1 is another one), the Origin, if there is one, too, and
# what the browser tells of its reason (Sec-Fetch-Site) must not be another site's page. What is
# sent back may load nothing from elsewhere, be framed by nobody, and be read by no other page.

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = (
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_ENCODED = [(name.encode(), value.encode()) for name, value in HEADERS]


class Guard:
    """Answers what is meant for this server at `port` of this computer, refuses the rest, and puts
    HEADERS on all that leaves."""

    def __init__(self, app: App, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # websockets: there are none
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ENCODED]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await _say(send_guarded, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence, or None."""
        told: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            told.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = told.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This server answers to 127.0.0.1 and localhost alone."
        origins = told.get("origin", [])
        if any(origin.lower() not in self._origins for origin in origins):
            return 403, "This server answers to its own page alone."
        sites = told.get("sec-fetch-site", [])
        if any(site not in ("same-origin", "none") for site in sites) and not _opens_page(
            scope, told
        ):
            return 403, "This server answers to its own page alone."
        return None


def _opens_page(scope: Scope, told: dict[str, list[str]]) -> bool:
    """A link from elsewhere may open the page in a tab, which shows nothing to its opener."""
    return (
        scope["method"] == "GET"
        and scope["path"] == "/"
        and told.get("sec-fetch-mode") == ["navigate"]
        and told.get("sec-fetch-dest") == ["document"]
    )


async def _say(send: Send, status: int, sentence: str) -> None:
    body = f"{sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),  # a body that was sent along is not read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


T = TypeVar("T")
REQUEST_BYTES = 256 << 10  # a query of 20,000 characters, each escaped, fits
NOT_STORED = {"cache-control": "no-store"}
# Of errors that a request can meet; what else ends in 409: the server's files are not as they
# should be, or a rung does not run here.
_STATUS = {QueryError: 422, PhotoError: 422}


class Refused(Exception):
    """A request that is answered with a status of its own."""

    def __init__(self, status: int, error: str, hint: str = "") -> None:
        self.status, self.error, self.hint = status, error, hint


async def read(request: Request, kind: type[T]) -> T:
    """The body, JSON, as a `kind`."""
    told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if told != "application/json":
        raise Refused(415, f"The request's body is {told or 'of no kind'}.", "Send JSON.")
    body = b"".join([chunk async for chunk in limited(request, REQUEST_BYTES)])
    return decode(body, kind, "The request", QueryError, "See /openapi.json.")


async def limited(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body, piece by piece, as long as it has no more bytes than that, whatever it says."""
    large = Refused(413, f"The request's body has more than {most:,} bytes.", "Send less.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise large
        yield chunk


def as_json(found: object, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status_code, NOT_STORED, "application/json")


def problem(status_code: int, error: str, hint: str = "") -> Response:
    # A body that was not read would be taken for the next request.
    close = {"connection": "close"} if status_code in (413, 415) else {}
    told = msgspec.json.encode(Problem(_text(error), _text(hint)))
    return Response(told, status_code, {**NOT_STORED, **close}, "application/json")


def _text(message: str) -> str:
    """As JSON can hold it: paths may hold bytes that are no text."""
    return message.encode("utf-8", "replace").decode()


def told(error: McadError) -> Response:
    """What a user can meet."""
    return problem(_STATUS.get(type(error), 409), error.message, error.hint)
