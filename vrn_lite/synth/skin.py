"""Colours of the head at its vertices: photographed or drawn skin, and the paint over it."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.synth.appearance import CLOTH, DARK_HAIR, HAIR, IRIS, LIPS, MAKEUP, SKIN, Appearance, Rng
from vrn_lite.synth.hair import Hair, waves


class Layer(NamedTuple):
    """Paint over a region of the face model: its colour, its amount, and a pattern over the vertices.

    Attributes
    ----------
    region : a name from `MorphableFace.regions`.
    colour : ``[b, 3]``.
    amount : ``[b, 1]`` in [0, 1].
    pattern : ``[b, v]`` in [0, 1], or 1.
    """

    region: str
    colour: Float[Tensor, "b 3"]
    amount: Float[Tensor, "b 1"]
    pattern: Float[Tensor, "b v"] | float = 1.0


def hair_colour(skin: Float[Tensor, "b 3"], rng: Rng) -> Float[Tensor, "b 3"]:
    """A natural colour of hair; dark skin mostly has dark hair."""
    dark = (skin.mean(1, keepdim=True) < rng.uniform(0.3, 0.55, 1)).float()
    return torch.lerp(rng.colour(HAIR, 0.1), rng.colour(DARK_HAIR, 0.1), dark)


class Complexion(NamedTuple):
    """What the skin of a batch is made of.

    Attributes
    ----------
    colours : ``[b, v, 3]``, skin at every vertex, without paint.
    tone : ``[b, 3]``, its mean.
    photographed : ``[b, 1]``, 1 where it is photographed.
    noise : ``[b, v, 3]``, smooth noise of variance about 1.
    """

    colours: Float[Tensor, "b v 3"]
    tone: Float[Tensor, "b 3"]
    photographed: Float[Tensor, "b 1"]
    noise: Float[Tensor, "b v 3"]


def complexion(face: MorphableFace, rng: Rng, appearance: Appearance) -> Complexion:
    """Random skins: drawn with blotches, or mixtures of two photographed ones."""
    stream = rng.stream("skin")
    tone, noise = stream.colour(SKIN, 0.08), waves(face.mean / face.interocular, stream, 3)
    blotches = 0.7 * noise[..., :1] + 0.3 * noise
    drawn = tone[:, None] * (1 + stream.uniform(0.01, 0.08, 1, 1) * blotches)
    photographed = stream.bernoulli(appearance.skins, 1)
    allowed = None if face.photographs is None else face.photographs.allowed_skins(appearance.heldout)
    if face.photographs is None or allowed is None or len(allowed) == 0:
        return Complexion(drawn, tone, torch.zeros_like(photographed), noise)
    mixed = _mixed_skins(face.photographs.skins[allowed], rng.stream("photographed skin"))
    # Where the photographs do not reach, their own mean goes on with the drawn blotches.
    covered = face.photographs.coverage[:, None]
    mean = (mixed * covered).sum(1) / covered.sum()
    mixed = torch.lerp(mean[:, None] * (drawn / tone[:, None].clamp(min=0.02)), mixed, covered)
    tone = torch.lerp(tone, mean, photographed)
    return Complexion(torch.lerp(drawn, mixed, photographed[..., None]), tone, photographed, noise)


def _mixed_skins(skins: Float[Tensor, "k v 3"], rng: Rng) -> Float[Tensor, "b v 3"]:
    """Two photographed skins in a random mixture, with gain, tint and gamma of the whole."""
    one, other = (skins[rng.index(len(skins))] for _ in range(2))
    mixed = torch.lerp(one, other, rng.uniform01(1, 1) ** 2)
    gain = rng.uniform(0.75, 1.15, 1, 1) * (1 + 0.04 * rng.normal(1, 3))
    return (mixed * gain).clamp(0.01, 1) ** torch.exp(rng.uniform(-0.25, 0.35, 1, 1))


def albedo(face: MorphableFace, hair: Hair, rng: Rng, appearance: Appearance) -> tuple[Tensor, Float[Tensor, "b 3"]]:
    """Random colours of the vertices ``[b, v, 3]``, and the colour of the hair.

    Skin with spots of colour and make-up, then lips, brows, eyes, beard, teeth, hair, cloth.
    """
    skin = complexion(face, rng, appearance)
    tint, cloth = hair_colour(skin.tone, rng.stream("hair colour")), rng.stream("cloth").colour(CLOTH, 0.2)
    colours, patch = skin.colours.clone(), face.patch_vertices
    colours[:, patch] = _made_up(colours[:, patch], face.mean[patch], face, skin, tint, rng.stream("spots"), appearance)
    for layer in _layers(face, hair, skin, tint, cloth, rng.stream("paint"), appearance):
        if layer.region in face.regions:
            _paint(colours, layer, face)
    return _with_eyes(colours, face, rng.stream("eyes"), appearance).clamp_(0, 1), tint


def _layers(
    face: MorphableFace, hair: Hair, skin: Complexion, tint: Tensor, cloth: Tensor, rng: Rng, appearance: Appearance
) -> list[Layer]:
    """The paint, in its order; photographed skin has lips of its own and needs less of it."""
    faint = 1 - 0.7 * skin.photographed
    ragged = (1 + 0.8 * skin.noise[..., 0]).clamp(0, 1)
    whole = torch.ones_like(hair.bald)
    beard = rng.bernoulli(appearance.beards, 1) * rng.uniform(0.1, 0.9, 1)
    lips = rng.colour(LIPS, 0.1) * (0.35 + 0.65 * skin.tone)
    scalp = (1 - hair.bald * rng.uniform(0.5, 1, 1)) * rng.uniform(0.6, 1, 1)
    brow = torch.lerp(tint, skin.tone, 0.2) * 0.8
    return [
        Layer("beard", tint, beard, ragged),
        Layer("lips", lips, rng.uniform(0.1, 1, 1) * faint),
        Layer("scalp", tint, scalp),
        Layer("brows", brow, rng.uniform(0.3, 1, 1)),
        Layer("sclera", rng.colour([(0.9, 0.88, 0.86), (0.75, 0.7, 0.68)], 0.05), rng.uniform(0.9, 1, 1)),
        Layer("iris", rng.colour(IRIS, 0.15), rng.uniform(0.9, 1, 1)),
        Layer("pupil", rng.colour([(0.03, 0.03, 0.03)], 0.03), rng.uniform(0.9, 1, 1)),
        Layer("teeth", rng.colour([(0.92, 0.9, 0.85), (0.8, 0.75, 0.65)], 0.05), rng.uniform(0.9, 1, 1)),
        Layer("mouth", rng.colour([(0.25, 0.08, 0.08), (0.45, 0.15, 0.15)], 0.1), rng.uniform(0.9, 1, 1)),
        Layer("hair", tint, whole),
        Layer("hair", cloth, whole, hair.cloth),
    ]


def _paint(colours: Float[Tensor, "b v 3"], layer: Layer, face: MorphableFace) -> None:
    """A layer of paint over its region, in place."""
    index = (face.regions[layer.region] > 0.02).nonzero()[:, 0]
    mask = face.regions[layer.region][index] ** (0.15 if layer.region == "hair" else 1)
    mask = mask * (layer.pattern[:, index] if isinstance(layer.pattern, Tensor) else layer.pattern)
    colours[:, index] = torch.lerp(colours[:, index], layer.colour[:, None], (layer.amount * mask)[..., None])


def _with_eyes(colours: Float[Tensor, "b v 3"], face: MorphableFace, rng: Rng, appearance: Appearance) -> Tensor:
    """The eyeballs of a share of the faces as photographed, more or less dark."""
    chosen, gain = rng.bernoulli(appearance.eyes, 1), rng.uniform(0.65, 1.05, 1, 1)
    if face.photographs is None or len(face.photographs.eyes) == 0:
        return colours
    balls = face.photographs.eyeballs.nonzero()[:, 0]
    irises = face.photographs.eyes[rng.index(len(face.photographs.eyes))][:, balls]
    share = chosen[..., None] * face.photographs.eyeballs[balls, None]
    colours[:, balls] = torch.lerp(colours[:, balls], irises * gain, share)
    return colours


class Spot(NamedTuple):
    """A spot of colour on the skin.

    Attributes
    ----------
    groups : landmarks in whose middle a spot lies, a group each.
    offset, radii : (x, y) in outer interocular distances.
    paint : "paint", "dark", "red" or "hair".
    share : of the faces.
    """

    groups: tuple[tuple[int, ...], ...]
    offset: tuple[float, float]
    radii: tuple[float, float]
    paint: str
    share: float


SPOTS = {
    "shadow of the lids": Spot(((37, 38), (43, 44)), (0.0, 0.06), (0.2, 0.09), "paint", 0.2),
    "dark circles": Spot(((40, 41), (46, 47)), (0.0, -0.07), (0.16, 0.07), "dark", 0.3),
    "lashes": Spot(((36,), (37,), (38,), (39,), (42,), (43,), (44,), (45,)), (0, 0.01), (0.05, 0.025), "dark", 0.75),
    "blush": Spot(((36, 48), (45, 54)), (0.0, -0.02), (0.2, 0.16), "red", 0.3),
    "nose": Spot(((30,),), (0.0, 0.0), (0.16, 0.14), "red", 0.2),
    "moustache": Spot(((33, 50), (33, 52)), (0.0, -0.03), (0.17, 0.06), "hair", 0.18),
    "goatee": Spot(((8, 57),), (0.0, 0.0), (0.16, 0.14), "hair", 0.1),
}


def _made_up(
    colours: Float[Tensor, "b p 3"],
    points: Float[Tensor, "p 3"],
    face: MorphableFace,
    skin: Complexion,
    tint: Float[Tensor, "b 3"],
    rng: Rng,
    appearance: Appearance,
) -> Float[Tensor, "b p 3"]:
    """Skin with spots of colour, each with a ragged edge, and freckles."""
    grain = rng.dense_uniform01(colours.shape[1])
    paints = {
        "paint": rng.colour(MAKEUP, 0.2),
        "dark": skin.tone * rng.uniform(0.15, 0.6, 1),
        "red": skin.tone * skin.tone.new_tensor([1.05, 0.7, 0.68]),
        "hair": tint,
    }
    for name, spot in SPOTS.items():
        stream = rng.stream(name)
        amount = stream.bernoulli(spot.share * appearance.make_up, 1) * stream.uniform(0.2, 0.9, 1)
        # How near a vertex lies to the nearest of the spot's middles, on the front of the face.
        middles = (
            torch.stack([face.mean[face.landmarks[list(group)], :2].mean(0) for group in spot.groups])
            / face.interocular
        )
        away = points[:, None, :2] / face.interocular - middles - points.new_tensor(spot.offset)
        mask = torch.exp(-(away / points.new_tensor(spot.radii)).square().sum(-1).amin(1))
        mask = mask * (points[:, 2] > face.mean[face.landmarks[0], 2])
        index = (mask > 0.03).nonzero()[:, 0]
        edge = mask[index] * (0.5 + grain[:, index] if spot.paint == "hair" else 1)
        share = (amount * edge).clamp(0, 1)[..., None]
        colours[:, index] = torch.lerp(colours[:, index], paints[spot.paint][:, None], share)
    freckles = rng.bernoulli(0.12 * appearance.make_up, 1) * rng.uniform(0.1, 0.4, 1) * (grain > 0.85)
    return colours * (1 - freckles[..., None] * colours.new_tensor([0.3, 0.5, 0.6]))
