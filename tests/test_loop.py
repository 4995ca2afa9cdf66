import os
import subprocess
import sys
from dataclasses import fields, replace
from itertools import islice
from math import isnan
from pathlib import Path
from threading import current_thread, main_thread

import pytest
import torch
from torch import Tensor, nn

from shapes import toy_face
from vrn_lite.frame import InputError
from vrn_lite.metrics import nme
from vrn_lite.networks.base import VARIANTS, build
from vrn_lite.networks.regression import sizes
from vrn_lite.networks.vrn import VRN, LandmarkHourglass
from vrn_lite.networks.weights import save_weights
from vrn_lite.pairs import STEADY, PoseRange
from vrn_lite.presets import preset
from vrn_lite.testsets import heldout_seed
from vrn_lite.training.data import step_seed
from vrn_lite.training.log import StepMetrics
from vrn_lite.training.loop import Trainer, train
from vrn_lite.training.optim import OPTIMS, OptimConfig
from vrn_lite.volume import isosurface

FACE = toy_face()


def run(network: VRN, steps: int, **options) -> list[StepMetrics]:
    return list(train(network, face=FACE, samples=4 * steps, batch=4, device="cpu", **options))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# The loop


def test_the_loss_falls():
    quick = OptimConfig("adamw", 2e-2, warm_up=5, decay=0.35, final=0.01, clip=1.0)
    losses = torch.tensor([record.loss for record in run(build("vrn", "tiny", 0), 40, seed=1, recipe=quick)])
    assert losses[-10:].mean() < 0.7 * losses[:3].mean()


def test_records_count_steps_samples_and_rates():
    records = run(build("vrn", "tiny", 0), 3)
    assert [record.step for record in records] == [1, 2, 3]
    assert [record.samples for record in records] == [4, 8, 12]
    assert all(record.samples_per_second > 0 and record.seconds > 0 and 0 <= record.waiting <= 1 for record in records)
    assert [record.rate for record in records] == [OPTIMS["fast"].rate_at(step, step / 3) for step in range(3)]


def trainer_of(variant: str, **options) -> Trainer:
    return Trainer(build(variant, "tiny", 0, sizes(variant, FACE)), FACE, samples=8, batch=4, seed=0, recipe=OPTIMS["fast"], **options)


def test_the_range_of_poses_reaches_the_samples_and_belongs_to_the_checkpoint(tmp_path):
    straight = trainer_of("vrn", poses=PoseRange(yaw=0, pitch=0, angle=0, shift=0, zoom=0, mirror=1)).pairs(0)
    assert torch.equal(straight.yaw, torch.zeros(4))
    assert torch.equal(straight.pitch, torch.zeros(4))
    assert bool(straight.mirrored.all())
    run(build("vrn", "tiny"), 2, poses=STEADY, folder=tmp_path)
    with pytest.raises(InputError, match="was made with poses"):
        run(build("vrn", "tiny"), 4, folder=tmp_path)


def test_a_drawn_batch_is_used_again_mirrored_and_in_other_colours():
    trainer, once = trainer_of("vrn", reuse=3), trainer_of("vrn")
    first, second, third, fourth = (trainer.pairs(step) for step in range(4))
    assert torch.equal(first.images, once.pairs(0).images)
    assert torch.equal(fourth.images, once.pairs(1).images)
    assert torch.equal(second.volumes, first.volumes.flip(-1))
    assert torch.equal(third.volumes, first.volumes)
    assert 0 < float((second.images.flip(-1) - first.images).abs().mean()) < 0.2
    assert 0 < float((third.images - first.images).abs().mean()) < 0.2
    assert torch.equal(trainer_of("vrn", reuse=3).pairs(2).images, third.images), "resumed in between"
    with pytest.raises(InputError, match=r"reuse \(=0\) must be at least 1"):
        trainer_of("vrn", reuse=0)


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_sees_no_mirrored_batch_again(variant):
    trainer = trainer_of(variant, reuse=2)
    assert not bool(torch.cat([trainer.pairs(step).mirrored for step in range(2)]).any())


