"""The one function of every job: the same rows for the same photos, whatever else happens."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import pytest

from mcad_mobile.embed.pieces import Photo
from mcad_mobile.embed.shard import embed_shard
from mcad_mobile.errors import MissingExtra, PhotoError


@dataclass
class Lengths:
    """A model whose row is a photo's length."""

    threads: int = 2

    def prepare(self, photo: bytes, key: str) -> bytes:
        if photo.startswith(b"no photo"):
            raise PhotoError(f"{key} is no photo.")
        if photo.startswith(b"heic"):
            raise MissingExtra(f"{key} needs a library.", "Install it.")
        return photo

    def rows(self, prepared, key):
        return [(key, np.array([len(prepared)], np.float32))]


def unreadable():
    raise OSError("it is locked")


def refused():
    raise PhotoError("it is a link")


def photos(count=8):
    return [Photo(f"p{n}", lambda n=n: (b"x" * n, 100 + n)) for n in range(1, count + 1)]


class Hand:
    """Which photos are in hand, and the most at once while each was."""

    def __init__(self):
        self.now, self.most = set(), {}

    def __call__(self, event, number):
        if event == "done":
            self.now.remove(number)
            return
        self.now.add(number)
        for photo in self.now:
            self.most[photo] = max(self.most.get(photo, 0), len(self.now))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_rows_come_in_the_order_of_the_photos(threads):
    hand = Hand()
    found = embed_shard(Lengths(threads), photos(), note=hand)
    assert found.keys == [f"p{n}" for n in range(1, 9)]
    assert found.rows.tolist() == [[n] for n in range(1, 9)]
    assert found.stamps.tolist() == [[100 + n, zlib.crc32(b"x" * n)] for n in range(1, 9)]
    assert hand.now == set() and hand.most.keys() == set(range(8))


def test_a_suspect_is_handled_alone_and_changes_nothing():
    hand = Hand()
    found = embed_shard(Lengths(), photos(), isolated={2, 7}, note=hand)
    assert found.rows.tolist() == embed_shard(Lengths(), photos()).rows.tolist()
    assert hand.most[2] == hand.most[7] == 1
    assert max(hand.most.values()) > 1


def test_photos_that_have_no_row_are_named_with_the_reason():
    listed = photos(6)
    listed[1] = Photo("broken", lambda: (b"no photo", 7))
    listed[2] = Photo("locked", unreadable)
    listed[3] = Photo("p4", unreadable, 9)
    listed[4] = Photo("link", refused, 11)
    listed[5] = Photo("iphone", lambda: (b"heic", 13))
    hand = Hand()
    found = embed_shard(Lengths(), listed, excluded={3}, note=hand)
    assert found.keys == ["p1"]
    left_out = {photo.key: (photo.cause, photo.stamp) for photo in found.left_out}
    assert left_out == {
        **{"broken": ("decode", 7), "locked": ("read", 0), "p4": ("killed", 9)},
        **{"link": ("decode", 11), "iphone": ("decode", 13)},
    }
    assert "it is locked" in {photo.key: photo.why for photo in found.left_out}["locked"]
    assert hand.now == set() and 3 not in hand.most


def test_no_photo_has_no_rows():
    found = embed_shard(Lengths(), [])
    assert (len(found.rows), found.keys, found.stamps.shape) == (0, [], (0, 2))


def test_an_error_of_the_model_ends_the_shard():
    model = Lengths()
    model.rows = lambda prepared, key: 1 / 0
    with pytest.raises(ZeroDivisionError):
        embed_shard(model, photos())
