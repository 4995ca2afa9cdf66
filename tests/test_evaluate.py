"""The held-out set and the table that an evaluation gives."""

import json
import math
import weakref
from dataclasses import replace

import pytest
import torch

from vrn_lite.evaluation.evaluate import (
    SCORES,
    Asked,
    Method,
    Row,
    Table,
    compare,
    evaluate,
    front_slices,
    samples,
    summary,
)
from vrn_lite.evaluation.predictors import Answer, by_guided, told
from vrn_lite.evaluation.testsets import CHUNK, heldout, heldout_seed
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.vrn import VRN, LandmarkHourglass, UnalignedVRN
from vrn_lite.presets import PRESETS
from vrn_lite.samples import NO_JITTER, make_pairs, unaligned
from vrn_lite.training.data import step_seed


@pytest.fixture(scope="module")
def pairs(ict_face):
    return next(heldout(ict_face, 16, preset="tiny"))


@pytest.fixture(scope="module")
def bounds(ict_face):
    return evaluate(None, ict_face, n=6, preset="tiny")


def drawn(monkeypatch, make):
    """Identity coefficients that `make` draws."""
    seen = []
    draw = MorphableFace.draw_identity

    def spy(self, generator, *batch):
        seen.append(draw(self, generator, *batch))
        return seen[-1]

    monkeypatch.setattr(MorphableFace, "draw_identity", spy)
    make()
    monkeypatch.undo()
    return torch.cat(seen)


def test_the_set_is_reproducible_and_differs_by_seed(ict_face, pairs):
    again = next(heldout(ict_face, 16, preset="tiny"))
    assert torch.equal(again.images, pairs.images)
    assert torch.equal(again.volumes, pairs.volumes)
    assert not torch.equal(next(heldout(ict_face, 16, seed=1, preset="tiny")).yaw, pairs.yaw)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(ict_face, pairs):
    small = list(heldout(ict_face, CHUNK + 3, preset="tiny"))
    assert [len(part) for part in small] == [CHUNK, 3]
    assert torch.equal(small[0].images, pairs.images)
    assert len(small[1].truth.vertices) == len(small[1].camera.scale) == len(small[1].yaw) == 3
    assert torch.equal(small[1].mesh(2).vertices[small[1].truth.landmarks], small[1].landmarks[2])


def test_every_preset_shows_the_same_heads(ict_face, pairs):
    lite = next(heldout(ict_face, 16, preset="lite"))
    assert torch.equal(lite.yaw, pairs.yaw)
    back = [part.camera.inverse()(part.truth.vertices[:, ict_face.patch_vertices]) for part in (pairs, lite)]
    torch.testing.assert_close(*back, atol=2e-4, rtol=0)


def test_poses_are_within_range_and_nothing_is_jittered(ict_face):
    parts = list(heldout(ict_face, 48, preset="tiny"))
    yaw, pitch = torch.cat([part.yaw for part in parts]), torch.cat([part.pitch for part in parts])
    assert -90 <= yaw.min() < -60
    assert 60 < yaw.max() <= 90
    assert pitch.abs().max() <= 40
    assert 10 < pitch.std() < 20
    assert not any(part.mirrored.any() for part in parts)
    low, high = parts[0].landmarks[..., :2].amin(1), parts[0].landmarks[..., :2].amax(1)
    torch.testing.assert_close((low + high) / 2, torch.full((16, 2), 16.0), atol=1e-3, rtol=0)
    torch.testing.assert_close((high - low).prod(-1).sqrt(), torch.full((16,), 15.0), atol=1e-3, rtol=0)


def test_held_out_identities_never_occur_in_training(ict_face, monkeypatch):
    test = drawn(monkeypatch, lambda: list(heldout(ict_face, 32, preset="tiny")))

    def train():
        for seed, step in ((0, 0), (0, 1), (1, 0), (2017, 0)):
            make_pairs(ict_face, "tiny", 16, torch.Generator().manual_seed(step_seed(seed, 0, step)), poses=NO_JITTER)

    training = drawn(monkeypatch, train)
    assert torch.cdist(test, training).min() > 1
    assert torch.pdist(torch.cat([test, training])).min() > 1


