"""A photograph read, whatever its format.

Its frame: pixel (r, c) is centred at (c + 1/2, r + 1/2), x right, y down.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow, ImageOps

from vrn_lite.frame import InputError, require

Photo = UInt8[np.ndarray, "H W 3"]
Box = tuple[float, float, float, float]

SMALLEST, MOST_PIXELS = 32, 130_000_000
"""Shortest side and most pixels of a photograph that is read (reading takes about 8 bytes a pixel)."""


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
