"""What the renderer's tests share: random numbers, and a head that wears made-up photographs."""

from dataclasses import replace

import torch
from torch import Tensor

from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.faces.photographs import Haircut, Photographs
from vrn_lite.synth.appearance import Rng


def rng(seed: int = 0, batch: int = 6) -> Rng:
    """Random numbers for a batch on the CPU."""
    return Rng.seeded(seed, batch, "cpu")


def card(face: MorphableFace, alpha: Tensor | int = 255, name: str = "card", ahead: float = 1.0) -> Haircut:
    """A grey square of one unit's side before the brows, `ahead` units before the landmarks' mean; hung on the nose.

    `alpha` is that of its texture, ``[h, w]`` or one for all; row 0 is its upper edge, column 0 its left one.
    """
    unit, middle = face.interocular, face.mean[face.landmarks].mean(0)
    corner = torch.tensor([[-0.5, 0.75, ahead], [0.5, 0.75, ahead], [0.5, -0.25, ahead], [-0.5, -0.25, ahead]])
    texture = torch.full((4, 8, 8), 200, dtype=torch.uint8)
    texture[3] = alpha if isinstance(alpha, Tensor) else torch.tensor(alpha, dtype=torch.uint8)
    return Haircut(
        name,
        middle + unit * corner,
        torch.tensor([[0, 3, 1], [1, 3, 2]]),
        torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]]),
        texture,
        face.landmarks[[27, 30]].expand(4, 2).clone(),
        torch.tensor([[0.25, 0.75]]).repeat(4, 1),
    )


def wearing(face: MorphableFace | None = None, *cards: Haircut) -> MorphableFace:
    """A head with skins of one colour each (red, green; two blue ones held out), white eyes, and these haircuts."""
    face = face or procedural()
    empty = torch.zeros(len(face.mean))
    eyeballs = torch.stack([face.regions.get(name, empty) for name in ("sclera", "iris", "pupil")]).amax(0)
    inner = torch.stack([face.regions.get(name, empty) for name in ("teeth", "mouth", "hair")]).amax(0)
    colours = {"red": [0.7, 0, 0], "green": [0, 0.7, 0], "blue": [0, 0, 0.7], "navy": [0, 0, 0.6]}
    photographs = Photographs(
        skins=torch.tensor(list(colours.values()))[:, None].expand(-1, len(face.mean), -1).clone(),
        skin_names=tuple(colours),
        coverage=(torch.maximum(eyeballs, inner) < 0.02).float(),
        eyes=torch.ones(1, len(face.mean), 3),
        eye_names=("white",),
        eyeballs=(eyeballs > 0.5).float(),
        haircuts=cards,
        heldout=("blue", "navy", "held-out card"),
    )
    return replace(face, photographs=photographs)
