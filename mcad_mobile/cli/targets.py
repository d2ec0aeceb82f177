"""mcad-mobile targets"""

from __future__ import annotations

from mcad_mobile.cli.output import JsonOption, print_table
from mcad_mobile.cli.results import print_json
from mcad_mobile.targets import all_targets


def targets(json: JsonOption = False) -> None:
    """List the chips that a bundle can be made for."""
    documents = [target.to_json() for target in all_targets()]
    if json:
        print_json(documents)
        return
    rows = [
        [
            document["id"],
            document["chip"],
            document["npu"],
            " > ".join(document["runtimes"]),
            ", ".join(document["precisions"]),
        ]
        for document in documents
    ]
    print_table("Targets", ["id", "chip", "NPU", "runtimes", "precisions"], rows)
