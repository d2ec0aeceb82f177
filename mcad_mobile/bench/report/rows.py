"""The texts and rows of a report, shared by the page and Markdown."""

from __future__ import annotations

from typing import Any

from mcad_mobile.base.standard_output import counted
from mcad_mobile.engine.bundle import TOWERS

PERCENTILES = ("p50", "p90", "p99")
STAGE_NAMES = {
    "tokenize": "Tokenize",
    "text": "Text tower",
    "scan": "Scan the index",
    "rescore": "Re-score the best",
    "total": "Whole search",
    "decode": "Decode a photo",
    "image": "Image tower",
}
NOT_MEASURED = "not measured"
BUSY_SHARE = 0.05
_NBSP = "\u00a0"
_STATUS = {"fail": "wrong vectors", "skip": "skipped"}

Row = tuple[str, ...]


def headline(document: dict[str, Any]) -> str:
    """The result in one line: of a search, of towers alone, or of parity."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    if search["measured_ms"] is not None and memory["measured_mib"] is not None:
        return (
            f"A search takes {search['measured_ms']:.1f}{_NBSP}ms "
            f"and {memory['measured_mib']:.0f}{_NBSP}MiB"
        )
    towers = [name for name in ("text", "image") if name in document["latency_ms"]]
    if towers:
        medians = (
            f"{name} tower {document['latency_ms'][name]['p50']:.2f}{_NBSP}ms" for name in towers
        )
        return capitalized(", ".join(medians))
    worst = min((rung["cosine_min"] for rung in measured_rungs(document).values()), default=None)
    return (
        "Nothing was timed"
        if worst is None
        else f"Embeddings correct: cosine {worst:.4f} or better"
    )


def _verdict_sentence(document: dict[str, Any]) -> str:
    names = {"search": "time", "memory": "memory"}
    passes = {name: document["targets"][target]["pass"] for target, name in names.items()}
    verdicts = {name: passed for name, passed in passes.items() if passed is not None}
    if not verdicts:
        return "No verdict against the targets: a whole search was not measured here."
    failed = [name for name, passed in verdicts.items() if not passed]
    if failed:
        verdict = f"Over the target for {' and '.join(failed)}."
    elif len(verdicts) == 2:
        verdict = "Within both targets."
    else:
        verdict = f"Within the target for {next(iter(verdicts))}."
    missing = [f"{capitalized(name)} was not measured here." for name in passes.keys() - verdicts]
    return " ".join(filter(None, (verdict, *missing, busy(document))))


def busy(document: dict[str, Any]) -> str:
    """A warning if other work ran on the cores, which lengthens medians by an unknown amount; else
    ""."""
    waited = document["conditions"].get("waited_share")
    if waited is not None:
        if waited <= BUSY_SHARE:
            return ""
        return (
            f"The machine was busy: {100 * waited:.0f} % of the time went into waiting for a core, "
            "so these times are too long."
        )
    load, cores = document["device"].get("load_average_1m"), document["device"].get("cores")
    if load is None or not cores or load < cores:
        return ""
    return f"The machine was busy: its load average was {load:g} on {counted(cores, 'core')}."


def summary(document: dict[str, Any]) -> str:
    """The verdict and the circumstances, as sentences."""
    device = document["device"]
    kinds = {"host": "this computer, not a phone", "aihub": "Qualcomm AI Hub", "adb": "over adb"}
    kind = kinds.get(device["kind"], str(device["kind"]))
    if device.get("emulator"):  # an emulated processor is always named as such
        kind = f"emulated by {device['emulator']}"
    photos, threads = document["index"].get("photos"), document["conditions"]["threads"]
    parts = [counted(photos, "photo")] if photos else []
    parts += [counted(threads, "thread")] if threads else []
    parts.append(f"on {device['cpu']} ({kind})")
    circumstances = f"{', '.join(parts)}.".replace("photos, on", "photos on")
    return f"{_verdict_sentence(document)} {circumstances}"


def device_name(document: dict[str, Any]) -> str:
    device = document["device"]
    return f"{device['cpu']}, emulated" if device.get("emulator") else str(device["cpu"])


def verdict_rows(document: dict[str, Any]) -> list[Row]:
    """(name, limit, measured, "pass", "fail" or "not measured")."""
    search, memory = document["targets"]["search"], document["targets"]["memory"]
    time, peak = _figure(search["measured_ms"], ".2f", " ms"), memory["measured_mib"]
    return [
        ("Search, median", f"{search['limit_ms']:g} ms", time, verdict(search)),
        (
            "Memory, peak PSS",
            f"{memory['limit_mib']:g} MiB",
            _figure(peak, ".1f", " MiB"),
            verdict(memory),
        ),
    ]


def verdict(target: dict[str, Any]) -> str:
    if target["pass"] is None:
        return NOT_MEASURED
    return "pass" if target["pass"] else "fail"


def latency_rows(document: dict[str, Any]) -> list[Row]:
    """The measured stages and their percentiles."""
    latency = document["latency_ms"]
    return [
        (name, *(f"{latency[stage][p]:.2f}" for p in PERCENTILES))
        for stage, name in STAGE_NAMES.items()
        if stage in latency
    ]


def memory_rows(document: dict[str, Any]) -> list[Row]:
    memory = document["memory_mib"]
    rows: list[Row] = [(s["step"], f"{s['pss']:.1f}", f"{s['rss']:.1f}") for s in memory["steps"]]
    if memory["peak_pss"] is not None:
        rows.append(("peak", f"{memory['peak_pss']:.1f}", f"{memory['peak_rss']:.1f}"))
    return rows


def tower_memory_rows(document: dict[str, Any]) -> list[Row]:
    """Peaks of towers, which a cloud reports as ranges."""
    towers = document["memory_mib"].get("towers", {})
    return [
        (
            f"{capitalized(name)} tower",
            *(
                NOT_MEASURED if bounds is None else f"{bounds[0]:.0f} to {bounds[1]:.0f}"
                for bounds in (peaks.get("load_peak"), peaks.get("run_peak"))
            ),
        )
        for name, peaks in towers.items()
    ]


def ladder_rows(document: dict[str, Any]) -> list[Row]:
    """Tower, rung, outcome, worst cosine, nodes on NPU, GPU and CPU."""
    rows: list[Row] = []
    used = measured_rungs(document)
    for name in TOWERS:
        for rung in document["ladder"].get(name, []):
            passed = "used" if rung is used.get(name) else "correct, not used"
            status = _STATUS.get(rung["status"], passed)
            if document["bundle"]["towers"][name][rung["rung"]].get("low_parity"):
                status = f"{status}, low parity"
            rows.append(
                (
                    name,
                    f"{rung['runtime']} {rung['precision']}",
                    f"{status}: {rung['why']}" if rung["why"] else status,
                    _figure(rung["cosine_min"], ".4f"),
                    nodes(rung["nodes"]),
                )
            )
    return rows


def measured_rungs(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The first rung of each tower that passed the self-test."""
    passed = (
        (name, rung)
        for name in TOWERS
        for rung in reversed(document["ladder"].get(name, []))
        if rung["status"] == "pass"
    )
    return dict(passed)  # of a tower, the last pair stays


