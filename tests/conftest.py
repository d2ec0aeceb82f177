"""Shared by all tests: no network, test data, and bundles of the default student, exported once per
session."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket

import mcad_mobile
from mcad_mobile.android import downloads, native_libraries, sbom
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.native.android import COMPILE
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.errors import BuildError
from tests.support.archives import onnxruntime_stand_in, why_no_onnxruntime
from tests.support.exported import Exported
from tests.support.paths import ROOT
from tests.support.pythons import LITERT, WHY
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.unpacked import unpacked_system

BESIDE = ROOT.parent / "shared" / "data" / "flickr8k"
FLICKR8K = Path(os.environ.get("FLICKR8K") or BESIDE)

# A shell's background jobs, and all that they start, ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def keep_to_own_cores() -> None:
    """Give each test process its own cores: two that each run a thread per core would mostly wait
    for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        at_once = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(worker.removeprefix("gw")) % len(cores) :: at_once]
        os.sched_setaffinity(0, own)


keep_to_own_cores()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    return (yield from skipped_without_maven_central())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    return (yield from skipped_without_maven_central())


def skipped_without_maven_central() -> Iterator[None]:
    """Skip a test that needs a file from Maven Central if that is out of reach."""
    try:
        return (yield)
    except BuildError as error:
        if "mvn could not fetch" not in error.message or os.environ.get("CI") == "true":
            raise
        pytest.skip(f"Maven Central is out of reach: {error.message}")


@pytest.fixture(autouse=True)
def no_network():
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()


@pytest.fixture(scope="session")
def onnxruntime_aar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pinned ONNX Runtime for Android. If Maven Central is out of reach, an archive with the
    same Java API and the libraries for Linux replaces it; builds treat both alike."""
    if why_no_onnxruntime() is None:
        yield downloads.fetch(downloads.ONNXRUNTIME_AAR)
        return
    stand_in = onnxruntime_stand_in(tmp_path_factory.mktemp("onnxruntime"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (native_libraries, downloads, sbom):
            patch.setattr(module, "ONNXRUNTIME_AAR", stand_in)
        yield downloads.fetch(stand_in)


@pytest.fixture(scope="session")
def qemu_x86() -> str:
    """The emulator of other x86 processors for this machine's programs."""
    found = shutil.which("qemu-x86_64")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("qemu-user is missing; scripts/setup-system.sh tests installs it")
        pytest.skip("qemu-user is not installed")
    if os.uname().machine != "x86_64":
        pytest.skip("this machine's programs are not for x86-64")
    return found


@pytest.fixture(scope="session")
def recent_qemu() -> None:
    """An emulator recent enough for these tests. Debian 12's 7.2 lacks neoverse-n2, crashes ONNX
    Runtime on other Arm processors, and rounds AVX2's sums differently."""
    found = shutil.which("qemu-aarch64")
    reported = subprocess.check_output([found, "--version"], timeout=60) if found else b""
    version = re.search(rb"version (\d+)\.(\d+)", reported)
    if version is None or tuple(map(int, version.groups())) < (8, 2):
        if os.environ.get("CI") == "true":
            pytest.fail("qemu-user is missing, or older than 8.2")
        pytest.skip("no qemu-user of 8.2 or later")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest test, or one process waits for it at the end."""
    items.sort(key=lambda item: "robolectric/test_app.py" not in item.nodeid)


@pytest.fixture(scope="session")
def arm64() -> Path:
    """An arm64 system with Python and Java."""
    for tool in ("qemu-aarch64", "dpkg-deb"):
        if shutil.which(tool) is None and os.environ.get("CI") != "true":
            pytest.skip(f"no {tool} (Debian: scripts/setup-system.sh tests)")
    return unpacked_system("arm64")


@pytest.fixture(scope="session")
def arm64_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The search kernels, compiled for arm64 with Zig's C compiler."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("ziglang")
    library = tmp_path_factory.mktemp("arm64") / "libmcad_search.so"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17"]
    flags = [*COMPILE.split(), "-shared"]
    sources = sorted((Path(mcad_mobile.__file__).parent / "engine" / "native").glob("*.c"))
    command = [*compiler, *flags, *map(str, sources), "-lm", "-o", str(library)]
    subprocess.run(command, check=True, timeout=600)
    return library


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def flickr8k() -> Path:
    """Flickr8k in the Karpathy layout. If it is absent, tests skip; in CI they fail."""
    if not FLICKR8K.is_dir():
        how = f"no photos at {FLICKR8K}: give them by FLICKR8K=DIR (docs/development.md)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{how}; under CI=true nothing is skipped for want of them")
        pytest.skip(how)
    return FLICKR8K


@pytest.fixture(scope="session")
def packaged_pairs(tmp_path_factory) -> Path:
    """A captioned dataset in the Karpathy layout, made of photos that packages ship: three in four
    are `train`, the rest `val`. Shared, so tests only read it."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "images").mkdir()
    records = []
    for number, path in enumerate(packaged_photos()):
        shutil.copy(path, folder / "images")
        sentences = [{"raw": f"a photo of {path.stem.replace('_', ' ')}"}, {"raw": path.stem}]
        split = "val" if number % 4 == 3 else "train"
        records.append({"filename": path.name, "split": split, "sentences": sentences})
    (folder / "dataset_packaged.json").write_text(json.dumps({"images": records}))
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    """A folder that all processes of a run share: pytest-xdist gives each a folder in it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "bundles"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def snapdragon(bundles) -> Exported:
    return Exported("snapdragon", bundles)


@pytest.fixture(scope="session")
def dimensity(bundles) -> Exported:
    if not LITERT:
        pytest.skip(WHY)
    return Exported("dimensity", bundles)


@pytest.fixture(scope="session")
def cpu(bundles) -> Exported:
    return Exported("cpu", bundles)


@pytest.fixture
def exported(request) -> Exported:
    """The bundle that a test is parametrized with, by its fixture's name."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def engine(tmp_path) -> SearchEngine:
    return SearchEngine(make_tiny_bundle(tmp_path / "bundle"), threads=2)


@pytest.fixture
def index(tmp_path, engine) -> PhotoIndex:
    return create_index(engine.bundle, tmp_path / "index")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "beach").mkdir(parents=True)
    for number, path in enumerate(packaged_photos()[:6]):
        shutil.copy(path, folder / ("beach" if number % 2 else "") / path.name)
    return folder


@pytest.fixture
def embedded(engine, monkeypatch) -> list[Path]:
    """The photos that a run actually decoded, in order."""
    seen: list[Path] = []
    decode = Preprocess.decoded

    def note(preprocess, photo, name):
        pixels = decode(preprocess, photo, name)
        seen.append(name)
        return pixels

    monkeypatch.setattr(Preprocess, "decoded", note)
    return seen
