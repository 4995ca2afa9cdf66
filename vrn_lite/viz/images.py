"""Images side by side, in sheets, or page by page; and volumes slice by slice."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage, ImageDraw
from plotly.subplots import make_subplots
from torch import Tensor

from vrn_lite.frame import AUTHORS_DEPTH_SCALE, require
from vrn_lite.photo.image_io import open_image
from vrn_lite.viz.style import COLOURS, MAP, Array, add_pages, colour_table, landmark_lines, layout, numbers

FRAME = "#f0e442"
"""Colour of a box in a photograph: yellow, seen on skin and on dark."""

MOST_PNG_PIXELS = 200 * 200
"""Larger colour images are stored as JPEG."""


def images_figure(
    images: Mapping[str, Array],
    title: str = "",
    *,
    landmarks: Mapping[str, Array] | None = None,
    boxes: Mapping[str, Sequence[float]] | None = None,
) -> go.Figure:
    """Images side by side, each under its name, with landmarks where given.

    Parameters
    ----------
    images : name -> ``[h, w, 3]``, ``[3, h, w]``, or ``[h, w]`` (drawn through the colour map), values in [0, 1].
    landmarks : name -> ``[68, 2 or 3]``, in the image's pixels.
    boxes : name -> (x0, y0, x1, y1) in the image's pixels, drawn as a frame.
    """
    figure = make_subplots(rows=1, cols=len(images), horizontal_spacing=0.04)
    for column, (name, image) in enumerate(images.items(), 1):
        values = numbers(image)
        values = values.transpose(1, 2, 0) if values.ndim == 3 and values.shape[0] == 3 else values
        figure.add_trace(_image(data_address(values)).update(name=name), row=1, col=column)
        _set_axes(figure, values.shape[:2], column, f"{name}<br>x right (px)")
        if landmarks and name in landmarks:
            figure.add_trace(_landmarks(numbers(landmarks[name])[:, :2], 4, 1.5), row=1, col=column)
        if boxes and name in boxes:
            corners = dict(zip(("x0", "y0", "x1", "y1"), map(float, boxes[name]), strict=True))
            figure.add_shape(type="rect", line={"color": FRAME, "width": 3}, row=1, col=column, **corners)
    figure.update_layout(layout(title, height=420), margin={"b": 68, "l": 56})
    return figure


def image_grid(
    columns: Mapping[str, Float[Tensor, "k 3 h w"]],
    title: str = "",
    *,
    landmarks: Mapping[str, Float[Tensor, "k 68 n"]] | None = None,
) -> go.Figure:
    """The same few faces, one in each row, seen in different ways: a column for each, in [0, 1], named below it.

    `landmarks` : name of a column -> ``[k, 68, 2 or 3]``, in the pixels of one image.
    """
    count, _, height, width = next(iter(columns.values())).shape
    sheet = torch.cat([torch.cat(list(images.detach().cpu().float()), 1) for images in columns.values()], 2)
    tall = max(300, min(680, 80 + 720 * count // max(len(columns), count)))
    figure = go.Figure(layout=layout(title, height=tall))
    figure.add_trace(_image(data_address(sheet.permute(1, 2, 0).numpy())).update(hoverinfo="skip"))
    _set_axes(figure, (count * height, len(columns) * width))
    middles = [(number + 0.5) * width for number in range(len(columns))]
    figure.update_layout(xaxis={"tickvals": middles, "ticktext": list(columns), "ticks": "", "title": None})
    figure.update_layout(yaxis={"tickvals": [], "title": None}, margin={"b": 56, "l": 8})
    for number, name in enumerate(columns):
        for row, points in enumerate((landmarks or {}).get(name, ())):
            figure.add_trace(_landmarks(numbers(points)[:, :2] + (number * width, row * height), 2, 1))
    return figure


def contact_sheet(
    images: Float[Tensor, "k 3 h w"], landmarks: Float[Tensor, "k 68 n"] | None = None, columns: int = 8
) -> PillowImage.Image:
    """Many images in [0, 1] in rows, as they are, with their landmarks (pixels) in white: a picture, no figure."""
    height, width = images.shape[-2:]
    sheet = PillowImage.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for number, image in enumerate(images):
        tile = PillowImage.fromarray(_bytes(numbers(image).transpose(1, 2, 0)))
        pen = ImageDraw.Draw(tile)
        lines = np.empty((0, 2)) if landmarks is None else landmark_lines(numbers(landmarks[number])[:, :2])
        for line in np.split(lines, np.flatnonzero(np.isnan(lines[:, 0]))):
            pen.line([tuple(point) for point in line[np.isfinite(line[:, 0])]], fill="white")
        sheet.paste(tile, (number % columns * width, number // columns * height))
    return sheet


def slices_figure(
    volume: Array,
    title: str = "",
    *,
    depth_scale: float = AUTHORS_DEPTH_SCALE,
    slices: int = 48,
    start: int | None = None,
) -> go.Figure:
    """A volume slice by slice, near to far, with a slider.

    Parameters
    ----------
    volume : ``[d, h, w]``, bits or probabilities; dark is 0, bright is 1.
    depth_scale : slices per pixel along the depth.
    slices : how many to keep, evenly spread.
    start : the slice to begin with; by default the first one that is half as full as the fullest.
    """
    values = numbers(volume).astype(np.float32)
    require(values.ndim == 3, f"volume must be [d, h, w], got {values.shape}")
    kept = np.unique(np.linspace(0, len(values) - 1, min(slices, len(values))).round().astype(int))
    full = values.sum((1, 2))
    wanted = int((full >= full.max() / 2).argmax()) if start is None else start
    pages = {f"{d} (z = {(d + 0.5) / depth_scale:.1f} px)": values[d] for d in kept}
    return pages_figure(pages, title, slider="slice d", start=int(np.abs(kept - wanted).argmin()), bar="inside")


def pages_figure(
    images: Mapping[str, Array], title: str = "", *, slider: str, start: int = 0, bar: str = "", play: bool = False
) -> go.Figure:
    """Images of one size, one at a time, with a slider.

    Parameters
    ----------
    images : the slider's label -> ``[h, w, 3]``, or ``[h, w]`` (drawn through the colour map), values in [0, 1].
    slider : its title.
    start : the page to begin with.
    bar : name of the colour bar; none without.
    play : a button that turns the pages, beside the slider.
    """
    require(len(images) > 0, "there are no images to draw")
    sizes = {numbers(image).shape[:2] for image in images.values()}
    require(len(sizes) == 1, f"the images must have one size, got {sorted(sizes)}")
    figure = go.Figure(layout=layout(title))
    figure.add_trace(_image(""))
    if bar:
        figure.add_trace(_colour_bar(bar))
    _set_axes(figure, sizes.pop())
    # Two properties a page: with one, Plotly would look up the slider's place by its value, and empty slices are alike.
    pages = {label: [{"source": data_address(numbers(image)), "name": label}] for label, image in images.items()}
    add_pages(figure, slider, pages, list(pages)[start], play=play)
    return figure


def film_figure(pictures: Mapping[str, bytes], title: str = "", *, slider: str) -> go.Figure:
    """Ready pictures (PNG, of one size), one at a time, with a slider and a play button: label -> the file's bytes."""
    pages = {}
    for label, png in pictures.items():
        with open_image(png) as picture:
            pages[label] = np.asarray(picture.convert("RGB")) / 255
    figure = pages_figure(pages, title, slider=slider, start=len(pages) - 1, play=True)
    bare = {"showticklabels": False, "showgrid": False, "ticks": "", "title": None}
    figure.update_layout(xaxis=bare, yaxis=bare, margin={"l": 8, "b": 8})
    figure.update_traces(hoverinfo="skip", hovertemplate=None)
    return figure


