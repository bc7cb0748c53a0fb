"""Work over the units of all layers in blocks that fit into a cache, or fill a GPU."""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from .._shared import current, progress_bar
from .engine import engine_of
from .scratch import Scratch

_Name = TypeVar("_Name", bound=Hashable)
#: Given a block ``[example, unit]`` and memory to work in, its columns: one entry per unit.
_Work: TypeAlias = Callable[[Tensor, Scratch], Mapping[_Name, Tensor]]


class Block(NamedTuple):
    """Some units of one layer, or all units of some layers."""

    layers: slice
    units: slice


def compute(
    values: Float[Tensor, "layer example unit"],
    work: Callable[[Tensor, Scratch], Mapping[_Name, Tensor]],
    *,
    chunk: int | None = None,
    desc: str = "",
    progress: bool = False,
) -> dict[_Name, Tensor]:
    """Compute columns ``[layer, unit]`` block by block.

    Parameters
    ----------
    values
        Activations of all layers.
    work
        Given a block ``[example, unit]`` and scratch memory, its columns: name -> one entry per
        unit. A block of half precision comes as float32. On a CPU it runs in as many threads as
        torch uses, each with its own scratch memory, because a block is too small for the threads
        within torch's operations to pay.
    chunk
        Units of a block; the default suits the device.
    desc, progress
        The progress bar's text, and whether to show it.

    Returns
    -------
    dict
        Name -> column ``[layer, unit]``.

    Raises
    ------
    ValueError
        ``chunk`` is below 1.
    """
    n_layers, n_examples, n_units = values.shape
    size = chunk if chunk is not None else units_at_once(values.device, n_examples)
    if size < 1:
        raise ValueError(f"chunk must be at least 1 unit; got {size}")
    found: dict[_Name, Tensor] = {}
    todo = list(_blocks(n_layers, n_units, size))
    with progress_bar(
        total=n_layers * n_units, desc=desc, unit="unit", disable=not progress
    ) as bar:
        for block, columns in zip(todo, _shared(values, work, todo), strict=True):
            for name, column in columns.items():
                if name not in found:
                    found[name] = column.new_empty(n_layers, n_units)
                part = found[name][block.layers, block.units]
                part.copy_(column.view(part.shape))
            bar.update(_units_in(values, block))
    return found


def units_at_once(device: torch.device, n_examples: int) -> int:
    """Units of a block that suits the device and whose memory is bounded."""
    engine = engine_of(device)
    return max(1, min(engine.units, engine.entries // max(1, n_examples)))


def _blocks(n_layers: int, n_units: int, size: int) -> Iterator[Block]:
    together = max(1, size // n_units)
    for layer in range(0, n_layers, together):
        for unit in range(0, n_units, size):
            yield Block(slice(layer, layer + together), slice(unit, unit + size))


def _units_in(values: Tensor, block: Block) -> int:
    return values[block.layers, 0, block.units].numel()


def _shared(
    values: Tensor, work: _Work[_Name], todo: list[Block]
) -> Iterable[Mapping[_Name, Tensor]]:
    """Compute this process's blocks, and get the others from the processes that computed them."""
    run = _threaded if engine_of(values.device).threads else _in_turn
    processes = current()
    if not 1 < processes.count <= len(todo):  # too few blocks to split: every process does all
        return run(values, work, todo)
    sizes = [_units_in(values, block) for block in todo]
    return processes.exchange(run(values, work, todo[processes.share(len(todo))]), sizes)


def _gather(values: Tensor, block: Block) -> Tensor:
    x = rearrange(
        values[block.layers, :, block.units], "layer example unit -> example (layer unit)"
    )
    return x if x.dtype in (torch.float32, torch.float64) else x.float()  # halves: nothing is lost


def _in_turn(
    values: Tensor, work: _Work[_Name], todo: list[Block]
) -> Iterator[Mapping[_Name, Tensor]]:
    scratch = Scratch()
    for block in todo:
        yield work(_gather(values, block), scratch)


def _threaded(
    values: Tensor, work: _Work[_Name], todo: list[Block]
) -> Iterator[Mapping[_Name, Tensor]]:
    threads = torch.get_num_threads()
    if threads == 1 or len(todo) == 1:
        yield from _in_turn(values, work, todo)
        return
    own = threading.local()

    def work_on(block: Block) -> Mapping[_Name, Tensor]:
        if not hasattr(own, "scratch"):
            own.scratch = Scratch()
        return work(_gather(values, block), own.scratch)

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work_on, todo)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads started later begin with the number set last
