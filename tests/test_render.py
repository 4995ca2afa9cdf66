from dataclasses import replace

import pytest
import torch

from shapes import icosphere, torus, toy_face
from vrn_lite.dice import SKIN, Dice
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.frame import Grid
from vrn_lite.raster import nearest, rasterize
from vrn_lite.render import albedo, render, shade, vertex_normals
from vrn_lite.wardrobe import Outfit, dress

GRID = Grid(32, 40, 48, 1.5)


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    return grow_hair(toy_face())


def dice(seed: int = 0, batch: int = 6) -> Dice:
    return Dice.of(torch.Generator().manual_seed(seed), batch, "cpu")


def rendered(face: MorphableFace, seed: int, scale: float = 2.0):
    vertices = scale * face.mean * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([24.0, 20.0, 20.0])
    vertices = vertices.expand(6, -1, -1)
    seen = nearest(rasterize(vertices, face.triangles, GRID.height, GRID.width))
    outfit = dress(face.mean.expand(6, -1, -1), face, dice(seed))
    return seen, render(seen, vertices, face, outfit, vertices[:, face.landmarks], GRID, dice(seed))


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


def test_the_face_is_painted_exactly_on_its_fragments(face, monkeypatch):
    """With a black background, white skin and a perfect camera, the image is the silhouette."""
    monkeypatch.setattr("vrn_lite.render.background", lambda grid, dice: torch.zeros(6, 3, 40, 48))
    monkeypatch.setattr("vrn_lite.render.shoulders", lambda images, *_: images)
    monkeypatch.setattr("vrn_lite.render.occlude", lambda images, *_: images)
    monkeypatch.setattr("vrn_lite.render.photograph", lambda images, _: images)
    monkeypatch.setattr("vrn_lite.render.glasses", lambda images, *_: images)
    monkeypatch.setattr("vrn_lite.render.shade", lambda colours, *_: torch.ones_like(colours))
    seen, images = rendered(face, 6)
    silhouette = torch.zeros(6 * 40 * 48, dtype=torch.bool)
    silhouette[seen.pixel] = True
    assert torch.equal(images.amax(1).flatten() > 0, silhouette)


def test_dice_give_one_value_or_more_per_sample():
    d = dice(7, batch=2000)
    assert d.uniform(2, 5, 3).shape == (2000, 3)
    assert 2 <= d.uniform(2, 5).min() < d.uniform(2, 5).max() <= 5
    assert float(d.chance(0.2).mean()) == pytest.approx(0.2, abs=0.03)
    assert float(d.normal(4).std()) == pytest.approx(1, abs=0.03)
    assert d.pick(SKIN, 0.1).shape == (2000, 3)
    assert d.field(3, 10, 12, 4).shape == (2000, 3, 10, 12)
    assert d.field(1, 4, 4, 2).abs().max() <= 1


def test_dense_noise_is_seeded_from_the_dice():
    assert torch.equal(dice(8).field(1, 9, 9, 3), dice(8).field(1, 9, 9, 3))
    one, other = dice(8), dice(9)
    assert not torch.equal(one.field(1, 9, 9, 3), other.field(1, 9, 9, 3))


@pytest.mark.parametrize("solid", [icosphere(3.0, 3), torus(3.0, 1.0)], ids=["ball", "torus"])
def test_normals_have_unit_length_and_point_outward(solid):
    vertices, triangles = solid
    normals = vertex_normals(vertices.expand(2, -1, -1), triangles)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(2, len(vertices)))
    radial = vertices if vertices.norm(dim=1).std() < 0.01 else vertices - 3 * torch.nn.functional.normalize(vertices * torch.tensor([1.0, 1, 0]), dim=1)
    assert ((normals * torch.nn.functional.normalize(radial, dim=1)).sum(-1) > 0.99).all()


def test_normals_of_a_batch_are_those_of_its_meshes():
    vertices, triangles = icosphere(3.0, 2)
    batch = torch.stack([vertices, vertices * torch.tensor([1.0, 2.0, 0.5])])
    torch.testing.assert_close(vertex_normals(batch, triangles)[1:], vertex_normals(batch[1:], triangles))


def test_colours_lie_between_0_and_1_and_follow_the_regions(face):
    colours = albedo(face, dress(face.mean.expand(200, -1, -1), face, dice(11, batch=200)), dice(12, batch=200))
    assert 0 <= colours.min() <= colours.max() <= 1
    lips, skin = face.regions["lips"] > 0.8, (face.regions["lips"] < 0.01) & (face.regions["scalp"] == 0) & (face.regions["hair"] == 0)
    redness = colours[..., 0] - colours[..., 1]
    assert redness[:, lips].mean() > redness[:, skin].mean() + 0.02
    assert colours[:, skin].mean(1).std() > 0.15  # skin from dark to light


def test_cloth_has_one_colour_where_hair_has_another(face):
    shell = face.regions["hair"] > 0.5
    half = (shell & (face.mean[:, 0] > 0)).float().expand(50, -1)
    colours = albedo(face, Outfit(face.mean.expand(50, -1, -1), half, torch.zeros(50, 1)), dice(19, batch=50))
    left, right = colours[:, shell & (face.mean[:, 0] > 0)], colours[:, shell & (face.mean[:, 0] < 0)]
    assert left.std(1).max() < 1e-5
    assert (left.mean(1) - right.mean(1)).abs().amax(1).median() > 0.1


def test_a_face_without_regions_has_skin_only():
    plain = replace(toy_face(), regions={})
    colours = albedo(plain, dress(plain.mean.expand(6, -1, -1), plain, dice(20)), dice(20))
    assert 0 <= colours.min() <= colours.max() <= 1


def test_light_from_the_viewer_side_leaves_the_back_darker():
    d = dice(13, batch=400)
    normals = torch.tensor([[0.0, 0, -1], [0, 0, 1]]).repeat_interleave(400, 0)
    lit = shade(torch.full((800, 3), 0.5), normals, torch.arange(400).repeat(2), d)
    assert (lit >= 0).all()
    assert lit[:400].mean() > 1.3 * lit[400:].mean()
