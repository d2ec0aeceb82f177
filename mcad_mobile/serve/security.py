"""Guards the server on localhost against other web pages and other names of this computer.

Any page in a browser can send requests here. A request is refused unless its Host is ours (a name
that was rebound to 127.0.0.1 is not), its Origin, if it has one, is ours, and its Sec-Fetch-Site,
if it has one, is same-origin or none; links may open the page. Responses forbid the browser to load
anything from elsewhere, to frame the page, and to show it to other pages.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
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
    """Passes requests for this server, at `port` of this computer, on to `app` and refuses all
    others. Every response carries HEADERS."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        if port == 80:
            self._hosts |= {"127.0.0.1", "localhost"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ENCODED]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            status, sentence = refusal
            # The request's body is not read.
            headers = {"cache-control": "no-store", "connection": "close"}
            response = PlainTextResponse(f"{sentence}\n", status, headers)
            await response(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the sentence to refuse a request with, or None."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This server answers to 127.0.0.1 and localhost alone."
        if "content-length" in headers and "transfer-encoding" in headers:  # where does it end?
            return 400, "A request has a Content-Length or a Transfer-Encoding, not both."
        origins = headers.get("origin", [])
        if any(origin.lower() not in self._origins for origin in origins):
            return 403, "This server answers to its own page alone."
        sites = headers.get("sec-fetch-site", [])
        if any(site not in ("same-origin", "none") for site in sites) and not _opens_page(
            scope, headers
        ):
            return 403, "This server answers to its own page alone."
        return None


def _opens_page(scope: Scope, headers: dict[str, list[str]]) -> bool:
    """Whether a link from another site opens the page in a tab, which its opener cannot read."""
    return (
        scope["method"] == "GET"
        and scope["path"] == "/"
        and headers.get("sec-fetch-mode") == ["navigate"]
        and headers.get("sec-fetch-dest") == ["document"]
    )
