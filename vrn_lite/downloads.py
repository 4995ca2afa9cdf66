"""Public files on request: named, checked by their sums, whole or not at all, and one process at a time.

::

    Download: address, sums --download--> folder/name, each checked --its room's `convert`--> one file in the cache
                   fetch_once holds one lock file, so that a second process waits and then finds the result
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pooch
import requests
from filelock import FileLock
from platformdirs import user_cache_dir
from tqdm import tqdm

from vrn_lite.files import write_arrays
from vrn_lite.frame import InputError


@dataclass(frozen=True)
class Download:
    """Where public files are, and how they are known.

    Attributes
    ----------
    url : address of the folder that holds the files, with its last slash.
    sums : file name (it may hold folders) -> SHA-256, or None where it is not known beforehand.
    addresses : file name -> whole address, for files that lie elsewhere.
    command : what the user runs, for messages.
    retries : how often a file that did not come whole is asked for again.
    """

    url: str
    sums: Mapping[str, str | None]
    command: str
    addresses: Mapping[str, str] = field(default_factory=dict)
    retries: int = 2

    def address(self, name: str) -> str:
        """The whole address of a file."""
        return self.addresses.get(name, f"{self.url}{name}")


def cache_folder() -> Path:
    """The user's cache of this package."""
    return Path(user_cache_dir("vrn_lite"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's one lock file, and make the folder; who comes second waits.

    Raises
    ------
    InputError : the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".downloads.lock")
        lock.acquire()
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error}") from None
    try:
        yield
    finally:
        lock.release()


def fetch_once(
    target: Path, source: Download, convert: Callable[[Path], Mapping[str, Any]], progress: str | None = None
) -> Path:
    """The file `target`, made once from a source's files, which are then removed; a second call finds it.

    Parameters
    ----------
    target : .npz file in the cache; until it is made, ``NAME_sources`` beside it holds the source files.
    source : the source files, and where they are.
    convert : gives the arrays of `target` from the folder of the source files.
    progress : as for `download`.

    Raises
    ------
    InputError : as for `download`; or the folder cannot be written.
    """
    folder = target.parent / f"{target.stem}_sources"
    with locked(target.parent):
        if not target.is_file():
            download(source, source.sums, folder, progress)
            write_arrays(target, convert(folder))
            shutil.rmtree(folder)
    return target


def download(source: Download, names: Iterable[str], folder: Path, progress: str | None = None) -> list[Path]:
    """The named files in `folder`; those that are there already and have the known sum are not asked for again.

    Parameters
    ----------
    source : where the files are.
    names : file names among ``source.sums``.
    folder : where they go, under the same names.
    progress : words beside a bar on standard error (shown in a terminal only); None for no bar.

    Raises
    ------
    InputError : a file cannot be had, is cut short or is not the known one; nothing of it is left.
    """
    store = pooch.create(folder, source.url, registry=dict(source.sums), urls=dict(source.addresses))
    names = list(names)
    with _silent_pooch():
        bar = tqdm(names, desc=progress, unit=" files", disable=True if progress is None else None)
        return [_one(store, source, name) for name in bar]


def _one(store: pooch.Pooch, source: Download, name: str) -> Path:
    """One file, asked for again where the line broke or the sum differs."""
    store.retry_if_failed = source.retries
    url, again = source.address(name), f"run `{source.command}` again"
    try:
        return Path(store.fetch(name, downloader=pooch.HTTPDownloader(chunk_size=1 << 16, timeout=60)))
    except requests.HTTPError as error:
        answer = error.response
        said = "an error" if answer is None else f"{answer.status_code} {answer.reason}"
        raise InputError(f"{url} answers {said}: {again} later") from None
    except requests.RequestException as error:
        raise InputError(f"the download of {url} broke off ({error}): {again} to go on from there") from None
    except OSError as error:
        raise InputError(f"cannot write {store.path}/{name}: {error}") from None
    except ValueError:
        reason = "is not the known file or is cut short (SHA-256 differs); it is removed"
        raise InputError(f"{url} {reason}: {again}") from None


@contextmanager
def _silent_pooch() -> Iterator[None]:
    """Keep pooch's log off standard error meanwhile: the bar says enough."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
