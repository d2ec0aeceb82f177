"""What a photo may cost: the worst files are refused, or decoded in bounded memory and time."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos import decode
from mcad_mobile.engine.photos.dates import minutes_taken
from mcad_mobile.engine.photos.decode import MOST_ASPECT, open_bytes, open_photo, read_photo
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import McadError, PhotoError
from tests.support.processes import run_python

HALF = (0.5, 0.5, 0.5)

# Decodes a photo and says what became of it, and what that cost beyond an interpreter's own.
COST = """
import json, resource, sys, time
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.photos import dates, decode
from mcad_mobile.errors import PhotoError
from pathlib import Path
import PIL.Image
try:
    decode.register_heic()
except Exception:
    pass
half = (0.5, 0.5, 0.5)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    file = decode.read_photo(sys.argv[1])
    dates.minutes_taken(file.data, file.stat)
    Preprocess(256, sys.argv[2], "bicubic", half, half).decoded(file.data, file.path)
    found = ""
except PhotoError as error:
    found = str(error)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps([found, grown, time.process_time() - started]))
"""


def cost(file: Path, resize: str = "squash") -> tuple[str, float, float]:
    """The reason for which a photo is refused ("" if it is not), MiB and seconds."""
    done = run_python("-W", "ignore", "-c", COST, file, resize, check=True)
    why, mib, seconds = json.loads(done.stdout)
    assert mib < 1024 and seconds < 20, f"{file.name}: {mib:.0f} MiB, {seconds:.1f} s, {why}"
    return why, mib, seconds


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, middle: bytes = b"") -> bytes:
    """A grey PNG of one value, in little memory."""
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(size: tuple[int, int] = (8, 8), **options: object) -> bytes:
    return saved(Image.new("RGB", size, "teal"), "JPEG", **options)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    whole = jpeg((640, 480), progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * count + whole[-2:]


@pytest.mark.parametrize(("width", "height"), [(10, 80_000), (2, 1_000_000), (1, 60_000)])
@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_narrow_photo_is_refused_by_its_head(
    width: int, height: int, resize: str, turned: bool
) -> None:
    size = (height, width) if turned else (width, height)
    how = Preprocess(256, resize, "bicubic", HALF, HALF)
    with pytest.raises(PhotoError, match=rf"{size[0]} x {size[1]} pixels: a side is more than 100"):
        how.decoded(png(*size), "narrow.png")


@pytest.mark.parametrize("resize", ["squash", "shortest", "longest"])
def test_a_photo_as_narrow_as_may_be_is_decoded(resize: str) -> None:
    how = Preprocess(32, resize, "bicubic", HALF, HALF)
    assert how.decoded(png(20, 20 * MOST_ASPECT), "a.png").shape == (3, 32, 32)
    with pytest.raises(PhotoError, match="times the other"):
        how.decoded(png(20, 20 * MOST_ASPECT + 1), "a.png")


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(jpeg())
        file.truncate(decode.MOST_BYTES + 1)
    with pytest.raises(PhotoError, match=r"huge\.jpg has 400 MB; the limit is 400 MB"):
        read_photo(str(path))
    with pytest.raises(PhotoError, match="the limit is 25 MB"):
        open_bytes(b"P6 8 8 255 " + bytes(25_000_000), "huge.ppm")
    with pytest.raises(PhotoError, match="the limit is 50 MB"):
        open_bytes(saved(Image.new("RGB", (8, 8)), "GIF") + bytes(50_000_000), "huge.gif")


def with_side(kind: str, side: int) -> bytes:
    """A photo whose head declares a square of another size than the 64 pixels that it has."""
    whole = saved(Image.new("RGB", (64, 64), "teal"), kind, lossless=kind == "WEBP")
    if kind == "WEBP":  # two times 14 bits behind the signature of VP8L
        at = whole.index(b"\x2f", whole.index(b"VP8L") + 8) + 1
        (packed,) = struct.unpack_from("<I", whole, at)
        packed = packed >> 28 << 28 | (side - 1) << 14 | (side - 1)
        return whole[:at] + struct.pack("<I", packed) + whole[at + 4 :]
    before, after = (struct.pack(">II", size, size) for size in (64, side))
    assert before in whole
    return whole.replace(before, after)


@pytest.mark.parametrize(
    ("kind", "side", "million"), [("WEBP", 6929, 48), ("AVIF", 7142, 51), ("JPEG2000", 4899, 24)]
)
def test_each_library_decodes_as_many_pixels_as_it_has_memory_for(
    kind: str, side: int, million: int
) -> None:
    with pytest.raises(PhotoError, match=f"{side} pixels; the limit of its format is {million} m"):
        open_bytes(with_side(kind, side), "a")


def test_formats_of_barely_compressed_photos_may_have_more_bytes(monkeypatch) -> None:
    monkeypatch.setattr(decode, "_MOST_OTHER_BYTES", 10_000)
    small = Image.new("RGB", (8, 8), "teal")
    for kind in ("JPEG", "PNG", "TIFF", "BMP"):
        assert open_bytes(saved(small, kind) + bytes(10_000), kind).size == (8, 8)
    with pytest.raises(PhotoError, match=r"MM (is not an image|cannot be decoded)"):
        open_bytes(b"MM\0*" + bytes(10_000), "MM")  # a TIFF of the other order of bytes
    with pytest.raises(PhotoError, match="the limit is 0 MB"):
        open_bytes(saved(small, "GIF") + bytes(10_000), "a.gif")
    with pytest.raises(PhotoError, match="which is progressive, has"):
        open_bytes(saved(small, "JPEG", progressive=True) + bytes(10_000), "a.jpg")


def test_a_file_that_grows_is_read_as_far_as_it_went(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.jpg"
    whole = jpeg()
    path.write_bytes(whole)
    stat = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        found = stat(descriptor)
        with path.open("ab") as file:
            file.write(bytes(1000))
        return found

    monkeypatch.setattr(os, "fstat", growing)
    read = read_photo(str(path))
    assert read.data == whole
    assert read.stat.st_size == len(whole)


def test_regular_files_alone_are_read(tmp_path: Path, engine) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("pipe.jpg", "", "missing.jpg", "a\0b.jpg"):
        with pytest.raises(PhotoError):
            open_photo(tmp_path / name)
    with pytest.raises(PhotoError, match="not a regular file"):
        engine.embed_photo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="not a regular file"):
        read_photo("/dev/zero")


def test_a_progressive_jpeg_of_many_scans_is_refused() -> None:
    assert open_bytes(scans(80), "a.jpg").size == (640, 480)
    with pytest.raises(PhotoError, match="100 scans"):
        open_bytes(scans(100), "a.jpg")


def test_the_scans_of_a_second_picture_do_not_count() -> None:
    """A camera's preview behind the photo, or a film."""
    assert open_bytes(jpeg(progressive=True) + b"\xff\xda" * 5000, "a.jpg").size == (8, 8)


