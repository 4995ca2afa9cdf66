from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from shapes import toy_face
from vrn_lite.frame import InputError
from vrn_lite.networks.vrn import VRN
from vrn_lite.presets import preset
from vrn_lite.training import RECIPES, Recipe, Record, Trainer, atomically, build, load, save_weights, shipped, train, voxel_loss, weights_metadata

FACE = toy_face()


def run(network: VRN, steps: int, **options) -> list[Record]:
    return list(train(network, face=FACE, samples=4 * steps, batch=4, device="cpu", **options))


def state(network: VRN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# The loss


@pytest.mark.parametrize(("coarse", "full"), [((2, 5, 8, 8), (2, 5, 16, 16)), ((2, 3, 8, 6), (2, 3, 32, 24)), ((1, 40, 48, 48), (1, 40, 192, 192))])
def test_voxel_loss_equals_the_cross_entropy_of_the_enlarged_logits(coarse, full):
    g = torch.Generator().manual_seed(0)
    truth = torch.rand(full, generator=g) < 0.4
    logits = [(4 * torch.randn(coarse, generator=torch.Generator().manual_seed(1))).requires_grad_() for _ in range(2)]
    ours = voxel_loss(logits[0], truth)
    enlarged = interpolate(logits[1], size=full[-2:], mode="bilinear", align_corners=False)
    theirs = binary_cross_entropy_with_logits(enlarged, truth.float())
    (3 * ours).backward()
    (3 * theirs).backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[0].grad, logits[1].grad, rtol=1e-4, atol=1e-7)


def test_the_loss_of_no_knowledge_is_log_2():
    truth = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.5
    assert float(voxel_loss(torch.zeros(1, 4, 4, 4), truth)) == pytest.approx(0.693147, rel=1e-5)


def test_the_loss_of_certain_truth_is_nothing_and_of_certain_error_finite():
    truth = torch.ones(1, 4, 8, 8, dtype=torch.bool)
    assert float(voxel_loss(torch.full((1, 4, 4, 4), 30.0), truth)) < 1e-6
    wrong = float(voxel_loss(torch.full((1, 4, 4, 4), -1000.0), truth))
    assert 10 < wrong < float("inf")


def test_the_gradient_of_bfloat16_logits_is_bfloat16():
    logits = torch.zeros(1, 4, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    voxel_loss(logits, torch.ones(1, 4, 8, 8, dtype=torch.bool)).backward()
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.float().sum(), torch.tensor(-0.5), rtol=1e-2, atol=0)


# The loop


def test_the_loss_falls():
    quick = Recipe("adamw", 2e-2, warm_up=5, decay=0.35, final=0.01, clip=1.0)
    losses = torch.tensor([record.loss for record in run(build("vrn", "tiny", 0), 40, seed=1, recipe=quick)])
    assert losses[-10:].mean() < 0.7 * losses[:3].mean()


def test_records_count_steps_samples_and_rates():
    records = run(build("vrn", "tiny", 0), 3)
    assert [record.step for record in records] == [1, 2, 3]
    assert [record.samples for record in records] == [4, 8, 12]
    assert all(record.samples_per_second > 0 and record.seconds > 0 for record in records)
    assert [record.rate for record in records] == [RECIPES["fast"].rate_at(step, step / 3) for step in range(3)]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    whole = build("vrn", "tiny", 3)
    expected = run(whole, 6, seed=3)
    first = build("vrn", "tiny", 3)
    begun = train(first, face=FACE, samples=24, batch=4, seed=3, device="cpu", folder=tmp_path, save_every=0.0)
    assert [record.loss for record in islice(begun, 3)] == [record.loss for record in expected[:3]]
    begun.close()
    second = build("vrn", "tiny", 99)  # its weights come from the checkpoint
    rest = run(second, 6, seed=3, folder=tmp_path)
    assert [record.step for record in rest] == [4, 5, 6]
    assert [record.loss for record in rest] == [record.loss for record in expected[3:]]
    assert same(state(whole), state(second))


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    network = build("vrn", "tiny", 0)
    run(network, 2, folder=tmp_path)
    before = state(network)
    assert run(network, 2, folder=tmp_path) == []
    assert same(before, state(network))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


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


