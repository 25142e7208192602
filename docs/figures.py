"""Figures of validation.md by name, so that no other page types one again.

A page writes `{{ tcp_replay_median }}`; `conf.py` hands `figures()` to MyST as substitutions. A cell that is not there,
or there twice, is an error: whoever renames a row learns which page speaks of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TABLES = Path(__file__).with_name("validation.md")


class Place(NamedTuple):
    """One cell of a table.

    Attributes:
        heading: The heading right above the table, without its marks.
        row: How the row begins; where its first cell does not tell it apart, more of them: "a | peak memory".
        column: The column's whole name.
        table: How the last line of text above the table begins; "": whichever table has the row and the column.
    """

    heading: str
    row: str
    column: str
    table: str = ""


KERNEL = "Is the simulated TCP what Linux does?"
HERE = "And on this machine's kernel, now?"
DEPLOYED = "Is a design true once it is deployed?"
PAPERS = "Correlations, the papers' latent"
TASKS = "Segmentation and detection"
PROFILE = "Does one profile predict cuts that were never timed?"
TIERS = "Where a third tier pays"
EXITS = "What do early exits save?"
BLOOD = "What does a split detector keep on a real set?"
MEMORY = "Memory of language models"
QUALITY = "What do split language models keep, and what does the link cost them?"
ADAPTING = "How good is the choice of plans while the link changes?"
SOCKETS = "The same over real sockets"
PICTURES = "MobileNetV2 at 224 x 224"
RUNTIME = "What does the runtime cost?"
SPEED = "How fast is the simulator?"
CROSS_ENTROPY = "Spearman with cross-entropy"
GIVEN_DEPTH = "Partial Spearman with cross-entropy, given depth"

PLACES = {
    "tcp_identity": Place(KERNEL, "lossless: largest difference from the identity", "value"),
    "tcp_replay_median": Place(KERNEL, "replay: median distance", "value"),
    "tcp_replay_same": Place(KERNEL, "replay: median share of frames as recorded", "value"),
    "tcp_seeds_median": Place(KERNEL, "independent seeds, cubic: median distance", "value"),
    "tcp_seeds_90": Place(KERNEL, "independent seeds, cubic: distance of 90 %", "value"),
    "ns3_median": Place(KERNEL, "ns-3, cubic: median distance", "value"),
    "ns3_90": Place(KERNEL, "ns-3, cubic: distance of 90 %", "value"),
    "tcp_here_median": Place(HERE, "TCP, same drops: median distance", "value"),
    "udp_here_worst": Place(HERE, "UDP: worst distance", "value"),
    "udp_here_losses": Place(HERE, "UDP: frames with other losses", "value"),
    "simulated_packets": Place(SPEED, "TCP Reno, 100 Mbit/s", "measured"),
    "deployed_p50": Place(DEPLOYED, "p50: the median combination", "value"),
    "deployed_p95": Place(DEPLOYED, "p95: the median combination", "value"),
    "deployed_p50_worst": Place(DEPLOYED, "p50: the worst combination, in limits", "value"),
    "deployed_p95_worst": Place(DEPLOYED, "p95: the worst combination, in limits", "value"),
    "deployed_p95_counted": Place(DEPLOYED, "p95: the worst combination, counted", "value"),
    "deployed_losses": Place(DEPLOYED, "combinations whose lost packets", "value"),
    "deployed_accuracy": Place(DEPLOYED, "combinations whose accuracy", "value"),
    "deployed_mask": Place(TASKS, "segmentation SC down2.0.0", "mIoU, AP50 %"),
    "deployed_boxes": Place(TASKS, "detection SC stage1.1.0", "mIoU, AP50 %"),
    "tier_p95": Place(TIERS, "ResNet-20: layer1.2 uint8 udp", "p95 ms"),
    "cs_vgg": Place(PAPERS, "cs (high)", "digits-vgg16", CROSS_ENTROPY),
    "cs_resnet": Place(PAPERS, "cs (high)", "digits-resnet20", CROSS_ENTROPY),
    "cs_cifar": Place(PAPERS, "cs (high)", "cifar-resnet20", CROSS_ENTROPY),
    "depth_vgg": Place(PAPERS, "depth (high)", "digits-vgg16", CROSS_ENTROPY),
    "depth_resnet": Place(PAPERS, "depth (high)", "digits-resnet20", CROSS_ENTROPY),
    "depth_cifar": Place(PAPERS, "depth (high)", "cifar-resnet20", CROSS_ENTROPY),
    "cs_given_depth_vgg": Place(PAPERS, "cs (high)", "digits-vgg16", GIVEN_DEPTH),
    "cs_given_depth_resnet": Place(PAPERS, "cs (high)", "digits-resnet20", GIVEN_DEPTH),
    "cs_given_depth_cifar": Place(PAPERS, "cs (high)", "cifar-resnet20", GIVEN_DEPTH),
    "cs_unet": Place(TASKS, "cs", "bottleneck", "U-Net, 15 cuts"),
    "depth_unet": Place(TASKS, "depth", "bottleneck", "U-Net, 15 cuts"),
    "cs_detector": Place(TASKS, "cs", "bottleneck", "Detector, 17 cuts"),
    "depth_detector": Place(TASKS, "depth", "bottleneck", "Detector, 17 cuts"),
    "profile_vgg": Place(PROFILE, "vgg16", "median error"),
    "profile_resnet": Place(PROFILE, "resnet50", "median error"),
    "profile_mobilenet": Place(PROFILE, "mobilenet_v2", "median error"),
    "profile_worst": Place(PROFILE, "mobilenet_v2", "worst error"),
    "webp_bytes": Place(BLOOD, "the input | webp:75", "bytes"),
    "webp_kept": Place(BLOOD, "the input | webp:75", "0%"),
    "split_bytes": Place(BLOOD, "stage1.1.0 | uint4:channel+rans-packets", "bytes"),
    "split_kept": Place(BLOOD, "stage1.1.0 | uint4:channel+rans-packets", "0%"),
    "webp_lossy": Place(BLOOD, "the input | webp:75", "20%"),
    "interleaved_bytes": Place(BLOOD, "stage1.1.0 | uint4:channel+interleaved", "bytes"),
    "interleaved_lossy": Place(BLOOD, "stage1.1.0 | uint4:channel+interleaved", "20%"),
    "exits_lost": Place(EXITS, "at most 0.5 points lost", "digits VGG16"),
    "exits_worst": Place(EXITS, "digits VGG16 | linear", "worst division"),
    "exits_macs": Place(EXITS, "digits VGG16 | linear", "mean MACs"),
    "exits_macs_cifar": Place(EXITS, "CIFAR-10 ResNet-20 | linear", "mean MACs"),
    "adapting_best": Place(ADAPTING, "Verizon LTE", "ours / oracle"),
    "adapting_worst": Place(ADAPTING, "AT&T LTE", "ours / oracle"),
    "adapting_pictures_worst": Place(PICTURES, "outage of 3 s", "ours / oracle"),
    "sockets_outage": Place(SOCKETS, "outage of 3 s | policy", "difference"),
    "memory_gpt2": Place(MEMORY, "gpt2 | all", "predicted over measured"),
    "memory_worst": Place(MEMORY, "llama | 4 to 12 |", "predicted over measured"),
    "uint8_language": Place(QUALITY, "`uint8:channel` |", "as it is, `blocks.0`"),
    "uint4_language": Place(QUALITY, "`uint4` |", "as it is, `blocks.0`"),
    "tls_back_to_back": Place(RUNTIME, "tls | 10 kB", "back to back"),
}


def figures(text: str | None = None, places: dict[str, Place] | None = None) -> dict[str, str]:
    """Each figure as its cell has it.

    Args:
        text: A document with tables; None: validation.md.
        places: Where each figure is; None: `PLACES`.

    Raises:
        LookupError: a cell that is not there, or there twice.
    """
    tables = list(_tables(TABLES.read_text(encoding="utf-8") if text is None else text))
    return {name: _read(tables, name, place) for name, place in (PLACES if places is None else places).items()}


def column(heading: str, table: str, name: str) -> list[str]:
    """A whole column of the one table under a heading whose text above it begins so."""
    text = TABLES.read_text(encoding="utf-8")
    (found,) = (each for each in _tables(text) if each.heading == heading and each.above.startswith(table))
    return [row[found.columns.index(name)] for row in found.rows]


class _Table(NamedTuple):
    heading: str
    above: str
    columns: list[str]
    rows: list[list[str]]


def _tables(text: str) -> Iterator[_Table]:
    heading = above = ""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            yield _Table(heading, above, rows[0], rows[2:])
            rows = []
        if line.startswith("#"):
            heading, above = line.lstrip("# "), ""
        elif line.strip():
            above = line


def _read(tables: list[_Table], name: str, place: Place) -> str:
    found = []
    for table in tables:
        if table.heading != place.heading or not table.above.startswith(place.table):
            continue
        before: list[str] = []
        for row in table.rows:
            # an empty first cell says what the one above it does
            filled = [row[0] or (before[0] if before else ""), *row[1:]]
            before = filled
            if " | ".join(filled).startswith(place.row):
                found += [cell for column, cell in zip(table.columns, filled, strict=False) if column == place.column]
    if len(found) != 1:
        many = f"{len(found)} cells" if found else "no cell"
        raise LookupError(
            f"{name}: {many} of {TABLES.name} under '{place.heading}', row '{place.row}', '{place.column}'"
        )
    return found[0]
