"""Activations on disk: one plain ``.npy`` file, written as the model goes, and what is in it.

A store is a directory of three files:

- ``values.npy``: ``[layer, example, unit]``, float32, of full size from the start. A layer is one
  stretch of the file, so that a memory map reads it without the others.
- ``manifest.json``: what the values are of, and how many examples are done. It replaces the old
  one only after the values that it counts are on the disk; whatever a crashed run had written
  beyond them is computed again.
- ``contexts.parquet``: the contexts, for :func:`tl_negation.load_activations`.

Values are written with ordinary writes, not through a memory map: with a map, a full disk would
end the process; this way it is an error that can be reported.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .._shared import one_writer, whole_file
from ..corpus import Contexts

VALUES, MANIFEST, CONTEXTS = "values.npy", "manifest.json", "contexts.parquet"
FORMAT = 1
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
        state = {"format": FORMAT, "done": done, "batch_size_now": batch_size}
        with (
            self._room_can_be_made(),
            whole_file(self.folder / MANIFEST) as path,
            path.open("w", encoding="utf-8") as file,
        ):
            json.dump({**state, "holds": self.wanted, "about": self.about}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        self.done, self.batch_size = done, batch_size

    def begin(self, contexts: Contexts) -> None:
        """Make the files; the manifest first, because a store is recognised by it.

        Raises
        ------
        OSError
            As :meth:`write`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.advance(0, self.batch_size)
        with self._room_can_be_made():
            with whole_file(self.folder / CONTEXTS) as path:
                contexts.to_frame().to_parquet(path)
            shape = tuple(self.wanted["shape"])
            np.lib.format.open_memmap(self.folder / VALUES, "w+", np.float32, shape).flush()

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
    if not folder.exists():
        return False
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).exists()):
        raise FileExistsError(
            f"{folder} is not a store of activations (it has no {MANIFEST}); name another directory"
        )
    if not (folder / MANIFEST).exists():
        return False
    manifest = _read_manifest(folder)
    finished = manifest["done"] == manifest["holds"]["shape"][1]
    compare(folder, manifest["holds"], wanted, finished)
    return finished


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
        is_finished(store.folder, store.wanted)  # another run may have begun it meanwhile
        if (store.folder / MANIFEST).exists():
            store.resume()
        _check_room(store)
        if store.done == 0:
            store.begin(contexts)
        open_values(store.folder)  # refuses damage before the model runs
        yield


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
    try:
        array = _map(path)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if array.shape != shape or array.dtype != np.float32:
        raise _damaged(path, f"{array.dtype} {array.shape}, the manifest says float32 {shape}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


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
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"{folder} is not a store of activations (it has no {MANIFEST})")
    manifest = _read_manifest(folder)
    holds, about = manifest["holds"], manifest["about"]
    if manifest["done"] < holds["shape"][1]:
        raise ValueError(
            f"{folder} holds {manifest['done']} of {holds['shape'][1]} examples; finish it with "
            f"collect(model, contexts, store=...) as it was begun"
        )
    path = folder / CONTEXTS
    try:
        contexts = Contexts.from_frame(pd.read_parquet(path), **about["contexts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if contexts_sha256(contexts) != holds["contexts"]:
        raise _damaged(path, "they are not those of the manifest")
    return holds, about, contexts


def about(folder: str | Path) -> dict[str, Any]:
    """Read what a store records of its model and contexts beyond what must agree."""
    return _read_manifest(Path(folder))["about"]


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        layers, examples, units = manifest["holds"]["shape"]
        sound = manifest["format"] == FORMAT and manifest["batch_size_now"] >= 1
        sound = sound and min(layers, units) >= 1 and 0 <= manifest["done"] <= examples
        sound = sound and {"model", "contexts"} <= manifest["about"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not sound:
        raise _damaged(path, "it is of another format")
    return manifest


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} is damaged, or of another version ({why}); delete {path.parent} and collect again"
    )


def contexts_sha256(contexts: Contexts) -> str:
    """SHA-256 of the windows' tokens, their labels and the place of the target."""
    digest = hashlib.sha256(f"{contexts.before} {tuple(contexts.tokens.shape)}".encode())
    digest.update(contexts.tokens.cpu().contiguous().numpy().data)
    digest.update(contexts.labels.numpy().data)
    return digest.hexdigest()
