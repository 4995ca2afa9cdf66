"""Laws of many photographs: every face as if alone, in order, and what fails is told."""

import sys

import numpy as np
import pytest
from PIL import Image

from ramps import BOX, Ball, Surveyor, points_in, ramp_photo
from vrn_lite.frame import InputError
from vrn_lite.photo import reconstruct as photo
from vrn_lite.photo.finder import Found
from vrn_lite.photo.image_io import UnreadableError, read_frames, read_photo
from vrn_lite.photo.many import photo_files, reconstruct_all
from vrn_lite.photo.reconstruct import reconstruct

SMALL = (20.0, 20.0, 60.0, 70.0)
SETTINGS = {"smooth": 0, "test_time_augmentation": False, "force": True}


class Two:
    """A finder that sees a small and a large face in the ramp, and nothing where it is dark."""

    def find(self, image):
        return [Found(SMALL, 0.6), Found(BOX, 0.9)] if image.mean() > 60 else []


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr(photo, "finder_named", lambda _: Two())
    monkeypatch.setattr(photo, "shipped", dict)


@pytest.fixture
def folder(tmp_path):
    """Two photographs, one without a face, one that is none, one below, and a text that nobody asks for."""
    (tmp_path / "below").mkdir()
    for name in ("a.png", "c.png", "below/a.png"):
        Image.fromarray(ramp_photo()).save(tmp_path / name)
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    (tmp_path / "d.jpg").write_bytes(b"no photograph")
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path


def test_each_face_is_as_alone(folder):
    found = list(reconstruct_all([folder / "a.png", folder / "c.png"], Ball().eval(), batch=3, **SETTINGS))
    assert [(face.name[-5:], face.box, face.confidence) for face in found] == [
        (name, box, score) for name in ("a.png", "c.png") for box, score in ((SMALL, 0.6), (BOX, 0.9))
    ]
    for face in found:
        alone = reconstruct(ramp_photo(), Ball().eval(), face.box, **SETTINGS)
        np.testing.assert_allclose(face.mesh.vertices, alone.mesh.vertices, atol=1e-4)
        np.testing.assert_array_equal(face.mesh.visual.vertex_colors, alone.mesh.visual.vertex_colors)


def test_one_is_the_largest(folder):
    found = list(reconstruct_all(folder / "a.png", Ball().eval(), faces="one", **SETTINGS))
    assert [face.box for face in found] == [BOX]
    assert reconstruct(folder / "a.png", Ball().eval(), **SETTINGS).box == BOX


def test_what_fails_is_told_and_the_others_go_on(folder):
    told = []
    found = list(reconstruct_all(folder, Ball().eval(), faces="one", on_refused=lambda *both: told.append(both), **SETTINGS))
    assert [face.name for face in found] == [str(folder / name) for name in ("a.png", "below/a.png", "c.png")]
    assert [(name, type(error)) for name, error in told] == [
        (str(folder / "b.png"), InputError),
        (str(folder / "d.jpg"), UnreadableError),
    ]
    for name, error in told:
        assert name in str(error)
    with pytest.raises(InputError, match="no face found in .*b.png"):
        list(reconstruct_all(folder, Ball().eval(), **SETTINGS))


def test_no_more_photographs_are_read_than_a_batch_needs():
    taken = 0

    def photos():
        nonlocal taken
        for _ in range(9):
            taken += 1
            yield ramp_photo()

    for number, _ in enumerate(reconstruct_all(photos(), Ball().eval(), faces="one", batch=3, **SETTINGS)):
        assert taken == 3 * (number // 3 + 1)


def test_what_concerns_all_is_refused_at_once():
    for wrong in ({"faces": "some"}, {"batch": 0}, {"every": 0}, {"level": 2.0}, {"model": "nothing"}):
        with pytest.raises(InputError):
            reconstruct_all([], **({"model": Ball()} | wrong))


def test_a_folder_without_photographs_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="there is no photograph in the folder"):
        list(photo_files([tmp_path]))


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_every_frame_of_a_moving_picture_counts(tmp_path, ending):
    path, greys = tmp_path / f"a.{ending}", (200, 40, 120, 80)
    first, *others = [Image.new("RGB", (64, 48), (grey,) * 3) for grey in greys]
    first.save(path, save_all=True, append_images=others, duration=100)
    for source in (path, path.read_bytes()):
        pages = list(read_frames(source, "a"))
        assert [name for name, _ in pages] == [f"a (frame {number})" for number in (1, 2, 3, 4)]
        for (_, image), grey in zip(pages, greys, strict=True):
            assert abs(image.mean() - grey) < 4
    assert [name for name, _ in read_frames(path, "a", every=3)] == ["a (frame 1)", "a (frame 4)"]
    with pytest.warns(UserWarning, match="has 4 frames: the first is taken"):
        assert abs(read_photo(path).mean() - 200) < 4


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_video_is_read_frame_by_frame(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"#EXTM3U\n")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imageio_ffmpeg", None)
        with pytest.raises(UnreadableError, match=r"a\.mp4 is a video: pip install imageio-ffmpeg"):
            list(read_frames(tmp_path / "a.mp4"))
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    with pytest.raises(UnreadableError, match=r"cannot read .*a\.mp4"):
        list(read_frames(tmp_path / "a.mp4"))  # a playlist
    writer = ffmpeg.write_frames(tmp_path / "b.mp4", (64, 48), fps=10)
    writer.send(None)
    for grey in (200, 120, 40):
        writer.send(np.full((48, 64, 3), grey, dtype=np.uint8))
    writer.close()
    pages = list(read_frames(tmp_path / "b.mp4", "b"))
    assert [name for name, _ in pages] == ["b (frame 1)", "b (frame 2)", "b (frame 3)"]
    assert [round(float(image.mean()), -1) for _, image in pages] == [200, 120, 40]


def test_a_turned_face_comes_back_turned(monkeypatch):
    """The finder tells that a face lies on its side: the crop stands upright, the mesh lies as in the photograph."""

    class Side:
        def find(self, image):
            return [Found(BOX, 0.9, 90.0)]

    class Chin(Ball):
        """A ball in the lower half of the crop: below the face's middle."""

        def __init__(self):
            super().__init__()
            self.answer = self.answer.roll(6, 2)

    monkeypatch.setattr(photo, "finder_named", lambda _: Side())
    upright = reconstruct(ramp_photo(), Chin().eval(), BOX, **SETTINGS)
    turned = reconstruct(ramp_photo(), Chin().eval(), **SETTINGS)
    middle = np.array([140.0, 90.0])
    (x, y), (right, down) = (face.mesh.bounds.mean(0)[:2] - middle for face in (upright, turned))
    assert y > 20
    np.testing.assert_allclose((right, down), (-y, x), atol=0.5)  # a quarter turn clockwise: the chin is on the left
    assert (turned.angle, turned.mesh.volume > 0) == (90.0, True)


def test_landmarks_of_faces_together_are_their_own(folder):
    detector = Surveyor(points_in(BOX))
    found = list(reconstruct_all(folder / "a.png", Ball().eval(), detector=detector, **SETTINGS))
    for face in found:  # that of the small box is far outside its crop
        np.testing.assert_allclose(face.landmarks, points_in(BOX), atol=0.6 if face.box != SMALL else 2)
