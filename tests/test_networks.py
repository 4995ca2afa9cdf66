from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vrn_lite.frame import Grid, InputError
from vrn_lite.landmarks import decode, heatmaps
from vrn_lite.networks.base import VARIANTS, FaceNetwork, Prediction, build
from vrn_lite.networks.hourglass import Hourglass, Refine, Residual, Stem, modules
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkHourglass, MultitaskVRN, Stage, UnalignedVRN
from vrn_lite.presets import PRESETS, NetworkSize, Preset, preset

ALL = [VRN, UnalignedVRN, GuidedVRN, LandmarkHourglass, MultitaskVRN]
SIZES = {"tiny": 2, "lite": 2, "colab": 4, "sharp": 2, "paper": 4, "paper_full": 4}
"""Preset: pixels for a cell of the network's own output."""


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def on_meta(kind: Callable[[Preset], FaceNetwork], name: str) -> FaceNetwork:
    """A network without numbers: counts only."""
    with torch.device("meta"):
        return kind(preset(name))


def slim(kind: Callable[[Preset], FaceNetwork], name: str) -> FaceNetwork:
    """A network of few features: its shapes are the preset's."""
    return kind(replace(preset(name), network=replace(preset(name).network, features=8, stem_features=4, modules=1))).eval()


def seeded(kind: Callable[[str], FaceNetwork], name: str = "tiny", seed: int = 0) -> FaceNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def arguments(network: FaceNetwork, count: int = 2) -> tuple[Tensor, ...]:
    """What `forward` takes: images and, for VRN-Guided, landmarks."""
    grid = network.preset.grid
    images, points = noise(count, 3, grid.height, grid.width), grid.height * noise(count, 68, 3, seed=1)
    return (images, points) if isinstance(network, GuidedVRN) else (images,)


def given_parts(prediction: Prediction) -> list[Tensor]:
    """Logits and heat-maps, where there are any."""
    return [part for part in prediction[:2] if part is not None]


def residual_parameters(i: int, o: int) -> int:
    """Batch norms 2 i + 4 h, convolutions i h + 9 h h + h o, their biases 2 h + o, and the carry where widths differ."""
    h = o // 2
    return 2 * i + 4 * h + (i * h + h) + (9 * h * h + h) + (h * o + o) + (0 if i == o else i * o + o)


def projection_parameters(f: int) -> int:
    """A 1x1 convolution with its bias, and a batch norm."""
    return f * f + 3 * f


def stem_parameters(size: NetworkSize, channels: int) -> int:
    """A 7x7 convolution with its bias, a batch norm, three residual modules."""
    first, f = size.stem_features, size.features
    widths = ((first, 2 * first), (2 * first, 2 * first), (2 * first, f))
    return 49 * channels * first + 3 * first + sum(residual_parameters(*pair) for pair in widths)


def stage_parameters(size: NetworkSize, m: int) -> int:
    """An hourglass of (3 m + 1) levels + m modules, and two projections."""
    return ((3 * m + 1) * size.levels + m) * residual_parameters(size.features, size.features) + 2 * projection_parameters(size.features)


def head_parameters(size: NetworkSize, outputs: int) -> int:
    """A projection and a 1x1 convolution; behind them, where there is one, the finer stage at half the width."""
    f, half, early = size.features, size.features // 2, 2 * size.stem_features
    coarse = projection_parameters(f) + (f + 1) * outputs
    if size.refine is None:
        return coarse
    inputs = 2 * f + (f + 1) * half + (early + 1) * half
    return coarse + inputs + size.refine * residual_parameters(half, half) + 2 * half + (half + 1) * outputs


def chain_parameters(size: NetworkSize, channels: int, outputs: int, m: int, stacks: int) -> int:
    """Stem, hourglasses, head: VRN, VRN-Guided and the landmark detector."""
    return stem_parameters(size, channels) + stacks * stage_parameters(size, m) + head_parameters(size, outputs)


def multitask_parameters(size: NetworkSize, depth: int, m: int) -> int:
    """One stem, three hourglasses, two heads."""
    return stem_parameters(size, 3) + 3 * stage_parameters(size, m) + head_parameters(size, depth) + head_parameters(size, 68)


@pytest.mark.parametrize(("width_in", "width_out"), [(8, 8), (8, 16), (64, 128)])
def test_residual_module_matches_closed_form(width_in, width_out):
    assert parameters(Residual(width_in, width_out)) == residual_parameters(width_in, width_out)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ALL)
