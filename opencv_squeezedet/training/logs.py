"""The progress of a training run, and its log files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opencv_squeezedet.evaluation import Evaluation
from opencv_squeezedet.extras import needs
from opencv_squeezedet.files import write_whole
from opencv_squeezedet.training.diagnostics import LayerState
from opencv_squeezedet.training.losses import Losses

_OF_CLASS = "voc07 "


@dataclass(frozen=True)
class Progress:
    """The progress of a training run.

    Parameters
    ----------
    seen, pictures : int
        Pictures seen so far, and in total.
    losses : Losses
        Means since the last progress.
    evaluation : Evaluation or None
        Of the EMA network on the validation set, if it has just been measured.
    problems : list of str
        Files that could not be read and layers that have died, each reported once.
    rate, gradient : float
        The learning rate of new layers, and the mean norm of the gradient since the last progress.
    layers : list of LayerState
        The layers of the EMA network, whenever a measurement is due.
    """

    seen: int
    pictures: int
    losses: Losses
    evaluation: Evaluation | None = None
    problems: Sequence[str] = ()
    rate: float = 0.0
    gradient: float = 0.0
    layers: Sequence[LayerState] = ()


def log_row(progress: Progress, seconds: float) -> dict[str, float]:
    """Return a row of the log; ``seconds`` is the time that the training has taken so far."""
    row = {
        "seen": float(progress.seen),
        "seconds": round(seconds, 1),
        "rate": float(f"{progress.rate:.4g}"),
        **{name: round(float(value), 4) for name, value in zip(Losses._fields, progress.losses, strict=True)},
        "gradient": float(f"{progress.gradient:.4g}"),
    }
    if progress.evaluation is not None:
        row["map_voc07"] = round(progress.evaluation.map_voc07, 4)
        row |= {_OF_CLASS + each.label: round(each.voc07, 4) for each in progress.evaluation.classes if each.objects}
    return row


def write_logs(folder: Path, history: Sequence[dict[str, float]], labels: Sequence[str]) -> None:
    """Write ``log.csv`` with all rows and, once there is a measurement, ``classes.csv`` with the AP of each class."""
    columns = ["seen", "seconds", "rate", *Losses._fields, "gradient", "map_voc07"]
    write_whole(folder / "log.csv", _csv(history, columns))
    if measured := [row for row in history if "map_voc07" in row]:
        of_classes = [_OF_CLASS + label for label in labels]
        write_whole(folder / "classes.csv", _csv(measured, ["seen", "map_voc07", *of_classes]))


def _csv(rows: Sequence[dict[str, float]], columns: Sequence[str]) -> bytes:
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue().encode()


def curves_png(history: Sequence[dict[str, float]]) -> bytes:
    """Plot the parts of the loss and, if it was measured, the mAP over the pictures seen, as PNG."""
    with needs("train"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in Losses._fields:
        left.plot([row["seen"] for row in history], [row[name] for row in history], label=name)
    measured = [row for row in history if "map_voc07" in row]
    right.plot([row["seen"] for row in measured], [100 * row["map_voc07"] for row in measured], "o-")
    left.set(title="loss", xlabel="pictures seen", ylim=(0, None))
    right.set(title="mAP (VOC07), %", xlabel="pictures seen", ylim=(0, 100))
    left.legend(frameon=False)
    for axes in (left, right):
        axes.set_xlim(0, history[-1]["seen"])
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
