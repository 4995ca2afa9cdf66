"""What training reports, step by step, and where it is kept: a table on disk, TensorBoard."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from vrn_lite.files import atomically
from vrn_lite.frame import InputError


@dataclass(frozen=True)
class StepMetrics:
    """What one step of training reports.

    Attributes
    ----------
    step, samples : so far; samples of all processes together.
    loss : of the batch.
    iou : mean of the batch's first two samples; NaN for a network without a volume.
    nme : of the surface of one sample, measured now and then and repeated in between (see `metrics.nme`); NaN before
        the first time, infinite where the volume has no surface yet.
    landmark_nme : mean over the batch; NaN for a network without landmarks.
    lr : learning rate.
    samples_per_second : of all processes together, since this run began.
    seconds : since this run began.
    waiting : share of these seconds that the network waited for samples.
    pair_seconds : that making this step's samples took; on a GPU, beside the step before.
    step_seconds : from the samples to the weights.
    """

    step: int
    samples: int
    loss: float
    iou: float
    nme: float
    landmark_nme: float
    lr: float
    samples_per_second: float
    seconds: float
    waiting: float
    pair_seconds: float = 0.0
    step_seconds: float = 0.0


COLUMNS = [field.name for field in fields(StepMetrics)]


def logged(steps: Iterable[StepMetrics], path: str | Path) -> Iterator[StepMetrics]:
    """Pass steps on, and add each to a table (CSV, one row a step, a heading).

    Of a table that is there already, the steps before the first metrics are kept, so that a resumed run continues it.

    Examples
    --------
    ::

        for metrics in logged(train("vrn", face, samples=20_000, folder="out"), "out/log.csv"):
            ...
    """
    file = None
    try:
        for metrics in steps:
            if file is None:
                _keep_before(Path(path), metrics.step)
                file = Path(path).open("a", newline="", buffering=1)
            values = asdict(metrics).values()
            shown = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
            csv.writer(file, lineterminator="\n").writerow(shown)
            yield metrics
    finally:
        if file is not None:
            file.close()


def rows(path: str | Path) -> list[dict[str, float]]:
    """The whole rows of a table that `logged` wrote; a last row cut short is left out."""
    with Path(path).open(newline="") as file:
        lines = [line for line in csv.reader(file) if len(line) == len(COLUMNS)]
    return [dict(zip(COLUMNS, map(float, line), strict=True)) for line in lines if line != COLUMNS]


def _keep_before(path: Path, step: int) -> None:
    """Cut a table off before a step, or begin one."""
    old = path.read_text().splitlines() if path.is_file() else []
    whole = [line for line in old if line.count(",") == len(COLUMNS) - 1 and line.split(",")[0].isdigit()]
    kept = [line for line in whole if int(line.split(",")[0]) < step]
    atomically(path, lambda part: part.write_text("\n".join([",".join(COLUMNS), *kept, ""])))


def on_tensorboard(steps: Iterable[StepMetrics], folder: str | Path) -> Iterator[StepMetrics]:
    """Pass steps on, and write each for TensorBoard; a resumed run overwrites the steps that it repeats.

    Raises
    ------
    InputError : TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = "pip install 'vrn_lite[train]', or leave --tensorboard out"
        raise InputError(f"TensorBoard is not installed: {remedy}") from error
    return _written(steps, lambda first: SummaryWriter(str(folder), purge_step=first))


def _written(steps: Iterable[StepMetrics], writer_from: Callable[[int], Any]) -> Iterator[StepMetrics]:
    """Pass steps on, and give each to a TensorBoard writer."""
    writer = None
    try:
        for metrics in steps:
            writer = writer or writer_from(metrics.step)
            for name, value in asdict(metrics).items():
                if name != "step" and isfinite(value):
                    writer.add_scalar(name, value, metrics.step)
            yield metrics
    finally:
        if writer is not None:
            writer.close()
