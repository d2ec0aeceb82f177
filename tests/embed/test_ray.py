"""A Ray cluster of several nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from mcad_mobile.embed.job import job_of, write_manifest
from mcad_mobile.embed.on_ray import BundleWorker, pack_bundle
from mcad_mobile.embed.pieces import Members, PhotoList
from mcad_mobile.embed.store import Store
from mcad_mobile.embed.worker import Setup
from mcad_mobile.errors import McadError
from tests.support.embedding_runs import environment, odd_photo, run, same, vectors
from tests.support.paths import ROOT
from tests.support.tiny_bundle import make_tiny_bundle

TIMEOUT_S = 900
# A machine that is loaded is slow and not dead; a raylet that was killed refuses at once.
PATIENT = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_health_check_initial_delay_ms": "60000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_TMPDIR": "/tmp",  # its sockets' names may have 107 bytes
}


def answer(worker, piece):
    return msgspec.json.decode(worker(msgspec.json.encode(piece)))


def test_an_actor_lays_the_bundle_out_embeds_and_tells_errors_as_they_are(
    tmp_path, monkeypatch, bundle, photos, shards
):
    """What an actor does, without a cluster."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = job_of(bundle, "onnx", "fp32", 10)
    setup = Setup("elsewhere", str(tmp_path / "out"), job, 1)
    worker = BundleWorker(msgspec.json.encode(setup), pack_bundle(bundle.directory))
    keys = tuple(map(str, sorted(photos.iterdir())))
    shard = answer(worker, PhotoList(keys, (0,) * len(keys)))["shard"]
    assert shard["photos"] == 8
    write_manifest(Store(str(tmp_path / "out")), job)
    assert same(vectors(tmp_path / "out"), vectors(shards))
    failed = answer(worker, Members(str(tmp_path / "none.tar"), ""))
    assert failed["kind"] == "StoreError" and "none.tar" in failed["message"]
    worker.stop()


def test_an_actors_bundle_lies_in_a_private_folder_of_its_own(tmp_path, monkeypatch, bundle):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    setup = Setup("elsewhere", str(tmp_path / "out"), job_of(bundle, "onnx", "fp32", 10), 1)
    arguments = (msgspec.json.encode(setup), pack_bundle(bundle.directory))
    workers = [BundleWorker(*arguments) for _ in range(2)]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    for worker in workers:
        worker.stop()
    assert not [path for path in tmp_path.iterdir() if path in folders]


@pytest.mark.parametrize("harm", ["a file", "the manifest too"])
def test_a_bundle_that_is_not_the_jobs_is_refused_by_its_hashes(
    tmp_path, monkeypatch, bundle, harm
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    setup = Setup("elsewhere", str(tmp_path / "out"), job_of(bundle, "onnx", "fp32", 10), 1)
    if harm == "a file":
        shutil.copytree(bundle.directory, tmp_path / "other")
        path = tmp_path / "other" / bundle.tower("image").rungs[0].files[0].path
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        other = tmp_path / "other"
    else:
        other = make_tiny_bundle(tmp_path / "other", seed=9).directory
    with pytest.raises(McadError):
        BundleWorker(msgspec.json.encode(setup), pack_bundle(other))


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_photo_and_changes_no_vector(tmp_path, bundle, photos):
    pytest.importorskip("ray")
    folder, go = tmp_path / "photos", tmp_path / "go"
    shutil.copytree(photos, folder)
    for number, path in enumerate(sorted(photos.iterdir())):
        shutil.copy(path, folder / f"again-{number}{path.suffix}")
    odd_photo(folder / "held.jpg", "wait", go)
    (folder / "broken.jpg").write_bytes(b"no photo")
    arguments = [bundle.directory, folder, tmp_path / "ray", go, *sorted(photos.iterdir())]
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "cluster_run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**environment(), "TMPDIR": str(tmp_path), **PATIENT},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    document = json.loads((tmp_path / "ray" / "result.json").read_text())
    assert (document["killed"], document["nodes"]) == (1, 2)  # the head, and one of two
    assert len((tmp_path / "go.held").read_text().split()) == 2  # begun anew by another node
    assert document["embedded"] == 17
    assert [Path(photo["key"]).name for photo in document["left_out"]] == ["broken.jpg"]
    run("embed", folder, "--bundle", bundle.directory, "--out", tmp_path / "local", "--workers", 1)
    assert same(vectors(tmp_path / "ray"), vectors(tmp_path / "local"))
    assert document["features"], "teachers' features differ between the cluster and one process"
