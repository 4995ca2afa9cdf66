"""One record for every source of faces: a mean, identity modes, expressions, landmarks, regions."""

from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vrn_lite.faces.photographs import Photographs
from vrn_lite.frame import Triangles, require
from vrn_lite.mesh import Closing, Mesh, closing_of

GAZE = {"eyeLookIn": "eyeLookOut", "eyeLookOut": "eyeLookIn", "eyeLookUp": "eyeLookUp", "eyeLookDown": "eyeLookDown"}
"""Where the left eye looks, and what the right one does then."""


@dataclass(frozen=True)
class MorphableFace:
    """A linear face model in the model frame: x right, y up, z to the viewer; any length unit.

    Attributes
    ----------
    name : of the source, for messages and metadata.
    mean : ``[v, 3]``.
    identity : ``[i, v, 3]``, modes in standard deviations; coefficients are N(0, 1).
    expression : ``[e, v, 3]``, blendshapes; coefficients in [0, 1].
    expression_names : e names; a left and a right half end in ``_L`` and ``_R``.
    triangles : ``[t, 3]``, counter-clockwise seen from outside.
    landmarks : ``[68]``, the iBUG-68 vertices.
    patch : ``[t]``, the triangles of the open face patch that bounds the solid in front.
    regions : soft masks ``[v]`` in [0, 1] by name: lips, brows, sclera, iris, pupil, hair, beard, teeth, mouth...
        The renderer colours by them; a missing region is empty.
    often : names of expressions that are active often (see `sample`).
    needs : expression -> the expression that it presupposes (its coefficient is capped by that one's).
    photographs : skins, eyes and haircuts of photographed people that fit this model; None where they are only drawn.
    """

    name: str
    mean: Float[Tensor, "v 3"]
    identity: Float[Tensor, "i v 3"]
    expression: Float[Tensor, "e v 3"]
    expression_names: tuple[str, ...]
    triangles: Triangles
    landmarks: Int[Tensor, " 68"]
    patch: Bool[Tensor, " t"]
    regions: dict[str, Float[Tensor, " v"]] = field(default_factory=dict)
    often: tuple[str, ...] = ()
    needs: dict[str, str] = field(default_factory=dict)
    photographs: Photographs | None = None
    interocular: float = field(init=False)
    closing: Closing = field(init=False)
    patch_vertices: Int[Tensor, " p"] = field(init=False)

    def __post_init__(self) -> None:
        names = len(self.expression_names)
        require(names == len(self.expression), f"{len(self.expression)} expressions need as many names, got {names}")
        outer = self.mean[self.landmarks[36]] - self.mean[self.landmarks[45]]
        closing = closing_of(self.triangles[self.patch].cpu(), len(self.mean))
        object.__setattr__(self, "identity", self.identity.contiguous())
        object.__setattr__(self, "expression", self.expression.contiguous())
        object.__setattr__(self, "interocular", float(outer.norm()))
        object.__setattr__(self, "closing", closing.to(self.mean.device))
        object.__setattr__(self, "patch_vertices", self.triangles[self.patch].unique())

    def to(self, device: torch.device | str) -> "MorphableFace":
        """The same face on `device`."""
        if self.mean.device == torch.device(device):
            return self
        moved = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        moved = {k: (v.to(device) if isinstance(v, Tensor | Photographs) else v) for k, v in moved.items()}
        return replace(self, **moved | {"regions": {k: v.to(device) for k, v in self.regions.items()}})

    def mesh(
        self, identity: Float[Tensor, "*b i"] | None = None, expression: Float[Tensor, "*b e"] | None = None
    ) -> Mesh:
        """The face with given coefficients, closed, in the model frame (mean and neutral where None).

        The wall is the plane z = landmark mean - 1.0 `interocular`, the mean face's own.

        Raises
        ------
        InputError : a vertex of the patch lies behind the wall (coefficients far out).
        """
        vertices = self._shape(identity, expression)
        wall = vertices[..., self.landmarks, 2].mean(-1) - self.interocular
        behind = vertices[..., self.patch_vertices, 2].amin(-1) <= wall
        require(
            not bool(behind.any()), f"a {self.name} face reaches behind its wall: use smaller identity coefficients"
        )
        extra = self.closing.triangles
        closed = self.closing.extend(vertices, wall)
        shown, hidden = torch.ones_like(self.patch), torch.zeros(len(extra), dtype=torch.bool, device=extra.device)
        counted = torch.zeros(closed.shape[-2], dtype=torch.bool, device=extra.device)
        counted[self.patch_vertices] = True
        return Mesh(
            closed,
            torch.cat([self.triangles, extra]),
            visible=torch.cat([shown, hidden]),
            solid=torch.cat([self.patch, ~hidden]),
            face=counted,
            landmarks=self.landmarks,
        )

    def _shape(self, identity: Tensor | None, expression: Tensor | None) -> Float[Tensor, "*b v 3"]:
        """Mean plus the modes, as one matrix product."""
        vertices = self.mean
        for coefficients, modes in ((identity, self.identity), (expression, self.expression)):
            if coefficients is not None:
                vertices = vertices + (coefficients @ modes.flatten(1)).unflatten(-1, (-1, 3))
        return vertices

    def draw_identity(self, generator: torch.Generator, *batch: int) -> Float[Tensor, "*b i"]:
        """Identity coefficients from N(0, 1), cut at three standard deviations."""
        return torch.randn(*batch, len(self.identity), generator=generator).clamp_(-3, 3)

    def draw_expression(self, generator: torch.Generator, *batch: int) -> Float[Tensor, "*b e"]:
        """Expression coefficients in [0, 1]: a few are active at a time; one face in seven is neutral.

        Both sides are mostly alike. The jaw is open by more than 0.3 in every third face, in every fifth by more than
        0.7. Both eyes look the same way, with a few degrees of difference.
        """
        # One rate for both sides of a movement.
        bases = [name.removesuffix("_L").removesuffix("_R") for name in self.expression_names]
        order = sorted(set(bases))
        column = torch.tensor([order.index(base) for base in bases])
        rates = {"jawOpen": 0.45} | dict.fromkeys(set(self.often) - {"jawOpen"}, 0.35)
        rate = torch.tensor([rates.get(base, 0.2 if base.startswith("eyeLook") else 0.1) for base in order])

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*batch, *shape, generator=generator)

        # What moves, how far, and on which side less.
        moving = (uniform(len(order)) < rate) & (uniform(1) > 1 / 7)
        strength = uniform(len(order)).sqrt() * moving
        one_sided = torch.where(uniform(len(order)) < 0.25, 1.0, 0.15)[..., column]
        has_sides = torch.tensor([name.endswith(("_L", "_R")) for name in self.expression_names])
        sided = uniform(len(bases)) * has_sides
        expression = strength[..., column] * (1 - one_sided * sided)
        # The right eye follows the left one; no movement exceeds the one that it presupposes.
        for left, right in GAZE.items():
            if {f"{left}_L", f"{right}_R"} <= set(self.expression_names):
                leader, follower = (self.expression_names.index(name) for name in (f"{left}_L", f"{right}_R"))
                expression[..., follower] = expression[..., leader] * (1 - 0.1 * sided[..., follower])
        for name, basis in self.needs.items():
            capped, cap = self.expression_names.index(name), self.expression_names.index(basis)
            expression[..., capped] = expression[..., capped].minimum(expression[..., cap])
        return expression

    def sample(self, generator: torch.Generator, *batch: int) -> Mesh:
        """Random faces, identity and expression, closed, in the model frame; `vertices` is ``[*batch, v, 3]``.

        A face that reaches behind its wall (far out in a tail) is moved towards the mean until it does not.
        """
        identity = self.draw_identity(generator, *batch).to(self.mean.device)
        expression = self.draw_expression(generator, *batch).to(self.mean.device)
        return self.mesh(self.before_wall(identity, expression), expression)

    def before_wall(
        self, identity: Float[Tensor, "*b i"], expression: Float[Tensor, "*b e"] | None = None, margin: float = 0.96
    ) -> Float[Tensor, "*b i"]:
        """Identity coefficients, shrunk where the patch would reach further back than `margin` of the wall's distance.

        The expression (neutral where None) stays: one that reaches so far back on the mean face leaves no identity.
        """
        room = margin * self.interocular + self._before_landmarks(self.mean)  # how far each vertex may still move back
        if expression is not None:
            room = room + expression @ self._before_landmarks(self.expression)
        need = -(identity @ self._before_landmarks(self.identity))
        return identity * (room / need.clamp(min=1e-6)).amin(-1, keepdim=True).clamp(0.0, 1.0)

    def _before_landmarks(self, points: Float[Tensor, "*m v 3"]) -> Float[Tensor, "*m p"]:
        """How far to the front of the landmarks' mean the patch's vertices are, or move."""
        return points[..., self.patch_vertices, 2] - points[..., self.landmarks, 2].mean(-1, keepdim=True)


