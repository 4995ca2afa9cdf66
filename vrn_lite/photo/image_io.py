"""A picture read, whatever its format, through the one door that the package has for pictures.

A photograph's frame: pixel (r, c) is centred at (c + 1/2, r + 1/2), x right, y down.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow, ImageCms, ImageOps
from torch import Tensor

from vrn_lite.frame import InputError, require

Photo = UInt8[np.ndarray, "H W 3"]
Box = tuple[float, float, float, float]
PhotoSource = str | Path | bytes | BufferedIOBase | np.ndarray | Tensor | Pillow.Image

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What is read; other formats that Pillow knows are no photographs, and some start programs (EPS: Ghostscript)."""

HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
"""Brands of HEIF files, bytes 8 to 12, that iPhones write."""

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats whose frames are pictures of their own; further pages of others are thumbnails and the like."""

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")

SMALLEST, MOST_PIXELS = 32, 130_000_000
"""Shortest side and most pixels of a photograph that is read (reading takes about 8 bytes a pixel)."""


class UnreadableError(InputError):
    """A picture that cannot be read."""


@contextmanager
def open_image(source: str | Path | bytes | BufferedIOBase, name: str | None = None) -> Iterator[Pillow.Image]:
    """Open a picture of one of the `FORMATS` (or HEIC, where pillow-heif is installed) for the block that follows.

    Parameters
    ----------
    source : a file, its content, or an open binary file.
    name : for messages; by default the file's.

    Raises
    ------
    UnreadableError : no such file, no picture, too many pixels, or whatever a decoder raises within the block.
    """
    name = name or name_of(source)
    with ExitStack() as stack:
        stack.enter_context(_one_line(name))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what can be read is read
        if isinstance(source, str | Path):
            path = Path(source)
            require(path.exists(), f"no such photograph: {name}")
            require(path.is_file(), f"{name} is no file: name a photograph inside it")
            require(path.stat().st_size > 0, f"{name} is empty: copy or download it again")
            source = stack.enter_context(path.open("rb"))
        file = BytesIO(source) if isinstance(source, bytes) else source
        yield stack.enter_context(_opened(file, name))


def name_of(photo: PhotoSource) -> str:
    """What messages call a photograph: its file, or "the image"."""
    return str(photo if isinstance(photo, str | Path) else getattr(photo, "name", None) or "the image")


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Whatever goes wrong in the block becomes one error with the picture's name."""
    try:
        yield
    except InputError as error:
        raise UnreadableError(str(error) if name in str(error) else f"{name}: {error}") from error
    except Exception as error:  # decoders raise all sorts: struct.error, RuntimeError, SyntaxError, MemoryError
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:120] or type(error).__name__
        advice = "it is damaged or protected, save it again as JPEG or PNG"
        raise UnreadableError(f"cannot read {name} ({reason}): {advice}") from error


def _opened(file: BufferedIOBase, name: str) -> Pillow.Image:
    Pillow.init()  # registers all formats, opens none
    many = f"{name} has too many pixels: reduce it to at most {MOST_PIXELS / 1e6:.0f} million"
    try:
        image = Pillow.open(cast(IO[bytes], file), formats=[kind for kind in FORMATS if kind in Pillow.OPEN])
    except Pillow.DecompressionBombError:
        raise InputError(many) from None
    except Pillow.UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        heif = head[4:8] == b"ftyp" and head[8:] in HEIF
        require(heif, f"{name} is not an image that can be read: save it as JPEG, PNG or WebP")
        try:
            from pillow_heif import open_heif
        except ImportError:
            raise InputError(f"{name} is a HEIC photograph: pip install pillow-heif, or save it as JPEG") from None
        file.seek(0)
        image = cast(Any, open_heif(file))
    require(image.size[0] * image.size[1] <= MOST_PIXELS, many)
    return image if isinstance(image, Pillow.Image) else image.to_pillow()


