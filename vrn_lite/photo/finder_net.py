"""The network of the embedded finder."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 8
"""One answer for each so many pixels."""

USUAL = 32.0
"""Boxes are told in units of so many pixels."""


class FinderNetwork(nn.Module):
    """Where faces of about 18 to 60 pixels are: fully convolutional, one answer for each 8 x 8 pixels.

    ``[b, 3, h, w]`` in [0, 1], 0.5 beyond the picture -> ``[b, 7, h / 8, w / 8]``: logit of a face whose box's centre is near,
    the centre's offset from the cell's (x, y), logarithm of the box's width and height, cosine and sine of its angle.
    """

    def __init__(self, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
        narrow, middle = channels // 4, channels // 2
        self.layers = nn.Sequential(
            _convolution(3, narrow, 2),
            _convolution(narrow, middle, 2),
            Block(middle),
            _convolution(middle, channels, 2),
            *(Block(channels) for _ in range(blocks)),
        )
        self.answer = nn.Conv2d(channels, 7, 1)
        nn.init.constant_(self.answer.bias[:1], -4.0)  # faces are rare

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 7 H W"]:
        """The seven maps."""
        height, width = images.shape[-2:]
        padded = F.pad(images * 2 - 1, (0, -width % STRIDE, 0, -height % STRIDE))
        return self.answer(self.layers(padded.to(memory_format=torch.channels_last)))


def _convolution(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU())


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same shape."""
        return F.relu(x + self.second(self.first(x)))
