"""What needs a kernel: sliders that recompute a picture, a photograph of one's own, pictures that a loop redraws.

Every widget redraws a PNG, so that it needs nothing of a browser but images and sliders (ipywidgets 7 and 8,
JupyterLab, Colab). What a user gets wrong becomes one line above the picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import inf
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go
from IPython.display import display
from jaxtyping import Float
from PIL import Image as PillowImage
from torch import Tensor

from vrn_lite.faces.morphable import MorphableFace
from vrn_lite.frame import InputError, require
from vrn_lite.landmarks import GROUPS, displaced
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector
from vrn_lite.networks.vrn import GuidedVRN
from vrn_lite.photo.crop import checked
from vrn_lite.photo.finder import detect_face
from vrn_lite.photo.image_io import Box, Photo, PhotoSource, read_photo
from vrn_lite.photo.reconstruct import Reconstruction, reconstruct
from vrn_lite.viz.display import bundle
from vrn_lite.viz.images import film_figure, images_figure
from vrn_lite.viz.meshes import MOST_VERTICES, linked_figure, meshes_figure, turned_camera
from vrn_lite.viz.scenes import SURFACES_VERTICES, drawn_face, face_figure, guided_figure, surface_of
from vrn_lite.viz.still import picture
from vrn_lite.viz.style import Array

Range = tuple[float, float, float]
"""Least, most and start of a slider."""

WIDTH = 800
"""Pixels of a redrawn picture."""


def explore(draw: Callable[..., go.Figure], **ranges: Range | Sequence[str]) -> ipywidgets.VBox:
    """Sliders that redraw a still picture: ``draw(name=value, ...)`` gives a figure for each change.

    Parameters
    ----------
    draw : called with one value for each slider. What it refuses (`InputError`) is said; the picture stays.
    ranges : by the name of its argument, (least, most, start) of a slider, or the words of a menu.
    """
    line, image = ipywidgets.HTML(), _image()
    controls = {name: _control(name, values) for name, values in ranges.items()}

    def redraw(**values: Any) -> None:
        try:
            image.value, line.value = picture(draw(**values), WIDTH), ""
        except InputError as error:
            line.value = _refusal(error)

    surprises = ipywidgets.interactive_output(redraw, controls)
    return ipywidgets.VBox([*controls.values(), surprises, line, image])


def _image() -> ipywidgets.Image:
    """A picture, narrower where there is no room."""
    room = {"width": f"{WIDTH}px", "max_width": "100%", "object_fit": "contain", "align_self": "flex-start"}
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(**room))


def _control(name: str, values: Range | Sequence[str]) -> ipywidgets.Widget:
    """A slider, or a menu."""
    label: dict[str, Any] = {"description": name.replace("_", " "), "style": {"description_width": "7em"}}
    if all(isinstance(value, str) for value in values):
        return ipywidgets.Dropdown(options=list(values), **label)
    low, high, start = map(float, values)
    label |= {"layout": ipywidgets.Layout(width="32em"), "continuous_update": False}
    return ipywidgets.FloatSlider(start, min=low, max=high, step=(high - low) / 40, **label)


def _refusal(error: InputError) -> str:
    return f"<b>{escape(str(error))}</b>"


def face_explorer(
    face: MorphableFace,
    identity: Sequence[int] = (0, 1, 2),
    expression: Sequence[str] = ("jawOpen", "mouthSmile", "browInnerUp"),
) -> ipywidgets.VBox:
    """Sliders for identity, expression and pose of a face, and what follows: mesh, image, volume and a cut.

    Its plain twin is ``viz.face_figure(viz.drawn_face(face, {0: 2.0}, {"jawOpen": 0.5}, yaw=30))``.
    """
    names = {name.removesuffix("_L").removesuffix("_R") for name in face.expression_names} | set(face.expression_names)
    modes = {f"identity_{mode}": mode for mode in identity if mode < len(face.identity)}
    moves = [name for name in expression if name in names]

    def draw(yaw: float, pitch: float, roll: float, **values: float) -> go.Figure:
        who = {mode: values[name] for name, mode in modes.items()}
        what = {name: values[name] for name in moves}
        return face_figure(drawn_face(face, who, what, yaw=yaw, pitch=pitch, roll=roll))

    ranges: dict[str, Range] = dict.fromkeys(modes, (-3.0, 3.0, 0.0)) | dict.fromkeys(moves, (0.0, 1.0, 0.0))
    return explore(draw, **ranges, yaw=(-90, 90, 0), pitch=(-40, 40, 0), roll=(-45, 45, 0))


def iso_level(volume: Array, depth_scale: float = 1.5, start: float = 0.5) -> ipywidgets.VBox:
    """A slider for the level of a volume's surface, which is made anew for each.

    Its plain twin, with the levels made beforehand, is `viz.levels_figure`.
    """

    def draw(level: float) -> go.Figure:
        part = surface_of(volume, level, depth_scale)
        title = f"Surface at probability {level:.2f}"
        return meshes_figure({"": part}, title, most_vertices=SURFACES_VERTICES // 2)

    return explore(draw, level=(0.05, 0.95, start))


def gaussian_sigma(
    network: GuidedVRN, image: Float[Tensor, "3 h w"], landmarks: Float[Tensor, "68 n"]
) -> ipywidgets.VBox:
    """A slider for the spread of the Gaussians that guide a network, whatever it was trained with.

    Its plain twin is ``viz.guided_figure(network, image, landmarks, sigma=2.0)``.
    """
    start = (0.25, 5.25, network.sigma)
    return explore(lambda sigma: guided_figure(network, image, landmarks, sigma=sigma), sigma=start)


def wrong_landmarks(
    network: GuidedVRN, image: Float[Tensor, "3 h w"], landmarks: Float[Tensor, "68 n"]
) -> ipywidgets.VBox:
    """Sliders that displace all landmarks, or those of one part, and the guided network's answer to them.

    Its plain twin is ``viz.guided_figure(network, image, landmarks.displaced(points, "jaw", right=5))``.
    """

    def draw(part: str, **moves: float) -> go.Figure:
        return guided_figure(network, image, displaced(landmarks, part, **moves))

    reach = (-image.shape[-1] / 4, image.shape[-1] / 4, 0)
    return explore(draw, part=("all", *GROUPS), right=reach, down=reach, turn=(-60, 60, 0), scale=(0.5, 1.5, 1))


class Photograph(ipywidgets.VBox):
    """Your own photograph: upload it or name a file, put the box over the face, reconstruct.

    The box starts at the face that is found, or in the middle where none is. Its plain twin is
    ``vrn.reconstruct("me.jpg", box=(x0, y0, x1, y1))``.

    Parameters
    ----------
    photo : to begin with; see `read_photo`.
    model, detector : as in `vrn_lite.reconstruct`.

    Attributes
    ----------
    photo : ``[h, w, 3]`` bytes, or None before there is one.
    result : the last `Reconstruction`, for the cells that follow; None before there is one.
    """

    def __init__(
        self,
        photo: PhotoSource | None = None,
        model: str | FaceNetwork | None = None,
        detector: str | LandmarkDetector | None = None,
    ) -> None:
        self.photo: Photo | None = None
        self.result: Reconstruction | None = None
        self.model = model
        self.detector = detector
        self._moving = False
        # The controls, from top to bottom.
        wide, late = ipywidgets.Layout(width="24em"), {"continuous_update": False}
        self.upload = ipywidgets.FileUpload(accept="image/*", multiple=False, description="Upload")
        self.file = ipywidgets.Text(placeholder="or a file beside this notebook: me.jpg", layout=wide, **late)
        names = ("left", "top", "right", "bottom")
        self.sides = [ipywidgets.IntSlider(description=side, min=0, max=1, **late) for side in names]
        self.go = ipywidgets.Button(description="Reconstruct", button_style="primary", disabled=True)
        self.line = ipywidgets.HTML("Upload a photograph, or name a file.")
        self.image = _image()
        top, bottom = ipywidgets.HBox([self.upload, self.file]), ipywidgets.HBox([self.go, self.line])
        super().__init__([top, *self.sides, bottom, self.image])
        # What they do.
        self.upload.observe(self._uploaded, names="value")
        self.file.observe(self._named, names="value")
        for side in self.sides:
            side.observe(lambda _: self._draw(""), names="value")
        self.go.on_click(lambda _: self.reconstruct())
        if photo is not None:
            self.load(photo)

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1) in the photograph's pixels."""
        x0, y0, x1, y1 = (float(side.value) for side in self.sides)
        return x0, y0, x1, y1

    def load(self, photo: PhotoSource, name: str | None = None) -> None:
        """Take a photograph and look for a face in it; what is wrong with it is said in the line."""
        try:
            self.photo = read_photo(photo, name)
        except InputError as error:
            self.line.value = _refusal(error)
            return
        self.result = None
        height, width = self.photo.shape[:2]
        reach = "from the brows to the chin and from ear to ear."
        try:
            box = detect_face(self.photo)
            words = f"A face was found. Move the frame if it does not reach {reach}"
        except InputError:
            box = width / 3, height / 3, 2 * width / 3, 2 * height / 3
            words = f"No face was found: move the frame over it with the sliders, {reach}"
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
            self.line.value = _refusal(error)
            return
        self.image.value = picture(turned_views(self.result), WIDTH)
        count = len(self.result.mesh.vertices)
        self.line.value = f"{count:,} vertices. The next cell has the face to turn, and files of it."

    def _uploaded(self, _change: object) -> None:
        for name, content in uploads(self.upload.value):
            self.load(content, name)

    def _named(self, _change: object) -> None:
        if self.file.value.strip():
            self.load(self.file.value.strip())

    def _draw(self, words: str) -> None:
        """The photograph with its box, reduced to what a screen shows."""
        if self._moving or self.photo is None:
            return
        step = max(1, max(self.photo.shape[:2]) / 640)
        size = [max(1, round(side / step)) for side in self.photo.shape[1::-1]]
        small = np.asarray(PillowImage.fromarray(self.photo).resize(size)) / 255
        try:
            checked(self.box, self.photo)
            self.line.value = words
        except InputError as error:
            self.line.value = _refusal(error)
        name = "your photograph"
        figure = images_figure({name: small}, boxes={name: [value / step for value in self.box]})
        self.image.value = picture(figure, WIDTH)


