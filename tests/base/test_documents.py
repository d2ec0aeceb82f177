"""Values of documents at their bounds, and what is told of those beyond them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.base import documents
from mcad_mobile.base.documents import Record, convert, decode, folder_kind, read_file
from mcad_mobile.errors import BundleError, update_hint


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (documents.Count, (0, 2**31 - 1), (-1, 2**31, 1.5, True, "1", None)),
        (documents.Size, (1, 2**31 - 1), (0, 2**31)),
        (documents.Bytes, (0, 2**53), (-1, 2**53 + 1)),
        (documents.Positive, (1e-9, 1), (0.0, -1.0, "1")),
        (documents.NotNegative, (0.0, 2), (-1e-9,)),
        (documents.Word, ("a", " "), ("", 1)),
        (documents.Sha256, ("0f" * 32,), ("0" * 63, "0" * 65, "F" * 64, "0" * 64 + "\n")),
        (
            documents.FileName,
            ("a", "_a.B-9", "a" * 100),
            ("", ".a", "-a", "a/b", "..", "a" * 101, "a\n", "\u00e4"),
        ),
    ],
)
def test_values_are_taken_up_to_their_bounds(
    kind: Any, right: tuple[object, ...], wrong: tuple[object, ...]
) -> None:
    for value in right:
        assert convert(value, kind, "it", BundleError, "Do.") == value
    for value in wrong:
        with pytest.raises(BundleError, match=r"^it .*\n  Do\.$"):
            convert(value, kind, "it", BundleError, "Do.")


class Document(Record, frozen=True):
    schema: str
    size: documents.Size


@pytest.mark.parametrize(
    ("raw", "message", "hint"),
    [
        (
            '{"schema": "x/2", "size": 0}',
            "it is invalid: Expected `int` >= 1 - at `$.size`.",
            "Do.",
        ),
        ('{"schema": "x/1", "size": 1}', "has schema 'x/1'; this version reads 'x/2'", "Older."),
        ('{"schema": "x/3", "size": 1}', "has schema 'x/3', of a newer mcad-m", update_hint()),
        ('{"schema": "y/3", "size": 1}', "has schema 'y/3'; this version reads", "Older."),
        ('{"schema": "%s"}' % ("a" * 99), f"has schema '{'a' * 59}; this version", "Older."),
        ('{"size": 1}', "it names no schema; this version reads 'x/2'", "Older."),
        ("{", "it cannot be read as JSON", "Do."),
    ],
)
def test_a_document_that_is_wrong_is_told_with_the_value_and_what_to_do(
    raw: str, message: str, hint: str
) -> None:
    with pytest.raises(BundleError) as caught:
        decode(raw.encode(), Document, "it", BundleError, "Do.", schema="x/2", schema_hint="Older.")
    assert message in caught.value.message and caught.value.hint == hint


def test_a_file_is_read_or_the_reason_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    assert read_file(tmp_path / "a.json", BundleError, "Do.") == b"{}"
    with pytest.raises(BundleError, match=r"b\.json cannot be read: .*No such file.*\n  Do\."):
        read_file(tmp_path / "b.json", BundleError, "Do.")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle.json", "a bundle"),
        ("manifest.json", "a photo index"),
        ("model.safetensors", "a student"),
        ("other.json", ""),
    ],
)
def test_a_folder_is_known_by_its_file(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert folder_kind(tmp_path) == kind
    assert folder_kind(tmp_path / name) == "a file"
    assert folder_kind(tmp_path / "nothing") == folder_kind(tmp_path / ("x" * 300)) == ""


def test_shards_are_not_taken_for_an_index(tmp_path: Path) -> None:
    """Both have a manifest.json."""
    (tmp_path / "manifest.json").write_text('{"schema": "mcad-embed/1"}')
    assert folder_kind(tmp_path) == "a folder of shards"


def test_a_manifest_of_a_terabyte_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    assert folder_kind(tmp_path) == "a photo index"