def test_held_out_seeds_differ_from_training_in_the_bits_that_count():
    same = [torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist() for seed in (7, 7 + 2**32)]
    assert same[0] == same[1], "this PyTorch reads more than 32 bits: the rule below may be relaxed"
    last_of_training = max(step_seed(seed, rank, step) for seed in (0, 2017, 50_000) for rank in range(3) for step in range(100))
    assert last_of_training < 2**31 <= min(heldout_seed(seed, chunk) for seed in (0, 2017, 50_000) for chunk in range(100))
    assert max(heldout_seed(seed, 999) for seed in (0, 2017, 50_000)) < 2**32


def test_the_camera_leads_from_the_model_to_the_truth(ict_face):
    """Half a turn in depth: `camera` undone gives back heads whose wall is flat in z."""
    jittered = make_pairs(ict_face, "tiny", 4, torch.Generator().manual_seed(0))
    vertices = jittered.camera.inverse()(jittered.truth.vertices)
    wall = vertices[:, -len(ict_face.closing.rim) :, 2]
    assert (wall.amax(1) - wall.amin(1)).max() < 1e-4
    torch.testing.assert_close(vertices[:, ict_face.landmarks, 2].mean(1) - wall.mean(1), torch.full((4,), ict_face.interocular), atol=1e-3, rtol=0)


def test_oracle_is_below_the_mean_face_and_both_are_small(bounds):
    oracle, mean = bounds.of("oracle").mean(), bounds.of("mean face").mean()
    assert oracle["iou"] == oracle["iou_front"] == 1
    assert oracle["nme"] < 0.05 < mean["nme"] < 0.12
    assert 0.7 < mean["iou"] < 0.95
    assert mean["nme_rigid"] < mean["nme"]


def test_front_slices_lie_before_the_pivot():
    for preset in PRESETS.values():
        count, grid = front_slices(preset.grid), preset.grid
        assert (count - 0.5) / grid.depth_scale < grid.centre[2] <= (count + 0.5) / grid.depth_scale
    assert front_slices(PRESETS["paper"].grid) == 96


def test_an_untrained_network_is_scored_without_a_crash(ict_face):
    network = VRN("tiny").eval()
    with torch.no_grad():
        network.head[-1].bias.fill_(-20)
        network.head[-1].weight.zero_()
    table = evaluate(network, ict_face, n=2, bounds=False)
    assert table.methods == ("network",)
    assert all(row.iou == 0 and math.isinf(row.nme) for row in table.rows)


def test_a_network_that_knows_the_truth_scores_as_the_oracle(ict_face, pairs, bounds):
    class Oracle(VRN):
        def predict(self, images, landmarks=None):
            return Prediction(logits=50.0 * (pairs.volumes[: len(images)].float() - 0.5))

    table = evaluate(Oracle("tiny").eval(), ict_face, n=6, bounds=False, average=False)
    assert table.of("network").mean()["nme"] == pytest.approx(bounds.of("oracle").mean()["nme"], rel=0.01)
    assert table.of("network").mean()["iou"] == 1


class Knowing(UnalignedVRN):
    """An unaligned network that knows the frontal volumes of the held-out set's first faces."""

    def __init__(self, pairs, unit):
        super().__init__("tiny")
        self.volumes = unaligned(pairs, unit, self.preset.grid).volumes
        self.eval()

    def predict(self, images, landmarks=None):
        return Prediction(logits=50.0 * (self.volumes[: len(images)].float() - 0.5))


class Told(LandmarkHourglass):
    """A detector that knows the landmarks of the held-out set's first faces, up to an offset in pixels."""

    def __init__(self, pairs, offset=0.0):
        super().__init__("tiny")
        self.truth = pairs.landmarks[..., :2] + torch.tensor([offset, 0.0])
        self.eval()

    def landmarks(self, images):
        return self.truth[: len(images)]


def test_an_unaligned_network_that_knows_the_truth_scores_as_the_oracle_in_both_frames(ict_face, pairs, bounds):
    table = evaluate(Knowing(pairs, ict_face.interocular), ict_face, n=6, bounds=False, average=False)
    assert table.methods == ("network", "put back")
    frontal, moved, oracle = table.of("network").mean(), table.of("put back").mean(), bounds.of("oracle").mean()
    assert frontal["iou"] == 1
    assert frontal["nme"] == pytest.approx(oracle["nme"], abs=0.01)
    assert moved["nme"] == pytest.approx(oracle["nme"], abs=0.01)
    assert moved["iou"] > 0.9
    assert math.isnan(moved["landmark_nme"])


