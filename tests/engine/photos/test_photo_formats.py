"""Which files are indexed, what is left out and told, and how often a file is read."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, features

from mcad_mobile.cli.index import print_sync
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.data.photo_formats import FORMATS, PHOTO_SUFFIXES
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.photos import decode
from mcad_mobile.engine.photos import folder as folders
from mcad_mobile.engine.photos.decode import open_bytes, open_photo
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import PhotoError

# What Pillow opens, and why it is no photo here.
NO_PHOTOS = {
    "no pixels": {"BUFR", "GRIB", "HDF5", "IPTC", "MPEG"},
    "by another program, or on Windows alone": {"EPS", "WMF"},
    "measurements": {"FITS"},
    "to be removed": {"IM"},
    "holds pictures of any size": {"ICNS", "ICO", "CUR", "BLP"},
    "no name of their own": {"IMT", "MCIDAS", "SPIDER", "XVTHUMB"},
    "out of use": {"DCX", "FLI", "FTEX", "GBR", "MSP", "PCD", "PIXAR", "SUN", "XBM", "XPM"},
}
# Those that Pillow writes, in the mode of its file; the others are for whoever has one.
WRITTEN = {
    "JPEG": "RGB",
    "MPO": "RGB",
    "PNG": "RGB",
    "WEBP": "RGB",
    "HEIF": "RGB",
    "AVIF": "RGB",
    "GIF": "P",
    "TIFF": "RGB",
    "BMP": "RGB",
    "DIB": "RGB",
    "JPEG2000": "RGB",
    "PPM": "RGB",
    "TGA": "RGB",
    "QOI": "RGB",
    "PCX": "RGB",
    "SGI": "RGB",
    "DDS": "RGB",
}


def written(path: Path, kind: str) -> None:
    with Image.open(packaged_photos()[2]) as photo:
        photo.convert("RGB").resize((64, 64)).convert(WRITTEN[kind]).save(path, kind)


def cosine(engine: SearchEngine, first: Path, second: Path) -> float:
    return float(engine.embed_photo(first) @ engine.embed_photo(second))


def test_what_pillow_turns_into_pixels_is_indexed_and_the_rest_has_a_reason():
    decode.register_heic()
    Image.init()
    reasons = set().union(*NO_PHOTOS.values())
    apart = {"AVIF", "HEIF", "MPO"}  # by other libraries; Pillow opens an MPO as JPEG
    assert set(Image.OPEN) - reasons - apart == set(FORMATS) - apart
    kinds = set(Image.OPEN) - reasons
    assert {end for end, kind in Image.registered_extensions().items() if kind in kinds} <= (
        PHOTO_SUFFIXES
    )


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "AVIF"])
def test_a_photo_of_each_kind_is_indexed_under_each_of_its_names(kind, engine, index, tmp_path):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, suffix in enumerate(FORMATS[kind]):
        written(folder / f"{number}{suffix.upper() if number else suffix}", kind)
    result = sync_folder(engine, index, folder)
    assert (result.added, result.skipped, result.left_out) == (len(FORMATS[kind]), [], {})
    with Image.open(packaged_photos()[2]) as photo:
        same = photo.convert("RGB").resize((64, 64)).convert(WRITTEN[kind])
        same.convert("RGB").save(tmp_path / "same.png")
    assert cosine(engine, folder / f"0{FORMATS[kind][0]}", tmp_path / "same.png") > 0.97


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_what_is_not_heic_needs_no_extra(engine, index, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photos").mkdir()
    written(tmp_path / "photos/a.avif", "AVIF")
    written(tmp_path / "photos/a.webp", "WEBP")
    assert sync_folder(engine, index, tmp_path / "photos").added == 2
    moving = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    moving[0].save(tmp_path / "photos/b.avif", save_all=True, append_images=moving[1:])
    assert (tmp_path / "photos/b.avif").read_bytes()[8:12] == b"avis"
    assert sync_folder(engine, index, tmp_path / "photos").added == 1


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_of_several_pictures_in_a_file_the_first_is_taken(suffix, tmp_path):
    pictures = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    pictures[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pictures[1:])
    found = np.asarray(open_photo(tmp_path / f"a{suffix}"))[10, 10]
    assert found[0] > 200 and found[2] < 60


def test_a_file_that_another_program_would_have_to_read_is_refused(tmp_path, monkeypatch):
    """Ghostscript, whose program is found in PATH first and would write a file."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.eps")
    shutil.move(tmp_path / "a.eps", tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="not an image"):
        open_photo(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="not an image"):
        open_bytes((tmp_path / "a.jpg").read_bytes(), "a.jpg")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def mixed(tmp_path):
    """Two photos, and what else a home folder holds."""
    folder = tmp_path / "photos"
    (folder / ".thumbnails" / "deeper").mkdir(parents=True)
    (folder / "sub").mkdir()
    for name in ("a.png", "sub/b.gif", ".hidden.png", ".thumbnails/deeper/c.png"):
        Image.new("RGB", (40, 30), "red").save(folder / name)
    for name in ("film.mp3", "sub/Clip.MP3", "raw.DNG", "Makefile", "x.sqlite-journal2000"):
        (folder / name).write_bytes(b"x")
    (folder / "to a photo.png").symlink_to(folder / "a.png")
    (folder / "to a folder").symlink_to(folder / "sub")
    (folder / "around").symlink_to(folder)
    return folder


