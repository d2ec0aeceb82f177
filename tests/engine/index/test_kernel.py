"""An index without compiled kernels, or with those of another version, says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcad_mobile.cli import doctor
from mcad_mobile.engine import native
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.errors import KernelError
from tests.support.index_embeddings import filled, photos_and_queries


@pytest.fixture(autouse=True)
def loaded_anew() -> Iterator[None]:
    native.load_kernel.cache_clear()
    yield
    native.load_kernel.cache_clear()


def assert_reported(folder: Path, message: str) -> None:
    """The index opens; what needs the kernels raises, and doctor reports the same."""
    with PhotoIndex.open(folder) as index:
        query = photos_and_queries(1, 1)[1][0]
        for use in (lambda: index.search(query), lambda: index.count(RowFilter(after=1))):
            with pytest.raises(KernelError, match=message) as caught:
                use()
            assert "pip install --no-deps -e ." in caught.value.hint
    finding = doctor.examine_kernels()
    assert finding.version is None
    assert finding.how_to_get == caught.value.hint


@pytest.mark.parametrize("content", [None, b"", b"no library"], ids=["missing", "empty", "text"])
def test_a_library_that_does_not_load_is_an_error_at_the_first_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    filled(tmp_path / "index")
    library = tmp_path / "libmcad_search.so"
    if content is not None:
        library.write_bytes(content)
    monkeypatch.setattr(native, "LIBRARY", library)
    assert_reported(tmp_path / "index", "could not be loaded: .*libmcad_search.so")


def test_a_library_of_another_version_is_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "index")
    monkeypatch.setattr(native, "LAYOUT", 99)
    assert_reported(tmp_path / "index", r"libmcad_search.so have layout \d+; .* needs layout 99")


def test_importing_the_index_needs_no_library(tmp_path: Path) -> None:
    program = (
        "from mcad_mobile.engine import native\n"
        "from mcad_mobile.engine.index import PhotoIndex\n"
        "print(native.LIBRARY)\n"
        "try:\n    native.load_kernel()\n"
        "except native.KernelError as error:\n    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {native.LIBRARY_VARIABLE: str(tmp_path / "none.so")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    path, message = done.stdout.splitlines()
    assert path == str(tmp_path / "none.so")
    assert message.startswith("The search kernels could not be loaded: ") and "none.so" in message


def test_doctor_names_the_instructions() -> None:
    finding = doctor.examine_kernels()
    assert finding.version in [f"C, {level}" for level in native.LEVELS]
