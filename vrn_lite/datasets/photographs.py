"""Training on photographs (300W-LP): prepared once into shards, then a stream of pairs behind the training's seam.

A prepared folder holds the owner's data and model, and may be passed on as little as they may::

    faces-00000.safetensors   up to 1,024 faces: the photographs' files in a row, and the numbers of each one's fit
    model.safetensors         the Basel model's face, where there was a model
    index.json                which photographs
    left_out.txt              what could not be read, and why

A photograph is kept as it came, or cut to what augmentation can show where it is much larger than that; its mesh comes
back from the parameters, exactly. Without a model, faces are their 68 landmarks, and train landmark networks alone.
"""

import io
import json
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image as Pillow
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vrn_lite.camera import Similarity
from vrn_lite.datasets.w300lp import INTEROCULAR, Sample, augmented, landmark_mesh, photographs, read_fit
from vrn_lite.faces.basel import BaselFace
from vrn_lite.files import atomically, sweep
from vrn_lite.frame import InputError, require
from vrn_lite.networks.base import FaceNetwork
from vrn_lite.photo.image_io import open_image, read_photo
from vrn_lite.presets import Preset, preset as preset_named
from vrn_lite.samples import PAPER_JITTER, FacePairs, PoseRange, unaligned
from vrn_lite.training.runtime import ranks

SHARD = 1024
"""Faces of a shard."""

REACH, LARGEST = 3.1, 400
"""How far augmentation sees from a face's middle, in sizes of its landmarks' box; the largest such size, in pixels."""

# Preparing


class Prepared(NamedTuple):
    """What `prepare` has made.

    Attributes
    ----------
    faces : how many are there now.
    left_out : photographs that could not be read, with what is wrong.
    size : bytes of the shards.
    """

    faces: int
    left_out: dict[str, str]
    size: int


