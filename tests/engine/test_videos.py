"""Videos of a folder: moments that stand for them, found as photos are, and nothing followed."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import time
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_socket import enable_socket

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.moments import (
    clock,
    file_and_moment,
    first_row,
    is_moment,
    moment_path,
)
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.engine.photos.thumbnails import file_jpeg
from mcad_mobile.engine.photos.video import (
    MOST_MOMENTS,
    choose_moments,
    key_frames,
    read_stamp,
)
from mcad_mobile.engine.query import Part
from mcad_mobile.engine.sync import recheck, sync_folder
from mcad_mobile.errors import PhotoError
from tests.support.index_embeddings import rows_in
from tests.support.videos import make_video

RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 180, 20), (20, 20, 220), (235, 235, 235)


def rows_of(index, video):
    return [row for row in rows_in(index) if row.startswith(f"{video}#t=")]


def nearest(engine, index, photo, k=10, **options):
    return engine.search_parts(index, [Part(photo)], k, **options).results


def colour(path, rgb):
    Image.new("RGB", (64, 48), rgb).save(path)
    return path


@pytest.fixture
def clip(folder) -> Path:
    return make_video(folder / "clip.mp4", [RED, GREEN, BLUE])


@pytest.mark.parametrize(
    "suffix, codec", [("mp4", "libx264"), ("mkv", "mpeg4"), ("webm", "libvpx")]
)
def test_a_search_returns_the_best_moment_of_a_video_once(
    engine, index, folder, tmp_path, suffix, codec
):
    clip = make_video(folder / f"clip.{suffix}", [RED, GREEN, BLUE], codec=codec)
    result = sync_folder(engine, index, folder)
    assert (result.added, result.skipped) == (7, [])
    for second, rgb in enumerate([RED, GREEN, BLUE]):
        results = nearest(engine, index, colour(tmp_path / "query.png", rgb))
        assert [r.path for r in results].count(str(clip)) == 1
        assert results[0].path == str(clip)
        assert 2000 * second <= results[0].at_ms < 2000 * second + 2000
        assert results[0].at_ms == results[0].moments[0]
    every = nearest(engine, index, tmp_path / "query.png", moments=True)
    assert sorted(r.at_ms for r in every if r.path == str(clip)) == sorted(results[0].moments)


def test_moments_do_not_crowd_photos_out(engine, index, folder, tmp_path):
    for number in range(6):
        make_video(folder / f"{number}.mp4", [RED, (20 * number, 180, 20), BLUE, WHITE])
    sync_folder(engine, index, folder)
    assert index.photos > 12
    found = nearest(engine, index, colour(tmp_path / "query.png", RED), k=12)
    assert len({result.path for result in found}) == 12


def test_a_video_is_unchanged_moved_changed_and_gone_as_a_whole(engine, index, folder, clip):
    sync_folder(engine, index, folder)
    before = rows_of(index, clip)
    assert len(before) == 3
    assert before[0] == f"{clip}#t=0.000"
    again = sync_folder(engine, index, folder)
    assert (again.unchanged, again.added, again.removed) == (7, 0, 0)

    other = clip.rename(folder / "other.mp4")
    result = sync_folder(engine, index, folder)
    assert (result.moved, result.added, result.removed) == (1, 0, 0)
    assert rows_of(index, other) == [row.replace("clip", "other") for row in before]
    assert rows_of(index, clip) == []

    make_video(other, [WHITE])
    result = sync_folder(engine, index, folder)
    assert (result.changed, result.added) == (1, 0)
    assert rows_of(index, other) == [f"{other}#t=0.000"]

    other.unlink()
    assert sync_folder(engine, index, folder).removed == 1
    assert rows_of(index, other) == []


def test_a_folder_with_the_name_of_a_moment_is_not_a_part_of_the_video(engine, index, folder, clip):
    photos = folder / "clip.mp4#t=0.000"
    photos.mkdir()
    colour(photos / "photo.png", RED)
    sync_folder(engine, index, folder)
    clip.unlink()
    sync_folder(engine, index, folder)
    assert str(photos / "photo.png") in index.paths()


def test_an_index_can_be_checked_against_its_files(engine, index, folder, clip):
    sync_folder(engine, index, folder)
    recheck(engine, index, photos=len(index.paths()))


def test_kinds_are_filtered(engine, index, folder, clip, tmp_path):
    sync_folder(engine, index, folder)
    query = colour(tmp_path / "query.png", RED)
    videos = nearest(engine, index, query, rows=PhotoIndex.filter(kind="video"))
    assert [result.path for result in videos] == [str(clip)]
    photos = nearest(engine, index, query, rows=PhotoIndex.filter(kind="photo"))
    assert len(photos) == 6
    assert all(result.at_ms is None for result in photos)
    assert index.count(PhotoIndex.filter(kind="video")) == 3


def test_duplicates_are_files_and_not_moments(engine, index, folder, clip):
    shutil.copy(clip, folder / "copy.mp4")
    sync_folder(engine, index, folder)
    groups = [group for group in index.near_duplicates(0.99) if str(clip) in group]
    assert groups == [[str(clip), str(folder / "copy.mp4")]]


def test_a_video_is_dated_by_its_container(engine, index, folder):
    dated = make_video(folder / "dated.mp4", [RED], taken="2020-05-01T12:30:00Z")
    undated = make_video(folder / "undated.mkv", [RED])
    os.utime(undated, (600, 600))
    sync_folder(engine, index, folder)
    assert index.dates()[str(dated)] == 26472270
    assert index.dates()[str(undated)] == 10
    assert index.paths() == sorted(map(str, [*find_photos(folder), dated, undated]))


def test_files_are_listed_in_the_order_of_their_paths(engine, index, folder):
    make_video(folder / "film.mp4", [RED])
    colour(folder / "film.mp4 (still).png", RED)  # a space comes before the # of a row
    sync_folder(engine, index, folder)
    assert index.paths() == sorted(index.paths(), key=os.fsencode)


def test_frames_are_upright(tmp_path):
    scene = np.zeros((48, 64, 3), np.uint8)
    scene[:, :32] = RED
    clip = make_video(tmp_path / "clip.mp4", [scene])
    data = clip.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    clip.write_bytes(data[:at] + turned + data[at + len(turned) :])  # a quarter clockwise
    (frame, *_) = key_frames(str(clip), 24)
    assert frame.image.size == (48, 64)
    assert frame.image.getpixel((24, 5))[0] > 150 > frame.image.getpixel((24, 60))[0]


def test_wide_pixels_become_square(tmp_path):
    clip = make_video(tmp_path / "clip.mp4", [RED], sample_aspect_ratio=2)
    (frame, *_) = key_frames(str(clip), 24)
    assert frame.image.size == (128, 48)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_shown_in_the_range_of_a_screen(tmp_path, transfer):
    grey = {16: (148,) * 3, 18: (191,) * 3}[transfer]  # diffuse white, 203 candelas
    clip = make_video(tmp_path / "clip.mp4", [grey], color_trc=transfer, colorspace=9)
    (frame, *_) = key_frames(str(clip), 16)
    level = frame.image.getpixel((10, 10))
    assert all(180 <= value <= 200 for value in level), level


def test_few_frames_stand_for_a_long_video():
    scenes = np.random.default_rng(0).normal(size=(96, 64)).astype(np.float32)
    scenes /= np.linalg.norm(scenes, axis=1, keepdims=True)
    scenes[40] = scenes[39]
    times = [10_000 * number for number in range(96)]
    chosen = choose_moments(times, scenes)
    assert chosen[0] == 0
    assert 40 not in choose_moments(times[:41], scenes[:41])
    assert len(chosen) == MOST_MOMENTS
    assert max(np.diff(chosen)) <= 6
    turns = np.radians(np.cumsum([0, 18, 17, 2, 18, *[0] * 40]))  # cosines of 0.951, 0.956, 0.946
    turned = np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32)
    assert choose_moments(list(range(45)), turned) == [0, 2, 4]
    steps = np.radians(np.cumsum([0, *[30, 50, 40] * 32])) % (2 * np.pi)  # three in each span
    scenes = np.stack([np.cos(steps), np.sin(steps)], 1).astype(np.float32)
    assert choose_moments(list(range(97)), scenes) == [0, *range(5, 96, 3), 96][:MOST_MOMENTS]


def test_a_moment_is_written_and_read_in_one_way():
    for milliseconds, seconds, shown in [
        (0, "0.000", "0:00"),
        (67_009, "67.009", "1:07"),
        (3_599_999, "3599.999", "59:59"),
        (3_607_050, "3607.050", "1:00:07"),
    ]:
        row = moment_path("/v.MP4", milliseconds)
        assert row == f"/v.MP4#t={seconds}"
        assert file_and_moment(row) == ("/v.MP4", milliseconds)
        assert is_moment(row.encode())
        assert clock(milliseconds) == shown
    for row in ("/v.mp4", "/v.mp4#t=1.00", "/v.mp4#t=1", "/v.png#t=1.000", "/v.mp4#t=1.000/a.jpg"):
        assert file_and_moment(row) == (row, None)
        assert not is_moment(row.encode())
    assert (first_row("/v.mov"), first_row("/a.jpg")) == ("/v.mov#t=0.000", "/a.jpg")


def test_a_video_has_changed_if_its_start_or_its_end_has(tmp_path):
    data = bytearray((3 << 20) + 10)
    stamps = []
    for at in (None, 0, (1 << 20) - 1, 1 << 20, (2 << 20) + 9, (2 << 20) + 10, len(data) - 1):
        changed = data[:]
        if at is not None:
            changed[at] = 1
        file = tmp_path / "a.mp4"
        file.write_bytes(changed)
        os.utime(file, (9, 9))
        found, stamp = read_stamp(str(file))
        assert found.st_size == len(data)
        stamps.append(stamp)
    assert [stamp != stamps[0] for stamp in stamps] == [False, True, True, False, False, True, True]
    assert len({state for state, _ in stamps}) == 1
    file.write_bytes(b"short")
    assert read_stamp(str(file))[1][1] == zlib.crc32(b"short")


def motion_photo(path, still, scenes, behind=b"SEFHtrailer"):
    """As phones write it; `behind` is what Samsung's have after the video."""
    colour(path, still)
    clip = make_video(path.with_suffix(".mp4"), scenes)
    data = clip.read_bytes()
    if path.suffix == ".heic":  # a box of the file's own
        behind = b""
        data = (len(data) + 8).to_bytes(4, "big") + b"mpvd" + data
    path.write_bytes(path.read_bytes() + data + behind)
    clip.unlink()
    return path


