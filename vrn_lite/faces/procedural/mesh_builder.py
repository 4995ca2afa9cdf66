"""Vertices and triangles of many parts, put together one after the other."""

import numpy as np

from vrn_lite.faces.procedural.surface import Points
from vrn_lite.faces.procedural.triangulate import Mask, Numbers


class MeshBuilder:
    """The right half while it is put together: vertices by part, triangles, and which of these are the face patch."""

    def __init__(self) -> None:
        self.points: list[Points] = []
        self.index: dict[str, Numbers] = {}
        self.triangles: list[Numbers] = []
        self.patch: list[Mask] = []
        self.count = 0

    def add_vertices(self, name: str, points: Points) -> Numbers:
        """Append the vertices of a part; their numbers have the shape of the points."""
        self.index[name] = np.arange(self.count, self.count + points[..., 0].size).reshape(points.shape[:-1])
        self.points.append(points.reshape(-1, 3))
        self.count += points[..., 0].size
        return self.index[name]

    def add_triangles(self, triangles: Numbers, patch: bool = False) -> None:
        """Append triangles."""
        self.triangles.append(triangles)
        self.patch.append(np.full(len(triangles), patch))

    def add_grid(self, rows: Numbers, closed: bool = False, patch: bool = False) -> None:
        """Triangles of a grid of numbers ``[rows, columns]``; seen from outside, columns run right and rows up."""
        rows = np.concatenate([rows, rows[:, :1]], 1) if closed else rows
        a, b, c, d = rows[:-1, :-1].ravel(), rows[:-1, 1:].ravel(), rows[1:, 1:].ravel(), rows[1:, :-1].ravel()
        self.add_triangles(np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), patch)
