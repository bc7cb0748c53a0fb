"""Activations on disk: one plain ``.npy`` file, written as the model goes, and what is in it.

A store is a directory of three files:

- ``values.npy``: ``[layer, example, unit]``, float32, of full size from the start. A layer is one
  stretch of the file, so that a memory map reads it without the others.
- ``manifest.json``: what the values are of, how many examples are done, and the SHA-256 of each
  stretch of them, sealed with its own. It replaces the old one only after the values that it
  counts are on the disk; whatever a crashed run had written beyond them is computed again.
- ``contexts.parquet``: the contexts, for :func:`tl_negation.load_activations`.

Values are written with ordinary writes, not through a memory map: with a map, a full disk would
end the process; this way it is an error that can be reported.
"""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .._shared import (
    TEMPORARY,
    check_name,
    damaged,
    file_sha256,
    jsonable,
    one_writer,
    read_sealed,
    read_whole,
    recover,
    sealed,
    whole_file,
)
from ..corpus import Contexts
from ..models import Site, is_site

VALUES, MANIFEST, CONTEXTS = "values.npy", "manifest.json", "contexts.parquet"
#: Format 1, of version 0.1.0, had no hashes and did not know of all that decides the values.
FORMAT = 2
_WHAT = "damaged, or of another version"
#: Between two entries in the manifest: at most this many bytes, and at most this many batches.
STRETCH_BYTES, STRETCH_BATCHES = 32 * 2**20, 64
#: What must agree for an unfinished store only: how its remaining values would be computed.
COMPUTED = ("batch_size", "device", "versions")
#: Listed beside real differences but not one itself: the same weights may be at another path.
NAMED = ("model",)


