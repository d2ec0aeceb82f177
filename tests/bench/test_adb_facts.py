"""What a phone or board says of itself over adb, read from what its programs print."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import msgspec
import pytest

from mcad_mobile.bench.devices.adb_facts import read_facts, read_health
from mcad_mobile.bench.document import Health

CORES = "0 1800000 1800000\n7 3300000 2900000\n10 3300000 3300000\n4 \n"
PHONE = {
    "props": "[ro.build.version.sdk]: [35]\r\n[ro.build.version.release]: [15]\r\n"
    "[ro.product.manufacturer]: [samsung]\r\n[ro.product.model]: [SM-S931B]\r\n"
    "[ro.soc.model]: [SM8750]\r\n[ro.product.cpu.abi]: [arm64-v8a]\r\n"
    "[ro.build.fingerprint]: [samsung/pa1q:15/AP3A]\r\n[ro.hardware]: [qcom]\r\n",
    "machine": "aarch64\r\n",
    "kernel": "6.6.30-android15\r\n",
    "cores": CORES,
    "memory": "MemTotal:       11534336 kB\nMemFree: 1 kB\nMemAvailable:    5242880 kB\n",
    "cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n",
}
BOARD = {
    "machine": "aarch64\n",
    "kernel": "6.1.0\n",
    "memory": "MemTotal: 2097152 kB\n",
    "cpuinfo": "processor\t: 0\n\nprocessor\t: 1\n",
    "release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "model": "Rubik Pi 3\n",
    "compatible": "thundercomm,rubikpi3\nqcom,qcm6490\n",
}
SKIN = "Thermal Status: 2\nTemperature{mValue=34.5, mType=3, mName=skin, mStatus=0}\n"
OTHER = "Temperature{mValue=61.0, mType=30, mName=npu, mStatus=0}\n"
BATTERY = "Current Battery Service state:\n  level: 81\n  scale: 100\n  temperature: 301\n"
ZONES = "cpu-0-0 41500\nCPU-1 47250\ngpu 90000\nbattery 30000\ncpu-dead \n"


class Shell:
    """Answers what is asked as a device does: a line that names the question, what was printed."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def ask(self, script: str) -> tuple[int, str]:
        asked = re.findall(r"^echo; echo (@@)(\w+); \{ .+; \} 2>/dev/null$", script, re.M)
        answers = (f"\n{mark}{name}\n{self.answers.get(name, '')}" for mark, name in asked)
        return 0, "".join(answers)


def test_text_of_the_kernel_is_asked_for_without_the_zeros_that_end_it(tmp_path) -> None:
    """The device tree ends each text with a zero, and lists texts one after another."""
    (tmp_path / "model").write_bytes(b"Rubik Pi 3\0")
    (tmp_path / "compatible").write_bytes(b"thundercomm,rubikpi3\0qcom,qcm6490\0")

    class Here:
        def ask(self, script: str) -> tuple[int, str]:
            asked = script.replace("/proc/device-tree", str(tmp_path))
            done = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout

    facts = read_facts(Here())
    assert (facts.model, facts.soc) == ("Rubik Pi 3", "QCM6490")


def test_a_phone_is_read_from_its_properties() -> None:
    facts = read_facts(Shell(**PHONE))
    assert [target.id for target in facts.targets] == ["snapdragon-8-elite"]
    assert not facts.emulator
    assert msgspec.to_builtins(facts) == {
        "kind": "adb",
        "system": "android",
        "model": "samsung SM-S931B",
        "soc": "SM8750",
        "cpu": "samsung SM-S931B (SM8750)",
        "instruction_sets": ["NEON", "dot product", "i8mm"],
        "cores": 4,
        "core_max_mhz": {"0": 1800, "7": 3300, "10": 3300},
        "arch": "aarch64",
        "abi": "arm64-v8a",
        "memory_mib": 11264,
        "memory_available_mib": 5120,
        "os": "Android 15 (API 35)",
        "kernel": "6.6.30-android15",
        "build": "samsung/pa1q:15/AP3A",
    }


