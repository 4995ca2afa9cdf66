"""MakeHuman's CC0 assets: photographed skins and eyes, haircuts, and the base head they belong to.

From github.com/makehumancommunity/makehuman-assets, released under CC0; the base mesh and the brown iris from the
repository makehuman of the same owner, CC0 too. In the first one the pictures are Git LFS objects, which
media.githubusercontent.com gives.
"""

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vrn_lite.downloads import Download, cache_folder, download, locked, write_whole
from vrn_lite.frame import InputError, require
from vrn_lite.synth.registration import BaseHead

COMMAND = "vrn-lite fetch skins"

SUMS = {
    "eyes/blue_eye.png": "572ddc93ab3e177100619ec7c00b2574540cfb382805afc2e450788117f6140c",
    "eyes/bluegreen_eye.png": "653b3154e67f67e118c22acd19c472aa7543e0c229209f687c3f7f669f191fd9",
    "eyes/brown_eye.png": "4659691c7295ad6206c78b003e5fd0e5f91dcd53032fa914a229bb48cabe424b",
    "eyes/brownlight_eye.png": "3f43a4de70e446186dac1760cfa01dfe36d530ed7564208455395b0ebcdf788a",
    "eyes/green_eye.png": "b9864ac4f4fa484b24e18f6aba030d70dbc8820cbbacfbe63a974c76772c2009",
    "eyes/grey_eye.png": "ecb05613126036a3d017880fabbd570501c5f14032c186462d8f6e2d719f6c4f",
    "eyes/ice_eye.png": "a5903596fe033371ba7130b5c8b2c09ce2f5d282d77557c21060ab8a778bf03d",
    "eyes/lightblue_eye.png": "687c8f6d95a8550bcd4a34158f415d6bb376c0bb32e67d127bbb51e5fa469eef",
    "hair/bob02.mhclo": "a48dcf87c6a618f9c6e90fcb00eed07cd59ab024d8d994606fa1b070da515b96",
    "hair/bob02.obj": "30d44038836d786364eb4134a9259cf93ca0c707f883861b0135ebfb149caa08",
    "hair/bob02_diffuse.png": "38c88e6f71631356591f09b1f17a1bb5a99c3bb095b1a29003f1dc3d3e839b0d",
    "hair/braid01.mhclo": "e350614dab32230c47d67e7747079b89859d36e62a890ca47890f068eca4f7a9",
    "hair/braid01.obj": "ad0b449c80244452bc8d437f5d59c25ec2ac17b2eb35e1ae2d9531fc00b73b0a",
    "hair/braid01_diffuse.png": "24c0d2a639f04704734c3e38af97d110777c1b203e5a10c66a5c89563643a018",
    "hair/short01.mhclo": "ae1ffaa98da5753b803b3a173bede4895d2215e6bb94763f3765a71f0e984f35",
    "hair/short01.obj": "d998d8416f9b5d5591f1d756f4d292288d000a6951bc0f4d2e8e72727bbc44fa",
    "hair/short01_diffuse.png": "f34a0957184e3d1e911ed59245f874f8d4843f61ee44ff49f43edb4be0196949",
    "hair/short02.mhclo": "625736cdb73e6d094df6e5a2df18f371781f1d2cd37b0ae15795c5d7051c3ec2",
    "hair/short02.obj": "48f979114adfa712165a69cc55c45a70831af1fb3cba8e2a89120f0c87407b64",
    "hair/short02_diffuse.png": "47fe33831a3929567c733356dd66243116e05df2ace1f884ddca0080b728229f",
    "hair/short03.mhclo": "d80bbb8fd9b06721c481756fb3e1d6dce04fcfc9ca8a379edd4ea3c0d81ed17f",
    "hair/short03.obj": "4a9fc385718f2c46fb328ab99d33e3a946cecdb717987c8b324cf2466b59bd9c",
    "hair/short03_diffuse.png": "fe6ed0bb14498a48a2e8fc07e80e2a6f62c8b67686fcd0a7a570d345faec97da",
    "hair/short04.mhclo": "d60640aa4c4ffce1aa269647ba436b6ee0bb21bb948f927b84e27a48d2107157",
    "hair/short04.obj": "676964a133ee35ffcea1195382bf75542da7a298931e4001bc7b0d7b707225de",
    "hair/short04_diffuse.png": "0bef7fc0e403db5a40fabb2111ebfa6f7e8158e204c6e56b8da98e9ef527846e",
    "skins/middleage_darkskinned_male_diffuse.png": "ced478cfdd2b86391f0f92a4408b287ad70adb0dd0e9271ba606d0b028b47c6b",
    "skins/middleage_lightskinned_female_diffuse2.png":
        "39c505ca224387bef0b20cd2bf513c3997c27c7e7434447228c9991b87cb8d01",
    "skins/middleage_lightskinned_male_diffuse.png": "3f94f3f6a5cab92dedf5cce392a87332312fc435f1cb44c6e7b897daef9a5fbb",
    "skins/middleage_lightskinned_male_diffuse2.png":
        "e897c4cc1b6ad5d10a7d2b2be92402feda4e772e6582dfaf0a1e8fc4621d8097",
    "skins/old_darkskinned_male_diffuse.png": "4bcc74baf88f28a0ac4887f22d3cf395bbcb60810121697dafbf0bf3293d0e72",
    "skins/young_darkskinned_male_diffuse.png": "e3f0dbb634e4c68561338f0087f7a122444e84ec56df102212f1222aa12e4d50",
    "skins/young_lightskinned_female_diffuse2.png": "8d1fb3ceedf142fad32a3504eca1feb4539aecca6de66acde1514b9a61fc7ba0",
    "skins/young_lightskinned_female_diffuse3.png": "1d82f782b7d2da732229633bd2d14754d873fff53cdb1d088977bcf67ae19dde",
    "skins/young_lightskinned_male_diffuse.png": "862a26e335e958b70534cb5f0d7c47ef30ab148a56c42b3e9da969cf76f12963",
    "skins/young_lightskinned_male_diffuse2.png": "03efe1f6b0ae52429649dcefc9dcaef6058032f874a251169cc3e2ed473c3874",
    "skins/young_lightskinned_male_diffuse3.png": "f50016a5507fc687dc8df06599c8ea48de950cd185de33a71cafc1319ddab4d5",
    "makehuman_base.obj": "8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c",
}  # fmt: skip
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