@dataclass
class Store:
    """A store that is being written: which examples are done, and by batches of what size."""

    folder: Path
    wanted: Mapping[str, Any]
    about: Mapping[str, Any]
    batch_size: int
    done: int = 0
    #: Last example and SHA-256 of each stretch that is on the disk.
    stretches: list[list[Any]] = field(default_factory=list)

    @property
    def units(self) -> int:
        """Units of a layer."""
        return self.wanted["shape"][2]

    @property
    def stretch(self) -> int:
        """Examples between two entries in the manifest: whole batches."""
        layers, _, units = self.wanted["shape"]
        batches = STRETCH_BYTES // (4 * layers * units * self.batch_size)
        return self.batch_size * max(1, min(batches, STRETCH_BATCHES))

    def resume(self) -> None:
        """Read in the manifest how much is done."""
        manifest = _read_manifest(self.folder)
        self.done, self.batch_size = manifest["done"], manifest["batch_size_now"]
        self.stretches = manifest["stretches"]

    def write(self, start: int, rows: Float[Tensor, "layer example unit"]) -> None:
        """Write the values of some examples, from ``start`` on, to the disk.

        Raises
        ------
        OSError
            They cannot be written: the disk is full, for instance.
        """
        _, examples, units = self.wanted["shape"]
        path = self.folder / VALUES
        with self._room_can_be_made():
            begin = _map(path).offset  # of the first value, after the header of the format
            with path.open("r+b") as file:
                for layer, part in enumerate(_float32(rows)):
                    file.seek(begin + 4 * units * (layer * examples + start))
                    file.write(np.ascontiguousarray(part).data)
                file.flush()
                os.fsync(file.fileno())

    def advance(self, done: int, batch_size: int) -> None:
        """Record in the manifest that the values of ``done`` examples are on the disk.

        Raises
        ------
        OSError
            As :meth:`write`.
        """
        stretches = self.stretches
        if done > self.done:  # of what was written, by whatever process, since the last time
            array = open_values(self.folder).numpy()
            stretches = [*stretches, [done, _values_sha256(array[:, self.done : done])]]
        self._write_manifest(done, batch_size, stretches)

    def _write_manifest(self, done: int, batch_size: int, stretches: list[list[Any]]) -> None:
        contexts = self.folder / CONTEXTS
        content = {
            "format": FORMAT,
            "done": done,
            "batch_size_now": batch_size,
            "contexts_file": file_sha256(contexts) if contexts.exists() else None,
            "stretches": stretches,
            "holds": jsonable(self.wanted),
            "about": jsonable(self.about),
        }
        with (
            self._room_can_be_made(),
            whole_file(self.folder / MANIFEST) as path,
            path.open("w", encoding="utf-8") as file,
        ):
            file.write(sealed(content))
            file.flush()
            os.fsync(file.fileno())
        self.done, self.batch_size, self.stretches = done, batch_size, stretches

    def begin(self, contexts: Contexts) -> None:
        """Make the files; the manifest first, because a store is recognised by it.

        Raises
        ------
        OSError
            As :meth:`write`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_manifest(0, self.batch_size, [])
        with self._room_can_be_made():
            with whole_file(self.folder / CONTEXTS) as path:
                contexts.to_frame().to_parquet(path)
            shape = tuple(self.wanted["shape"])
            np.lib.format.open_memmap(self.folder / VALUES, "w+", np.float32, shape).flush()
        self._write_manifest(0, self.batch_size, [])  # again, with the hash of the contexts

    @contextmanager
    def _room_can_be_made(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: {self.folder} holds {self.done} of {self.wanted['shape'][1]} "
                f"examples; make room and run again, which goes on from there",
            ) from error


def _float32(rows: Tensor) -> np.ndarray:
    """Give the values as they lie in the file; anything else would shift all that follows.

    Raises
    ------
    TypeError
        They are of another type.
    """
    if rows.dtype != torch.float32:
        raise TypeError(f"a store holds float32, 4 bytes a value; got {rows.dtype}")
    return rows.cpu().numpy()


def is_finished(folder: str | Path, wanted: Mapping[str, Any]) -> bool:
    """Whether everything that is wanted is there.

    Raises
    ------
    FileExistsError
        The directory holds something other than a store, or a store of something else.
    ValueError
        The manifest cannot be read.
    """
    folder = Path(folder)
    if not _exists(folder):
        check_name(folder)  # says what is wrong with it, before the model runs
        if folder.is_symlink():
            raise FileExistsError(f"{folder} is a link to nothing; remove it, or name another")
        return False
    if not folder.is_dir() or (_holds_files(folder) and not (folder / MANIFEST).exists()):
        raise FileExistsError(
            f"{folder} is not a store of activations (it has no {MANIFEST}); name another directory"
        )
    if not (folder / MANIFEST).exists():
        return False
    manifest = _read_manifest(folder)
    finished = manifest["done"] == manifest["holds"]["shape"][1]
    compare(folder, manifest["holds"], wanted, finished)
    return finished


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, for one
        return False


def _holds_files(folder: Path) -> bool:
    """Whether there is more than what a run left that was killed at its very beginning."""
    return any(not path.name.startswith(TEMPORARY) for path in folder.iterdir())


@contextmanager
def writing(store: Store, contexts: Contexts) -> Iterator[None]:
    """Begin a store or go on with one, while nobody else does.

    Raises
    ------
    BlockingIOError
        Another run is writing to it.
    OSError
        There is less room on the disk than the values still need.
    FileExistsError, ValueError
        As :func:`is_finished`.
    """
    with one_writer(store.folder):
        sweep(store.folder)
        is_finished(store.folder, store.wanted)  # another run may have begun it meanwhile
        if (store.folder / MANIFEST).exists():
            store.resume()
        _check_room(store)
        if store.done == 0:
            store.begin(contexts)
        check_values(store.folder)  # refuses damage before the model runs
        yield


def sweep(folder: Path) -> None:
    """Remove what killed runs left beside a store and in it."""
    recover(folder)
    recover(folder / MANIFEST)


def _check_room(store: Store) -> None:
    layers, examples, units = store.wanted["shape"]
    needed = 4 * layers * (examples - store.done) * units
    above = (store.folder.absolute(), *store.folder.absolute().parents)
    free = shutil.disk_usage(next(path for path in above if path.exists())).free
    if needed > free:
        raise OSError(
            f"the activations need {needed / 1e9:.3f} GB more, and the disk of {store.folder} has "
            f"{free / 1e9:.3f} GB free; make room, or collect fewer sites, layers or contexts"
        )


def compare(
    folder: Path, holds: Mapping[str, Any], wanted: Mapping[str, Any], finished: bool
) -> None:
    """Raise if the store holds something other than what is wanted.

    Raises
    ------
    FileExistsError
        Names each difference.
    """
    ignored = COMPUTED if finished else ()
    different = [x for x in wanted if holds.get(x) != wanted[x] and x not in ignored]
    if set(different) - set(NAMED):
        named = [_difference(x, holds.get(x), wanted[x]) for x in different]
        raise FileExistsError(
            f"the store {folder} does not fit; name another directory, or ask for what it holds:\n"
            + "\n".join(named)
        )


def _difference(name: str, held: Any, wanted: Any) -> str:
    """Say what differs; of settings, only those that do."""
    if held is None:
        return f"{name}: it does not say (an earlier version wrote it), asked for {wanted}"
    if isinstance(held, Mapping) and isinstance(wanted, Mapping):
        keys = [key for key in {**held, **wanted} if held.get(key) != wanted.get(key)]
        held, wanted = ({key: of.get(key) for key in keys} for of in (held, wanted))
    return f"{name}: it holds {held}, asked for {wanted}"


def open_values(folder: str | Path) -> Float[Tensor, "layer example unit"]:
    """Map the values of a store into memory; pages are loaded when read, dropped when needed.

    Raises
    ------
    ValueError
        The file is missing, cut short, or not an array of the manifest's shape.
    """
    path, shape = Path(folder) / VALUES, tuple(_read_manifest(Path(folder))["holds"]["shape"])
    if not path.is_file():
        raise _damaged(path, "FileNotFoundError: it is missing")
    with _reading(path):
        array = _map(path)
    if array.shape != shape or array.dtype != np.float32:
        raise _damaged(path, f"{array.dtype} {array.shape}, the manifest says float32 {shape}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def check_values(folder: str | Path) -> None:
    """Compare the values of every stretch with the SHA-256 that was recorded when it was written.

    Raises
    ------
    ValueError
        Names the examples whose values are others.
    """
    path, array, first = Path(folder) / VALUES, open_values(folder).numpy(), 0
    for end, recorded in _read_manifest(Path(folder)).get("stretches", []):
        if _values_sha256(array[:, first:end]) != recorded:
            raise _damaged(path, f"the values of examples {first} to {end - 1} were changed")
        first = end


def _values_sha256(values: Float[np.ndarray, "layer example unit"]) -> str:
    digest = hashlib.sha256()
    for layer in values:
        digest.update(np.ascontiguousarray(layer).data)
    return digest.hexdigest()


def _map(path: Path) -> np.memmap:
    """Map a file so that writing into the array changes the memory of this process only."""
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError:  # Linux promises no more private memory than it has: read-only for the largest
        return np.load(path, mmap_mode="r", allow_pickle=False)


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, Any], Contexts]:
    """Read what a finished store holds, what is known about it, and its contexts.

    Raises
    ------
    FileNotFoundError
        Not a store.
    ValueError
        The store is unfinished or damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is not a store of activations (it has no {MANIFEST})")
    manifest = _read_manifest(folder)
    holds, about = manifest["holds"], manifest["about"]
    if manifest["done"] < holds["shape"][1]:
        raise ValueError(
            f"{folder} holds {manifest['done']} of {holds['shape'][1]} examples; finish it with "
            f"collect(model, contexts, store=...) as it was begun"
        )
    path = folder / CONTEXTS
    if not path.is_file():
        raise _damaged(path, "FileNotFoundError: it is missing")
    if manifest["format"] > 1 and file_sha256(path) != manifest["contexts_file"]:
        raise _damaged(path, "they are not those of the manifest: the SHA-256 differs")
    with _reading(path):
        with path.open("rb") as file:
            contexts = Contexts.from_frame(pd.read_parquet(file), **about["contexts"])
        if contexts_sha256(contexts) != holds["contexts"]:
            raise ValueError("they are not those of the manifest")
    return holds, about, contexts