def test_a_detector_that_knows_the_truth_guides_as_the_truth_does(ict_face, pairs):
    table = evaluate(build("guided", "tiny").eval(), ict_face, detector=Told(pairs), n=3, bounds=False, average=False)
    assert table.methods == ("network", "true landmarks")
    assert [replace(row, method="network") for row in table.of("true landmarks").rows] == list(table.of("network").rows)
    assert table.mean()["landmark_nme"] == 0


def test_a_detector_of_another_size_looks_at_the_same_faces_at_its_own(ict_face, pairs):
    lite = next(heldout(ict_face, 16, preset="lite"))
    seen = []

    class Larger(LandmarkHourglass):
        def landmarks(self, images):
            seen.append(tuple(images.shape))
            return lite.landmarks[: len(images), :, :2]

    asked = Asked(ict_face, "heldout", 16, 2017, Larger("lite").eval(), False, False)
    found = next(samples(asked, PRESETS["tiny"]))
    assert seen == [(16, 3, 64, 64)]
    assert torch.equal(found.images, pairs.images)
    torch.testing.assert_close(told(found), pairs.landmarks[..., :2], atol=1e-3, rtol=0)


def test_rows_do_not_depend_on_the_number_of_threads_and_come_in_order(ict_face, monkeypatch):
    monkeypatch.setattr("vrn_lite.evaluation.testsets.CHUNK", 2)
    network, threads, tables = VRN("tiny").eval(), torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            tables.append(evaluate(network, ict_face, n=7, average=False))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    alone, together = tables
    assert [row.sample for row in together.of("network").rows] == list(range(7))
    assert [(row.method, row.sample) for row in alone.rows] == [(row.method, row.sample) for row in together.rows]
    for name in SCORES:
        assert torch.allclose(alone.column(name), together.column(name), atol=1e-5, equal_nan=True)


def test_with_one_thread_no_batch_is_held_while_the_next_is_made(ict_face, monkeypatch):
    made, held = [], []

    def spy(*arguments, **options):
        held.append(sum(volumes() is not None for volumes in made))
        pairs = make_pairs(*arguments, **options)
        made.append(weakref.ref(pairs.volumes))
        return pairs

    monkeypatch.setattr("vrn_lite.evaluation.testsets.CHUNK", 2)
    monkeypatch.setattr("vrn_lite.evaluation.testsets.make_pairs", spy)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        evaluate(build("guided", "tiny").eval(), ict_face, detector=LandmarkHourglass("tiny").eval(), n=6, average=False)
    finally:
        torch.set_num_threads(threads)
    assert held == [0, 0, 0]


def test_an_error_in_a_thread_reaches_the_caller(ict_face):
    nowhere = Method(PRESETS["tiny"], lambda pairs: [Answer(surface=torch.full((9, 3), math.nan)) for _ in range(len(pairs))])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(InputError, match="finite"):
            compare({"nowhere": nowhere}, ict_face, n=4)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_guided_rows_carry_the_error_of_the_landmarks_that_guide(ict_face, pairs):
    network, eyes = build("guided", "tiny").eval(), pairs.landmarks[:3, 36] - pairs.landmarks[:3, 45]
    table = evaluate(network, ict_face, detector=Told(pairs, offset=2.0), n=3, bounds=False, average=False)
    expected = (2.0 / eyes.norm(dim=-1)).tolist()
    assert table.of("network").column("landmark_nme").tolist() == pytest.approx(expected, rel=1e-4)
    assert evaluate(network, ict_face, n=2, bounds=False).methods == ("true landmarks",)


def test_a_landmark_network_has_one_score_and_multitask_has_all(ict_face):
    landmarks, multitask = (evaluate(build(name, "tiny").eval(), ict_face, n=2, bounds=False) for name in ("landmarks", "multitask"))
    known = {name for name, value in landmarks.mean().items() if not math.isnan(value)}
    assert known == {"n", "landmark_nme"}
    assert landmarks.to_dict()["methods"]["network"].keys() == {"n", "landmark_nme", "by_yaw"}
    assert landmarks.to_dict()["rows"][0].keys() == {"method", "sample", "yaw", "pitch", "landmark_nme"}
    assert not any(math.isnan(value) for value in multitask.mean().values())