def test_a_jpeg_whose_colours_come_one_after_the_other_is_held_whole(monkeypatch) -> None:
    """As cameras write it, such a photo is decoded small; libjpeg keeps all of its numbers."""
    monkeypatch.setattr(decode, "MOST_PIXELS", 1_000_000)
    whole = jpeg((2000, 1000))
    assert open_bytes(whole, "a.jpg", at_least=50).size == (250, 125)
    at = whole.index(b"\xff\xda") + 4
    apart = whole[:at] + b"\1" + whole[at + 1 :]
    with pytest.raises(
        PhotoError, match="2000 x 1000 pixels; the limit of its format is 1 million"
    ):
        open_bytes(apart, "a.jpg", at_least=50)


def python_pixels() -> bytes:
    return b"qoif" + struct.pack(">IIBB", 3000, 3000, 3, 0) + b"\xfd" * 200_000


def gif(before_image: bytes) -> bytes:
    whole = saved(Image.new("L", (8, 8)), "GIF")
    at = 13 + (6 << (whole[10] & 7)) * (whole[10] >> 7)
    return whole[:at] + before_image + whole[at:]


def ppm(head: bytes) -> bytes:
    return head + (b"1 " * 192 if head[1:2] == b"3" else bytes(192))


def fli() -> bytes:
    """A film whose first frame blanks 79 million pixels, 65,535 times."""
    head = struct.pack("<4xHHHHHHI108x", 0xAF12, 1, 8900, 8900, 8, 3, 0)
    blank = struct.pack("<IH", 6, 13) * 65_535
    return head + struct.pack("<IHH8x", 16 + len(blank), 0xF1FA, 65_535) + blank


