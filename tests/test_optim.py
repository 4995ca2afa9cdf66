import pytest
import torch
from torch import nn

from vrn_lite.frame import InputError
from vrn_lite.training.optim import OPTIMS, PAPER_SAMPLES, OptimConfig


def test_the_papers_recipe_drops_to_a_tenth_at_half_time():
    paper = OPTIMS["paper"]
    assert [paper.rate_at(step, step / 80) for step in (0, 39, 40, 79)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_the_fast_recipe_warms_up_and_falls_to_a_hundredth():
    fast = OPTIMS["fast"]
    assert fast.rate_at(0, 0) == pytest.approx(2e-5)
    assert fast.rate_at(49, 0.1) == pytest.approx(1e-3)
    assert fast.rate_at(99, 0.2) == fast.rate_at(500, 0.65) == pytest.approx(2e-3)
    assert fast.rate_at(800, 0.65 + 0.175) == pytest.approx(2e-3 * 0.505)
    assert fast.rate_at(999, 1.0) == pytest.approx(2e-5)


def test_a_recipe_may_leave_out_warm_up_and_decay():
    assert OptimConfig("adamw", 1e-3, warm_up=0, decay=0.0, final=1.0, clip=0.0).rate_at(0, 0.5) == 1e-3


def test_the_papers_recipe_drops_after_40_epochs_of_60_000():
    paper = OPTIMS["paper"]
    assert PAPER_SAMPLES == 4_800_000
    assert [paper.rate_at(0, seen / PAPER_SAMPLES) for seen in (40 * 60_000 - 1, 40 * 60_000)] == pytest.approx([1e-4, 1e-5])
    assert isinstance(paper.optimiser_of(nn.Linear(1, 1)), torch.optim.RMSprop)


def test_the_average_follows_weights_and_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = OptimConfig("adamw", 1e-3, warm_up=0, decay=0.0, final=1.0, clip=0.0, ema=0.75).average_of(network)
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


def test_wrong_recipes_are_refused():
    with pytest.raises(InputError, match="unknown optimiser 'sgd': choose adamw or rmsprop"):
        OptimConfig("sgd", 1e-3, warm_up=0, decay=0.0, final=1.0, clip=0.0)
    with pytest.raises(InputError, match="ema must lie in 0 to 1, 1 excluded, got 1.0"):
        OptimConfig("adamw", 1e-3, warm_up=0, decay=0.0, final=1.0, clip=0.0, ema=1.0)
