"""The machine: several processes train as one (gloo on the CPU), threads, bfloat16, compilation."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from threading import current_thread, main_thread

import pytest
import torch
import torch.distributed as dist

from shapes import toy_face
from vrn_lite.networks.base import build
from vrn_lite.networks.weights import load
from vrn_lite.samples import FacePairs, make_pairs
from vrn_lite.training.loop import train
from vrn_lite.training.runtime import Ranks, Runtime, process_group, ranks

FACE = toy_face()

TESTS = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}

several = pytest.mark.skipif(not dist.is_available() or not hasattr(os, "fork"), reason="needs torch.distributed with gloo, and fork")

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
from vrn_lite.training.data import StepPairs, stream_of
from vrn_lite.training.loop import Trainer
from vrn_lite.training.optim import OPTIMS
torch.set_num_threads(1)
face, folder, batch = toy_face(), sys.argv[1], int(sys.argv[2])
size = Preset("minute", Grid(16, 16, 16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))

def trainer(batch):
    made = Trainer(build("multitask", size, 5), stream_of(face, size), samples=64, batch=batch, seed=3, optim=OPTIMS["fast"], compile=False)
    made.network.eval()
    made.runtime.autocast = nullcontext()  # float32
    return made

def gradients(made, pairs):
    loss = made.loss(made.runtime.predict(pairs.images), pairs)
    loss.backward()
    return float(loss.detach()), {name: weight.grad.contiguous() for name, weight in made.network.named_parameters()}, pairs.images

for rank in range(2):
    if os.fork() == 0:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
        made = trainer(batch)
        torch.save(gradients(made, made.pairs(0)), f"{folder}/{rank}.pt")
        dist.destroy_process_group()
        os._exit(0)
assert [os.wait()[1] for _ in range(2)] == [0, 0]
alone = trainer(2 * batch)
device = torch.device("cpu")
both = [StepPairs(stream_of(face, size), batch, 3, rank, device)(0) for rank in range(2)]
joined = {name: torch.cat([getattr(pairs, name) for pairs in both]) for name in ("images", "volumes", "landmarks")}
torch.save(gradients(alone, replace(both[0], **joined)), f"{folder}/alone.pt")
"""


@several
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


@several
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


# Threads


def test_training_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    for _ in train(build("vrn", "tiny"), FACE, samples=8, batch=4, device="cpu"):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_pairs_are_made_ahead_where_there_is_a_thread_to_spare_and_are_the_same(threads):
    runtime, before, by_this_thread = Runtime(build("vrn", "tiny")), torch.get_num_threads(), []
    made = [make_pairs(FACE, "tiny", 2, torch.Generator().manual_seed(step)) for step in range(3)]

    def make(step: int) -> FacePairs:
        by_this_thread.append(current_thread() is main_thread())
        return made[step]

    torch.set_num_threads(threads)
    try:
        got = list(runtime.ahead(make, 0, 3))
    finally:
        torch.set_num_threads(before)
    assert all(one.pairs is other for one, other in zip(got, made, strict=True))
    assert all(0 <= one.seconds and 0 <= one.waited for one in got)
    assert by_this_thread == [threads == 1] * 3


def test_a_step_works_with_half_of_the_threads():
    runtime, before = Runtime(build("vrn", "tiny")), torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with runtime.working():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


# Number formats


def test_a_cpu_trains_in_bfloat16_only_where_it_multiplies_in_it(monkeypatch):
    names, images = ("_is_avx512_bf16_supported", "_is_amx_tile_supported"), torch.rand(2, 3, 32, 32)
    for having in ((), names[:1], names[1:], names):
        for name in names:
            monkeypatch.setattr(torch.cpu, name, lambda known=name in having: known, raising=False)
        logits = Runtime(build("vrn", "tiny")).predict(images).logits
        assert logits.dtype == (torch.bfloat16 if having else torch.float32)


def test_images_and_gradients_are_channels_last():
    network, seen = build("vrn", "tiny"), []
    runtime = Runtime(network)
    layer = network.stem.layers[0]
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last)))
    network.head.register_full_backward_hook(lambda _, into, out: seen.append(out[0].is_contiguous(memory_format=torch.channels_last)))
    logits = runtime.predict(torch.rand(2, 3, 32, 32)).logits
    logits.backward(torch.rand(logits.shape, dtype=logits.dtype))
    assert seen == [True, True]
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


COMPILED = """
from functools import partial
import torch
torch.compile = partial(torch.compile, backend="aot_eager")  # traced and split as always; no minute in the C++ compiler
from vrn_lite.frame import Grid
from vrn_lite.networks.base import build
from vrn_lite.presets import NetworkSize, Preset
from vrn_lite.training.losses import voxel_loss
from vrn_lite.training.runtime import Engine
torch.set_num_threads(1)
size = Preset("minute", Grid(8, 16, 16), NetworkSize(stem=2, levels=1, features=8, modules=1, stacks=1, stem_features=8))
g = torch.Generator().manual_seed(0)
images, volumes = torch.rand(2, 3, 16, 16, generator=g), torch.rand(2, 8, 16, 16, generator=g) < 0.4
network = build("vrn", size)
names = list(network.state_dict())
compiled = Engine(network, compile=True)
ours, theirs = (voxel_loss(engine(images, None).logits, volumes) for engine in (compiled, Engine(network, compile=False)))
torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
found, wanted = (torch.autograd.grad(loss, list(network.parameters())) for loss in (ours, theirs))
torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
assert list(network.state_dict()) == names
assert list(compiled.state_dict()) == [f"network.{name}" for name in names]
"""


def test_the_compiled_network_says_the_same_under_the_same_names():
    """In a process of its own: the tests' checks of types are nothing to compile."""
    done = subprocess.run([sys.executable, "-c", COMPILED], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
