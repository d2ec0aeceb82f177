"""Facts and health of a phone or board over adb: chip, cores, memory, heat."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from mcad_mobile.base import machine
from mcad_mobile.base.documents import Count, convert
from mcad_mobile.base.standard_output import escape_unprintable
from mcad_mobile.bench.devices.adb_shell import AdbShell
from mcad_mobile.bench.document import DeviceFacts, Health
from mcad_mobile.errors import BenchError, TargetError
from mcad_mobile.targets import Target, all_targets, find_target

_MARK = "@@"
_ODD = "Look at what the device says by `adb shell`: getprop, dumpsys, /proc, /sys."
# Android Studio's emulator, old and new, and the virtual device of Android's own builds.
_EMULATED_HARDWARE = ("goldfish", "ranchu", "cutf_cvm")
_CORES = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "${c##*cpu} $(cat $c/cpufreq/cpuinfo_max_freq) $(cat $c/cpufreq/scaling_max_freq)"; done'
)
_ZONES = 'for z in /sys/class/thermal/thermal_zone*; do echo "$(cat $z/type) $(cat $z/temp)"; done'
_FACTS = {
    "props": "getprop",
    "machine": "uname -m",
    "kernel": "uname -r",
    "cores": _CORES,
    "memory": "cat /proc/meminfo",
    "cpuinfo": "cat /proc/cpuinfo",
    "release": "cat /etc/os-release",
    "soc": "cat /sys/devices/soc0/machine",
    "model": "tr -d '\\0' < /proc/device-tree/model",
    "compatible": "tr '\\0' '\\n' < /proc/device-tree/compatible",
}
_HEALTH = {
    "thermal": "dumpsys thermalservice",
    "battery": "dumpsys battery",
    "cores": _CORES,
    "zones": _ZONES,
}


class Facts(DeviceFacts, frozen=True, kw_only=True):
    """`soc` is the chip's model as the system names it ("SM8750"), or its platform's name
    ("kalama"), or "" if unknown; `emulator` is the program that emulates a phone."""

    model: str
    soc: str
    arch: str
    abi: str
    core_max_mhz: dict[str, Count]

    @property
    def targets(self) -> list[Target]:
        """The chips in our table that this may be; several may share a platform's name."""
        with suppress(TargetError):
            return [find_target(self.soc)]
        return [target for target in all_targets() if target.platform == self.soc.lower()]

    def fastest_cores(self, threads: int) -> list[int]:
        """Return the `threads` cores with the highest clock, the last ones among equals; none if
        clocks are unknown."""
        ordered = sorted((mhz, int(core)) for core, mhz in self.core_max_mhz.items())
        return sorted(core for _, core in ordered[-threads:])


def read_facts(shell: AdbShell) -> Facts:
    """Read the facts of an Android device, which has properties, or of a Linux board. BenchError:
    the device reports an impossible number."""
    output = _ask(shell, _FACTS)
    props = dict(re.findall(r"^\[(.+?)\]: \[(.*)\]$", output["props"], flags=re.MULTILINE))
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", output["memory"], flags=re.MULTILINE))
    facts: dict[str, Any] = {
        "kind": "adb",
        "arch": output["machine"].strip(),
        "instruction_sets": machine.instruction_sets(output["cpuinfo"]),
        "kernel": output["kernel"].strip(),
        "memory_mib": _number(memory.get("MemTotal", "0")) // 1024,
        "memory_available_mib": _number(memory.get("MemAvailable", "0")) // 1024,
        "core_max_mhz": {core: top for core, top, _ in _cores(output["cores"])},
        "cores": len(re.findall(r"^\d+ ", output["cores"], flags=re.MULTILINE))
        or output["cpuinfo"].count("processor\t"),
    }
    if "ro.build.version.sdk" in props:
        version, sdk = props.get("ro.build.version.release", "?"), props["ro.build.version.sdk"]
        maker, hardware = props.get("ro.product.manufacturer", ""), props.get("ro.hardware", "")
        facts |= {
            "system": "android",
            "model": f"{maker} {props.get('ro.product.model', '')}".strip(),
            "soc": props.get("ro.soc.model", "") or props.get("ro.board.platform", ""),
            "abi": props.get("ro.product.cpu.abi", ""),
            "os": f"Android {version} (API {sdk})",
            "build": props.get("ro.build.fingerprint", ""),
        }
        # Android's own emulators identify themselves only in their properties.
        in_qemu = "1" in map(props.get, ("ro.kernel.qemu", "ro.boot.qemu"))
        if in_qemu or hardware in _EMULATED_HARDWARE:
            facts["emulator"] = f"Android Emulator ({hardware or 'qemu'})"
    else:
        name = re.search(r'^PRETTY_NAME="?(.*?)"?$', output["release"], flags=re.MULTILINE)
        facts |= {
            "system": "linux",
            "model": output["model"].strip(),
            "soc": _board_chip(output["soc"], output["compatible"]),
            "abi": facts["arch"],
            "os": name.group(1) if name else "Linux",
            "build": "",
        }
    chip = facts["soc"] or "unknown chip"
    facts["cpu"] = f"{facts['model']} ({chip})" if facts["model"] else chip
    return convert(facts, Facts, "The device", BenchError, _ODD)


