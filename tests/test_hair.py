"""Hair and what is worn over it: the shell moves and nothing else; haircuts of cards follow the head."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from people import card, rng, wearing
from shapes import toy_face, turns
from vrn_lite.camera import Similarity
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.hair import Cards, Hair, add_hair, cards, hair_triangles, waves

SIDE = 64


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    return grow_hair(toy_face())


@pytest.fixture(scope="module")
def head() -> MorphableFace:
    return procedural()


def haired(face: MorphableFace, seed: int, batch: int = 300, **changes: float) -> Hair:
    return add_hair(face.mean.expand(batch, -1, -1), face, rng(seed, batch), Appearance(**changes))


def test_hair_moves_its_shell_and_nothing_else(face):
    vertices = face.mean.expand(300, -1, -1)
    before = vertices.clone()
    moved = (add_hair(vertices, face, rng(1, 300), Appearance()).vertices - before).abs().amax(-1)
    shell = face.regions["hair"] > 0
    assert (moved[:, ~shell] == 0).all()
    assert (moved[:, shell].amax(1) > 0).all()
    assert torch.equal(vertices, before)


def test_hair_differs_between_heads(face):
    hair = haired(face, 2, 12)
    assert torch.pdist(hair.vertices[hair.bald[:, 0] == 0].flatten(1)).min() > 0.1


def test_a_face_without_hair_is_left_alone():
    bald = toy_face()
    hair = haired(bald, 3, 6, haircuts=1)
    assert torch.equal(hair.vertices, bald.mean.expand(6, -1, -1))
    assert (hair.cloth == 0).all()
    assert (hair.haircut == -1).all()


@pytest.mark.parametrize("share", [0.0, 0.08, 0.5, 1.0])
def test_a_share_is_bald_with_the_shell_below_the_skin_where_short_hair_stands_off(face, share):
    hair = haired(face, 4, bald=share, **dict.fromkeys(("hats", "headscarves", "long_hair", "fringes"), 0.0))
    shell, bald = face.regions["hair"] > 0, hair.bald[:, 0] > 0
    assert float(bald.float().mean()) == pytest.approx(share, abs=0.06)
    axis = face.mean[shell].mean(0) * torch.tensor([0.0, 0, 1])
    out = (hair.vertices - face.mean)[:, shell] * (face.mean[shell] - axis)
    if bald.any():
        assert (out[bald].sum(-1) < 0).float().mean() > 0.95
    if not bald.all():
        assert (out[~bald].sum(-1) > 0).float().mean() > 0.95


@pytest.mark.parametrize(("hats", "scarves"), [(0.0, 0.0), (0.1, 0.04), (0.6, 0.0), (0.0, 0.6)])
def test_cloth_is_worn_as_often_as_is_said_on_the_hair_only_and_on_no_bald_head(face, hats, scarves):
    hair = haired(face, 5, hats=hats, headscarves=scarves)
    worn = hair.cloth.amax(1) > 0.5
    assert float(worn.float().mean()) == pytest.approx((hats + scarves) * 0.92, abs=0.07)
    assert (hair.cloth[:, face.regions["hair"] == 0] == 0).all()
    assert (hair.cloth[hair.bald[:, 0] > 0] == 0).all()
    assert 0 <= hair.cloth.min() <= hair.cloth.max() <= 1


def test_a_scarf_covers_all_of_the_hair_and_a_hat_a_part_of_it(head):
    shell = head.regions["hair"] > 0
    hat, scarf = (haired(head, 6, 40, bald=0, **{name: 1.0}).cloth[:, shell] for name in ("hats", "headscarves"))
    assert (scarf > 0.99).all()
    assert 0.2 < hat.mean() < 0.95


def test_long_hair_hangs_lower_and_an_afro_stands_off(head):
    shell, none = (
        head.regions["hair"] > 0,
        dict.fromkeys(("bald", "hats", "headscarves", "fringes", "long_hair", "afros"), 0.0),
    )
    short, long, afro = (haired(head, 7, 40, **none | named).vertices[:, shell] for named in ({}, {"long_hair": 1.0}, {"afros": 1.0}))
    assert (long[..., 1].amin(1) < short[..., 1].amin(1) - 0.2 * head.interocular).float().mean() > 0.9
    wide = [part[..., 0].amax(1) - part[..., 0].amin(1) for part in (short, afro)]
    assert (wide[1] > wide[0] + 0.1 * head.interocular).all()


def test_a_fringe_hangs_over_the_forehead_before_the_skin(head):
    forehead = (head.regions["hair"] > 0) & (head.mean[:, 2] > head.mean[head.landmarks[0], 2]) & (head.mean[:, 0].abs() < 0.3 * head.interocular)
    none, fringe = (haired(head, 8, 40, bald=0, hats=0, headscarves=0, fringes=share).vertices[:, forehead] for share in (0.0, 1.0))
    assert (fringe[..., 1].amin(1) <= none[..., 1].amin(1)).all()
    assert (fringe[..., 1].amin(1) < none[..., 1].amin(1) - 0.02 * head.interocular).float().mean() > 0.6


def test_hair_triangles_are_those_that_grew_and_bound_no_solid(face):
    bald = toy_face()
    assert hair_triangles(face).sum() == len(face.triangles) - len(bald.triangles) > 0
    assert not (hair_triangles(face) & face.patch).any()
    assert not hair_triangles(bald).any()


def test_waves_have_unit_variance():
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(6))
    noise = waves(points, rng(6, 100), 2)
    assert noise.shape == (100, 2000, 2)
    assert float(noise.std()) == pytest.approx(1, abs=0.15)


# Haircuts of cards


def front(face: MorphableFace, batch: int = 1) -> Similarity:
    """The head from the front, one unit a third of the picture, its landmarks' mean in the middle."""
    scale, turned = SIDE / 3 / face.interocular, torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    middle = torch.full((3,), SIDE / 2) - scale * turned @ face.mean[face.landmarks].mean(0)
    return Similarity(torch.full((batch,), scale), turned.expand(batch, 3, 3), middle.expand(batch, 3))


