"""The commands of the pages are commands: verbs, options, scripts, make's targets and extras."""

from __future__ import annotations

import re
import shlex
import tomllib

import pytest
import typer

from mcad_mobile.cli.command import app
from tests.support.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "android_demo/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
VERBS = typer.main.get_command(app)


def commands(text: str) -> list[list[str]]:
    """The words of each command in the indented and the shell blocks of a page."""
    found: list[list[str]] = []
    blocks = re.findall(r"```(?:sh|bash|console|text)?\n(.*?)```", text, re.S)
    text = re.sub(r"```.*?```", "", text, flags=re.S) + "\n".join(blocks)
    text = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^(?: {2,}|\$ )(?:\$ )?(\S.*)$", text, re.M):
        for part in re.split(r"\s(?:&&|\||;)\s", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # it is no command
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if ">" in words:
                del words[words.index(">") :]
            found.append(words)
    return [words for words in found if words]


FOUND = {
    (page.name, *words): words for page in PAGES for words in commands(page.read_text("utf-8"))
}
OURS = [key for key, words in FOUND.items() if words[0] == "mcad-mobile" and len(words) > 1]


@pytest.mark.parametrize("key", OURS, ids=" ".join)
def test_each_command_line_is_one_that_the_program_takes(
    key: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCAD_BUNDLE", "build/sd")
    _, _, verb, *arguments = key
    if verb.startswith("-"):
        return
    command = VERBS.commands[verb]  # type: ignore[attr-defined]
    if not {"-h", "--help"} & set(arguments) and "[OPTIONS]" not in arguments:
        command.make_context(verb, [word for word in arguments if word != "..."])


def test_pages_have_commands_of_each_kind() -> None:
    assert len(OURS) > 60
    assert {key[2] for key in OURS} >= {"export", "index", "search", "bench", "app", "library"}


def test_each_script_and_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    scripts = {
        word for words in FOUND.values() for word in words[:3] if word.startswith("scripts/")
    }
    targets = {words[1] for words in FOUND.values() if words[0] == "make" and len(words) > 1}
    assert scripts and targets
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_each_extra_is_one_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        extra
        for words in FOUND.values()
        if "pip" in words
        for word in words
        for extras in re.findall(r"^(?:mcad-mobile|\.)\[([^\]]+)\]", word)
        for extra in extras.split(",")
    }
    assert named and named <= set(project["optional-dependencies"])
