"""`splitimpera saliency`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NETWORK = "A built-in name, torchvision/NAME, timm/NAME, transformers/CLASS, package.module:factory or file.py:factory."


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=NETWORK)],
    data: Annotated[str, typer.Option(help="A built-in set, a folder of pictures, or a factory.")],
    weights: Annotated[Path | None, typer.Option(help="A state dict for the network.")] = None,
    target: Annotated[str, typer.Option(help="Which class's logit: predicted or label.")] = "predicted",
    classes: Annotated[str, typer.Option(help="Only pictures of these classes: cat,dog or 3,5.")] = "",
    score: Annotated[str, typer.Option(help="Show this score: cs, fisher, taylor, gradient_agreement, ...")] = "cs",
    output: Annotated[str, typer.Option(help="Which result, where the network returns several.")] = "",
    size: Annotated[str, typer.Option(help="Height and width for pictures from a folder: 224,224.")] = "",
    batch: Annotated[int, typer.Option(min=1, help="Pictures a pass.")] = 32,
    json: Annotated[Path | None, typer.Option(help="Write all numbers to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves to this file (PNG).")] = None,
) -> None:
    """The saliency curve of a network over data: where it may be split."""
    from splitimpera.files import check_file

    for path, argument in ((json, "--json"), (plot, "--plot")):
        if path is not None:
            check_file(path, argument)

    from splitimpera.cli.terminal import console, progress
    from splitimpera.errors import DataError
    from splitimpera.files import write_output
    from splitimpera.models.datasets import load_data
    from splitimpera.models.loading import load_network
    from splitimpera.report.saliency import curve_json, curve_table, curves_png
    from splitimpera.saliency.cumulative import cumulative_saliency
    from splitimpera.scenario import DataSection, NetworkSection

    sides = [part.strip() for part in size.split(",")] if size else []
    if sides and (len(sides) != 2 or not all(side.isdecimal() and int(side) > 0 for side in sides)):
        raise DataError(f"'{size}' is no height and width", where="--size", hint="write for example 224,224")
    here = Path.cwd()
    with progress() as track:
        network = load_network(NetworkSection(model=model, weights=weights), here, track)
        section = DataSection(source=data, size=(int(sides[0]), int(sides[1])) if sides else None)
        pictures = load_data(section, here)
        curve = cumulative_saliency(
            network,
            pictures.everything(),
            target=target,  # type: ignore[arg-type]  # checked there
            classes=[part.strip() for part in classes.split(",")] if classes else None,
            class_names=pictures.classes,
            scores=[score],
            output=int(output) if output.isdecimal() else output or None,
            batch=batch,
            track=track,
        )
    console.print(curve_table(curve, score))
    if json is not None:
        write_output(json, curve_json(curve), "--json")
    if plot is not None:
        write_output(plot, curves_png(curve, score), "--plot")
