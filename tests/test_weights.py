import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from shapes import toy_face
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError
from vrn_lite.networks.base import VARIANTS, Prediction, build
from vrn_lite.networks.vrn import VRN
from vrn_lite.networks.weights import load, save_weights, shipped, start_from, weights_metadata
from vrn_lite.presets import preset


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_is_a_whole_number_from_0(seed):
    with pytest.raises(InputError, match=f"seed must be a whole number from 0 .*, got {seed}"):
        build("vrn", "tiny", seed)


# Weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_of_every_variant_come_back(tmp_path, variant):
    network = build(variant, "tiny", 2)
    save_weights(network, tmp_path / "w.safetensors")
    loaded = load(tmp_path / "w.safetensors")
    assert (type(loaded), loaded.variant, loaded.training) == (type(network), variant, False)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_what_a_network_was_told_of_its_face_model_comes_back(tmp_path):
    arguments = {"identities": 4, "expressions": 3, "rounds": 2}
    network = build("parameters", "tiny", 2, arguments=arguments)
    save_weights(network, tmp_path / "w.safetensors", data="toy")
    assert weights_metadata(tmp_path / "w.safetensors")["arguments"] == arguments
    loaded = load(tmp_path / "w.safetensors")
    assert loaded.arguments == arguments
    assert len(loaded.rounds) == 2


@pytest.fixture
def weights(tmp_path) -> tuple[VRN, Path]:
    """A network that has seen something, and its file."""
    network = build("vrn", "tiny", 8)
    for _ in range(2):  # batch norm's statistics move
        network(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4)))
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
    images, landmarks = torch.full((1, 3, grid.height, grid.width), 0.5), torch.full((1, 68, 2), grid.width / 2)
    if network.needs_face:
        network.face = zeros_face(network.arguments)
    with torch.inference_mode():
        prediction = network.predict(images, landmarks)
    assert network.variant == name
    found = [name for name in Prediction._fields if getattr(prediction, name) is not None]
    assert tuple(found) == network.gives
    assert all(torch.isfinite(part).all() for part in prediction[:3] if part is not None)
    assert prediction.logits is None or network(images, landmarks).shape == (1, *grid.shape)


def zeros_face(arguments: dict[str, int]) -> MorphableFace:
    """A face model with as many coefficients as a network was told; none of its modes moves anything."""
    face = toy_face()
    shape, counts = face.mean.shape, (arguments.get("identities", 4), arguments.get("expressions", 4))
    identity, expression = (torch.zeros(count, *shape) for count in counts)
    return replace(face, identity=identity, expression=expression, expression_names=tuple(map(str, range(counts[1]))), often=(), needs={})


def test_files_of_the_first_edition_load(tmp_path):
    """They call the shortcut of a residual module `carry`, and have no arguments in their metadata."""
    network = build("guided_sigma2", "sharp", 3)
    old = {name.replace(".shortcut.", ".carry."): value.half() for name, value in network.state_dict().items()}
    assert any(".carry." in name for name in old)
    assert any(name.startswith("refine.") for name in old)
    save_file(old, tmp_path / "old.safetensors", {"variant": "guided_sigma2", "preset": json.dumps(preset("sharp").to_dict())})
    loaded = load(tmp_path / "old.safetensors")
    assert loaded.sigma == 2
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().to(value.dtype)), name


def test_a_network_takes_over_what_fits(tmp_path):
    save_weights(build("vrn", "tiny", 3), tmp_path / "w.safetensors")
    network = build("multitask", "tiny", 4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    taken, all_of = start_from(network, tmp_path / "w.safetensors")
    same = [name for name, value in network.state_dict().items() if torch.equal(value, before[name])]
    stem = build("vrn", "tiny", 3).stem.state_dict()
    assert (taken, all_of) == (len(stem), len(before))
    for name, value in stem.items():
        assert torch.equal(network.stem.state_dict()[name], value.half().to(value.dtype))
    assert any(name.startswith("fork.") for name in same)
    save_weights(build("vertices", "tiny", 3, arguments={"vertices": 5}), tmp_path / "v.safetensors")
    with pytest.raises(InputError, match="no weights 'nothing'"):
        start_from(network, "nothing")


def test_what_a_gpu_trains_in_a_quarter_of_an_hour_is_small():
    """Each file of preset sharp stays below 16 MiB in float16."""
    identities, expressions, vertices = 100, 53, 6706  # of ICT-FaceKit
    told = {"parameters": {"identities": identities, "expressions": expressions}, "vertices": {"vertices": vertices}}
    for variant in VARIANTS:
        with torch.device("meta"):
            network = build(variant, "sharp", arguments=told.get(variant))
        size = sum(value.numel() * (4 if "running" in name else 2) for name, value in network.state_dict().items())
        assert size < 16 * 2**20, (variant, size / 2**20)
