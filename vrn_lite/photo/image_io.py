"""A photograph read, whatever its format, and the face in it found.

Both work in the photograph's frame: pixel (r, c) is centred at (c + 1/2, r + 1/2), x right, y down.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pillow, ImageOps
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from skimage.transform import resize, rotate

from vrn_lite.frame import InputError, require

Photo = UInt8[np.ndarray, "H W 3"]
Box = tuple[float, float, float, float]

SMALLEST, MOST_PIXELS = 32, 130_000_000
"""Shortest side and most pixels of a photograph that is read (reading takes about 8 bytes a pixel)."""

DOWN, SCALE = 0.17, 0.92
"""From the detector's square to the box of the 68 landmarks: its centre lies lower by this share of the square's side (and
no further to one side, as the detector looks at both mirror images), its sqrt(width * height) is this share of the side.
Medians over 113 frontal renders of ICT-FaceKit (yaw within 15 degrees, all expressions, 192 px); they scatter by 0.06
and 0.13, which the training's jitter covers. A test fits them again."""

LOOKS = (((160, 190, 220, 250, 280), (0,), 0.15, 1.4, 5), ((160, 200, 240), (-15, 15), 0.15, 1.4, 3), ((360, 480, 600), (0,), 0.05, 0.2, 3))
"""Where the detector looks, in turn, until it finds a face: longer sides in pixels, in-plane tilts in degrees, smallest
and largest square as shares of the longer side, and how many looks so far must agree."""

MARGIN = 0.2
"""The photograph's edge is repeated by this share of its longer side, so that faces that fill it are found."""


def read_photo(photo: str | Path | np.ndarray | Pillow.Image) -> Photo:
    """A photograph as ``[h, w, 3]`` bytes, upright: EXIF orientation applied, grey, palette, CMYK and 16 bit converted, alpha over white.

    Raises
    ------
    InputError : no such file, not an image, damaged, shorter than 32 pixels, or larger than `MOST_PIXELS`.
    """
    if isinstance(photo, np.ndarray):
        image = _bytes_of(photo)
    elif isinstance(photo, Pillow.Image):
        image = np.asarray(_upright_rgb(photo))
    else:
        image = _read_file(Path(photo))
    height, width = image.shape[:2]
    name = "the image" if isinstance(photo, np.ndarray | Pillow.Image) else str(photo)
    require(min(height, width) >= SMALLEST, f"{name} has only {width} x {height} pixels: a face needs at least {SMALLEST} x {SMALLEST}")
    return image


def _read_file(path: Path) -> Photo:
    require(path.exists(), f"no such photograph: {path}")
    require(path.is_file(), f"{path} is no file: name a photograph inside it")
    require(path.stat().st_size > 0, f"{path} is empty: copy or download it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what can be read is read
        try:
            with Pillow.open(path) as opened:
                width, height = opened.size
                require(width * height <= MOST_PIXELS, f"{path} has {width} x {height} pixels: reduce it to at most {MOST_PIXELS / 1e6:.0f} million")
                return np.asarray(_upright_rgb(opened))
        except Pillow.UnidentifiedImageError:
            raise InputError(f"{path} is not an image that can be read: save it as JPEG, PNG or WebP") from None
        except Pillow.DecompressionBombError:
            raise InputError(f"{path} has too many pixels: reduce it to at most {MOST_PIXELS / 1e6:.0f} million") from None
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"cannot read {path} ({error}): it is damaged or protected, save it again as JPEG or PNG") from None