def uploads(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    """Names and contents of what a FileUpload holds: a dictionary in ipywidgets 7, a tuple of dictionaries in 8.

    Examples
    --------
    >>> uploads({"me.jpg": {"content": b"1"}}) == uploads(({"name": "me.jpg", "content": memoryview(b"1")},))
    True
    """
    items = value.items() if isinstance(value, Mapping) else [(item["name"], item) for item in value]
    return [(name, bytes(item["content"])) for name, item in items]


def turned_views(result: Reconstruction) -> go.Figure:
    """A reconstruction from the left, the front and the right, for a still picture."""
    mesh = result.mesh
    part = {"vertices": mesh.vertices, "triangles": mesh.faces, "colours": mesh.visual.vertex_colors[:, :3]}
    views = {"from the left": 55, "from the front": 0, "from the right": -55}
    figure = linked_figure(dict.fromkeys(views, part), most_vertices=MOST_VERTICES // 2)
    for scene, turn in zip(figure.select_scenes(), views.values(), strict=True):
        scene.camera = turned_camera(turn)
    figure.layout.sliders = ()
    return figure


class Live:
    """A picture that a loop redraws in place, a training for example. It needs no widgets; its last state stays.

    Parameters
    ----------
    every : least seconds between two pictures; drawing one takes a fraction of a second.
    """

    def __init__(self, every: float = 4.0) -> None:
        self.every = every
        self._due = -inf
        self._handle: Any = None
        self._kept: list[bytes] = []

    def draw(self, figure: Callable[[], go.Figure], description: str, *, now: bool = False) -> bool:
        """Redraw with what `figure` gives, unless the last picture is too young; `now` draws in any case.

        Tells whether it has drawn.
        """
        if time.monotonic() < self._due and not now:
            return False
        self._kept.append(picture(figure()))
        data = bundle(self._kept[-1], description)
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)
        self._due = time.monotonic() + self.every
        return True

    def movie(self, title: str = "", most: int = 10) -> go.Figure:
        """All pictures so far, at most `most` of them spread evenly, as one figure with a slider and a play button.

        Raises
        ------
        InputError : nothing has been drawn yet.
        """
        count = len(self._kept)
        require(count > 0, "there is no picture yet: call draw first")
        chosen = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        pages = {f"{number + 1} of {count}": self._kept[number] for number in chosen}
        return film_figure(pages, title, slider="picture")
