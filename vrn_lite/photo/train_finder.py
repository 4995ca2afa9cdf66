"""Training of the embedded finder on scenes drawn here: ``python -m vrn_lite.photo.train_finder``.

::

    sprites --scenes--> pictures --network--> seven maps
                           +--targets--> seven maps --loss--^
"""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from tqdm import tqdm

from vrn_lite.faces import default, procedural
from vrn_lite.networks.weights import load
from vrn_lite.photo.finder import SIZES, STRIDE, USUAL, FinderNetwork, save_finder
from vrn_lite.photo.scenes import Scenes, Sprites, backgrounds, mirrored, scenes, sprites
from vrn_lite.synth.assets import fetched
from vrn_lite.synth.photographed import with_photographs
from vrn_lite.training.runtime import quick_in_bfloat16


def targets(some: Scenes) -> tuple[Tensor, Tensor]:
    """What the network should say ``[b, 7, H, W]``, presence in [0, 1], and whether each cell's presence counts."""
    cells = some.images.shape[-1] // STRIDE
    at = (torch.arange(cells) + 0.5) * STRIDE
    dx, dy = some.faces[..., 0, None, None] - at, some.faces[..., 1, None, None] - at[:, None]
    away = dx**2 + dy**2  # [b, k, H, W]
    size = (some.faces[..., 2] * some.faces[..., 3]).sqrt()
    good = (some.shown > 0.6) & (size > SIZES[0]) & (size < SIZES[1])
    doubtful = (some.shown > 0.2) & ~good & (size > 0.6 * SIZES[0]) & (size < 1.6 * SIZES[1])
    near = (2 * torch.exp(-away / (2 * (0.2 * size).clamp(min=4.8) ** 2)[..., None, None])).clamp(max=1)
    present, which = (near * good[..., None, None]).max(1)  # [b, H, W]
    ignored = (doubtful[..., None, None] & (away < 0.5 * size[..., None, None] ** 2)).any(1) & (present < 0.5)

    def own(values: Tensor) -> Tensor:
        return values.expand_as(away).gather(1, which[:, None])[:, 0]

    width, height, angle = (own(some.faces[..., n, None, None]) for n in (2, 3, 4))
    maps = (
        present,
        own(dx) / USUAL,
        own(dy) / USUAL,
        (width / USUAL).log(),
        (height / USUAL).log(),
        angle.cos(),
        angle.sin(),
    )
    return torch.stack(maps, 1), (~ignored).float()


def loss(answer: Tensor, some: Scenes) -> Tensor:
    """Quality focal loss of the presence, L1 of the rest where a face is near."""
    wanted, counts = targets(some)
    answer = answer.float()
    presence, good = answer[:, 0], (wanted[:, 0] > 0.5).float()
    focus = (presence.sigmoid() - wanted[:, 0]).abs() ** 2
    entropy = F.binary_cross_entropy_with_logits(presence, wanted[:, 0], reduction="none")
    told = (answer[:, 1:] - wanted[:, 1:]).abs().mean(1)
    return ((entropy * focus * counts).sum() + (told * good).sum()) / good.sum().clamp(min=1)


PARTS = {
    "stem": "stem",
    "before": "stacks.0.0.before.0",
    "hourglass": "stacks.0.0.below",
    "hourglass.below.below.0": "stacks.0.0.below.below.below.skip.0",
    "after": "stacks.0.0.after.0",
}
"""Parts of the finder's network, and parts of the landmark network with the same shapes that they start from."""


def start_from_landmarks(network: FinderNetwork) -> None:
    """Take over stem and hourglass of the landmark network that ships, which knows faces already."""
    theirs = load("landmarks").state_dict()
    mine = network.state_dict()
    for part, other in PARTS.items():
        for name in mine:
            source = name.replace(f"{part}.", f"{other}.", 1) if name.startswith(f"{part}.") else ""
            if source in theirs and theirs[source].shape == mine[name].shape:
                mine[name] = theirs[source]
    network.load_state_dict(mine)


def train(
    network: FinderNetwork,
    heads: Sprites,
    behind: Tensor,
    steps: int,
    *,
    seed: int = 0,
    batch: int = 24,
    side: int = 96,
) -> Iterator[float]:
    """Train a network on scenes, in place; yields each step's loss.

    Every batch is seen three times: as drawn, and mirrored one way and then the other.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps, pct_start=0.05)
    quick = quick_in_bfloat16(torch.device("cpu"))
    network.train()
    for step in range(steps):
        if step % 3 == 0:
            some = scenes(heads, behind, batch, side, (0.7 * SIZES[0], 1.5 * SIZES[1]), generator)
        else:
            some = mirrored(some, across=step % 3 == 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            answer = network(some.images)
        cost = loss(answer, some)
        optimiser.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimiser.step()
        schedule.step()
        yield float(cost.detach())


def main(out: str = "out/finder.safetensors", heads: int = 2000, steps: int = 5000, seed: int = 0) -> None:
    """Draw heads of every face model that is there, in photographed skins where fetched; train; write the weights."""
    models = {model.name: model for model in (procedural(), default())}.values()
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        sprites(with_photographs(face) if fetched() else face, heads // len(models), 128, generator) for face in models
    ]
    cut_out = Sprites(*(torch.cat(part) for part in zip(*drawn, strict=True)))
    network = FinderNetwork()
    start_from_landmarks(network)
    losses = train(network, cut_out, backgrounds(1200, 160, generator), steps, seed=seed)
    for _ in tqdm(losses, total=steps, unit=" steps"):
        pass
    save_finder(network, Path(out))


if __name__ == "__main__":
    typer.run(main)