def read_photo(photo: PhotoSource, name: str | None = None, frame: int | None = None) -> Photo:
    """A photograph as ``[h, w, 3]`` bytes: upright (EXIF), in sRGB, 16 bit reduced to 8, alpha over white.

    Parameters
    ----------
    photo : a file, its content, an open binary file, a Pillow image, or numbers: an array or tensor ``[h, w]``,
        ``[h, w, c]`` or ``[c, h, w]`` with c in 1, 3, 4; floats in [0, 1], or whole numbers up to 255, or up to 65535.
    name : for messages; by default the file's.
    frame : of an animated picture; by default the first, with a warning that there are more.

    Raises
    ------
    UnreadableError : nothing of that kind, no such file, damaged, numbers out of range, shorter than 32 pixels, or more
        than `MOST_PIXELS`.
    """
    name = name or name_of(photo)
    with _one_line(name):
        if isinstance(photo, Tensor):
            photo = photo.detach().cpu()
            photo = (photo.float() if photo.is_floating_point() else photo).numpy()
        if isinstance(photo, np.ndarray):
            image = _bytes_of(photo)
        elif isinstance(photo, Pillow.Image):
            image = np.asarray(_upright_rgb(photo))
        elif isinstance(photo, str | Path | bytes) or hasattr(photo, "read"):
            with open_image(photo, name) as opened:
                count = _frames(opened)
                if frame is not None:
                    opened.seek(frame)
                image = np.asarray(_upright_rgb(opened))
            if count > 1 and frame is None:
                warnings.warn(f"{name} has {count} frames: the first is taken, reconstruct_all takes all", stacklevel=3)
        else:
            raise InputError(f"a photograph is a file, its content, an image or an array, got {type(photo).__name__}")
        height, width = image.shape[:2]
        small = f"{name} has only {width} x {height} pixels: a face needs at least {SMALLEST} x {SMALLEST}"
        require(min(height, width) >= SMALLEST, small)
    return image


def read_frames(photo: PhotoSource, name: str | None = None, every: int = 1) -> Iterator[tuple[str, Photo]]:
    """Each so-many-th frame of an animated picture or a video, called "NAME (frame 7)"; of others the photograph.

    Raises
    ------
    UnreadableError : as `read_photo`; a video where imageio's ffmpeg plugin is not installed.
    """
    name, count = name or name_of(photo), 1
    if isinstance(photo, str | Path) and Path(photo).suffix.lower() in VIDEOS:
        yield from _video(Path(photo), name, every)
        return
    if isinstance(photo, BufferedIOBase):
        photo = photo.read()
    if isinstance(photo, str | Path | bytes):
        with open_image(photo, name) as opened:
            count = _frames(opened)
    for frame in range(0, count, every):
        page = f"{name} (frame {frame + 1})" if count > 1 else name
        yield page, read_photo(photo, page if count > 1 else name, frame if count > 1 else None)


def _frames(image: Pillow.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in ANIMATED else 1


def _video(path: Path, name: str, every: int) -> Iterator[tuple[str, Photo]]:
    with _one_line(name):
        require(path.is_file(), f"no such video: {name}")
        try:
            import imageio_ffmpeg
        except ImportError:
            raise InputError(f"{name} is a video: pip install imageio-ffmpeg, or pass pictures of it") from None
        # Containers only: a playlist that calls itself a video would open other files and addresses.
        options = ["-format_whitelist", "mov,matroska,avi", "-protocol_whitelist", "file"]
        with closing(imageio_ffmpeg.read_frames(path, input_params=options)) as frames:
            width, height = next(frames)["size"]
            for number, data in enumerate(frames):
                if number % every == 0:
                    yield f"{name} (frame {number + 1})", np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _upright_rgb(image: Pillow.Image) -> Pillow.Image:
    """Turned as EXIF says, in sRGB, on white where transparent."""
    image = _srgb(ImageOps.exif_transpose(image))
    if image.mode.startswith("I") or image.mode == "F":  # 16 bit or 32 bit grey, which convert() would clip
        return Pillow.fromarray(_bytes_of(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Pillow.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _srgb(image: Pillow.Image) -> Pillow.Image:
    """Converted from the colour profile that the picture carries; one that cannot be used is passed over."""
    if not image.info.get("icc_profile") or image.mode.startswith(("I", "F")):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image
        if image.mode not in ("RGB", "L", "CMYK"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        kind = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=kind)
    except (ImageCms.PyCMSError, OSError, ImportError):  # damaged, of another colour space; Pillow without LittleCMS
        return image
    return converted or image


def _bytes_of(values: np.ndarray) -> Photo:
    """Any sensible array as ``[h, w, 3]`` bytes."""
    if values.ndim == 3 and values.shape[2] not in (1, 3, 4) and values.shape[0] in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4))
    require(fits, f"an image is [h, w], [h, w, 3] or [h, w, 4], got {values.shape}")
    require(values.size > 0, f"the image is empty: {values.shape}")
    require(values.dtype.kind in "buif", f"an image holds numbers, got {values.dtype}")
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        require(bool(np.isfinite(values).all()), "the image has values that are not finite (NaN or infinity)")
        require(bool(low >= 0 and high <= 1), f"a float image lies in [0, 1], got {low:g} to {high:g}")
        values = np.rint(values * 255)
    elif values.dtype.kind == "b":
        values = values * 255
    elif values.dtype != np.uint8:
        inside = bool(low >= 0 and high <= 65535)
        require(inside, f"an image of whole numbers lies in [0, 255] or [0, 65535], got {low} to {high}")
        values = values // 257 if high > 255 else values
    values = values.astype(np.uint8).reshape(*values.shape[:2], -1)
    if values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