def test_the_clock_ends_a_training_and_the_rate_falls_towards_it(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 2))  # seconds; every look at the clock takes two
    monkeypatch.setattr("vrn_lite.training.time.perf_counter", lambda: float(next(clock)))

    def run_for(minutes: float) -> list[StepMetrics]:
        network = build("vrn", "tiny", 0)
        return list(train(network, face=FACE, minutes=minutes, batch=4, device="cpu", folder=tmp_path, save_every=1e9))

    records = run_for(2)
    assert 120 <= records[-1].seconds < 132
    assert records[-1].rate < 0.2 * max(record.rate for record in records)
    assert run_for(2) == [], "the minutes of all resumed runs count together"
    assert 48 <= run_for(3)[-1].seconds < 72


def test_a_training_without_an_end_is_refused():
    with pytest.raises(InputError, match="give `samples`, `minutes`, or both: training must end somewhere"):
        next(train("vrn", "tiny", face=FACE))


class Detector(LandmarkHourglass):
    """Finds every landmark where the first pixel's red and green say."""

    def landmarks(self, images):
        return images[:, :2, 0, 0, None].mT.reshape(-1, 1, 2).expand(-1, 68, -1) * 32


def test_a_detector_guides_every_second_sample():
    trainer = trainer_of("guided", detector=Detector("tiny").eval())
    pairs = trainer.pairs(0)
    guides = trainer.guides(pairs)
    assert torch.equal(guides[1::2], pairs.landmarks[1::2])
    assert torch.equal(guides[::2, :, :2], 32 * pairs.images[::2, None, :2, 0, 0].expand(-1, 68, -1))
    assert torch.equal(trainer_of("guided").guides(pairs), pairs.landmarks)
    with pytest.raises(InputError, match="a detector is for the guided network"):
        trainer_of("vrn", detector=Detector("tiny").eval())


def test_training_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    for _ in train(build("vrn", "tiny"), face=FACE, samples=8, batch=4, device="cpu"):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_pairs_are_made_ahead_where_there_is_a_thread_to_spare_and_are_the_same(threads, monkeypatch):
    trainer, before, by_this_thread = trainer_of("vrn"), torch.get_num_threads(), []
    made = [trainer.pairs(step) for step in range(3)]
    monkeypatch.setattr(trainer, "pairs", lambda step: by_this_thread.append(current_thread() is main_thread()) or made[step])
    torch.set_num_threads(threads)
    try:
        got = [pairs for pairs, _ in trainer.batches(3)]
    finally:
        torch.set_num_threads(before)
    assert all(one is other for one, other in zip(got, made, strict=True))
    assert by_this_thread == [threads == 1] * 3


def test_a_cpu_trains_in_bfloat16_only_where_it_multiplies_in_it(monkeypatch):
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for having in ((), names[:1], names[1:], names):
        for name in names:
            monkeypatch.setattr(torch.cpu, name, lambda known=name in having: known, raising=False)
        trainer = trainer_of("vrn")
        coarse = trainer.gradients(trainer.pairs(0)).coarse
        assert coarse.dtype == (torch.bfloat16 if having else torch.float32)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, ema):
    recipe = replace(OPTIMS["fast"], ema=ema)
    whole = build("vrn", "tiny", 3)
    expected = run(whole, 6, seed=3, recipe=recipe, measure_every=2)
    first = build("vrn", "tiny", 3)
    begun = train(first, face=FACE, samples=24, batch=4, seed=3, device="cpu", folder=tmp_path, save_every=0.0, recipe=recipe, measure_every=2)
    assert [record.loss for record in islice(begun, 3)] == [record.loss for record in expected[:3]]
    begun.close()
    second = build("vrn", "tiny", 99)  # its weights come from the checkpoint
    rest = run(second, 6, seed=3, folder=tmp_path, recipe=recipe, measure_every=2)
    assert [record.step for record in rest] == [4, 5, 6]
    assert [(record.loss, record.iou, record.nme) for record in rest] == [(record.loss, record.iou, record.nme) for record in expected[3:]]
    assert same(state(whole), state(second))


