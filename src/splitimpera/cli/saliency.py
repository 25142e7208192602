"""`splitimpera saliency`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splitimpera.cli.verbosity import Verbose

NETWORK = (
    "Built-in network, torchvision/NAME, timm/NAME, transformers/CLASS, package.module:factory, or file.py:factory."
)


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=NETWORK)],
    data: Annotated[str, typer.Option(help="Built-in data set, folder of images, or factory.")],
    weights: Annotated[Path | None, typer.Option(help="State dict for the network (.safetensors or .pt).")] = None,
    task: Annotated[
        str, typer.Option(help="What the network is for: classification, segmentation, detection, regression, ...")
    ] = "classification",
    target: Annotated[
        str, typer.Option(help="Whose gradient is taken: of what is predicted, or of the label; docs/tasks.md.")
    ] = "predicted",
    classes: Annotated[str, typer.Option(help="Use samples of these classes only, such as cat,dog or 3,5.")] = "",
    score: Annotated[str, typer.Option(help="Score to show: cs, fisher, taylor, gradient_agreement, ...")] = "cs",
    output: Annotated[str, typer.Option(help="Name or index of the output, if the network returns several.")] = "",
    size: Annotated[
        str, typer.Option(help="Height and width to which images from a folder are resized, such as 224,224.")
    ] = "",
    batch: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Batch size (default: what fits into memory, 32 at most).")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to compute: cpu, cuda, mps (Apple), or auto: the best there is.")
    ] = "cpu",
    autocast: Annotated[
        str, typer.Option(help="Mixed precision, faster on most accelerators: bfloat16 or float16 (default: none).")
    ] = "",
    json: Annotated[Path | None, typer.Option(help="Write all numbers to this file (JSON).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves to this file (PNG).")] = None,
    verbose: Verbose = 0,
) -> None:
    """Compute the saliency curve of a network over data, which shows where to split it."""
    from splitimpera.core.files import check_file

    # a network's or data's code may go to another folder
    json, plot = (None if path is None else path.absolute() for path in (json, plot))
    for path, argument in ((json, "--json"), (plot, "--plot")):
        if path is not None:
            check_file(path, argument)

    from splitimpera.cli.terminal import console, progress
    from splitimpera.core.errors import DataError, SplitImperaError
    from splitimpera.core.files import write_output
    from splitimpera.evaluation.truths import check_targets
    from splitimpera.graph.footprint import fitting
    from splitimpera.graph.tracing import trace
    from splitimpera.models.accelerators import torch_device, torch_precision
    from splitimpera.models.datasets import load_data
    from splitimpera.models.networks import load_network
    from splitimpera.report.curve_account import curve_json, curve_table, curves_png
    from splitimpera.saliency.cumulative import cumulative_saliency
    from splitimpera.scenario import DataSection, NetworkSection, section_of
    from splitimpera.tasks.making import make_task

    wanted_size = _size(size)
    wanted_classes = [_label(part.strip(), "--classes") for part in classes.split(",")] if classes else None
    wanted_output = _label(output, "--output")
    try:
        where, precision = torch_device(device), torch_precision(autocast)
    except SplitImperaError as error:
        raise error.at(f"--{error.where}") from None
    wanted_network = section_of(
        NetworkSection, {"model": "MODEL", "weights": "--weights"}, model=model, weights=weights
    )
    wanted_data = section_of(DataSection, {"source": "--data", "size": "--size"}, source=data, size=wanted_size)
    here = Path.cwd()
    try:
        names_output = task != "classification" and wanted_output  # a classification's is named below
        wanted_task = make_task(task, {"output": wanted_output} if names_output else {})
    except SplitImperaError as error:
        raise error.at("--output" if error.where == "task.output" else "--task") from None
    with progress() as track:
        try:
            dataset = load_data(wanted_data, here, wanted_task.targets)  # first: a network may have to be trained
            network = load_network(wanted_network, here, track)
            samples = dataset.everything()
            some = fitting(network, samples.example(samples.read(slice(32))))
            graph = trace(network, some, say=lambda line: console.print(line, highlight=False))
            fitted = None
            if task != "classification":
                example = samples.targets.rows([0])[0] if samples.known else None
                fitted = wanted_task.fitted(graph.outputs, wanted_task.metrics[0], graph.inputs, example)
                check_targets(fitted, dataset)
            curve = cumulative_saliency(
                graph,
                samples,
                target=target,  # type: ignore[arg-type]  # checked there
                task=fitted,
                classes=wanted_classes,
                class_names=dataset.classes,
                scores=[score],
                output=int(wanted_output) if wanted_output.isdecimal() else wanted_output or None,
                batch=batch,
                device=where,
                autocast=precision,
                track=track,
            )
        except DataError as error:  # some of the data are read only now
            raise error.at({"data.source": "--data", "data.size": "--size"}.get(error.where, error.where)) from None
    console.print(curve_table(curve, score))
    if json is not None:
        write_output(json, curve_json(curve), "--json")
    if plot is not None:
        write_output(plot, curves_png(curve, score), "--plot")


def _size(text: str) -> tuple[int, int] | None:
    """Height and width; None for ''."""
    from splitimpera.core.errors import DataError, shown
    from splitimpera.scenario import check_pixels

    if not text:
        return None
    sides = [part.strip() for part in text.split(",", 2)]
    if len(sides) != 2 or not all(_is_number(side) and int(side) > 0 for side in sides):
        raise DataError(
            f"'{shown(text)}' is not a height and a width", where="--size", hint="write for example 224,224"
        )
    height, width = map(int, sides)
    try:
        check_pixels(height, width)
    except ValueError as error:
        raise DataError(str(error), where="--size", hint="write for example 224,224") from None
    return height, width


def _label(text: str, option: str) -> str:
    """A name, or a number of at most nine digits."""
    from splitimpera.core.errors import DataError, shown

    if text.isdecimal() and not _is_number(text):
        raise DataError(f"'{shown(text)}' is not a number up to 999999999", where=option)
    return text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9
