"""One light for all that is drawn without a browser: Lambert's law on meshes and volumes, from the upper left."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.colors import to_rgb
from torch import Tensor

from vrn_lite.frame import AUTHORS_DEPTH_SCALE
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.render import vertex_normals
from vrn_lite.viz.style import SKIN

LIGHT = (-0.45, -0.5, -0.75)
"""Where the light stands, in the voxel frame: left, above, before the face."""

AMBIENT = 0.25
"""Share of the light that comes from all round."""


def lambert(normals: Float[Tensor, "*n 3"], ambient: float = AMBIENT) -> Float[Tensor, "*n"]:
    """How bright a surface is, in [0, 1].

    What is seen faces the viewer: normals are turned to him first, so that the winding of triangles does not matter.
    """
    seen = F.normalize(normals, dim=-1) * -normals[..., 2:].sign()
    light = F.normalize(normals.new_tensor(LIGHT), dim=0)
    return ambient + (1 - ambient) * (seen @ light).clamp(min=0)


def shade_mesh(
    vertices: Float[Tensor, "v 3"],
    triangles: Int[Tensor, "t 3"],
    colours: Float[Tensor, "v 3"],
    height: int,
    width: int,
    ambient: float = AMBIENT,
) -> tuple[Float[Tensor, "h w 3"], Bool[Tensor, "h w"]]:
    """A lit mesh in the voxel frame on white, and which pixels it covers."""
    seen = nearest(rasterize(vertices[None], triangles, height, width))
    corners = triangles[seen.triangle]
    weights = seen.weights[..., None]
    normals = vertex_normals(vertices[None], triangles)[0]
    bright = lambert((weights * normals[corners]).sum(1), ambient)
    image = vertices.new_ones(height, width, 3)
    image[seen.row, seen.column] = bright[:, None] * (weights * colours[corners]).sum(1)
    covered = torch.zeros(height, width, dtype=torch.bool, device=vertices.device)
    covered[seen.row, seen.column] = True
    return image.clamp(0, 1), covered


def shade_volume(
    volumes: Float[Tensor, "*b d h w"] | Bool[Tensor, "*b d h w"], depth_scale: float = AUTHORS_DEPTH_SCALE
) -> Float[Tensor, "*b 3 h w"]:
    """Solids as the viewer sees them, lit, on white: a quick look at a volume without making a mesh.

    The surface is where bits or probabilities ``[..., d, h, w]``, a little blurred, reach one half.
    """
    shape = volumes.shape
    pictures = torch.empty(*shape[:-3], 3, *shape[-2:])
    # One by one: the steps between take three times a volume's memory.
    for volume, picture in zip(volumes.reshape(-1, *shape[-3:]), pictures.view(-1, 3, *shape[-2:]), strict=True):
        picture.copy_(_shaded(volume.detach().cpu().float(), depth_scale))
    return pictures


def _shaded(volume: Float[Tensor, "d h w"], depth_scale: float) -> Float[Tensor, "3 h w"]:
    """See `shade_volume`."""
    # A little blur takes the terraces off.
    soft = volume[None]
    for _ in range(2):
        soft = F.avg_pool3d(soft, 3, stride=1, padding=1)
    # The depth of the surface, between the last slice outside and the first one inside.
    inside = (soft > 0.5).any(1)
    first = (soft > 0.5).int().argmax(1, keepdim=True)
    padded = F.pad(soft, (0, 0, 0, 0, 1, 0))
    before = padded.gather(1, first)[:, 0]
    after = padded.gather(1, first + 1)[:, 0]
    depth = (first[:, 0] - (after - 0.5) / (after - before).clamp(min=1e-6)) / depth_scale
    # Its slopes are its normals.
    normals = torch.stack((_slope(depth, inside, 2), _slope(depth, inside, 1), torch.full_like(depth, -1.0)), -1)
    skin = torch.tensor(to_rgb(SKIN))[:, None, None]
    return torch.where(inside, lambert(normals) * skin, torch.ones(()))


def _slope(depth: Float[Tensor, "b h w"], inside: Bool[Tensor, "b h w"], axis: int) -> Float[Tensor, "b h w"]:
    """Mean of the differences to the two neighbours along an axis, as far as both ends are inside."""
    most = depth.shape[axis] - 1
    step = depth.diff(dim=axis) * (inside.narrow(axis, 1, most) & inside.narrow(axis, 0, most))
    before, after = ((0, 0, 1, 0), (0, 0, 0, 1)) if axis == 1 else ((1, 0), (0, 1))
    return ((F.pad(step, before) + F.pad(step, after)) / 2).clamp(-3, 3)
