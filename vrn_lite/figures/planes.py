"""Images, sheets of images, and volumes slice by slice or as a lit relief."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.colors import to_rgb
from PIL import Image as PillowImage
from torch import Tensor

from vrn_lite.figures.look import COLOURS, MAP, SKIN, Array, add_movie, add_slider, colour_table, landmark_lines, layout, numbers
from vrn_lite.frame import AUTHORS_DEPTH_SCALE, require

FRAME = "#f0e442"
"""Colour of a box in a photograph: yellow, seen on skin and on dark."""

MOST_PNG_PIXELS = 200 * 200
"""Larger colour images are stored as JPEG."""


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
    first = int(np.abs(kept - wanted).argmin())
    pages = {f"{d} (z = {(d + 0.5) / depth_scale:.1f} px)": values[d] for d in kept}
    return pages_figure(pages, title, slider="slice d", start=first, bar="inside")


def pages_figure(images: Mapping[str, Array], title: str = "", *, slider: str, start: int = 0, bar: str = "", play: bool = False) -> go.Figure:
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
    pages = {label: numbers(image).astype(np.float32) for label, image in images.items()}
    sizes = {page.shape[:2] for page in pages.values()}
    require(len(sizes) == 1, f"the images must have one size, got {sorted(sizes)}")
    sources = [data_address(page) for page in pages.values()]
    figure = go.Figure(layout=layout(title))
    figure.add_trace(go.Image(source=sources[start], x0=0.5, y0=0.5, hovertemplate="x %{x}, y %{y} px<extra></extra>"))
    if bar:
        figure.add_trace(_colour_bar(bar))
    image_axes(figure, sizes.pop())
    if play:
        add_movie(figure, slider, {label: [{"source": source}] for label, source in zip(pages, sources, strict=True)}, start)
        return figure
    # Two properties a step: with one, Plotly would look up the slider's place by its value, and empty slices are alike.
    steps = [(label, {"source": [source], "name": [label]}) for label, source in zip(pages, sources, strict=True)]
    add_slider(figure, slider, steps, start)
    for step in figure.layout.sliders[0].steps:
        step.args = [*step.args, [0]]  # restyle the image, not the colour bar
    return figure


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
    figure = go.Figure(layout=layout(title, height=420))
    gap = 0.04
    wide = (1 - gap * (len(images) - 1)) / len(images)
    for number, (name, image) in enumerate(images.items()):
        values = numbers(image)
        values = values.transpose(1, 2, 0) if values.ndim == 3 and values.shape[0] == 3 else values
        axis = "" if number == 0 else str(number + 1)
        left = number * (wide + gap)
        hover = {"hovertemplate": "x %{x}, y %{y} px<extra></extra>"}
        figure.add_trace(go.Image(source=data_address(values.astype(np.float32)), x0=0.5, y0=0.5, name=name, xaxis=f"x{axis}", yaxis=f"y{axis}", **hover))
        image_axes(figure, values.shape[:2], axis, (left, left + wide), f"{name}<br>x right (px)")
        if landmarks and name in landmarks:
            x, y = np.round(landmark_lines(numbers(landmarks[name])[:, :2]), 2).T
            look = {"marker": {"size": 4, "color": COLOURS[5]}, "line": {"width": 1.5, "color": COLOURS[5]}}
            figure.add_trace(go.Scatter(x=x, y=y, xaxis=f"x{axis}", yaxis=f"y{axis}", mode="lines+markers", showlegend=False, hoverinfo="skip", **look))
        if boxes and name in boxes:
            x0, y0, x1, y1 = map(float, boxes[name])
            figure.add_shape(type="rect", x0=x0, y0=y0, x1=x1, y1=y1, xref=f"x{axis}", yref=f"y{axis}", line={"color": FRAME, "width": 3})
    return figure


def sheet_figure(
    columns: Mapping[str, Float[Tensor, "k 3 h w"]], title: str = "", *, landmarks: Mapping[str, Float[Tensor, "k 68 n"]] | None = None
) -> go.Figure:
    """The same few faces, one in each row, seen in different ways: one column for each, named below it.

    Parameters
    ----------
    columns : name -> ``[k, 3, h, w]`` in [0, 1], all of one size.
    landmarks : name of a column -> ``[k, 68, 2 or 3]``, in the pixels of one image.
    """
    count, _, height, width = next(iter(columns.values())).shape
    sheet = torch.cat([torch.cat(list(images.detach().cpu().float()), 1) for images in columns.values()], 2)  # [3, k h, columns w]
    figure = go.Figure(layout=layout(title, height=max(300, min(680, 80 + 720 * count // max(len(columns), count)))))
    figure.add_trace(go.Image(source=data_address(sheet.permute(1, 2, 0).numpy()), x0=0.5, y0=0.5, hoverinfo="skip"))
    image_axes(figure, sheet.shape[1:], title="")
    middles = [(number + 0.5) * width for number in range(len(columns))]
    figure.update_layout(xaxis={"tickvals": middles, "ticktext": list(columns), "ticks": ""}, yaxis={"tickvals": [], "title": None}, margin={"b": 56, "l": 8})
    for number, name in enumerate(columns):
        for row, points in enumerate((landmarks or {}).get(name, ())):
            x, y = np.round(landmark_lines(numbers(points)[:, :2] + (number * width, row * height)), 2).T
            look = {"marker": {"size": 2, "color": COLOURS[5]}, "line": {"width": 1, "color": COLOURS[5]}}
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines+markers", showlegend=False, hoverinfo="skip", **look))
    return figure


def relief(volumes: Float[Tensor, "*b d h w"] | Bool[Tensor, "*b d h w"], depth_scale: float = AUTHORS_DEPTH_SCALE) -> Float[Tensor, "*b 3 h w"]:
    """Solids as the viewer sees them, lit from the upper left, on white: a quick look at a volume without making a mesh.

    Parameters
    ----------
    volumes : ``[..., d, h, w]``, bits or probabilities; the surface is where they, a little blurred, reach one half.
    depth_scale : slices per pixel.
    """
    shape = volumes.shape
    pictures = torch.empty(*shape[:-3], 3, *shape[-2:])
    for volume, picture in zip(volumes.reshape(-1, *shape[-3:]), pictures.view(-1, 3, *shape[-2:]), strict=True):
        picture.copy_(_lit(volume[None], depth_scale)[0])  # one by one: the steps between take three times a volume's memory
    return pictures


def _lit(volumes: Float[Tensor, "b d h w"] | Bool[Tensor, "b d h w"], depth_scale: float) -> Float[Tensor, "b 3 h w"]:
    """See `relief`."""
    soft = volumes.detach().cpu().float()
    soft = F.avg_pool3d(F.avg_pool3d(soft, 3, stride=1, padding=1), 3, stride=1, padding=1)  # takes the terraces off
    padded = F.pad(soft, (0, 0, 0, 0, 1, 0))
    first = (soft > 0.5).int().argmax(1, keepdim=True)  # the first slice inside, or 0
    before, after = padded.gather(1, first)[:, 0], padded.gather(1, first + 1)[:, 0]
    depth = (first[:, 0] - (after - 0.5) / (after - before).clamp(min=1e-6)) / depth_scale
    inside = (soft > 0.5).any(1)
    slopes = [_slope(depth, inside, axis) for axis in (2, 1)]  # along x, along y
    normals = torch.stack((*slopes, torch.full_like(depth, -1.0)), 1)
    light = F.normalize(torch.tensor([-0.45, -0.5, -0.75]), dim=0)
    shade = 0.25 + 0.75 * (F.normalize(normals, dim=1) * light[:, None, None]).sum(1).clamp(min=0)
    skin = torch.tensor(to_rgb(SKIN))[:, None, None]
    return torch.where(inside[:, None], shade[:, None] * skin, torch.ones(()))


def _slope(depth: Float[Tensor, "b h w"], inside: Bool[Tensor, "b h w"], axis: int) -> Float[Tensor, "b h w"]:
    """Mean of the differences to the two neighbours along an axis, as far as both ends are inside."""
    step = depth.diff(dim=axis) * (inside.narrow(axis, 1, depth.shape[axis] - 1) & inside.narrow(axis, 0, depth.shape[axis] - 1))
    pad = (0, 0, 1, 0) if axis == 1 else (1, 0)
    end = (0, 0, 0, 1) if axis == 1 else (0, 1)
    return ((F.pad(step, pad) + F.pad(step, end)) / 2).clamp(-3, 3)


def film_figure(pictures: Mapping[str, bytes], title: str = "", *, slider: str) -> go.Figure:
    """Ready pictures (PNG, all of one size), one at a time, with a slider and a play button: the slider's label -> the file's bytes."""
    pages = {label: np.asarray(PillowImage.open(BytesIO(png)).convert("RGB")) / 255 for label, png in pictures.items()}
    figure = pages_figure(pages, title, slider=slider, start=len(pages) - 1, play=True)
    bare = {"showticklabels": False, "showgrid": False, "ticks": "", "title": None}
    figure.update_layout(xaxis=bare, yaxis=bare, margin={"l": 8, "b": 8})
    figure.update_traces(hoverinfo="skip", hovertemplate=None)
    return figure


def _colour_bar(name: str) -> go.Scatter:
    """A colour bar from 0 to 1 for images that were coloured before."""
    marker = {"color": [0.0, 1.0], "colorscale": MAP, "cmin": 0, "cmax": 1, "showscale": True, "size": 0.1, "opacity": 0}
    marker["colorbar"] = {"title": {"text": name}, "len": 0.8, "thickness": 14}
    return go.Scatter(x=[0, 0], y=[0, 0], mode="markers", marker=marker, hoverinfo="skip", showlegend=False)


def data_address(values: Float[np.ndarray, "h w"] | np.ndarray) -> str:
    """Values in [0, 1] through the colour map, or an RGB image ``[h, w, 3]``, as a data address."""
    bytes_ = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    image = PillowImage.fromarray(bytes_)
    kind = "jpeg" if bytes_.ndim == 3 and image.width * image.height > MOST_PNG_PIXELS else "png"
    if bytes_.ndim == 2:
        image.putpalette(np.rint(255 * colour_table()).astype(np.uint8).tobytes())
    stream = BytesIO()
    image.save(stream, kind, optimize=True, quality=90)
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode()


def image_axes(figure: go.Figure, size: Sequence[int], axis: str = "", domain: tuple[float, float] = (0, 1), title: str = "x right (px)") -> None:
    """Equal axes in pixels, y down, in a part of the figure."""
    height, width = size
    x = {"range": [0, width], "domain": domain, "title": {"text": title, "standoff": 6}, "constrain": "domain", "zeroline": False, "anchor": f"y{axis}"}
    y = {"range": [height, 0], "scaleanchor": f"x{axis}", "constrain": "domain", "zeroline": False, "anchor": f"x{axis}", "automargin": True}
    if domain[0] == 0:
        y["title"] = {"text": "y down (px)"}
    figure.update_layout({f"xaxis{axis}": x, f"yaxis{axis}": y, "margin_b": 68, "margin_l": 56})
