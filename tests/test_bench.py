import sys
from itertools import islice

import pytest
import torch

from shapes import icosphere, toy_face
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.mesh import boundary_edges, signed_volume
from vrn_lite.networks.base import build
from vrn_lite.presets import preset
from vrn_lite.samples import make_pairs
from vrn_lite.studies import bench
from vrn_lite.training.loop import train
from vrn_lite.training.optim import OPTIMS


@pytest.fixture
def quick_trimesh(monkeypatch):
    """Without the seconds that trimesh takes on the full grid."""
    monkeypatch.setattr(bench, "_trimesh", lambda *_: lambda: 0)


def test_the_head_is_closed_and_lies_inside_the_grid():
    vertices, triangles = bench.head(procedural())
    assert len(boundary_edges(triangles)) == 0
    assert float(signed_volume(vertices, triangles)) > 0
    assert 20_000 < len(triangles) < 40_000
    assert (vertices > 0).all()
    assert (vertices.amax(0) < torch.tensor([192.0, 192.0, 100.0])).all()


@pytest.mark.usefixtures("quick_trimesh")
def test_voxelizers_fill_the_same_grid_with_small_errors():
    pytest.importorskip("pyvista", reason="the VTK column needs pyvista")
    ours, vtk, other = bench.voxelizers(*bench.head(procedural()), repeats=2, slow_repeats=1)
    assert [line.by for line in (ours, vtk, other)] == ["vrn_lite", "VTK (pyvista)", "trimesh"]
    assert [line.runs for line in (ours, vtk, other)] == [2, 2, 1]
    assert abs(ours.volume_error) < 0.001
    assert abs(vtk.volume_error) < 0.001


def test_trimesh_voxels_are_cubes_of_the_scaled_mesh():
    vertices, triangles = icosphere(8.0, 3)
    count = bench._trimesh(vertices, triangles)()
    assert count == pytest.approx(2 * float(signed_volume(vertices, triangles)), rel=0.3)  # it keeps the whole shell


@pytest.mark.usefixtures("quick_trimesh")
def test_a_missing_pyvista_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvista", None)
    _, vtk, _ = bench.voxelizers(*bench.head(procedural()), repeats=1, slow_repeats=1)
    assert vtk.value is None
    assert vtk.runs == 0
    assert "pip install" in vtk.note


def test_pair_rates_are_medians_per_second():
    line = bench.pair_rate(toy_face(), "tiny", repeats=3, batch=4)
    assert line.value > 0
    assert (line.unit, line.runs, line.by) == ("pairs/s", 3, "toy faces")


def test_all_measurements_come_one_by_one(monkeypatch, quick_trimesh):
    monkeypatch.setattr(bench, "PRESETS", ("tiny",))
    monkeypatch.setattr(bench, "_rate", lambda run, *_: 6 if isinstance(run, islice) else 2)
    lines = list(bench.run((toy_face(), procedural()), repeats=1, slow_repeats=1, batch=2, preset="tiny", steps=1))  # its network is built, and never trained
    assert [line.by for line in lines[3:5]] == ["toy faces", "procedural faces"]
    assert [(line.value, line.unit) for line in lines[5:]] == [(6, "samples/s"), (2, "samples/s"), (3, "times")]
    assert all(line.task == "train vrn, preset tiny" and "toy faces" in line.note for line in lines[5:])


def test_no_repeats_are_refused():
    with pytest.raises(InputError, match="at least 1, got 0"):
        next(bench.run(repeats=0))


def test_an_unknown_preset_is_refused_before_anything_is_timed():
    with pytest.raises(InputError, match="unknown preset 'huge'"):
        next(bench.run(preset="huge"))


# Training beside the plain way


def test_training_rates_are_positive_and_the_ratio_is_their_quotient():
    ours, plain, ratio = bench.training_rates(toy_face(), "tiny", rounds=2, steps=2, warm_up=1, batch=2, workers=1)
    assert min(ours.value, plain.value) > 0
    assert ratio.value == ours.value / plain.value


def test_no_rounds_are_refused():
    with pytest.raises(InputError, match="rounds, steps and batch must be at least 1, got 0, 8 and 16"):
        bench.training_rates(toy_face(), "tiny", rounds=0)


def plain_trainer(**options) -> bench.PlainTrainer:
    return bench.PlainTrainer(toy_face(), preset("tiny"), **{"steps": 2, "batch": 4, "workers": 0, "seed": 3, "device": "cpu"} | options)


def test_both_ways_compute_the_same_loss_on_the_same_pairs():
    """And take the same step: up to bfloat16, the losses stay alike."""
    plain, face = plain_trainer(), toy_face()
    network, batches = build("vrn", "tiny", seed=3), [make_pairs(face, "tiny", 4, torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    for name, value in network.state_dict().items():
        assert torch.equal(value, plain.network.state_dict()[name]), name
    steps = train(network, lambda step, *_: batches[step], samples=8, batch=4, seed=3, device="cpu")
    for number, (metrics, pairs) in enumerate(zip(steps, batches, strict=True)):
        for group in plain.optimiser.param_groups:
            group["lr"] = OPTIMS["fast"].lr_at(number, number / 2)  # ours warms up
        assert metrics.loss == pytest.approx(plain.update(pairs.images, pairs.volumes), rel=0.02)


def test_the_plain_way_is_float32_and_channels_first():
    plain, seen = plain_trainer(), []
    plain.network.stem.layers[0].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    images, volumes = next(iter(plain.loader))
    assert images.shape == (4, 3, 32, 32)
    assert volumes.shape == (4, 32, 32, 32)
    plain.update(images, volumes)
    for tensor in seen[0]:
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()


def test_single_pairs_are_seeded_by_their_number():
    pairs = bench.SinglePairs(toy_face(), preset("tiny"), 3, seed=1)
    assert len(pairs) == 3
    assert all(torch.equal(one, two) for one, two in zip(pairs[2], pairs[2], strict=True))
    assert not torch.equal(pairs[0][0], pairs[1][0])
    made = make_pairs(toy_face(), "tiny", 1, torch.Generator().manual_seed(1_000_003))
    assert torch.equal(pairs[0][1], made.volumes[0])


def test_every_run_of_the_plain_way_has_its_steps():
    plain = plain_trainer(steps=3)
    assert [len(list(plain.records())) for _ in range(2)] == [3, 3]