def tile_of_a_gigabyte() -> bytes:
    """A TIFF of 8 x 8 pixels whose tile is 20,000 x 20,000."""
    values = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: 20_000, 323: 20_000}
    packed = zlib.compress(bytes(20_000 * 20_000), 1)
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    at = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries += [struct.pack("<HHII", 324, 4, 1, at), struct.pack("<HHII", 325, 4, 1, len(packed))]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(entries) + bytes(4) + packed


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "segments.jpg": (lambda: jpeg()[:2] + b"\xff\xfe\0\2" * 100_000 + jpeg()[2:], "segments"),
    "exif.jpg": (
        lambda: jpeg()[:2] + b"\xff\xe1\0\x0aExif\0\0ab" * 100_000 + jpeg()[2:],
        "segments",
    ),
    "chunks.png": (lambda: png(8, 8, chunk(b"prVt", b"") * 1_000_000), "chunks"),
    "idat.png": (lambda: png(8, 8, chunk(b"IDAT", b"") * 1_000_000), "chunks"),
    "fill.jpg": (lambda: jpeg()[:2] + b"\xff" * 100_000_000 + jpeg()[2:], "between them"),
    "end.jpg": (lambda: jpeg()[:2] + b"\xff\xd9" + bytes(100_000_000), "no scan"),
    "comments.gif": (lambda: gif(b"!\xfe\1a\0" * 5_000_000), "blocks"),
    "comment.gif": (lambda: gif(b"!\xfe" + b"\1a" * 10_000_000 + b"\0"), "blocks"),
    "skipped.gif": (lambda: gif(bytes(40_000_000)), "blocks"),
    "comment.ppm": (lambda: ppm(b"P6 #" + b"a" * 24_000_000 + b"\n8 8 255\n"), "header"),
    "glued.ppm": (lambda: ppm(b"P6 8 8 255#" + b"a" * 24_000_000 + b"\n"), "header"),
    "comments.ppm": (lambda: ppm(b"P3 8 8 255\n" + b"#\n" * 12_000_000), "comments"),
    "python.qoi": (python_pixels, "8 million"),
    "film.fli": (fli, "not an image"),
    "tile.tif": (tile_of_a_gigabyte, "80 million"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_cost_too_much_is_refused(tmp_path: Path, name: str) -> None:
    made, why = REFUSED[name]
    (tmp_path / name).write_bytes(made())
    found, mib, seconds = cost(tmp_path / name)
    assert why in found and name in found
    assert mib < 400 and seconds < 4


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.gif", gif(b"!\xfe\5hello\0" * 100)),
        ("a.ppm", ppm(b"P6\n# GIMP\n8 8\n#\n255\n")),
        ("a.ppm", ppm(b"P3 8 8 # a\n255\n# b\n")),
        ("a.pbm", b"P4\n# a\n8 8\n" + bytes(8)),
        ("a.pfm", b"Pf\n8 8\n-1.0\n" + bytes(256)),
        ("a.jpg", jpeg()[:2] + b"\xff" * 1000 + jpeg()[2:]),
    ],
)
def test_comments_and_fill_bytes_as_programs_write_them_are_read(name: str, made: bytes) -> None:
    assert open_bytes(made, name).size == (8, 8)


