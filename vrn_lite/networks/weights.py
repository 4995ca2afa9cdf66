"""Weights in files: those that ship, by name, and everybody's own."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vrn_lite.files import atomically
from vrn_lite.frame import InputError, require
from vrn_lite.networks.base import VARIANTS, FaceNetwork, LandmarkDetector, build, finds_landmarks
from vrn_lite.presets import Preset

WEIGHTS = files("vrn_lite") / "weights"


def shipped() -> dict[str, Path]:
    """Weights of face networks in the package: name -> file."""
    paths = sorted(Path(str(WEIGHTS)).glob("*.safetensors"))
    return {path.stem: path for path in paths if path.stem != "finder"}  # `photo.finder` knows its own


def save_weights(network: FaceNetwork, path: str | Path, **facts: object) -> None:
    """Write float16 weights (batch-norm statistics float32) as safetensors.

    The metadata hold variant, preset, arguments and `facts`: all that `load` needs, and what a reader wants to know.
    """
    state = {name: _stored(name, value).contiguous() for name, value in network.state_dict().items()}
    facts |= {"arguments": network.arguments} if network.arguments else {}
    metadata = {"variant": network.variant, "preset": json.dumps(network.preset.to_dict())}
    metadata |= {name: json.dumps(value) for name, value in facts.items()}
    atomically(Path(path), lambda temporary: save_file(state, temporary, metadata))


def _stored(name: str, value: Tensor) -> Tensor:
    """A tensor as files hold it."""
    return value.half() if value.is_floating_point() and "running" not in name else value


def weights_metadata(path: str | Path) -> dict[str, Any]:
    """What a weights file says of itself: variant, preset, data, seed, samples, held-out results.

    Raises
    ------
    InputError : not a whole safetensors file of this package.
    """
    try:
        with safe_open(str(path), "pt") as file:
            found = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = f"{error}; they are damaged or no safetensors file, fetch them again"
        raise InputError(f"cannot read the weights {path}: {reason}") from error
    ours = "preset" in found and "variant" in found
    require(ours, f"{path} holds no weights of this package: its metadata names no preset")
    return {"variant": found.pop("variant")} | {name: json.loads(value) for name, value in found.items()}


def weights_file(name: str | Path) -> Path:
    """The file of weights that ship, by name, or of others.

    Raises
    ------
    InputError : unknown name, no such file.
    """
    path = shipped().get(str(name), Path(name))
    choice = ", ".join(shipped()) or "(none shipped)"
    require(path.is_file(), f"no weights {str(name)!r}: choose one of {choice}, or give a .safetensors file")
    return path


def tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, in float32."""
    with safe_open(str(path), "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def load(
    name: str | Path = "vrn", preset: Preset | str | None = None, device: torch.device | str | None = None
) -> FaceNetwork:
    """A trained network in eval mode: one that ships, by name, or a safetensors file.

    Raises
    ------
    InputError : unknown name, damaged file, or weights of another preset than `preset`.
    """
    path = weights_file(name)
    facts = weights_metadata(path)
    stored, variant = Preset.from_dict(facts["preset"]), facts["variant"]
    wanted = stored.name if preset is None else getattr(preset, "name", preset)
    require(wanted == stored.name, f"the weights {path.name} belong to preset {stored.name!r}, not {wanted!r}")
    require(variant in VARIANTS, f"the weights {path.name} are of an unknown variant {variant!r}")
    network = build(variant, stored, arguments=facts.get("arguments"))
    try:
        network.load_state_dict(tensors_in(path))
    except RuntimeError as error:
        raise InputError(f"the weights {path.name} do not fit a {variant} of preset {stored.name!r}") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth quicker on CPUs
    return network.to(device or "cpu").eval()


def load_detector(name: str | Path = "landmarks") -> LandmarkDetector:
    """A trained landmark detector in eval mode: the one that ships, another by name, or a safetensors file.

    Raises
    ------
    InputError : as `load`; a network that finds no landmarks.
    """
    network = load(name)
    if not finds_landmarks(network):
        raise InputError(f"a {network.variant!r} network finds no landmarks: choose landmarks or multitask")
    return network


def start_from(network: FaceNetwork, name: str | Path) -> tuple[int, int]:
    """Take over every tensor of a weights file whose name and shape fit; how many, and how many the network has.

    Raises
    ------
    InputError : unknown name, damaged file, or nothing in it fits.
    """
    path, mine = weights_file(name), network.state_dict()
    weights_metadata(path)  # refuses what is none of ours
    found = {new_name(key): value for key, value in tensors_in(path).items()}
    fits = {key: value for key, value in found.items() if key in mine and mine[key].shape == value.shape}
    require(len(fits) > 0, f"nothing in the weights {path.name} fits a {network.variant!r} network of this preset")
    network.load_state_dict(fits, strict=False)
    return len(fits), len(mine)


def new_name(key: str) -> str:
    """The name of a tensor, which in older files may be another one."""
    return key.replace(".carry.", ".shortcut.")
