"""The image reduction: what each pixel sees, the light on it, and that nothing of it moves the geometry."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from people import card, rng, wearing
from shapes import icosphere, torus, toy_face, turns
from vrn_lite.camera import Similarity
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.frame import FACE_SIZE, Grid, Image
from vrn_lite.raster import Fragments, nearest, rasterize
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.hair import Cards, add_hair
from vrn_lite.synth.render import (
    Lamp,
    Surface,
    _lamp,
    _nearer,
    _smooth_outlines,
    _surface,
    harmonics,
    hollows,
    lights,
    render,
    scattered,
    surround,
    thrown_shadow,
    vertex_normals,
    whiteness,
)

GRID = Grid(32, 40, 48, 1.5)
LEVEL = Grid(64, 64, 64, 1.5)
SIZE = LEVEL.side * FACE_SIZE


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    return grow_hair(toy_face())


@pytest.fixture(scope="module")
def head() -> MorphableFace:
    bare = procedural()
    return wearing(bare, card(bare), card(bare, 0), card(bare, ahead=-0.3))


def camera_of(face: MorphableFace, scale: float, batch: int) -> Similarity:
    turned, middle = torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([24.0, 20.0, 20.0])
    shift = middle - scale * turned @ (face.mean[face.landmarks].mean(0) * torch.tensor([0.0, 1.0, 1.0]))
    return Similarity(torch.full((batch,), scale), turned.expand(batch, 3, 3), shift.expand(batch, 3))


def placed(face: MorphableFace, vertices: Tensor, scale: float) -> tuple[Fragments, Tensor, Similarity]:
    camera = camera_of(face, scale, len(vertices))
    vertices = camera(vertices)
    return nearest(rasterize(vertices, face.triangles, GRID.height, GRID.width)), vertices, camera


def rendered(face: MorphableFace, seed: int, batch: int = 6, haircut: int | None = None, **changes: float) -> tuple[Fragments, Image]:
    numbers, appearance = rng(seed, batch), Appearance(**changes)
    hair = add_hair(face.mean.expand(batch, -1, -1), face, numbers, appearance)
    if haircut is not None:
        hair = hair._replace(haircut=torch.full((batch,), haircut))
    seen, vertices, camera = placed(face, face.mean.expand(batch, -1, -1), 11 / face.interocular)
    points = vertices[:, face.landmarks]
    return seen, render(seen, vertices, face, hair, points, camera, GRID, numbers, appearance)


def flat_light(seen: Surface, *_: object) -> tuple[Tensor, Tensor]:
    return torch.ones_like(seen.albedo), torch.zeros_like(seen.albedo)


@pytest.fixture
def bare_pictures(monkeypatch):
    """Heads in their own colours before black, and nothing else."""
    monkeypatch.setattr("vrn_lite.synth.render.background", lambda grid, r, _: torch.zeros(r.batch, 3, 40, 48))
    monkeypatch.setattr("vrn_lite.synth.render.lights", flat_light)
    for name in ("shoulders", "occlude", "degrade", "glasses", "_smooth_outlines"):
        monkeypatch.setattr(f"vrn_lite.synth.render.{name}", lambda images, *_: images)
    monkeypatch.setattr("vrn_lite.synth.render.cast_shadow", lambda grid, r, _: torch.ones(r.batch, 40, 48))


def test_images_lie_between_0_and_1(face):
    _, images = rendered(face, 1)
    assert images.shape == (6, 3, 40, 48)
    assert torch.isfinite(images).all()
    assert 0 <= images.min() < images.max() <= 1


def test_one_seed_fixes_everything(face):
    assert torch.equal(rendered(face, 2)[1], rendered(face, 2)[1])
    assert not torch.equal(rendered(face, 2)[1], rendered(face, 3)[1])


def test_samples_of_a_batch_look_different(face):
    images = rendered(face, 4)[1]
    assert torch.pdist(images.flatten(1)).min() > 1


def test_rendering_leaves_its_vertices_and_the_face_alone(face):
    before = face.mean.clone(), face.regions["hair"].clone()
    rendered(face, 5)
    assert torch.equal(face.mean, before[0])
    assert torch.equal(face.regions["hair"], before[1])


def test_the_face_is_painted_exactly_on_its_fragments(face, bare_pictures):
    """With a black background and a perfect camera, the image is the silhouette."""
    seen, images = rendered(face, 6)
    silhouette = torch.zeros(6 * 40 * 48, dtype=torch.bool)
    silhouette[seen.pixel] = True
    assert torch.equal(images.amax(1).flatten() > 0, silhouette)


def test_a_scan_is_shown_in_its_own_colours(head, bare_pictures):
    """Barycentric mixtures of them, with the faint roughness of skin; no haircut is drawn over it."""
    bald = toy_face()
    colours = torch.rand(6, len(bald.mean), 3, generator=torch.Generator().manual_seed(0))
    seen, vertices, camera = placed(bald, bald.mean.expand(6, -1, -1), 1.8)
    hair = add_hair(bald.mean.expand(6, -1, -1), bald, rng(7), Appearance())
    points = vertices[:, bald.landmarks]
    images = render(seen, vertices, bald, hair, points, camera, GRID, rng(7), Appearance(), painted=colours)
    corners = colours[seen.sample[:, None], bald.triangles[seen.triangle]]
    expected = (seen.weights[..., None] * corners).sum(1)
    shown = images.permute(0, 2, 3, 1).reshape(-1, 3)[seen.pixel]
    torch.testing.assert_close(shown, expected, rtol=0.04, atol=1e-4)


# Haircuts of cards over the head


def test_a_haircut_that_is_transparent_everywhere_leaves_the_picture_as_without_it(head):
    none, clear, solid = (rendered(head, 8, haircut=number)[1] for number in (-1, 1, 0))
    assert torch.equal(none, clear)
    assert not torch.equal(none, solid)


def test_an_opaque_haircut_covers_its_square_and_nothing_else(head, bare_pictures):
    none, solid = (rendered(head, 8, haircut=number)[1] for number in (-1, 0))
    changed = (none != solid).any(1)
    assert torch.equal(changed, changed[:1].expand_as(changed))
    rows, columns = changed[0].nonzero().unbind(1)
    assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == pytest.approx(121, abs=12)
    covered = solid.permute(0, 2, 3, 1)[changed].view(6, -1, 3)
    torch.testing.assert_close(covered, covered[:, :1].expand_as(covered), rtol=0, atol=1e-3)  # of one colour


def test_a_haircut_behind_the_skin_is_not_seen(head, bare_pictures):
    """A card through the head is hidden wherever the skin is nearer."""
    none, inside = (rendered(head, 9, haircut=number)[1] for number in (-1, 2))
    assert torch.equal(none, inside)


def surface_of(depth: Tensor, normal: Tensor | None = None, hair: bool = False) -> Surface:
    """A surface from pictures of its depth ``[b, h, w]``, infinite where there is none; facing the viewer."""
    pixel = depth.flatten().isfinite().nonzero()[:, 0]
    facing = torch.tensor([0.0, 0.0, -1.0]) if normal is None else normal
    ones = torch.ones(len(pixel))
    return Surface(
        pixel,
        pixel // depth[0].numel(),
        depth.flatten()[pixel],
        torch.full((len(pixel), 3), 0.5),
        F.normalize(facing, dim=-1).expand(len(pixel), 3),
        ones,
        (ones > 0) == hair,
    )


def test_of_two_surfaces_the_nearer_one_is_seen_at_every_pixel():
    one, other = (torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    one[:, :2], other[:, :, :3] = torch.inf, torch.inf
    hair = surface_of(other)
    cut = Cards(hair.pixel, hair.sample, hair.depth, hair.albedo, hair.normal)
    seen = _nearer(surface_of(one), [cut], one.numel())
    found = torch.full((one.numel(),), torch.inf)
    found[seen.pixel] = seen.depth
    assert len(seen.pixel.unique()) == len(seen.pixel)
    assert torch.equal(found.view_as(one), torch.minimum(one, other))
    assert torch.equal(seen.hair, (other < one).flatten()[seen.pixel])


# Normals


@pytest.mark.parametrize("solid", [icosphere(3.0, 3), torus(3.0, 1.0)], ids=["ball", "torus"])
def test_normals_have_unit_length_and_point_outward(solid):
    vertices, triangles = solid
    normals = vertex_normals(vertices.expand(2, -1, -1), triangles)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, len(vertices)))
    ball = vertices.norm(dim=1).std() < 0.01
    radial = vertices if ball else vertices - 3 * F.normalize(vertices * torch.tensor([1.0, 1, 0]), dim=1)
    assert ((normals * F.normalize(radial, dim=1)).sum(-1) > 0.99).all()


def test_normals_of_a_batch_are_those_of_its_meshes():
    vertices, triangles = icosphere(3.0, 2)
    batch = torch.stack([vertices, vertices * torch.tensor([1.0, 2.0, 0.5])])
    torch.testing.assert_close(vertex_normals(batch, triangles)[1:], vertex_normals(batch[1:], triangles))


def test_what_is_seen_has_unit_normals_towards_the_viewer(face):
    seen, vertices, camera = placed(toy_face(), toy_face().mean.expand(2, -1, -1), 1.8)
    hair = add_hair(toy_face().mean.expand(2, -1, -1), toy_face(), rng(1, 2), Appearance())
    shown = _surface(seen, vertices, toy_face(), hair, camera, GRID, rng(1, 2), Appearance(), None)
    torch.testing.assert_close(shown.normal.norm(dim=-1), torch.ones(len(seen.pixel)))
    assert (shown.normal[:, 2] < 0).float().mean() > 0.99
    assert torch.equal(shown.pixel, seen.pixel)
    assert torch.equal(shown.depth, seen.depth)


# Outlines


def test_outlines_are_softened_where_the_depth_jumps_and_nowhere_else():
    depth = torch.full((2, 64, 64), torch.inf)
    depth[:, 20:40, 20:40] = 30.0
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    changed = (_smooth_outlines(images, depth, LEVEL) != images).any(1)
    near = F.max_pool2d(depth.isfinite().float()[:, None], 3, 1, 1)[:, 0] > 0
    inner = F.max_pool2d(depth.isinf().float()[:, None], 3, 1, 1)[:, 0] > 0
    assert torch.equal(changed, near & inner)
    flat = torch.full_like(images, 0.3)
    torch.testing.assert_close(_smooth_outlines(flat, depth, LEVEL), flat)


def test_without_jumps_in_depth_the_picture_stays():
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    slope = 20 + 0.5 * torch.arange(64.0).expand(1, 64, 64)
    assert torch.equal(_smooth_outlines(images, slope, LEVEL), images)


# Light from all round


def sphere(count: int = 4000) -> Tensor:
    """Directions spread evenly (Fibonacci's spiral)."""
    number = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * number / count, math.pi * (1 + 5**0.5) * number
    flat = (1 - z * z).sqrt()
    return torch.stack((flat * angle.cos(), flat * angle.sin(), z), -1)


def test_harmonics_give_nearly_the_clamped_cosine():
    """1/4 + c/2 + 5/16 (3 c^2 - 1) / 2 of the cosine c: at most 3/32 off, at a right angle."""
    n, s = (
        sphere(),
        F.normalize(torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1),
    )
    cosine, found = s @ n.T, harmonics(s) @ harmonics(n).T
    torch.testing.assert_close(found, 1 / 4 + cosine / 2 + 5 / 32 * (3 * cosine**2 - 1))
    off = found - cosine.clamp(min=0)
    assert off.abs().max() <= 3 / 32 + 1e-6
    assert off.abs().mean() < 0.04
    assert float(off[cosine.abs() < 1e-2].mean()) == pytest.approx(3 / 32, abs=6e-3)


def test_harmonics_have_the_exact_moments_of_the_clamped_cosine():
    """Against every polynomial of degree 2 on the sphere; the mean of the cosine is 1/4."""
    n, s = sphere(200_000), F.normalize(torch.tensor([[0.3, -0.8, 0.5], [0, 0, -1.0]], dtype=torch.float64), dim=1)
    x, y, z = n.unbind(-1)
    moments = torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x, y * y, z * z], -1) / len(n)
    torch.testing.assert_close((harmonics(s) @ harmonics(n).T) @ moments, (s @ n.T).clamp(min=0) @ moments, rtol=0, atol=1e-5)
    assert float((harmonics(s) @ harmonics(n).T)[0].mean()) == pytest.approx(0.25, abs=1e-5)


