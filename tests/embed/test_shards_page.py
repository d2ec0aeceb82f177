"""The recipes of docs/shards.md, as they stand there: each store finds what numpy finds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mcad_mobile.engine.bundle import Bundle
from tests.support.embedding_runs import ROOT, run, vectors

PAGE = (ROOT / "docs" / "shards.md").read_text("utf-8")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/lib/vector.so"))
Photos = dict[str, NDArray[np.float32]]


def recipe(title: str) -> str:
    """The one code block below a heading of the page."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


def read(shards: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's first recipe defines, in a folder that holds `shards`."""
    (folder / "shards").symlink_to(shards)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(recipe("Read the shards"), names)
    return names


def find(title: str, shards: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that a store's recipe finds for a vector near one photo and equal to none."""
    names = {**read(shards, folder, monkeypatch), "query": near(vectors(shards))}
    exec(recipe(title), names)
    found: list[str] = names["found"]
    return found


def near(photos: Photos) -> NDArray[np.float32]:
    noise = np.random.default_rng(3).normal(0, 0.05, 64)
    query = list(photos.values())[2] + noise.astype(np.float32)
    return np.asarray(query / np.linalg.norm(query), np.float32)


def nearest(photos: Photos) -> list[str]:
    """All keys, the nearest to that vector first."""
    query = near(photos)
    return sorted(photos, key=lambda key: -float(photos[key] @ query))


def test_every_recipe_of_the_page_has_a_test() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert headings == ["Read the shards", "FAISS", "LanceDB", "Qdrant", "pgvector"]
    assert len(re.findall(r"^```python$", PAGE, re.MULTILINE)) == len(headings)


def test_the_first_recipe_reads_every_embedding_to_the_bit(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = read(shards, tmp_path, monkeypatch)
    photos = vectors(shards)
    assert sorted(names["keys"]) == sorted(photos)
    assert names["vectors"].dtype == np.float32
    for key, vector in zip(names["keys"], names["vectors"], strict=True):
        assert np.array_equal(vector, photos[key])


def test_of_a_photo_that_was_embedded_twice_the_first_recipe_keeps_the_last_row(
    tmp_path: Path, bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, shards = tmp_path / "photos", tmp_path / "made"
    folder.mkdir()
    kept = shutil.copy(sorted(photos.iterdir())[0], folder)
    changed = folder / "changed.png"
    options = ("--bundle", bundle.directory, "--out", shards, "--workers", 1)
    read_vectors: list[NDArray[np.float32]] = []
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(changed)
        os.utime(changed, (len(read_vectors), len(read_vectors)))
        run("embed", folder, *options)
        (tmp_path / colour).mkdir()
        names = read(shards, tmp_path / colour, monkeypatch)
        assert sorted(names["keys"]) == sorted([str(changed), str(kept)])
        read_vectors.append(names["vectors"][names["keys"].index(str(changed))])
    assert not np.array_equal(*read_vectors)


@pytest.mark.parametrize("title", ["FAISS", "LanceDB", "Qdrant"])
def test_a_store_that_a_recipe_fills_finds_what_numpy_finds(
    title: str, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(title, shards, tmp_path, monkeypatch) == nearest(vectors(shards))


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of this test's own, on a socket in its folder, which belongs to the server's user:
    pytest's folders are closed to others. libpq's variables lead to it."""
    if not POSTGRES:
        pytest.skip("no PostgreSQL with pgvector (Debian 13: scripts/setup-system.sh slow)")
    tools = POSTGRES[-1].parents[1] / "bin"
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []

    def tool(name: str, *arguments: object) -> None:
        subprocess.run(
            [*as_user, str(tools / name), *map(str, arguments)],
            check=True,
            timeout=240,
            capture_output=True,
            cwd="/",
        )

    with tempfile.TemporaryDirectory(prefix="mcad-postgres-") as folder:
        if as_user:
            shutil.chown(folder, "postgres")
        data, log = Path(folder) / "data", Path(folder) / "log"
        tool("initdb", "-D", data, "-A", "trust", "-U", "postgres")
        sockets = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        tool("pg_ctl", "-D", data, "-w", "-t", "200", "-o", sockets, "-l", log, "start")
        for name, value in {
            "PGHOST": folder,
            "PGUSER": "postgres",
            "PGDATABASE": "postgres",
        }.items():
            monkeypatch.setenv(name, value)
        yield
        tool("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")
def test_pgvector_as_its_recipe_fills_it_finds_what_numpy_finds(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find("pgvector", shards, tmp_path, monkeypatch) == nearest(vectors(shards))
