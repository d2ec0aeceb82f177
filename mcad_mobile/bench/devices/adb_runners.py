"""The runners on devices over adb: in Java on Android, in Python on Linux boards."""

from __future__ import annotations

import importlib
import platform
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mcad_mobile.base.documents import decode
from mcad_mobile.base.package import PACKAGE
from mcad_mobile.base.progress import Progress
from mcad_mobile.bench.devices.adb_facts import Facts
from mcad_mobile.bench.devices.adb_shell import ROOT, RUN, AdbShell
from mcad_mobile.engine.native import LIBRARY, LIBRARY_VARIABLE
from mcad_mobile.errors import BenchError, MissingExtra

_RUNNER = f"{ROOT}/runner"
_JAVA_MAIN = "mcad.runner.Main"
_PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
_OLDEST_PYTHON = (3, 11)
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # equal bytes each time are pushed once
# All that the measured process imports of this package, which needs no torch.
_LEAN = (
    *("__init__.py", "errors.py", "base/*.py", "data/*.py", "engine/*.py"),
    *("bench/__init__.py", "bench/runner.py"),
)
# As mcad_mobile/engine/native/CMakeLists.txt compiles them.
_COMPILE = "cc -O3 -std=gnu11 -fPIC -shared -ffp-contract=off"


@dataclass(frozen=True)
class DeviceRunner:
    """`files` go to the device (path under ROOT -> local file); `command` with the path of a spec
    runs there. `cannot_search` says why it cannot search, or is ""."""

    files: dict[str, Path]
    command: str
    cannot_search: str = ""


def java_runner(
    facts: Facts, folder: Path | None, aars: Sequence[Path], progress: Progress
) -> DeviceRunner:
    """The runner of `android_demo/runner` from `folder` (runner.jar, lib/ABI/*.so), or built here
    with the libraries of `aars`. BenchError: neither is possible."""
    local = _prebuilt(folder, facts.abi) if folder else _built(facts.abi, aars, progress)
    lib = f"{_RUNNER}/lib"
    command = [
        "env",
        f"CLASSPATH={_RUNNER}/runner.jar",
        f"LD_LIBRARY_PATH={lib}",
        "ORT_DISABLE_TELEMETRY=1",
        f"ADSP_LIBRARY_PATH={lib}",  # where the NPU's loader looks for its part of QNN
        "app_process",
        f"-Djava.library.path={lib}",
        f"-Donnxruntime.native.path={lib}",
        f"-Djava.io.tmpdir={RUN}/scratch",
        "/",
        _JAVA_MAIN,
    ]
    return DeviceRunner({f"runner/{name}": path for name, path in local.items()}, " ".join(command))


def _prebuilt(folder: Path, abi: str) -> dict[str, Path]:
    jar = folder / "runner.jar"
    libraries = sorted((folder / "lib" / abi).glob("*.so"))
    if not jar.is_file() or not libraries:
        missing = jar if not jar.is_file() else folder / "lib" / abi / "*.so"
        raise BenchError(
            f"{folder} holds no runner for {abi}: {missing} is missing.",
            "Leave --runner out to build it, or lay the folder out as docs/bench.md says.",
        )
    return {"runner.jar": jar, **{f"lib/{path.name}": path for path in libraries}}


def _built(abi: str, aars: Sequence[Path], progress: Progress) -> dict[str, Path]:
    try:
        runner = importlib.import_module("mcad_mobile.android.runner")
    except ImportError as error:
        raise MissingExtra(
            f"The Java runner cannot be built here ({error}).",
            "Give a folder with a built one: --runner DIR (docs/bench.md).",
        ) from error
    progress(f"building the runner for {abi}")
    files: dict[str, Path] = runner.runner_files(abi, aars, progress)
    return files