def grow_hair(face: MorphableFace, least: float = 0.05) -> MorphableFace:
    """Add a hair shell: a visible copy of the triangles where `regions["scalp"]` exceeds `least`.

    The shell lies on the skin; the renderer pushes it outward by a random thickness. Region ``hair`` marks its vertices
    with the scalp's softness, so that the shell thins out at the hairline. The solid stays as it is.
    """
    scalp = face.regions["scalp"]
    roots = face.triangles[(scalp[face.triangles] > least).all(1)]
    vertices, local = roots.unique(return_inverse=True)
    count = len(face.mean)

    def doubled(values: Tensor, dim: int) -> Tensor:
        return torch.cat([values, values.index_select(dim, vertices)], dim)

    regions = {name: doubled(mask, 0) for name, mask in face.regions.items()}
    for name in ("scalp", "brows", "lips", "beard"):
        if name in regions:
            regions[name][count:] = 0
    regions["hair"] = torch.cat([torch.zeros_like(scalp), scalp[vertices]])
    return replace(
        face,
        mean=doubled(face.mean, 0),
        identity=doubled(face.identity, 1),
        expression=doubled(face.expression, 1),
        triangles=torch.cat([face.triangles, local + count]),
        patch=torch.cat([face.patch, torch.zeros(len(roots), dtype=torch.bool)]),
        regions=regions,
    )
