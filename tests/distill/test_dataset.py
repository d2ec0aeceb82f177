"""Photos and captions: what belongs together stays together, and each step repeats itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.dataset import (
    Batch,
    BatchSampler,
    Dataset,
    Extra,
    Views,
    dataset,
    load_extra,
    restore_order,
)
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, PhotoError
from mcad_mobile.students.mcad import default_config

CAPTIONS_OF = (2, 1, 5, 3, 1, 4, 2, 2, 1, 3, 5)  # of 11 photos


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(*default_config().tokenizer.compiled(minilm_directory()))


def order(batch: int, seed: int = 0, extra: bool = True) -> BatchSampler:
    photos = tuple(Path(f"{number}.jpg") for number in range(11 + 4 * extra))
    captions = tuple(str(number) for number in range(sum(CAPTIONS_OF) + 6 * extra))
    empty = torch.zeros(len(captions), 0)
    data = Dataset(photos, captions, np.repeat(np.arange(11), CAPTIONS_OF), empty, empty)
    return BatchSampler(data, batch, Views(3, 2), extra_photos=5, extra_captions=7, seed=seed)


def same(left: Batch, right: Batch) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("photos", "views", "captions")
    )


@pytest.mark.parametrize("batch", [1, 3, 4, 11])
def test_an_epoch_sees_each_captioned_photo_once_but_for_what_fills_no_batch(batch):
    steps = order(batch)
    per_epoch = steps.steps_per_epoch
    assert per_epoch == 11 // batch
    for epoch in range(3):
        batches = [steps.at(epoch * per_epoch + place) for place in range(per_epoch)]
        seen = np.concatenate([left.photos[: left.paired] for left in batches])
        assert all(left.paired == batch for left in batches)
        assert len(set(seen)) == len(seen) == 11 // batch * batch
        assert seen.max() < 11


def test_epochs_differ_in_order_and_leave_other_photos_out():
    steps = order(4)
    first, second = (
        np.concatenate([steps.at(place).photos[:4] for place in places])
        for places in ([0, 1], [2, 3])
    )
    assert not np.array_equal(first, second)
    left_out = set()
    for epoch in range(60):
        seen = {int(photo) for place in (0, 1) for photo in steps.at(2 * epoch + place).photos[:4]}
        left_out |= set(range(11)) - seen
    assert left_out == set(range(11))


def test_a_caption_belongs_to_the_photo_of_its_row_and_each_is_said_some_time():
    steps = order(3)
    owner = [photo for photo, count in enumerate(CAPTIONS_OF) for _ in range(count)]
    collected, views = set(), set()
    for step in range(150):
        batch = steps.at(step)
        for photo, caption in zip(batch.photos[:3], batch.captions[:3], strict=True):
            assert owner[caption] == photo
        collected |= {int(caption) for caption in batch.captions[:3]}
        views |= {int(view) for view in batch.views[:3]}
    assert collected == set(range(len(owner)))
    assert views == {0, 1, 2}


def test_a_step_depends_on_the_seed_and_its_number_and_on_nothing_else():
    for step in (0, 1, 7):
        alone = order(3, seed=5).at(step)
        steps = order(3, seed=5)
        after_others = [steps.at(number) for number in range(step + 1)][-1]
        assert same(alone, after_others)
        assert not same(alone, order(3, seed=6).at(step))
        assert not same(alone, order(3, seed=5).at(step + 1))


def test_the_same_place_of_another_epoch_draws_other_extra_rows():
    steps = order(3)
    first, again = steps.at(0), steps.at(steps.steps_per_epoch)
    assert not np.array_equal(first.photos[3:], again.photos[3:])
    assert not np.array_equal(first.captions[3:], again.captions[3:])


def test_extra_rows_come_after_the_paired_ones_from_the_extra_rows_alone():
    steps = order(3)
    photos, captions, views = set(), set(), set()
    for step in range(60):
        batch = steps.at(step)
        assert len(batch.photos) == len(batch.views) == 3 + 5
        assert len(batch.captions) == 3 + 7
        photos |= {int(photo) for photo in batch.photos[3:]}
        captions |= {int(caption) for caption in batch.captions[3:]}
        views |= {int(view) for view in batch.views[3:]}
    assert photos == set(range(11, 15))
    assert captions == set(range(sum(CAPTIONS_OF), sum(CAPTIONS_OF) + 6))
    assert views == {0, 1}


def test_imagined_photos_come_last_in_a_view_of_their_own_and_stand_for_photos():
    sampler = order(6)
    data = sampler.data
    batch = BatchSampler(data, 4, Views(3, 2), 5, 7, seed=0, imagined=9).at(1)
    without = BatchSampler(data, 4, Views(3, 2), 5, 7, seed=0).at(1)
    assert batch.imagined == 9 and batch.photos[:-9].tolist() == without.photos.tolist()
    assert (batch.photos[-9:] < data.paired_photos).all() and (batch.views[-9:] == 3).all()
    assert batch.captions.tolist() == without.captions.tolist()
    real = batch.real
    assert real.photos.tolist() == batch.photos.tolist() and not real.views[-9:].any()
    assert real.views[:-9].tolist() == without.views.tolist() and not real.imagined
    assert (batch.views[-9:] == 3).all()


def test_without_extra_rows_a_batch_is_its_pairs():
    steps = order(3, extra=False)
    for views in (Views(3, 2), Views(3, 0)):
        batch = replace(steps, views=views).at(0)
        assert len(batch.photos) == len(batch.views) == len(batch.captions) == batch.paired == 3


def test_with_companions_extra_captions_go_with_the_photos_of_their_step():
    random = np.random.default_rng(0)
    first = sum(CAPTIONS_OF)
    companions = first + random.integers(0, 6, (15, 2))
    steps = order(3)
    assert steps.extra_photos + 3 > steps.extra_captions == 7
    collected = set()
    for step in range(100):
        batch = replace(steps, companions=companions).at(step)
        # Extra photos come first: the captioned ones have a caption already.
        photos = [*batch.photos[3:], *batch.photos[:3]][:7]
        for photo, caption in zip(photos, batch.captions[3:], strict=True):
            assert caption in companions[photo]
            collected.add((int(photo), int(caption)))
        assert np.array_equal(batch.photos, steps.at(step).photos)
    everything = {(row, int(caption)) for row in range(15) for caption in companions[row]}
    assert len(collected) > 0.9 * len(everything)
    roomy = replace(steps, extra_captions=20, companions=companions).at(0).captions[3:]
    assert len(roomy) == 20
    assert roomy.min() >= first


def test_too_many_extra_captions_are_cut_to_the_same_ones_each_time():
    extra = Extra((Path("x.png"),), tuple(str(number) for number in range(100)))
    subset = extra.limited(30)
    assert subset == extra.limited(30)
    assert subset.photos == extra.photos
    assert len(set(subset.captions)) == 30
    assert set(subset.captions) <= set(extra.captions)
    assert subset.captions != extra.captions[:30]
    assert extra.limited(100) is extra


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_processes_embed_apart_comes_back_in_the_order_of_the_batch(world):
    data = BatchSampler(order(6).data, 6, Views(3, 2), extra_photos=6, extra_captions=12, seed=0)
    batch = data.at(0)
    parts = [batch.part(rank, world) for rank in range(world)]
    assert {len(part.photos) for part in parts} == {12 // world}
    assert {len(part.captions) for part in parts} == {18 // world}
    for name in ("photos", "views", "captions"):
        whole = getattr(batch, name)
        gathered = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(gathered[restore_order(len(whole), world)], whole)
    # A process that trains on its own rows alone has whole pairs.
    for part in parts:
        owners = data.data.owner[part.captions[: 6 // world]]
        assert np.array_equal(part.photos[: 6 // world], owners)


@pytest.fixture
def pairs(tmp_path) -> list[CaptionedPhoto]:
    collected = {
        "b.png": ("a red square", "red"),
        "a.png": ("a blue square",),
        "c.png": ("?", "c", "d"),
    }
    for number, name in enumerate(collected):
        Image.new("RGB", (8 + number, 8), (90 * number, 0, 0)).save(tmp_path / name)
    return [CaptionedPhoto(tmp_path / name, captions) for name, captions in collected.items()]


def test_a_dataset_holds_pairs_before_extra_rows_and_each_captions_tokens(pairs, tokenizer):
    extra = Extra((Path("x.png"),), ("a green square", "green"))
    data = dataset(pairs, tokenizer, extra)
    assert data.owner.tolist() == [0, 0, 1, 2, 2, 2]
    assert data.paired_photos == 3
    assert [photo.name for photo in data.photos] == ["b.png", "a.png", "c.png", "x.png"]
    assert data.captions == (
        *("a red square", "red", "a blue square", "?", "c", "d"),
        *("a green square", "green"),
    )
    for row, caption in enumerate(data.captions):
        tokens = tokenizer(caption)
        assert np.array_equal(data.ids[row], tokens.ids)
        assert np.array_equal(data.mask[row], tokens.mask)
    pairs_alone = data.pairs
    assert (len(pairs_alone.photos), pairs_alone.captions) == (3, data.captions[:6])
    assert pairs_alone.ids.equal(data.ids[:6]) and pairs_alone.mask.equal(data.mask[:6])
    counts = data.token_counts()
    red, square, green = (int(tokenizer(word).ids[1]) for word in ("red", "square", "green"))
    assert counts[[red, square, green]].tolist() == [2, 2, 0]  # of captions with photos alone
    assert counts.sum() == data.mask[:6].sum()


def test_the_fingerprint_follows_captions_photos_and_who_owns_what(pairs, tokenizer, tmp_path):
    extra = Extra((), ("a green square",))
    before = dataset(pairs, tokenizer, extra).fingerprint
    assert dataset(list(pairs), tokenizer, extra).fingerprint == before
    fingerprints = {before}
    first, *rest = pairs
    spoken = replace(first, captions=("a red square", "Red"))
    fingerprints.add(dataset([spoken, *rest], tokenizer, extra).fingerprint)
    # The same captions in the same order, of other photos.
    moved = [replace(first, captions=first.captions[:1])]
    moved.append(replace(rest[0], captions=("red", *rest[0].captions)))
    fingerprints.add(dataset([*moved, rest[1]], tokenizer, extra).fingerprint)
    fingerprints.add(dataset(pairs, tokenizer, Extra()).fingerprint)
    fingerprints.add(dataset(pairs, tokenizer, Extra((pairs[0].path,), extra.captions)).fingerprint)
    Image.effect_noise((64, 64), 90).save(first.path)
    fingerprints.add(dataset(pairs, tokenizer, extra).fingerprint)
    # As long as it was, but written later.
    later, bytes_before = first.path.stat().st_mtime_ns + 10**9, first.path.read_bytes()
    first.path.write_bytes(bytes_before[:-1] + b"x")
    os.utime(first.path, ns=(later, later))
    fingerprints.add(dataset(pairs, tokenizer, extra).fingerprint)
    assert len(fingerprints) == 7


def test_extra_photos_and_captions_are_read_in_the_order_given(tmp_path):
    for name in ("one/b.png", "one/a.png", "two/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "x.txt").write_text("a cat\n  ein Café  \n", "utf-8-sig")  # Notepad's mark first
    (tmp_path / "y.txt").write_bytes(b"a dog\r\nno newline at the end")
    extra = load_extra(
        [tmp_path / "two", tmp_path / "one"], [tmp_path / "x.txt", tmp_path / "y.txt"]
    )
    assert [photo.name for photo in extra.photos] == ["c.png", "a.png", "b.png"]
    assert extra.captions == ("a cat", "ein Café", "a dog", "no newline at the end")
    assert load_extra([], []) == Extra()


DAMAGES = {
    "empty line": (b"a cat\na dog\n\na hen\n", r"no text in line 3\."),
    "only space": (b"a cat\n \t\n", r"no text in line 2\."),
    "empty": (b"", r"no text in line 1\."),
    "not text": (b"a cat\n\xff\xd8\xff\xe0\n", "cannot be read"),
    "missing": (None, "cannot be read"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_captions_that_are_not_captions_are_an_error_that_names_the_file(tmp_path, how):
    content, message = DAMAGES[how]
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("a cat\n", "utf-8")
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"(?s)bad\.txt.*{message}.*\n  \S|{message}.*bad"
    ) as caught:
        load_extra([], [good, bad])
    assert str(bad) in caught.value.message


def test_extra_photos_without_a_photo_are_an_error_that_names_the_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="empty"):
        load_extra([tmp_path / "empty"], [])