def data_address(values: np.ndarray) -> str:
    """Values in [0, 1] through the colour map, or an RGB image ``[h, w, 3]``, as a data address."""
    image = PillowImage.fromarray(_bytes(values.astype(np.float32)))
    kind = "jpeg" if values.ndim == 3 and image.width * image.height > MOST_PNG_PIXELS else "png"
    if values.ndim == 2:
        image.putpalette(_bytes(colour_table()).tobytes())
    stream = BytesIO()
    image.save(stream, kind, optimize=True, quality=90)
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode()


def _bytes(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _image(source: str) -> go.Image:
    """An image whose first pixel has its centre at 1/2."""
    return go.Image(source=source, x0=0.5, y0=0.5, hovertemplate="x %{x}, y %{y} px<extra></extra>")


def _landmarks(points: Float[np.ndarray, "68 2"], size: float, width: float) -> go.Scatter:
    """The 68 points and their lines."""
    x, y = np.round(landmark_lines(points), 2).T
    style = {"marker": {"size": size, "color": COLOURS[5]}, "line": {"width": width, "color": COLOURS[5]}}
    return go.Scatter(x=x, y=y, mode="lines+markers", showlegend=False, hoverinfo="skip", **style)


def _colour_bar(name: str) -> go.Scatter:
    """A colour bar from 0 to 1 for images that were coloured before."""
    marker: dict[str, Any] = {"color": [0.0, 1.0], "colorscale": MAP, "cmin": 0, "cmax": 1, "size": 0.1, "opacity": 0}
    marker |= {"showscale": True, "colorbar": {"title": {"text": name}, "len": 0.8, "thickness": 14}}
    return go.Scatter(x=[0, 0], y=[0, 0], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def _set_axes(figure: go.Figure, size: Sequence[int], column: int = 1, title: str = "x right (px)") -> None:
    """Equal axes in pixels, y down."""
    axis = "" if column == 1 else str(column)
    both = {"constrain": "domain", "zeroline": False}
    x = both | {"range": [0, size[1]], "title": {"text": title, "standoff": 6}}
    y = both | {"range": [size[0], 0], "scaleanchor": f"x{axis}", "automargin": True}
    if column == 1:
        y["title"] = {"text": "y down (px)"}
    figure.update_layout({f"xaxis{axis}": x, f"yaxis{axis}": y, "margin_b": 68, "margin_l": 56})
