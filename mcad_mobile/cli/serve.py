"""mcad-mobile serve"""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

import typer

from mcad_mobile.base.files import real_path
from mcad_mobile.base.standard_output import counted, flush_results, print_json
from mcad_mobile.cli.options import (
    Json,
    Language,
    RuntimeName,
    Threads,
    default_bundle,
    flag,
    required,
    several,
)
from mcad_mobile.cli.output import load_bundle, warn
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import default_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import is_folder, no_folder
from mcad_mobile.errors import require


def serve(
    *,
    bundle: list[Path] = required(
        "--bundle",
        "-b",
        default_factory=lambda: [default_bundle()],
        show_default=False,
        help="A bundle. May be given more than once. Default: MCAD_BUNDLE, or the newest under "
        "build/.",
    ),
    index: list[Path] = several(
        help="An index's folder. May be given more than once. Default: BUNDLE.index of each bundle "
        "that has one."
    ),
    photos: list[Path] = several(
        help="A folder to index in the background with the first bundle. May be given more than "
        "once."
    ),
    port: int = typer.Option(8420, min=0, max=65535, help="0 for any free port."),
    browser: bool = flag("--open", help="Open the page in the default browser."),
    language: Language = None,
    runtime: RuntimeName = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Try bundles on your own photos in a browser, before they go to a phone.

    \b
      mcad-mobile serve --bundle build/sd                         # search the index of the bundle
      mcad-mobile serve --bundle build/sd --photos ~/Pictures     # index a folder meanwhile
      mcad-mobile serve --bundle build/sd --bundle build/siglip2  # side by side

    The page and its JSON API (described at /openapi.json) listen on 127.0.0.1, for this computer
    only. With --json, the address is printed once the server is ready. Ctrl-C stops the server.
    """
    require("starlette", "serve")
    require("uvicorn", "serve")
    from mcad_mobile.serve import server

    folders = [real_path(folder) for folder in photos]
    for folder in folders:
        if not is_folder(folder):
            raise no_folder(folder)
    with server.take_port(port) as listening:
        bundles = [load_bundle(directory) for directory in bundle]
        indexes = index or _default_indexes(bundles, bool(folders))
        state = server.open_state(
            bundles,
            indexes,
            folders,
            language=language,
            runtime=runtime,
            threads=threads,
            warn=warn,
        )
        address = f"http://{server.ADDRESS}:{listening.getsockname()[1]}/"

        def ready() -> None:
            if json:
                print_json(
                    {"url": address, "bundles": [*state.bundles], "indexes": [*state.indexes]}
                )
            else:
                count = sum(len(served.snapshot.catalog.paths) for served in state.indexes.values())
                print(f"{address}  ({counted(count, 'photo')}; Ctrl-C stops it)")
            flush_results()
            if folders:
                first = next(iter(state.bundles.values()))
                state.start_indexing(first, state.indexes_of(first)[0])
            if browser:
                # A terminal's browser is waited for, while it waits for the page.
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        server.serve(state, listening, ready)


def _default_indexes(bundles: list[Bundle], create: bool) -> list[Path]:
    """Return the bundles' own indexes that exist; with `create`, also the first bundle's if none of
    them holds its student's embeddings, or will; without, all if none exists."""
    indexes = list(dict.fromkeys(default_index(bundle.directory) for bundle in bundles))
    existing = [index for index in indexes if index.is_dir()]
    if not create:
        return existing or indexes
    wanted = bundles[0].student.image_sha256, bundles[0].dim
    if any(_student_of(index) in (wanted, None) for index in existing):
        return existing
    return list(dict.fromkeys([indexes[0], *existing]))


def _student_of(index: Path) -> tuple[str, int] | None:
    """Return the student's hash and width; None for an empty folder."""
    if not PhotoIndex.exists(index):
        return None
    with PhotoIndex.open(index) as opened:
        return opened.student_sha256, opened.dim