def test_a_checkpoint_holds_everything_and_loads_without_code(tmp_path):
    network = build("vrn", "tiny", 0)
    run(network, 2, folder=tmp_path, recipe=replace(OPTIMS["fast"], ema=0.5))
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (held["step"], held["seed"], held["batch"], held["ranks"], held["variant"]) == (2, 0, 4, 1, "vrn")
    assert held["network"].keys() == network.state_dict().keys()
    assert len(held["optimiser_state"]["state"]) == len(list(network.parameters()))
    averaged = {name.removeprefix("module."): value for name, value in held["average"].items() if name != "n_averaged"}
    assert same(averaged, state(network)), "where weights are averaged, the average is handed out"
    assert not same(held["network"], averaged)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(variant):
    network = build(variant, "tiny", 0, sizes(variant, FACE))
    before = state(network)
    record = run(network, 2, measure_every=1)[-1]
    assert {field.name for field in fields(record) if isnan(getattr(record, field.name))} == {
        "landmarks": {"iou", "nme"},
        "multitask": set(),
        "parameters": {"iou", "landmark_nme"},
        "vertices": {"iou", "landmark_nme"},
    }.get(variant, {"landmark_nme"})
    assert not same(before, state(network))


def test_nme_is_measured_now_and_then_and_repeated_in_between():
    found = [record.nme for record in run(build("vrn", "tiny", 0), 5, measure_every=2)]
    assert isnan(found[0])
    assert found[1] == found[2] != found[3] == found[4]
    assert all(isnan(record.nme) for record in run(build("vrn", "tiny", 0), 2, measure_every=0))


@pytest.mark.parametrize("variant", ["vrn", "unaligned"])
def test_nme_is_that_of_the_first_samples_surface(variant):
    trainer = Trainer(build(variant, "tiny", 0), FACE, samples=8, batch=4, seed=0, recipe=OPTIMS["fast"])
    pairs = trainer.pairs(0)
    logits = torch.where(pairs.volumes, 4.0, -4.0)[..., ::2, ::2]
    outcome = trainer.gradients(pairs)._replace(coarse=logits)
    whole = nn.functional.interpolate(logits[:1], size=(32, 32), mode="bilinear")[0].sigmoid()
    assert trainer.surface_error(outcome, pairs) == pytest.approx(nme(isosurface(whole, depth_scale=1.5), pairs.mesh(0)))
    assert trainer.surface_error(outcome, pairs) < 0.3
    assert trainer.surface_error(outcome._replace(coarse=-torch.ones_like(logits) * 99), pairs) == float("inf")


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_regression_learns_from_the_same_samples_unmirrored(variant):
    mirrored = PoseRange(mirror=1)
    theirs, pairs = (trainer_of(name, poses=mirrored).pairs(0) for name in ("vrn", variant))
    assert bool(theirs.mirrored.all())
    assert not bool(pairs.mirrored.any())
    assert torch.equal(pairs.images, theirs.images.flip(-1))
    trainer = trainer_of(variant, poses=mirrored)
    assert torch.equal(trainer.vertices(pairs), theirs.truth.vertices[:, FACE.patch_vertices])
    assert trainer_of("vrn").vertices(pairs) is None


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_nme_of_a_regression_is_that_of_the_first_samples_vertices(variant):
    trainer = trainer_of(variant)
    pairs = trainer.pairs(0)
    outcome = trainer.gradients(pairs)
    assert trainer.surface_error(outcome, pairs) == pytest.approx(nme(outcome.vertices[0], pairs.mesh(0)))
    assert trainer.surface_error(outcome._replace(vertices=trainer.vertices(pairs)), pairs) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("variant", ["parameters", "vertices"])
def test_a_regression_learns_a_batch_by_heart(variant):
    quick = OptimConfig("adamw", 2e-3, warm_up=5, decay=0.35, final=0.01, clip=1.0)
    trainer = Trainer(build(variant, "tiny", 0, sizes(variant, FACE)), FACE, samples=160, batch=4, seed=0, recipe=quick)
    pairs = trainer.pairs(0)
    losses = [trainer.update(pairs)[0] for _ in range(30)]
    assert losses[-1] < 0.4 * losses[0]


