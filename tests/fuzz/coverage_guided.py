"""Inputs that reach new code, for all that reads what others wrote, by atheris and libFuzzer:

    python -m tests.fuzz.coverage_guided photos 4000 counts.json

KIND is photos, indexes, bundles, requests or commands. What is no McadError, no clean answer and no
clean exit stops the run, and libFuzzer keeps the input as crash-*; so does one of 25 s or 2 GiB.
`counts.json` holds the number of inputs by outcome.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["mcad_mobile"]):
    from typer.testing import CliRunner

    from mcad_mobile.cli.command import app as command_line
    from mcad_mobile.data.packaged_photos import packaged_photos
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.engine.engine import SearchEngine, create_index
    from mcad_mobile.engine.index import PhotoIndex
    from mcad_mobile.engine.photos.coordinates import coordinates
    from mcad_mobile.engine.photos.dates import minutes_taken
    from mcad_mobile.engine.photos.decode import open_bytes
    from mcad_mobile.engine.photos.thumbnails import jpeg
    from mcad_mobile.errors import McadError
    from mcad_mobile.serve.security import Guard
    from mcad_mobile.serve.server import create_app, open_state

from tests.support.tiny_bundle import make_tiny_bundle

Use = Callable[[bytes], str]  # an input -> its outcome
GOLDEN = Path(__file__).parents[1] / "golden" / "index"
_VERBS = ("search", "index", "targets", "report", "doctor")
_PORT = 8000


def photos(work: Path, corpus: Path) -> Use:
    """Bytes of a photo: its pixels, date, place and thumbnail."""
    from PIL import Image

    picture = Image.effect_noise((40, 30), 60).convert("RGB")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2023:05:06 12:34:56"
    exif.get_ifd(0x8825).update({1: "N", 2: (38.0, 43.0, 1.0), 3: "W", 4: (9.0, 8.0, 2.0)})
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "TGA",
                 "ICO", "DDS", "SGI", "MPO"):  # fmt: skip
        with contextlib.suppress(KeyError):  # Pillow was built without it
            picture.save(corpus / kind, kind, exif=exif)
    stat = Path(__file__).stat()

    def use(data: bytes) -> str:
        minutes_taken(data, stat)
        coordinates(data)
        open_bytes(data, "photo", at_least=32)
        jpeg(data, "photo", shorter=32)
        return "decoded"

    return use


def indexes(work: Path, corpus: Path) -> Use:
    """Bytes of a manifest, whose own checksum is made right; core.py fuzzes segments and words."""
    shutil.copytree(GOLDEN, work, dirs_exist_ok=True)
    manifest = work / "manifest.json"
    shutil.copy(manifest, corpus)

    def use(data: bytes) -> str:
        blank = data[:11] + b"0" * 8 + data[19:]  # {"crc32": "........
        manifest.write_bytes(data[:11] + b"%08x" % zlib.crc32(blank) + data[19:])
        with PhotoIndex.open(work) as index:
            query = np.eye(1, index.dim, dtype=np.float32)[0]
            index.search(query, 5)
            index.paths()
            index.dates()
            index.near_duplicates(0.9)
        return "searched"

    return use


def bundles(work: Path, corpus: Path) -> Use:
    """Bytes of bundle.json, beside a bundle's other files."""
    bundle = make_tiny_bundle(work / "bundle")
    file = bundle.directory / "bundle.json"
    (corpus / "bundle").write_bytes(file.read_bytes())

    def use(data: bytes) -> str:
        file.write_bytes(data)
        SearchEngine(Bundle.load(bundle.directory)).embed_text("a dog")
        return "loaded"

    return use


def _searchable(work: Path) -> Bundle:
    """A bundle with an index of four photos beside it."""
    bundle = make_tiny_bundle(work / "bundle")
    with create_index(bundle, work / "bundle.index") as index:
        SearchEngine(bundle).index_photos(index, packaged_photos()[:4])
    return bundle


def requests(work: Path, corpus: Path) -> Use:
    """A request: method, path and headers, a line each; an empty line; the body."""
    bundle = _searchable(work)
    app = create_app(open_state([bundle], [work / "bundle.index"]))
    guarded, loop = Guard(app, _PORT), asyncio.new_event_loop()
    lifespan = app.router.lifespan_context(app)  # ends with the process
    loop.run_until_complete(lifespan.__aenter__())
    for number, (method, path, body) in enumerate((
        ("GET", "/api/status", ""),
        ("GET", "/", ""),
        ("GET", "/api/photos?index=bundle.index", ""),
        ("GET", "/openapi.json", ""),
        ("POST", "/api/search", '{"parts": [{"text": "a dog", "weight": 0.5}], "k": 3}'),
    )):  # fmt: skip
        head = f"{method}\n{path}\nhost: 127.0.0.1:{_PORT}\ncontent-type: application/json"
        (corpus / f"{number}").write_text(f"{head}\n\n{body}")

    def use(data: bytes) -> str:
        head, _, body = data.partition(b"\n\n")
        method, path, *headers = [*head.split(b"\n"), b"", b""]
        path, _, query = path.partition(b"?")
        scope = {
            "type": "http", "method": method.decode("latin-1"), "path": path.decode("latin-1"),
            "raw_path": path, "query_string": query, "scheme": "http", "root_path": "",
            "headers": [(n.lower(), v.strip()) for n, _, v in (h.partition(b":") for h in headers)],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", _PORT), "http_version": "1.1",
        }  # fmt: skip
        statuses = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, object]) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        _ = lifespan
        loop.run_until_complete(asyncio.wait_for(guarded(scope, receive, send), 20))
        assert statuses and statuses[0] != 500, statuses
        return f"answered {statuses[0]}"

    return use


def commands(work: Path, corpus: Path) -> Use:
    """A command line, an argument a line; the verb is the first byte's."""
    _searchable(work)
    os.chdir(work)
    for number, line in enumerate((
        "\0a dog\n--plus\nsnow=0.5\n-k\n3\n--json", "\0--like\nx.jpg\n--after\n2024-05-01",
        "\0--duplicates\n0.9", "\1photos\n--prune", "\1--verify", "\2--json", "\4--json",
        "\3a.json\n--baseline",
    )):  # fmt: skip
        (corpus / f"{number}").write_text(line)

    def use(data: bytes) -> str:
        verb = _VERBS[data[0] % len(_VERBS)] if data else "search"
        text = data[1:].decode("utf-8", "surrogateescape").replace("\0", "")
        # No place outside `work`.
        arguments = [word.lstrip("/").replace("..", "") for word in text.split("\n")]
        if verb in ("search", "index"):
            arguments += ["-b", "bundle"]
        done = CliRunner().invoke(command_line, [verb, *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit | McadError):
            raise done.exception
        assert done.exit_code in (0, 1, 2), done.exit_code
        return f"exit {int(done.exit_code)}"

    return use


KINDS = {use.__name__: use for use in (photos, indexes, bundles, requests, commands)}


def main() -> None:
    kind, runs, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]).absolute()
    random.seed(0)
    warnings.simplefilter("ignore")
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = work / "corpus"
    corpus.mkdir()
    use = KINDS[kind](work, corpus)
    outcomes: collections.Counter[str] = collections.Counter()

    def one(data: bytes) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                outcome = use(data)
            except McadError as error:
                outcome = type(error).__name__
        outcomes[outcome] += 1
        if outcomes.total() % 100 == 0:
            out.write_text(json.dumps({"kind": kind, "inputs": outcomes.total(), **outcomes}))

    options = (f"-runs={runs}", "-seed=1", "-max_len=100000", "-timeout=25", "-rss_limit_mb=2048")
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
