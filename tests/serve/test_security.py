"""Requests of other pages, and by other names of this computer, are refused."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mcad_mobile.serve.indexes import path_id
from mcad_mobile.serve.operations import REQUEST_BYTES
from mcad_mobile.serve.photos import UPLOAD_BYTES
from mcad_mobile.serve.security import HEADERS, Guard
from tests.support.servers import Server

_JSON = "application/json"
PATHS = ("/", "/api/status", "/openapi.json", "/static/app.js", "/nowhere")


def test_it_listens_on_this_computer_alone(served: Server) -> None:
    """By the kernel's table, in which 0100007F is 127.0.0.1."""
    port = f"{served.port:04X}"
    tables = [Path(f"/proc/{served.process.pid}/net/{kind}") for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    listening = [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_a_foreign_host_header_is_refused(served: Server, path: str, host: str) -> None:
    status, headers, body = served.request("GET", path, host=host.format(port=served.port))
    assert status == 421
    assert b"mcad" not in body
    assert dict(HEADERS).items() <= headers.items()
    assert headers["connection"] == "close"  # else a body would be the next request


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"])
def test_our_own_names_are_answered(served: Server, host: str) -> None:
    assert served.request("GET", "/", host=host.format(port=served.port))[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "file://"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused(served: Server, origin: str, method: str) -> None:
    path = "/api/status" if method == "GET" else "/api/search"
    status, headers, _ = served.request(
        method,
        path,
        b"{}" if method == "POST" else None,
        origin=origin.format(port=served.port),
        content_type="application/json",
    )
    assert status == 403
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/api/status", "/api/indexes/first.index/folders", "/"])
def test_a_request_embedded_by_another_site_is_refused(
    served: Server, site: str, path: str
) -> None:
    """An image, a frame or a script of ours on a page of theirs: no Origin is sent for these."""
    for kind, mode in (
        ("image", "no-cors"),
        ("script", "cors"),
        ("iframe", "navigate"),
        ("document", "no-cors"),
    ):
        headers = {"sec_fetch_site": site, "sec_fetch_dest": kind, "sec_fetch_mode": mode}
        assert served.request("GET", path, **headers)[0] == 403


def test_a_link_from_elsewhere_may_open_the_page_and_nothing_else(served: Server) -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    page = {**link, "sec_fetch_dest": "document"}
    assert served.request("GET", "/", **page)[0] == 200
    assert served.request("GET", "/api/status", **page)[0] == 403
    assert served.request("POST", "/api/indexing", b"{}", **page)[0] == 403


def status_by_guard(port: int, *headers: tuple[bytes, bytes]) -> int:
    """The status that a request with `headers` is answered with by a guard of `port`."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    asyncio.run(Guard(app, port)(scope, asyncio.Event().wait, send))
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize(("port", "status"), [(80, 200), (8080, 421)])
def test_port_80_is_the_one_that_browsers_leave_out(port: int, status: int) -> None:
    for name in (b"127.0.0.1", b"localhost"):
        headers = (b"host", name), (b"origin", b"http://" + name)
        assert status_by_guard(port, *headers) == status


def test_a_request_has_one_host() -> None:
    """Also where the server's library lets others through."""
    ours, other = (b"host", b"127.0.0.1:8080"), (b"host", b"evil.example")
    assert [status_by_guard(8080, *hosts) for hosts in ([ours], [ours, other], [])] == [
        200,
        421,
        421,
    ]


def test_a_form_of_another_page_cannot_be_a_request(served: Server) -> None:
    """What a browser sends without asking first: text, or fields of a form."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        body = json.dumps({"parts": [{"text": "a dog"}]}).encode()
        status, headers, _ = served.request("POST", "/api/search", body, content_type=kind)
        assert (status, headers["connection"]) == (415, "close")


def test_no_answer_to_a_preflight_lets_another_page_in(served: Server) -> None:
    status, headers, _ = served.request(
        "OPTIONS", "/api/search", access_control_request_method="POST"
    )
    assert status == 405
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_the_headers(served: Server, path: str) -> None:
    _, headers, _ = served.request("GET", path)
    assert dict(HEADERS).items() <= headers.items()
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert policy.startswith("default-src 'none';")
    for rule in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert f"; {rule} 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
    }.items() <= headers.items()
    assert "server" not in headers


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "../../../../etc/passwd",
        "..%252f..%252fetc%252fpasswd",
        "C%3A%5CWindows%5Cwin.ini",
        "%00",
        "here%2Fcamera.png",
        "0" * 20,
    ],
)
@pytest.mark.parametrize(
    "place", ["/api/indexes/first.index/photos/{}/thumbnail", "/static/{}", "/{}"]
)
def test_a_request_by_path_is_never_served(served: Server, name: str, place: str) -> None:
    status, _, body = served.request("GET", place.format(name))
    assert status in (404, 405)
    assert b"root:" not in body


def test_files_beside_the_photos_have_no_address(served: Server, photos: Path) -> None:
    """An id is the hash of a path, which anybody can compute: only the index's are known."""
    secret = photos.resolve() / "here" / "secret.png"
    Image.new("RGB", (8, 8), "white").save(secret)
    try:
        for path in (secret, photos.resolve(), Path("/etc/passwd")):
            address = f"/api/indexes/first.index/photos/{path_id(str(path))}/view"
            assert served.request("GET", address)[0] == 404
    finally:
        secret.unlink()


def test_an_upload_of_large_content_length_is_refused_unread(served: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.putrequest("POST", "/api/uploads")
    connection.putheader("Content-Length", str(UPLOAD_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_an_upload_without_content_length_is_cut(served: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    piece = b"\xff\xd8\xff" + bytes(1 << 20)
    pieces = (piece for _ in range(2 * UPLOAD_BYTES // len(piece)))
    try:
        connection.request("POST", "/api/uploads", pieces, encode_chunked=True)
        refused = connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # it hung up while we were sending
        refused = next(pieces, None) is not None
    connection.close()
    assert refused


def test_a_request_whose_body_ends_in_two_places_is_refused_and_hung_up_on(served: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    lengths = {"Content-Length": "2", "Transfer-Encoding": "chunked", "Content-Type": _JSON}
    connection.request("POST", "/api/search", b"2\r\n{}\r\n0\r\n\r\n", lengths)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (400, "close")
    connection.close()


def test_a_request_may_not_be_large(served: Server) -> None:
    for size, expected in ((REQUEST_BYTES, 200), (REQUEST_BYTES + 1, 413)):
        for kind in (bytes, lambda body: iter([body])):  # without a length, it is sent in chunks
            body = kind(b"{}".ljust(size))
            status, *_ = served.request("POST", "/api/search", body, content_type=_JSON)
            assert status == expected


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
        ("HTML", b"<html><script>alert(1)</script></html>"),
        ("half a JPEG", b"\xff\xd8\xff\xe0" + bytes(50)),
        ("nothing", b""),
        ("TIFF", b"II*\x00" + bytes(64)),
    ],
)
def test_an_upload_that_is_no_photo_is_refused(served: Server, kind: str, content: bytes) -> None:
    status, headers, body = served.request("POST", "/api/uploads", content)
    assert status == 422, kind
    assert headers["content-type"] == "application/json"
    assert b"/tmp" not in body


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "EPS", "PPM"])
def test_pictures_of_other_kinds_are_not_decoded(served: Server, kind: str) -> None:
    """Whole ones, which Pillow would open."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(content, kind)
    status, _, body = served.request("POST", "/api/uploads", content.getvalue())
    assert status == 422
    assert b"not a JPEG, PNG, WebP or HEIC" in body


def test_a_small_file_of_very_many_pixels_is_not_decoded(served: Server, tmp_path: Path) -> None:
    """A PNG that says it has 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))
    assert served.request("POST", "/api/uploads", bomb)[0] == 422


def test_uploads_are_for_this_user_alone(served: Server, photos: Path) -> None:
    served.upload(next(photos.rglob("coins.png")))
    folders = list(Path(tempfile.gettempdir()).glob("mcad-serve-*"))
    assert folders
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in folders)


def test_the_page_names_nothing_elsewhere(served: Server) -> None:
    """No address of the web, and nothing written in line, which the policy would stop."""
    page = served.request("GET", "/")[2].decode()
    assert "<style" not in page and " style=" not in page and " onclick" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/') == 1
    for name in (
        "app.js",
        "app.css",
        "grid.js",
        "pane.js",
        "parts.js",
        "viewer.js",
        "job.js",
        "images.js",
        "api.js",
        "dom.js",
    ):
        status, headers, body = served.request("GET", f"/static/{name}")
        assert status == 200
        assert headers["content-type"].split(";")[0] in ("text/javascript", "text/css")
        assert b"http" not in body.replace(b"http-", b"")
    _, headers, _ = served.request("GET", "/static/icon.svg")
    assert headers["content-type"] == "image/svg+xml"
