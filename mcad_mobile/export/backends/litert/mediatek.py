"""Compile integer .tflite files for Dimensity NPUs with MediaTek's compiler and operator list."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import shutil
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.errors import ExportError, require
from mcad_mobile.export.backends.litert.flatbuffer import Operator, operators
from mcad_mobile.export.targets import Target

SDK = "ai_edge_litert_sdk_mediatek"
_LIBRARY = "libneuron_adapter.so"
_COMPILED = "DISPATCH_OP"  # the custom operator that runs a compiled network
_INSTALL = "pip install ai-edge-litert-sdk-mediatek, on an open network"


def refusal(operator: Operator) -> str | None:
    """Return why MediaTek's compiler refuses an operator ("ADD of INT16 per channel"), or None."""
    facts = _facts()
    if operator.name not in facts["operators"]:
        return operator.name
    for tensor in operator.tensors:
        taken = facts["types"].get(tensor.dtype, [])
        if tensor.bytes:
            taken = taken + facts["constants"].get(tensor.dtype, [])
        if tensor.quantization not in taken:
            return f"{operator.name} of {tensor}"
    return None


def refusals(found: Iterable[Operator]) -> Counter[str]:
    """Count the reasons why MediaTek's compiler refuses operators."""
    return Counter(reason for reason in map(refusal, found) if reason is not None)


def counted(refused: Counter[str]) -> str:
    """Return names and counts as text: "GATHER (2), ARG_MAX (1)"."""
    return ", ".join(f"{name} ({count})" for name, count in refused.most_common())


def why_not_compiled(target: Target) -> str | None:
    """Return why nothing can be compiled here for `target`, and how to change that, or None."""
    if target.neuropilot is None:
        return f"LiteRT's compiler does not know {target.chip}."
    if importlib.util.find_spec(SDK) is None:
        return f"That needs MediaTek's NeuroPilot SDK ({_INSTALL})."
    try:
        with quiet():
            folder = importlib.import_module(SDK).path_to_sdk_libs(target.neuropilot)
    except NotImplementedError as error:  # the SDK runs only on x86-64 Linux
        return f"MediaTek's NeuroPilot SDK does not run here: {error}"
    if folder is None or not (Path(folder) / _LIBRARY).is_file():
        return (
            "ai-edge-litert-sdk-mediatek is installed without MediaTek's libraries, which it "
            f"downloads as it is installed: install it again ({_INSTALL})."
        )
    return None


def compile_for_npu(model: Path, out: Path, target: Target) -> list[Operator]:
    """Compile an integer .tflite to `out`; return the operators that stay on the CPU."""
    compiler = require("ai_edge_litert.aot.aot_compile", "dimensity")
    require("ai_edge_litert.aot.vendors.mediatek.mediatek_backend", "dimensity")  # registers itself
    vendor = require("ai_edge_litert.aot.vendors.mediatek.target", "dimensity")
    chip = vendor.Target(vendor.SocModel(target.chip))
    with tempfile.TemporaryDirectory(prefix="mcad-") as folder:
        try:
            with quiet():
                result = compiler.aot_compile(str(model), folder, chip, keep_going=False)
        except ValueError as error:
            raise ExportError(
                f"{model.name} does not compile for {target.chip}: {_reason(error)}",
                "Try another version of ai-edge-litert-sdk-mediatek, or uninstall it: the bundle "
                "then has only the uncompiled .tflite.",
            ) from error
        (compiled,) = result.models
        shutil.copyfile(compiled.path, out)
    found = operators(out)
    left = [operator for operator in found if operator.name != _COMPILED]
    if len(left) == len(found):
        raise ExportError(
            f"MediaTek's compiler accepted no operator of {model.name} for {target.chip}.",
            "Report this, with the versions that `mcad-mobile doctor` prints.",
        )
    return left


def _reason(error: ValueError) -> str:
    """Return the compiler's last errors. LiteRT leaves its log in the temporary folder."""
    match = re.search(r"See (\S+) for details", str(error))
    if match is None:
        return str(error)
    log = Path(match[1])
    lines = log.read_text("utf-8", "replace").splitlines()
    log.unlink()
    failed = [line for line in lines if re.match(r"(INFO|ERROR).*([Ff]ail|ERROR)", line)]
    return " ".join(re.sub(r"^\w+: \[\S+\] ", "", line) for line in failed[-3:] or lines[-1:])


@functools.cache
def _facts() -> dict[str, Any]:
    file = resources.files("mcad_mobile.export.targets").joinpath("mediatek.toml")
    return tomllib.loads(file.read_text("utf-8"))
