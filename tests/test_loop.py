"""The training loop: what a step does, what it tells, when it ends, and what is refused."""

from collections.abc import Iterator
from dataclasses import fields, replace
from math import isnan

import pytest
import torch
from torch import Tensor, nn

from shapes import toy_face
from vrn_lite.frame import InputError
from vrn_lite.metrics import iou, landmark_nme, nme
from vrn_lite.networks.base import VARIANTS, FaceNetwork, Prediction, build
from vrn_lite.networks.vrn import LandmarkHourglass
from vrn_lite.presets import preset
from vrn_lite.samples import FacePairs, PoseRange, make_pairs, unaligned
from vrn_lite.training.data import Synthetic, stream_of
from vrn_lite.training.log import StepMetrics
from vrn_lite.training.loop import Trainer, surface_error, train
from vrn_lite.training.optim import OPTIMS, OptimConfig
from vrn_lite.volume import isosurface

FACE = toy_face()
TINY = preset("tiny")


def run(network: FaceNetwork, steps: int, **options) -> list[StepMetrics]:
    return list(train(network, options.pop("data", FACE), samples=4 * steps, batch=4, device="cpu", **options))


def trainer_of(variant: str, poses: PoseRange | None = None, **options) -> Trainer:
    network = build(variant, "tiny", 0, face=FACE)
    return Trainer(network, stream_of(FACE, "tiny", poses=poses), samples=8, batch=4, optim=OPTIMS["fast"], **options)


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def batch() -> FacePairs:
    """Two faces, none mirrored: every network may learn them by heart."""
    return make_pairs(FACE, "tiny", 2, torch.Generator().manual_seed(0), poses=PoseRange(mirror=0))