def test_a_board_is_read_from_its_device_tree() -> None:
    facts = read_facts(Shell(**BOARD))
    assert facts.system == "linux"
    assert (facts.model, facts.soc, facts.abi) == ("Rubik Pi 3", "QCM6490", "aarch64")
    assert (facts.os, facts.cores, facts.core_max_mhz) == ("Debian GNU/Linux 13 (trixie)", 2, {})
    assert (facts.memory_mib, facts.memory_available_mib) == (2048, 0)
    assert [target.chip for target in facts.targets] == ["QCS6490"]
    named = read_facts(Shell(**BOARD, soc="SM8650\n"))
    assert named.soc == "SM8650"


def test_a_device_without_facts_has_an_unknown_chip() -> None:
    facts = read_facts(Shell())
    assert (facts.system, facts.os, facts.model, facts.soc) == ("linux", "Linux", "", "")
    assert facts.cpu == "unknown chip"
    assert facts.fastest_cores(1) == []


@pytest.mark.parametrize(
    ("props", "emulator"),
    [
        ("[ro.hardware]: [ranchu]", "Android Emulator (ranchu)"),
        ("[ro.hardware]: [goldfish]", "Android Emulator (goldfish)"),
        ("[ro.hardware]: [cutf_cvm]", "Android Emulator (cutf_cvm)"),
        ("[ro.kernel.qemu]: [1]", "Android Emulator (qemu)"),
        ("[ro.boot.qemu]: [1]", "Android Emulator (qemu)"),
        ("[ro.boot.qemu]: [0]", ""),
    ],
)
def test_android_emulators_are_recognized(props: str, emulator: str) -> None:
    properties = f"[ro.build.version.sdk]: [35]\n{props}\n"
    assert (read_facts(Shell(props=properties)).emulator or "") == emulator


def test_a_shared_platform_name_means_all_its_chips() -> None:
    properties = "[ro.build.version.sdk]: [33]\n[ro.board.platform]: [taro]\n"
    facts = read_facts(Shell(props=properties))
    assert facts.soc == "taro"
    assert {"snapdragon-8-gen-1", "snapdragon-8-plus-gen-1"} < {
        target.id for target in facts.targets
    }
    assert {target.platform for target in facts.targets} == {"taro"}


def test_the_fastest_cores_are_the_last_of_those_with_the_highest_clock() -> None:
    facts = read_facts(Shell(cores=CORES))
    assert facts.core_max_mhz == {"0": 1800, "7": 3300, "10": 3300}
    assert [facts.fastest_cores(count) for count in (1, 2, 3)] == [[10], [7, 10], [0, 7, 10]]


@pytest.mark.parametrize(
    ("answers", "temperature"),
    [
        ({"thermal": OTHER + SKIN, "battery": BATTERY, "zones": ZONES}, 34.5),
        ({"thermal": OTHER, "battery": BATTERY, "zones": ZONES}, 30.1),
        ({"zones": ZONES}, 47.25),
        ({"zones": "gpu 90000\n"}, None),
        ({}, None),
    ],
    ids=["skin", "battery", "the hottest CPU", "no CPU's", "none"],
)
def test_temperature_is_the_skins_or_else_the_batterys_or_the_hottest_cpus(
    answers: dict[str, str], temperature: float | None
) -> None:
    assert (read_health(Shell(**answers)).temperature_c or None) == temperature


def test_health_of_a_hot_and_throttled_phone() -> None:
    answers: dict[str, Any] = {"thermal": SKIN, "battery": BATTERY, "cores": CORES}
    health = read_health(Shell(**answers))
    assert (health.thermal_status, health.battery_percent) == (2, 81)
    assert health.capped == {"7": 2900}
    assert read_health(Shell()) == Health()
