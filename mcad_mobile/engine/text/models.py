"""Models: a word to token ids."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from mcad_mobile.engine.text.table import Strings, Table

Model = Callable[[str], list[int]]
NONE = 0xFFFFFFFF  # in arrays of ids: no token


def model_of(model: dict[str, Any], table: Table) -> Model:
    """The model of a table. KeyError for one that this version does not know."""
    return _MODELS[model["kind"]](model, table)


class WordPiece:
    """The longest pieces in the vocabulary, from the left (Devlin et al., 2019)."""

    def __init__(self, model: dict[str, Any], table: Table) -> None:
        self._strings = Strings(table)
        self._unknown = [model["unk"]]
        self._continued = model["continued"].encode()
        self._longest = model["longest"]

    def __call__(self, word: str) -> list[int]:
        if len(word) > self._longest:
            return self._unknown
        find = self._strings.find
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = self._continued if start else b""
            for end in range(len(word), start, -1):
                found = find(prefix + word[start:end].encode())
                if found >= 0:
                    break
            else:
                return self._unknown
            ids.append(found)
            start = end
        return ids


class Bpe:
    """Byte-pair encoding: merges the pair of the lowest rank, leftmost first. A left token's merges
    are at "merge_rows"[left] up to the next row, sorted by "merge_right"."""

    def __init__(self, model: dict[str, Any], table: Table) -> None:
        # The first symbols are bytes, or characters, with bytes for those not in the vocabulary.
        self._of_bytes = model["of_bytes"]
        self._unknown = model["unk"]
        self._fuse_unknown = model["fuse_unk"]
        self._whole: dict[str, int] = model["whole"]
        self._byte_ids = table.array("byte_ids")
        self._byte_last_ids = table.array("byte_last_ids")
        self._chars, self._char_ids = table.array("chars"), table.array("char_ids")
        self._rows, self._right = table.array("merge_rows"), table.array("merge_right")
        self._rank, self._into = table.array("merge_rank"), table.array("merge_into")

    def __call__(self, word: str) -> list[int]:
        if word in self._whole:
            return [self._whole[word]]
        return self._merged(self._byte_symbols(word) if self._of_bytes else self._symbols(word))

    def _byte_symbols(self, word: str) -> list[int]:
        data = word.encode()
        symbols = [self._byte_ids[byte] for byte in data[:-1]]
        symbols.append(self._byte_last_ids[data[-1]])
        if NONE in symbols:
            symbols = [self._unknown if symbol == NONE else symbol for symbol in symbols]
            return [symbol for symbol in symbols if symbol is not None]
        return symbols

    def _symbols(self, word: str) -> list[int]:
        symbols: list[int] = []
        unknown = False  # whether the last symbol is
        for character in word:
            code = ord(character)
            at = bisect_left(self._chars, code)
            if at < len(self._chars) and self._chars[at] == code:
                symbols.append(self._char_ids[at])
                unknown = False
            elif found := _in_bytes(character, self._byte_ids):
                symbols += found
                unknown = False
            elif self._unknown is not None:
                if not (unknown and self._fuse_unknown):
                    symbols.append(self._unknown)
                unknown = True
        return symbols

    def _merged(self, symbols: list[int]) -> list[int]:
        last = len(symbols) - 1
        before, after = list(range(-1, last)), [*range(1, last + 1), -1]
        queue: list[tuple[int, int, int, int]] = []

        def offer(at: int, second: int) -> None:
            left, right = symbols[at], symbols[second]
            end = self._rows[left + 1]
            found = bisect_left(self._right, right, self._rows[left], end)
            if found < end and self._right[found] == right:
                heappush(queue, (self._rank[found], at, found, left))

        for at in range(last):
            offer(at, at + 1)
        while queue:
            _, at, found, left = heappop(queue)
            second = after[at]
            # Either may have merged since.
            if symbols[at] != left or second < 0 or symbols[second] != self._right[found]:
                continue
            symbols[at] = self._into[found]
            symbols[second] = -1
            after[at] = third = after[second]
            if third >= 0:
                before[third] = at
                offer(at, third)
            if before[at] >= 0:
                offer(before[at], at)
        return [symbol for symbol in symbols if symbol >= 0]


# The best path that ends at a character: its score, where its last piece starts, and the piece.
Node = tuple[float, int, int]


class Unigram:
    """The most likely pieces (Kudo, 2018), as in `tokenizers` (models/unigram). The strings are
    pieces, then prefixes of pieces; "scores" [pieces] float64 are log probabilities."""

    def __init__(self, model: dict[str, Any], table: Table) -> None:
        self._strings = Strings(table)
        self._scores = table.array("scores")
        self._unknown: int = model["unk"]
        self._unknown_score: float = model["unk_score"]
        self._byte_ids = table.array("byte_ids")

    def __call__(self, word: str) -> list[int]:
        scores, find = self._scores, self._strings.find
        pieces, size = len(scores), len(word)
        best: list[Node] = [(0.0, 0, 0)] + [(-math.inf, 0, 0)] * size
        for start in range(size):
            score, end, known = best[start][0], start, False
            while end < size:
                end += 1
                piece = find(word[start:end].encode())
                if piece < 0:
                    break
                if piece < pieces:
                    known = known or end == start + 1
                    _offer(best, end, (score + scores[piece], start, piece))
            if not known:
                _offer(best, start + 1, (score + self._unknown_score, start, self._unknown))
        return self._ids(word, best)

    def _ids(self, word: str, best: list[Node]) -> list[int]:
        ids: list[int] = []
        end = len(word)
        unknown_to = 0  # where a run of unknown characters ends, or 0
        while end > 0:
            _, start, piece = best[end]
            if piece == self._unknown:
                unknown_to = unknown_to or end
            else:
                if unknown_to:
                    ids += self._of_unknown(word[end:unknown_to])
                    unknown_to = 0
                ids.append(piece)
            end = start
        if unknown_to:
            ids += self._of_unknown(word[:unknown_to])
        return ids[::-1]

    def _of_unknown(self, run: str) -> list[int]:
        """Ids, last first: the run's own, its bytes', or unknown."""
        found = self._strings.find(run.encode())
        if 0 <= found < len(self._scores):
            return [found]
        return _in_bytes(run, self._byte_ids)[::-1] or [self._unknown]


def _in_bytes(text: str, byte_ids: memoryview) -> list[int]:
    """The tokens of a text's bytes; [] if the vocabulary lacks any."""
    if not len(byte_ids):
        return []
    found = [byte_ids[byte] for byte in text.encode()]
    return [] if NONE in found else found


def _offer(best: list[Node], end: int, node: Node) -> None:
    if node[0] > best[end][0]:
        best[end] = node


_MODELS: dict[str, Callable[[dict[str, Any], Table], Model]] = {
    "wordpiece": WordPiece,
    "bpe": Bpe,
    "unigram": Unigram,
}
