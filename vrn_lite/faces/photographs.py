"""What a face model can wear of photographed people: skins, irises, haircuts of cards."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vrn_lite.frame import Triangles, Vertices


def _on(part: Any, device: torch.device | str) -> Any:
    """A dataclass of tensors on `device`."""
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    return replace(part, **{name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)})


@dataclass(frozen=True)
class Haircut:
    """Cards with alpha, fitted to a face model's mean.

    Attributes
    ----------
    name : of the asset.
    points : ``[n, 3]``, model frame, on the mean face.
    triangles : ``[t, 3]``.
    uv : ``[n, 2]`` in [0, 1], right and down in the texture.
    texture : ``[4, h, w]``, red, green, blue, alpha.
    roots, weights : ``[n, k]``, the vertices of the face that a point follows, and how much; weights sum to 1.
    """

    name: str
    points: Float[Tensor, "n 3"]
    triangles: Triangles
    uv: Float[Tensor, "n 2"]
    texture: UInt8[Tensor, "4 h w"]
    roots: Int[Tensor, "n k"]
    weights: Float[Tensor, "n k"]

    def on(self, vertices: Vertices, mean: Float[Tensor, "v 3"]) -> Float[Tensor, "*b n 3"]:
        """The points ``[..., n, 3]`` on faces ``[..., v, 3]`` of the model frame: each moves as its roots do."""
        moved = (vertices - mean)[..., self.roots, :]
        return self.points + (self.weights[..., None] * moved).sum(-2)

    def brightness(self) -> Float[Tensor, ""]:
        """Mean of the texture's colours where it is hair, in [0, 1]."""
        opaque = (self.texture[3] > 127).float()
        return (self.texture[:3].float().mean(0) * opaque).sum() / opaque.sum().clamp(min=1) / 255


@dataclass(frozen=True)
class Photographs:
    """Photographed appearance, at the vertices of one face model.

    Attributes
    ----------
    skins : ``[k, v, 3]``, albedo in [0, 1] at every vertex, plausible where it is not covered.
    skin_names : of the assets, k of them.
    coverage : ``[v]`` in [0, 1], 1 where the photographs show a vertex well; 0 in the mouth, on teeth and eyeballs.
    eyes : ``[e, v, 3]``, albedo of the eyeballs; 0 elsewhere.
    eye_names : e of them.
    eyeballs : ``[v]``, 1 on the eyeballs.
    haircuts : cards with alpha.
    heldout : names of the skins and haircuts that training never wears.
    """

    skins: Float[Tensor, "k v 3"]
    skin_names: tuple[str, ...]
    coverage: Float[Tensor, " v"]
    eyes: Float[Tensor, "e v 3"]
    eye_names: tuple[str, ...]
    eyeballs: Float[Tensor, " v"]
    haircuts: tuple[Haircut, ...]
    heldout: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> "Photographs":
        """A copy on `device`."""
        return replace(_on(self, device), haircuts=tuple(_on(cut, device) for cut in self.haircuts))

    def allowed_skins(self, heldout: bool) -> Int[Tensor, " _"]:
        """Numbers of the skins that training wears, or of the others."""
        return self._allowed(self.skin_names, heldout)

    def allowed_haircuts(self, heldout: bool) -> Int[Tensor, " _"]:
        """Numbers of the haircuts that training wears, or of the others."""
        return self._allowed([cut.name for cut in self.haircuts], heldout)

    def _allowed(self, names: Any, heldout: bool) -> Int[Tensor, " _"]:
        numbers = [number for number, name in enumerate(names) if (name in self.heldout) == heldout]
        return torch.tensor(numbers, dtype=torch.long, device=self.coverage.device)
