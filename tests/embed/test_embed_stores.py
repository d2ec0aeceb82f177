"""Shards handed to the engines that people search with on servers: the nearest photos there are the
nearest by plain numpy."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from embedding_runs import run, told, vectors
from tiny_bundle import make_tiny_bundle

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/lib/vector.so"))


@pytest.fixture
def known(shards):
    return vectors(shards)


@pytest.fixture
def query(known):
    """Near one photo, and not the same."""
    random = np.random.default_rng(3)
    found = np.stack(list(known.values()))[2] + random.normal(0, 0.05, 64).astype(np.float32)
    return (found / np.linalg.norm(found)).astype(np.float32)


def nearest(known, query, k=4):
    scores = {key: float(embedding @ query) for key, embedding in known.items()}
    return sorted(scores, key=lambda key: -scores[key])[:k]


def give(shards, store):
    """Twice: the second time changes nothing."""
    for _ in range(2):
        document = told("embed", "--out", shards, "--to", store)
        assert document["to"][0]["photos"] == 8
    return document


@pytest.fixture(scope="session")
def others_shards(tmp_path_factory, photos):
    """The same photos by another student."""
    folder = tmp_path_factory.mktemp("others")
    make_tiny_bundle(folder / "bundle", seed=9)
    run("embed", photos, "--bundle", folder / "bundle", "--out", folder / "shards", "--workers", 1)
    return folder / "shards"


def refuse(others, store):
    assert "can't be compared" in run("embed", "--out", others, "--to", store, code=1).stderr


def test_faiss_gets_an_index_and_the_keys_of_its_rows(tmp_path, shards, known, query):
    faiss = pytest.importorskip("faiss")
    for factory in ("", "#HNSW16"):
        path = tmp_path / f"photos{factory[1:]}.faiss"
        give(shards, f"faiss:{path}{factory}")
        keys = parquet.read_table(f"{path}.keys.parquet")["key"].to_pylist()
        scores, rows = faiss.read_index(str(path)).search(query[None], 4)
        assert [keys[row] for row in rows[0]] == nearest(known, query)
        assert np.allclose(scores[0], sorted(v @ query for v in known.values())[::-1][:4])
    assert len(list(tmp_path.iterdir())) == 4


def test_another_students_vectors_are_refused(tmp_path, shards, others_shards):
    pytest.importorskip("faiss")
    give(shards, f"faiss:{tmp_path}/photos.faiss")
    before = (tmp_path / "photos.faiss").read_bytes()
    refuse(others_shards, f"faiss:{tmp_path}/photos.faiss")
    assert (tmp_path / "photos.faiss").read_bytes() == before


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("photos.faiss", "names no store"),
        ("redis:somewhere", "names no store that we know"),
        ("faiss:photos.faiss#Nonsense", "no index 'Nonsense'"),
    ],
)
def test_a_store_that_is_none_is_refused_before_anything_is_done(tmp_path, shards, store, said):
    assert said in run("embed", "--out", shards, "--to", store, code=1).stderr


@pytest.mark.slow
def test_lancedb_finds_what_numpy_finds(tmp_path, shards, others_shards, known, query):
    lancedb = pytest.importorskip("lancedb")
    give(shards, f"lancedb:{tmp_path}/vectors#mine")
    table = lancedb.connect(str(tmp_path / "vectors")).open_table("mine")
    found = table.search(query).distance_type("cosine").limit(4).to_list()
    assert [row["key"] for row in found] == nearest(known, query)
    stored = {row["key"]: np.float32(row["vector"]) for row in table.to_arrow().to_pylist()}
    assert stored.keys() == known.keys()
    assert all(np.array_equal(stored[key], known[key]) for key in known)
    refuse(others_shards, f"lancedb:{tmp_path}/vectors#mine")


@pytest.mark.slow
def test_qdrants_local_mode_finds_what_numpy_finds(tmp_path, shards, others_shards, known, query):
    """Its client's own, in Python: no package carries Qdrant's server."""
    client = pytest.importorskip("qdrant_client")
    give(shards, f"qdrant:{tmp_path}/vectors#mine")
    opened = client.QdrantClient(path=str(tmp_path / "vectors"))
    found = opened.query_points("mine", query=query.tolist(), limit=4).points
    assert [point.payload["key"] for point in found] == nearest(known, query)
    opened.close()
    refuse(others_shards, f"qdrant:{tmp_path}/vectors#mine")


@pytest.mark.slow
def test_a_qdrant_server_that_is_not_there_is_one_error(shards):
    pytest.importorskip("qdrant_client")
    said = run("embed", "--out", shards, "--to", "qdrant:http://127.0.0.1:9#mine", code=1).stderr
    assert "http://127.0.0.1:9 cannot be reached" in said


@pytest.fixture
def postgres():
    """A server of this test's own, on a socket in its folder, which is its user's: pytest's are
    closed to others."""
    pytest.importorskip("psycopg")
    if not POSTGRES:
        pytest.skip("no PostgreSQL with pgvector (Debian 13: scripts/setup-system.sh stores)")
    tools = POSTGRES[-1].parents[1] / "bin"
    # PostgreSQL refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []

    def tool(name, *arguments):
        subprocess.run(
            [*as_user, tools / name, *arguments],
            check=True,
            timeout=240,
            capture_output=True,
            cwd="/",
        )

    with tempfile.TemporaryDirectory(prefix="mcad-postgres-") as folder:
        if as_user:
            shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        tool("initdb", "-D", data, "-A", "trust", "-U", "postgres")
        sockets = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        log = Path(folder) / "log"
        tool("pg_ctl", "-D", data, "-w", "-t", "200", "-o", sockets, "-l", log, "start")
        yield f"postgresql:///postgres?host={folder}&user=postgres"
        tool("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


@pytest.mark.slow
def test_pgvector_finds_what_numpy_finds(postgres, shards, others_shards, known, query):
    psycopg = pytest.importorskip("psycopg")
    give(shards, f"pgvector:{postgres}#mine")
    with psycopg.connect(postgres) as connection:
        found = connection.execute(
            "SELECT key FROM mine ORDER BY embedding <=> %s::vector LIMIT 4", (str(query.tolist()),)
        ).fetchall()
        assert [key for (key,) in found] == nearest(known, query)
        rows = connection.execute("SELECT key, embedding::real[] FROM mine").fetchall()
    assert {key for key, _ in rows} == known.keys()
    assert all(np.array_equal(np.float32(row), known[key]) for key, row in rows)
    refuse(others_shards, f"pgvector:{postgres}#mine")


@pytest.mark.slow
def test_a_postgres_that_is_not_there_is_one_error(tmp_path, shards):
    pytest.importorskip("psycopg")
    store = f"pgvector:postgresql://user:secret@/db?host={tmp_path}#mine"
    said = run("embed", "--out", shards, "--to", store, code=1).stderr
    assert "Check the address" in said and "secret" not in said
