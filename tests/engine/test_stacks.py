"""Stacks: near duplicates are one result, unless other words were found in them."""

from __future__ import annotations

import numpy as np

from mcad_mobile.engine.stacks import search_in_stacks
from mcad_mobile.engine.words.words_file import Line, PhotoWords


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
