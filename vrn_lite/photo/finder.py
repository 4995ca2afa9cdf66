"""The faces in a photograph found: landmark-style boxes and in-plane angles, in the photograph's frame.

::

    photo --at most 480 px--> halves of halves --network--> maps --peaks--> faces --turned upright, network--> faces

The network knows faces of one size, about `SIZES`; each of the halves shows others at that size. What it finds it sees
once more, turned upright and at the size that it knows best: that confirms the face and settles box and angle.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image as Pillow
from safetensors.torch import save_file
from torch import Tensor, nn

from vrn_lite.files import atomically
from vrn_lite.frame import require
from vrn_lite.networks.hourglass import Hourglass, Residual, Stem
from vrn_lite.networks.weights import WEIGHTS, tensors_in
from vrn_lite.photo.image_io import Box, Photo

LONGEST = 480
"""Longer side of the largest of the pictures that the network sees; a smaller photograph is enlarged at most twice."""

SIZES = (20.0, 70.0)
"""Faces of these sizes, the roots of their boxes' areas in pixels, are known to the network."""

STRIDE = 8
"""The network gives one answer for each so many pixels."""

USUAL = 36.0
"""Its offsets and sizes are told in units of so many pixels."""

GLANCE, SURE = 0.25, 0.78
"""Presence that is worth a second look, and that which then makes a face: with it, 100
pictures without one show four."""

MOST = 8
"""At most so many are looked at twice."""


class Found(NamedTuple):
    """A face in a photograph.

    Attributes
    ----------
    box : landmark-style box (x0, y0, x1, y1) in the photograph's pixels, of the face turned upright about its centre.
    score : from 0 to 1, how sure the finder is.
    angle : by which the face is turned in the picture's plane, degrees, clockwise; 0 where it is upright.
    """

    box: Box
    score: float = 1.0
    angle: float = 0.0


@runtime_checkable
class Finder(Protocol):
    """Finds faces."""

    def find(self, image: Photo) -> list[Found]:
        """The faces in a photograph, none to many, surest first."""


class FinderNetwork(nn.Module):
    """Where faces are: fully convolutional, one answer for each 8 x 8 pixels.

    ``[b, 3, h, w]`` in [0, 1], 0.5 beyond the picture -> ``[b, 7, h / 8, w / 8]``: logit of a face's presence (its
    box's centre is near), the centre's offset (x, y) and the logarithms of the box's width and height in units of
    `USUAL`, cosine and sine of the angle. Stem and hourglass are the landmark network's, to start from there.
    """

    def __init__(self, first: int = 32, width: int = 128) -> None:
        super().__init__()
        self.stem = Stem(3, 4, first, width)
        self.before = Residual(width, width)
        self.hourglass = Hourglass(2, 1, width)
        self.after = Residual(width, width)
        self.answer = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 7, 1))
        self.answer.get_parameter("2.bias").data[0] = -4.0  # faces are rare

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 7 H W"]:
        """The seven maps."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % 32, 0, -height % 32), value=0.5).to(memory_format=torch.channels_last)
        maps = self.answer(self.after(self.hourglass(self.before(F.max_pool2d(self.stem(padded), 2)))))
        return maps[..., : -(-height // STRIDE), : -(-width // STRIDE)]


@lru_cache(maxsize=1)
def finder_network() -> FinderNetwork:
    """The network that ships, in eval mode."""
    network = FinderNetwork()
    network.load_state_dict(tensors_in(Path(str(WEIGHTS)) / "finder.safetensors"))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


def save_finder(network: FinderNetwork, path: Path) -> None:
    """Write the network's weights in float16."""
    state = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in network.state_dict().items()}
    atomically(path, lambda part: save_file(state, part))


class EmbeddedFinder:
    """The finder that ships: faces of every yaw and in-plane angle, from 4 % of the picture's longer side on.

    Parameters
    ----------
    network : None for the one that ships.
    """

    def __init__(self, network: FinderNetwork | None = None) -> None:
        self.network = finder_network() if network is None else network

    @torch.inference_mode()
    def find(self, image: Photo) -> list[Found]:
        """The faces in a photograph, surest first."""
        levels, scale = _halves(image)
        seen = [_peaks(self.network(level)[0]) * _in_pixels(2**n) for n, level in enumerate(levels)]
        peaks = apart(torch.cat(seen))[:MOST]
        faces = apart(_again(self.network, levels, peaks)) if len(peaks) else peaks
        return [_found(face, scale) for face in faces[faces[:, 0] > SURE].tolist()]


