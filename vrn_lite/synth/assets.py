"""MakeHuman's CC0 assets: photographed skins and eyes, haircuts, and the base head they belong to.

From github.com/makehumancommunity/makehuman-assets, released under CC0; the base mesh and the brown iris from the
repository makehuman of the same owner, CC0 too. In the first one the pictures are Git LFS objects, which
media.githubusercontent.com gives.
"""

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vrn_lite.downloads import Download, cache_folder, fetch_once
from vrn_lite.frame import InputError, require
from vrn_lite.photo.image_io import open_image
from vrn_lite.synth.registration import BaseHead

COMMAND = "vrn-lite fetch skins"

SUMS = dict(line.split() for line in Path(__file__).with_name("makehuman.txt").read_text().splitlines())
"""SHA-256 of every source file."""

ASSETS = (
    "https://media.githubusercontent.com/media/makehumancommunity/makehuman-assets/"
    "8cf9645b975a98eea056b140df11a1d278da0d10/base/"
)
MAKEHUMAN = (
    "https://raw.githubusercontent.com/makehumancommunity/makehuman/"
    "a8bc2d54ff0ac92e78ff71431b1023eda42bf482/makehuman/data/"
)
"""Folders of the two repositories; in the second one nothing is under Git LFS."""

ELSEWHERE = {"makehuman_base.obj": "3dobjs/base.obj", "eyes/brown_eye.png": "eyes/materials/brown_eye.png"}
"""Source files in the second repository."""


def _stems(folder: str, ending: str) -> tuple[str, ...]:
    return tuple(Path(name).stem.replace(ending, "") for name in SUMS if name.startswith(folder) and ending in name)


SKINS, EYES, HAIRCUTS = _stems("skins/", "_diffuse"), _stems("eyes/", "_eye"), _stems("hair/", "_diffuse")
"""Names of all skins, eyes and haircuts, in the order of the arrays."""

HELDOUT_SKINS = ("young_lightskinned_male2", "old_darkskinned_male")
"""Skins that training never sees."""

HELDOUT_HAIRCUT = "short03"
"""The haircut that training never sees."""

HEAD = (0.632, 0.17, 1.0, 0.86)
"""Left, upper, right and lower edge of the head on a skin, as shares of its sides (v down)."""

EYE = (0.455, 0.046, 0.955, 0.546)
"""Edges of one of the two eyeballs on a picture of eyes."""

SKIN_SIZE, EYE_SIZE, HAIR_SIZE = (272, 512), (128, 128), 512
"""Pixels of the pictures in the cache: width and height; both of a haircut."""

LANDMARKS = (
    5237, 5201, 5205, 736, 5298, 5224, 5222, 5167, 5225, 11780, 11832, 11834, 11903, 7456, 11816, 11812, 11846,
    5260, 5259, 896, 230, 233,
    7006, 7003, 7598, 11867, 11868,
    132, 131, 291, 297, 5135, 5138, 343, 11752, 11749,
    18, 0, 54, 4869, 47, 36,
    11487, 6838, 6784, 6802, 6820, 6831,
    424, 447, 456, 455, 7215, 7207, 7184, 7166, 7235, 492, 480, 406,
    436, 515, 520, 7262, 7196, 7236, 523, 481,
)  # fmt: skip
"""iBUG-68 vertices of the base mesh, found by eye; in the mean the brows are those of the bone, for no skin has any."""

ARRAYS = ("points", "triangles", "uv", "landmarks", "skins", "eyes", "hair_textures")


def source(
    assets: str = ASSETS, makehuman: str = MAKEHUMAN, sums: Mapping[str, str] = MappingProxyType(SUMS)
) -> Download:
    """The source files in the pinned commits of the public repositories, or in copies of their folders."""
    addresses = {
        name: f"{makehuman}{ELSEWHERE[name]}" if name in ELSEWHERE else f"{assets}{_place(name)}" for name in sums
    }
    return Download(assets, sums, COMMAND, addresses)


def _place(name: str) -> str:
    """Path of a source file in the first repository."""
    folder, _, file = name.partition("/")
    if folder == "hair":
        return f"hair/{re.split('[._]', file)[0]}/{file}"
    return f"{folder}/{'textures' if folder == 'skins' else 'materials'}/{file}"


