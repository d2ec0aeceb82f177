"""Devices that print without end, lie, or send a terminal's commands: an error with a sentence."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcad_mobile.base.machine import Memory
from mcad_mobile.base.progress import Progress
from mcad_mobile.bench import measurement
from mcad_mobile.bench.device_protocol import Spec
from mcad_mobile.bench.devices.adb import AdbDevice
from mcad_mobile.bench.devices.adb_facts import read_facts, read_health
from mcad_mobile.bench.devices.adb_shell import connect
from mcad_mobile.bench.document import Health
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.bench.session import Session
from mcad_mobile.bench.watch import MOST_BYTES, Watched, watch
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.errors import BenchError
from tests.base.test_untrusted_documents import mutations
from tests.bench.test_adb_facts import BATTERY, BOARD, CORES, PHONE, SKIN, ZONES, Shell
from tests.support.adbd import PYTHON, Adbd
from tests.support.phones import as_phone, quick

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("program", ["yes", "cat /dev/zero", "sh -c 'yes >&2'"])
def test_a_process_that_prints_without_end_is_ended(program: str) -> None:
    started = time.monotonic()
    with pytest.raises(BenchError, match="printed more than 64 MiB"):
        watch(["sh", "-c", f"exec {program}"], timeout_s=60)
    assert time.monotonic() - started < 20


def test_a_process_that_prints_too_much_at_its_very_end_is_refused(
    tmp_path: Path,
) -> None:
    go = tmp_path / "go"
    prints = f"head -c {MOST_BYTES + 1} /dev/zero"

    def until_it_has_ended(process: int) -> Memory:
        go.touch()
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        return Memory(1.0, 1.0)

    with pytest.raises(BenchError, match="printed more than 64 MiB"):
        watch(
            ["sh", "-c", f"until [ -e {go} ]; do sleep 0.01; done; {prints}"],
            timeout_s=60,
            sample=until_it_has_ended,
        )


def test_what_a_process_has_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(BenchError, match="did not end in time"):
        watch(["sh", "-c", f"sleep 600 & echo $! > {note}; wait"], timeout_s=1)
    state = Path(f"/proc/{int(note.read_text())}/stat")
    deadline = time.monotonic() + 10  # a killed process is a zombie until init has seen it
    while state.exists() and state.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline


def test_a_board_whose_facts_have_no_end_is_refused(board: Adbd, bundle: Bundle) -> None:
    board.stand_in("getprop", "exec yes")
    started = time.monotonic()
    with pytest.raises(BenchError, match="printed more than 8 MiB"):
        AdbDevice().check(bundle)
    assert time.monotonic() - started < 30


def test_a_runner_that_prints_without_end_is_ended(board: Adbd, bundle: Bundle) -> None:
    board.stand_in("python3", f'case "$*" in *spec.json) exec yes;; *) exec {PYTHON} "$@";; esac')
    with pytest.raises(BenchError, match="printed more than 64 MiB"):
        measurement.bench(bundle, quick(repeats=1), AdbDevice())
    assert not (board.root / "run").exists()


def test_memory_that_is_told_without_end_or_as_no_number_is_not_known(board: Adbd) -> None:
    connect().run("mkdir -p /data/local/tmp/mcad-mobile/run")
    (board.root / "run" / "pid").write_text("1\n")
    for script in ("exec yes", "echo /x; echo 'Pss: many kB'; echo 'Rss: kB'"):
        board.stand_in("cat", script)
        started = time.monotonic()
        with connect().probe() as probe, pytest.raises(ProcessLookupError):
            probe.memory()
        assert time.monotonic() - started < 15


def test_a_chip_cannot_write_to_the_terminal(phone: Adbd, bundle: Bundle) -> None:
    as_phone(
        phone, **{"ro.product.model": "SM\x1b]0;owned\x07\x1b[2J", "ro.soc.model": "SM6375\x9b"}
    )
    facts = read_facts(connect())
    assert facts.model == "samsung SM\\x1b]0;owned\\x07\\x1b[2J"
    assert facts.soc.startswith("SM6375")
    texts = (value for value in msgspec.to_builtins(facts).values() if isinstance(value, str))
    assert all(map(str.isprintable, texts))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"memory": f"MemTotal: {10**17} kB\n"}, "memory_mib`"),
        ({"memory": f"MemTotal: {'9' * 9000} kB\n"}, "memory_mib`"),
        ({"cores": f"0 {10**15} 1\n"}, "core_max_mhz"),
    ],
)
def test_an_absurd_fact_is_named(answers: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read_facts(Shell(**{**BOARD, **answers}))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"battery": "  level: 250\n"}, r"at `\$\.battery_percent`"),
        ({"thermal": f"Thermal Status: {'9' * 5000}\n"}, "thermal_status`"),
        ({"thermal": f"mValue={'9' * 400}.0, mType=3, \n"}, "temperature_c`"),
        ({"zones": f"cpu {10**12}\n"}, "temperature_c`"),
    ],
)
def test_an_absurd_health_is_named(answers: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read_health(Shell(**answers))


CELLS = st.sampled_from(
    [
        "\x1b[31m",
        "\x00",
        "-1",
        "9" * 30,
        "9" * 6000,
        "1.2.3",
        "NaN",
        ": ",
        "[",
        "]",
        "\n",
        "",
        "é\udce9",
    ]
)


@FUZZ
@given(data=st.data())
def test_mutated_facts_are_printable_or_refused(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([PHONE, BOARD]))
    health = {"thermal": SKIN, "battery": BATTERY, "cores": CORES, "zones": ZONES}
    answers = {**whole, **health}
    for _ in range(data.draw(st.integers(1, 4))):
        name = data.draw(st.sampled_from(sorted(answers)))
        at = data.draw(st.integers(0, len(answers[name])))
        until = data.draw(st.integers(at, min(at + 12, len(answers[name]))))
        answers[name] = answers[name][:at] + data.draw(CELLS) + answers[name][until:]
    shell = Shell(**answers)
    for read in (read_facts, read_health):
        try:
            found = msgspec.to_builtins(read(shell))
        except BenchError:
            continue
        assert "\x1b" not in str(found) and json.loads(json.dumps(found)) == found


class Told:
    """A device whose runner prints what is in a file for each mode."""

    def __init__(self, folder: Path) -> None:
        self.places = {"bundle": "bundle", "index": "index", "photos": [], "scratch": "scratch"}
        self.folder = folder

    def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
        return watch(["cat", str(self.folder / document["mode"])], timeout_s=30, progress=progress)

    def health(self) -> Health:
        return Health()


def outputs(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """What a runner prints on a device on which all goes well."""
    steps = [{"step": "process start", "pss": 8.0, "rss": 12.5}]
    tried = {"rung": 0, "loaded": True, "nodes": {"npu": 0, "gpu": 0, "cpu": 9}, "provider": "CPU"}
    ladder = {
        name: [
            {
                **tried,
                "embeddings": np.load(bundle.path(bundle.tower(name).golden.embeddings)).tolist(),
            }
        ]
        for name in TOWERS
    }
    stages = ("tokenize", "text", "scan", "rescore", "total")
    return {
        "check": {"pinned_cores": [0], "ladder": ladder, "tools": {"numpy": "2"}},
        "search": {
            **{"pinned_cores": [0], "photos": 10, "bytes_per_photo": 300.5, "steps": steps},
            **{"samples_ms": {stage: [0.5, 1.5] for stage in stages}, "waited_share": 0.01},
        },
        "index": {
            **{"pinned_cores": [0], "photos": 2, "photos_per_s": 3.5, "steps": steps},
            "samples_ms": {"decode": [4.0, 5.0], "image": [1.0, 2.0]},
        },
    }


def measure(bundle: Bundle, folder: Path) -> dict[str, Any]:
    spec = Spec(bundle, Path("index"), ("a dog",), (), searches=2)
    session = Session(Told(folder), spec)
    ladder, tools = session.check()
    about = {"device": {"kind": "adb", "cpu": "chip", "os": "Linux", "cores": 1}, "tools": tools}
    sentences = {"measured": [], "not_measured": []}
    return complete_document(bundle, {**about, **session.measure(ladder), **sentences})


@FUZZ
@given(data=st.data())
def test_a_runner_s_mutated_output_is_a_result_or_a_sentence(
    data: st.DataObject, bundle: Bundle, tmp_path: Path
) -> None:
    printed = {mode: json.dumps(output).encode() for mode, output in outputs(bundle).items()}
    mode = data.draw(st.sampled_from(sorted(printed)))
    printed[mode] = data.draw(mutations(outputs(bundle)[mode]))
    for name, raw in printed.items():
        (tmp_path / name).write_bytes(raw)
    try:
        document = measure(bundle, tmp_path)
    except BenchError as error:
        assert error.message and error.hint
        return
    assert document["schema"] == "mcad-bench/1"


@pytest.mark.parametrize(
    ("mode", "place", "value", "message"),
    [
        ("search", "photos", 10**30, r"at `\$\.photos`"),
        ("search", "bytes_per_photo", float("nan"), "bytes_per_photo`"),
        ("search", "waited_share", 7, "waited_share`"),
        ("search", "samples_ms", {"total": [1.0]}, "missing required field `tokenize`"),
        ("index", "photos_per_s", -1, "photos_per_s`"),
        ("check", "ladder", {"image": []}, "rungs"),
    ],
)
def test_a_runner_s_absurd_number_is_named(
    bundle: Bundle, tmp_path: Path, mode: str, place: str, value: object, message: str
) -> None:
    for name, output in outputs(bundle).items():
        told = {**output, **({place: value} if name == mode else {})}
        (tmp_path / name).write_text(json.dumps(told))
    with pytest.raises(BenchError, match=message):
        measure(bundle, tmp_path)


@pytest.mark.parametrize("mode", ["check", "search", "index"])
def test_a_runner_that_loads_what_no_phone_loads_is_refused(
    bundle: Bundle, tmp_path: Path, mode: str
) -> None:
    for name, output in outputs(bundle).items():
        told = {**output, "foreign_modules": ["torch"] if name == mode else []}
        (tmp_path / name).write_text(json.dumps(told))
    with pytest.raises(BenchError, match="process imported torch, which no phone has"):
        measure(bundle, tmp_path)


def test_a_device_that_cannot_index_says_why(bundle: Bundle, tmp_path: Path) -> None:
    printed = outputs(bundle) | {"index": {"pinned_cores": [0], "unsupported": "it has no decoder"}}
    for name, output in printed.items():
        (tmp_path / name).write_text(json.dumps(output))
    document = measure(bundle, tmp_path)
    assert document["indexing"] == {"unsupported": "it has no decoder"}
    assert "indexing" not in document["memory_mib"] and "decode" not in document["latency_ms"]
    assert document["latency_ms"]["total"]["p50"] == 1.0


def test_runs_that_do_not_count_are_in_no_figure(bundle: Bundle, tmp_path: Path) -> None:
    """Of three runs the second throttles; of the others the longest wait for a core is told."""
    printed = outputs(bundle)
    runs = []
    for ms, share in ((1.0, 0.02), (9.0, 0.9), (1.1, 0.3)):
        samples = {stage: [ms, ms] for stage in printed["search"]["samples_ms"]}
        runs.append({**printed["search"], "samples_ms": samples, "waited_share": share})

    class Throttled(Told):
        def launch(self, document: dict[str, Any], progress: Progress) -> Watched:
            mode = document["mode"]
            found = runs.pop(0) if mode == "search" else printed[mode]
            return Watched(found, Memory(20.0, 30.0), samples=3)

    spec = Spec(bundle, Path("index"), ("a dog",), (), searches=2, repeats=3)
    session = Session(Throttled(tmp_path), spec)
    document = session.measure(session.check()[0])
    assert [run["counted"] for run in document["conditions"]["repeats"]] == [True, False, True]
    assert document["samples_ms"]["total"] == [1.0, 1.0, 1.1, 1.1]
    assert document["conditions"]["waited_share"] == 0.3
    assert document["memory_mib"]["samples"] == 6


def test_output_that_is_no_utf_8_says_so(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "check").write_bytes(b'{"pinned_cores": "\xff"}')
    with pytest.raises(BenchError, match="UTF-8"):
        measure(bundle, tmp_path)
