"""Several processes train as one: gradients, samples, files; gloo on the CPU."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from vrn_lite.networks.weights import load
from vrn_lite.training.runtime import Ranks, process_group, ranks

TESTS = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}

pytestmark = pytest.mark.skipif(not dist.is_available() or not hasattr(os, "fork"), reason="needs torch.distributed with gloo, and fork")

GRADIENTS = """
import os, sys
from contextlib import nullcontext
from dataclasses import replace
import torch
import torch.distributed as dist
from shapes import toy_face
from vrn_lite.frame import Grid
from vrn_lite.presets import NetworkSize, Preset
from vrn_lite.networks.base import build
from vrn_lite.training.loop import Trainer
from vrn_lite.training.optim import OPTIMS
from vrn_lite.training.runtime import Ranks
torch.set_num_threads(1)
face, folder, batch = toy_face(), sys.argv[1], int(sys.argv[2])
size = Preset("minute", Grid(16, 16, 16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))

def trainer(batch):
    made = Trainer(build("multitask", size, 5), face, samples=64, batch=batch, seed=3, recipe=OPTIMS["fast"], compile=False)
    made.network.eval()
    made.autocast = nullcontext()  # float32
    return made

def gradients(made, pairs):
    loss = float(made.gradients(pairs).loss.detach())
    return loss, {name: weight.grad.contiguous() for name, weight in made.network.named_parameters()}, pairs.images

for rank in range(2):
    if os.fork() == 0:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
        made = trainer(batch)
        torch.save(gradients(made, made.pairs(0)), f"{folder}/{rank}.pt")
        dist.destroy_process_group()
        os._exit(0)
assert [os.wait()[1] for _ in range(2)] == [0, 0]
alone = trainer(2 * batch)
alone.batch, both = batch, []
for rank in range(2):
    alone.ranks = Ranks(rank, 2)
    both.append(alone.pairs(0))
joined = {name: torch.cat([getattr(pairs, name) for pairs in both]) for name in ("images", "volumes", "landmarks")}
torch.save(gradients(alone, replace(both[0], **joined)), f"{folder}/alone.pt")
"""


def test_two_ranks_of_8_have_the_gradient_of_one_of_16(tmp_path):
    done = subprocess.run([sys.executable, "-c", GRADIENTS, str(tmp_path), "8"], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (loss_0, first, images_0), (loss_1, second, images_1), (loss, alone, images) = (torch.load(tmp_path / f"{name}.pt") for name in ("0", "1", "alone"))
    assert torch.equal(torch.cat((images_0, images_1)), images)
    assert not torch.equal(images_0, images_1), "each rank draws its own samples"
    assert (loss_0 + loss_1) / 2 == pytest.approx(loss, rel=1e-5)
    scale = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, gradient in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], gradient, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_the_command_line_trains_on_two_processes_and_resumes(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vrn_lite.cli", "train", "vrn"]
    options = ["--preset", "tiny", "--batch", "2", "--faces", "procedural", "--resume", str(tmp_path)]
    for samples in (8, 12):
        done = subprocess.run([*command, *options, "--samples", str(samples)], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(tmp_path / "vrn.safetensors")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "log.csv", "vrn.safetensors"]
    with (tmp_path / "log.csv").open() as file:
        assert [(row["step"], row["samples"]) for row in csv.DictReader(file)] == [("1", "4"), ("2", "8"), ("3", "12")]
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["ranks"] == 2
    assert load(tmp_path / "vrn.safetensors").preset.name == "tiny"


def test_without_torchrun_there_is_no_group(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with process_group() as place:
        assert place == ranks() == Ranks(0, 1)
        assert not dist.is_initialized()