def moved(camera: Similarity, rotation: Tensor, shift: Tensor) -> Similarity:
    """A camera followed by a rigid motion about the picture's middle."""
    batch, middle = len(camera.scale), torch.full((3,), SIDE / 2)
    about = middle + shift - rotation @ middle
    return camera.compose(Similarity(torch.ones(batch), rotation.expand(batch, 3, 3), about.expand(batch, 3)))


def worn(face: MorphableFace, number: int = 0, batch: int = 1) -> Hair:
    """Heads of the mean's shape that wear one of the face's haircuts."""
    vertices = face.mean.expand(batch, -1, -1)
    return Hair(vertices, torch.zeros(batch, len(face.mean)), torch.zeros(batch, 1), torch.full((batch,), number))


def seen(face: MorphableFace, hair: Hair, camera: Similarity | None = None) -> Cards:
    batch = len(hair.vertices)
    found = cards(hair, face, camera or front(face, batch), (SIDE, SIDE), torch.full((batch, 3), 0.4))
    assert len(found) == 1
    return found[0]


def pictured(found: Cards, batch: int = 1) -> Tensor:
    """Depth of the cards, ``[b, h, w]``; infinite where there are none."""
    canvas = torch.full((batch * SIDE * SIDE,), torch.inf)
    canvas[found.pixel] = found.depth
    return canvas.view(batch, SIDE, SIDE)


def test_haircuts_are_worn_by_a_share_of_the_heads_that_wear_nothing_else(head):
    bare = wearing(head, card(head, name="a"), card(head, name="b"), card(head, name="held-out card"))
    hair = haired(bare, 11, haircuts=0.4)
    free = (hair.bald[:, 0] == 0) & (hair.cloth.amax(1) == 0)
    assert float((hair.haircut[free] >= 0).float().mean()) == pytest.approx(0.4, abs=0.09)
    assert (hair.haircut[~free] == -1).all()
    assert set(hair.haircut.tolist()) == {-1, 0, 1}
    assert set(haired(bare, 11, haircuts=1.0, heldout=True).haircut.tolist()) == {-1, 2}
    assert (haired(bare, 11, haircuts=0.0).haircut == -1).all()