def about(folder: str | Path) -> dict[str, Any]:
    """Read what a store records of its model and contexts beyond what must agree."""
    return _read_manifest(Path(folder))["about"]


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    with _reading(path):
        manifest, is_sealed = read_sealed(path)
        version = manifest.get("format")
        if version not in (1, FORMAT):
            raise ValueError(f"it is of format {version!r:.20}, known are 1 and {FORMAT}")
        if version == FORMAT and not is_sealed:
            raise ValueError("its SHA-256 is missing")
        _check_manifest(manifest)
        return manifest


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raise where a field does not fit the others."""
    holds, done = manifest["holds"], manifest["done"]
    layers, examples, units = holds["shape"]
    ends = [end for end, _ in manifest.get("stretches", [[done, None]] if done else [])]
    if not (
        manifest["batch_size_now"] >= 1
        and min(layers, units) >= 1
        and 0 <= done <= examples
        and [0, *ends] == sorted({0, *ends})
        and (ends or [0])[-1] == done
        and type(done) is type(layers) is type(examples) is int
        and all(type(layer) is int and layer >= 0 for layer in holds["layers"])
        and len(set(holds["layers"])) == len(holds["layers"]) == layers
        and all(map(is_site, holds["sites"]))
        and len({site["name"] for site in holds["sites"]}) == len(holds["sites"])
        and sum(Site(**site).width for site in holds["sites"]) == units
        and isinstance(manifest["about"]["model"], dict)
        and isinstance(manifest["about"]["contexts"], dict)
    ):
        raise ValueError("its entries do not fit each other")


def _reading(path: Path) -> AbstractContextManager[None]:
    return read_whole(path, _cure(path), _WHAT)


def _damaged(path: Path, why: str) -> ValueError:
    return damaged(path, why, _cure(path), _WHAT)


def _cure(path: Path) -> str:
    return f"delete {path.parent} and collect again"


def contexts_sha256(contexts: Contexts) -> str:
    """SHA-256 of the windows' tokens, their labels and the place of the target."""
    digest = hashlib.sha256(f"{contexts.before} {tuple(contexts.tokens.shape)}".encode())
    digest.update(contexts.tokens.cpu().contiguous().numpy().data)
    digest.update(contexts.labels.numpy().data)
    return digest.hexdigest()
