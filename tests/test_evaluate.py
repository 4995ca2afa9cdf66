"""Predictors measured on a test set: what a row says, what the means of rows say, and who is asked."""

import json
import math
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from vrn_lite.evaluation.evaluate import FACTS, SCORES, Scores, evaluate, front_slices, markdown
from vrn_lite.evaluation.predictors import (
    Prediction3D,
    Predictor,
    default_predictors,
    mean_face_predictor,
    network_predictor,
    oracle_predictor,
)
from vrn_lite.evaluation.testsets import heldout
from vrn_lite.faces import procedural
from vrn_lite.frame import InputError
from vrn_lite.networks.base import Prediction, build
from vrn_lite.networks.vrn import VRN, LandmarkHourglass, UnalignedVRN
from vrn_lite.presets import PRESETS
from vrn_lite.samples import make_pairs, unaligned

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def face():
    return procedural()


@pytest.fixture(scope="module")
def pairs(face):
    return next(heldout(face, 16).batches("tiny"))


@pytest.fixture(scope="module")
def bounds(face):
    return evaluate({"oracle": oracle_predictor(TINY), "mean face": mean_face_predictor(face, TINY)}, heldout(face, 6))


class Told(LandmarkHourglass):
    """A detector that knows the landmarks of the held-out set's first faces, up to an offset in pixels."""

    def __init__(self, pairs, offset=0.0):
        super().__init__("tiny")
        self.truth = pairs.landmarks[..., :2] + torch.tensor([offset, 0.0])
        self.eval()

    def landmarks(self, images):
        return self.truth[: len(images)]


def network(kind, volumes):
    """One that knows the volumes of the held-out set's first faces."""

    class Knows(kind):
        def predict(self, images, landmarks=None):
            return Prediction(logits=50.0 * (volumes[: len(images)].float() - 0.5))

    return Knows("tiny").eval()


def once(model, testset, **options):
    return evaluate(model, testset, test_time_augmentation=False, **options)


def test_oracle_is_below_the_mean_face_and_both_are_small(bounds):
    oracle, mean = bounds.mean().loc["oracle"], bounds.mean().loc["mean face"]
    assert oracle.iou == oracle.iou_front == 1
    assert oracle.nme < 0.05
    assert oracle.nme < mean.nme < 0.12
    assert 0.7 < mean.iou < 0.97
    assert mean.nme_rigid < mean.nme


def test_front_slices_lie_before_the_pivot():
    for preset in PRESETS.values():
        count, grid = front_slices(preset.grid), preset.grid
        assert (count - 0.5) / grid.depth_scale < grid.centre[2] <= (count + 0.5) / grid.depth_scale
    assert front_slices(PRESETS["paper"].grid) == 96


def test_an_untrained_network_is_scored_without_a_crash(face):
    blank = VRN("tiny").eval()
    with torch.no_grad():
        blank.head[-1].bias.fill_(-20)
        blank.head[-1].weight.zero_()
    scores = evaluate(blank, heldout(face, 2), bounds=False)
    assert scores.predictors == ("vrn",)
    assert (scores.frame.iou == 0).all()
    assert np.isposinf(scores.frame.nme).all()
    assert scores.mean().nme["vrn"] == math.inf


def test_a_network_that_knows_the_truth_scores_as_the_oracle(face, pairs, bounds):
    mean = once(network(VRN, pairs.volumes), heldout(face, 6), bounds=False).mean().loc["vrn"]
    assert mean.nme == pytest.approx(bounds.mean().nme["oracle"], rel=0.01)
    assert mean.iou == 1


def test_an_unaligned_network_that_knows_the_truth_scores_as_the_oracle_in_both_frames(face, pairs, bounds):
    knows = network(UnalignedVRN, unaligned(pairs, face.interocular, TINY.grid).volumes)
    scores = once(knows, heldout(face, 6), bounds=False)
    assert scores.predictors == ("unaligned, frontal frame", "unaligned, true pose")
    (_, frontal), (_, posed) = scores.mean().iterrows()
    assert frontal.iou == 1
    assert frontal.nme == pytest.approx(bounds.mean().nme["oracle"], abs=0.01)
    assert posed.nme == pytest.approx(bounds.mean().nme["oracle"], abs=0.01)
    assert posed.iou > 0.9
    assert math.isnan(posed.landmark_nme)


