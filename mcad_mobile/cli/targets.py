"""mcad-mobile targets: the chips that a bundle can be made for."""

from __future__ import annotations

from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.options import Json
from mcad_mobile.cli.output import print_table
from mcad_mobile.targets import all_targets


def targets(*, json: Json = False) -> None:
    """List the chips that a bundle can be made for, with the runtimes in their bundles."""
    documents = [target.to_json() for target in all_targets()]
    if json:
        print_json(documents)
        return
    ladders: dict[str, list[list[str]]] = {}
    for document in documents:
        ladder = f"{' > '.join(document['runtimes'])} ({', '.join(document['precisions'])})"
        row = [document["id"], document["chip"], document["npu"]]
        ladders.setdefault(ladder, []).append(row)
    for ladder, rows in ladders.items():
        print_table(ladder, ["id", "chip", "NPU"], rows)
        print()