class Always:
    """A stream that gives one batch, always."""

    faces = (FACE,)

    def __init__(self, pairs: FacePairs) -> None:
        self.pairs = pairs

    def __call__(self, step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        return self.pairs


# The step


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_a_batch_by_heart(variant, batch):
    """On two faces, the loss falls by a third within 25 steps."""
    pairs = unaligned(batch, FACE.interocular, TINY.grid) if variant == "unaligned" else batch
    quick = OptimConfig(lr=1e-2, warm_up=3, decay=0.35, final=0.1, clip=1.0)
    network = build(variant, "tiny", 0, face=FACE)
    losses = [metrics.loss for metrics in run(network, 25, data=Always(pairs), optim=quick, measure_every=0)]
    assert sum(losses[-3:]) / 3 < 2 / 3 * losses[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_metrics_of_a_variant_are_those_of_what_it_gives(variant):
    network = build(variant, "tiny", 0, face=FACE)
    before = state(network)
    metrics = run(network, 2, measure_every=1)[-1]
    assert {field.name for field in fields(metrics) if isnan(getattr(metrics, field.name))} == {
        "landmarks": {"iou", "nme"},
        "multitask": set(),
        "parameters": {"iou", "landmark_nme"},
        "vertices": {"iou", "landmark_nme"},
    }.get(variant, {"landmark_nme"})
    assert not same(before, state(network))


def test_a_step_is_predict_loss_backward_step(batch, monkeypatch):
    """The loop's first step by hand, with gradient descent's simplest law: RMSProp moves along the gradient's sign."""
    monkeypatch.setattr("vrn_lite.training.runtime.quick_in_bfloat16", lambda device: False)
    config = OptimConfig(optimiser="rmsprop", lr=1e-4, decay=0.0, final=1.0, alpha=0.0)
    network, twin = build("vrn", "tiny"), build("vrn", "tiny")
    (metrics,) = run(network, 1, data=Always(batch), optim=config)
    loss = twin.train().loss(twin.predict(batch.images), batch)
    loss.backward()
    assert metrics.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    pairs = zip(network.named_parameters(), twin.named_parameters(), strict=True)
    moves = {name: ((weight - old).detach(), old.grad) for (name, weight), (_, old) in pairs}
    clear = [(move, grad) for move, grad in moves.values() if grad.ndim == 4 and float(grad.abs().max()) > 1e-4]
    assert len(clear) > 10
    for move, grad in clear:
        large = grad.abs() > 0.2 * grad.abs().max()
        assert float((move[large].sign() == -grad[large].sign()).float().mean()) > 0.99


def test_every_step_has_the_gradient_of_its_own_batch(batch, monkeypatch):
    """Where the weights stand still, two steps on one batch have one gradient: the first is not added to the second."""
    monkeypatch.setattr("vrn_lite.training.runtime.quick_in_bfloat16", lambda device: False)
    network, still = build("vrn", "tiny"), OptimConfig(lr=1e-20)
    steps = train(network, Always(batch), samples=8, batch=4, optim=still, device="cpu", measure_every=0)
    first, second = (network.stem.layers[0].weight.grad.clone() for _ in steps)
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-7)


def test_metrics_count_steps_samples_and_rates():
    steps = run(build("vrn", "tiny", 0), 3)
    assert [metrics.step for metrics in steps] == [1, 2, 3]
    assert [metrics.samples for metrics in steps] == [4, 8, 12]
    for metrics in steps:
        assert metrics.samples_per_second > 0
        assert 0 <= metrics.waiting <= 1
        assert metrics.pair_seconds > 0
        assert 0 < metrics.step_seconds < metrics.seconds
    assert [metrics.lr for metrics in steps] == [OPTIMS["fast"].lr_at(step, step / 3) for step in range(3)]


def test_the_metrics_are_those_of_the_batch(batch):
    trainer = trainer_of("multitask")
    trainer.network.eval()
    with torch.no_grad():
        prediction = trainer.network.predict(batch.images)
        loss = trainer.network.loss(prediction, batch)
        told, overlap, error = trainer.quality(prediction, loss, batch)
        whole = trainer.network(batch.images[:2]) > 0
    assert told == float(loss)
    assert overlap == pytest.approx(float(iou(whole, batch.volumes[:2]).mean()))
    found = landmark_nme(trainer.network.landmarks(batch.images).detach(), batch.landmarks).mean()
    assert error == pytest.approx(float(found))


def test_the_sampled_loss_looks_at_other_voxels_at_every_step(batch):
    trainer = trainer_of("vrn")
    prediction = trainer.network.predict(batch.images)
    losses = []
    for step in range(30):
        trainer.step = step
        losses.append(float(trainer.loss(prediction, batch).detach()))
    assert len(set(losses)) == 4, "a quarter of the voxels each"
    whole = float(trainer.network.loss(prediction, batch).detach())
    assert sum(set(losses)) / 4 == pytest.approx(whole, rel=1e-5)


def test_nme_is_measured_now_and_then_and_repeated_in_between():
    found = [metrics.nme for metrics in run(build("vrn", "tiny", 0), 5, measure_every=2)]
    assert isnan(found[0])
    assert found[1] == found[2] != found[3] == found[4]
    assert all(isnan(metrics.nme) for metrics in run(build("vrn", "tiny", 0), 2, measure_every=0))


def test_nme_is_that_of_the_first_samples_surface(batch):
    logits = torch.where(batch.volumes, 4.0, -4.0)[..., ::2, ::2]
    whole = nn.functional.interpolate(logits[:1], size=(32, 32), mode="bilinear")[0].sigmoid()
    error = surface_error(Prediction(logits=logits), batch, TINY)
    assert error == pytest.approx(nme(isosurface(whole, depth_scale=1.5), batch.mesh(0)))
    assert error < 0.3
    assert surface_error(Prediction(logits=-99 * torch.ones_like(logits)), batch, TINY) == float("inf")
    truth = batch.truth.vertices[:, FACE.patch_vertices]
    assert surface_error(Prediction(vertices=truth), batch, TINY) == pytest.approx(0, abs=1e-6)


def test_the_average_is_handed_out(batch):
    """With half of each step's weights, two steps give their mean."""
    config = replace(OPTIMS["fast"], ema=0.5)
    network, plain = build("vrn", "tiny"), build("vrn", "tiny")
    run(network, 2, data=Always(batch), optim=config)
    steps = train(plain, Always(batch), samples=8, batch=4, optim=OPTIMS["fast"], device="cpu")
    kept = [state(plain) for _ in steps]
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (kept[0][name] + kept[1][name]) / 2, rtol=1e-4, atol=1e-6)


# Guides


class Detector(LandmarkHourglass):
    """Finds every landmark where the first pixel's red and green say."""

    def landmarks(self, images):
        return images[:, :2, 0, 0, None].mT.reshape(-1, 1, 2).expand(-1, 68, -1) * 32


