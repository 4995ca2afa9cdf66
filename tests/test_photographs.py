"""Photographs prepared into shards and read behind the training's seam."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.io import loadmat, savemat

from licensed import EXPRESSIONS, IDENTITIES, SIGMA, SIGMA_EXP, SPOTS, pose, write_model, write_photo
from test_w300lp import spots
from vrn_lite.cli import main
from vrn_lite.datasets import photographs as module, prepare, prepared
from vrn_lite.datasets.w300lp import paired, read_sample
from vrn_lite.faces import basel
from vrn_lite.frame import InputError
from vrn_lite.networks.base import build
from vrn_lite.presets import PRESETS
from vrn_lite.samples import NO_JITTER
from vrn_lite.training.data import Mixed, stream_of, suited, turns_of
from vrn_lite.training.loop import train
from vrn_lite.training.runtime import Ranks

CPU, COUNT = torch.device("cpu"), 40


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    return basel(write_model(tmp_path_factory.mktemp("basel") / "models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty photographs in two folders of 300W-LP's kind, a mirrored copy, and one file that is damaged."""
    folder, generator = tmp_path_factory.mktemp("300W_LP"), np.random.default_rng(1)
    for number in range(COUNT):
        shape, expression = generator.normal(size=IDENTITIES) * SIGMA, generator.uniform(0, 1, EXPRESSIONS) * SIGMA_EXP
        angles = generator.uniform((-20, -90, -20), (20, 90, 20))
        write_photo(folder / ("AFW" if number % 2 else "HELEN"), f"{number:02d}", pose(*angles), shape, expression)
        path = folder / ("AFW" if number % 2 else "HELEN") / f"{number:02d}.mat"
        data = {key: values for key, values in loadmat(path).items() if not key.startswith("__")}
        savemat(path, data | {"pt2d": data["pt3d_68"][:2]})
    write_photo(folder / "AFW_Flip", "00", pose())
    (folder / "AFW" / "damaged.png").write_text("no picture")
    return folder


@pytest.fixture
def small(monkeypatch):
    """Shards of seven, so that forty faces fill six."""
    monkeypatch.setattr(module, "SHARD", 7)


@pytest.fixture(scope="module")
def cache(folder, face, tmp_path_factory):
    out = tmp_path_factory.mktemp("cache")
    prepare(folder, out, face, workers=1)
    return out


def test_what_cannot_be_read_is_told_and_stops_nothing(folder, face, tmp_path, small):
    made = prepare(folder, tmp_path / "cache", face, workers=1)
    assert made.faces == COUNT
    assert list(made.left_out) == ["AFW/damaged.png"]
    assert "damaged.png is not an image" in (tmp_path / "cache" / "left_out.txt").read_text()
    shards = list((tmp_path / "cache").glob("faces-*.safetensors"))
    assert len(shards) == 6
    assert made.size == sum(shard.stat().st_size for shard in shards)
    assert len(prepared(tmp_path / "cache", "tiny")) == COUNT