def nodes(counts: dict[str, int] | None) -> str:
    """{"npu": 170, "gpu": 0, "cpu": 1} -> "NPU 170, CPU 1"."""
    if not counts:
        return "not reported"
    return ", ".join(f"{unit.upper()} {count}" for unit, count in counts.items() if count) or "none"


def repeat_rows(document: dict[str, Any]) -> list[Row]:
    """Run, median, whether it counts, temperature and battery before and after."""
    return [
        (
            f"Run {number}",
            f"{run['p50_ms']:.2f}",
            "counted" if run["counted"] else f"left out: {run['why']}",
            _health(run["before"], run["after"], "temperature_c", " °C"),
            _health(run["before"], run["after"], "battery_percent", " %"),
        )
        for number, run in enumerate(document["conditions"].get("repeats", []), start=1)
    ]


def _health(before: dict[str, Any], after: dict[str, Any], key: str, unit: str) -> str:
    if key not in before or key not in after:
        return "not reported"
    return f"{before[key]:g} to {after[key]:g}{unit}"


def conditions(document: dict[str, Any]) -> list[tuple[str, str]]:
    """How it was measured: (name, value)."""
    device, facts = document["device"], document["conditions"]
    kernel = f", kernel {device['kernel']}" if device.get("kernel") else ""
    rows = [("Device", _device(device)), ("System", f"{device['os']}{kernel}")]
    if device.get("memory_available_mib"):
        available, whole = device["memory_available_mib"], device["memory_mib"]
        rows.append(("Device memory", f"{available:,} of {whole:,} MiB available"))
    if facts["threads"]:
        numbers = ", ".join(map(str, facts["pinned_cores"]))
        pinned = (
            f"pinned to core {numbers} of {device['cores']}" if numbers else "not pinned to cores"
        )
        rows.append(("Threads", f"{facts['threads']}, {pinned}"))
    load, waited = device.get("load_average_1m"), facts.get("waited_share")
    work = [] if load is None else [f"a load average of {load:g} in the minute before"]
    if waited is not None:
        work.append(f"{100 * waited:.1f} % of the searches' time went into waiting for a core")
    if work:
        rows.append(("Other work", "; ".join(work)))
    if facts.get("repeats") and (capped := facts["repeats"][0]["before"].get("capped")):
        cores = ", ".join(f"core {core} at {mhz:,} MHz" for core, mhz in capped.items())
        rows.append(("Clocks", f"held under their maximum from the start: {cores}"))
    if "searches" in facts:
        searches = (
            f"{facts['searches']} timed after {facts['warm_up_searches']} to warm up, "
            f"{facts['results_per_search']} results each, {facts['page_cache']} page cache"
        )
        rows.append(("Searches", searches))
    if document["index"].get("photos"):
        source = document["index"].get("source", "")
        rows.append(("Index", f"{counted(document['index']['photos'], 'photo')}: {source}"))
    used = document["runtime"].items()
    towers = (f"{name} {rung['runtime']} {rung['precision']}" for name, rung in used)
    rows.append(("Towers", "; ".join(towers)))
    low = [
        f"{name} {rung['runtime']} {rung['precision']}"
        for name, rungs in document["bundle"]["towers"].items()
        for rung in rungs
        if rung.get("low_parity")
    ]
    if low:
        rows.append(("Low parity", f"{', '.join(low)}: kept with --allow-low-parity"))
    rows += [("Indexing", _indexing(document)), *_reading(document)]
    for name, jobs in document.get("jobs", {}).items():
        ids = ", ".join(f"{kind} {jobs[kind]}" for kind in ("compile", "inference") if jobs[kind])
        rows.append((f"AI Hub jobs, {name}", ids))
    rows.append(("Versions", ", ".join(f"{name} {v}" for name, v in document["tools"].items())))
    return rows


