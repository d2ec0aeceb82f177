"""Stacks: near duplicates are one result, unless other words were found in them."""

from __future__ import annotations

import numpy as np

from mcad_mobile.engine.engine import Found, Result
from mcad_mobile.engine.stacks import search_in_stacks
from mcad_mobile.engine.words.photo_words import Line, PhotoWords


def test_tickets_that_look_alike_are_stacked_only_with_the_same_words(engine, index):
    alike = np.repeat(engine.embed_text("a ticket")[None], 4, axis=0)
    gates = {"a.jpg": "Gate 12", "b.jpg": "Gate 14", "copy.jpg": "Gate 12", "plain.jpg": ""}
    with index.writer() as writer:
        writer.add(list(gates), alike)
        writer.set_words(
            {
                path: PhotoWords((Line(gate, 1.0, (0,) * 8),) if gate else (), read=True)
                for path, gate in gates.items()
            }
        )
    found = search_in_stacks(index, lambda k: engine.search(index, "gate", k), 4)
    stacks = [sorted([result.path, *result.copies]) for result in found.results]
    assert stacks == [["a.jpg", "copy.jpg"], ["b.jpg"], ["plain.jpg"]]
    found = search_in_stacks(index, lambda k: engine.search(index, "beach", k), 4)
    assert [sorted([result.path, *result.copies]) for result in found.results] == [sorted(gates)]


class Turned:
    """An index of photos that are turned by so many degrees."""

    def __init__(self, degrees):
        angles = np.radians(degrees)
        self.photos = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
        self.asked = []

    def embeddings(self, paths):
        return self.photos[[*map(int, paths)]]

    def search(self, k):
        self.asked.append(k)
        found = [Result(str(number), 1.0) for number in range(min(k, len(self.photos)))]
        return Found("query", found, {"total": 1000.0}, truncated=False)

    def stacks(self, k):
        self.asked.clear()
        found = search_in_stacks(self, self.search, k)
        assert 1000 * len(self.asked) <= found.ms["total"] < 1000 * len(self.asked) + 900
        return [[int(result.path), *map(int, result.copies)] for result in found.results]


def test_a_photo_joins_the_first_of_a_stack_that_is_as_near_as_14_degrees():
    index = Turned([0, 13.9, 14.2, 28, 120, -13.9, 14])  # 0.97 is the cosine of 14.07 degrees
    assert index.stacks(4) == [[0, 1, 5, 6], [2, 3], [4]]
    assert index.stacks(2) == [[0, 1, 5, 6], [2, 3]]
    assert index.asked == [2, 8]


def test_a_search_is_widened_fourfold_until_there_are_so_many_stacks():
    index = Turned([0] * 700 + [90] * 300 + [0, 45] + [90] * 2000)
    (first, second, third) = index.stacks(3)
    assert index.asked == [3, 12, 48, 192, 768, 3072]
    assert first == [*range(700), 1000]
    assert second == [*range(700, 1000), *range(1002, 3002)]
    assert third == [1001]
    index = Turned([0] * 10_001 + [90])
    assert [len(stack) for stack in index.stacks(2)] == [10_000]
    assert index.asked[-2:] == [8192, 10_000]