def test_a_detector_that_knows_the_truth_guides_as_the_truth_does(face, pairs):
    testset = heldout(face, 3).seen_by(Told(pairs), test_time_augmentation=False)
    scores = once(build("guided", "tiny").eval(), testset, bounds=False)
    assert scores.predictors == ("guided, detected landmarks", "guided, true landmarks")
    detected, true = (scores.of(name).frame.drop(columns="predictor").reset_index(drop=True) for name in scores.predictors)
    pd.testing.assert_frame_equal(detected, true, check_exact=True)
    assert (scores.frame.landmark_nme == 0).all()


def test_guided_rows_carry_the_error_of_the_landmarks_that_guide(face, pairs):
    eyes = pairs.landmarks[:3, 36] - pairs.landmarks[:3, 45]
    testset = heldout(face, 3).seen_by(Told(pairs, offset=2.0), test_time_augmentation=False)
    guided = build("guided", "tiny").eval()
    found = once(guided, testset, bounds=False).of("guided, detected landmarks").frame.landmark_nme
    assert found.tolist() == pytest.approx((2.0 / eyes.norm(dim=-1)).tolist(), rel=1e-4)
    assert once(guided, heldout(face, 2), bounds=False).predictors == ("guided, true landmarks",)


def test_a_landmark_network_has_one_score_and_multitask_has_all(face):
    landmarks, multitask = (once(build(name, "tiny").eval(), heldout(face, 2), bounds=False) for name in ("landmarks", "multitask"))
    assert landmarks.frame[SCORES].columns[landmarks.frame[SCORES].notna().all()].tolist() == ["landmark_nme"]
    assert landmarks.records()[0].keys() == {*FACTS, "landmark_nme"} - {"tag"}
    assert multitask.frame[SCORES].notna().all(axis=None)


def test_rows_do_not_depend_on_the_number_of_threads_and_come_in_order(face, monkeypatch):
    monkeypatch.setattr("vrn_lite.evaluation.testsets.CHUNK", 2)
    model, threads, frames = VRN("tiny").eval(), torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            frames.append(once(model, heldout(face, 7)).frame)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    pd.testing.assert_frame_equal(*frames, atol=1e-5)
    assert frames[1]["sample"].tolist() == 3 * list(range(7))
    assert frames[1].predictor.unique().tolist() == ["vrn", "oracle", "mean face"]


def test_with_one_thread_no_batch_is_held_while_the_next_is_made(face, monkeypatch):
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
        testset = heldout(face, 6).seen_by(LandmarkHourglass("tiny").eval(), test_time_augmentation=False)
        once(build("guided", "tiny").eval(), testset)
    finally:
        torch.set_num_threads(threads)
    assert held == [0, 0, 0]