def test_comparing_equals_evaluating_one_by_one(ict_face, pairs):
    networks = {name: build(name, "tiny").eval() for name in ("unaligned", "guided")} | {"finer": build("landmarks", "lite").eval()}
    seen = []
    tables = compare(networks, ict_face, detector=Told(pairs), n=1, progress=lambda done, total: seen.append((done, total)))
    assert list(tables) == list(networks)
    for name, network in networks.items():
        assert tables[name].to_dict() == evaluate(network, ict_face, detector=Told(pairs), n=1).to_dict()
    assert seen == [(done, 9) for done in range(1, 10)]  # 2 + 2 + 1 ways and twice two bounds


def test_a_detector_looks_only_where_somebody_needs_landmarks(ict_face):
    class Busy(LandmarkHourglass):
        def landmarks(self, images):
            raise AssertionError("asked for landmarks that nobody uses")

    plain, guided, busy = build("vrn", "tiny").eval(), build("guided", "tiny").eval(), Busy("tiny").eval()
    assert len(evaluate(plain, ict_face, detector=busy, n=1, bounds=False).rows) == 1
    with pytest.raises(AssertionError, match="nobody"):
        compare({"plain": plain, "guided": guided}, ict_face, detector=busy, n=1, bounds=False)


def test_the_summary_names_every_way_once(ict_face, pairs):
    networks = {name: build(name, "tiny").eval() for name in ("unaligned", "guided", "vrn")}
    lines = summary(compare(networks, ict_face, detector=Told(pairs), n=1))
    assert [(line["model"], line["landmarks"]) for line in lines] == [
        ("unaligned, in a frontal frame", "none"),
        ("unaligned, put back", "none"),
        ("guided", "detected"),
        ("guided", "true"),
        ("vrn", "none"),
        ("oracle, tiny", "none"),
        ("mean face, tiny", "none"),
    ]
    assert {(line["faces"], line["n"]) for line in lines} == {("ict", 1)}


def row(yaw, score=0.5):
    return Row("network", 0, yaw, 0.0, score, score, score, score, score)


def test_bins_of_yaw_hold_every_row_once():
    table = Table(tuple(row(yaw, yaw / 100) for yaw in (-90.0, -60.0, -20.0, 0.0, 20.0, 89.0, 90.0)), "tiny", "none")
    bins = table.by_yaw()
    assert {name: values["n"] for name, values in bins.items()} == {"-90 to -60": 1, "-60 to -20": 1, "-20 to 20": 2, "20 to 60": 1, "60 to 90": 2}
    assert bins["60 to 90"]["nme"] == pytest.approx(0.895)


def test_table_survives_json(bounds):
    stored = json.loads(json.dumps(bounds.to_dict()))
    assert stored["methods"]["oracle"]["nme"] == bounds.of("oracle").mean()["nme"]
    assert Table(tuple(Row(**values) for values in stored["rows"]), "tiny", "ict").to_dict() == stored
    assert (stored["preset"], stored["source"]) == ("tiny", "ict")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda face: evaluate(None, face), "preset must be given"),
        (lambda face: evaluate(VRN("tiny"), face), "training mode"),
        (lambda face: evaluate(VRN("tiny").eval(), face, preset="lite"), "belongs to preset 'tiny'"),
        (lambda face: evaluate(build("guided", "tiny").eval(), face, detector=LandmarkHourglass("tiny")), "training mode"),
        (lambda face: next(iter(by_guided(build("guided", "tiny").eval(), told)(next(heldout(face, 1, preset="tiny"))))), "no detector has looked"),
        (lambda face: compare({"a": VRN("tiny")}, face), "training mode"),
        (lambda face: list(heldout(face, 0)), "n = 0"),
        (lambda face: Table((row(0.0),), "tiny", "none").of("oracle"), "choose one of network"),
    ],
)
def test_errors_name_the_rule(ict_face, call, text):
    with pytest.raises(InputError, match=text):
        call(ict_face)
