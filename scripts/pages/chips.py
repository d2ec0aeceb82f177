"""docs/chips.md, from the table of targets."""

from __future__ import annotations

from mcad_mobile.export.targets import all_targets


def chips_page() -> str:
    chips = [target for target in all_targets() if target.family != "cpu"]
    families = dict.fromkeys(target.family for target in chips)
    parts = [
        "# Chips",
        "",
        "Made from `mcad_mobile/export/targets/socs.toml` by `make docs`; `make check` compares "
        "it.",
        "`--target` takes an id, a model or a name, however it is written, or a family: `cpu`, "
        + ", ".join(f"`{family}`" for family in families)
        + ".",
        "What is proved of each: [targets.md](targets.md).",
        "",
    ]
    for family in families:
        of_family = [target for target in chips if target.family == family]
        parts += [f"## {of_family[0].vendor}", "", "| id | model | names | NPU | VTCM, MiB |"]
        parts += ["|---|---|---|---|---|"]
        for target in of_family:
            names = ", ".join(target.names)
            vtcm = target.vtcm_mb or ""
            parts.append(f"| `{target.id}` | {target.chip} | {names} | {target.npu} | {vtcm} |")
        parts.append("")
    return "\n".join(parts)