def test_an_error_in_a_thread_reaches_the_caller(face):
    nowhere = Predictor(TINY, lambda pairs: [Prediction3D(surface=torch.full((9, 3), math.nan)) for _ in range(len(pairs))])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(InputError, match="finite"):
            evaluate({"nowhere": nowhere}, heldout(face, 4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_predictors_of_one_grid_share_the_samples_and_those_of_others_have_their_own(face, monkeypatch):
    made, progress = [], []
    predictors = {size: oracle_predictor(PRESETS[size]) for size in ("tiny", "lite")} | {"again": oracle_predictor(TINY)}
    testset = replace(heldout(face, 2), make=lambda preset: made.append(preset.name) or heldout(face, 2).make(preset))
    scores = evaluate(predictors, testset, on_progress=lambda *numbers: progress.append(numbers))
    assert made == ["tiny", "lite"]
    assert progress == [(4, 6), (6, 6)]
    assert scores.predictors == ("tiny", "lite", "again")
    assert scores.frame.preset.tolist() == 2 * ["tiny"] + 2 * ["lite"] + 2 * ["tiny"]
    alone = evaluate({"again": predictors["again"]}, testset).frame
    pd.testing.assert_frame_equal(scores.of("again").frame.reset_index(drop=True), alone, check_exact=True)


def test_a_name_or_a_file_is_a_network(face, tiny):
    scores = evaluate(str(tiny), heldout(face, 1), test_time_augmentation=False)
    assert scores.predictors == ("vrn", "oracle", "mean face")


def test_the_average_over_copies_is_taken_or_left(face):
    model, testset = build("multitask", "tiny").eval(), heldout(face, 1)
    apart = [evaluate(model, testset, bounds=False, test_time_augmentation=way).frame[SCORES] for way in (True, False)]
    asked = evaluate({"once": network_predictor(model, test_time_augmentation=False)}, testset).frame[SCORES]
    differ = (apart[0] != apart[1]).any()
    assert differ.iou
    assert differ.landmark_nme
    pd.testing.assert_frame_equal(apart[1], asked, check_exact=True)


# Scores


def scores_of(**columns):
    """Scores with these columns; all else is the same in every row."""
    count = len(next(iter(columns.values())))
    facts = {"predictor": "a", "protocol": "p", "faces": "f", "preset": "tiny", "sample": range(count), "yaw": 0.0, "pitch": 0.0, "tag": ""}
    return Scores(pd.DataFrame(facts | dict.fromkeys(SCORES, math.nan) | columns))


def test_means_are_over_the_rows_that_have_a_number():
    scores = scores_of(predictor=["b", "b", "a", "b"], nme=[1.0, math.nan, 5.0, 3.0], iou=[0.5, 0.5, math.nan, 0.2])
    mean = scores.mean()
    assert mean.index.tolist() == ["b", "a"]
    assert mean.n.tolist() == [3, 1]
    assert mean.nme.tolist() == [2.0, 5.0]
    assert math.isnan(mean.iou["a"])
    assert scores_of(nme=[1.0, math.inf, 3.0]).mean().nme["a"] == math.inf


def test_bins_of_yaw_hold_every_row_once():
    yaw = [-90.0, -60.0, -20.0, 0.0, 20.0, 89.0, 90.0]
    bins = scores_of(yaw=yaw, nme=[value / 100 for value in yaw]).by_yaw().loc["a"]
    assert bins.n.to_dict() == {"-90 to -60": 1, "-60 to -20": 1, "-20 to 20": 2, "20 to 60": 1, "60 to 90": 2}
    assert bins.nme["60 to 90"] == pytest.approx(0.895)
    assert scores_of(yaw=[10.0], nme=[1.0]).by_yaw().index.tolist() == [("a", "-20 to 20")]


def test_intervals_are_those_of_the_normal_law_for_many_faces_and_hold_the_mean():
    values = np.random.default_rng(1).normal(0.1, 0.02, 400)
    (low, high) = scores_of(nme=values).interval().loc["a"]
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert scores_of(nme=[0.3, 0.3, math.nan]).interval().loc["a"].tolist() == pytest.approx([0.3, 0.3])
    assert scores_of(nme=[0.3, math.inf]).interval().high["a"] == math.inf


def test_one_predictors_rows_are_its_own_and_others_are_named():
    scores = scores_of(predictor=["a", "b"], nme=[1.0, 2.0])
    assert scores.of("b").frame.nme.tolist() == [2.0]
    with pytest.raises(InputError, match="no results of predictor 'c': choose one of a, b"):
        scores.of("c")


def test_records_survive_json(bounds):
    stored = json.loads(json.dumps(bounds.records()))
    again = pd.DataFrame(stored).reindex(columns=bounds.frame.columns).assign(tag="")
    pd.testing.assert_frame_equal(again, bounds.frame, check_exact=True, check_dtype=False)


def test_the_table_has_a_line_for_each_predictor_and_test_set():
    scores = scores_of(predictor=["b", "a", "b"], protocol=["p", "p", "q"], nme=[1.0, math.nan, 0.25])
    assert scores.table()[["predictor", "protocol", "n", "NME", "IoU"]].values.tolist() == [
        ["b", "p", 1, "1.0000", ""],
        ["a", "p", 1, "", ""],
        ["b", "q", 1, "0.2500", ""],
    ]


def test_markdown_has_a_rule_below_its_head():
    assert markdown(pd.DataFrame({"": ["a", "b"], "n": [1, ""]})).splitlines() == ["| | n |", "|---|---|", "| a | 1 |", "| b | |"]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda testset: evaluate(VRN("tiny"), testset), "training mode"),
        (lambda testset: evaluate(build("parameters", "tiny", face=procedural()).train(), testset), "training mode"),
        (lambda testset: default_predictors({"a": build("parameters", "tiny", arguments={"identities": 2, "expressions": 2}).eval()}, testset), "bind"),
        (lambda testset: evaluate("nothing", testset), "no weights 'nothing'"),
    ],
)
def test_errors_name_the_rule(face, call, text):
    with pytest.raises(InputError, match=text):
        call(heldout(face, 1))