def cached_skins(folder: str | os.PathLike[str] | None = None) -> Path:
    """The converted file in `folder`, else in that of the variable VRN_LITE_SKINS, else in the user's cache."""
    return Path(folder or os.environ.get("VRN_LITE_SKINS") or cache_folder()) / "makehuman_skins.npz"


def fetched(folder: str | os.PathLike[str] | None = None) -> bool:
    """Whether the photographed skins are there."""
    return cached_skins(folder).is_file()


def fetch_skins(
    cache: str | os.PathLike[str] | None = None, release: Download | None = None, progress: bool = True
) -> Path:
    """Download the skins, eyes and haircuts (about 60 MB) and convert them once; a second call finds the result.

    Parameters
    ----------
    cache : folder for the result and, until it is converted, the source files; None for where `photographed` looks.
    release : where the files are; None for the pinned commits of the public repositories.
    progress : show a bar on standard error.

    Returns
    -------
    Path of the converted file.

    Raises
    ------
    InputError : a file cannot be had, is cut short or is not the known one, or the folder cannot be written.
    """
    bar = "MakeHuman skins" if progress else None
    return fetch_once(cached_skins(cache), release or source(), convert_skins, bar)


def load_skins(folder: str | os.PathLike[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of the converted file.

    Raises
    ------
    InputError : the file is missing or is no such file.
    """
    path = cached_skins(folder)
    found = path.is_file()
    require(found, f"no photographed skins at {path}: run `{COMMAND}` once, or set VRN_LITE_SKINS to their folder")
    try:
        with path.open("rb") as file, np.load(file) as archive:
            require(set(ARRAYS) <= set(archive.files), "arrays are missing")
            return {name: archive[name] for name in archive.files}
    except (OSError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no photographed skins ({error}): remove it and run `{COMMAND}`") from None


def base_head(arrays: Mapping[str, np.ndarray]) -> BaseHead:
    """The base head among the converted arrays."""
    return BaseHead(arrays["points"].astype(np.float64), arrays["triangles"], arrays["uv"], arrays["landmarks"])


def convert_skins(sources: Path) -> dict[str, np.ndarray]:
    """Arrays for the cache from the source files in the folders ``skins/``, ``eyes/`` and ``hair/``.

    Returns
    -------
    ``skins [k, 512, 272, 3]`` cropped to the head, ``eyes [e, 128, 128, 3]``, ``hair_textures [c, 4, 512, 512]``, all
    uint8; the base head (see `BaseHead`); of each haircut ``NAME_points [n, 3]`` over the base head, ``NAME_triangles``
    and ``NAME_uv [n, 2]`` (v down).
    """
    mesh = _obj(sources / "makehuman_base.obj")
    arrays = _head(mesh) | {
        "skins": np.stack([_crop(sources / "skins" / name, HEAD, SKIN_SIZE) for name in _files("skins")]),
        "eyes": np.stack([_crop(sources / "eyes" / name, EYE, EYE_SIZE) for name in _files("eyes")]),
        "hair_textures": np.stack([_hair_texture(sources / "hair" / name) for name in _files("hair")]),
    }
    for name in HAIRCUTS:
        cards = _haircut(sources / "hair" / name, mesh.points)
        arrays |= {f"{name}_{part}": array for part, array in cards.items()}
    return arrays


def _files(folder: str) -> list[str]:
    return [Path(name).name for name in SUMS if name.startswith(f"{folder}/") and name.endswith(".png")]


def _crop(path: Path, box: tuple[float, ...], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A box of a square picture, in shares of its side, averaged over areas."""
    with open_image(path) as picture:
        left, upper, right, lower = (share * picture.width for share in box)
        cropped = picture.convert("RGB").resize(size, Image.Resampling.BOX, box=(left, upper, right, lower))
        return np.asarray(cropped)


def _hair_texture(path: Path) -> UInt8[np.ndarray, "4 h w"]:
    """Colour and alpha; what is clear carries no colour into the average."""
    with open_image(path) as picture:
        factor = picture.width // HAIR_SIZE
        seen = np.asarray(picture.convert("RGBA"), dtype=np.float32).reshape(HAIR_SIZE, factor, HAIR_SIZE, factor, 4)
    alpha = seen[..., 3:] / 255
    cover = alpha.mean((1, 3))
    colour = (seen[..., :3] * alpha).mean((1, 3)) / np.maximum(cover, 1e-3)
    return np.concatenate([colour, 255 * cover], -1).round().astype(np.uint8).transpose(2, 0, 1)


@dataclass(frozen=True)
class _Obj:
    """A mesh of quads: points, texture coordinates (v up), and for each quad four numbers of either."""

    points: Float[np.ndarray, "n 3"]
    uv: Float[np.ndarray, "m 2"]
    quads: Int[np.ndarray, "q 4"]
    uv_quads: Int[np.ndarray, "q 4"]


def _obj(path: Path) -> _Obj:
    """The quads of the group ``body``, or of a file without groups."""
    rows: dict[str, list[list[str]]] = {"v": [], "vt": [], "f": []}
    group = "body"
    for line in path.read_text(encoding="utf-8").splitlines():
        key, *words = line.split() or [""]
        group = words[0] if key == "g" else group
        if key in rows and (key != "f" or group == "body"):
            rows[key].append(words)
    corners = np.array([[corner.split("/")[:2] for corner in row] for row in rows["f"]], dtype=np.int64) - 1
    return _Obj(np.array(rows["v"], np.float64), np.array(rows["vt"], np.float64), corners[..., 0], corners[..., 1])


def _split(quads: Int[np.ndarray, "q 4"]) -> Int[np.ndarray, "t 3"]:
    """Two triangles of each quad."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _head(mesh: _Obj) -> dict[str, np.ndarray]:
    """The base head: what lies in the head's part of the skins, with texture coordinates on the crop."""
    left, upper, right, lower = HEAD
    uv = (mesh.uv * [1, -1] + [0, 1] - [left, upper]) / [right - left, lower - upper]
    inside = ((uv[mesh.uv_quads] > 0) & (uv[mesh.uv_quads] < 1)).all((1, 2))
    # The hands and the feet reach into the same part of the picture.
    inside &= (mesh.points[mesh.quads][..., 1] > 6.1).all(1) & (np.abs(mesh.points[mesh.quads][..., 0]) < 1).all(1)
    used, numbers = np.unique(_split(mesh.quads[inside]), return_inverse=True)
    return {
        "points": mesh.points[used].astype(np.float32),
        "triangles": numbers.reshape(-1, 3),
        "uv": uv[_split(mesh.uv_quads[inside])].astype(np.float32),
        "landmarks": np.searchsorted(used, LANDMARKS),
    }


def _haircut(stem: Path, base: Float[np.ndarray, "n 3"]) -> dict[str, np.ndarray]:
    """Cards over the base head: one point for each pair of vertex and texture coordinate."""
    mesh = _obj(stem.with_suffix(".obj"))
    points = _fitted(stem.with_suffix(".mhclo"), base)
    pairs = np.stack([mesh.quads.ravel(), mesh.uv_quads.ravel()], 1)
    unique, numbers = np.unique(pairs, axis=0, return_inverse=True)
    # The last corner of a triangle comes twice.
    triangles = _split(numbers.reshape(-1, 4))
    kept = (triangles != np.roll(triangles, 1, 1)).all(1)
    return {
        "points": points[unique[:, 0]].astype(np.float32),
        "triangles": triangles[kept],
        "uv": (mesh.uv[unique[:, 1]] * [1, -1] + [0, 1]).clip(0, 1).astype(np.float32),
    }


def _fitted(path: Path, base: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, "n 3"]:
    """Points of a haircut on the base mesh: each hangs on three of its vertices, with an offset scaled by its size."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    scales = {words[0]: words[1:] for words in lines if words and words[0].endswith("_scale")}
    size = [
        abs(base[int(first), axis] - base[int(second), axis]) / float(length)
        for axis, (first, second, length) in enumerate(scales[f"{letter}_scale"] for letter in "xyz")
    ]
    bound = np.array([words for words in lines if len(words) == 9 and words[0].isdigit()], np.float64)
    return (bound[:, 3:6, None] * base[bound[:, :3].astype(int)]).sum(1) + bound[:, 6:] * size
