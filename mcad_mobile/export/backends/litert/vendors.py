"""Compile integer .tflite files for NPUs with their vendor's compiler, or check them by the list of
its plugin in LiteRT."""

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
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.towers import RUNTIMES
from mcad_mobile.errors import ExportError, require
from mcad_mobile.export.backends.litert.flatbuffer import Operator, operators
from mcad_mobile.targets import Target

_COMPILED = "DISPATCH_OP"  # the custom operator that runs a compiled network


@dataclass(frozen=True)
class Vendor:
    """Whose compiler LiteRT has a plugin for.

    Attributes:
        name: of the vendor.
        sdk: the vendor's name for its SDK.
        package: the package on PyPI that downloads the SDK when it is installed.
        library: the file of the SDK that the plugin loads.
        plugin: LiteRT's name of the plugin, and of our list PLUGIN_operators.toml.
        accepts: which operators its list accepts, as the end of a sentence.
    """

    name: str
    sdk: str
    package: str
    library: str
    plugin: str
    accepts: str

    @property
    def install(self) -> str:
        return f"pip install {self.package}, on an open network"


VENDORS = {
    "MediaTek": Vendor(
        "MediaTek",
        "NeuroPilot SDK",
        "ai-edge-litert-sdk-mediatek",
        "libneuron_adapter.so",
        "mediatek",
        "those on the list of MediaTek's compiler",
    ),
    "Google": Vendor(
        "Google",
        "Tensor ML SDK",
        "ai-edge-litert-sdk-google-tensor",
        "liblitert_plugin_compiler.so",
        "google_tensor",
        "all but the few that Google's compiler plugin refuses by name; which ones and which types "
        "Google's compiler takes is not published",
    ),
}


def refusal(operator: Operator, vendor: Vendor) -> str | None:
    """Return why the vendor's list refuses an operator ("ADD of INT16 per channel"), or None."""
    facts = _facts(vendor.plugin)
    if operator.name not in facts["operators"]:
        return operator.name
    if "types" not in facts:
        return None
    for tensor in operator.tensors:
        taken = facts["types"].get(tensor.dtype, [])
        if tensor.bytes:
            taken = taken + facts["constants"].get(tensor.dtype, [])
        if tensor.quantization not in taken:
            return f"{operator.name} of {tensor}"
    return None


def refusals(found: Iterable[Operator], vendor: Vendor) -> Counter[str]:
    """Count the reasons why the vendor's list refuses operators."""
    reasons = (refusal(operator, vendor) for operator in found)
    return Counter(reason for reason in reasons if reason is not None)


def counted(refused: Counter[str]) -> str:
    """Return names and counts as text: "GATHER (2), ARG_MAX (1)"."""
    return ", ".join(f"{name} ({count})" for name, count in refused.most_common())


def why_not_compiled(target: Target) -> str | None:
    """Return why nothing can be compiled here for `target`, and how to change that, or None."""
    vendor = VENDORS[target.vendor]
    if not any(RUNTIMES[plan.runtime].source for plan in target.ladder):
        return f"LiteRT's compiler does not know {target.chip}."
    module = vendor.package.replace("-", "_")
    if importlib.util.find_spec(module) is None:
        return f"That needs {vendor.name}'s {vendor.sdk} ({vendor.install})."
    versions = () if target.neuropilot is None else (target.neuropilot,)
    try:
        with quiet():
            folder = importlib.import_module(module).path_to_sdk_libs(*versions)
    except NotImplementedError as error:  # the SDK runs only on x86-64 Linux
        return f"{vendor.name}'s {vendor.sdk} does not run here: {error}"
    if folder is None or not (Path(folder) / vendor.library).is_file():
        return (
            f"{vendor.package} is installed without {vendor.name}'s libraries, which it downloads "
            f"as it is installed: install it again ({vendor.install})."
        )
    return None


def compile_for_npu(model: Path, out: Path, target: Target) -> list[Operator]:
    """Compile an integer .tflite to `out`; return the operators that stay on the CPU."""
    vendor = VENDORS[target.vendor]
    compiler = require("ai_edge_litert.aot.aot_compile", "dimensity")
    plugin = f"ai_edge_litert.aot.vendors.{vendor.plugin}"
    require(f"{plugin}.{vendor.plugin}_backend", "dimensity")  # registers itself
    chips = require(f"{plugin}.target", "dimensity")
    chip = chips.Target(chips.SocModel(target.chip))
    with tempfile.TemporaryDirectory(prefix="mcad-") as folder:
        try:
            with quiet():
                result = compiler.aot_compile(str(model), folder, chip, keep_going=False)
        except ValueError as error:
            raise ExportError(
                f"{model.name} does not compile for {target.chip}: {_reason(error)}",
                f"Try another version of {vendor.package}, or uninstall it: the bundle then has "
                "only the uncompiled .tflite.",
            ) from error
        (compiled,) = result.models
        shutil.copyfile(compiled.path, out)
    found = operators(out)
    left = [operator for operator in found if operator.name != _COMPILED]
    if len(left) == len(found):
        raise ExportError(
            f"{vendor.name}'s compiler accepted no operator of {model.name} for {target.chip}.",
            "Report this, with the versions that `doctor` prints.",
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
def _facts(plugin: str) -> dict[str, Any]:
    """Return a plugin's list: the operators that it accepts, and their types if it has such."""
    file = resources.files(__package__).joinpath(f"{plugin}_operators.toml")
    facts = tomllib.loads(file.read_text("utf-8"))
    if "refused" in facts:
        schema = require("ai_edge_litert.schema_py_generated", "dimensity").BuiltinOperator
        facts["operators"] = {*vars(schema), *facts["composites"]} - {*facts["refused"]}
    return facts