def test_a_stopped_preparation_goes_on(folder, face, tmp_path, small, monkeypatch):
    """Killed in the fourth shard: what was whole is kept, the whole is what an undisturbed run gives."""
    filled, fill = [], module._fill_shard

    def killed(job, **others):
        if len(filled) == 3:
            raise KeyboardInterrupt
        filled.append(job[1].name)
        fill(job, **others)

    monkeypatch.setattr(module, "_fill_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "cache", face, workers=1)
    with pytest.raises(InputError, match="is not prepared to the end, it lacks faces-00003.safetensors"):
        prepared(tmp_path / "cache", "tiny")
    whole = (tmp_path / "cache" / "faces-00000.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(module, "_fill_shard", fill)
    told = []
    prepare(folder, tmp_path / "cache", face, workers=1, on_progress=lambda *numbers: told.append(numbers))
    assert told == [(4, 6), (5, 6), (6, 6)]
    assert (tmp_path / "cache" / "faces-00000.safetensors").stat().st_mtime_ns == whole
    prepare(folder, tmp_path / "again", face, workers=1)
    for shard in (tmp_path / "again").glob("*.safetensors"):
        assert shard.read_bytes() == (tmp_path / "cache" / shard.name).read_bytes()


def test_several_processes_make_the_same(folder, face, tmp_path, small, cache):
    """Spawned processes do not see the smaller shards' size; they are told their own photographs."""
    prepare(folder, tmp_path / "two", face, workers=2)
    prepare(folder, tmp_path / "one", face, workers=1)
    for shard in (tmp_path / "one").glob("*.safetensors"):
        assert shard.read_bytes() == (tmp_path / "two" / shard.name).read_bytes()


def test_meshes_and_pictures_come_back(folder, face, cache):
    """Meshes to a hundredth of a pixel of the photograph, pictures bit for bit."""
    stream = prepared(cache, "lite", poses=NO_JITTER)
    found = stream.samples(list(range(COUNT)), CPU)
    kept = torch.cat([face.patch_vertices, face.landmarks]).unique()
    for number, name in enumerate(name for names in stream.names for name in names):
        true = read_sample(folder / name, face)
        assert found[number].name == name
        assert (found[number].image == true.image).all()
        ours = found[number].camera(found[number].mesh.vertices[None])[0, : len(kept)]
        torch.testing.assert_close(ours, true.placed().vertices[kept], atol=0.01, rtol=0)
    direct = paired([read_sample(folder / found[0].name, face)], face.interocular, PRESETS["lite"].grid)
    again = paired(found[:1], stream.face.interocular, PRESETS["lite"].grid)
    torch.testing.assert_close(again.images, direct.images, atol=1e-3, rtol=0)
    assert (again.volumes ^ direct.volumes).sum() <= 2e-4 * direct.volumes.sum()


def test_photographs_much_larger_than_needed_are_cut_and_reduced(face, tmp_path):
    """A face of 1,300 px in a picture of 2,400 x 9,000; landmarks lie on the smaller picture too."""
    write_photo(tmp_path / "in", "large", pose(10, 30, x=1200, y=1300, scale=1.2e-2), size=(2400, 9000), spread=24)
    prepare(tmp_path / "in", tmp_path / "out", face, workers=1)
    stream = prepared(tmp_path / "out", "paper", poses=NO_JITTER)
    sample = stream.samples([0], CPU)[0]
    assert sample.image.shape[0] < 1300
    assert sample.image.shape[1] < 3000
    marks = sample.placed().landmark_points()[list(SPOTS), :2]
    assert (spots(torch.tensor(sample.image).permute(2, 0, 1) / 255) - marks).norm(dim=-1).max() < 1
    assert (tmp_path / "out" / "faces-00000.safetensors").stat().st_size < 0.3 * (tmp_path / "in" / "large.png").stat().st_size + 10**6


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_photograph_is_seen_once_an_epoch(cache, monkeypatch, processes):
    stream, batch = prepared(cache, "tiny", seed=5), 4
    seen = []
    for step in range(0, 3 * COUNT // (batch * processes)):
        parts = []
        for rank in range(processes):
            monkeypatch.setattr(module, "ranks", lambda rank=rank: Ranks(rank, processes))
            parts += stream.order(step, batch)
        seen += parts
    epochs = [seen[start : start + COUNT] for start in range(0, len(seen) - COUNT + 1, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert prepared(cache, "tiny", seed=6).order(0, batch) != seen[:batch]


def test_pairs_depend_on_the_step_and_the_generator(cache):
    stream = prepared(cache, "tiny")
    first, again, other = (stream(step, 3, seeded(seed), CPU) for step, seed in ((2, 0), (2, 0), (2, 1)))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.volumes, again.volumes)
    assert first.tags == other.tags
    assert not torch.equal(first.images, other.images)
    assert bool(first.volumes.flatten(1).any(1).all())
    assert stream(3, 3, seeded(), CPU).tags != first.tags


def test_streams_take_turns_by_shares(cache):
    """Every photograph is seen once an epoch beside drawn faces too: each stream counts its own steps."""
    assert turns_of(0.5) == (0, 1)
    assert [sum(turns_of(share)) / len(turns_of(share)) for share in (0.25, 0.1, 0.9)] == [0.25, 0.1, 0.9]
    for share in (-0.1, 0, 1):
        with pytest.raises(InputError, match="a share of mixed-in faces must lie between 0 and 1"):
            turns_of(share)
    steps, pairs = [], prepared(cache, "tiny")(0, 1, seeded(), CPU)

    def first(step, batch, generator, device):
        steps.append(step)
        return pairs

    def second(step, batch, generator, device):
        steps.append(100 + step)
        return pairs

    mixed = Mixed([first, second], turns_of(1 / 3))
    for step in range(9):
        mixed(step, 1, seeded(), CPU)
    assert steps == [0, 1, 100, 2, 3, 101, 4, 5, 102]


def test_networks_train_on_photographs_and_drawn_faces(cache):
    stream = prepared(cache, "tiny")
    mixed = Mixed([stream, stream_of("procedural", "tiny")], turns_of(0.5))
    steps = list(train("guided", mixed, preset="tiny", samples=16, batch=4, compile=False))
    assert len(steps) == 4
    assert all(np.isfinite(step.loss) for step in steps)
    frontal = suited(stream, build("unaligned", "tiny"), CPU)
    assert frontal.target == "frontal"
    assert not torch.equal(frontal(0, 2, seeded(), CPU).volumes, stream(0, 2, seeded(), CPU).volumes)
    with pytest.raises(InputError, match="the pairs are of preset 'tiny', the network of 'lite'"):
        suited(stream, build("vrn", "lite"), CPU)


@pytest.mark.parametrize("points", ["pt3d_68", "pt2d"])
def test_without_a_model_landmarks_alone_are_trained(folder, face, cache, tmp_path, points):
    """They are where the model's are, in crops that are the same."""
    for path in list((folder / "AFW").glob("*.png"))[:4]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
        if path.with_suffix(".mat").exists():
            data = {key: values for key, values in loadmat(path.with_suffix(".mat")).items() if not key.startswith("__")}
            savemat(tmp_path / f"{path.stem}.mat", {key: data[key] for key in (points, "Pose_Para")})
    prepare(tmp_path, tmp_path / "cache", workers=1)
    stream, whole = (prepared(where, "tiny", poses=NO_JITTER) for where in (tmp_path / "cache", cache))
    pairs = stream(0, 3, seeded(), CPU)
    names = [name for names in whole.names for name in names]
    true = paired(whole.samples([names.index(f"AFW/{name}") for name in pairs.tags], CPU), face.interocular, PRESETS["tiny"].grid)
    torch.testing.assert_close(pairs.landmarks[..., :2], true.landmarks[..., :2], atol=1e-3, rtol=0)
    assert not pairs.volumes.any()
    assert len(list(train("landmarks", stream, preset="tiny", samples=8, batch=4, compile=False))) == 2
    with pytest.raises(InputError, match=r"a 'vrn' network learns volumes, and these photographs have landmarks alone: train `landmarks`"):
        suited(stream, build("vrn", "tiny"), CPU)


def test_a_cache_is_that_of_its_photographs(folder, face, cache, tmp_path):
    with pytest.raises(InputError, match="holds other photographs, or another model's: choose another --out"):
        prepare(folder / "AFW", cache, face, workers=1)
    with pytest.raises(InputError, match="holds no prepared photographs: run vrn-lite prepare 300w-lp"):
        prepared(tmp_path, "tiny")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"none of the 1 photographs in .* can be read: .*a\.png is not an image"):
        prepare(tmp_path / "in", tmp_path / "out", face, workers=1)


def test_a_shard_that_is_damaged_is_named(folder, face, tmp_path):
    write_photo(tmp_path / "in", "a", pose())
    prepare(tmp_path / "in", tmp_path / "out", face, workers=1)
    stream = prepared(tmp_path / "out", "tiny")
    (tmp_path / "out" / "faces-00000.safetensors").write_bytes(b"0" * 99)
    with pytest.raises(InputError, match=r"cannot read .*faces-00000.safetensors .*: delete it and prepare once more"):
        stream(0, 1, seeded(), CPU)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    out, error = capsys.readouterr()
    return stopped.value.code, out, error


def test_prepare_train_and_evaluate_by_command(folder, tmp_path, capsys):
    models, cache, out = write_model(tmp_path / "models"), tmp_path / "cache", tmp_path / "out"
    code, printed, error = run(capsys, "prepare", "300w-lp", folder, "--basel", models, "--out", cache, "--workers", 1)
    assert (code, printed) == (0, f"{cache}\n")
    assert f"{COUNT} faces, " in error
    assert "KiB a face, 1 left out" in error
    options = ("--preset", "tiny", "--samples", 8, "--batch", 4, "--no-checkpoint", "--resume", out)
    assert run(capsys, "train", "vrn", "--data", cache, "--mix", 0.5, "--faces", "procedural", *options)[0] == 0
    with safe_open(out / "vrn.safetensors", "pt") as file:
        assert f"{COUNT} photographs and procedural" in json.dumps(file.metadata())
    tested = ("--protocol", "aflw2000", "--data", folder / "HELEN", "--basel", models, "--n", 4)
    code, printed, error = run(capsys, "evaluate", out / "vrn.safetensors", *tested)
    assert code == 0, error


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("prepare", "lfw", ".", "--out", "cache"), "unknown set 'lfw': 300w-lp can be prepared"),
        (("prepare", "300w-lp", "nowhere", "--out", "cache"), "no such folder: nowhere"),
        (("prepare", "300w-lp", ".", "--out", "cache", "--mask", "m.npy"), "pass --basel too"),
        (("train", "--mix", 0.5), "pass --data too"),
        (("train", "--data", "nowhere"), "holds no prepared photographs"),
    ],
)
def test_wrong_command_lines(capsys, arguments, text):
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert text in error
