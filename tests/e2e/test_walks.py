"""The commands of README and the pages, in their order, as four kinds of newcomers type them; where
a page shows output, it is what the command prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest_socket import enable_socket, socket_allow_hosts

import mcad_mobile
from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.litert_towers import write_pair
from tests.support.onnx_towers import write_clip
from tests.support.paths import ROOT
from tests.support.servers import Server
from tests.support.tiny_students import write_open_clip

pytestmark = pytest.mark.slow

COMMAND = re.compile(r"mcad-mobile |make |pip |python3 |curl |adb |scripts/|\.venv/bin/")
# They install, need a phone or what not every mirror has, or run this test.
NOT_HERE = re.compile(
    r"pip install|python3 -m venv|\.venv/bin/pip |scripts/|adb |--npu|make test$|make test-slow"
)


def steps(page: str) -> dict[str, list[str]]:
    """Each command in the indented blocks and the tables of a page, with the output shown of it."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.S | re.M)
    text = re.sub(r"^\| `(.*?)` \|.*$", r"    \1", text.replace("\\\n", " "), flags=re.M)
    found: dict[str, list[str]] = {}
    command = ""
    for block in re.findall(r"(?:^ {4}.*\n)+", text, re.M):
        prompts = "    $ " in block
        for line in textwrap.dedent(block).splitlines():
            if prompts and not line.startswith("$ "):
                found[command].append(line)
            elif COMMAND.match(line.removeprefix("$ ")):
                command = re.sub(r" +# .*", "", line.removeprefix("$ "))
                found[command] = []
    return found


class Newcomer:
    """Someone with a fresh checkout, in which everything is installed, and some photos."""

    def __init__(self, home: Path) -> None:
        self.home, self.checkout = home, home / "mcad-mobile"
        self.server: Server | None = None
        subprocess.run(["git", "clone", "-q", ROOT, self.checkout], check=True, timeout=600)
        self._install()
        (home / "Pictures" / "some").mkdir(parents=True)
        for number, photo in enumerate(packaged_photos()):
            shutil.copy(photo, home / "Pictures" / ("some" if number < 3 else ""))

    def _install(self) -> None:
        """Make a .venv of links to what this interpreter has."""
        prefix, venv = Path(sys.prefix), self.checkout / ".venv"
        (venv / "bin").mkdir(parents=True)
        for program in (prefix / "bin").iterdir():
            (venv / "bin" / program.name).symlink_to(program)
        (venv / "lib").symlink_to(prefix / "lib")
        shutil.copy(prefix / "pyvenv.cfg", venv)
        native = Path("mcad_mobile/engine/native/libmcad_search.so")
        shutil.copy(Path(mcad_mobile.__file__).parents[1] / native, self.checkout / native)
        for name in ("installed-demo", "installed-everything"):
            (venv / name).touch()

    def follow(self, page: str, instead: Mapping[str, str] = {}) -> int:
        """Type the commands of a page, with other words instead of some; return their number."""
        count = 0
        for typed, shown in steps(page).items():
            if NOT_HERE.search(typed):
                continue
            command = typed.replace("~/", f"{self.home}/")
            for word, other in instead.items():
                command = re.sub(rf"(?<!-){word}\b", other, command)
            count += 1
            printed = self._serve(command) if " serve " in command else self._run(command, typed)
            assert normal(printed)[: len(shown)] == normal("\n".join(shown)), f"{page}: {typed}"
        self.leave()
        return count

    def _run(self, command: str, typed: str) -> str:
        if self.server:  # -f: an answer that is an error is one of the command
            port = f":{self.server.port}"
            command = command.replace(":8420", port).replace("curl ", "curl -f ")
        how: Any = {"capture_output": True, "text": True, "timeout": 1800}
        done = subprocess.run(["bash", "-euc", command], check=False, **how)
        assert done.returncode == 0, f"{typed}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def _serve(self, command: str) -> str:
        """Start the server, and see it find photos once it has some."""
        self.leave()
        words = [word for word in command.split()[2:] if word != "--open"]
        self.server = Server(*words, cache=self.home / "cache")
        self.server.wait(lambda status: any(index["photos"] for index in status["indexes"]))
        assert self.server.search("a dog")["hits"], command
        return ""

    def leave(self) -> None:
        if self.server:
            code, messages = self.server.stop()
            assert code in (0, 130) and "Traceback" not in messages
        self.server = None


def normal(printed: str) -> list[str]:
    """Lines without folders, and scores as far as processors agree on them."""
    text = re.sub(r"\S*/", "", printed)
    return re.sub(r"(\.\d\d)\d+", r"\1", text).splitlines()


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Newcomer]:
    someone = Newcomer(tmp_path / "home")
    for variable in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(someone.checkout))
    monkeypatch.setenv("PATH", f"{someone.checkout}/.venv/bin:{os.environ['PATH']}")
    monkeypatch.chdir(someone.checkout)
    enable_socket()
    socket_allow_hosts(["127.0.0.1", "localhost"], allow_unix_socket=True)
    yield someone
    someone.leave()


def test_with_photos(newcomer: Newcomer) -> None:
    assert newcomer.follow("README.md") == 6
    some = str(next((newcomer.home / "Pictures").glob("*.jpg")))
    assert newcomer.follow("docs/quickstart.md", {"photo.jpg": some}) > 9
    assert newcomer.follow("docs/serve.md") > 6


def test_with_an_app(newcomer: Newcomer) -> None:
    assert newcomer.follow("docs/for-app-developers.md") > 6
    apps = {path.name for path in newcomer.checkout.glob("*.a[ap][rk]")}
    assert apps == {"mcad-search.aar", "demo.apk"}


def test_with_a_model(newcomer: Newcomer) -> None:
    student = write_open_clip(newcomer.home / "student")
    names = sorted(path.name for path in (newcomer.home / "Pictures").glob("*.*"))
    rows = [f"{name},{name},{('train', 'val', 'test')[i % 3]}" for i, name in enumerate(names)]
    captions = newcomer.home / "Pictures" / "captions.csv"
    captions.write_text("\n".join(["photo,caption,split", *rows]))
    instead = {
        "open_clip:ViT-B-32-SigLIP2-256:webli": f"open_clip:local-dir:{student}",
        "DIR": str(captions.parent),
        "before.json": "build/bench.json",
    }
    assert newcomer.follow("docs/for-model-people.md", instead) > 5
    write_clip(newcomer.home / "clip", "legacy", 14)
    for written, name in (("vision_model", "image"), ("text_model", "text")):
        shutil.copy(newcomer.home / "clip" / f"{written}.onnx", f"{name}.onnx")
    write_pair(newcomer.home / "pair")
    for file in (newcomer.home / "pair").glob("*.tflite"):
        shutil.copy(file, file.name)
    shutil.copy(newcomer.home / "clip" / "tokenizer.json", "tokenizer.json")
    assert newcomer.follow("docs/python.md") == 2


def test_with_a_change(newcomer: Newcomer) -> None:
    assert newcomer.follow("CONTRIBUTING.md") > 3