def test_parameter_counts_match_closed_form(kind, name):
    size, depth = preset(name).network, preset(name).grid.depth
    shared = {"tiny": 1, "lite": 1, "colab": 1, "sharp": 1, "paper": 4, "paper_full": 3}[name]
    guided = 4 if name == "paper_full" else size.modules
    expected = {
        VRN: lambda: chain_parameters(size, 3, depth, size.modules, size.stacks),
        UnalignedVRN: lambda: chain_parameters(size, 3, depth, size.modules, size.stacks),
        GuidedVRN: lambda: chain_parameters(size, 71, depth, guided, size.stacks),
        LandmarkHourglass: lambda: chain_parameters(size, 3, 68, shared, 2),
        MultitaskVRN: lambda: multitask_parameters(size, depth, shared),
    }
    assert parameters(on_meta(kind, name)) == expected[kind]()


@pytest.mark.parametrize(
    ("kind", "name", "count"),
    [
        (VRN, "paper_full", 19_184_968),  # the released unguided network
        (GuidedVRN, "paper_full", 24_975_944),  # the paper's: 71 channels, four modules per position
        (VRN, "paper", 6_085_576),
    ],
)
def test_the_published_and_the_shipped_sizes(kind, name, count):
    assert parameters(on_meta(kind, name)) == count


def test_the_papers_guided_network_has_four_modules_per_position_where_its_vrn_has_three():
    assert sum(p.network.guided_modules is not None for p in PRESETS.values()) == 1
    for kind, m in ((VRN, 3), (GuidedVRN, 4)):
        for stage in on_meta(kind, "paper_full").stacks:
            assert sum(isinstance(module, Residual) for module in stage.modules()) == 13 * m + 4


@pytest.mark.parametrize("kind", [LandmarkHourglass, MultitaskVRN])
def test_several_hourglasses_share_the_modules_of_a_single_one(kind):
    """Where VRN has one hourglass of m modules per position, each of several has m / 2."""
    network, inside = on_meta(kind, "paper"), 13 * 4 + 4
    counts = [sum(isinstance(part, Residual) for part in stage.modules()) for stage in network.modules() if isinstance(stage, Stage)]
    assert counts == [inside] * (2 if kind is LandmarkHourglass else 3)


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


def test_a_stage_adds_to_what_it_gets():
    stage = Stage(preset("tiny").network, 1)
    nn.init.zeros_(stage[-1][1].weight)
    x = noise(2, 16, 8, 8)
    torch.testing.assert_close(stage(x), x)


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
@pytest.mark.parametrize("kind", [VRN, UnalignedVRN, GuidedVRN, MultitaskVRN])
def test_logits_have_the_presets_grid(kind, name):
    network, grid = slim(kind, name), preset(name).grid
    given = arguments(network)
    assert network(*given).shape == (2, *grid.shape)
    coarse = network.predict(*given).logits
    assert coarse.shape == (2, grid.depth, grid.height // SIZES[name], grid.width // SIZES[name])


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", [LandmarkHourglass, MultitaskVRN])
def test_heat_maps_have_the_hourglasss_resolution(kind, name):
    network, grid = slim(kind, name), preset(name).grid
    images = arguments(network)[0]
    maps = network.predict(images).heatmaps
    assert maps.shape == (2, 68, grid.height // SIZES[name], grid.width // SIZES[name])
    assert network.landmarks(images).shape == (2, 68, 2)


@pytest.mark.parametrize("kind", ALL)
def test_height_and_width_may_differ(kind):
    wide = kind(replace(preset("tiny"), grid=Grid(10, 32, 48)))
    images, points = noise(2, 3, 32, 48), 32 * noise(2, 68, 2)
    logits = wide(images, points) if kind is GuidedVRN else wide(images)
    assert logits.shape == ((2, 68, 16, 24) if kind is LandmarkHourglass else (2, 10, 32, 48))


@pytest.mark.parametrize("name", ["tiny", "lite"])
@pytest.mark.parametrize("kind", ALL)
def test_every_parameter_receives_a_gradient(kind, name):
    network = seeded(kind, name)
    given = arguments(network)
    network(*given)  # some statistics, so that eval differs from the start
    network.eval()  # in training mode a batch norm cancels the bias before it
    outputs = given_parts(network.predict(*given))
    sum(output.square().mean() for output in outputs).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("kind", ALL)
def test_eval_mode_works_at_batch_1_and_treats_samples_alone(kind):
    network = seeded(kind).eval()
    given = arguments(network, 3)
    with torch.inference_mode():
        together, alone = network(*given), network(*(tensor[1:2] for tensor in given))
    assert alone.shape == (1, *together.shape[1:])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [VRN, UnalignedVRN, GuidedVRN, MultitaskVRN])
def test_logits_are_the_enlarged_coarse_ones(kind):
    network = seeded(kind).eval()
    given = arguments(network, 1)
    coarse = network.predict(*given).logits
    enlarged = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(*given), enlarged)