def read_health(shell: AdbShell) -> Health:
    """Read heat, battery and capped clocks, as far as the device reports them."""
    output = _ask(shell, _HEALTH)
    status = re.search(r"Thermal Status: (\d+)", output["thermal"])
    skin = re.search(r"mValue=(-?\d+(?:\.\d+)?), mType=3\b", output["thermal"])
    level = re.search(r"^\s*level: (\d+)", output["battery"], flags=re.MULTILINE)
    tenths = re.search(r"^\s*temperature: (\d+)", output["battery"], flags=re.MULTILINE)
    # The CPUs' zones are in thousandths of a degree.
    zones = re.findall(r"^\S*cpu\S* (\d+)$", output["zones"], flags=re.MULTILINE | re.IGNORECASE)
    hottest = max(map(_number, zones)) / 1000 if zones else None
    reported = {
        "thermal_status": _number(status[1]) if status else None,
        "temperature_c": float(skin[1]) if skin else _number(tenths[1]) / 10 if tenths else hottest,
        "battery_percent": _number(level[1]) if level else None,
        "capped": {core: cap for core, top, cap in _cores(output["cores"]) if cap < top} or None,
    }
    known = {name: value for name, value in reported.items() if value is not None}
    return convert(known, Health, "The device's health", BenchError, _ODD)


def _ask(shell: AdbShell, commands: dict[str, str]) -> dict[str, str]:
    """The output of each command, in one round trip; "" if the device does not have it."""
    script = "\n".join(
        f"echo; echo {_MARK}{n}; {{ {q}; }} 2>/dev/null" for n, q in commands.items()
    )
    _, printed = shell.ask(script)
    found = dict.fromkeys(commands, "")
    for part in printed.split(f"\n{_MARK}")[1:]:
        name, _, answer = part.partition("\n")
        found[name.strip()] = escape_unprintable(answer.replace("\r", ""))
    return found


def _cores(output: str) -> list[tuple[str, int, int]]:
    """Each core's number, its highest clock and the one that it may have now, in MHz, from lines of
    "NUMBER MAX_KHZ ALLOWED_KHZ"; cores without a clock are left out."""
    rows = re.findall(r"^(\d{1,3}) (\d+) (\d+)$", output, flags=re.MULTILINE)
    found = [(str(int(n)), _number(top) // 1000, _number(cap) // 1000) for n, top, cap in rows]
    return sorted(found, key=lambda core: int(core[0]))


def _board_chip(soc: str, compatible: str) -> str:
    """From the kernel's soc0 ("SM8650"), or the device tree ("qcom,sm8650", "mediatek,mt6985")."""
    if soc.strip():
        return soc.strip()
    for line in compatible.splitlines():
        chip = line.partition(",")[2].upper()
        if re.fullmatch(r"(SM|MT|QCS|QCM|SA)\d{3,5}\w*", chip):
            return chip
    return ""


def _number(digits: str) -> int:
    """Parse at most 18 digits: Python refuses to convert thousands, and 18 are absurd enough."""
    return int(digits[:18])
