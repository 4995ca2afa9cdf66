"""Networks by name, the weights that ship, and files that are written at once or not at all."""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vrn_lite.frame import InputError, require
from vrn_lite.networks.regression import ParameterRegression, Regression, Trainable, VertexRegression
from vrn_lite.networks.vrn import VRN, GuidedVRN, LandmarkHourglass, MultitaskVRN, UnalignedVRN
from vrn_lite.presets import Preset

VARIANTS: dict[str, Callable[..., Trainable]] = {
    "vrn": VRN,
    "multitask": MultitaskVRN,
    "guided": GuidedVRN,
    "landmarks": LandmarkHourglass,
    "unaligned": UnalignedVRN,
    "guided_sigma2": partial(GuidedVRN, sigma=2.0),
    "parameters": ParameterRegression,
    "vertices": VertexRegression,
}
"""Trainable networks by name."""

WEIGHTS = files("vrn_lite") / "weights"


def build(variant: str, preset: Preset | str, seed: int = 0, arguments: Mapping[str, int] | None = None) -> Any:  # a `Trainable`; which one, the name tells
    """A network with fresh weights, the same for the same seed; the global random state is left as it was.

    `arguments` are the numbers that a network which regresses a face model's is told of it (`networks.regression.sizes`), by
    default ICT-FaceKit's.
    """
    require(variant in VARIANTS, f"unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checked_seed(seed))
        return VARIANTS[variant](preset, **(arguments or {}))


def checked_seed(seed: int) -> int:
    """The seed of a run, if it can be one.

    Raises
    ------
    InputError : it cannot.
    """
    require(0 <= seed < 2**63, f"seed must be a whole number from 0 to 2^63 - 1, got {seed}")
    return seed


def atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary neighbour, then rename: `path` holds the old file or the whole new one.

    Raises
    ------
    InputError : the folder cannot be written, or the disk is full.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors report a read-only or full disk in their own ways
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise InputError(f"cannot write {path}: {reason}; choose another folder, or free some space") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed while they wrote `atomically` have left in a folder."""
    for part in folder.glob("*.part"):
        writer = re.search(r"\.(\d+)\.part$", part.name)
        if writer and not _runs(int(writer[1])):
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of that number exists; where it cannot be asked without harm (Windows), it does."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def shipped() -> dict[str, Path]:
    """Weights in the package: name -> file."""
    return {path.stem: path for path in sorted(Path(str(WEIGHTS)).glob("*.safetensors"))}


def save_weights(network: Trainable, path: str | Path, **facts: object) -> None:
    """Write float16 weights (batch-norm statistics float32) as safetensors, with variant, preset and `facts` in the metadata."""
    state = {k: (v.contiguous() if "running" in k or not v.is_floating_point() else v.half().contiguous()) for k, v in network.state_dict().items()}
    facts |= {"arguments": network.arguments} if isinstance(network, Regression) else {}
    metadata = {"variant": network.variant, "preset": json.dumps(network.preset.to_dict())} | {k: json.dumps(v) for k, v in facts.items()}
    atomically(Path(path), lambda temporary: save_file(state, temporary, metadata))


def weights_metadata(path: str | Path) -> dict:
    """What a weights file says of itself: variant, preset, data, seed, samples, held-out results.

    Raises
    ------
    InputError : not a whole safetensors file of this package.
    """
    try:
        with safe_open(str(path), "pt") as file:
            found = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read the weights {path}: {error}; they are damaged or no safetensors file, fetch them again") from error
    require("preset" in found and "variant" in found, f"{path} holds no weights of this package: its metadata names no preset")
    return {"variant": found.pop("variant")} | {k: json.loads(v) for k, v in found.items()}


def load(
    name: str | Path = "vrn", preset: Preset | str | None = None, device: torch.device | str | None = None
) -> Any:  # a `Trainable`; which one, the name tells
    """A trained network in eval mode: one that ships, by name, or a safetensors file.

    Raises
    ------
    InputError : unknown name, damaged file, or weights of another preset than `preset`.
    """
    path = shipped().get(str(name), Path(name))
    require(path.is_file(), f"no weights {str(name)!r}: choose one of {', '.join(shipped()) or '(none shipped)'}, or give a .safetensors file")
    facts = weights_metadata(path)
    stored = Preset.from_dict(facts["preset"])
    wanted = None if preset is None else (preset if isinstance(preset, str) else preset.name)
    require(wanted in (None, stored.name), f"the weights {path.name} belong to preset {stored.name!r}, not {wanted!r}")
    require(facts["variant"] in VARIANTS, f"the weights {path.name} are of an unknown variant {facts['variant']!r}")
    network = build(facts["variant"], stored, arguments=facts.get("arguments"))
    with safe_open(str(path), "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
    try:
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        raise InputError(f"the weights {path.name} do not fit a {facts['variant']} of preset {stored.name!r}") from error
    return network.to(device or "cpu", memory_format=torch.channels_last).eval()  # a fifth quicker on CPUs
