"""A training's state in a file: resumed runs, killed runs, files that do not fit."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from shapes import toy_face
from vrn_lite.frame import InputError
from vrn_lite.networks.base import FaceNetwork, build
from vrn_lite.networks.weights import save_weights
from vrn_lite.presets import preset
from vrn_lite.samples import NO_JITTER
from vrn_lite.training.log import StepMetrics
from vrn_lite.training.loop import train
from vrn_lite.training.optim import OPTIMS

FACE = toy_face()


def run(network: FaceNetwork, steps: int, **options) -> list[StepMetrics]:
    return list(train(network, FACE, samples=4 * steps, batch=4, device="cpu", **options))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, ema):
    optim = replace(OPTIMS["fast"], ema=ema)
    whole = build("vrn", "tiny", 3)
    expected = run(whole, 6, seed=3, optim=optim, measure_every=3)
    first = build("vrn", "tiny", 3)
    begun = train(first, FACE, samples=24, batch=4, seed=3, device="cpu", folder=tmp_path, save_every=0.0, optim=optim, measure_every=3)
    assert [metrics.loss for metrics in islice(begun, 3)] == [metrics.loss for metrics in expected[:3]]
    begun.close()
    second = build("vrn", "tiny", 99)  # its weights come from the checkpoint
    rest = run(second, 6, seed=3, folder=tmp_path, optim=optim, measure_every=3)
    assert [metrics.step for metrics in rest] == [4, 5, 6]
    assert [(metrics.loss, metrics.iou, metrics.nme) for metrics in rest] == [(metrics.loss, metrics.iou, metrics.nme) for metrics in expected[3:]]
    assert same(state(whole), state(second))


def test_a_checkpoint_holds_everything_and_loads_without_code(tmp_path):
    network = build("vrn", "tiny", 0)
    run(network, 2, folder=tmp_path, optim=replace(OPTIMS["fast"], ema=0.5))
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (held["step"], held["seed"], held["batch"], held["ranks"], held["variant"]) == (2, 0, 4, 1, "vrn")
    assert held["network"].keys() == network.state_dict().keys()
    assert len(held["optimiser_state"]["state"]) == len(list(network.parameters()))
    averaged = {name.removeprefix("module."): value for name, value in held["average"].items() if name != "n_averaged"}
    assert same(averaged, state(network)), "where weights are averaged, the average is handed out"
    assert not same(held["network"], averaged)


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    network = build("vrn", "tiny", 0)
    run(network, 2, folder=tmp_path)
    before = state(network)
    assert run(network, 2, folder=tmp_path) == []
    assert same(before, state(network))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=1)
    with pytest.raises(InputError, match="was made with seed 1, not 2"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=2)
    with pytest.raises(InputError, match="was made with variant 'vrn', not 'unaligned'"):
        run(build("unaligned", "tiny", 0), 1, folder=tmp_path, seed=1)
    with pytest.raises(InputError, match="was made with batch 4, not 2"):
        list(train("vrn", FACE, preset="tiny", samples=4, batch=2, seed=1, device="cpu", folder=tmp_path))
    with pytest.raises(InputError, match="was made with optimiser 'adamw', not 'rmsprop'"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=1, optim="paper")
    other = replace(preset("tiny"), name="other")
    with pytest.raises(InputError, match="was made with preset"):
        run(build("vrn", other, 0), 1, folder=tmp_path, seed=1)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "truncated", "foreign"])
def test_an_unreadable_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    if content == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        run(build("vrn", "tiny", 0), 1, folder=tmp_path)
        path.write_bytes(path.read_bytes()[:5000] if content == "truncated" else content)
    with pytest.raises(InputError, match="cannot read the checkpoint .*; delete it to start afresh"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*; choose another folder"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path / "file")
    (tmp_path / "w.safetensors").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        save_weights(build("vrn", "tiny", 0), tmp_path / "w.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "w.safetensors"]


def test_the_range_of_poses_belongs_to_the_checkpoint(tmp_path):
    run(build("vrn", "tiny"), 2, poses=NO_JITTER, folder=tmp_path)
    with pytest.raises(InputError, match="was made with poses"):
        run(build("vrn", "tiny"), 4, folder=tmp_path)


def test_a_checkpoint_of_the_first_edition_goes_on(tmp_path):
    """It calls the shortcut of a residual module `carry`, and tells no arguments."""
    network = build("vrn", "tiny")
    expected = run(build("vrn", "tiny"), 3)
    run(network, 2, folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    held = torch.load(path, weights_only=True)
    held["network"] = {name.replace(".shortcut.", ".carry."): value for name, value in held["network"].items()}
    assert any(".carry." in name for name in held["network"])
    del held["arguments"]
    torch.save(held, path)
    rest = run(build("vrn", "tiny", 9), 3, folder=tmp_path)
    assert [step.step for step in rest] == [3]
    assert rest[0].loss == pytest.approx(expected[2].loss, rel=0.05)


def test_arguments_belong_to_the_checkpoint(tmp_path):
    run(build("guided", "tiny", arguments={"sigma": 1.5}), 1, folder=tmp_path)
    with pytest.raises(InputError, match=r"was made with arguments \{'sigma': 1.5\}, not \{'sigma': 1.0\}"):
        run(build("guided", "tiny"), 1, folder=tmp_path)


# Killed runs

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from shapes import toy_face
from vrn_lite.training.loop import train
from vrn_lite.training.optim import OPTIMS
from dataclasses import replace
torch.set_num_threads(1)
face, folder, chance = toy_face(), Path(sys.argv[1]), random.Random(0)
checkpoint, optim = folder / "checkpoint.pt", replace(OPTIMS["fast"], ema=0.9)

for _ in train("vrn", face, preset="tiny", samples=4, batch=2, device="cpu", measure_every=0):
    pass  # the children, forked from here, begin warm

def child():
    process = os.fork()
    if process == 0:
        for _ in train("vrn", face, preset="tiny", samples=120, batch=2, device="cpu", folder=folder, save_every=0.0, optim=optim, measure_every=0):
            pass
        os._exit(0)
    return process

def step():
    return torch.load(checkpoint, weights_only=True)["step"] if checkpoint.exists() else 0

reached, parts = 0, 0
for kill in range(10):
    process, before, patience = child(), step(), time.monotonic() + 60
    while kill % 2 and step() == before < 60 and time.monotonic() < patience:  # every other child gets as far as to save
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.2))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert step() >= reached, (step(), reached)
    reached, parts = step(), parts + len(list(folder.glob("*.part")))
_, status = os.waitpid(child(), 0)
print(status, step(), reached, parts, *sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, which this system has not")
def test_a_run_that_is_killed_ten_times_resumes_and_leaves_nothing_behind(tmp_path):
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent))), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    status, steps, reached, _, *names = done.stdout.split()
    assert (status, steps, names) == ("0", "60", ["checkpoint.pt"])
    assert int(reached) > 0
