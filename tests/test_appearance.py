"""What is drawn by chance: shares and ranges, and random numbers in named streams."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from people import card, rng, wearing
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import Grid, InputError
from vrn_lite.presets import NetworkSize, Preset
from vrn_lite.samples import FacePairs, PoseRange, make_pairs
from vrn_lite.synth import background, degradations, occluders
from vrn_lite.synth.appearance import CLOTH, DARK_HAIR, HAIR, IRIS, LIPS, MAKEUP, SKIN, Appearance, Rng, palette

DRAWS = {
    "uniform": lambda r: r.uniform(2, 5, 3),
    "uniform01": lambda r: r.uniform01(2, 2),
    "normal": lambda r: r.normal(4),
    "bernoulli": lambda r: r.bernoulli(0.4, 2),
    "index": lambda r: r.index(7),
    "colour": lambda r: r.colour(SKIN, 0.1),
    "field": lambda r: r.field(3, 10, 12, 4),
    "wide field": lambda r: r.field(1, 4, 20, 2, 9),
    "dense uniform": lambda r: r.dense_uniform01(5),
    "dense normal": lambda r: r.dense_normal(3, 2),
}
SMALL = Preset("small", Grid(32, 48, 48, 1.5), NetworkSize(stem=2, levels=3, features=16, modules=1))
FRONT = PoseRange(yaw=40, pitch=10, angle=10, shift=0, zoom=0, mirror=0)


@pytest.fixture(scope="module")
def face() -> MorphableFace:
    bare = wearing()
    return wearing(bare, card(bare), card(bare, name="held-out card"))


def pictures(face: MorphableFace, seed: int = 0, batch: int = 16, **changes: float) -> FacePairs:
    generator = torch.Generator().manual_seed(seed)
    return make_pairs(face, SMALL, batch, generator, poses=FRONT, appearance=Appearance(**changes))


def differing(one: FacePairs, other: FacePairs) -> Tensor:
    """Which pictures differ, ``[b]``."""
    return (one.images != other.images).flatten(1).any(1)


# Random numbers in named streams


@pytest.mark.parametrize("name", DRAWS)
def test_one_seed_and_one_name_give_the_same_numbers(name):
    draw = DRAWS[name]
    assert torch.equal(draw(rng(3).stream("a")), draw(rng(3).stream("a")))
    for other in (rng(3).stream("b"), rng(4).stream("a"), rng(3)):
        assert not torch.equal(draw(rng(3).stream("a")), draw(other))


@pytest.mark.parametrize("name", DRAWS)
def test_drawing_more_from_one_stream_moves_no_other(name):
    used, fresh = rng(5), rng(5)
    DRAWS[name](used), DRAWS[name](used.stream("a")), DRAWS[name](used.stream("b").stream("c"))
    assert torch.equal(used.stream("c").normal(9), fresh.stream("c").normal(9))
    assert torch.equal(used.stream("b").stream("d").normal(9), fresh.stream("b").stream("d").normal(9))


@pytest.mark.parametrize("name", ["skins", "shadows", "glasses", "rough"])
def test_a_share_above_one_is_refused(name):
    with pytest.raises(InputError, match=f"{name} is a share of the images, from 0 to 1, got 1.5"):
        Appearance(**{name: 1.5})


def test_streams_within_streams_have_names_of_their_own():
    drawn = [rng(6).stream("a").stream("b"), rng(6).stream("b").stream("a"), rng(6).stream("a b"), rng(6).stream("b")]
    assert torch.pdist(torch.stack([r.normal(3).flatten() for r in drawn])).min() > 0.1


@pytest.mark.parametrize("name", DRAWS)
def test_a_sample_has_the_same_numbers_whoever_is_chosen_with_it(name):
    whole = DRAWS[name](rng(7, 9))
    some = rng(7, 9).only(torch.tensor([1, 4, 8]))
    assert torch.equal(DRAWS[name](some), whole[[1, 4, 8]])
    assert torch.equal(DRAWS[name](rng(7, 9).only(torch.tensor([1, 4, 8])).only(torch.tensor([2]))), whole[[8]])
    assert len(DRAWS[name](rng(7, 9).only(torch.tensor([], dtype=torch.long)))) == 0


def test_a_batch_is_drawn_from_a_generator_of_whose_state_it_takes_one_number():
    generator = torch.Generator().manual_seed(8)
    one, other = Rng.of(generator, 4, "cpu"), Rng.of(generator, 4, "cpu")
    assert one.seed != other.seed
    assert torch.equal(one.normal(2), Rng.seeded(one.seed, 4, "cpu").normal(2))
    plain = torch.Generator().manual_seed(8)
    torch.randint(2**62, (2,), generator=plain)
    assert torch.equal(torch.rand(3, generator=plain), torch.rand(3, generator=generator))


def test_shapes_and_ranges_are_as_asked():
    many = rng(9, batch=4000)
    assert many.uniform(2, 5, 3).shape == (4000, 3)
    assert 2 <= many.uniform(2, 5).min() < 2.01
    assert 4.99 < many.uniform(2, 5).max() <= 5
    assert float(many.normal(4).std()) == pytest.approx(1, abs=0.03)
    assert float(many.dense_normal(4).std()) == pytest.approx(1, abs=0.03)
    assert many.index(7).unique().tolist() == list(range(7))
    assert many.field(1, 4, 4, 2).abs().max() <= 1
    assert many.field(3, 10, 12, 4).shape == (4000, 3, 10, 12)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_things_come_as_often_as_is_said(share):
    drawn = rng(10, 4000).bernoulli(share, 2)
    assert drawn.shape == (4000, 2)
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert float(drawn.mean()) == pytest.approx(share, abs=0.02)
    index, some = rng(10, 4000).subset(share)
    assert len(index) == len(some.normal()) == pytest.approx(4000 * share, abs=100)
    assert bool((index[1:] > index[:-1]).all())


def test_a_larger_share_holds_whom_a_smaller_one_does():
    few, many = (rng(11, 500).subset(share)[0].tolist() for share in (0.2, 0.6))
    assert set(few) < set(many)


def test_palettes_are_read_from_hexadecimal_digits():
    assert palette("ff0080 000000") == [(1.0, 0.0, 128 / 255), (0.0, 0.0, 0.0)]
    for colours in (SKIN, HAIR, DARK_HAIR, IRIS, LIPS, MAKEUP, CLOTH):
        assert all(0 <= channel <= 1 for colour in colours for channel in colour)


def test_colours_lie_in_their_palettes_hull_and_a_little_around():
    red = rng(12, 2000).colour([(0.5, 0, 0), (0.9, 0, 0)], 0.1)
    assert (red[:, 1:] == 0).all()
    assert 0.35 < red[:, 0].min() < 0.5
    assert 0.9 < red[:, 0].max() <= 1


# Shares and ranges


@pytest.mark.parametrize("name", [field.name for field in fields(Appearance) if field.name != "heldout"])
def test_a_negative_share_is_refused(name):
    with pytest.raises(InputError, match=f"{name} must not be negative, got -1"):
        Appearance(**{name: -1})


CHANCES = [field.name for field in fields(Appearance) if field.name not in ("heldout", "shadows", "softness")]
FACTORS = ("make_up", "clothes", "occluders", "degradations", "surroundings")


@pytest.mark.parametrize("name", [field.name for field in fields(Appearance)])
def test_every_field_changes_pictures_and_nothing_else(face, name):
    none, all_ = (False, True) if name == "heldout" else (0.0, 1.0)
    one, other = (pictures(face, **{name: value}) for value in (none, all_))
    assert differing(one, other).any()
    for part in ("volumes", "landmarks", "yaw", "pitch", "mirrored"):
        assert torch.equal(getattr(one, part), getattr(other, part)), part
    bare = torch.ones(one.truth.vertices.shape[1], dtype=torch.bool)
    bare[: len(face.mean)] = face.regions["hair"] == 0
    assert torch.equal(one.truth.vertices[:, bare], other.truth.vertices[:, bare])


@pytest.mark.parametrize("name", [name for name in CHANCES if name not in FACTORS])
def test_a_picture_either_has_a_thing_or_has_it_not(face, name):
    """At any share it is the picture of share 0 or that of share 1, and as often as is said."""
    never, always, half = (pictures(face, 1, 24, **{name: share}) for share in (0.0, 1.0, 0.5))
    with_it, without = ~differing(half, always), ~differing(half, never)
    assert (with_it | without).all()
    assert 0.2 < (~without).float().mean() < 0.8 if differing(never, always).all() else (~without).any()


@pytest.mark.parametrize("name", FACTORS)
def test_switching_a_thing_off_leaves_pictures_that_had_none_of_it(face, name):
    """A small factor leaves it to a few pictures; the others are those without."""
    off, few = (pictures(face, 2, **{name: factor}) for factor in (0.0, 0.15))
    changed = differing(off, few)
    assert 0 < changed.sum() < len(changed)


@pytest.mark.parametrize(("name", "share"), [("glasses", 0.18), ("hats", 0.1), ("occluders", 0.21), ("bald", 0.08)])
def test_what_is_seldom_worn_changes_few_pictures_when_it_is_switched_off(face, name, share):
    default, off = pictures(face, 3, 64), pictures(face, 3, 64, **{name: 0.0})
    assert float(differing(default, off).float().mean()) == pytest.approx(share, abs=0.13)


def test_plain_pictures_draw_nothing_by_chance(face, monkeypatch):
    def never(*_):
        raise AssertionError("drawn by chance in a plain picture")

    for room, table in ((background, "LAYERS"), (degradations, "DEGRADATIONS")):
        monkeypatch.setattr(room, table, tuple(row._replace(change=never) for row in getattr(room, table)))
    monkeypatch.setattr(occluders, "OCCLUDERS", tuple(row._replace(outline=never) for row in occluders.OCCLUDERS))
    for name in ("glasses", "shoulders"):
        drawn = getattr(__import__("vrn_lite.synth.render", fromlist=["render"]), name)
        monkeypatch.setattr(f"vrn_lite.synth.render.{name}", unchanged(drawn))
    plain = Appearance.plain()
    assert all(getattr(plain, name) == 0 for name in CHANCES if name not in ("skins", "eyes", "soft_light"))
    make_pairs(face, SMALL, 8, torch.Generator().manual_seed(4), appearance=plain)


def unchanged(change):
    """A change of images that must not change any."""

    def checked(images: Tensor, *others: object, **named: object) -> Tensor:
        after = change(images.clone(), *others, **named)
        assert torch.equal(after, images)
        return after

    return checked


def test_plain_pictures_are_the_same_for_the_same_seed(face):
    one, again, other = (make_pairs(face, SMALL, 4, torch.Generator().manual_seed(seed), appearance=Appearance.plain()).images for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


# One more row


def hungry(images: Tensor, numbers: Rng) -> Tensor:
    """Draws many numbers and changes nothing."""
    numbers.normal(50), numbers.dense_normal(50)
    return images


def nowhere(grid: Grid, numbers: Rng) -> tuple[Tensor, Tensor, Tensor]:
    """An outline far outside the picture."""
    place = 1e4 + numbers.uniform01(1, 2)
    return place, place, torch.ones(len(place), 1)


ROWS = {
    "LAYERS": (background, background.Layer(1.0, hungry, 2)),
    "DEGRADATIONS": (degradations, degradations.Degradation(1.0, 1.0, hungry)),
    "OCCLUDERS": (occluders, occluders.Occluder("nowhere", 1.0, nowhere, SKIN)),
}


@pytest.mark.parametrize("place", [0, 2, None], ids=["first", "third", "last"])
@pytest.mark.parametrize("table", ROWS)
def test_one_more_row_leaves_everything_else_bit_for_bit(face, monkeypatch, table, place):
    room, row = ROWS[table]
    before, rows = pictures(face, 7), list(getattr(room, table))
    rows.insert(len(rows) if place is None else place, row)
    monkeypatch.setattr(room, table, tuple(rows))
    after = pictures(face, 7)
    assert torch.equal(before.images, after.images)
    assert torch.equal(before.truth.vertices, after.truth.vertices)


@pytest.mark.parametrize("table", ROWS)
def test_one_row_less_changes_only_the_pictures_that_had_it(face, monkeypatch, table):
    room, _ = ROWS[table]
    before, rows = pictures(face, 8, 32, occluders=1.5), getattr(room, table)
    monkeypatch.setattr(room, table, rows[1:])
    changed = differing(before, pictures(face, 8, 32, occluders=1.5))
    assert 0 < changed.sum() < len(changed)


def test_rows_have_names_of_their_own():
    for names in (
        [row.name for row in occluders.OCCLUDERS],
        [row.change.__name__ for row in background.LAYERS],
        [row.change.__name__ for row in degradations.DEGRADATIONS],
    ):
        assert len(set(names)) == len(names)


def test_an_appearance_is_changed_in_copies():
    assert replace(Appearance(), glasses=1.0) == Appearance(glasses=1.0) != Appearance()