def test_harmonics_are_orthogonal():
    found = harmonics(sphere(100_000))
    gram = found.T @ found / len(found)
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-4)
    torch.testing.assert_close(gram.diagonal(), torch.tensor([1 / 4] + 3 * [1 / 6] + 5 * [1 / 16], dtype=torch.float64), rtol=1e-3, atol=0)


def test_harmonics_of_turned_directions_have_the_same_products():
    one, other = sphere(50).float(), sphere(70).float()
    for turn in turns(3):
        torch.testing.assert_close(harmonics(one @ turn) @ harmonics(other @ turn).T, harmonics(one) @ harmonics(other).T)


def balls(batch: int) -> Surface:
    """Every direction once in each sample."""
    normal = sphere(400).float().repeat(batch, 1)
    number = torch.arange(len(normal))
    base = surface_of(torch.zeros(batch, 20, 20))
    return base._replace(pixel=number, sample=number // 400, normal=normal)


def test_light_from_all_round_is_positive_mostly_from_above_and_as_strong_as_its_sources():
    seen = balls(300)
    light = surround(seen, rng(10, 300)).view(300, 400, 3)
    assert light.min() >= 0.05 * 0.7
    mean = light.mean((1, 2))
    assert 0.05 + 1.2 / 4 - 0.05 < mean.min() < mean.max() < 0.35 + 2.4 / 4 + 0.1  # a source's mean is a quarter
    up = seen.normal.view(300, 400, 3)[..., 1] < -0.5
    assert light[up].mean() > 1.1 * light[~up].mean()
    assert (light.std(1) > 0.03).all()  # it has a shape


def test_light_is_white_warmer_or_cooler():
    colours = whiteness(rng(11, 4000), 2)
    assert colours.shape == (4000, 2, 3)
    assert colours.mean((0, 1)).tolist() == pytest.approx([1, 1, 1], abs=0.04)
    red, _, blue = colours.flatten(0, 1).T
    assert torch.corrcoef(torch.stack((red, blue)))[0, 1] < -0.5
    assert colours.min() > 0.7


# Shadows


def ball_over_plane(side: int = 64) -> tuple[Tensor, Tensor]:
    """Depth of a wall with a ball before it, and where the ball is."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    radius = 0.15 * SIZE
    away = (x - side / 2) ** 2 + (y - side / 2) ** 2
    ball = away < radius**2
    depth = torch.where(ball, 40 - 0.2 * SIZE - (radius**2 - away).clamp(min=0).sqrt(), torch.tensor(40.0))
    return depth[None], ball[None]


@pytest.mark.parametrize("light", [(0.0, 0.0, -1.0), (1, 0, -0.2), (-0.5, 0.7, -0.3), (0.2, -1, 0)])
def test_a_flat_wall_throws_no_shadow_on_itself(light):
    depth = torch.full((1, 64, 64), 40.0)
    direction = F.normalize(torch.tensor([light]), dim=1)
    assert (thrown_shadow(surface_of(depth), depth, direction, LEVEL) == 0).all()


@pytest.mark.parametrize("angle", range(0, 360, 45))
def test_a_balls_shadow_lies_on_the_side_away_from_the_light(angle):
    depth, ball = ball_over_plane()
    towards = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    direction = F.normalize(torch.cat((towards, torch.tensor([-1.0])))[None], dim=1)
    shadow = thrown_shadow(surface_of(depth), depth, direction, LEVEL).view(1, 64, 64) * ~ball
    assert 0 <= shadow.min() < shadow.max() <= 1
    row, column = (shadow[0] > 0.5).nonzero().T
    along = (torch.stack((column, row), -1) + 0.5 - 32) @ towards
    assert along.mean() < -0.15 * SIZE  # a ball at 0.35 of the face's size before the wall, light from 45 degrees
    assert (along < 0.1 * SIZE).all()


def test_a_light_from_the_viewer_hides_the_shadow_behind_the_ball():
    depth, ball = ball_over_plane()
    shadow = thrown_shadow(surface_of(depth), depth, torch.tensor([[0.0, 0.0, -1.0]]), LEVEL).view(1, 64, 64)
    assert (shadow == 0).all()
    assert ball.any()


def test_what_is_not_in_the_picture_throws_no_shadow():
    """The background is infinitely far; pixels without a head hide nothing."""
    depth, ball = ball_over_plane()
    alone = torch.where(ball, depth, torch.inf)
    seen = surface_of(alone)
    direction = F.normalize(torch.tensor([[1.0, 0.5, -0.5]]), dim=1)
    shadow = thrown_shadow(seen, alone, direction, LEVEL)
    assert torch.isfinite(shadow).all()
    lit = torch.zeros(64, 64)
    lit.view(-1)[seen.pixel] = shadow
    assert lit[:, 32:].mean() <= lit[:, :32].mean()


def test_samples_are_shaded_by_their_own_depth_and_light():
    depth, _ = ball_over_plane()
    both = torch.cat((depth, torch.full_like(depth, 40.0), depth))
    direction = F.normalize(torch.tensor([[1.0, 0, -1], [1, 0, -1], [-1, 0, -1]]), dim=1)
    shadow = thrown_shadow(surface_of(both), both, direction, LEVEL).view(3, 64, 64)
    assert shadow[0].any()
    assert not shadow[1].any()
    for number in (0, 2):
        alone = thrown_shadow(surface_of(depth), depth, direction[number : number + 1], LEVEL).view(64, 64)
        assert torch.equal(shadow[number], alone)


def test_a_plane_has_no_hollows():
    depth = torch.full((2, 64, 64), 40.0)
    torch.testing.assert_close(hollows(surface_of(depth), depth, LEVEL), torch.zeros(2 * 64 * 64), rtol=0, atol=1e-4)
    slope = 20 + 0.4 * torch.arange(64.0).expand(1, 64, 64)
    hollow = hollows(surface_of(slope), slope, LEVEL).view(64, 64)
    reach = math.ceil(0.12 * SIZE) + 1
    assert hollow[:, reach:-reach].abs().max() < 1e-4


def test_a_pit_is_a_hollow_and_a_bump_is_none():
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    bump = torch.exp(-(x * x + y * y) / (0.08 * SIZE) ** 2)
    depth = torch.stack((40 + 5 * bump, 40 - 5 * bump))
    hollow = hollows(surface_of(depth), depth, LEVEL).view(2, 64, 64)
    assert hollow[0, 31:33, 31:33].min() > 0.3
    assert hollow[1, 31:33, 31:33].max() == 0
    assert hollow.max() <= 1


# Softness


def masked(depth: float = 30.0) -> Tensor:
    """Depth of a disc in one sample and of a bar in the other."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    return torch.where(torch.stack((x * x + y * y < 400, y.abs() < 6)), depth, torch.inf)


def test_a_constant_light_stays_constant_under_the_skin():
    """To the very edge of the head: the background takes nothing away."""
    seen = surface_of(masked())
    light = torch.tensor([0.7, 0.5, 0.3]).expand(len(seen.pixel), 3)
    torch.testing.assert_close(scattered(light, seen, rng(1, 2), Appearance(softness=4), LEVEL), light)


def test_red_goes_farther_under_the_skin_than_blue_and_hair_keeps_its_light():
    depth = torch.full((1, 64, 64), 30.0)
    light = (torch.arange(64 * 64) % 64 < 32).float()[:, None].expand(-1, 3)
    soft = scattered(light, surface_of(depth), rng(2, 1), Appearance(softness=12), LEVEL).view(64, 64, 3)
    beyond = soft[20, 33]
    assert 0.01 < beyond[2] < beyond[1] < beyond[0] < 0.5
    torch.testing.assert_close(soft[20, 31] + soft[20, 32], torch.ones(3))  # what leaves one side arrives on the other
    hair = surface_of(depth, hair=True)
    assert torch.equal(scattered(light, hair, rng(2, 1), Appearance(softness=12), LEVEL), light)


def test_without_softness_the_light_stays_where_it_falls():
    seen = surface_of(masked())
    light = torch.rand(len(seen.pixel), 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(scattered(light, seen, rng(3, 2), Appearance(softness=0), LEVEL), light)


# All of it


def test_light_from_the_viewers_side_leaves_the_back_darker():
    normals = torch.tensor([[0.0, 0, -1], [0, 0, 1]])
    depth = torch.full((400, 1, 2), 10.0)
    seen = surface_of(depth)._replace(normal=normals.repeat(400, 1))
    light, shine = lights(seen, depth, rng(13, 400), Appearance(), Grid(64, 1, 2, 1.5))
    assert (light >= 0).all()
    assert (shine >= 0).all()
    front, back = light.view(400, 2, 3).unbind(1)
    assert front.mean() > 1.3 * back.mean()


@pytest.mark.parametrize("changes", [{"hard_light": 1.0}, {"soft_light": 1.0, "hard_light": 0.0}, {"soft_light": 0.0, "hard_light": 0.0}])
def test_every_kind_of_light_is_finite_and_not_negative(changes):
    depth = torch.cat((ball_over_plane()[0], masked()))
    seen = surface_of(depth)
    light, shine = lights(seen, depth, rng(14, 3), Appearance(**changes), LEVEL)
    for part in (light, shine):
        assert torch.isfinite(part).all()
        assert part.min() >= 0
    assert light.mean() > 0.1


def test_hard_light_has_more_contrast_than_soft_light():
    seen, depth = balls(200), torch.full((200, 20, 20), 40.0)
    grid = Grid(64, 20, 20, 1.5)
    hard, soft = (
        lights(seen, depth, rng(15, 200), Appearance(hard_light=hard, soft_light=1, shadows=0, softness=0), grid)[0].view(200, 400, 3).mean(2)
        for hard in (1.0, 0.0)
    )
    contrast = [(part.std(1) / part.mean(1)).median() for part in (hard, soft)]
    assert contrast[0] > 1.3 * contrast[1]


def test_shadows_darken_and_never_brighten():
    depth = ball_over_plane()[0].repeat(20, 1, 1)
    seen = surface_of(depth)
    with_them, without = (lights(seen, depth, rng(16, 20), Appearance(shadows=s, softness=0), LEVEL)[0] for s in (1.0, 0.0))
    assert (with_them <= without + 1e-6).all()
    darker = (with_them < without - 0.02).any(1).view(20, -1).float().mean(1)
    assert 0.005 < darker.median() < 0.5


def test_gloss_scales_what_shines():
    depth = ball_over_plane()[0]
    seen = surface_of(depth)
    (light, shine), (same, twice) = (lights(seen._replace(gloss=factor * seen.gloss), depth, rng(17, 1), Appearance(), LEVEL) for factor in (1.0, 2.0))
    assert torch.equal(light, same)
    torch.testing.assert_close(twice, 2 * shine)


def test_the_sky_is_brighter_from_above(monkeypatch):
    """A surface that looks up gets 1.25 of it, one that looks down 0.75."""
    nothing = Lamp(torch.tensor([[0.0, 0, -1]]).expand(5, 3), torch.zeros(5, 3), torch.zeros(5, 1))
    monkeypatch.setattr("vrn_lite.synth.render._lamp", lambda *_, **__: nothing)
    depth, normals = torch.full((5, 1, 2), 10.0), torch.tensor([[0.0, -1, 0], [0, 1, 0]])
    seen = surface_of(depth)._replace(normal=normals.repeat(5, 1))
    sky = Appearance(hard_light=0, soft_light=0, shadows=0, softness=0)
    up, down = lights(seen, depth, rng(18, 5), sky, Grid(64, 1, 2, 1.5))[0].view(5, 2, 3).unbind(1)
    torch.testing.assert_close(up / down, torch.full_like(up, 1.25 / 0.75))


def test_lamps_stand_above_and_on_the_viewers_side():
    off = torch.zeros(500, 1)
    x, y, z = _lamp(rng(19, 500), off, off, first=False).direction.mean(0).tolist()
    assert abs(x) < 0.1
    assert y < -0.2
    assert z < -0.4
