"""A training's state in a file, written at once or not at all; a run that is killed goes on from there, bit for bit."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vrn_lite.files import atomically, sweep
from vrn_lite.frame import InputError, require
from vrn_lite.training.data import facts_of
from vrn_lite.training.log import StepMetrics

if TYPE_CHECKING:
    from vrn_lite.training.loop import Trainer


def facts(trainer: "Trainer") -> dict[str, Any]:
    """What a checkpoint must share with the run that continues it."""
    network = trainer.network
    facts = {"variant": network.variant, "preset": network.preset.to_dict(), "seed": trainer.seed}
    facts |= {"batch": trainer.batch, "ranks": trainer.ranks.size}
    return facts | facts_of(trainer.data) | {"optimiser": trainer.optim.optimiser}


def save(trainer: "Trainer", path: Path) -> None:
    """Write a checkpoint that `restore` continues from."""
    state: dict[str, Any] = facts(trainer) | {"optim": asdict(trainer.optim), "arguments": trainer.network.arguments}
    state |= {"network": trainer.network.state_dict(), "optimiser_state": trainer.optimiser.state_dict()}
    state |= {"step": trainer.step, "nme": trainer.nme, "seconds": trainer.seconds}
    state["average"] = None if trainer.average is None else trainer.average.state_dict()
    atomically(path, lambda temporary: torch.save(state, temporary))


def restore(trainer: "Trainer", path: Path) -> None:
    """Continue where `save` left off.

    Raises
    ------
    InputError : unreadable file; another variant, preset, seed, batch, number of processes, data or optimiser.
    """
    mine = facts(trainer)
    try:
        state = torch.load(path, map_location=trainer.device, weights_only=True)
        theirs = {name: state[name] for name in mine}
    except Exception as error:
        reason = f"{type(error).__name__}; delete it to start afresh"
        raise InputError(f"cannot read the checkpoint {path}: {reason}") from error
    mine["arguments"] = trainer.network.arguments
    theirs["arguments"] = state.get("arguments", mine["arguments"])  # the first edition's files have none
    for name, value in theirs.items():
        require(value == mine[name], f"the checkpoint {path} was made with {name} {value!r}, not {mine[name]!r}")
    trainer.network.load_state_dict(state["network"])
    trainer.optimiser.load_state_dict(state["optimiser_state"])
    trainer.step, trainer.nme, trainer.seconds = state["step"], state["nme"], state.get("seconds", 0.0)
    if trainer.average is not None and state["average"] is not None:
        trainer.average.load_state_dict(state["average"])


def resume(trainer: "Trainer", path: Path) -> None:
    """Continue from a checkpoint, if there is one; the first of several processes clears what killed ones have left."""
    if trainer.ranks.rank == 0:
        sweep(path.parent)
    if path.exists():
        restore(trainer, path)


def run(trainer: "Trainer", path: Path | None, save_every: float) -> Iterator[StepMetrics]:
    """A training to its end, with checkpoints now and then and last; the first of several processes writes them."""
    saved = time.perf_counter()
    for metrics in trainer.steps():
        if path and trainer.ranks.rank == 0 and time.perf_counter() - saved > save_every:
            save(trainer, path)
            saved = time.perf_counter()
        yield metrics
    if path and trainer.ranks.rank == 0:
        save(trainer, path)
    trainer.finish()
