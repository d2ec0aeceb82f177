"""JSON requests and responses of the API: bodies with a size limit, and errors with a status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mcad_mobile.base.documents import decode
from mcad_mobile.errors import McadError, PhotoError, QueryError
from mcad_mobile.serve.records import Problem

T = TypeVar("T")
REQUEST_BYTES = 256 << 10  # a query of 20,000 characters, each escaped, fits
NOT_STORED = {"cache-control": "no-store"}
# All other errors of ours are 409: the server's files are damaged, or a rung does not run here.
_STATUS = {QueryError: 422, PhotoError: 422}


class Refused(Exception):
    """Raised by a handler to answer a request with a status of its own."""

    def __init__(self, status: int, error: str, hint: str = "") -> None:
        self.status, self.error, self.hint = status, error, hint


async def read(request: Request, kind: type[T]) -> T:
    """Decode the JSON body as a `kind`. Refused: it is not JSON, or too large; QueryError: it is
    not a `kind`."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refused(415, f"The request's body is {content_type or 'of no kind'}.", "Send JSON.")
    body = b"".join([chunk async for chunk in limited(request, REQUEST_BYTES)])
    return decode(body, kind, "The request", QueryError, "See /openapi.json.")


async def limited(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield the body in chunks. Refused: it has more than `most` bytes."""
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
    # Otherwise the unread body would be parsed as the next request.
    close = {"connection": "close"} if status_code in (413, 415) else {}
    body = msgspec.json.encode(Problem(_text(error), _text(hint)))
    return Response(body, status_code, {**NOT_STORED, **close}, "application/json")


def _text(message: str) -> str:
    """Replace what JSON cannot hold: paths may contain bytes that are not UTF-8."""
    return message.encode("utf-8", "replace").decode()


def error_response(error: McadError) -> Response:
    return problem(_STATUS.get(type(error), 409), error.message, error.hint)