@pytest.mark.parametrize("name", ["live.jpg", "live.heic"])
def test_moments_of_a_motion_photo_that_differ_are_found(engine, index, folder, tmp_path, name):
    if name == "live.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    live = motion_photo(folder / name, RED, [RED, BLUE])
    result = sync_folder(engine, index, folder)
    assert (result.added, result.skipped) == (7, [])
    assert rows_of(index, live) == [f"{live}#t=2.000"]
    best = {}
    for name, rgb in (("red", RED), ("blue", BLUE)):
        results = nearest(engine, index, colour(tmp_path / f"{name}.png", rgb))
        assert [r.path for r in results].count(str(live)) == 1
        best[name] = results[0]
    assert (best["red"].path, best["red"].at_ms) == (str(live), None)
    assert (best["blue"].path, best["blue"].at_ms) == (str(live), 2000)
    shown = Image.open(io.BytesIO(file_jpeg(str(live), 2000, shorter=48)))
    assert shown.getpixel((10, 10))[2] > 150 > shown.getpixel((10, 10))[0]
    videos = nearest(engine, index, tmp_path / "blue.png", rows=PhotoIndex.filter(kind="video"))
    assert videos == []
    assert len(index.paths()) == 7


def test_a_motion_photo_is_moved_changed_and_gone_as_a_whole(engine, index, folder):
    live = motion_photo(folder / "live.jpg", RED, [RED, BLUE])
    sync_folder(engine, index, folder)
    assert sync_folder(engine, index, folder).unchanged == 7
    other = live.rename(folder / "other.jpg")
    assert sync_folder(engine, index, folder).moved == 1
    assert (rows_of(index, live), rows_of(index, other)) == ([], [f"{other}#t=2.000"])
    colour(other, GREEN)
    assert sync_folder(engine, index, folder).changed == 1
    assert rows_of(index, other) == []
    motion_photo(other, RED, [RED, BLUE])
    sync_folder(engine, index, folder)
    other.unlink()
    assert sync_folder(engine, index, folder).removed == 1
    assert rows_of(index, other) == []
    assert index.photos == 6