def test_the_papers_recipe_drops_to_a_tenth_at_half_time():
    paper = RECIPES["paper"]
    assert [paper.rate_at(step, step / 80) for step in (0, 39, 40, 79)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_the_fast_recipe_warms_up_and_falls_to_a_hundredth():
    fast = RECIPES["fast"]
    assert fast.rate_at(0, 0) == pytest.approx(2e-5)
    assert fast.rate_at(49, 0.1) == pytest.approx(1e-3)
    assert fast.rate_at(99, 0.2) == fast.rate_at(500, 0.65) == pytest.approx(2e-3)
    assert fast.rate_at(800, 0.65 + 0.175) == pytest.approx(2e-3 * 0.505)
    assert fast.rate_at(999, 1.0) == pytest.approx(2e-5)


def test_a_recipe_may_leave_out_warm_up_and_decay():
    assert Recipe("adamw", 1e-3, warm_up=0, decay=0.0, final=1.0, clip=0.0).rate_at(0, 0.5) == 1e-3


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


@pytest.mark.parametrize("write", [lambda part: torch.save({}, part / "x"), lambda part: save_file({}, part / "x")])
def test_a_failing_writer_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "kept"
    path.write_text("old")
    with pytest.raises(InputError, match="cannot write .*kept: "):
        atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_loss_that_is_no_number_stops_the_run():
    network = build("vrn", "tiny", 0)
    trainer = Trainer(network, FACE, samples=8, batch=4, seed=0, recipe=RECIPES["fast"])
    with torch.no_grad():
        network.head[-1].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="the loss is not a number at step 1: use a smaller learning rate"):
        next(trainer.records())


# Weights


@pytest.fixture
def weights(tmp_path) -> tuple[VRN, Path]:
    """A network that has seen something, and its file."""
    network = build("vrn", "tiny", 8)
    run(network, 2)
    save_weights(network, tmp_path / "w.safetensors", data="toy", samples=8, heldout={"iou": 0.5})
    return network.eval(), tmp_path / "w.safetensors"


def test_weights_come_back_to_float16_precision(weights):
    network, path = weights
    loaded = load(path)
    assert not loaded.training
    assert loaded.preset == network.preset
    for name, value in network.state_dict().items():
        exact = "running" in name or not value.is_floating_point()
        assert torch.equal(loaded.state_dict()[name], value if exact else value.half().float()), name
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0.02)


def test_weights_are_float16_but_for_the_statistics(weights):
    with safe_open(str(weights[1]), "pt") as file:
        kinds = {("running" in name, file.get_tensor(name).dtype) for name in file.keys() if "num_batches" not in name}
    assert kinds == {(True, torch.float32), (False, torch.float16)}


def test_metadata_tells_variant_preset_and_facts(weights):
    facts = weights_metadata(weights[1])
    assert facts == {"variant": "vrn", "preset": preset("tiny").to_dict(), "data": "toy", "samples": 8, "heldout": {"iou": 0.5}}


def test_saved_weights_load_as_what_they_were_asked_for(weights):
    assert load(weights[1], preset="tiny").preset.name == "tiny"
    assert load(str(weights[1]), preset=preset("tiny"), device="cpu").preset.name == "tiny"


def test_weights_of_another_preset_are_refused(weights):
    with pytest.raises(InputError, match=r"the weights w\.safetensors belong to preset 'tiny', not 'lite'"):
        load(weights[1], preset="lite")


@pytest.mark.parametrize("length", [0, 4, 100, 5000, -1])
def test_truncated_weights_are_refused(weights, length):
    path = weights[1]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"cannot read the weights .*w\.safetensors.* damaged or no safetensors file"):
        load(path)


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_text("these are no weights, only some text that is longer than a header")
    with pytest.raises(InputError, match="damaged or no safetensors file"):
        load(tmp_path / "w.safetensors")


def test_foreign_weights_are_refused(tmp_path, weights):
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match="holds no weights of this package"):
        load(tmp_path / "foreign.safetensors")
    with safe_open(str(weights[1]), "pt") as file:
        metadata, some = file.metadata(), {"stem": torch.zeros(2)}
    save_file(some, tmp_path / "empty.safetensors", metadata)
    with pytest.raises(InputError, match=r"empty\.safetensors do not fit a vrn of preset 'tiny'"):
        load(tmp_path / "empty.safetensors")


def test_an_unknown_name_is_answered_with_the_shipped_ones(tmp_path):
    with pytest.raises(InputError, match="no weights 'vrx': choose one of"):
        load("vrx")
    with pytest.raises(InputError, match="or give a .safetensors file"):
        load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_work_at_batch_1(name):
    network = load(name)
    grid = network.preset.grid
    with torch.inference_mode():
        logits = network(torch.full((1, 3, grid.height, grid.width), 0.5))
    assert logits.shape == (1, *grid.shape)
    assert torch.isfinite(logits).all()
