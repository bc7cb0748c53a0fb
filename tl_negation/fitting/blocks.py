"""Work over the units of all layers in blocks that fit into a cache, or fill a GPU."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from .._shared import current

#: Units worked on together. On a CPU a block's temporaries stay in cache; a GPU wants more at once.
UNITS = {"cpu": 1024, "cuda": 65_536}
#: Entries of a block at most, whatever the number of examples: 64 MB and 1 GB in float32.
ENTRIES = {"cpu": 2**24, "cuda": 2**28}


class Scratch:
    """Memory that is used again: fresh megabytes cost a CPU more than the arithmetic in them.

    A pass over a 398 x 512 float32 block takes about 17 microseconds into memory that is there,
    and 370 into memory that the system has yet to map.
    """

    def __init__(self) -> None:
        self._flat: dict[tuple[str, torch.dtype], Tensor] = {}

    def like(self, name: str, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Lend memory of the shape of ``x``, valid until ``name`` is asked for again."""
        dtype = dtype or x.dtype
        flat = self._flat.get((name, dtype))
        if flat is None or flat.numel() < x.numel() or flat.device != x.device:
            flat = torch.empty(x.numel(), dtype=dtype, device=x.device)
            self._flat[name, dtype] = flat
        return flat[: x.numel()].view(x.shape)


class Block(NamedTuple):
    """Some units of one layer, or all units of some layers."""

    layers: slice
    units: slice


def compute(
    values: Float[Tensor, "layer example unit"],
    work: Callable[[Tensor, Scratch], Mapping[str, Tensor]],
    *,
    chunk: int | None = None,
    desc: str = "",
    progress: bool = False,
) -> dict[str, Tensor]:
    """Compute columns ``[layer, unit]`` block by block.

    Parameters
    ----------
    values
        Activations of all layers.
    work
        Given a block ``[example, unit]`` and scratch memory, its columns: name -> one entry per
        unit. On a CPU it runs in as many threads as torch uses, each with its own scratch, since
        a block is too small for the threads within torch's operations to pay.
    chunk
        Units of a block; the default suits the device.
    desc, progress
        Of the progress bar.

    Raises
    ------
    ValueError
        ``chunk`` is below 1.
    """
    n_layers, n_examples, n_units = values.shape
    size = chunk if chunk is not None else units_at_once(values.device, n_examples)
    if size < 1:
        raise ValueError(f"chunk must be at least 1 unit; got {size}")
    found: dict[str, Tensor] = {}
    todo = list(_blocks(n_layers, n_units, size))
    run = _threaded if values.device.type == "cpu" else _in_turn
    with tqdm(total=n_layers * n_units, desc=desc, unit="unit", disable=not progress) as bar:
        for block, columns in zip(todo, _shared(run, values, work, todo), strict=True):
            for name, column in columns.items():
                if name not in found:
                    found[name] = column.new_empty(n_layers, n_units)
                part = found[name][block.layers, block.units]
                part.copy_(column.view(part.shape))
            bar.update(part.numel())
    return found


def units_at_once(device: torch.device, n_examples: int) -> int:
    """Units of a block, so that it suits the device and its memory is bounded."""
    kind = device.type if device.type in UNITS else "cuda"
    return max(1, min(UNITS[kind], ENTRIES[kind] // max(1, n_examples)))


def _blocks(n_layers: int, n_units: int, size: int) -> Iterator[Block]:
    together = max(1, size // n_units)
    for layer in range(0, n_layers, together):
        for unit in range(0, n_units, size):
            yield Block(slice(layer, layer + together), slice(unit, unit + size))


def _shared(
    run: Callable, values: Tensor, work: Callable, todo: list[Block]
) -> Iterable[Mapping[str, Tensor]]:
    """Compute the blocks that are this process's, and get the others' from theirs."""
    processes = current()
    if not 1 < processes.count <= len(todo):  # too few blocks to split: every process does all
        return run(values, work, todo)
    sizes = [values[block.layers, 0, block.units].numel() for block in todo]
    return processes.exchange(run(values, work, todo[processes.share(len(todo))]), sizes)


def _gather(values: Tensor, block: Block) -> Tensor:
    return rearrange(
        values[block.layers, :, block.units], "layer example unit -> example (layer unit)"
    )


def _in_turn(values: Tensor, work: Callable, todo: list[Block]) -> Iterator[Mapping[str, Tensor]]:
    scratch = Scratch()
    for block in todo:
        yield work(_gather(values, block), scratch)


def _threaded(values: Tensor, work: Callable, todo: list[Block]) -> Iterator[Mapping[str, Tensor]]:
    threads = torch.get_num_threads()
    if threads == 1 or len(todo) == 1:
        yield from _in_turn(values, work, todo)
        return
    own = threading.local()

    def one(block: Block) -> Mapping[str, Tensor]:
        if not hasattr(own, "scratch"):
            own.scratch = Scratch()
        return work(_gather(values, block), own.scratch)

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(one, todo)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what threads born later begin with