def python_runner(
    shell: AdbShell, facts: Facts, scratch: Path, runtimes: Sequence[str]
) -> DeviceRunner:
    """The Python runner, a zip of this package's lean part, for the board's own Python. BenchError:
    that Python lacks a library, or has none of `runtimes`."""
    python = _python(shell)
    _check_libraries(shell, python, runtimes)
    archive = scratch / "mcad_mobile.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(PACKAGE.rglob("*.py")):
            name = path.relative_to(PACKAGE).as_posix()
            if any(fnmatchcase(name, pattern) for pattern in _LEAN):
                entry = zipfile.ZipInfo(f"mcad_mobile/{name}", _ZIP_DATE)
                out.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    files = {f"runner/{archive.name}": archive}
    library, cannot_search = f"{_RUNNER}/{LIBRARY.name}", ""
    if facts.arch == platform.machine():
        files[f"runner/{LIBRARY.name}"] = LIBRARY
    else:
        library, cannot_search = _compiled_there(shell)
    environment = (
        f"PYTHONPATH={_RUNNER}/{archive.name} PYTHONDONTWRITEBYTECODE=1 "
        f"{LIBRARY_VARIABLE}={library}"
    )
    command = f"env {environment} {shlex.quote(python)} -m mcad_mobile.bench.runner"
    return DeviceRunner(files, command, cannot_search)


def _compiled_there(shell: AdbShell) -> tuple[str, str]:
    """Compile the search kernels on a board with another processor than this computer's.

    Returns:
        The library's path on the board, and why there is none, if so.
    """
    folder = f"{ROOT}-kernels"  # not in ROOT, where only pushed files stay
    shell.run(f"rm -rf {folder} && mkdir -p {folder}")
    for source in sorted(LIBRARY.parent.glob("*.[ch]")):
        shell.push_file(source, f"{folder}/{source.name}")
    code, printed = shell.ask(f"cd {folder} && {_COMPILE} *.c -o {LIBRARY.name} -lm 2>&1")
    why = f"The search kernels could not be compiled on the board: {printed.strip()[-300:]}"
    return f"{folder}/{LIBRARY.name}", why if code else ""


def _python(shell: AdbShell) -> str:
    """The first Python on the board that is new enough."""
    seen = []
    for name in _PYTHONS:
        code, printed = shell.ask(f"{name} -c 'import sys; print(*sys.version_info[:2])'")
        if code:
            continue
        version = tuple(map(int, printed.split()[-2:]))
        if version >= _OLDEST_PYTHON:
            return name
        seen.append(f"{name} is {'.'.join(map(str, version))}")
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    raise BenchError(
        f"The board has no Python {oldest} or later ({'; '.join(seen) or 'none at all'}).",
        f"Install one on the board, where adb's shell finds it as {' or '.join(_PYTHONS[:2])}.",
    )


def _check_libraries(shell: AdbShell, python: str, runtimes: Sequence[str]) -> None:
    modules = {"numpy": "numpy", "msgspec": "msgspec", "PIL": "pillow"}
    engines = {
        "onnx": ("onnxruntime", "onnxruntime"),
        "litert": ("ai_edge_litert", "ai-edge-litert"),
    }
    wanted = dict(engines[runtime] for runtime in runtimes if runtime in engines)
    code = (
        "import importlib.util, json; "
        f"print(json.dumps([m for m in {[*modules, *wanted]!r} if importlib.util.find_spec(m)]))"
    )
    printed = shell.run(f"{python} -c {shlex.quote(code)}")
    listed = printed.strip().rpartition("\n")[2].encode()
    hint = f"On the board, look at: {python} --version"
    found = set(decode(listed, list[str], f"The output of the board's {python}", BenchError, hint))
    missing = [package for module, package in modules.items() if module not in found]
    if wanted and not found & set(wanted):
        missing += list(wanted.values())[:1]
    if missing:
        raise BenchError(
            f"The board's {python} lacks {', '.join(missing)}.",
            f"On the board: {python} -m pip install {' '.join(missing)}",
        )