def test_a_motion_photo_that_shows_nothing_else_is_one_row(engine, index, folder):
    motion_photo(folder / "still.jpg", RED, [RED])
    sync_folder(engine, index, folder)
    assert index.photos == 7


@pytest.mark.parametrize("keep", [8, 40, 0.5])
def test_a_photo_whose_video_is_damaged_is_a_photo(engine, index, folder, keep):
    live = motion_photo(folder / "live.jpg", RED, [BLUE], behind=b"")
    data = live.read_bytes()
    at = data.index(b"ftyp") - 4
    live.write_bytes(data[: at + (keep if keep >= 1 else int(keep * (len(data) - at)))])
    result = sync_folder(engine, index, folder)
    assert (result.added, result.skipped, index.photos) == (7, [], 7)


def test_calibration_takes_photos_alone(folder, clip):
    assert clip not in find_photos(folder)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_truncated_videos_are_skipped_or_give_what_is_left(engine, index, folder, clip, keep):
    data = clip.read_bytes()
    clip.write_bytes(data[: int(keep * len(data))])
    result = sync_folder(engine, index, folder)
    assert result.added == 6 + bool(rows_of(index, clip))
    assert bool(result.skipped) == (not rows_of(index, clip))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(PhotoError):
        read_stamp(str(tmp_path / "pipe.mp4"))


