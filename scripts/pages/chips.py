"""docs/chips.md, from the table of targets."""

from __future__ import annotations

from mcad_mobile.targets import all_targets


def chips_page() -> str:
    chips = [target for target in all_targets() if target.family != "cpu"]
    families = dict.fromkeys(target.family for target in chips)
    parts = [
        "# Chips",
        "",
        "For people who export: find the name of your chip for `--target`.",
        "It takes an id, a model or a name in any spelling, or a family: `cpu`, `cpu-litert`, "
        + ", ".join(f"`{family}`" for family in families)
        + ".",
        "[Targets](targets.md) says what each family gets and how it is tested.",
        "VTCM is the NPU's own fast memory.",
        "`make docs` writes this page from `mcad_mobile/targets/chips.toml`.",
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
