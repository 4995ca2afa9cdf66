"""Triangle meshes, their boundary loops, and how an open face becomes a closed solid."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.frame import Triangles, Vertices, require


@dataclass(frozen=True)
class Mesh:
    """Vertices, triangles and what is known of them; `vertices` may carry a batch.

    Attributes
    ----------
    vertices : ``[..., v, 3]``; model frame before the camera, voxel frame after it.
    triangles : ``[t, 3]``, counter-clockwise seen from outside in the model frame.
    visible : ``[t]``, triangles that the image shows; None for all.
    solid : ``[t]``, triangles that bound the solid; None for all.
    colours : ``[..., v, 3]`` in [0, 1], or None.
    face : ``[v]``, the vertices that the error metric counts, or None for all.
    landmarks : ``[68]``, iBUG-68 vertex numbers, or None.
    """

    vertices: Vertices
    triangles: Triangles
    visible: Bool[Tensor, " t"] | None = None
    solid: Bool[Tensor, " t"] | None = None
    colours: Float[Tensor, "*b v 3"] | None = None
    face: Bool[Tensor, " v"] | None = None
    landmarks: Int[Tensor, " 68"] | None = None

    def __getitem__(self, index: int) -> "Mesh":
        """Sample `index` of a batch."""
        colours = None if self.colours is None else self.colours[index]
        return replace(self, vertices=self.vertices[index], colours=colours)

    def with_vertices(self, vertices: Vertices) -> "Mesh":
        """The same mesh with other vertices."""
        return replace(self, vertices=vertices)

    def landmark_points(self) -> Float[Tensor, "*b 68 3"]:
        """The 68 landmarks as points ``[..., 68, 3]`` in the mesh's frame."""
        require(self.landmarks is not None, "this mesh has no landmarks: give the 68 vertex numbers as `landmarks`")
        return self.vertices[..., self.landmarks, :]

    def visible_mask(self) -> Bool[Tensor, " t"]:
        """Which triangles the image shows, ``[t]``."""
        return torch.ones_like(self.triangles[:, 0], dtype=torch.bool) if self.visible is None else self.visible

    def solid_mask(self) -> Bool[Tensor, " t"]:
        """Which triangles bound the solid."""
        return torch.ones_like(self.triangles[:, 0], dtype=torch.bool) if self.solid is None else self.solid

    def solid_triangles(self) -> Triangles:
        """Triangles that bound the solid."""
        return self.triangles[self.solid_mask()]


def signed_volume(vertices: Vertices, triangles: Triangles) -> Float[Tensor, "*b"]:
    """Volume enclosed by a closed mesh, positive when its triangles face outward (divergence theorem).

    Examples
    --------
    >>> corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> round(float(signed_volume(corners, faces)) * 6, 4)
    1.0
    """
    a, b, c = vertices.double()[..., triangles, :].unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum((-2, -1)) / 6


def boundary_edges(triangles: Triangles) -> Int[Tensor, "e 2"]:
    """Directed edges ``[e, 2]`` without a partner in the opposite direction; none in a closed mesh.

    Examples
    --------
    >>> boundary_edges(torch.tensor([[0, 1, 2], [0, 2, 3]])).tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    """
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).long()
    base = int(edges.max()) + 1 if len(edges) else 1
    forward = edges[:, 0] * base + edges[:, 1]
    backward = edges[:, 1] * base + edges[:, 0]
    loose = edges[~torch.isin(forward, backward)]
    return loose[torch.argsort(loose[:, 0], stable=True)]


def boundary_loops(triangles: Triangles) -> list[Int[Tensor, " _"]]:
    """The boundary as loops of vertex numbers, each in the direction of its triangles, longest first.

    Where loops meet in a vertex it belongs to each of them, and no loop passes a vertex twice.

    Raises
    ------
    InputError : the boundary is no set of loops.
    """
    following = dict[int, list[int]]()
    for start, end in boundary_edges(triangles).tolist():
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        path = dict.fromkeys([next(iter(following))])  # in the order of the walk
        while path:
            last = next(reversed(path))
            require(last in following, f"the boundary breaks off at vertex {last}: the mesh is not a surface there")
            step = following[last].pop()
            if not following[last]:
                del following[last]
            if step in path:  # a loop is closed; what led to it goes on
                walked = list(path)
                loops.append(torch.tensor(walked[walked.index(step) :]))
                path = dict.fromkeys(walked[: walked.index(step) + (step in following)])
            else:
                path[step] = None
    return sorted(loops, key=len, reverse=True)


