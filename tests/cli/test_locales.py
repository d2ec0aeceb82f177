"""The command under other locales: the same photos are known by the same names, and found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.index import PhotoIndex
from tests.support.processes import run_python
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


NAMES = ("Müll/a.jpg", "日本/犬 I.PNG", os.fsdecode(b"latin1-\xe9.jpg"))
QUERY = "A BIG KITCHEN, été"
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
# What a file system's names and the terminal are decoded by, ASCII where Python is kept from UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
OTHERS = ("de_DE.ISO-8859-1", "ja_JP.EUC-JP", "tr_TR.UTF-8")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of locales, from their sources."""
    sources = shutil.which("localedef") and Path("/usr/share/i18n/locales/tr_TR").exists()
    if not sources and os.environ.get("CI") != "true":
        pytest.skip("no sources of locales (Debian: apt install locales)")
    folder = tmp_path_factory.mktemp("locales")
    for name in OTHERS:
        language, _, encoding = name.partition(".")
        command = ["localedef", "-i", language, "-f", encoding, str(folder / name)]
        subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.fixture(
    params=["ASCII", "tr_TR.UTF-8", *(pytest.param(x, marks=pytest.mark.slow) for x in OTHERS[:2])]
)
def locale(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "ASCII":
        return ASCII
    folder = request.getfixturevalue("compiled")
    return {"LC_ALL": request.param, "LOCPATH": str(folder), "PYTHONUTF8": "0"}


def command(environment: Mapping[str, str], *arguments: object) -> bytes:
    words = ("-m", "mcad_mobile", *arguments)
    done = run_python(*words, env={"OMP_NUM_THREADS": "1", **environment}, text=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def document(environment: Mapping[str, str], *arguments: object) -> Any:
    return json.loads(command(environment, *arguments, "--json"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, beside it the folder `photos` and its index, made in UTF-8."""
    folder = tmp_path_factory.mktemp("indexed")
    make_tiny_bundle(folder / "bundle")
    for name, photo in zip(NAMES, packaged_photos(), strict=False):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, path)
    assert document(UTF8, "index", folder / "photos", "-b", folder / "bundle")["added"] == 3
    return folder / "bundle"


def test_photos_are_known_by_the_same_bytes(locale: dict[str, str], bundle: Path) -> None:
    photos = bundle.parent / "photos"
    again = document(locale, "index", photos, "-b", bundle)
    assert (again["unchanged"], again["added"], again["moved"], again["removed"]) == (3, 0, 0, 0)
    paths = PhotoIndex.open(bundle.parent / "bundle.index").paths()
    assert paths == sorted((str(photos / name) for name in NAMES), key=os.fsencode)


def test_words_find_the_same_photos_and_print_them(locale: dict[str, str], bundle: Path) -> None:
    text = QUERY if locale is not ASCII else QUERY.replace("é", "e")
    encoding = locale["LC_ALL"].partition(".")[2] or "ascii"
    given = os.fsdecode(text.encode(encoding, "strict"))
    expected, found = (
        document(environment, "search", words, "-b", bundle)["results"]
        for environment, words in ((UTF8, text), (locale, given))
    )
    assert [result["score"] for result in found] == [result["score"] for result in expected]
    lines = command(locale, "search", given, "-b", bundle).decode(encoding, "strict").splitlines()
    assert len([line for line in lines if not line.startswith("(")]) == len(NAMES)
    assert sum("latin1-" in line for line in lines) == 1