def test_under_a_haircut_of_cards_the_shell_is_sunk(head):
    bare = wearing(head, card(head))
    hair, shell = haired(bare, 12, 40, bald=0, hats=0, headscarves=0, haircuts=0.5), head.regions["hair"] > 0
    bald = haired(bare, 12, 40, bald=1).vertices[:, shell]
    sunk = (hair.vertices[:, shell] == bald).flatten(1).all(1)
    assert torch.equal(sunk, hair.haircut >= 0)
    assert 0 < sunk.sum() < 40


def test_photographs_without_haircuts_leave_the_hair_to_the_shell(head):
    hair = haired(wearing(head), 13, 20, haircuts=1.0)
    assert (hair.haircut == -1).all()
    assert cards(hair, wearing(head), front(head, 20), (SIDE, SIDE), torch.ones(20, 3)) == []
    assert cards(hair, head, front(head, 20), (SIDE, SIDE), torch.ones(20, 3)) == []


def test_an_opaque_card_covers_its_square_and_lies_where_it_is_put(head):
    found = seen(wearing(head, card(head)), worn(wearing(head)))
    rows, columns = pictured(found)[0].isfinite().nonzero().unbind(1)
    third = SIDE / 3
    assert len(found.pixel) == pytest.approx(third**2, rel=0.1)
    assert (columns.min(), columns.max()) == (round(SIDE / 2 - third / 2), round(SIDE / 2 + third / 2) - 1)
    assert (rows.min(), rows.max()) == (round(SIDE / 2 - 0.75 * third), round(SIDE / 2 + 0.25 * third) - 1)
    torch.testing.assert_close(found.depth, torch.full_like(found.depth, SIDE / 2 - third), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.normal.norm(dim=-1), torch.ones(len(found.pixel)))
    torch.testing.assert_close(found.albedo, torch.full_like(found.albedo, 0.4), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("alpha", "shown"), [(0, False), (1, False), (127, False), (128, True), (255, True)])
def test_a_fragment_whose_alpha_is_below_one_half_is_no_fragment(head, alpha, shown):
    found = seen(wearing(head, card(head, alpha)), worn(head))
    assert bool(len(found.pixel)) == shown


