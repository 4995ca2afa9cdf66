"""Laws of the crop: what it shows, the way back, boxes that are refused, and boxes that are made to fit."""

import numpy as np
import pytest
import torch

from ramps import BOX, GRID, Ball, Surveyor, points_in, ramp_photo
from vrn_lite.camera import Similarity, rotation_matrix
from vrn_lite.frame import FACE_SIZE, Grid, InputError, voxel_centres
from vrn_lite.photo.crop import Spot, box_of, checked, crop, find_landmarks, locate, window
from vrn_lite.photo.reconstruct import reconstruct


@pytest.fixture(scope="module")
def points():
    """68 landmarks that span `BOX`."""
    return points_in(BOX)


@pytest.fixture(scope="module")
def ramp():
    return ramp_photo()


# Landmarks


def test_landmarks_are_found_in_the_photographs_pixels(ramp, points):
    for box in (BOX, (110.0, 60.0, 190.0, 130.0)):
        (found,) = find_landmarks(Surveyor(points), [Spot(ramp, box)])
        np.testing.assert_allclose(found, points, atol=0.3)


def test_a_crop_that_is_right_stays_and_another_becomes_right(ramp, points):
    for box in (BOX, (105.0, 60.0, 165.0, 145.0), (80.0, 20.0, 190.0, 150.0)):
        (found,) = locate(Surveyor(points), [Spot(ramp, box)])
        np.testing.assert_allclose(found.box, BOX, atol=0.5)
        np.testing.assert_allclose(found.landmarks, points, atol=0.6)
        assert locate(Surveyor(points), [Spot(ramp, box)], recrop=False)[0].box == box


def test_faces_located_together_are_located_as_alone(ramp, points):
    spots = [Spot(ramp, box) for box in (BOX, (105.0, 60.0, 165.0, 145.0), (0.0, 0.0, 20.0, 20.0))]
    together = locate(Surveyor(points), spots)
    for spot, found in zip(spots, together, strict=True):
        (alone,) = locate(Surveyor(points), [spot])
        np.testing.assert_allclose(found.landmarks, alone.landmarks)
        assert found.box == alone.box


class Hesitant(Surveyor):
    """A detector that believes the crop's size by half: it tells the root of the size's error, as damped networks do."""

    def seen(self, image):
        where = super().seen(image)
        size = (where.amax(0) - where.amin(0)).prod().sqrt()
        middle = (where.amax(0) + where.amin(0)) / 2
        return middle + (where - middle) * (FACE_SIZE * 32 / size).sqrt()


@pytest.mark.parametrize("size", [0.55, 0.8, 1.27, 1.8])
def test_a_box_of_the_wrong_size_is_cropped_until_it_stands_still(ramp, points, size):
    (x0, y0, x1, y1), detector = BOX, Hesitant(points)
    half = size * np.array([x1 - x0, y1 - y0]) / 2
    middle = np.array([x0 + x1, y0 + y1]) / 2
    (spot,) = locate(detector, [Spot(ramp, tuple(map(float, (*(middle - half), *(middle + half)))))])
    around = spot.box
    ratio = ((around[2] - around[0]) * (around[3] - around[1]) / ((x1 - x0) * (y1 - y0))) ** 0.5
    assert ratio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spoil", [lambda p: 140 + 2.5 * (p - 140), lambda p: 140 + 0.4 * (p - 140), lambda p: p + (0, 105), lambda p: p * np.nan])
def test_implausible_landmarks_leave_the_crop_alone(ramp, points, spoil):
    assert locate(Surveyor(spoil(points)), [Spot(ramp, BOX)])[0].box == BOX


# Cropping


def test_box_becomes_90_of_192_and_its_centre_the_centre(ramp):
    for grid in (GRID, Grid(200, 192, 192), Grid(8, 64, 96)):
        window, motion = crop(ramp, BOX, grid)
        corners = torch.tensor([[[BOX[0], BOX[1], 0], [BOX[2], BOX[3], 0]]])
        low, high = motion(corners)[0, :, :2]
        assert float((high - low).prod().sqrt()) == pytest.approx(FACE_SIZE * grid.side, rel=1e-5)
        np.testing.assert_allclose((low + high) / 2, (grid.width / 2, grid.height / 2), atol=1e-4)
        assert window.shape == (3, grid.height, grid.width)


def test_crop_pixel_shows_the_photograph_where_the_motion_says(ramp):
    for box in (BOX, (128.0, 100.0, 136.0, 109.0)):  # reduced, enlarged
        window, motion = crop(ramp, box, GRID)
        centres = voxel_centres(GRID)[0].reshape(1, -1, 3)
        x, y, _ = motion.inverse()(centres)[0].T
        inside = (x > 8) & (x < 248) & (y > 8) & (y < 192)  # bytes are rounded by up to a half
        assert inside.sum() > 500
        red, green, _ = 255 * window.flatten(1)
        np.testing.assert_allclose(red[inside], (x - 0.5)[inside], atol=0.51)
        np.testing.assert_allclose(green[inside], (y - 0.5)[inside], atol=0.51)


def test_crop_and_back_is_identity(ramp):
    _, motion = crop(ramp, BOX, GRID)
    points = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 200
    torch.testing.assert_close(motion.inverse()(motion(points)), points, atol=1e-3, rtol=0)


