from collections.abc import Iterator
from importlib.util import find_spec
from math import inf, nan
from pathlib import Path

import pytest

from vrn_lite.frame import InputError
from vrn_lite.training.log import COLUMNS, StepMetrics, logged, on_tensorboard, rows


def records(*steps: int, loss: float = 0.5) -> Iterator[StepMetrics]:
    for step in steps:
        yield StepMetrics(step, 4 * step, loss, 0.25, nan if step < 2 else inf, nan, 1e-3, 10.0, 1.0, 0.1, 0.5, 0.25)


def steps_of(path: Path) -> list[float]:
    return [row["step"] for row in rows(path)]


def test_records_pass_through_and_are_kept(tmp_path):
    passed = list(logged(records(1, 2), tmp_path / "new" / "log.csv"))
    assert [record.step for record in passed] == [1, 2]
    lines = (tmp_path / "new" / "log.csv").read_text().splitlines()
    assert lines == [",".join(COLUMNS), "1,4,0.5,0.25,nan,nan,0.001,10,1,0.1,0.5,0.25", "2,8,0.5,0.25,inf,nan,0.001,10,1,0.1,0.5,0.25"]
    assert rows(tmp_path / "new" / "log.csv")[1]["samples"] == 8


def test_a_resumed_run_continues_its_table(tmp_path):
    path = tmp_path / "log.csv"
    list(logged(records(1, 2, 3, 4), path))
    list(logged(records(3, 4, 5, loss=0.25), path))
    assert [(row["step"], row["loss"]) for row in rows(path)] == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25), (5, 0.25)]
    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_a_row_cut_short_is_left_out(tmp_path):
    path = tmp_path / "log.csv"
    list(logged(records(1, 2), path))
    path.write_text(path.read_text()[:-20])
    assert steps_of(path) == [1]
    list(logged(records(2), path))
    assert steps_of(path) == [1, 2]


def test_a_run_with_nothing_left_to_do_leaves_its_table(tmp_path):
    path = tmp_path / "log.csv"
    list(logged(records(1), path))
    list(logged(records(), path))
    assert steps_of(path) == [1]


def test_the_table_is_whole_while_it_grows(tmp_path):
    path = tmp_path / "log.csv"
    for record in logged(records(1, 2, 3), path):
        assert len(rows(path)) == record.step


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_a_missing_tensorboard_is_told_at_once(tmp_path):
    with pytest.raises(InputError, match=r"TensorBoard is not installed: pip install 'vrn_lite\[train\]', or leave --tensorboard out"):
        on_tensorboard(records(1), tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
@pytest.mark.skipif(find_spec("tensorboard") is None, reason="TensorBoard is not installed: the extra [train]")
def test_tensorboard_gets_every_number(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert [record.step for record in on_tensorboard(records(1, 2), tmp_path)] == [1, 2]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.5)]
    assert set(events.Tags()["scalars"]) == set(COLUMNS) - {"step", "nme", "landmark_nme"}
