"""The sculpted head has the shape, the order and the movements of a human one; its file is what its builder makes."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import torch
from skimage.feature import Cascade

from vrn_lite.camera import crop_camera
from vrn_lite.faces.procedural import FILE, STEP, bald, builder, face_of
from vrn_lite.faces.procedural.head import both_halves
from vrn_lite.faces.procedural.modes import expressions
from vrn_lite.frame import Grid
from vrn_lite.landmarks import FLIP
from vrn_lite.mesh import boundary_edges, boundary_loops, signed_volume
from vrn_lite.raster import nearest, rasterize
from vrn_lite.synth.render import vertex_normals

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def face():
    return bald()


def expressed(face, *names: str) -> torch.Tensor:
    """Vertices of the mean face with some expressions at full strength."""
    return face.mean + sum(face.expression[face.expression_names.index(name)] for name in names)


def random_faces(face, count: int) -> torch.Tensor:
    """Identity coefficients."""
    return torch.randn(count, len(face.identity), generator=torch.Generator().manual_seed(5)).clamp(-3, 3)


@pytest.fixture(scope="module")
def built():
    """The builder's arrays."""
    return builder.build()


def test_the_file_is_the_builders_bit_for_bit(built):
    assert FILE.stat().st_size < 1_000_000
    with np.load(FILE) as shipped:
        assert shipped.files == list(built)
        for name, values in built.items():
            assert shipped[name].dtype == values.dtype
            assert np.array_equal(shipped[name], values), name


