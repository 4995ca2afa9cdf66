"""VRN: one image in, one volume of logits out; the depth slices are the channels of a 2D network (paper section 3.3)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vrn_lite.frame import require
from vrn_lite.networks.hourglass import Hourglass, Stem, projection
from vrn_lite.presets import Preset, preset as preset_named


class VRN(nn.Module):
    """The volumetric regression network: stem, stacked hourglasses, head.

    ::

        image --stem--> [ x + projections(hourglass(x)) ] x stacks --head--> coarse logits --bilinear--> logits

    Parameters
    ----------
    preset : sizes of grid and network.
    channels : of the input; 3, or 71 for the guided network.

    Raises
    ------
    InputError : unknown preset; in `forward`, an image of another size.
    """

    variant = "vrn"

    def __init__(self, preset: Preset | str, channels: int = 3) -> None:
        super().__init__()
        self.preset = preset_named(preset)
        size, depth = self.preset.network, self.preset.grid.depth
        self.stem = Stem(channels, size.stem, size.stem_features, size.features)
        self.stacks = nn.ModuleList(
            nn.Sequential(Hourglass(size.levels, size.modules, size.features), projection(size.features), projection(size.features)) for _ in range(size.stacks)
        )
        self.head = nn.Sequential(projection(size.features), nn.Conv2d(size.features, depth, 1))

    def coarse(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """Logits before the last, bilinear step: ``[b, d, h / stem, w / stem]``."""
        grid = self.preset.grid
        require(
            tuple(images.shape[-2:]) == (grid.height, grid.width),
            f"preset {self.preset.name} needs images of {grid.height} x {grid.width} pixels, got {tuple(images.shape[-2:])}",
        )
        x = self.stem(images)
        for stack in self.stacks:
            x = x + stack(x)
        return self.head(x)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Logits ``[b, d, h, w]`` of images ``[b, channels, h, w]`` in [0, 1]; a sigmoid makes them probabilities."""
        return F.interpolate(self.coarse(images), size=images.shape[-2:], mode="bilinear", align_corners=False)