class Together:
    """Asks several finders.

    Parameters
    ----------
    finders : the ones that are trusted most first. A face of a later one counts where no earlier one has seen any.
    """

    def __init__(self, *finders: Finder) -> None:
        self.finders = finders

    def find(self, image: Photo) -> list[Found]:
        """What they find together."""
        faces: list[Found] = []
        for finder in self.finders:
            faces += [face for face in finder.find(image) if not any(_overlap(face, known) for known in faces)]
        return faces


def _overlap(one: Found, other: Found) -> bool:
    """Whether the centre of one face lies in the other's box."""

    def holds(box: Box, inner: Box) -> bool:
        return all(box[axis] < (inner[axis] + inner[axis + 2]) / 2 < box[axis + 2] for axis in (0, 1))

    return holds(one.box, other.box) or holds(other.box, one.box)


def finder_named(name: str | Finder | None = None) -> Finder:
    """The finder of that name: embedded, cascade or yunet; None for two: YuNet where it has been fetched, else the
    cascade, then the embedded one.

    A finder is given back as it is.

    Raises
    ------
    InputError : another name; YuNet, where OpenCV is not installed or the network has not been fetched.
    """
    from vrn_lite.photo.cascade import CascadeFinder
    from vrn_lite.photo.yunet import YuNet, available

    if name is not None and not isinstance(name, str):
        return name
    kinds: dict[str, type[Finder]] = {"embedded": EmbeddedFinder, "cascade": CascadeFinder, "yunet": YuNet}
    require(name is None or name in kinds, f"unknown finder {name!r}: choose one of {', '.join(kinds)}")
    if name is None:
        return Together(YuNet() if available() else CascadeFinder(), EmbeddedFinder())
    return kinds[name]()


def find_face(image: Photo, name: str = "the image", finder: str | Finder | None = None) -> Found:
    """The largest face in a photograph; `finder` as for `finder_named`.

    Raises
    ------
    InputError : none found.
    """
    found = finder_named(finder).find(image)
    advice = "pass --box X0 Y0 X1 Y1 (in Python, box=(x0, y0, x1, y1)) around the face's landmarks"
    require(bool(found), f"no face found in {name}: {advice}")
    return max(found, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))


def detect_face(image: Photo, name: str = "the image") -> Box:
    """The landmark-style box of the largest face in a photograph; errors as `find_face`."""
    return find_face(image, name).box


def _halves(image: Photo) -> tuple[list[Float[Tensor, "1 3 h w"]], float]:
    """The photograph in sizes, each half the one before, and the photograph's pixels in one of the largest."""
    height, width = image.shape[:2]
    scale = max(max(height, width) / LONGEST, 0.5)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = Pillow.fromarray(image).resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    levels = [torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255]
    while max(levels[-1].shape[-2:]) > SIZES[1]:
        levels.append(F.avg_pool2d(F.pad(levels[-1], _odd(levels[-1]), mode="replicate"), 2))
    return levels, scale


def _odd(level: Tensor) -> tuple[int, int, int, int]:
    """What makes both sides even."""
    return 0, level.shape[-1] % 2, 0, level.shape[-2] % 2


def _in_pixels(scale: float) -> Tensor:
    """Factors that bring peaks (score, x, y, width, height, angle) to a picture `scale` times as large."""
    return torch.tensor([1.0, scale, scale, scale, scale, 1.0])


def finder_faces(maps: Float[Tensor, "b 7 H W"]) -> Float[Tensor, "b 6 H W"]:
    """Each cell's face: presence, centre (x, y), width and height in pixels, angle in radians."""
    y, x = ((torch.arange(size) + 0.5) * STRIDE for size in maps.shape[-2:])
    across, down = maps[:, 1] * USUAL + x, maps[:, 2] * USUAL + y[:, None]
    width, height = (maps[:, 3:5].clamp(-4, 4).exp() * USUAL).unbind(1)
    return torch.stack((maps[:, 0].sigmoid(), across, down, width, height, torch.atan2(maps[:, 6], maps[:, 5])), 1)


