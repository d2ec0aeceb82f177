"""Options reach what they are for, and their defaults are those that --help and the docs name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mcad_mobile.android import demo_app, library_aar, library_maven
from mcad_mobile.android.demo_app import BuiltApp
from mcad_mobile.android.library_aar import BuiltLibrary
from mcad_mobile.android.packages import Key
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.aihub import AiHubDevice
from mcad_mobile.bench.devices.host import HostDevice
from mcad_mobile.bench.measurement import Workload
from mcad_mobile.cli import bench, index
from mcad_mobile.cli.command import app
from mcad_mobile.cli.output import warn
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.embed import make_shards as embedding
from mcad_mobile.embed.source import Source
from mcad_mobile.engine import engine
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.serve import server as serving


class Reached(Exception):
    """Ends a command where its work would begin."""


class Calls(list[tuple[tuple[Any, ...], dict[str, Any]]]):
    """The arguments of each call of a function that does nothing."""

    def __call__(self, *arguments: Any, **options: Any) -> None:
        self.append((arguments, options))
        raise Reached


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in packaged_photos()[:2]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def mcad(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("options", "runtime", "threads", "fastest"),
    [
        (("index", "PHOTOS"), None, 1, True),  # a thread for each photo
        (("index", "PHOTOS", "--runtime", "onnx"), "onnx", 1, True),
        (("search", "a dog"), None, 1, False),
        (("search", "a dog", "--threads", 2, "--runtime", "onnx"), "onnx", 2, False),
    ],
)
def test_towers_are_chosen_as_was_asked_for(
    bundle: Bundle,
    photos: Path,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    runtime: str | None,
    threads: int,
    fastest: bool,
) -> None:
    place = ("--bundle", bundle.directory, "--index", photos.parent / "index")
    assert mcad("index", photos, *place).exit_code == 0
    monkeypatch.setattr(engine, "choose_rung", calls)
    done = mcad(*[photos if word == "PHOTOS" else word for word in options], *place)
    assert isinstance(done.exception, Reached)
    (((_, _), given),) = calls
    assert (given["runtime"], given["threads"]) == (runtime, threads)
    assert (given["fastest"], given["precision"]) == (fastest, None)


@pytest.mark.parametrize(("option", "threads"), [((), allowed_cores()), (("--threads", 99), 99)])
def test_photos_are_embedded_on_all_cores_or_on_as_many_threads_as_asked(
    bundle: Bundle,
    photos: Path,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    option: tuple[object, ...],
    threads: int,
) -> None:
    monkeypatch.setattr(index, "SearchEngine", calls)
    mcad("index", photos, "--bundle", bundle.directory, *option)
    assert [given["threads"] for _, given in calls] == [threads]


@pytest.mark.parametrize(
    ("options", "device", "workload"),
    [
        ((), HostDevice(), Workload(None, 100_000, 200, 1, None, None, None)),
        (
            ("--synthetic", 500, "--searches", 7, "--threads", 2, "--repeats", 4),
            HostDevice(),
            Workload(None, 500, 7, 2, None, 4, None),
        ),
        (
            ("--device", "adb:x", "--cool-down", 0.5, "--force", "--aar", "a", "--aar", "b"),
            AdbDevice("x", force=True, aars=(Path("a"), Path("b"))),
            Workload(cool_down_s=0.5),
        ),
        (
            ("--device", "adb", "--runner", "r", "--runtime", "onnx", "--index", "i"),
            AdbDevice(runner=Path("r")),
            Workload(index=Path("i"), runtime="onnx"),
        ),
        (
            ("--device", "aihub:Galaxy", "--compile", "qnn"),
            AiHubDevice(("Galaxy",), "qnn"),
            Workload(),
        ),
    ],
)
def test_bench_measures_what_was_asked_for(
    bundle: Bundle,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    device: object,
    workload: Workload,
) -> None:
    monkeypatch.setattr(bench, "measure", calls)
    monkeypatch.chdir(bundle.directory)
    mcad("bench", "--bundle", ".", *options)
    ((_, opened, asked, _), _), *_ = calls
    assert (opened, asked) == (device, workload)


@pytest.mark.parametrize(
    ("options", "source", "expected"),
    [
        ((), {}, {"workers": allowed_cores()}),
        (("--threads", 999), {}, {"workers": 1, "threads": 999}),
        (
            ("--workers", 5, "--shard", 7, "--runtime", "onnx", "--no-resume"),
            {},
            {"workers": 5, "photos_a_shard": 7, "runtime": "onnx", "resume": False},
        ),
        (
            ("--kind", "parquet", "--photo-column", "p", "--key-column", "k", "--workers", 1),
            {"kind": "parquet", "photo_column": "p", "key_column": "k"},
            {},
        ),
        (
            ("--ray", "here:6379", "--gpus", 0.25, "--workers", 3),
            {},
            {"ray": "here:6379", "gpus": 0.25, "workers": 3},
        ),
    ],
)
def test_embed_runs_as_was_asked_for(
    bundle: Bundle,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    source: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    monkeypatch.setattr(embedding, "embed", calls)
    mcad("embed", "photos", "--bundle", bundle.directory, "--out", "shards", *options)
    (((found, _, out, asked, *_), _),) = calls
    assert (found, out) == (Source("photos", **source), "shards")
    assert asked == embedding.Options(**expected)


OF_A_PACKAGE = (
    *("--abi", "x86_64", "--abi", "arm64-v8a", "--aar", "q.aar", "--onnxruntime-aar", "o.aar"),
    *("--keep-float", "--accept-licence", "mine", "--npu"),
)
PACKAGED = BuildOptions(
    abis=("x86_64", "arm64-v8a"),
    aars=(Path("q.aar"),),
    onnxruntime=Path("o.aar"),
    npu=True,
    keep_float=True,
    accept_licence="mine",
)


def test_an_app_is_built_as_was_asked_for(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def build(*arguments: Any, **options: Any) -> BuiltApp:
        calls.append((arguments[1:], options["key"], options["aab"]))
        return BuiltApp(
            Path("demo.apk"), 2_500_000, {"text": ["onnx int8", "onnx fp32"]},
            {"text qnn w8a16": "no NPU"}, ("Read the licence.",), Path("demo.cdx.json"),
        )  # fmt: skip

    monkeypatch.setattr(demo_app, "build_app", build)
    done = mcad("app", "-b", bundle.directory, "-o", "demo.apk")
    assert done.stdout.splitlines() == [
        "demo.apk: 2.5 MB, signed by debug key",
        "  text tower: onnx int8, then onnx fp32",
        "  left out: text qnn w8a16 (no NPU)",
        "  bill of materials: demo.cdx.json",
    ]
    assert "Read the licence." in done.stderr
    mcad("app", "-b", bundle.directory, "-o", "demo.aab", "--aab", *OF_A_PACKAGE)
    keys = tmp_path / "keys"
    keys.touch()
    monkeypatch.setenv("MCAD_KEYSTORE_PASSWORD", "secret")
    own = ("--keystore", keys, "--key-alias", "mine", "--json")
    told = json.loads(mcad("app", "-b", bundle.directory, "-o", "demo.apk", *own).stdout)
    assert (told["package"], told["signed_by"]) == ("demo.apk", str(keys))
    alone = mcad("app", "-b", bundle.directory, "-o", "demo.apk", "--key-alias", "mine")
    assert alone.exit_code == 2 and len(calls) == 3
    assert calls == [
        ((Path("demo.apk"), BuildOptions()), None, False),
        ((Path("demo.aab"), PACKAGED), None, True),
        ((Path("demo.apk"), BuildOptions()), Key(keys, "mine"), False),
    ]


def test_a_library_is_built_as_was_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def build(*arguments: Any, **options: Any) -> BuiltLibrary:
        calls.append((*arguments[1:], options.get("sample")))
        coordinates = arguments[2] if isinstance(arguments[2], str) else None
        made = (Path("a.aar"), 1_250_000, {}, (), Path("a.cdx.json"))
        return BuiltLibrary(*made, options.get("sample"), coordinates)

    monkeypatch.setattr(library_aar, "build_library", build)
    monkeypatch.setattr(library_maven, "build_maven", build)
    done = mcad("library", "-o", "a.aar", "--sample", "sample.apk")
    assert "a.aar: 1.2 MB" in done.stdout
    assert "sample.apk: an app built from it" in done.stdout
    mcad("library", "-b", bundle.directory, "-o", "a.aar", "--own-photos", *OF_A_PACKAGE)
    mcad("library", "--maven", "m")
    litert = ("library", "--maven", "m", "--coordinates", "a:b:1", "--litert")
    assert "  Maven coordinates: a:b:1\n" in mcad(*litert).stdout
    told = json.loads(mcad(*litert, "--json").stdout)
    assert (told["archive"], told["coordinates"]) == ("a.aar", "a:b:1")
    own = BuildOptions(**{**vars(PACKAGED), "own_photos": True})
    assert calls == [
        (Path("a.aar"), BuildOptions(), Path("sample.apk")),
        (Path("a.aar"), own, None),
        (Path("m"), library_maven.COORDINATES, BuildOptions(), None),
        *[(Path("m"), "a:b:1", BuildOptions(litert=True), None)] * 2,
    ]


def test_the_server_has_the_bundles_indexes_and_folders_that_were_named(
    bundle: Bundle,
    photos: Path,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
    socket_enabled: None,
) -> None:
    """Without --index: of the bundles' own indexes those that exist; if none does, all, or for
    --photos that of the first bundle."""
    monkeypatch.setattr(serving, "open_state", calls)
    monkeypatch.chdir(photos.parent)
    copies = [shutil.copytree(bundle.directory, photos.parent / name) for name in ("a", "b")]
    both = [f"--bundle={copy}" for copy in copies]
    indexes = [engine.default_index(copy) for copy in copies]
    others = ("--photos", photos.name, "--index", "i", "--threads", 3, "--runtime", "onnx")
    for options in (both, [*both, "--photos", photos], [both[0], *others, "--language", "de"]):
        mcad("serve", "--port", 0, *options)
    indexes[1].mkdir()
    mcad("serve", "--port", 0, *both, "--photos", photos)
    assert [(opened, folders) for (_, opened, folders), _ in calls] == [
        (indexes, []),
        (indexes[:1], [photos.resolve()]),
        ([Path("i")], [photos.resolve()]),
        (indexes[1:], [photos.resolve()]),
    ]
    assert [made.directory for made in calls[0][0][0]] == copies
    assert [given for _, given in calls[1:3]] == [
        {"language": None, "runtime": None, "threads": 1, "warn": warn},
        {"language": "de", "runtime": "onnx", "threads": 3, "warn": warn},
    ]
    missing = mcad("serve", "--port", 0, *both, "--photos", photos / "none")
    assert "No folder at" in str(missing.exception)