def test_sound_alone_is_no_video(engine, index, folder):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 48000
        out.mux(stream.encode(silence))
        out.mux(stream.encode())
    (skipped,) = sync_folder(engine, index, folder).skipped
    assert "it holds no video" in skipped.why


def test_frames_that_come_at_uneven_times_keep_their_times(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    times = {100: RED, 1700: GREEN, 1900: WHITE, 9300: RED, 9400: BLUE, 12_500: GREEN}
    with av.open(str(tmp_path / "uneven.mkv"), "w") as out:
        stream = out.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 1
        for milliseconds, rgb in times.items():
            pixels = np.broadcast_to(np.uint8(rgb), (48, 64, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    found = {frame.milliseconds: frame.image for frame in key_frames(str(out.name), 24)}
    assert found.keys() == {0, 1800, 9300}  # the last before each whole second
    for at, image in found.items():
        expected = np.array(times[at + min(times)])
        assert np.abs(np.array(image.getpixel((10, 10))) - expected).max() < 40


def test_a_decoder_that_hangs_is_ended(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")  # which nobody writes
    began = time.monotonic()
    with pytest.raises(PhotoError, match="ended with -9"):
        list(key_frames(str(tmp_path / "pipe.mp4"), 24, most_s=1.0))
    assert time.monotonic() - began < 30


def test_a_million_key_frames_are_not_all_decoded(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    first = make_video(tmp_path / "first.mp4", [RED], codec="mpeg4", size=(16, 16), seconds=0.1)
    with av.open(str(first)) as source:
        data = next(bytes(packet) for packet in source.demux() if packet.size)
    with av.open(str(tmp_path / "many.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        out.start_encoding()
        for number in range(1_000_000):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = number
            out.mux(packet)
    frames = list(key_frames(str(tmp_path / "many.mp4"), 24, most_s=30))
    assert len(frames) == 96
    assert max(frame.milliseconds for frame in frames) > 900_000


def no_frames(path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()


def too_wide(path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16_384, 2_560, "rgb24"
        out.mux(stream.encode(av.VideoFrame(16_384, 2_560, "rgb24")))
        out.mux(stream.encode())


def unknown_codec(path):
    make_video(path, [RED])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))


@pytest.mark.parametrize(
    ("make", "why"),
    [(no_frames, "holds no video"), (too_wide, "16384 x 2560"), (unknown_codec, "codec")],
)
def test_what_cannot_be_decoded_is_skipped_with_the_reason(engine, index, folder, make, why):
    make(folder / "bad.mp4")
    result = sync_folder(engine, index, folder)
    (skipped,) = result.skipped
    assert (skipped.path, result.added) == (str(folder / "bad.mp4"), 6)
    assert why in skipped.why


def test_a_video_behind_subtitles_is_found(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        out.add_stream("ass")
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        pixels = np.full((48, 64, 3), 200, np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    with av.open(str(tmp_path / "film.mkv")) as written:
        assert written.streams[0].type == "subtitle"
    (frame,) = key_frames(str(tmp_path / "film.mkv"), 24)
    assert frame.image.getpixel((10, 10))[0] > 150


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {clip.name}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        "<Representation><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_a_list_of_other_files_or_addresses_is_not_followed(tmp_path, text):
    clip = make_video(tmp_path / "clip.mp4", [RED])
    enable_socket()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        for suffix in (".mp4", ".mkv"):
            file = tmp_path / f"list{suffix}"
            file.write_text(text.format(clip=clip, url=url))
            with pytest.raises(PhotoError):
                list(key_frames(str(file), 24))
        with pytest.raises(BlockingIOError):
            server.accept()