def test_beyond_the_photograph_its_edge_is_repeated(ramp):
    window, _ = crop(ramp, (-20.0, 60.0, 60.0, 140.0), GRID)
    assert (window[0, :, 0] == 0).all()
    torch.testing.assert_close(window[2], torch.full((32, 32), 90 / 255))


def test_reducing_does_not_alias():
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    window, _ = crop(stripes, (136, 136, 376, 376), GRID)
    assert float((window[..., 1:-1] - 0.5).abs().max()) < 0.03  # the outer columns reach beyond the photograph


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((900, 900, 990, 990), "outside the photograph of 256 x 200"),
        ((-80, 10, 5, 100), "outside"),
        ((-4000, -4000, 4000, 4000), "outside"),
        ((100, 40, 100, 90), "empty"),
        ((180, 140, 100, 40), "empty"),
        ((100, 40, float("nan"), 90), "four finite numbers"),
        ((100, 40, 180), "four finite numbers"),
        ((100, 40, 102, 42), "too small"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(ramp, box, text):
    with pytest.raises(InputError, match=text):
        reconstruct(ramp, Ball().eval(), box)


def tent(image, box, grid):
    """The crop by a tent as wide as a pixel of the crop (at least one of the photograph's), pixel by pixel."""
    (x0, y0, x1, y1), size = box, image.shape[:2]
    step = ((x1 - x0) * (y1 - y0)) ** 0.5 / (FACE_SIZE * grid.side)

    def weights(middle, count, most):
        centres = middle + (np.arange(count) + 0.5 - count / 2) * step
        pixels = np.arange(int(centres[0] - 3 * step) - 3, int(centres[-1] + 3 * step) + 3)
        tents = np.clip(1 - np.abs(pixels + 0.5 - centres[:, None]) / max(step, 1), 0, None)
        return pixels.clip(0, most - 1), tents / tents.sum(1, keepdims=True)

    rows, down = weights((y0 + y1) / 2, grid.height, size[0])
    columns, across = weights((x0 + x1) / 2, grid.width, size[1])
    return np.stack([down @ image[rows[:, None], columns, channel] @ across.T for channel in range(3)]) / 255


@pytest.mark.parametrize("box", [(20, 30, 90, 100), (200, 150, 220, 177), (-30, -40, 200, 180), (700, 800, 1200, 1300)])
def test_the_crop_is_a_tent_to_one_part_in_255(box):
    """Reduced, enlarged, beyond the edge, and reduced so far that blocks are averaged first."""
    image = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    seen, _ = crop(image, box, GRID)
    np.testing.assert_allclose(seen.numpy(), tent(image, box, GRID), atol=1.01 / 255)


def test_a_window_shows_what_its_motion_says(ramp):
    """A ramp, as it is, enlarged and turned, reduced and turned, shows at each pixel the place that it came from."""
    zero = torch.zeros(1)
    for zoom, angle in ((1.0, 0.0), (2.5, 30.0), (0.4, -20.0), (0.5, 180.0)):
        turn = rotation_matrix(zero, zero, torch.tensor([angle]))
        shift = torch.tensor([[16.0, 16.0, 0.0]]) - zoom * (turn @ torch.tensor([100.0, 90.0, 0.0]))
        motion = Similarity(torch.tensor([zoom]), turn, shift)
        seen, centres = window(ramp, motion, GRID), voxel_centres(GRID)[0].reshape(1, -1, 3)
        expected = motion.inverse()(centres)[0, :, :2].T - 0.5
        torch.testing.assert_close(255 * seen[:2].flatten(1), expected, atol=0.51, rtol=0)


@pytest.mark.parametrize("angle", [90.0, 180.0, -30.0])
def test_a_turned_face_is_cropped_upright_and_found_there(ramp, points, angle):
    """The landmarks of a face that is turned clockwise span an upright box in the crop, and lead back to it."""
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    centre = np.array([140.0, 95.0])
    turned = centre + 0.5 * (points - points.mean(0)) @ np.array([[cosine, sine], [-sine, cosine]])
    box = box_of(turned, angle)
    window, motion = crop(ramp, box, GRID, angle)
    flat = torch.tensor(np.pad(turned, ((0, 0), (0, 1))))[None].float()
    upright = motion(flat)[0, :, :2]
    span = upright.amax(0) - upright.amin(0)
    assert float(span.prod().sqrt()) == pytest.approx(FACE_SIZE * 32, rel=1e-4)
    assert float(span[1] / span[0]) == pytest.approx(1.25, rel=1e-3)
    assert float(upright[8, 1]) == pytest.approx(float(upright[:, 1].max()))  # the chin is below
    (found,) = locate(Surveyor(turned), [Spot(ramp, box, angle)])
    np.testing.assert_allclose(found.landmarks, turned, atol=0.5)
    np.testing.assert_allclose(found.box, box, atol=0.5)


def test_a_box_like_x_y_width_height_is_refused_with_a_hint(ramp):
    with pytest.raises(InputError, match=r"if it is x y width height, pass 100 40 180 140"):
        checked((100, 40, 80, 100), ramp)
