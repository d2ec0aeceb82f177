"""With --json, standard output holds one document, whatever the libraries say there."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.exported import Exported

# A verb, and a library that speaks as it loads and as it is left: by Python, by the descriptor, and
# into C's buffer, which is written when the process ends.
_TALKATIVE = """
import atexit, ctypes, os
from mcad_mobile.cli import main
from mcad_mobile.cli.command import app
from mcad_mobile.cli.command import check_platform

def talk():
    print("a greeting")
    os.write(1, b"a greeting\\n")
    ctypes.CDLL(None).printf(b"a greeting\\n")

import sys
sys.modules["mcad_mobile.cli.command"].check_platform = talk
atexit.register(talk)
main()
"""


def run_alone(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With an environment of the least that a shell has."""
    least = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    python_path = os.environ.get("PYTHONPATH")
    if python_path:
        least["PYTHONPATH"] = python_path
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**least, "LANG": "C.UTF-8", **environment},
    )


@pytest.fixture(scope="module")
def places(
    cpu: Exported,
    packaged_pairs: Path,
    onnxruntime_aar: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """A bundle, an index of packaged photos, a result of `bench`, captioned photos, and where to
    write."""
    folder = tmp_path_factory.mktemp("places")
    found = {
        "BUNDLE": str(cpu.directory),
        "INDEX": str(folder / "index"),
        "PHOTOS": str(packaged_photos()[0].parent),
        "RESULT": str(folder / "result.json"),
        "PAIRS": str(packaged_pairs),
        "AAR": str(onnxruntime_aar),
        "LIBRARY": str(folder / "search.aar"),
        "APP": str(folder / "demo.apk"),
        **{name: str(folder / name) for name in ("SHARDS", "EXPORTED", "STUDENT", "CACHE")},
    }
    run_verb("index PHOTOS --bundle BUNDLE --index INDEX", found)
    run_verb("bench --bundle BUNDLE --synthetic 1000 --searches 20 --report RESULT", found)
    return found


def run_verb(
    arguments: str, places: dict[str, str], start: tuple[str, ...] = ("-m", "mcad_mobile")
) -> subprocess.CompletedProcess[str]:
    given = [places.get(word, word) for word in arguments.split()]
    done = run_alone(sys.executable, *start, *given)
    assert done.returncode == 0, done.stderr
    return done


_VERBS = [
    "doctor --bundle BUNDLE",
    "index PHOTOS --bundle BUNDLE --index INDEX",
    "search cat --bundle BUNDLE --index INDEX",
    "embed PHOTOS --bundle BUNDLE --out SHARDS",
]
_SLOW_VERBS = [
    "targets",
    "doctor",
    "search --duplicates 0.97 --bundle BUNDLE --index INDEX",
    "eval --data PAIRS --split val --bundle BUNDLE",
    "report RESULT",
    "bench --bundle BUNDLE --synthetic 1000 --searches 20",
    "library --bundle BUNDLE --onnxruntime-aar AAR --out LIBRARY",
    "app --bundle BUNDLE --onnxruntime-aar AAR --out APP",
    "export --target cpu --out EXPORTED",
    "distill --smoke --out STUDENT --cache CACHE",
]


@pytest.mark.parametrize(
    "arguments",
    [*_VERBS, *(pytest.param(verb, marks=pytest.mark.slow) for verb in _SLOW_VERBS)],
)
def test_a_library_that_talks_leaves_the_document_alone(
    arguments: str, places: dict[str, str]
) -> None:
    done = run_verb(f"{arguments} --json", places, ("-c", _TALKATIVE))
    assert json.loads(done.stdout)
    assert done.stderr.count("a greeting") == 6


def test_a_library_that_talks_leaves_the_address_of_serve_alone(places: dict[str, str]) -> None:
    given = ["--bundle", places["BUNDLE"], "--index", places["INDEX"], "--port", "0", "--json"]
    command = [sys.executable, "-c", _TALKATIVE, "serve", *given]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        lines = list(itertools.takewhile(lambda line: line != "}\n", server.stdout))
        server.send_signal(signal.SIGINT)
        rest, messages = server.communicate(timeout=60)
    assert json.loads("".join([*lines, "}"]))["url"], messages
    assert rest == ""
    assert messages.count("a greeting") == 6


def test_every_verb_that_takes_json_is_among_them() -> None:
    tested = {verb.split()[0] for verb in [*_VERBS, *_SLOW_VERBS]} | {"serve"}
    verbs = typer.main.get_group(app).commands
    takes = {name for name, verb in verbs.items() if any(p.name == "json" for p in verb.params)}
    assert takes == tested


def test_what_people_read_is_on_standard_output_without_json(places: dict[str, str]) -> None:
    done = run_verb("search cat --bundle BUNDLE --index INDEX -k 1", places, ("-c", _TALKATIVE))
    greetings = [line for line in done.stdout.splitlines() if line == "a greeting"]
    found = [line for line in done.stdout.splitlines() if Path(line.split("  ")[-1]).suffix]
    assert (len(greetings), len(found)) == (2, 1)


@pytest.mark.slow
def test_qualcomms_library_greets_nobody(snapdragon: Exported, tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    photos = str(packaged_photos()[0].parent)
    places = {"BUNDLE": str(snapdragon.directory), "INDEX": index, "PHOTOS": photos}
    run_verb("index PHOTOS --bundle BUNDLE --index INDEX", places)
    done = run_verb("search cat --bundle BUNDLE --index INDEX --json --runtime qnn", places)
    assert json.loads(done.stdout)["simulated"] is True
    assert "LIBNATIVE" not in done.stderr


def test_closed_standard_output_is_no_error(places: dict[str, str]) -> None:
    verb = f"search cat --bundle {places['BUNDLE']} --index {places['INDEX']}"
    done = run_alone("sh", "-c", f"exec {sys.executable} -m mcad_mobile {verb} >&-")
    assert (done.returncode, done.stderr) == (0, "")