def test_alpha_is_that_of_the_textures_place(head):
    alpha = torch.zeros(8, 8, dtype=torch.uint8)
    alpha[:4, 4:] = 255
    rows, columns = pictured(seen(wearing(head, card(head, alpha)), worn(head)))[0].isfinite().nonzero().unbind(1)
    third = SIDE / 3
    assert (columns.min(), columns.max()) == (SIDE // 2, round(SIDE / 2 + third / 2) - 1)
    assert (rows.min(), rows.max()) == (round(SIDE / 2 - 0.75 * third), round(SIDE / 2 - 0.25 * third) - 1)


def test_through_a_transparent_card_the_one_behind_is_seen(head):
    near, far = card(head, ahead=1.5), card(head, ahead=1.0)
    uv = torch.cat((near.uv * torch.tensor([0.5, 1.0]), far.uv * torch.tensor([0.5, 1.0]) + torch.tensor([0.5, 0.0])))
    alpha = torch.zeros(8, 8, dtype=torch.uint8)
    alpha[:, 4:] = 255
    texture = near.texture.clone()
    texture[3] = alpha
    both = replace(
        near,
        points=torch.cat((near.points, far.points)),
        triangles=torch.cat((near.triangles, far.triangles + 4)),
        uv=uv,
        texture=texture,
        roots=near.roots.repeat(2, 1),
        weights=near.weights.repeat(2, 1),
    )
    found, behind = (pictured(seen(wearing(head, cut), worn(head))) for cut in (both, far))
    assert torch.equal(found.isfinite(), behind.isfinite())
    torch.testing.assert_close(found[found.isfinite()], behind[behind.isfinite()])


def test_a_haircut_takes_the_colour_of_the_heads_hair_and_the_shades_of_its_own(head):
    cut = card(head)
    cut.texture[:3, :, :4] = 100
    found = seen(wearing(head, cut), worn(head))
    column = found.pixel % SIDE
    light, dark = found.albedo[column > SIDE // 2], found.albedo[column < SIDE // 2]
    torch.testing.assert_close(light.mean(0) / dark.mean(0), torch.full((3,), 2.0))
    torch.testing.assert_close(found.albedo.mean(), torch.tensor(0.4), rtol=0.05, atol=0)


def test_a_haircut_moves_with_its_roots_and_with_nothing_else(head):
    """It follows a shift of the whole head exactly, and one of its roots by their weight."""
    cut, step = card(head), torch.tensor([0.3, -0.2, 0.5])
    torch.testing.assert_close(cut.on(head.mean, head.mean), cut.points)
    torch.testing.assert_close(cut.on(head.mean + step, head.mean), cut.points + step, rtol=0, atol=1e-4)
    nose, elsewhere = head.mean.clone(), head.mean.clone()
    nose[head.landmarks[30]] += step
    elsewhere[head.landmarks[8]] += step
    torch.testing.assert_close(cut.on(nose, head.mean), cut.points + 0.75 * step, rtol=0, atol=1e-4)
    assert torch.equal(cut.on(elsewhere, head.mean), cut.points)
    both = torch.stack((nose, elsewhere))
    assert torch.equal(cut.on(both, head.mean), torch.stack([cut.on(v, head.mean) for v in both]))


@pytest.mark.parametrize("shift", [(5.0, -3.0, 0.0), (0.0, 0.0, 4.0), (-7.0, 2.0, -1.0)])
def test_a_haircut_follows_a_shift_of_the_head(head, shift):
    bare, step = wearing(head, card(head)), torch.tensor(shift)
    before = pictured(seen(bare, worn(bare)))
    after = pictured(seen(bare, worn(bare), moved(front(bare), torch.eye(3), step)))
    expected = before.roll((int(shift[1]), int(shift[0])), (1, 2)) + shift[2]
    assert torch.equal(after.isfinite(), expected.isfinite())
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-3)


def test_a_haircut_follows_a_quarter_turn_of_the_head(head):
    """In the picture's plane, clockwise."""
    alpha = torch.zeros(8, 8, dtype=torch.uint8)
    alpha[:4, 4:] = 255
    bare, quarter = wearing(head, card(head, alpha)), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    before, after = (pictured(seen(bare, worn(bare), c))[0] for c in (front(bare), moved(front(bare), quarter, torch.zeros(3))))
    different = after.isfinite() ^ before.rot90(-1).isfinite()
    assert different.sum() <= 0.1 * after.isfinite().sum()  # edges on pixel centres belong to one side


def test_a_haircut_follows_any_rigid_motion_of_the_head(head):
    """A fragment's place is that of its point of the card, whatever the motion: it lies in the moved plane."""
    bare = wearing(head, card(head))
    for rotation in turns(6):
        camera = moved(front(bare), rotation, torch.tensor([1.0, 2.0, 3.0]))
        found = seen(bare, worn(bare), camera)
        corners = camera(card(head).points[None])[0]
        normal = torch.linalg.cross(corners[1] - corners[0], corners[3] - corners[0])
        place = torch.stack((found.pixel % SIDE + 0.5, found.pixel // SIDE + 0.5, found.depth), -1)
        assert len(place) > 0
        away = (place - corners[0]) @ (normal / normal.norm())
        assert away.abs().max() < 0.05


def test_heads_wear_their_own_haircuts(head):
    bare = wearing(head, card(head, name="near", ahead=1.5), card(head, name="far", ahead=1.0))
    hair = worn(bare, batch=4)._replace(haircut=torch.tensor([1, -1, 0, 1]))
    found = cards(hair, bare, front(bare, 4), (SIDE, SIDE), torch.full((4, 3), 0.4))
    canvas = torch.full((4 * SIDE * SIDE,), torch.inf)
    for part in found:
        canvas[part.pixel] = part.depth
    depth = canvas.view(4, SIDE, SIDE).flatten(1).amin(1)
    assert depth[1] == torch.inf
    assert float(depth[0]) == pytest.approx(float(depth[3]))
    assert float(depth[2]) == pytest.approx(float(depth[0]) - SIDE / 6, abs=1e-2)
    for part in found:
        assert torch.equal(part.sample, part.pixel // SIDE**2)
