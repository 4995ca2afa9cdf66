import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from shapes import toy_face
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.training.loop import train
from vrn_lite.training.optim import OPTIMISERS, OPTIMS, PAPER_SAMPLES, SCHEDULES, OptimConfig, optim_named

# The learning rate


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_and_every_schedule_warm_up(optimiser, schedule):
    config = OptimConfig(optimiser=optimiser, schedule=schedule, lr=1.0, warm_up=4, decay=0.5, final=0.1)
    assert [config.lr_at(step, step / 100) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_steps_of_a_training_have_the_rates_of_the_schedule(optimiser):
    config = OptimConfig(optimiser=optimiser, lr=1e-3, warm_up=3, decay=0.5, final=0.1)
    steps = train(build("vrn", "tiny"), toy_face(), samples=8, batch=2, optim=config, device="cpu", measure_every=0)
    assert [step.lr for step in steps] == [config.lr_at(step, step / 4) for step in range(4)]


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 0.55), ("cosine", 0.55), ("step", 0.1)])
def test_every_schedule_falls_from_the_rate_to_its_final_share(schedule, middle):
    config = OptimConfig(schedule=schedule, lr=1.0, decay=0.5, final=0.1)
    assert config.lr_at(0, 0.4) == pytest.approx(1)
    assert config.lr_at(0, 0.75) == pytest.approx(middle)
    assert config.lr_at(0, 1.0) == pytest.approx(0.1)
    rates = [config.lr_at(0, seen / 100) for seen in range(101)]
    assert rates == sorted(rates, reverse=True)


def test_a_cosine_begins_and_ends_gently():
    config = OptimConfig(schedule="cosine", lr=1.0, decay=1.0, final=0.0)
    assert 1 - config.lr_at(0, 0.1) < 0.03
    assert config.lr_at(0, 0.9) < 0.03


def test_the_papers_rate_drops_to_a_tenth_at_half_time():
    paper = OPTIMS["paper"]
    assert [paper.lr_at(step, step / 80) for step in (0, 39, 40, 79)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_the_fast_rate_warms_up_and_falls_to_a_hundredth():
    fast = OPTIMS["fast"]
    assert fast.lr_at(0, 0) == pytest.approx(2e-5)
    assert fast.lr_at(49, 0.1) == pytest.approx(1e-3)
    assert fast.lr_at(99, 0.2) == fast.lr_at(500, 0.65) == pytest.approx(2e-3)
    assert fast.lr_at(800, 0.65 + 0.175) == pytest.approx(2e-3 * 0.505)
    assert fast.lr_at(999, 1.0) == pytest.approx(2e-5)


def test_warm_up_and_decay_may_be_left_out():
    assert OptimConfig(lr=1e-3, warm_up=0, decay=0.0, final=1.0).lr_at(0, 0.5) == 1e-3


def test_the_papers_rate_drops_after_40_epochs_of_60_000():
    paper = OPTIMS["paper"]
    assert PAPER_SAMPLES == 4_800_000
    assert [paper.lr_at(0, seen / PAPER_SAMPLES) for seen in (40 * 60_000 - 1, 40 * 60_000)] == pytest.approx([1e-4, 1e-5])
    assert isinstance(paper.optimiser_of(nn.Linear(1, 1)), torch.optim.RMSprop)


# The optimiser


def weight(value: float, gradient: float) -> nn.Linear:
    """A single weight with a gradient."""
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(value)
    layer.weight.grad = torch.full_like(layer.weight, gradient)
    return layer


def test_weight_decay_takes_its_share_of_a_weight_that_has_no_gradient():
    layer = weight(2.0, 0.0)
    OptimConfig(lr=0.1, weight_decay=0.5).optimiser_of(layer).step()
    assert float(layer.weight.detach()) == pytest.approx(2.0 * (1 - 0.1 * 0.5))
    still = weight(2.0, 0.0)
    OptimConfig(lr=0.1).optimiser_of(still).step()
    assert float(still.weight.detach()) == 2.0


def test_rmsprops_weight_decay_is_a_gradient():
    """Of a weight w without a gradient, the gradient is weight_decay w: a first step moves it by lr / sqrt(1 - alpha)."""
    layer = weight(2.0, 0.0)
    OptimConfig(optimiser="rmsprop", lr=0.01, alpha=0.75, weight_decay=0.5).optimiser_of(layer).step()
    assert float(layer.weight.detach()) == pytest.approx(2.0 - 0.01 / 0.5, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_rmsprops_first_step_tells_its_alpha(alpha):
    """A step moves by lr g / sqrt((1 - alpha) g^2)."""
    layer = weight(0.0, 3.0)
    OptimConfig(optimiser="rmsprop", lr=0.01, alpha=alpha).optimiser_of(layer).step()
    assert float(layer.weight.detach()) == pytest.approx(-0.01 / (1 - alpha) ** 0.5, rel=1e-5)


def test_the_papers_alpha_is_that_of_its_framework():
    assert OPTIMS["paper"].alpha == 0.99


def test_gradients_are_clipped_to_their_largest_norm_in_training():
    """Under plain gradients scaled by a thousand, the weights see gradients of norm `clip`; without it, the large ones."""
    norms = {}
    for clip in (0.0, 0.25):
        network = build("vrn", "tiny")

        def loss(prediction, pairs):
            return 1000 * prediction.logits.square().mean()

        config = OptimConfig(lr=1e-3, clip=clip)
        trained = train(network, toy_face(), samples=2, batch=2, loss=loss, optim=config, device="cpu", measure_every=0)
        seen = []

        def watch(optimiser, *_, seen=seen) -> None:
            grads = [p.grad for group in optimiser.param_groups for p in group["params"]]
            seen.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

        handle = register_optimizer_step_pre_hook(watch)
        try:
            assert len(list(trained)) == 1
        finally:
            handle.remove()
        norms[clip] = seen[0]
    assert norms[0.25] == pytest.approx(0.25, rel=1e-3)
    assert norms[0.0] > 2.5


# The average


def test_the_average_follows_weights_and_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = OptimConfig(ema=0.75).average_of(network)
    expected: dict[str, torch.Tensor] = {}
    for step in range(4):
        with torch.no_grad():
            network[0].weight += step
            network(torch.randn(4, 1, 3, 3))
        average.update_parameters(network)
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.75 * expected[name] + 0.25 * value if step else value.clone()
    found = average.module.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert found["1.num_batches_tracked"].dtype == torch.int64


def test_without_averaging_there_is_no_average():
    assert OPTIMS["paper"].average_of(nn.Linear(1, 1)) is None


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimiser": "sgd"}, "unknown optimiser 'sgd': choose one of adamw, rmsprop"),
        ({"schedule": "zigzag"}, "unknown schedule 'zigzag': choose one of linear, cosine, step"),
        ({"ema": 1.0}, "ema must lie in 0 to 1, 1 excluded, got 1.0"),
        ({"alpha": 1.0}, "alpha must lie in 0 to 1, 1 excluded, got 1.0"),
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
    ],
)
def test_wrong_configurations_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        OptimConfig(**wrong)


def test_a_name_or_a_configuration():
    assert optim_named("fast") is OPTIMS["fast"]
    mine = OptimConfig(lr=3e-4)
    assert optim_named(mine) is mine
    with pytest.raises(InputError, match="unknown optim 'slow': choose one of paper, fast"):
        optim_named("slow")