def _upright_rgb(image: Pillow.Image) -> Pillow.Image:
    """Turned as EXIF says, on white where transparent, in RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 bit or 32 bit grey, which convert() would clip
        return Pillow.fromarray(_bytes_of(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Pillow.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _bytes_of(values: np.ndarray) -> Photo:
    """Any sensible array as ``[h, w, 3]`` bytes: floats in [0, 1], 8 bit, or 16 bit in whatever integers they come."""
    require(values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4)), f"an image is [h, w], [h, w, 3] or [h, w, 4], got {values.shape}")
    require(values.size > 0, f"the image is empty: {values.shape}")
    require(values.dtype.kind in "buif", f"an image holds numbers, got {values.dtype}")
    if values.dtype.kind == "f":
        require(bool(np.isfinite(values).all()), "the image has values that are not finite (NaN or infinity)")
        require(bool(values.min() >= 0 and values.max() <= 1), f"a float image lies in [0, 1], got {values.min():g} to {values.max():g}")
        values = np.rint(values * 255)
    elif values.dtype.kind == "b":
        values = values * 255
    elif values.dtype != np.uint8 and values.max() > 255:
        values = np.clip(values, 0, 65535) // 257
    values = values.astype(np.uint8).reshape(*values.shape[:2], -1)
    if values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def detect_face(image: Photo, name: str = "the image") -> Box:
    """The landmark-style box (x0, y0, x1, y1) of the largest frontal face, in the photograph's pixels.

    scikit-image's LBP cascade looks at the photograph and at its mirror image in several sizes, then tilted, then in
    larger sizes for small faces. Squares that several looks agree on count, and the largest of them wins.

    Raises
    ------
    InputError : none found.
    """
    cascade = Cascade(lbp_frontal_face_cascade_filename())
    squares = np.zeros((0, 3))
    for sides, tilts, least, most, votes in LOOKS:
        squares = np.concatenate([squares, *(_look(cascade, image, side, tilt, least, most) for side in sides for tilt in tilts)])
        agreed = _agreed(squares, votes)
        if len(agreed):
            x, y, side = map(float, agreed[agreed[:, 2].argmax()])
            half = SCALE * side / 2
            return x - half, y - half, x + half, y + half
    raise InputError(f"no face found in {name}: pass --box X0 Y0 X1 Y1 (in Python, box=(x0, y0, x1, y1)) around the face's landmarks")


def _look(cascade: Cascade, image: Photo, side: int, tilt: float, least: float, most: float) -> Float[np.ndarray, "k 3"]:
    """Faces (x and y of the landmarks' centre, side of the square) that the cascade finds at one size and tilt, seen both ways."""
    step = max(1, max(image.shape[:2]) // 1280)  # resampling a huge photograph whole would need gigabytes
    coarse = image[::step, ::step]
    zoom = side / max(coarse.shape[:2])
    seen = resize(coarse, [max(1, round(size * zoom)) for size in coarse.shape[:2]], anti_aliasing=zoom < 1)
    seen = np.pad(seen, [(round(MARGIN * side),) * 2] * 2 + [(0, 0)], mode="edge")
    centre = np.array(seen.shape[1::-1]) / 2
    cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    sizes = {"min_size": (max(24, round(least * side)),) * 2, "max_size": (round(most * side),) * 2}
    found = []
    for view, sign in ((rotate(seen, tilt, mode="edge"), 1), (rotate(seen, tilt, mode="edge")[:, ::-1], -1)):
        for square in cascade.detect_multi_scale(np.ascontiguousarray(view), scale_factor=1.2, step_ratio=1, **sizes):
            x, y = (np.array([square["c"], square["r"]]) + square["width"] * np.array([0.5, 0.5 + DOWN]) - centre) * (sign, 1)
            middle = centre + (x * cosine - y * sine, x * sine + y * cosine) - round(MARGIN * side)
            found.append([*middle / zoom * step, square["width"] / zoom * step])
    return np.array(found).reshape(-1, 3)


def _agreed(squares: Float[np.ndarray, "k 3"], votes: int) -> Float[np.ndarray, "m 3"]:
    """Medians of groups of at least `votes` squares alike in place and size; of overlapping groups the one with most squares."""
    apart = np.linalg.norm(squares[:, None, :2] - squares[None, :, :2], axis=-1) / np.minimum(squares[:, None, 2], squares[None, :, 2])
    alike = (apart < 0.35) & (np.abs(np.log(squares[:, None, 2] / squares[None, :, 2])) < 0.5)
    groups, free = [], np.ones(len(squares), dtype=bool)
    for row in np.argsort(-alike.sum(1), kind="stable"):
        if free[row] and alike[row].sum() >= votes:
            groups.append(np.median(squares[alike[row]], axis=0))
            free &= apart[row] > 0.7
    return np.array(groups).reshape(-1, 3)