def test_a_regression_is_built_for_its_face():
    for variant in ("parameters", "vertices"):
        assert next(train(variant, "tiny", face=FACE, samples=2, batch=2, device="cpu")).step == 1


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    network = build("vrn", "tiny", 0)
    run(network, 2, folder=tmp_path)
    before = state(network)
    assert run(network, 2, folder=tmp_path) == []
    assert same(before, state(network))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_every_step_rank_and_seed_has_samples_of_its_own_and_none_of_the_held_out():
    keys = [(seed, rank, step) for seed in (0, 1, 7, 2017, 2**40) for rank in range(3) for step in range(200)]
    seeds = {step_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert max(seeds) < 2**31 <= min(heldout_seed(seed, chunk) for seed in (0, 2017, 50_000) for chunk in range(100))
    assert step_seed(1, 2, 3) == step_seed(1, 2, 3)


def test_any_whole_number_from_0_is_a_seed():
    assert len(run(build("vrn", "tiny", 0), 1, seed=2**50)) == 1
    with pytest.raises(InputError, match="seed must be a whole number from 0 .*, got -1"):
        run(build("vrn", "tiny", 0), 1, seed=-1)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    networks = [build("vrn", "tiny", 5) for _ in range(3)]
    for network, seed in zip(networks, (7, 7, 8), strict=True):
        run(network, 2, seed=seed)
    assert same(state(networks[0]), state(networks[1]))
    assert not same(state(networks[0]), state(networks[2]))


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    run(build("vrn", "tiny", 4), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_name_builds_the_network_of_its_seed():
    assert same(state(build("vrn", "tiny", 6)), state(build("vrn", "tiny", 6)))
    assert not same(state(build("vrn", "tiny", 6)), state(build("vrn", "tiny", 7)))
    record = next(train("vrn", "tiny", face=FACE, samples=2, batch=2, seed=6, device="cpu"))
    assert record.step == 1


def test_the_papers_recipe_trains_too():
    records = run(build("vrn", "tiny", 0), 3, recipe="paper")
    assert records[-1].rate == pytest.approx(1e-5)


# What is refused


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        ("vrm", {}, "unknown variant 'vrm': choose one of vrn"),
        ("vrn", {"preset": "huge"}, "unknown preset 'huge'"),
        ("vrn", {"recipe": "slow"}, "unknown recipe 'slow': choose one of paper, fast"),
    ],
)
def test_unknown_names_are_refused(variant, options, message):
    with pytest.raises(InputError, match=message):
        next(train(variant, **{"preset": "tiny"} | options, face=FACE, samples=4))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=1)
    with pytest.raises(InputError, match="was made with seed 1, not 2"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=2)
    with pytest.raises(InputError, match="was made with variant 'vrn', not 'unaligned'"):
        run(build("unaligned", "tiny", 0), 1, folder=tmp_path, seed=1)
    with pytest.raises(InputError, match="was made with batch 4, not 2"):
        list(train("vrn", "tiny", face=FACE, samples=4, batch=2, seed=1, device="cpu", folder=tmp_path))
    with pytest.raises(InputError, match="was made with optimiser 'adamw', not 'rmsprop'"):
        run(build("vrn", "tiny", 0), 1, folder=tmp_path, seed=1, recipe="paper")
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


def test_a_loss_that_is_no_number_stops_the_run():
    network = build("vrn", "tiny", 0)
    trainer = Trainer(network, FACE, samples=8, batch=4, seed=0, recipe=OPTIMS["fast"])
    with torch.no_grad():
        network.head[-1].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="the loss is not a number at step 1: use a smaller learning rate"):
        next(trainer.records())


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
checkpoint, recipe = folder / "checkpoint.pt", replace(OPTIMS["fast"], ema=0.9)

for _ in train("vrn", "tiny", face=face, samples=4, batch=2, device="cpu", measure_every=0):
    pass  # the children, forked from here, begin warm

def child():
    process = os.fork()
    if process == 0:
        for _ in train("vrn", "tiny", face=face, samples=120, batch=2, device="cpu", folder=folder, save_every=0.0, recipe=recipe, measure_every=0):
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
