"""Requests and answers: bodies that are read no further than they may be, and what goes wrong as
JSON with a status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mcad_mobile.errors import McadError, PhotoError, QueryError
from mcad_mobile.serve.records import Problem
from mcad_mobile.typed import decode

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
    return problem(_STATUS.get(type(error), 409), error.what, error.hint)
