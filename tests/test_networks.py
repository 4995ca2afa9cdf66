from dataclasses import replace

import pytest
import torch
from torch import nn

from vrn_lite.frame import Grid, InputError
from vrn_lite.networks.hourglass import Hourglass, Residual, Stem, modules
from vrn_lite.networks.vrn import VRN
from vrn_lite.presets import PRESETS, preset


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def on_meta(name: str, channels: int = 3, **sizes: int) -> VRN:
    """A network without numbers: shapes and counts only."""
    with torch.device("meta"):
        return VRN(replace(preset(name), network=replace(preset(name).network, **sizes)), channels)


def residual_parameters(i: int, o: int) -> int:
    """Batch norms 2 i + 4 h, convolutions i h + 9 h h + h o, their biases 2 h + o, and the carry where widths differ."""
    h = o // 2
    return 2 * i + 4 * h + (i * h + h) + (9 * h * h + h) + (h * o + o) + (0 if i == o else i * o + o)


def vrn_parameters(name: str, channels: int = 3, m: int | None = None) -> int:
    """Closed form of the whole network."""
    size, depth = preset(name).network, preset(name).grid.depth
    first, f, m = size.stem_features, size.features, m or size.modules
    stem = 49 * channels * first + 3 * first + sum(residual_parameters(*widths) for widths in ((first, 2 * first), (2 * first, 2 * first), (2 * first, f)))
    projection = f * f + 3 * f
    hourglass = ((3 * m + 1) * size.levels + m) * residual_parameters(f, f)
    return stem + size.stacks * (hourglass + 2 * projection) + projection + f * depth + depth


@pytest.mark.parametrize(("width_in", "width_out"), [(8, 8), (8, 16), (64, 128)])
def test_residual_module_matches_closed_form(width_in, width_out):
    assert parameters(Residual(width_in, width_out)) == residual_parameters(width_in, width_out)


@pytest.mark.parametrize("name", PRESETS)
def test_parameter_counts_match_closed_form(name):
    assert parameters(on_meta(name)) == vrn_parameters(name)


def test_the_published_sizes():
    assert parameters(on_meta("paper_full")) == 19_184_968
    assert parameters(on_meta("paper_full", channels=71, modules=4)) == 24_975_944
    assert parameters(on_meta("paper")) == 6_085_576


@pytest.mark.parametrize("m", [1, 2, 4])
def test_an_hourglass_of_four_levels_has_13_m_plus_4_modules(m):
    with torch.device("meta"):
        hourglass = Hourglass(4, m, 16)
    assert sum(isinstance(module, Residual) for module in hourglass.modules()) == 13 * m + 4


@pytest.mark.parametrize("levels", [1, 3, 4])
def test_the_recursion_hangs_on_the_pooled_branch(levels):
    """Every level sees half the resolution of the one above: the innermost modules see h / 2^levels."""
    hourglass, seen = Hourglass(levels, 1, 8), {}

    def watch(part: nn.Module, label: str) -> None:
        part.register_forward_pre_hook(lambda module, args: seen.update({label: tuple(args[0].shape[-2:])}))

    place: nn.Module = hourglass
    for level in range(levels):
        watch(place.skip, f"skip {level}")
        watch(place.before, f"before {level}")
        place = place.below
    watch(place, "innermost")
    assert hourglass(torch.rand(1, 8, 32, 48)).shape == (1, 8, 32, 48)
    for level in range(levels):
        assert seen[f"skip {level}"] == (32 >> level, 48 >> level)
        assert seen[f"before {level}"] == (16 >> level, 24 >> level)
    assert seen["innermost"] == (32 >> levels, 48 >> levels)


def test_every_module_of_an_hourglass_runs_once():
    hourglass, calls = Hourglass(3, 2, 8), []
    for module in hourglass.modules():
        if isinstance(module, Residual):
            module.register_forward_hook(lambda module, *_: calls.append(id(module)))
    hourglass(torch.rand(1, 8, 16, 16))
    assert len(calls) == len(set(calls)) == 3 * (3 * 2 + 1) + 2


def test_a_residual_module_adds_to_its_input():
    residual = Residual(8, 8)
    nn.init.zeros_(residual.branch[-1].weight)
    nn.init.zeros_(residual.branch[-1].bias)
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(residual(x), x)


def test_a_residual_module_is_pre_activation_with_biases():
    kinds = [type(layer) for layer in Residual(8, 16).branch]
    assert kinds == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d] * 3
    assert all(layer.bias is not None for layer in Residual(8, 16).modules() if isinstance(layer, nn.Conv2d))


def test_modules_in_a_row():
    assert len(modules(5, 8)) == 5
    assert modules(3, 8)(torch.rand(2, 8, 4, 4)).shape == (2, 8, 4, 4)


@pytest.mark.parametrize("reduction", [2, 4])
def test_the_stem_reduces_the_image(reduction):
    assert Stem(3, reduction, 8, 16)(torch.rand(2, 3, 32, 48)).shape == (2, 16, 32 // reduction, 48 // reduction)


@pytest.mark.parametrize("name", PRESETS)
def test_logits_have_the_presets_grid(name):
    network, grid = on_meta(name).eval(), preset(name).grid
    images = torch.empty(2, 3, grid.height, grid.width, device="meta")
    assert network(images).shape == (2, *grid.shape)
    stem = preset(name).network.stem
    assert network.coarse(images).shape == (2, grid.depth, grid.height // stem, grid.width // stem)


def test_height_and_width_may_differ():
    wide = replace(preset("tiny"), grid=Grid(10, 32, 48))
    assert VRN(wide)(torch.rand(2, 3, 32, 48)).shape == (2, 10, 32, 48)


@pytest.mark.parametrize("name", ["tiny", "lite"])
def test_every_parameter_receives_a_gradient(name):
    torch.manual_seed(0)
    network = VRN(name)
    side = network.preset.grid.height
    for _ in range(2):  # some statistics, so that eval differs from the start
        network(torch.rand(2, 3, side, side))
    network.eval()  # in training mode a batch norm cancels the bias before it
    network(torch.rand(2, 3, side, side)).square().mean().backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label


def test_eval_mode_works_at_batch_1_and_treats_samples_alone():
    torch.manual_seed(1)
    network = VRN("tiny").eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        together, alone = network(images), network(images[1:2])
    assert alone.shape == (1, 32, 32, 32)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_logits_are_the_enlarged_coarse_ones():
    torch.manual_seed(2)
    network, images = VRN("tiny").eval(), torch.rand(1, 3, 32, 32)
    enlarged = nn.functional.interpolate(network.coarse(images), size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), enlarged)


def test_logits_are_no_probabilities():
    torch.manual_seed(3)
    assert not any(isinstance(module, nn.Sigmoid) for module in VRN("tiny").modules())


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 32, 16)])
def test_an_image_of_another_size_is_refused(shape):
    with pytest.raises(InputError, match=r"preset tiny needs images of 32 x 32 pixels, got \("):
        VRN("tiny")(torch.rand(shape))


def test_an_unknown_preset_is_refused():
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        VRN("huge")


def test_more_channels_feed_the_guided_network():
    guided = VRN("tiny", channels=71)
    assert guided(torch.rand(2, 71, 32, 32)).shape == (2, 32, 32, 32)
    assert parameters(guided) == vrn_parameters("tiny", channels=71)
