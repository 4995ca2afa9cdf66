"""Many photographs and all their faces: files, folders, pictures that move, videos."""

import os
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path

from PIL import Image as Pillow

from vrn_lite.frame import InputError, require
from vrn_lite.networks.base import FaceNetwork, LandmarkDetector
from vrn_lite.photo.crop import Spot
from vrn_lite.photo.exports import Reconstruction
from vrn_lite.photo.finder import Finder, finder_named
from vrn_lite.photo.image_io import FORMATS, VIDEOS, PhotoSource, name_of, read_frames
from vrn_lite.photo.reconstruct import Settings, faces_of, networks_for, side, spots_in

Named = PhotoSource | tuple[str, PhotoSource]


class Which(StrEnum):
    """Which faces of a photograph: the largest ONE, or ALL."""

    ONE = "one"
    ALL = "all"


def photo_files(photos: str | Path | Iterable[Named]) -> Iterator[Named]:
    """The same photographs, with the photographs and videos in a folder, and in folders in it, in its place.

    Raises
    ------
    InputError : a folder without any.
    """
    Pillow.init()
    endings = {ending for ending, kind in Pillow.EXTENSION.items() if kind in FORMATS} | {".heic", ".heif", *VIDEOS}
    for photo in [photos] if isinstance(photos, str | Path) else photos:
        if isinstance(photo, str | Path) and os.path.isdir(photo):
            files = sorted(file for file in Path(photo).rglob("*") if file.suffix.lower() in endings)
            require(len(files) > 0, f"there is no photograph in the folder {photo}")
            yield from files
        else:
            yield photo


def reconstruct_all(
    photos: str | Path | Iterable[Named],
    model: str | Path | FaceNetwork | None = None,
    *,
    faces: Which | str = Which.ALL,
    detector: str | Path | LandmarkDetector | None = None,
    batch: int = 4,
    every: int = 1,
    on_refused: Callable[[str, InputError], object] | None = None,
    recrop: bool = True,
    level: float = 0.5,
    test_time_augmentation: bool = True,
    smooth: float = 0.8,
    finder: str | Finder | None = None,
    force: bool = False,
) -> Iterator[Reconstruction]:
    """The faces in many photographs, one by one, in order; no more than `batch` of them are in memory.

    Parameters
    ----------
    photos : files, folders, or what else `read_photo` takes, or pairs of a name and one of these. Each frame of an
        animated picture or a video counts as a photograph, called "NAME (frame 7)".
    faces : all of each photograph, or the largest one.
    batch : so many faces go through the networks together.
    every : of an animated picture or a video only each so-many-th frame is taken.
    on_refused : is told the name of a photograph that could not be read (`UnreadableError`) or has no face, and why,
        and the others go on; without it the first such error is raised.
    model, detector, recrop, level, test_time_augmentation, smooth, finder, force : as in `reconstruct`.

    Raises
    ------
    InputError : as `reconstruct`; at once for what concerns all photographs.
    """
    require(faces in tuple(Which), f"unknown faces {faces!r}: choose {' or '.join(Which)}")
    require(batch >= 1 and every >= 1, f"batch and every are at least 1, got {batch} and {every}")
    settings = Settings(recrop, level, test_time_augmentation, smooth, force).checked()
    network, finds = networks_for(model, detector)
    seeker = finder_named(finder)

    def refuse(name: str, error: InputError) -> None:
        if on_refused is None:
            raise error
        on_refused(name, error)

    def spots() -> Iterator[Spot]:
        for photo in photo_files(photos):
            name, source = photo if isinstance(photo, tuple) else (name_of(photo), photo)
            try:
                for page, image in read_frames(source, name, every):
                    try:
                        found = spots_in(image, page, seeker)
                    except InputError as error:
                        refuse(page, error)
                        continue
                    yield from found if faces == Which.ALL else [max(found, key=side)]
            except InputError as error:
                refuse(name, error)

    def results() -> Iterator[Reconstruction]:
        waiting = spots()
        while group := list(islice(waiting, batch)):
            for spot, face in zip(group, faces_of(network, finds, group, settings), strict=True):
                if isinstance(face, InputError):
                    refuse(spot.name, face)
                else:
                    yield face

    return results()
