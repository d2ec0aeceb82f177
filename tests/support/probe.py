"""The Java engine on a JVM, with ONNX Runtime's Linux libraries, called from Python."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.native import LIBRARY

_MAIN = "io.github.mcadmobile.desktop.Probe"
# The same kernels as Python's.
KERNELS = f"-Dmcad.search.library={LIBRARY}"
# A language with its own digits, which must not appear in files.
_LANGUAGE = ("-Duser.language=ar", "-Duser.region=EG")


class EngineError(Exception):
    """The engine reported an error: `what` and `hint`, and the kind by which screens word it."""

    def __init__(self, what: str, hint: str, kind: str | None = None) -> None:
        super().__init__(what, hint)
        self.kind = kind


class Probe:
    """A JVM that runs Probe.java of tests/android/java until it is closed; `under` is a command
    that watches it."""

    def __init__(
        self,
        classes: Path,
        scratch: Path,
        *more: Path,
        under: Sequence[object] = (),
        kernels: str = KERNELS,
    ) -> None:
        self._scratch = scratch
        classpath = ":".join(map(str, [classes, *more, *jvm_libraries()]))
        # ONNX Runtime unpacks its library to tmpdir; a killed JVM leaves it there.
        options = [kernels, f"-Djava.io.tmpdir={scratch}", "-Xmx512m", "-ea", "-cp", classpath]
        self._process = subprocess.Popen(
            [*map(str, under), executable(JAVA), *_LANGUAGE, *options, _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, action: str, **request: Any) -> Any:
        """Send a request and return its answer. EngineError if the engine reports an error."""
        fields = {key: str(v) if isinstance(v, Path) else v for key, v in request.items()}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": action, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the JVM ended"
        answer = json.loads(line)["answer"]
        if isinstance(answer, dict) and "error" in answer:
            assert answer["hint"] != "unforeseen", answer["error"]
            raise EngineError(answer["error"], answer["hint"], answer.get("kind"))
        return answer

    def arrays(self, action: str, **request: Any) -> NDArray[np.float32]:
        """Send a request whose answer is an array; return it as [rows, width] float32."""
        out = self._scratch / "out.f32"
        rows = self.ask(action, out=out, **request)["rows"]
        return np.fromfile(out, "<f4").reshape(rows, -1)

    def embed_photos(self, bundle: Path, photos: Sequence[Path]) -> NDArray[np.float32]:
        return self.arrays("embed_photos", bundle=bundle, photos=[str(p) for p in photos])

    @property
    def threads(self) -> int:
        """The JVM's current number of threads, including native ones."""
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))

    @property
    def process(self) -> int:
        """The JVM's process ID."""
        return self._process.pid

    @property
    def open_files(self) -> set[str]:
        """The paths of the files that the JVM has open."""
        links = Path(f"/proc/{self._process.pid}/fd").iterdir()
        return {str(link.readlink()) for link in links if link.is_symlink()}

    def limit_files(self, most_bytes: int) -> None:
        """Limit the size of files, which looks like a full disk to the process."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (most_bytes, hard))

    def kill(self) -> None:
        """Kill the JVM as Android kills an app: kill -9."""
        self._process.kill()

    def end(self) -> None:
        """Kill the JVM if it still runs, and clean up."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait(timeout=60)
        self._process.stdin.close()
        self._process.stdout.close()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(timeout=60) == 0
        finally:
            self._process.kill()
            self._process.stdout.close()


def variant(bundle: Bundle, directory: Path, **changes: Any) -> Path:
    """Write a copy of a bundle with some changed fields and return its folder; their new files, if
    any, must already be in `directory`."""
    directory.mkdir(exist_ok=True)
    changed = replace(bundle, directory=directory, **changes)
    for record in changed.files():
        copy = directory / record.path
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists():
            # Not a hard link: onnx rejects weights with a second name.
            shutil.copyfile(bundle.path(record), copy)
    changed.save()
    return directory
