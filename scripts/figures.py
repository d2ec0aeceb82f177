"""Figures in sentences: where each comes from, and whether a page still says what was stored.

A page is read as prose: without code, link targets and sections that are made. In it, a figure is a
number with a unit of measurement, or a decimal that is no version. Each must be in a sentence of
scripts/sentences (a stored value, or a reason why there is none), or stand beside the command
that prints it: in the same sentence, or for a table above it, under the same heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

Span = tuple[int, int]

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_UNIT = (
    r"(?:ms|s|µs|(?:milli|micro)?seconds?|min|minutes?|hours?|[kKMG]i?B|%|points?|percent"
    r"|bytes (?:a photo|and a path)|photos (?:a|per) second"
    r"|times (?:as|that|the|more|less|faster|slower))(?!\w)"
)
_WORDS = r"(?:half|two|three|four|five|six|seven|eight|nine|ten|twice|an? (?:third|quarter|tenth))"
_FIGURE = re.compile(
    rf"(?<![\w.,#])(?<![^\W\d]-)(?:{_NUMBER}(?= ?(?:to|or|and|/|±) {_NUMBER}\s?{_UNIT})"
    rf"|{_NUMBER}\s?{_UNIT}|\d[\d,]*\.\d+(?![\w.]*\d))"
    rf"|\b{_WORDS} (?:of )?(?:an? )?{_UNIT}"
)
_VERSION_OF = re.compile(
    r"(?:Python|CycloneDX|OpenAPI|glibc|Ubuntu|Debian|QAIRT|Runtime|numpy|torch|onnxruntime(?:-qnn)?|qai-hub"
    r"|adbutils|arXiv)[\s(]*$"
)
_NOT_PROSE = re.compile(
    r"^<!-- \w+: made\b.*?^<!-- \w+: end\b[^\n]*"  # a section that is made
    r"|^```.*?^```"
    r"|^(?:    |\t)[^\n]*"
    r"|`[^`]*`"
    r"|\]\([^)]*\)"
    r"|https?://\S+",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(
    r"`(?:mcad-mobile (?:bench|doctor|eval|export|index|report|targets)"
    r"|python (?:-m benchmarks\.|benchmarks/)|make (?:bench|demo|test-slow))"
)
_WRITE_IT = "`make docs` writes what is stored"
_NO_SOURCE = "comes from no stored result"
WHAT_TO_DO = (
    "A figure without a source: add its sentence to scripts/sentences, put the command that prints "
    "it into the sentence, or leave it out (docs/development.md, Figures)."
)
_NOT_THERE = "no such sentence any more: change it in scripts/sentences, or remove it there"


@dataclass(frozen=True)
class Sentence:
    """A piece of a page with figures in it: `{:.1f}` in `text` for each of `values`. Without values
    `why` says what stands behind it: what defines it, who published it, which test asserts it."""

    text: str
    values: tuple[float | str, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        places = sum(name is not None for _, name, _, _ in Formatter().parse(self.text))
        if places != len(self.values) or bool(self.values) == bool(self.why):
            raise ValueError(f"{self.text!r}: as many values as places, or a reason why none")

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds the sentence with any figures, however its lines are broken."""
        found = ""
        for literal, place, _, _ in Formatter().parse(self.text):
            found += r"\s+".join(re.escape(part) for part in re.split(r"\s+", literal))
            if place is not None:
                found += r"([-+]?\d[\d,]*(?:\.\d+)?)"
        return re.compile(found)

    def figures(self) -> list[str]:
        """What stands in the places."""
        places = [f"{{:{how}}}" for _, name, how, _ in Formatter().parse(self.text) if name == ""]
        return [place.format(v) for place, v in zip(places, self.values, strict=True)]


@dataclass(frozen=True)
class Problem:
    """`where` is a place in the page's text."""

    where: int
    what: str

    def told(self, page: str, text: str) -> str:
        return f"{page}:{text.count(chr(10), 0, self.where) + 1}: {self.what}"


def stored(text: str, *values: float | str) -> Sentence:
    return Sentence(text, values)


def given(text: str, why: str) -> Sentence:
    return Sentence(text, why=why)


def problems(text: str, sentences: Sequence[Sentence]) -> list[Problem]:
    """What is wrong with the figures of a page's `text`, in its order."""
    found, covered = [], []
    for sentence in sentences:
        matches = list(sentence.pattern.finditer(text))
        if not matches:
            found.append(Problem(0, f"{' '.join(sentence.text.split())!r}: {_NOT_THERE}"))
        for match in matches:
            if sentence.why:
                covered.append((match.start(), _end(sentence, match, text)))
            for number, expected in enumerate(sentence.figures(), 1):
                covered.append(match.span(number))
                if match[number] != expected:
                    what = f"{match[number]!r} is stored as {expected}: {_WRITE_IT}"
                    found.append(Problem(match.start(number), what))
    commands = list(_beside_commands(text))
    for span in _figures(text):
        if not _touches(span, covered) and not _touches(span, commands):
            figure = " ".join(text[slice(*span)].split())
            found.append(Problem(span[0], f"{figure!r} {_NO_SOURCE}"))
    return sorted(found, key=lambda problem: problem.where)


def renewed(text: str, sentences: Sequence[Sentence]) -> str:
    """The page with the stored figures written into its sentences."""
    for sentence in sentences:
        figures = sentence.figures()
        for match in reversed(list(sentence.pattern.finditer(text))):
            for number in range(len(figures), 0, -1):
                start, end = match.span(number)
                text = text[:start] + figures[number - 1] + text[end:]
    return text


def _end(sentence: Sentence, match: re.Match[str], text: str) -> int:
    """Where what a reason is given for ends: for a heading, with its section."""
    if not sentence.text.startswith("#"):
        return match.end()
    following = text.find("\n#", match.end())
    return len(text) if following < 0 else following


def _figures(text: str) -> Iterator[Span]:
    prose = _NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for match in _FIGURE.finditer(prose):
        if not _VERSION_OF.search(prose[: match.start()]):
            yield match.span()


def _beside_commands(text: str) -> Iterator[Span]:
    """Sentences that hold a command which prints figures, and tables below one."""
    commanded = False
    for block in re.finditer(r"(?:[^\n]+\n?)+", text):
        if block[0].startswith("#"):
            commanded = False
        elif block[0].startswith("|"):
            if commanded:
                yield block.span()
        else:
            for sentence in re.finditer(r"(?:(?![.;!?]\s)[^`]|`[^`]*`)+", block[0]):
                if _COMMAND.search(sentence[0]):
                    commanded = True
                    yield block.start() + sentence.start(), block.start() + sentence.end()


def _touches(span: Span, others: Sequence[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in others)
