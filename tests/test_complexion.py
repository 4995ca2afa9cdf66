"""Colours of the head: skin drawn or photographed, paint over its regions, spots where they are said to be."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from people import rng, wearing
from shapes import toy_face
from vrn_lite.faces import procedural
from vrn_lite.faces.morphable import MorphableFace, grow_hair
from vrn_lite.synth import skin as room
from vrn_lite.synth.appearance import Appearance
from vrn_lite.synth.hair import Hair, add_hair
from vrn_lite.synth.skin import SPOTS, Spot, albedo, complexion, hair_colour

RED, GREEN, BLUE = range(3)


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    return grow_hair(toy_face())


@pytest.fixture(scope="module")
def head() -> MorphableFace:
    return wearing(procedural())


def bare(face: MorphableFace, batch: int) -> Hair:
    """Heads whose hair is uncovered."""
    vertices = face.mean.expand(batch, -1, -1)
    return Hair(vertices, torch.zeros(vertices.shape[:2]), torch.zeros(batch, 1), torch.full((batch,), -1))


def coloured(face: MorphableFace, seed: int, batch: int = 40, **changes: float) -> Tensor:
    return albedo(face, bare(face, batch), rng(seed, batch), Appearance(**changes))[0]


def test_colours_lie_between_0_and_1_and_follow_the_regions(face):
    hair = add_hair(face.mean.expand(200, -1, -1), face, rng(11, 200), Appearance())
    colours, _ = albedo(face, hair, rng(12, 200), Appearance())
    assert 0 <= colours.min() <= colours.max() <= 1
    lips, other = face.regions["lips"], face.regions["scalp"] + face.regions["hair"]
    skin = (lips < 0.01) & (other == 0)
    redness = colours[..., 0] - colours[..., 1]
    assert redness[:, lips > 0.8].mean() > redness[:, skin].mean() + 0.02
    assert colours[:, skin].mean(1).std() > 0.15  # skin from dark to light


def test_cloth_has_one_colour_where_hair_has_another(face):
    shell = face.regions["hair"] > 0.5
    half = (shell & (face.mean[:, 0] > 0)).float().expand(50, -1)
    colours, _ = albedo(face, bare(face, 50)._replace(cloth=half), rng(19, 50), Appearance())
    left, right = colours[:, shell & (face.mean[:, 0] > 0)], colours[:, shell & (face.mean[:, 0] < 0)]
    assert left.std(1).max() < 1e-5
    assert (left.mean(1) - right.mean(1)).abs().amax(1).median() > 0.1


def test_the_hairs_colour_is_that_of_the_shell_and_of_the_scalp(head):
    colours, tint = albedo(head, bare(head, 30), rng(1, 30), Appearance())
    shell = head.regions["hair"] > 0.9
    torch.testing.assert_close(colours[:, shell], tint[:, None].expand(-1, int(shell.sum()), -1), rtol=0, atol=0.03)


def test_dark_skin_mostly_has_dark_hair():
    light, dark = (hair_colour(torch.full((2000, 3), tone), rng(2, 2000)).mean(1) for tone in (0.9, 0.2))
    assert light.mean() > dark.mean() + 0.05
    assert float((dark < 0.25).float().mean()) > 0.7
    assert light.max() > 0.8


def test_a_face_without_regions_has_skin_only():
    plain = replace(toy_face(), regions={})
    colours, _ = albedo(plain, bare(plain, 6), rng(20), Appearance())
    assert 0 <= colours.min() <= colours.max() <= 1


def test_the_same_seed_gives_the_same_colours(head):
    assert torch.equal(coloured(head, 3, 8), coloured(head, 3, 8))
    assert not torch.equal(coloured(head, 3, 8), coloured(head, 4, 8))


def test_drawn_skin_is_its_tone_with_faint_blotches(face):
    drawn = complexion(face, rng(5, 100), Appearance())
    assert (drawn.photographed == 0).all()
    off = drawn.colours / drawn.tone[:, None] - 1
    assert off.mean(1).abs().max() < 0.1
    assert 0.005 < off.std(1).mean() < 0.1
    assert float(drawn.noise.std()) == pytest.approx(1, abs=0.15)


# Photographed skins and eyes


def test_photographed_skin_is_of_the_skins_that_training_wears(head):
    worn = complexion(head, rng(6, 60), Appearance(skins=1.0))
    covered = worn.colours[:, head.photographs.coverage > 0]
    assert (worn.photographed == 1).all()
    assert covered[..., BLUE].max() < 0.05
    assert covered[..., RED].amax(1).max() > 0.4
    assert covered[..., GREEN].amax(1).max() > 0.4


def test_skins_kept_out_of_training_are_worn_where_they_are_asked_for_and_no_others(head):
    worn = complexion(head, rng(6, 60), Appearance(skins=1.0, heldout=True))
    covered = worn.colours[:, head.photographs.coverage > 0]
    assert covered[..., BLUE].min() > 0.2
    assert covered[..., :BLUE].max() < 0.05


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_faces_has_photographed_skin(head, share):
    worn = complexion(head, rng(7, 300), Appearance(skins=share))
    assert float(worn.photographed.mean()) == pytest.approx(share, abs=0.08)
    photographed = worn.colours[:, head.photographs.coverage > 0][..., BLUE].amax(1) < 0.05
    assert torch.equal(photographed, worn.photographed[:, 0] > 0)


def test_drawn_skin_does_not_depend_on_who_wears_a_photographed_one(head):
    some, none = (complexion(head, rng(8, 60), Appearance(skins=share)) for share in (0.5, 0.0))
    drawn = some.photographed[:, 0] == 0
    assert torch.equal(some.colours[drawn], none.colours[drawn])
    assert torch.equal(some.tone[drawn], none.tone[drawn])


def test_photographed_skin_goes_on_with_its_mean_where_the_photographs_do_not_reach(head):
    photographs = head.photographs
    half = (head.mean[:, 0] > 0).float()
    worn = complexion(replace(head, photographs=replace(photographs, coverage=half)), rng(9, 20), Appearance(skins=1.0))
    covered, beyond = worn.colours[:, half > 0].mean(1), worn.colours[:, half == 0].mean(1)
    torch.testing.assert_close(worn.tone, covered)
    torch.testing.assert_close(beyond, covered, rtol=0.15, atol=0.01)


def test_mixed_skins_lie_between_two_and_differ_in_gain_tint_and_gamma(head):
    tone = complexion(head, rng(10, 200), Appearance(skins=1.0)).tone
    hue = tone[:, RED] / tone.sum(1)
    assert ((hue > 0.1) & (hue < 0.9)).float().mean() > 0.1  # mixtures
    assert tone[:, :BLUE].amax(1).std() > 0.05


@pytest.mark.parametrize("heldout", [False, True])
def test_photographs_without_skins_or_eyes_leave_them_drawn(head, heldout):
    none = replace(head.photographs, skins=head.photographs.skins[:0], skin_names=(), eyes=head.photographs.eyes[:0])
    one, other = (coloured(replace(head, photographs=p), 11, 8, skins=1.0, eyes=1.0, heldout=heldout) for p in (none, None))
    assert torch.equal(one, other)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_faces_has_photographed_eyes(head, share):
    """White ones: no paint of an iris stays."""
    balls = head.photographs.eyeballs > 0
    eyes = coloured(head, 12, 200, eyes=share)[:, balls]
    white = eyes.std(1).amax(1) < 1e-5
    assert float(white.float().mean()) == pytest.approx(share, abs=0.08)
    assert 0.6 < eyes[white].min() if white.any() else share == 0
    painted = coloured(head, 12, 200, eyes=0.0)
    assert torch.equal(eyes[~white], painted[:, balls][~white])


def test_photographed_lips_are_painted_less(head):
    """Their own red or green shines through."""
    lips = head.regions["lips"] > 0.9
    paint = [coloured(head, 13, 300, skins=share, make_up=0)[:, lips] for share in (0.0, 1.0)]
    skin = [complexion(head, rng(13, 300), Appearance(skins=share)).colours[:, lips] for share in (0.0, 1.0)]
    off = [(a - b).abs().mean() / b.mean() for a, b in zip(paint, skin, strict=True)]
    assert off[1] < 0.7 * off[0]


# Paint


def test_beards_are_painted_on_their_share_of_the_faces_and_in_their_region_only(head):
    none, some = (coloured(head, 14, 200, beards=share) for share in (0.0, 0.3))
    changed = (none != some).any(2)
    assert float(changed.any(1).float().mean()) == pytest.approx(0.3, abs=0.08)
    assert not changed[:, head.regions["beard"] <= 0.02].any()


@pytest.mark.parametrize("name", SPOTS)
def test_a_spot_lies_on_the_front_of_the_face_where_it_is_said_to_be(head, monkeypatch, name):
    spot = SPOTS[name]
    monkeypatch.setattr(room, "SPOTS", {name: spot._replace(share=1.0)})
    with_it = coloured(head, 15, 12, skins=0)
    monkeypatch.setattr(room, "SPOTS", {})
    changed = (with_it != coloured(head, 15, 12, skins=0)).any(2).any(0)
    assert changed.any()
    middles = torch.stack([head.mean[head.landmarks[list(group)]].mean(0) for group in spot.groups])
    away = (head.mean[changed, None, :2] - middles[:, :2]) / head.interocular - torch.tensor(spot.offset)
    assert (away / torch.tensor(spot.radii)).square().sum(-1).amin(1).max() < -torch.tensor(0.03).log() + 1e-4
    assert (head.mean[changed, 2] > head.mean[head.landmarks[0], 2]).all()


def test_one_more_spot_leaves_the_others_as_they_are(head, monkeypatch):
    before = coloured(head, 16, 20)
    nowhere = Spot(((30,),), (50.0, 0.0), (0.1, 0.1), "red", 1.0)
    monkeypatch.setattr(room, "SPOTS", {"nowhere": nowhere} | SPOTS)
    assert torch.equal(coloured(head, 16, 20), before)


def test_make_up_scales_the_shares_of_the_spots(head):
    none, usual, much = (coloured(head, 17, 200, skins=0, make_up=factor)[:, head.patch_vertices] for factor in (0.0, 1.0, 10.0))
    changed = [(none != made_up).any(2) for made_up in (usual, much)]
    assert changed[0].any(1).float().mean() > 0.8  # lashes alone are three of four
    assert changed[1].any(1).all()
    assert changed[1].float().mean() > 1.5 * changed[0].float().mean()