def prepare(
    folder: str | Path,
    out: str | Path,
    face: BaselFace | None = None,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Prepare 300W-LP, or any folder of photographs with such .mat files; what is there already is kept.

    Folders of mirrored copies (``AFW_Flip``) are left out: they leave the paper's 60,000, and augmentation mirrors.

    Parameters
    ----------
    folder : of photographs and .mat files, or of folders of them.
    out : where the shards go; a run that was stopped goes on there.
    face : the model; None for landmarks alone.
    workers : processes; as many as there are processors by default.
    on_progress : told shards done and shards in all.

    Raises
    ------
    InputError : no photographs, nothing that can be read, or `out` holds another preparation.
    """
    folder, out = Path(folder), Path(out)
    paths = [path for path in photographs(folder) if not path.parent.name.endswith("_Flip")]
    names = [path.relative_to(folder).as_posix() for path in paths]
    index = {"photographs": names, "shard": SHARD, "model": None if face is None else [*face.identity.shape[:2]]}
    here = out / "index.json"
    other = f"{out} holds other photographs, or another model's: choose another --out"
    require(not here.exists() or json.loads(here.read_text()) == index, other)
    if face is not None:
        _write(out / "model.safetensors", _model_arrays(_only_patch(face)))
    atomically(here, lambda part: part.write_text(json.dumps(index)))
    sweep(out)
    shards = [paths[start : start + SHARD] for start in range(0, len(paths), SHARD)]
    jobs = [(shard, _shard(out, number)) for number, shard in enumerate(shards)]
    left = [job for job in jobs if not job[1].exists()]
    work = partial(_fill_shard, folder=folder, model=None if face is None else out / "model.safetensors")
    for done, _ in enumerate(_each(work, left, min(workers or cpu_count() or 1, len(left)))):
        if on_progress is not None:
            on_progress(len(jobs) - len(left) + done + 1, len(jobs))
    left_out = {name: why for _, shard in jobs for name, why in _left_out(shard).items()}
    report = "".join(f"{why}\n" for why in left_out.values())
    atomically(out / "left_out.txt", lambda part: part.write_text(report))
    faces = len(names) - len(left_out)
    require(
        faces > 0, f"none of the {len(names)} photographs in {folder} can be read: {next(iter(left_out.values()), '')}"
    )
    return Prepared(faces, left_out, sum(shard.stat().st_size for _, shard in jobs))


def _each(work: Callable, jobs: list, workers: int) -> Any:
    """The results of jobs, in several processes where that is asked for."""
    if workers < 2:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, jobs)


def _shard(out: Path, number: int) -> Path:
    return out / f"faces-{number:05d}.safetensors"


def _left_out(shard: Path) -> dict[str, str]:
    with safe_open(shard, "pt") as file:
        return json.loads(file.metadata()["left_out"])


def _write(path: Path, arrays: dict[str, Tensor], **told: str) -> None:
    atomically(path, lambda part: save_file(arrays, part, told))


def _fill_shard(job: tuple[list[Path], Path], folder: Path, model: Path | None) -> None:
    """Write a shard of the faces that can be read, and what is wrong with the others."""
    paths, out = job
    face = None if model is None else _read_model(model)
    left_out, rows, files = dict[str, str](), list[dict[str, Tensor]](), list[bytes]()
    for path in paths:
        try:
            data, row = _face(path, face)
        except InputError as error:
            left_out[path.relative_to(folder).as_posix()] = str(error)
            continue
        rows.append(row)
        files.append(data)
    ends = torch.tensor([0, *(len(data) for data in files)]).cumsum(0)
    arrays = {"bytes": torch.frombuffer(bytearray(b"".join(files) or b"\0"), dtype=torch.uint8), "ends": ends}
    arrays |= {name: torch.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    _write(out, arrays, left_out=json.dumps(left_out))


def _face(path: Path, face: BaselFace | None) -> tuple[bytes, dict[str, Tensor]]:
    """A photograph's bytes and the numbers of its face, its camera being that of what is kept of the photograph."""
    photo = read_photo(path)
    fit = read_fit(path, photo.shape[0], face)
    points = fit.camera(fit.mesh.landmark_points().cpu()[None])[0, :, :2]
    low, high = points.amin(0), points.amax(0)
    size, middle = float((high - low).prod().sqrt()), (low + high) / 2
    reduced, limit = max(1, int(size // LARGEST)), torch.tensor([photo.shape[1], photo.shape[0]])
    first = (middle - REACH * size).floor().clamp(min=0).minimum(limit - 1).int().tolist()
    last = (middle + REACH * size).ceil().clamp(min=1).minimum(limit).int().tolist()
    data = path.read_bytes()
    whole = reduced == 1 and first == [0, 0] and last == limit.tolist()
    if not whole or not np.array_equal(_decoded(data), photo):  # turned by EXIF, transparent, or of 16 bit
        picture = Pillow.fromarray(photo).crop((*first, *last)).reduce(reduced)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=95, subsampling=0)
        data = file.getvalue()
    camera = fit.camera
    shift = camera.translation - torch.tensor([[*map(float, first), 0.0]])
    row = {"scale": camera.scale[0] / reduced, "rotation": camera.rotation[0], "translation": shift[0] / reduced}
    row |= {"angles": fit.angles}
    if face is None:
        return data, row | {"landmarks": fit.mesh.vertices}
    return data, row | {"shape": fit.shape, "expression": fit.expression}


def _decoded(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    with open_image(data) as picture:
        return np.asarray(picture.convert("RGB"))


# The model's face in a file of its own


def _only_patch(face: BaselFace) -> BaselFace:
    """The same face without what neither bounds its solid nor is a landmark."""
    kept, number = torch.cat([face.patch_vertices, face.landmarks]).unique(), torch.full((len(face.mean),), -1)
    number[kept] = torch.arange(len(kept))
    triangles = number[face.triangles[face.patch]]
    parts = {name: getattr(face, name)[..., kept, :] for name in ("mean", "identity", "expression")}
    patch = torch.ones(len(triangles), dtype=torch.bool)
    return replace(face, **parts, triangles=triangles, landmarks=number[face.landmarks], patch=patch, regions={})


ARRAYS = ("mean", "identity", "triangles", "landmarks", "patch", "identity_scale", "expression_scale")


def _model_arrays(face: BaselFace) -> dict[str, Tensor]:
    arrays = {name: getattr(face, name) for name in ARRAYS} | {"expression": face.expression[0::2]}
    return {name: values.cpu().contiguous() for name, values in arrays.items()}


def _read_model(path: Path) -> BaselFace:
    arrays = load_file(path)
    modes = arrays.pop("expression")
    names = tuple(f"mode{mode:02d}{sign}" for mode in range(len(modes)) for sign in "+-")
    both = torch.stack((modes, -modes), 1).flatten(0, 1)
    return BaselFace(name="basel", expression=both, expression_names=names, **arrays)  # type: ignore[arg-type]


# Reading


@dataclass(frozen=True)
class Photographs:
    """Prepared photographs as a stream of pairs (`training.data.PairStream`), with the paper's augmentation.

    Each photograph is seen once an epoch, in an order of the epoch's own, whatever the number of processes.

    Attributes
    ----------
    folder : that `prepare` wrote.
    preset : gives the grid.
    names : of the photographs, by shard.
    face : the model's face patch; None where faces are landmarks alone.
    poses : augmentation; its ranges of yaw and pitch mean nothing here, as the photographs have theirs.
    target : "aligned" or "frontal", as of `training.data.Synthetic`.
    seed : of the order.
    """

    folder: Path
    preset: Preset | str
    names: tuple[tuple[str, ...], ...]
    face: BaselFace | None = None
    poses: PoseRange = PAPER_JITTER
    target: str = "aligned"
    seed: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.names))

    def __call__(self, step: int, batch: int, generator: torch.Generator, device: torch.device) -> FacePairs:
        """The pairs of a step: `order` tells which, the generator how they are augmented."""
        grid = preset_named(self.preset).grid
        with ThreadPoolExecutor(min(batch, cpu_count() or 1, 8)) as pool:
            batch_of = self.samples(self.order(step, batch), device, pool)
        interocular = INTEROCULAR if self.face is None else self.face.interocular
        pairs = augmented(batch_of, interocular, grid, generator, self.poses)
        return unaligned(pairs, interocular, grid) if self.target == "frontal" else pairs

    def order(self, step: int, batch: int) -> list[int]:
        """Numbers of the photographs of a step in this process."""
        mine, count = ranks(), len(self)
        first = (step * mine.size + mine.rank) * batch
        places = torch.arange(first, first + batch)
        numbers = torch.empty(batch, dtype=torch.long)
        for epoch in (places // count).unique().tolist():
            order = torch.randperm(count, generator=torch.Generator().manual_seed(2**20 * self.seed + epoch))
            here = places // count == epoch
            numbers[here] = order[places[here] % count]
        return numbers.tolist()

    def samples(self, numbers: list[int], device: torch.device | str, pool: Executor | None = None) -> list[Sample]:
        """Photographs by their numbers, with their faces."""
        rows = list((map if pool is None else pool.map)(self._row, numbers))
        tensors = [name for name in rows[0] if name not in ("name", "image")]
        told = {name: torch.stack([row[name] for row in rows]).to(device) for name in tensors}
        if self.face is None:
            mesh = landmark_mesh(told["landmarks"])
        else:
            face = self.face if self.face.mean.device == told["shape"].device else self.face.to(device)
            mesh = face.mesh(*face.coefficients(told["shape"], told["expression"]))
        found = []
        for k, row in enumerate(rows):
            camera = Similarity(*(told[name][k : k + 1] for name in ("scale", "rotation", "translation")))
            found.append(Sample(row["name"], row["image"], mesh[k], camera, told["angles"][k]))
        return found

    def _row(self, number: int) -> dict[str, Any]:
        """What a shard holds of a photograph."""
        shard = 0
        while number >= len(self.names[shard]):
            number, shard = number - len(self.names[shard]), shard + 1
        path = _shard(self.folder, shard)
        try:
            with safe_open(path, "pt") as file:
                start, end = file.get_slice("ends")[number : number + 2].tolist()
                image = _decoded(file.get_slice("bytes")[start:end].numpy().tobytes())
                others = set(file.keys()) - {"ends", "bytes"}
                row = {name: file.get_slice(name)[number] for name in others}
                return row | {"image": image, "name": self.names[shard][number]}
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read {path} ({error}): delete it and prepare once more") from None

    @property
    def faces(self) -> tuple[BaselFace, ...]:
        """The face model, where there is one."""
        return () if self.face is None else (self.face,)

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that continues it."""
        return {"photographs": [len(self), self.seed], "poses": vars(self.poses)}

    def suited_to(self, network: FaceNetwork, device: torch.device) -> "Photographs":
        """The same photographs as this network wants them.

        Raises
        ------
        InputError : another grid; or faces that are landmarks alone, and a network that gives more.
        """
        mine, theirs = preset_named(self.preset), network.preset
        fits = f"the pairs are of preset {mine.name!r}, the network of {theirs.name!r}: give both the same"
        require(mine.grid == theirs.grid, fits)
        enough = self.face is not None or set(network.gives) <= {"heatmaps"}
        alone = "these photographs have landmarks alone: train `landmarks`, or prepare them with --basel"
        require(enough, f"a {network.variant!r} network learns volumes, and {alone}")
        poses = self.poses if network.mirrors else replace(self.poses, mirror=0.0)
        face = None if self.face is None else self.face.to(device)
        return replace(self, face=face, poses=poses, target=network.target)


def prepared(
    folder: str | Path, preset: Preset | str, *, poses: PoseRange = PAPER_JITTER, seed: int = 0
) -> Photographs:
    """A folder that `prepare` wrote, as a stream of pairs.

    Raises
    ------
    InputError : it was not prepared, or not to the end.
    """
    folder = Path(folder)
    here = folder / "index.json"
    how = "run vrn-lite prepare 300w-lp DIR --basel MODELS --out"
    require(here.is_file(), f"{folder} holds no prepared photographs: {how} {folder} first")
    index = json.loads(here.read_text())
    names = []
    for number, first in enumerate(range(0, len(index["photographs"]), index["shard"])):
        path = _shard(folder, number)
        require(path.is_file(), f"{folder} is not prepared to the end, it lacks {path.name}: {how} {folder} again")
        left_out = _left_out(path)
        names.append(tuple(n for n in index["photographs"][first : first + index["shard"]] if n not in left_out))
    face = None if index["model"] is None else _read_model(folder / "model.safetensors")
    return Photographs(folder, preset, tuple(names), face, poses, seed=seed)