@dataclass(frozen=True)
class Closing:
    """How an open face patch becomes a closed solid, once, in its topology: the paper's flat wall.

    ::

            face patch                 hole: a fan from its centroid
           /~~~~~( )~~~~\\              rim: extruded straight back (-z of the model frame)
        rim|            |rim           wall: a cap at one depth behind the face
           |____________|
             wall

    The new vertices are linear in the old ones, so that the solid follows every identity and expression; built in
    the frontal model frame, the wall turns with the head.
    """

    holes: tuple[Int[Tensor, " _"], ...]
    rim: Int[Tensor, " r"]
    triangles: Triangles

    def to(self, device: torch.device | str) -> "Closing":
        """A copy on `device`."""
        return Closing(tuple(hole.to(device) for hole in self.holes), self.rim.to(device), self.triangles.to(device))

    def extend(self, vertices: Vertices, wall: Float[Tensor, "*b"]) -> Float[Tensor, "*b n 3"]:
        """Append hole centres, the rim's copies at depth `wall`, the cap's centre: ``[..., v + holes + r + 1, 3]``."""
        centres = [vertices[..., hole, :].mean(-2, keepdim=True) for hole in self.holes]
        back = vertices[..., self.rim, :].clone()
        back[..., 2] = wall[..., None]
        return torch.cat([vertices, *centres, back, back.mean(-2, keepdim=True)], dim=-2)


def closing_of(triangles: Triangles, vertex_count: int) -> Closing:
    """The triangles that close a patch of `vertex_count` vertices; its longest boundary loop is the rim.

    Raises
    ------
    InputError : the patch has no boundary.
    """
    loops = boundary_loops(triangles)
    require(len(loops) > 0, "the patch is closed already: it has no boundary to close")
    rim, *holes = loops
    fans = [_fan(hole, vertex_count + number) for number, hole in enumerate(holes)]
    back = vertex_count + len(holes) + torch.arange(len(rim))
    # Each edge (a, b) of the rim and its copy at the back span two triangles.
    following, back_following = rim.roll(-1), back.roll(-1)
    sides = [torch.stack((following, rim, back), 1), torch.stack((following, back, back_following), 1)]
    cap = _fan(back, vertex_count + len(holes) + len(rim))
    return Closing(tuple(holes), rim, torch.cat([*fans, *sides, cap]))


def _fan(loop: Int[Tensor, " k"], centre: int) -> Triangles:
    """Triangles from the loop's edges, against its direction, to one centre vertex."""
    return torch.stack((loop.roll(-1), loop, torch.full_like(loop, centre)), dim=1)


def close(mesh: Mesh, wall: float) -> Mesh:
    """A closed copy of an open patch in the model frame: holes fanned, rim extruded back to the plane z = `wall`.

    For scans without a known topology; a `MorphableFace` carries its own `Closing`. Vertices at one place, as of
    corners or of a texture's seam, leave no hole.

    Raises
    ------
    InputError : the wall does not lie behind every vertex, or the boundary is no set of loops.
    """
    rearmost = float(mesh.vertices[..., 2].min())
    reason = f"the wall at z = {wall:g} must lie behind every vertex; the rearmost is at z = {rearmost:g}"
    require(rearmost > wall, reason)
    count = mesh.vertices.shape[-2]
    points = mesh.vertices.detach().movedim(-2, 0).reshape(count, -1).cpu().numpy()
    _, first, place = np.unique(points, axis=0, return_index=True, return_inverse=True)
    closing = closing_of(torch.from_numpy(first[place.reshape(-1)]).to(mesh.triangles)[mesh.triangles], count)
    vertices = closing.extend(mesh.vertices, torch.full(mesh.vertices.shape[:-2], wall, dtype=mesh.vertices.dtype))
    added = vertices.shape[-2] - count
    face = torch.ones(count, dtype=torch.bool) if mesh.face is None else mesh.face
    colours = mesh.colours
    if colours is not None:
        colours = torch.cat([colours, colours[..., :1, :].expand(*colours.shape[:-2], added, 3)], -2)
    hidden = torch.zeros(len(closing.triangles), dtype=torch.bool)
    return Mesh(
        vertices,
        torch.cat([mesh.triangles, closing.triangles]),
        visible=torch.cat([mesh.visible_mask(), hidden]),
        solid=torch.cat([mesh.solid_mask(), ~hidden]),
        colours=colours,
        face=torch.cat([face, torch.zeros(added, dtype=torch.bool)]),
        landmarks=mesh.landmarks,
    )
