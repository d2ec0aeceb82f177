"""A Ray cluster of several nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace

from mcad_mobile.embed import on_ray
from mcad_mobile.embed.job import job_of
from mcad_mobile.embed.make_shards import Options, embed
from mcad_mobile.embed.on_ray import BundleWorker, read_bundle
from mcad_mobile.embed.pieces import Members
from mcad_mobile.embed.source import Source
from mcad_mobile.embed.worker import Setup
from mcad_mobile.errors import ClusterError, McadError, StoreError
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


class FakeRay(SimpleNamespace):
    """Ray with a cluster of 4 CPUs and 1 GPU, as far as its work and its connection are asked for:
    it works in this process, and is away if `away` is set."""

    class exceptions:
        class RayError(Exception):
            pass

    def __init__(self):
        super().__init__(initialized=False, asked=[], dialled=[], broken=False, away=False)
        self.actor = None
        self.DataContext = SimpleNamespace(get_current=SimpleNamespace)
        self.ActorPoolStrategy = lambda **sizes: sizes

    def is_initialized(self):
        return self.initialized

    def init(self, **options):
        self.asked.append(options.get("address"))
        self.initialized = True

    def cluster_resources(self):
        return {"CPU": 4.0, "GPU": 1.0}

    def put(self, value):
        return [value]

    def get(self, references):
        return [value for (value,) in references]

    def create_connection(self, address, timeout):
        self.dialled.append(address)
        if self.away:
            raise ConnectionRefusedError("nobody answers")
        return SimpleNamespace(close=lambda: None)

    def from_items(self, items, override_num_blocks):
        assert override_num_blocks == len(items)
        self.items = items
        return self

    def map_batches(self, actor, *, batch_size, fn_constructor_args, **resources):
        assert batch_size == 1
        self.asked.append(resources)
        self.actor = actor(*fn_constructor_args)
        return self

    def iter_rows(self):
        for item in self.items:
            if self.broken:
                raise self.exceptions.RayError("a node\nis lost")
            (answer,) = self.actor({"piece": [item["piece"]]})["answer"]
            yield {"answer": answer}


@pytest.fixture
def fake_ray(monkeypatch):
    fake = FakeRay()
    for module in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setattr(on_ray, "socket", fake)
    yield fake
    fake.actor = None


@pytest.mark.parametrize(
    ("address", "where", "dialled"),
    [
        ("local", None, []),
        ("auto", "auto", []),
        ("10.0.0.1:6379", "10.0.0.1:6379", [("10.0.0.1", 6379)]),
        ("ray://[::1]:10001", "ray://[::1]:10001", [("::1", 10001)]),
    ],
)
def test_a_cluster_is_called_once_and_dialled_before(fake_ray, address, where, dialled):
    assert on_ray.connect(address) is on_ray.connect(address) is fake_ray
    assert (fake_ray.asked, fake_ray.dialled) == ([where], dialled)


def test_no_cluster_at_an_address_is_known_without_ray(fake_ray):
    fake_ray.away = True
    with pytest.raises(ClusterError, match=r"at a:6379: nobody answers\n.*ray start --head"):
        on_ray.connect("a:6379")
    assert fake_ray.asked == []


def test_a_cluster_embeds_as_one_process_does_and_is_asked_for_what_workers_need(
    fake_ray, bundle, photos, shards, tmp_path
):
    folder, out, seen = tmp_path / "photos", tmp_path / "out", []
    shutil.copytree(photos, folder)
    (folder / "broken.jpg").write_bytes(b"no photo")
    options = Options(workers=3, threads=2, photos_a_shard=3, ray="auto")
    made = embed(Source(str(folder)), bundle, str(out), options, lambda *step: seen.append(step))
    assert (made.embedded, made.manifest.left_out, seen[-1]) == (8, 1, ("photos", 9, 9))
    found = {Path(key).name: row for key, row in vectors(out).items()}
    assert same(found, {Path(key).name: row for key, row in vectors(shards).items()})
    setup = Setup(str(bundle.directory), str(out), job_of(bundle, "onnx", "fp32", 10), 1, threads=2)
    assert fake_ray.asked[1:] == [
        {"compute": {"min_size": 1, "max_size": 3}, "num_cpus": 2, "num_gpus": None}
    ]
    away = [Members(str(tmp_path / "none.tar"), "")]
    with pytest.raises(StoreError, match=r"none\.tar"):  # an actor's own error
        list(on_ray.run_on_ray(setup, away, 3, "auto", 1.0))
    assert fake_ray.asked[2:] == [
        {"compute": {"min_size": 1, "max_size": 1}, "num_cpus": 2, "num_gpus": 1.0}
    ]
    for asked, gpus, message in ((5, 0, "4 CPUs; .* for 5"), (1, 1.5, "1 GPUs; .* 1.5")):
        with pytest.raises(ClusterError, match=message):
            next(on_ray.run_on_ray(replace(setup, threads=asked), away, 1, "auto", gpus))
    fake_ray.broken = True
    with pytest.raises(ClusterError, match="gave up: a node is lost"):
        next(on_ray.run_on_ray(setup, away, 1, "auto"))


def test_an_actors_bundle_lies_in_a_private_folder_of_its_own(
    fake_ray, tmp_path, monkeypatch, bundle
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    setup = Setup("elsewhere", str(tmp_path / "out"), job_of(bundle, "onnx", "fp32", 10), 1)
    arguments = (msgspec.json.encode(setup), [fake_ray.put(read_bundle(bundle.directory))])
    workers = [BundleWorker(*arguments) for _ in range(2)]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    del workers[:]
    assert not [path for path in tmp_path.iterdir() if path in folders]


@pytest.mark.parametrize("harm", ["a file", "the manifest too"])
def test_a_bundle_that_is_not_the_jobs_is_refused_by_its_hashes(
    fake_ray, tmp_path, monkeypatch, bundle, harm
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
        BundleWorker(msgspec.json.encode(setup), [fake_ray.put(read_bundle(other))])


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_photo_and_changes_no_vector(tmp_path, bundle, photos):
    pytest.importorskip("ray")
    folder, go = tmp_path / "photos", tmp_path / "go"
    shutil.copytree(photos, folder)
    for number, path in enumerate(sorted(photos.iterdir())):
        shutil.copy(path, folder / f"again-{number}{path.suffix}")
    odd_photo(folder / "held.jpg", "wait", go)
    (folder / "broken.jpg").write_bytes(b"no photo")
    arguments = [bundle.directory, folder, tmp_path / "ray", go]
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