@pytest.mark.parametrize("kind", ALL)
def test_logits_are_no_probabilities(kind):
    network = seeded(kind).eval()
    assert not any(isinstance(module, nn.Sigmoid) for module in network.modules())
    for part in given_parts(network.predict(*arguments(network))):
        assert part.min() < 0 < part.max()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 32, 16)])
def test_an_image_of_another_size_is_refused(kind, shape):
    network = kind("tiny")
    with pytest.raises(InputError, match=r"preset tiny needs images of 32 x 32 pixels, got \("):
        network(torch.rand(shape), *arguments(network, 1)[1:])


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_preset_is_refused(kind):
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        kind("huge")


@pytest.mark.parametrize("variant", VARIANTS)
def test_building_leaves_the_global_random_state_alone_and_depends_on_its_seed_only(variant):
    before = torch.get_rng_state()
    one = build(variant, "tiny", seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(11)
    two, other = build(variant, "tiny", seed=5).state_dict(), build(variant, "tiny", seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["stem.layers.0.weight"], other["stem.layers.0.weight"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_knows_its_name(variant):
    assert build(variant, "tiny").variant == variant


# VRN-Guided: the image's channels and 68 redrawn Gaussians


@pytest.mark.parametrize("name", PRESETS)
def test_redrawn_gaussians_have_height_1_and_spread_1_pixel_at_every_preset(name):
    """At x pixels from its landmark a Gaussian has the value exp(-x^2 / 2), whatever the image's size."""
    grid = preset(name).grid
    network = GuidedVRN("tiny")
    column, row = grid.width // 3, grid.height // 2
    points = torch.tensor([column + 0.5, row + 0.5]).expand(1, 68, 2)
    maps = network.inputs(torch.zeros(1, 3, grid.height, grid.width), points)[:, 3:]
    assert network.sigma == 1
    assert maps.shape == (1, 68, grid.height, grid.width)
    assert (maps.amax((2, 3)) == 1).all()
    steps = torch.arange(6.0)
    torch.testing.assert_close(maps[0, 0, row, column : column + 6], torch.exp(-steps.square() / 2))
    torch.testing.assert_close(maps[0, 67, row : row + 6, column], torch.exp(-steps.square() / 2))
    assert float(maps[0, 5].sum()) == pytest.approx(2 * torch.pi, rel=1e-4)


def test_the_sigma_2_ablation_doubles_the_spread():
    wide, points = build("guided_sigma2", "tiny"), torch.full((1, 68, 2), 16.5)
    torch.testing.assert_close(wide.inputs(torch.zeros(1, 3, 32, 32), points)[0, 9, 16, 16:21], torch.exp(-torch.arange(5.0).square() / 8))


def test_the_images_channels_come_first_and_the_landmarks_in_their_order():
    images, points = noise(2, 3, 32, 32), 31 * noise(2, 68, 3) + 0.5
    inputs = GuidedVRN("tiny").inputs(images, points)
    assert torch.equal(inputs[:, :3], images)
    rows, columns = inputs[:, 3:].flatten(2).argmax(2) // 32, inputs[:, 3:].flatten(2).argmax(2) % 32
    torch.testing.assert_close(torch.stack((columns, rows), -1) + 0.5, points[..., :2], atol=0.51, rtol=0)


def test_the_depth_of_landmarks_plays_no_part():
    network, (images, points) = seeded(GuidedVRN).eval(), arguments(GuidedVRN("tiny"))
    assert torch.equal(network(images, points), network(images, points[..., :2]))


def test_missing_landmarks_leave_empty_channels_and_touch_no_other():
    network, (images, points) = seeded(GuidedVRN), arguments(GuidedVRN("tiny"))
    missing = points.clone()
    missing[0, 7] = float("nan")
    missing[1, :, 0] = float("nan")  # half a landmark is none
    maps, whole = network.inputs(images, missing)[:, 3:], network.inputs(images, points)[:, 3:]
    assert (maps[0, 7] == 0).all()
    assert (maps[1] == 0).all()
    others = [number for number in range(68) if number != 7]
    assert torch.equal(maps[0, others], whole[0, others])
    assert torch.isfinite(network(images, missing)).all()


def test_landmarks_outside_the_image_fade_out_and_do_no_harm():
    network, images = seeded(GuidedVRN), noise(1, 3, 32, 32)
    points = torch.full((1, 68, 2), 16.5)
    points[0, 0], points[0, 1], points[0, 2] = torch.tensor([-0.5, 16.5]), torch.tensor([1e6, -1e6]), torch.tensor([float("inf"), 4.0])
    maps = network.inputs(images, points)[0, 3:]
    assert float(maps[0].max()) == pytest.approx(float(torch.exp(torch.tensor(-0.5))))
    assert (maps[1:3] == 0).all()
    assert torch.isfinite(network(images, points)).all()


@pytest.mark.parametrize("shape", [(2, 67, 3), (1, 68, 3), (2, 68, 1), (68, 3)])
def test_other_than_68_points_per_image_are_refused(shape):
    with pytest.raises(InputError, match=r"landmarks must be \[2, 68, 2 or 3\], got \("):
        GuidedVRN("tiny")(torch.rand(2, 3, 32, 32), torch.rand(shape))


def test_landmarks_guide():
    network, (images, points) = seeded(GuidedVRN).eval(), arguments(GuidedVRN("tiny"))
    assert not torch.equal(network(images, points), network(images, points.flip(1)))


# VRN-Multitask and the landmark detector


def gradients(part: nn.Module) -> bool:
    """Whether any parameter of a part has received a gradient other than 0."""
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in part.parameters())


@pytest.mark.parametrize(("task", "other"), [("volume", "landmarks"), ("landmarks", "volume")])
def test_a_tasks_loss_moves_its_own_branch_and_the_trunk_only(task, other):
    network = seeded(MultitaskVRN)
    volume, maps, *_ = network.predict(noise(2, 3, 32, 32))
    {"volume": volume, "landmarks": maps}[task].square().mean().backward()
    assert gradients(network.stem)
    assert gradients(network.shared)
    assert gradients(network.fork[task])
    assert not gradients(network.fork[other])


def test_a_multitask_network_answers_with_its_volume():
    network, images = seeded(MultitaskVRN).eval(), noise(1, 3, 32, 32)
    assert network(images).shape == (1, *network.preset.grid.shape)
    torch.testing.assert_close(network.landmarks(images), 2 * decode(network.predict(images).heatmaps))


@pytest.mark.parametrize("kind", [LandmarkHourglass, MultitaskVRN])
def test_landmarks_are_found_in_pixels_of_the_image(kind, monkeypatch):
    """Maps that are the Gaussians of known points, in cells, give these points back, in pixels."""
    network, points = on_meta(kind, "colab"), 20 + 88 * noise(1, 68, 2)
    logits = heatmaps(points / 4, 32, 32).log()
    monkeypatch.setattr(network, "predict", lambda images: Prediction(heatmaps=logits))
    torch.testing.assert_close(network.landmarks(noise(1, 3, 128, 128)), points, rtol=0, atol=4e-4)


def test_no_map_sends_a_landmark_outside_the_image():
    network = seeded(LandmarkHourglass).eval()
    found = network.landmarks(noise(4, 3, 32, 32))
    assert found.amin() >= 0
    assert found.amax() <= 32


# The finer end


@pytest.mark.parametrize("kind", ALL)
def test_the_finer_end_sees_the_stems_early_features_at_half_the_images_size(kind):
    network, seen = slim(kind, "sharp"), []
    for module in network.modules():
        if isinstance(module, Refine):
            module.register_forward_pre_hook(lambda module, args: seen.append([tuple(tensor.shape) for tensor in args]))
    network(*arguments(network))
    tasks = {MultitaskVRN: [128, 68], LandmarkHourglass: [68]}.get(kind, [128])
    assert seen == [[(2, outputs, 32, 32), (2, 8, 32, 32), (2, 8, 64, 64)] for outputs in tasks]


@pytest.mark.parametrize("kind", ALL)
def test_a_network_trained_without_the_finer_end_goes_on_from_where_it_was(kind):
    old, new = slim(kind, "colab"), slim(kind, "sharp")
    missing = new.load_state_dict(old.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("refine.") for name in missing.missing_keys)
    given = arguments(old)

    for coarse, fine in zip(given_parts(old.predict(*given)), given_parts(new.predict(*given)), strict=True):
        enlarged = nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(fine, enlarged)


@pytest.mark.parametrize("kind", ALL)
def test_every_parameter_of_the_finer_end_learns(kind):
    network = slim(kind, "sharp").train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0)
    given = arguments(network)
    for _ in range(2):  # its last convolution is 0 at first, and what is before it learns from the second step on
        optimiser.zero_grad()
        outputs = given_parts(network.predict(*given))
        sum(output.square().mean() for output in outputs).backward()
        optimiser.step()
    learns = [parameter for name, parameter in network.named_parameters() if name.startswith("refine.")]
    assert learns
    assert all(bool(parameter.grad.any()) for parameter in learns)


def test_a_preset_without_a_finer_end_says_nothing_of_it():
    assert "refine" not in preset("colab").to_dict()["network"]
    assert Preset.from_dict(preset("sharp").to_dict()) == preset("sharp")


@pytest.mark.parametrize(("stem", "refine"), [(2, 1), (4, 0)])
def test_a_finer_end_that_cannot_be_is_refused(stem, refine):
    with pytest.raises(InputError, match=rf"refine \(={refine}\) must be at least 1, behind a stem of 4 \(this is {stem}\)"):
        NetworkSize(stem=stem, refine=refine)