def test_what_is_left_out_is_counted_by_kind_and_named(engine, index, mixed):
    result = sync_folder(engine, index, mixed)
    names = ("a.png", "sub/b.gif", "to a photo.png")
    assert index.paths() == sorted(str(mixed / name) for name in names)
    reported = {kind: sorted(left.paths) for kind, left in result.left_out.items()}
    assert reported == {
        ".mp3": [str(mixed / "film.mp3"), str(mixed / "sub/Clip.MP3")],
        ".dng": [str(mixed / "raw.DNG")],
        "no suffix": [str(mixed / "Makefile")],
        "other suffixes": [str(mixed / "x.sqlite-journal2000")],
        "hidden folder": [str(mixed / ".thumbnails")],
        "hidden file": [str(mixed / ".hidden.png")],
        "link to a folder": [str(mixed / "around"), str(mixed / "to a folder")],
    }
    assert all(left.count == len(left.paths) for left in result.left_out.values())
    assert result.skipped == []
    assert find_photos(mixed) == sorted(mixed / name for name in names)


def test_index_prints_how_much_of_each_kind_it_left_out(engine, index, mixed, capsys, tmp_path):
    result = sync_folder(engine, index, mixed)
    print_sync(tmp_path, index, result, "onnx", 1.0, json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  left out 2 (")
    assert any(line == f"  left out 1 (.dng): {mixed / 'raw.DNG'}" for line in lines)
    assert len(lines) == 8


def test_fifty_kinds_are_told_apart_and_the_others_together(tmp_path):
    for number in range(60):
        (tmp_path / f"a.x{number}").write_bytes(b"")
    left_out: folders.Leftovers = {}
    assert list(folders.walk(tmp_path, [], left_out)) == []
    assert len(left_out) == 51
    assert left_out["other suffixes"].count == 10


def test_of_a_kind_a_thousand_files_are_named_and_all_counted(tmp_path):
    for number in range(1001):
        (tmp_path / f"{number}.txt").touch()
    left_out: folders.Leftovers = {}
    assert list(folders.walk(tmp_path, [], left_out)) == []
    assert (left_out[".txt"].count, len(left_out[".txt"].paths)) == (1001, 1000)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what was read is told by Linux")
def test_each_file_is_read_once(engine, index, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, path in enumerate(packaged_photos()[:4]):
        padding = bytes([number]) * (3 << 20)  # what follows a picture's end is a part of its file
        (folder / path.name).write_bytes(path.read_bytes() + padding)
    _ = engine.folder_rung
    total = sum(path.stat().st_size for path in folder.iterdir())
    before = bytes_read()
    assert sync_folder(engine, index, folder).added == 4
    assert total <= bytes_read() - before < 1.1 * total


def bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def test_photos_are_embedded_beside_each_other(engine, index, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in packaged_photos()[:4]:
        shutil.copy(path, tmp_path / "photos")
    both = threading.Barrier(2, timeout=60)
    tower = engine.folder_rung.tower

    def meeting(inputs):
        both.wait()
        return tower(inputs)

    embedder = SimpleNamespace(
        preprocess=engine.preprocess,
        threads=2,
        folder_rung=SimpleNamespace(tower=meeting),
        words_of=engine.words_of,
    )
    assert sync_folder(embedder, index, tmp_path / "photos").added == 4


def test_the_tower_for_folders_gives_the_same_embeddings(engine, index, tmp_path):
    (tmp_path / "photos").mkdir()
    photo = Path(shutil.copy(packaged_photos()[0], tmp_path / "photos"))
    sync_folder(engine, index, tmp_path / "photos")
    assert index.search(engine.embed_photo(photo), k=1).scores[0] > 0.999
    assert os.fspath(photo) in index.paths()
