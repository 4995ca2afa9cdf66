"""What makes the notebooks answer: sliders that recompute a picture, a photograph of one's own, pictures that a loop redraws, and the exercises' checks.

Every widget redraws a PNG, so that it needs nothing of a browser but images and sliders (ipywidgets 7 and 8, JupyterLab, Colab).
What a user gets wrong becomes one line above the picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from IPython.display import display
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from vrn_lite import figures
from vrn_lite.exercises import check  # noqa: F401
from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.figures import picture
from vrn_lite.frame import InputError, require
from vrn_lite.landmarks import GROUPS, displaced
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.photo import Reconstruction, checked, reconstruct
from vrn_lite.portrait import Box, Photo, detect_face, read_photo

Range = tuple[float, float, float]
"""Least, most and start of a slider."""

WIDTH = 800
"""Pixels of a redrawn picture."""


def explore(draw: Callable[..., go.Figure], **ranges: Range | Sequence[str]) -> ipywidgets.VBox:
    """Sliders that redraw a still picture: ``draw(name=value, ...)`` gives a figure for each change.

    Parameters
    ----------
    draw : called with one value for each slider. What it refuses (`InputError`) is said in a line, and the picture stays.
    ranges : by the name of its argument, (least, most, start) of a slider, or the words of a menu.
    """
    line, image = ipywidgets.HTML(), _picture(WIDTH)
    controls = {name: _control(name, values) for name, values in ranges.items()}

    def redraw(_change: object = None) -> None:
        try:
            image.value = picture(draw(**{name: control.value for name, control in controls.items()}), WIDTH)
            line.value = ""
        except InputError as error:
            line.value = _said(error)

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*controls.values(), line, image])


def _picture(width: int) -> ipywidgets.Image:
    """An image of so many pixels, narrower where there is no room."""
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(width=f"{width}px", max_width="100%", object_fit="contain", align_self="flex-start"))


def _control(name: str, values: Range | Sequence[str]) -> ipywidgets.Widget:
    """A slider, or a menu."""
    label = {"description": name.replace("_", " "), "style": {"description_width": "7em"}}
    if all(isinstance(value, str) for value in values):
        return ipywidgets.Dropdown(options=list(values), **label)
    low, high, start = map(float, values)
    wide = ipywidgets.Layout(width="32em")
    return ipywidgets.FloatSlider(start, min=low, max=high, step=(high - low) / 40, continuous_update=False, layout=wide, **label)


def _said(error: InputError) -> str:
    return f"<b>{escape(str(error))}</b>"


def face_explorer(
    face: MorphableFace, identity: Sequence[int] = (0, 1, 2), expression: Sequence[str] = ("jawOpen", "mouthSmile", "browInnerUp")
) -> ipywidgets.VBox:
    """Sliders for identity modes, expressions and pose of a face, and what follows: mesh, image, volume and a cut, in one picture.

    Its plain twin is ``figures.face_figure(figures.drawn_face(face, {0: 2.0}, {"jawOpen": 0.5}, yaw=30))``.
    """
    names = {name.removesuffix("_L").removesuffix("_R") for name in face.expression_names} | set(face.expression_names)
    modes = {f"identity_{mode}": mode for mode in identity if mode < len(face.identity)}
    moves = {name: name for name in expression if name in names}

    def draw(yaw: float, pitch: float, roll: float, **values: float) -> go.Figure:
        who = {mode: values[name] for name, mode in modes.items()}
        what = {name: values[name] for name in moves}
        return figures.face_figure(figures.drawn_face(face, who, what, yaw=yaw, pitch=pitch, roll=roll))

    ranges: dict[str, Range | Sequence[str]] = {}
    ranges.update((name, (-3.0, 3.0, 0.0)) for name in modes)
    ranges.update((name, (0.0, 1.0, 0.0)) for name in moves)
    return explore(draw, **ranges, yaw=(-90, 90, 0), pitch=(-40, 40, 0), roll=(-45, 45, 0))


def iso_level(volume: figures.Array, depth_scale: float = 1.5, start: float = 0.5) -> ipywidgets.VBox:
    """A slider for the level of a volume's surface, which is made anew for each.

    Its plain twin, with the levels made beforehand, is `figures.levels_figure`.
    """
    return explore(lambda level: figures.level_figure(volume, level, depth_scale=depth_scale), level=(0.05, 0.95, start))


def gaussian_sigma(network: GuidedVRN, image: Float[Tensor, "3 h w"], landmarks: Float[Tensor, "68 n"]) -> ipywidgets.VBox:
    """A slider for the spread of the Gaussians that guide a network, whatever it was trained with.

    Its plain twin is ``figures.guided_figure(network, image, landmarks, sigma=2.0)``.
    """
    return explore(lambda sigma: figures.guided_figure(network, image, landmarks, sigma=sigma), sigma=(0.25, 5.25, network.sigma))


def wrong_landmarks(network: GuidedVRN, image: Float[Tensor, "3 h w"], landmarks: Float[Tensor, "68 n"]) -> ipywidgets.VBox:
    """Sliders that displace all landmarks, or those of one part, and the guided network's answer to them.

    Its plain twin is ``figures.guided_figure(network, image, landmarks.displaced(points, "jaw", right=5))``.
    """

    def draw(part: str, right: float, down: float, turn: float, scale: float) -> go.Figure:
        return figures.guided_figure(network, image, displaced(landmarks, part, right=right, down=down, turn=turn, scale=scale))

    reach = image.shape[-1] / 4
    return explore(draw, part=("all", *GROUPS), right=(-reach, reach, 0), down=(-reach, reach, 0), turn=(-60, 60, 0), scale=(0.5, 1.5, 1))


class Photograph(ipywidgets.VBox):
    """Your own photograph: upload it or name a file, put the box over the face, reconstruct.

    The box starts at the face that is found, or in the middle where none is. Its plain twin is
    ``vrn.reconstruct("me.jpg", box=(x0, y0, x1, y1))``.

    Parameters
    ----------
    photo : to begin with; a file or an array.
    model, detector : as in `vrn_lite.reconstruct`.

    Attributes
    ----------
    photo : ``[h, w, 3]`` bytes, or None before there is one.
    result : the last `Reconstruction`, for the cells that follow; None before there is one.
    """

    def __init__(
        self, photo: str | Path | np.ndarray | None = None, model: str | FaceNetwork | None = None, detector: str | LandmarkDetector | None = None
    ) -> None:
        self.photo: Photo | None = None
        self.result: Reconstruction | None = None
        self.model, self.detector = model, detector
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=False, description="Upload")
        self.file = ipywidgets.Text(placeholder="or a file beside this notebook: me.jpg", continuous_update=False, layout=ipywidgets.Layout(width="24em"))
        self.sides = [ipywidgets.IntSlider(description=side, min=0, max=1, continuous_update=False) for side in ("left", "top", "right", "bottom")]
        self.go = ipywidgets.Button(description="Reconstruct", button_style="primary", disabled=True)
        self.line = ipywidgets.HTML("Upload a photograph, or name a file.")
        self.image = _picture(WIDTH)
        self._moving = False
        super().__init__([ipywidgets.HBox([self.upload, self.file]), *self.sides, ipywidgets.HBox([self.go, self.line]), self.image])
        self.upload.observe(self._uploaded, names="value")
        self.file.observe(self._named, names="value")
        for side in self.sides:
            side.observe(self._moved, names="value")
        self.go.on_click(lambda _: self.reconstruct())
        if photo is not None:
            self.load(photo)

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1) in the photograph's pixels."""
        x0, y0, x1, y1 = (float(side.value) for side in self.sides)
        return x0, y0, x1, y1

    def load(self, photo: str | Path | np.ndarray) -> None:
        """Take a photograph and look for a face in it; what is wrong with it is said in the line."""
        try:
            self.photo = read_photo(photo)
        except InputError as error:
            self.line.value = _said(error)
            return
        self.result = None
        height, width = self.photo.shape[:2]
        try:
            box, words = detect_face(self.photo), "A face was found. Move the frame if it does not reach from the brows to the chin and from ear to ear."
        except InputError:
            box = width / 3, height / 3, 2 * width / 3, 2 * height / 3
            words = "No face was found: move the frame over it with the sliders, from the brows to the chin and from ear to ear."
        self._moving = True
        for side, value, most in zip(self.sides, box, (width, height, width, height), strict=True):
            side.max = most
            side.value = min(max(round(value), 0), most)
        self._moving = False
        self.go.disabled = False
        self._draw(words)

    def reconstruct(self) -> None:
        """Reconstruct the face in the box, and show it from three sides."""
        if self.photo is None:
            self.line.value = "There is no photograph yet: upload one, or name a file."
            return
        self.line.value = "Reconstructing, a few seconds ..."
        try:
            self.result = reconstruct(self.photo, self.model, self.box, detector=self.detector)
        except InputError as error:
            self.line.value = _said(error)
            return
        self.image.value = picture(turned_views(self.result), WIDTH)
        self.line.value = f"{len(self.result.mesh.vertices):,} vertices. The next cell has the face to turn, and files of it."

    def _uploaded(self, _change: object) -> None:
        for name, content in uploads(self.upload.value):
            with TemporaryDirectory() as folder:
                path = Path(folder) / Path(name).name
                path.write_bytes(content)
                self.load(path)
                self.line.value = self.line.value.replace(escape(str(path)), escape(name))

    def _named(self, _change: object) -> None:
        if self.file.value.strip():
            self.load(self.file.value.strip())

    def _moved(self, _change: object) -> None:
        if not self._moving and self.photo is not None:
            self._draw("")

    def _draw(self, words: str) -> None:
        """The photograph with its box, reduced to what a screen shows."""
        assert self.photo is not None
        step = max(self.photo.shape[:2]) / 640
        small = np.asarray(PillowImage.fromarray(self.photo).resize([max(1, round(size / max(step, 1))) for size in self.photo.shape[1::-1]]))
        frame = [value / max(step, 1) for value in self.box]
        try:
            checked(self.box, self.photo)
            self.line.value = words
        except InputError as error:
            self.line.value = _said(error)
        self.image.value = picture(figures.images_figure({"your photograph": small / 255}, boxes={"your photograph": frame}), WIDTH)