def _device(device: dict[str, Any]) -> str:
    cores, clocks = device.get("cores"), device.get("core_max_mhz")
    sets = ", ".join(device.get("instruction_sets", ()))
    parts = (
        device["cpu"],
        counted(cores, "core") if cores else "",
        f"up to {max(clocks.values()):,} MHz" if clocks else "",
        device.get("arch", ""),
        f"with {sets}" if sets else "",
    )
    return ", ".join(filter(None, parts))


def _indexing(document: dict[str, Any]) -> str:
    indexing = document["indexing"]
    if "unsupported" in indexing:
        return f"{NOT_MEASURED}: {indexing['unsupported']}"
    peak = document["memory_mib"]["indexing"]["peak_pss"]
    frames = indexing.get("frames_per_s")
    of_videos = f"{frames:.1f} key frames of videos a second; " if frames else ""
    return (
        f"{indexing['photos_per_s']:.1f} photos a second, decoding included "
        f"({counted(indexing['photos'], 'photo')}: {indexing['source']}); {of_videos}"
        f"peak {_figure(peak, '.0f', ' MiB')}"
    )


def _reading(document: dict[str, Any]) -> list[tuple[str, str]]:
    if "reading" not in document:
        return []
    reading, memory = document["reading"], document["memory_mib"]["reading"]
    speed = f"{reading['photos_an_hour']:,.0f} photos an hour, decoding included"
    peak = _figure(memory["peak_pss"], ".0f", " MiB")
    return [("Reading text", f"{speed} ({reading['photos']} photos); peak {peak}")]


def _figure(value: float | None, style: str, unit: str = "") -> str:
    return NOT_MEASURED if value is None else f"{value:{style}}{unit}"


def capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
