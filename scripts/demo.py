"""The main job on the default student and real photos: export, index, search, bench, report."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mcad_mobile.bench.report import html
from mcad_mobile.bundle import Bundle
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import Found, Result

BUILD = Path("build/demo")
BUNDLE = BUILD / "snapdragon"
QUERIES = ("a man taking a photo with a camera", "a parked motorcycle", "a cat with green eyes")
TIMEOUT_S = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="your own folder of photos")
    folder = parser.parse_args().photos or collect_packaged_photos()

    mcad("export", "--target", "snapdragon", "--out", str(BUNDLE))
    shutil.rmtree(BUNDLE.with_name("snapdragon.index"), ignore_errors=True)
    mcad("index", str(folder), "--bundle", str(BUNDLE))
    searches = [search(query) for query in QUERIES]
    report = BUILD / "report.html"
    document = json.loads(mcad("bench", "--bundle", str(BUNDLE), "--synthetic", "100000", "--json"))
    report.write_text(html(document, bundle=Bundle.load(BUNDLE), searches=searches), "utf-8")
    print(f"Report: {report.resolve()}")
    print_targets(document)


def collect_packaged_photos() -> Path:
    """Photos that installed packages ship, gathered in one folder."""
    folder = BUILD / "photos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for photo in packaged_photos():
        shutil.copyfile(photo, folder / photo.name)
    return folder


def search(query: str) -> Found:
    document = json.loads(mcad("search", query, "--bundle", str(BUNDLE), "-k", "3", "--json"))
    results = [Result(**result) for result in document["results"]]
    hits = ", ".join(f"{Path(hit.path).name} {hit.score:.2f}" for hit in results)
    print(f"  {hits}")
    return Found(query, results, document["ms"], document["truncated"])


def mcad(*arguments: str) -> str:
    """Run one verb, echo it, and print what it says (its JSON is returned instead)."""
    print(f"$ mcad-mobile {shlex.join(arguments)}", flush=True)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("mcad-mobile")), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)
    if "--json" not in arguments:
        print(done.stdout, end="")
    return done.stdout


def print_targets(document: dict[str, dict[str, dict[str, float]]]) -> None:
    memory, latency = document["targets"]["memory"], document["targets"]["search"]
    photos, device = document["index"]["photos"], document["device"]
    print(f"\nAt {photos:,} photos, one thread, on this computer ({device['cpu']}), not a phone:")
    print(f"{'':16}{'target':>10}{'measured':>12}")
    rows = (
        ("running memory", memory["limit_mib"], memory["measured_mib"], "MiB", memory["pass"]),
        ("search, p50", latency["limit_ms"], latency["measured_ms"], "ms", latency["pass"]),
    )
    for name, limit, measured, unit, passed in rows:
        verdict = "pass" if passed else "FAIL"
        print(f"{name:16}{limit:>6} {unit:3}{measured:>8.1f} {unit:3}  {verdict}")


if __name__ == "__main__":
    main()