@pytest.mark.parametrize("kind", ["tiles", "extents", "properties"])
def test_a_heic_of_thousands_of_parts_is_decoded_or_refused(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    whole = saved(
        Image.new("RGB", (512, 512), "teal"),
        "HEIF",
        tile_size=64,
        quality=30,
        enc_params={"preset": "ultrafast"},
    )
    if kind == "extents":  # the number of extents of each item
        at = whole.index(b"iloc")
        whole = whole[: at + 14] + b"\xff\xff" + whole[at + 16 :]
    elif kind == "properties":
        at = whole.index(b"ipco") - 4
        (size,) = struct.unpack(">I", whole[at : at + 4])
        box = struct.pack(">I4s12s", 20, b"ispe", bytes(12)) * 50_000
        whole = whole[:at] + struct.pack(">I", size + len(box)) + whole[at + 4 : at + size] + box
    (tmp_path / "parts.heic").write_bytes(whole)
    found, _, seconds = cost(tmp_path / "parts.heic")
    assert seconds < 5
    assert (found == "") == (kind == "tiles")


def test_a_photo_without_memory_is_skipped_and_named(engine, index, tmp_path, monkeypatch) -> None:
    for number, path in enumerate(packaged_photos()[:3]):
        (tmp_path / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    names = sorted(str(path) for path in tmp_path.iterdir())
    whole = Preprocess.decoded

    def short(preprocess: Preprocess, photo: bytes, name: str) -> object:
        if name == names[1]:
            raise MemoryError
        return whole(preprocess, photo, name)

    monkeypatch.setattr(Preprocess, "decoded", short)
    result = sync_folder(engine, index, tmp_path)
    assert result.added == 2
    assert [(skipped.path, "not enough memory" in skipped.why) for skipped in result.skipped] == [
        (names[1], True)
    ]


def test_a_decoder_without_memory_names_the_photo(monkeypatch) -> None:
    def fail(image: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(PhotoError, match=r"(?s)not enough memory to decode a\.png.*Close other"):
        open_bytes(png(8, 8), "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_a_photo_is_dated_without_its_pixels(kind: str, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    Image.new("RGB", (8, 8)).save(path, kind)
    os.utime(path, (120, 120))
    decoded: list[object] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert minutes_taken(path.read_bytes(), path.stat()) == 2
    assert decoded == []


SEEDS = {
    "JPEG": {},
    "PNG": {},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {},
    "JPEG2000": {},
    "PPM": {},
    "TGA": {},
}


def mutated(kind: str, seed: int) -> bytes:
    """A small photo, with numbers of its head replaced, and parts doubled or cut."""
    chance = random.Random(seed)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    made = saved(Image.fromarray(pixels), kind, **SEEDS[kind])
    raw = bytearray(made)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(len(raw), 200) if chance.random() < 0.8 else len(raw))
        how = chance.random()
        if how < 0.5:
            odd = chance.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
            width = chance.choice([1, 2, 4])
            raw[at : at + width] = (odd & (256**width - 1)).to_bytes(width, "big")
        elif how < 0.8:
            part = bytes(raw[at : at + chance.randint(1, 60)])
            raw[at:at] = part * chance.choice([1, 10, 500])
        else:
            del raw[at : at + chance.randint(1, 60)]
    return bytes(raw)


def check_mutations(kind: str, examples: int) -> None:
    how = Preprocess(32, "squash", "bicubic", HALF, HALF)

    @settings(
        max_examples=examples,
        deadline=20_000,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 2**32))
    def check(seed: int) -> None:
        photo = mutated(kind, seed)
        minutes_taken(photo, Path(__file__).stat())
        try:
            assert how.decoded(photo, "mutated").shape == (3, 32, 32)
        except McadError as error:
            assert "mutated" in str(error)

    check()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SEEDS)
def test_a_mutated_photo_is_decoded_or_refused(kind: str) -> None:
    check_mutations(kind, 40)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SEEDS)
def test_thousands_of_mutated_photos_are_decoded_or_refused(kind: str) -> None:
    check_mutations(kind, 2000)


def noise(side: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "RGBA":
        image.putalpha(128)
    return image


# As large as is decoded, of what is dear: made for minutes, so not in `make test`.
LARGE: dict[str, Callable[[], bytes]] = {
    "clear.png": lambda: saved(noise(8900, "RGBA"), "PNG", compress_level=0),
    "scans.jpg": lambda: saved(
        noise(4000).resize((8900, 8900)), "JPEG", progressive=True, quality=75
    ),
    "clear.webp": lambda: saved(
        noise(1000, "RGBA").resize((6900, 6900)), "WEBP", lossless=True, method=0, quality=0
    ),
    "noise.jp2": lambda: saved(noise(3900), "JPEG2000"),
    "noise.avif": lambda: saved(noise(1500).resize((7100, 7100)), "AVIF", speed=10),
    "tiles.heic": lambda: saved(
        noise(8000), "HEIF", quality=44, tile_size=1000, enc_params={"preset": "ultrafast"}
    ),
    "noise.qoi": lambda: saved(noise(2800), "QOI"),
    "comments.ppm": lambda: b"P6 " + b"#\n" * 12_000_000,
    "comments.gif": lambda: saved(Image.new("P", (8, 8)), "GIF")[:-1] + b"!\xfe\1a\0" * 9_900_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_worst_that_is_decoded_costs_less_than_a_gibibyte_and_20_seconds(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    (tmp_path / name).write_bytes(LARGE[name]())
    cost(tmp_path / name)