def test_a_detector_guides_every_second_sample(batch):
    trainer = trainer_of("guided", detector=Detector("tiny").eval())
    guides = trainer.guides(batch)
    assert torch.equal(guides[1::2], batch.landmarks[1::2])
    assert torch.equal(guides[::2, :, :2], 32 * batch.images[::2, None, :2, 0, 0].expand(-1, 68, -1))
    assert torch.equal(trainer_of("guided").guides(batch), batch.landmarks)
    assert trainer_of("vrn").guides(batch) is None


# The end


def test_the_clock_ends_a_training_and_the_rate_falls_towards_it(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 2))  # seconds; every look at the clock takes two
    monkeypatch.setattr("vrn_lite.training.runtime.time.perf_counter", lambda: float(next(clock)))

    def run_for(minutes: float) -> list[StepMetrics]:
        network = build("vrn", "tiny", 0)
        return list(train(network, FACE, minutes=minutes, batch=4, device="cpu", folder=tmp_path, save_every=1e9))

    steps = run_for(2)
    assert 120 <= steps[-1].seconds < 132
    assert steps[-1].lr < 0.2 * max(metrics.lr for metrics in steps)
    assert run_for(2) == [], "the minutes of all resumed runs count together"
    assert 48 <= run_for(3)[-1].seconds < 72


def test_the_last_step_sees_the_last_samples():
    assert [metrics.samples for metrics in train("vrn", FACE, preset="tiny", samples=5, batch=2, device="cpu")] == [2, 4, 6]


# Randomness


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


# Data


def test_a_stream_of_any_kind_trains_as_the_face_does():
    """A face model, a stream of it, and a function that draws the same pairs: the same losses."""

    def mine(step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        return make_pairs(FACE, "tiny", batch, generator, device)

    losses = [[step.loss for step in run(build("vrn", "tiny"), 2, data=data)] for data in (FACE, Synthetic(FACE, TINY), mine)]
    assert losses[0] == losses[1] == losses[2]


def test_a_name_builds_the_network_for_its_face():
    for variant in ("vrn", "parameters", "vertices"):
        assert next(train(variant, FACE, preset="tiny", samples=2, batch=2, device="cpu")).step == 1


# What is refused, at the call


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        ("vrm", {}, "unknown variant 'vrm': choose one of"),
        ("vrn", {"preset": "huge"}, "unknown preset 'huge'"),
        ("vrn", {"optim": "slow"}, "unknown optim 'slow': choose one of paper, fast"),
        ("vrn", {"samples": None}, "give `samples`, `minutes`, or both: training must end somewhere"),
        ("vrn", {"samples": -4}, "samples and minutes must be above 0"),
        ("vrn", {"batch": 0}, r"batch \(=0\) must be at least 1"),
        ("vrn", {"reuse": 0}, r"reuse \(=0\) must be at least 1"),
        ("vrn", {"seed": -1}, "seed must be a whole number from 0"),
        ("vrn", {"detector": Detector("tiny")}, "a detector is for the guided network, which 'vrn' is not"),
        ("guided", {"detector": Detector("lite")}, "the detector is of preset 'lite', the network of 'tiny'"),
        ("vrn", {"data": "cats"}, "unknown faces 'cats': choose one of procedural, ict"),
        ("vrn", {"data": []}, "training needs faces"),
        ("vrn", {"data": Synthetic(FACE, "lite")}, "the pairs are of preset 'lite', the network of 'tiny'"),
        ("vertices", {"data": [FACE, FACE]}, "regresses numbers of one face model, got 2: choose one"),
        ("vrn", {"data": Always(None), "poses": PoseRange()}, "`appearance` and `poses` belong to a face model"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_call(variant, options, message):
    given = {"preset": "tiny", "samples": 4, "device": "cpu"} | options
    with pytest.raises(InputError, match=message):
        train(variant, given.pop("data", FACE), **given)


def test_a_loss_that_is_no_number_stops_the_run():
    network = build("vrn", "tiny", 0)
    with torch.no_grad():
        network.head[-1].weight[0, 0] = float("nan")
    steps: Iterator[StepMetrics] = train(network, FACE, samples=8, batch=4, device="cpu")
    with pytest.raises(InputError, match="the loss is not a number at step 1: use a smaller learning rate"):
        next(steps)