def test_the_file_written_anew_gives_the_same_face(built, face, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "build", lambda: built)
    builder.write(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as archive:
        again = face_of(archive)
    assert torch.equal(again.mean, face.mean)
    assert torch.equal(again.expression, face.expression)
    assert again.regions.keys() == face.regions.keys()


def test_rounding_moves_nothing_by_more_than_half_a_step(face):
    head = both_halves()
    moves = expressions(head)
    assert tuple(moves) == face.expression_names
    assert np.abs(face.mean.double().numpy() - head.vertices).max() <= STEP / 2
    assert np.abs(face.expression.double().numpy() - np.stack(list(moves.values()))).max() <= STEP / 2
    assert STEP / 2 < 1e-6 * face.interocular


def test_mirror_images_stay_mirror_images_to_the_last_bit(face):
    flip = torch.from_numpy(both_halves().flip)
    assert torch.equal(face.mean[flip] * MIRROR, face.mean)
    names = face.expression_names
    for name, field in zip(names, face.expression, strict=True):
        twin = name.removesuffix("_L") + "_R" if name.endswith("_L") else name.removesuffix("Left") + "Right"
        if name.endswith(("_L", "Left")):
            assert torch.equal(face.expression[names.index(twin)], field[flip] * MIRROR), name
    assert torch.equal(face.identity[0, flip] * MIRROR, face.identity[0])


def test_loading_the_face_does_not_build_it():
    code = "import sys, vrn_lite.faces as f; f.procedural(); print(*(m for m in sys.modules if 'faces.procedural.' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_sizes_are_as_designed(face):
    assert 5000 <= len(face.mean) <= 10000
    assert len(face.identity) >= 20
    bases = {name.removesuffix("_L").removesuffix("_R") for name in face.expression_names}
    assert len(bases) >= 12
    assert bases >= {"jawOpen", "mouthSmile", "mouthFrown", "mouthPucker", "browInnerUp", "browDown", "browOuterUp", "eyeBlink", "cheekPuff", "noseSneer"}
    assert set(face.often) <= bases
    assert face.interocular == pytest.approx(8.9, abs=0.2)


def test_patch_is_a_surface_with_four_loops(face):
    patch = face.triangles[face.patch]
    front = face.patch_vertices
    edges = patch[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert len(edges.unique(dim=0)) == len(edges), "an edge has more than two triangles"
    assert [len(loop) for loop in boundary_loops(patch)] == [110, 56, 36, 36]
    assert len(front) - len(edges.sort(dim=1).values.unique(dim=0)) + len(patch) == 2 - 4  # Euler: a sphere with four holes
    assert torch.isin(face.landmarks, front).all()


def test_triangles_face_outward(face):
    patch = face.triangles[face.patch]
    middle = torch.tensor([0.0, -2.0, 1.0])
    a, b, c = (face.mean[corner] - middle for corner in patch.T)
    outward = (a * torch.linalg.cross(b, c)).sum(-1) > 0
    assert outward.float().mean() > 0.95  # the lips' insides and the lids' edges turn away


def test_mean_and_landmarks_are_symmetric(face):
    points = face.mean[face.landmarks]
    exact = face.mean.double()
    distance = torch.cdist(exact * MIRROR, exact).amin(1)
    assert distance.max() < 1e-3
    assert torch.allclose(points[FLIP] * MIRROR, points, atol=1e-4)


def test_landmarks_stand_where_ibug_puts_them(face):
    points = face.mean[face.landmarks]
    x, y = points[:, 0], points[:, 1]
    assert (x[:17].diff() > 0).all()  # jaw line from the image's left to its right
    assert y[:17].argmin() == 8
    assert (x[17:27].diff() > 0).all()
    assert (y[27:31].diff() < 0).all()
    assert x[27:31].abs().max() < 1e-4
    assert (x[31:36].diff() > 0).all()
    assert x[36] < x[37] < x[38] < x[39] < 0 < x[42] < x[43] < x[44] < x[45]
    assert y[37] > y[41]
    assert y[38] > y[40]
    assert y[43] > y[47]
    assert y[44] > y[46]
    assert (x[48:55].diff() > 0).all()
    assert (x[54:60].diff() < 0).all()
    assert (x[60:65].diff() > 0).all()
    assert (x[64:68].diff() < 0).all()
    assert y[51] > y[62] >= y[66] > y[57]


def test_profile_has_the_order_of_a_human_one(face):
    front = face.patch_vertices
    midline = front[face.mean[front, 0].abs() < 1e-5]
    outer = midline[face.mean[midline, 2] > 8.0]
    y, z = face.mean[outer, 1].numpy(), face.mean[outer, 2].numpy()

    def foremost(low: float, high: float) -> tuple[float, float]:
        inside = (y > low) & (y < high)
        best = z[inside].argmax()
        return y[inside][best], z[inside][best]

    def dip(low: float, high: float) -> float:
        """Depth of a hollow: the rearmost point between two heights."""
        return z[(y > low) & (y < high)].min()

    (forehead, brow, tip, lip, chin) = (foremost(*span) for span in ((5.5, 8), (1, 3.5), (-5, -2), (-7, -5.9), (-11, -9.2)))
    lower_lip = foremost(-8, -7.1)
    assert tip[1] == z.max()
    assert forehead[1] < brow[1] < tip[1]
    assert dip(-0.5, 0.9) < brow[1] - 0.2, "no dip at the nasion"
    assert dip(-5.9, -4.8) < min(tip[1] - 1.2, lip[1] - 0.15), "no hollow under the nose"
    assert dip(-9.2, -8.2) < min(lower_lip[1] - 0.3, chin[1] - 0.1), "no fold above the chin"
    assert tip[1] > lip[1] > chin[1]
    assert forehead[0] > brow[0] > tip[0] > lip[0] > lower_lip[0] > chin[0]


def test_solid_is_closed_and_positive_for_random_faces(face):
    mesh = face.mesh(random_faces(face, 8))
    assert len(boundary_edges(mesh.solid_triangles())) == 0
    volumes = signed_volume(mesh.vertices, mesh.solid_triangles())
    assert (volumes > 1000).all()
    assert (volumes < 4000).all()


def test_patch_stays_before_the_wall(face):
    points = face.mean[face.landmarks]
    front = face.patch_vertices
    vertices = face.mesh(random_faces(face, 200)).vertices  # raises where a patch reaches behind
    behind = vertices[:, face.landmarks, 2].mean(1) - vertices[:, front, 2].amin(1)
    assert behind[0] > 0
    assert behind.max() < 0.95 * face.interocular
    assert points[:, 2].mean() - face.mean[front, 2].min() < 0.85 * face.interocular


def test_identity_modes_have_the_size_of_human_variation(face):
    front = face.patch_vertices
    moves = face.identity[:, front].norm(dim=-1)
    assert (moves.mean(1) < 0.3).all()
    assert (moves.amax(1) > 0.05).all()
    assert (moves.amax(1) < 0.6).all()
    assert 0.2 < moves.square().sum(0).sqrt().mean() < 0.45


def test_identity_keeps_lids_on_the_eyeball(face):
    vertices = face.mesh(random_faces(face, 30)).vertices[:, : len(face.mean)]
    ball = face.regions["pupil"] > 0
    right = ball & (face.mean[:, 0] > 0)
    moved = (vertices[:, right] - face.mean[right]).mean(1)
    assert ((vertices[:, right] - face.mean[right]) - moved[:, None]).norm(dim=-1).max() < 1e-4  # an eyeball is rigid
    corners = vertices[:, face.landmarks[[42, 45]]] - face.mean[face.landmarks[[42, 45]]]
    assert (corners - moved[:, None]).norm(dim=-1).max() < 0.5


def test_expressions_move_their_region_and_not_the_far_side(face):
    for name, field in zip(face.expression_names, face.expression, strict=True):
        moves, x, z = field.norm(dim=-1), face.mean[:, 0], face.mean[:, 2]
        assert 0.1 < moves.max() < 4
        assert moves[z < 0].amax() < 1e-3 + 0.02 * moves.max()
        if name.endswith(("_L", "_R")):
            far = x < -2.0 if name.endswith("_L") else x > 2.0
            assert moves[far].max() < 0.1 * moves.max()
            other = face.expression[face.expression_names.index(name[:-1] + "LR".replace(name[-1], ""))]
            assert other.norm(dim=-1).max() == pytest.approx(float(moves.max()), rel=1e-5)


def test_blink_closes_the_eye(face):
    def gaps(vertices: torch.Tensor) -> torch.Tensor:
        p = vertices[face.landmarks]
        return torch.stack([p[37, 1] - p[41, 1], p[38, 1] - p[40, 1], p[43, 1] - p[47, 1], p[44, 1] - p[46, 1]])

    assert (gaps(face.mean) > 0.6).all()
    assert (gaps(expressed(face, "eyeBlink_L", "eyeBlink_R")) < 0.2 * gaps(face.mean)).all()
    assert torch.allclose(gaps(expressed(face, "eyeBlink_L"))[:2], gaps(face.mean)[:2])  # the left eye of the person is x > 0


def test_jaw_opens_the_mouth(face):
    points = face.mean[face.landmarks]
    opened = expressed(face, "jawOpen")
    moved = opened[face.landmarks] - points
    assert moved[8, 1] < -1.5
    assert moved[57, 1] < -1.5
    assert moved[51].norm() < 0.1
    gap = opened[face.landmarks[62], 1] - opened[face.landmarks[66], 1]
    assert points[62, 1] - points[66, 1] < 0.05
    assert gap > 1.5
    teeth = (face.regions["teeth"] > 0) & ((opened - face.mean).norm(dim=-1) > 0)
    assert teeth.sum() == (face.regions["teeth"] > 0).sum() / 2  # the lower row


def test_lips_do_not_cross_when_closed(face):
    points = face.mean[face.landmarks]
    assert (points[[61, 62, 63], 1] >= points[[67, 66, 65], 1]).all()


def test_smile_lifts_the_corners(face):
    points = face.mean[face.landmarks]
    moved = expressed(face, "mouthSmile_L", "mouthSmile_R")[face.landmarks] - points
    assert moved[48, 1] > 0.2
    assert moved[54, 1] > 0.2
    assert moved[48, 0] < -0.2
    assert moved[54, 0] > 0.2


def test_gaze_turns_the_eyeball_without_moving_it(face):
    ball = (face.regions["sclera"] > 0) & (face.mean[:, 0] > 0)
    middle = torch.tensor([2.98, 0.03, 6.92])
    for name in ("eyeLookUp_L", "eyeLookDown_L", "eyeLookIn_L", "eyeLookOut_L"):
        assert torch.allclose((expressed(face, name)[ball] - middle).norm(dim=-1), torch.tensor(1.55), atol=1e-4)


def test_regions_are_masks(face):
    assert set(face.regions) >= {"lips", "brows", "sclera", "iris", "pupil", "scalp", "beard", "teeth", "mouth", "neck"}
    for name, mask in face.regions.items():
        assert mask.shape == (len(face.mean),), name
        assert mask.min() >= 0, name
        assert 0.5 < mask.max() <= 1, name


def plain_images(face, identity: torch.Tensor, grid: Grid) -> np.ndarray:
    """Frontal faces ``[b, h, w]`` under one soft light, before a grey wall; plain enough to judge the shape alone."""
    mesh, still = face.mesh(identity), torch.zeros(len(identity))
    vertices = crop_camera(mesh.landmark_points(), still, still, still, face.interocular, grid)(mesh.vertices)[:, : len(face.mean)]
    colour = torch.full((len(face.mean),), 0.75)
    for name, tone in (("lips", 0.5), ("brows", 0.3), ("scalp", 0.25), ("sclera", 0.9), ("iris", 0.3), ("pupil", 0.05), ("mouth", 0.2)):
        colour = torch.lerp(colour, torch.tensor(tone), face.regions[name])
    light = torch.nn.functional.normalize(torch.tensor([0.2, -0.5, -1.0]), dim=0)
    shade = colour * (0.35 + 0.65 * (vertex_normals(vertices, face.triangles) @ light).clamp(min=0))
    seen = nearest(rasterize(vertices, face.triangles, grid.height, grid.width))
    images = torch.full((len(identity), grid.height, grid.width), 0.5)
    images[seen.sample, seen.row, seen.column] = (seen.weights * shade[seen.sample[:, None], face.triangles[seen.triangle]]).sum(1)
    return images.numpy()


def test_a_face_detector_finds_the_faces(face):
    images = (255 * plain_images(face, random_faces(face, 20), Grid(192, 192, 192))).astype(np.uint8)
    detector = Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    found = []
    for image in images:
        squares = detector.detect_multi_scale(image, scale_factor=1.2, step_ratio=1, min_size=(60, 60), max_size=(180, 180))
        found.append(any(np.hypot(s["c"] + s["width"] / 2 - 96, s["r"] + s["width"] / 2 - 96) < 30 for s in squares))  # the crop puts the face there
    assert np.mean(found) >= 0.9