SKIN_SIZE, EYE_SIZE, HAIR_SIZE = (272, 512), 128, 512
"""Pixels of the pictures in the cache: width and height of a cropped skin, sides of the others."""

EYE = (0.705, 0.296, 0.25)
"""Centre (u, v down) and half side of one of the two eyeballs on a picture of eyes."""

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


@dataclass(frozen=True)
class Release:
    """Where the source files are (addresses of two folders), and their sums."""

    url: str = ASSETS
    second: str = MAKEHUMAN
    sums: Mapping[str, str] = field(default_factory=lambda: SUMS)

    def source(self) -> Download:
        """The same for the downloading room."""
        addresses = {
            name: f"{self.second}{ELSEWHERE[name]}" if name in ELSEWHERE else f"{self.url}{_place(name)}"
            for name in self.sums
        }
        return Download(self.url, self.sums, COMMAND, addresses)


def _place(name: str) -> str:
    """Path of a source file in the first repository."""
    folder, _, file = name.partition("/")
    if folder == "skins":
        return f"skins/textures/{file}"
    return f"eyes/materials/{file}" if folder == "eyes" else f"hair/{file.split('.')[0].split('_')[0]}/{file}"


def cached_skins(folder: str | os.PathLike[str] | None = None) -> Path:
    """The converted file in `folder`, else in that of the variable VRN_LITE_SKINS, else in the user's cache."""
    return Path(folder or os.environ.get("VRN_LITE_SKINS") or cache_folder()) / "makehuman_skins.npz"


def fetched(folder: str | os.PathLike[str] | None = None) -> bool:
    """Whether the photographed skins are there."""
    return cached_skins(folder).is_file()


def fetch_skins(
    cache: str | os.PathLike[str] | None = None, release: Release | None = None, progress: bool = True
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
    release, target = release or Release(), cached_skins(cache)
    sources = target.parent / "makehuman_sources"
    with locked(target.parent):
        if target.is_file():
            return target
        files = download(release.source(), release.sums, sources, "MakeHuman skins" if progress else None)
        arrays: dict[str, Any] = convert_skins(sources)
        try:
            write_whole(target, lambda file: np.savez_compressed(file, **arrays))
        except OSError as error:
            raise InputError(f"cannot write the skins in {target.parent}: {error}") from None
        _remove(files, sources)
    return target


def _remove(files: Iterable[Path], sources: Path) -> None:
    """Take away the source files and their empty folders."""
    for path in files:
        path.unlink()
    for folder in (*{path.parent for path in files} - {sources}, sources):
        folder.rmdir()


def load_skins(folder: str | os.PathLike[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of the converted file.

    Raises
    ------
    InputError : the file is missing or is no such file.
    """
    path = cached_skins(folder)
    require(
        path.is_file(), f"no photographed skins at {path}: run `{COMMAND}` once, or set VRN_LITE_SKINS to their folder"
    )
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
        "skins": np.stack([_skin(sources / "skins" / name) for name in _files("skins")]),
        "eyes": np.stack([_eye(sources / "eyes" / name) for name in _files("eyes")]),
        "hair_textures": np.stack([_hair_texture(sources / "hair" / name) for name in _files("hair")]),
    }
    for name in HAIRCUTS:
        cards = _haircut(sources / "hair" / name, mesh.points)
        arrays |= {f"{name}_{part}": array for part, array in cards.items()}
    return arrays


def _files(folder: str) -> list[str]:
    return [Path(name).name for name in SUMS if name.startswith(f"{folder}/") and name.endswith(".png")]


def _skin(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The head on a skin, averaged over areas."""
    with Image.open(path) as picture:
        left, upper, right, lower = (share * picture.width for share in HEAD)
        head = picture.convert("RGB").resize(SKIN_SIZE, Image.Resampling.BOX, box=(left, upper, right, lower))
        return np.asarray(head)


def _eye(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """One eyeball, averaged over areas."""
    u, v, half = EYE
    with Image.open(path) as picture:
        left, upper, right, lower = (share * picture.width for share in (u - half, v - half, u + half, v + half))
        size, edges = (EYE_SIZE, EYE_SIZE), (left, upper, right, lower)
        return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX, box=edges))


def _hair_texture(path: Path) -> UInt8[np.ndarray, "4 h w"]:
    """Colour and alpha; what is clear carries no colour into the average."""
    with Image.open(path) as picture:
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
    mesh, points = _obj(stem.with_suffix(".obj")), _fitted(stem.with_suffix(".mhclo"), base)
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