def uploads(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """Names and contents of what a FileUpload holds: a dictionary by name in ipywidgets 7, a tuple of dictionaries in 8.

    Examples
    --------
    >>> uploads({"me.jpg": {"metadata": {"name": "me.jpg"}, "content": b"1"}}) == uploads(({"name": "me.jpg", "content": memoryview(b"1")},))
    True
    """
    if isinstance(value, Mapping):
        return [(name, bytes(item["content"])) for name, item in value.items()]
    return [(item["name"], bytes(item["content"])) for item in value]


def turned_views(result: Reconstruction) -> go.Figure:
    """A reconstruction from the left, the front and the right, for a still picture."""
    mesh = result.mesh
    part = {"vertices": mesh.vertices, "triangles": mesh.faces, "colours": mesh.visual.vertex_colors[:, :3]}
    views = {"from the left": 55, "from the front": 0, "from the right": -55}
    figure = figures.linked_figure(dict.fromkeys(views, part), most_vertices=figures.MOST_VERTICES // 2)
    for scene, turn in zip(figure.select_scenes(), views.values(), strict=True):
        scene.camera = figures.turned_camera(turn)
    figure.layout.sliders = ()
    return figure


@dataclass(frozen=True)
class Still:
    """A PNG picture and a sentence about it."""

    png: bytes
    description: str

    def __repr__(self) -> str:
        return self.description

    def _repr_png_(self) -> bytes:
        return self.png


class Live:
    """A picture that a loop redraws in place, a training for example. It needs no widgets, and its last state stays in the notebook.

    Parameters
    ----------
    every : least seconds between two pictures; drawing one takes a fraction of a second.
    """

    def __init__(self, every: float = 4.0) -> None:
        self.every = every
        self._due = -inf
        self._shown: Any = None
        self._kept: list[bytes] = []

    def draw(self, figure: Callable[[], go.Figure], description: str, *, now: bool = False) -> bool:
        """Redraw with what `figure` gives, unless the last picture is too young; `now` draws in any case. Tells whether it has drawn."""
        if time.monotonic() < self._due and not now:
            return False
        still = Still(picture(figure()), description)
        if self._shown is None:
            self._shown = display(still, display_id=True)
        else:
            self._shown.update(still)
        self._kept.append(still.png)
        self._due = time.monotonic() + self.every
        return True

    def movie(self, title: str = "", most: int = 10) -> go.Figure:
        """All pictures so far, at most `most` of them spread evenly, as one figure with a slider and a play button.

        Raises
        ------
        InputError : nothing has been drawn yet.
        """
        require(len(self._kept) > 0, "there is no picture yet: call draw first")
        kept = np.unique(np.linspace(0, len(self._kept) - 1, min(most, len(self._kept))).round().astype(int))
        return figures.film_figure({f"{number + 1} of {len(self._kept)}": self._kept[number] for number in kept}, title, slider="picture")
