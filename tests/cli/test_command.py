"""`mcad-mobile` itself: help, version, the bundle by default, errors, colours and completion."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mcad_mobile import __version__
from mcad_mobile.cli import command, doctor
from mcad_mobile.cli.command import app
from mcad_mobile.cli.wording import hint_of
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import PhotoError, PhotoIndexError
from tests.support.processes import run_command, run_python
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with the bundles build/older and build/a/newer, and an index of two photos
    for each."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "photos").mkdir()
    for photo in packaged_photos()[:2]:
        (folder / "photos" / photo.name).write_bytes(photo.read_bytes())
    for number, name in enumerate(("older", "a/newer")):
        bundle = make_tiny_bundle(folder / "build" / name)
        os.utime(bundle.directory / "bundle.json", (1e9 + number, 1e9 + number))
        command = ["index", str(folder / "photos"), "--bundle", str(bundle.directory)]
        assert CliRunner().invoke(app, command).exit_code == 0
    return folder


@pytest.mark.parametrize("words", [["-h"], ["search", "-h"], ["export", "-h"]])
def test_h_is_short_for_help(words):
    short = CliRunner().invoke(app, words)
    long = CliRunner().invoke(app, [*words[:-1], "--help"])
    assert short.exit_code == 0
    assert short.output == long.output
    assert "Usage:" in short.output


def test_the_version_names_the_program():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"mcad-mobile {__version__}\n"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["nowhere", "a" * 300, "loop"])
def test_a_folder_that_is_missing_is_said_to_be(tmp_path, name, first):
    bundle = make_tiny_bundle(tmp_path / "bundle")
    if not first:
        create_index(bundle, tmp_path / "bundle.index")
    (tmp_path / "loop").symlink_to("loop")
    command = ["index", str(tmp_path / name), "--bundle", str(bundle.directory)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, PhotoError)
    assert f"No folder at {tmp_path / name}" in result.exception.message


def test_the_bundle_is_that_of_the_environment_or_the_newest(places, monkeypatch):
    monkeypatch.chdir(places)
    monkeypatch.delenv("MCAD_BUNDLE", raising=False)
    found = CliRunner().invoke(app, ["search", "a dog"])
    assert found.exit_code == 0
    assert "build/a/newer" in found.stderr and "newest" in found.stderr
    monkeypatch.setenv("MCAD_BUNDLE", "build/older")
    found = CliRunner().invoke(app, ["search", "a dog", "--json"])
    assert json.loads(found.stdout)["query"] == "a dog"
    assert "build/older" in found.stderr and "MCAD_BUNDLE" in found.stderr
    found = CliRunner().invoke(app, ["search", "a dog", "--bundle", "build/a/newer"])
    assert found.exit_code == 0 and found.stderr == ""


@pytest.mark.parametrize("verb", ["search", "index", "serve", "bench"])
def test_without_any_bundle_it_says_how_to_make_one(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MCAD_BUNDLE", raising=False)
    result = CliRunner().invoke(app, [verb])
    assert result.exit_code == 2
    for words in ("--bundle", "MCAD_BUNDLE", "mcad-mobile export"):
        assert words in " ".join(result.stderr.split())


def test_words_without_quotes_are_searched_for(places):
    bundle = ["--bundle", str(places / "build/older"), "--json"]
    apart = CliRunner().invoke(app, ["search", "a", "dog", *bundle, "on", "a", "beach"])
    together = CliRunner().invoke(app, ["search", "a dog on a beach", *bundle])
    first, second = json.loads(apart.stdout), json.loads(together.stdout)
    assert first["query"] == second["query"] == "a dog on a beach"
    assert first["results"] == second["results"]


def test_a_hint_names_the_paths_of_the_command(places, tmp_path):
    index, new = tmp_path / "my index", tmp_path / "new"
    PhotoIndex.create(index, dim=64, student="other", student_sha256="1" * 64)
    bundle = make_tiny_bundle(tmp_path / "my bundle").directory
    hint = f"mcad-mobile index --from '{index}' --bundle '{bundle}' --index "
    for words in (["search", "dog"], ["index", str(places)]):
        done = CliRunner().invoke(app, [*words, "--bundle", str(bundle), "--index", str(index)])
        assert isinstance(done.exception, PhotoIndexError)
        assert hint_of(done.exception).endswith(hint + "NEW")
    # The command that it gives works.
    done = CliRunner().invoke(app, shlex.split(f"{hint}{new}")[1:])
    assert done.exit_code == 0 and PhotoIndex.exists(new)


def test_a_server_without_an_index_says_how_to_make_one_for_its_bundle(tmp_path, socket_enabled):
    bundles = [make_tiny_bundle(tmp_path / name).directory for name in ("my bundle", "b")]
    options = [word for bundle in bundles for word in ("--bundle", str(bundle))]
    hint = "Make one with: mcad-mobile index PHOTOS --bundle "
    done = CliRunner().invoke(app, ["serve", "--port", "0", *options[:2]])
    assert hint_of(done.exception) == f"{hint}'{bundles[0]}' --index '{bundles[0]}.index'"
    # With several bundles, it does not know whose index was meant.
    done = CliRunner().invoke(app, ["serve", "--port", "0", *options])
    assert hint_of(done.exception) == f"{hint}BUNDLE --index '{bundles[0]}.index'"


def test_a_photo_that_is_gone_is_dropped_by_the_command_that_is_shown(places, tmp_path):
    photo = tmp_path / "soon gone.png"
    photo.write_bytes((places / "photos" / packaged_photos()[0].name).read_bytes())
    bundle = ["--bundle", str(places / "build/older"), "--index", str(tmp_path / "index")]
    assert CliRunner().invoke(app, ["index", str(tmp_path), *bundle]).exit_code == 0
    photo.unlink()
    shown = CliRunner().invoke(app, ["search", "dog", *bundle]).stdout
    command = shown[shown.index("mcad-mobile index --prune") :].splitlines()[0].removesuffix(")")
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.stdout.endswith(": 0 photos, 1 gone\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("search", "dog", "--bundle", "nowhere"), 1, "nowhere"),
        (("search", "--colour"), 2, "--colour"),
        (("search", "dog", "-k", "none", "--bundle", "x"), 2, "-k"),
        (("nothing",), 2, "nothing"),
        (("search", "dog", "--bundle", "a" * 300), 1, "File name too long"),
    ],
)
def test_errors_are_json_on_standard_error_too(words, code, message):
    done = run_command(*words, "--json")
    assert (done.returncode, done.stdout) == (code, "")
    error = json.loads(done.stderr.splitlines()[-1])
    assert message in error["error"]
    assert error["hint"]
    plain = run_command(*words)
    assert plain.returncode == code
    assert message in plain.stderr and not plain.stderr.startswith("{")


def test_the_help_says_that_errors_are_not_the_document_of_json():
    told = " ".join(run_command("--help").stdout.split())
    assert "after an error it is empty, and standard error ends with a line of JSON." in told


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (BrokenPipeError(), 0, ""),  # `head` has seen enough
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Free some space"),
        (
            PhotoError("It is cut off.", "Give another."),
            1,
            "error: It is cut off.\n  Give another.",
        ),
        (PhotoError("It is cut off."), 1, "error: It is cut off.\n"),
    ],
)
def test_the_exit_code_says_how_a_command_ended(capsys, error, code, told):
    def end(**options):
        raise error

    with pytest.raises(SystemExit) as ended:
        command.run(end)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (code, "")
    assert told in printed.err and bool(told) == bool(printed.err)


def test_an_error_of_the_program_itself_is_not_hidden():
    with pytest.raises(FileNotFoundError):
        command.run(lambda **options: open("/nowhere"))  # noqa: PTH123, SIM115


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_errors_are_coloured_on_a_terminal_alone(no_color, coloured):
    ours, terminal = os.openpty()
    command = [sys.executable, "-m", "mcad_mobile", "search", "dog", "--bundle", "nowhere"]
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    done = subprocess.run(command, stderr=terminal, env=environment, timeout=120, check=False)
    os.close(terminal)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 1
    assert ("\x1b[31merror:" in shown) == coloured
    assert ("\x1b" in shown) == coloured
    assert "\x1b" not in run_command("search", "dog", "--bundle", "nowhere").stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("export --target dimensity-9", "dimensity-9400"),
        ("export --precision w8", "w8a16"),
        ("search dog --runtime l", "litert"),
        ("bench --device e", "emulator"),
        ("eval --split v", "val"),
        ("app --abi x", "x86_64"),
    ],
)
def test_values_complete_in_the_shell(line, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = f"mcad-mobile {line}"
    done = run_python(
        *("-c", "import sys; sys.argv = ['mcad-mobile']; from mcad_mobile.cli import main; main()"),
        env={
            "_MCAD_MOBILE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
    )
    offered = done.stdout.split()
    assert expected in offered
    assert all(value.startswith(line.split()[-1]) for value in offered)
    assert done.stderr == ""


def test_doctor_prints_what_works_what_is_there_and_how_to_get_the_rest(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle").directory
    index = tmp_path / "some.index"
    PhotoIndex.create(index, dim=64, student="s", student_sha256="0" * 64).close()
    words = ["doctor", "--index", str(index), "--bundle", str(bundle)]
    documents = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert documents[-3:] == [
        *(
            {
                "tool": f"{tower} tower onnx fp32",
                "version": "cosine 1.0000 by CPU",
                "needed_for": "search, index with tiny",
                "how_to_get": "",
            }
            for tower in ("image", "text")
        ),
        {
            "tool": f"index {index}",
            "version": "intact, 0 photos",
            "needed_for": "search",
            "how_to_get": "",
        },
    ]
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    width = max(len(document["tool"]) for document in documents)
    start = lines.index("What is installed")
    for document in documents:
        tool, version, how = document["tool"], document["version"], document["how_to_get"]
        if f"  yes  {tool}" in lines[:start] or f"  no   {tool}" in lines[:start]:
            assert (f"  yes  {tool}" in lines) == (version == "works")
            assert not how or f"       {how}" in lines[:start]
        elif version:
            assert f"  {tool:{width}}  {version}" in lines[start:]
        else:
            assert lines[lines.index(f"  {tool}: {document['needed_for']}") + 1] == f"    {how}"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_doctor_fails_where_there_is_no_index(tmp_path, options):
    done = CliRunner().invoke(app, ["doctor", "--index", str(tmp_path), *options])
    assert done.exit_code == 1
    assert "no photo index" in done.stdout


def test_doctor_says_with_an_index_that_does_not_open_what_to_do(tmp_path):
    finding = doctor.examine_index(tmp_path / "none.index")
    assert (finding.version, finding.needed_for) == (None, "search")
    assert re.search(r"none\.index.*\. .*mcad-mobile index", finding.how_to_get)


def test_chips_are_listed_under_what_their_bundles_hold():
    documents = json.loads(CliRunner().invoke(app, ["targets", "--json"]).stdout)
    by_id = {document["id"]: document for document in documents}
    assert by_id["snapdragon-8-gen-3"] == {
        "id": "snapdragon-8-gen-3",
        "vendor": "Qualcomm",
        "chip": "SM8650",
        "names": by_id["snapdragon-8-gen-3"]["names"],
        "npu": "Hexagon v75",
        "runtimes": ["qnn", "onnx"],
        "precisions": ["int8", "w8a16"],
    }
    printed = CliRunner().invoke(app, ["targets"]).stdout
    for document in documents:
        ladder = f"{' > '.join(document['runtimes'])} ({', '.join(document['precisions'])})"
        heads = [line for line in printed.splitlines() if line.strip() == ladder]
        assert len(heads) == 1
        _, _, below = printed.partition(ladder)
        assert re.search(rf"\n\W*{re.escape(document['id'])}\W+{document['chip']}\b", below)