def _peaks(maps: Float[Tensor, "7 H W"]) -> Float[Tensor, "n 6"]:
    """The faces of cells that are surer than their neighbours."""
    presence = maps[0].sigmoid()
    top = F.max_pool2d(presence[None], 3, 1, 1)[0]
    row, column = ((presence == top) & (presence > GLANCE)).nonzero().unbind(1)
    return finder_faces(maps[None])[0][:, row, column].T


def apart(faces: Float[Tensor, "n 6"]) -> Float[Tensor, "m 6"]:
    """Surest first, without those whose centre lies nearer to a surer one's than half the larger one's size."""
    faces, kept = faces[faces[:, 0].argsort(descending=True)], []
    size = (faces[:, 3] * faces[:, 4]).sqrt()
    free = torch.ones(len(faces), dtype=torch.bool)
    for n in range(len(faces)):
        if free[n]:
            kept.append(n)
            free &= (faces[:, 1:3] - faces[n, 1:3]).norm(dim=1) > 0.5 * torch.maximum(size, size[n])
    return faces[kept]


def _again(network: FinderNetwork, levels: list[Tensor], faces: Float[Tensor, "n 6"]) -> Float[Tensor, "n 6"]:
    """The same faces after a second look, each turned upright and brought to about 1.25 `USUAL` pixels."""
    side, known = 96, 1.25 * USUAL
    score, centre, sizes, angle = faces[:, 0], faces[:, 1:3], faces[:, 3:5], faces[:, 5]
    pixel = sizes.prod(1).sqrt() / known  # the largest level's pixels in one of the window
    windows = torch.cat([window(levels, *one, side) for one in zip(centre, pixel, angle, strict=True)])
    told = finder_faces(network(windows))  # [n, 6, H, W]
    near = (told[:, 1:3] - side / 2).norm(dim=1) < 0.4 * known
    best = torch.where(near, told[:, 0], 0).flatten(1).argmax(1)
    told = told.flatten(2)[torch.arange(len(faces)), :, best]
    moved = (told[:, 1:3] - side / 2) * pixel[:, None]
    cosine, sine = angle.cos(), angle.sin()
    moved = torch.stack((cosine * moved[:, 0] - sine * moved[:, 1], sine * moved[:, 0] + cosine * moved[:, 1]), 1)
    both = (score * told[:, 0]).sqrt()[:, None]
    return torch.cat((both, centre + moved, told[:, 3:5] * pixel[:, None], (angle + told[:, 5])[:, None]), 1)


def window(levels: list[Tensor], centre: Tensor, pixel: Tensor, angle: Tensor, side: int) -> Float[Tensor, "1 3 s s"]:
    """A turned window of a picture, grey beyond its edges; centre and pixel in the largest level's pixels."""
    number = int(pixel.log2().round().clamp(0, len(levels) - 1))
    level, step = levels[number], pixel / 2**number
    height, width = level.shape[-2:]
    at = (torch.arange(side) + 0.5 - side / 2) * step
    y, x = torch.meshgrid(at, at, indexing="ij")
    cosine, sine = angle.cos(), angle.sin()
    across = (centre[0] / 2**number + cosine * x - sine * y) * 2 / width - 1
    down = (centre[1] / 2**number + sine * x + cosine * y) * 2 / height - 1
    where = torch.stack((across, down), -1)[None]
    return F.grid_sample(level - 0.5, where, align_corners=False) + 0.5


def _found(face: list[float], scale: float) -> Found:
    """A face in the photograph's pixels and degrees."""
    score, x, y, width, height, angle = face
    x, y, half_width, half_height = x * scale, y * scale, width * scale / 2, height * scale / 2
    degrees = (math.degrees(angle) + 180) % 360 - 180
    return Found((x - half_width, y - half_height, x + half_width, y + half_height), score, degrees)
