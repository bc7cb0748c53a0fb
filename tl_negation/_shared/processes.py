"""Several processes of one run, as ``accelerate launch`` starts them: who does what.

Every process makes the same calls. Contexts are split by whole batches and units by whole blocks,
the same that one process would make, so that the results are the same to the last bit; what the
others computed is gathered where it is needed. Only the main process writes and prints.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Processes:
    """One process among all of a run.

    Parameters
    ----------
    index, count : int
        Its number, from 0, and how many there are.
    state : accelerate.PartialState, optional
        What connects them; a process by itself has none.
    """

    index: int = 0
    count: int = 1
    state: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.index == 0

    def share(self, n: int, whole: int = 1, index: int | None = None) -> slice:
        """Which of ``n`` things in a row are this process's (or another's), in whole batches."""
        batches = -(-n // whole)
        index = self.index if index is None else index
        first, end = (batches * i // self.count for i in (index, index + 1))
        return slice(min(n, whole * first), min(n, whole * end))

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            self.state.wait_for_everyone()

    def end(self) -> None:
        """Take leave of the others, for the last time."""
        if self.count > 1:
            self.state.destroy_process_group()

    def join(
        self, part: Shaped[Tensor, "part ..."], n: int, whole: int = 1
    ) -> Shaped[Tensor, "n ..."]:
        """Put every process's :meth:`share` together, bit by bit, for all of them."""
        if self.count == 1:
            return part
        from accelerate.utils import gather

        lengths = [len(range(n)[self.share(n, whole, index)]) for index in range(self.count)]
        padded = part.new_zeros(max(lengths), *part.shape[1:])
        padded[: len(part)] = part
        sent = padded.reshape(-1).view(torch.uint8).to(self.state.device)
        received = gather(sent).view(self.count, -1).to(part.device)
        parts = (each.view(part.dtype).view(padded.shape) for each in received)
        return torch.cat([each[:length] for each, length in zip(parts, lengths, strict=True)])

    def exchange(
        self, computed: Iterable[Mapping[Name, Tensor]], sizes: Sequence[int]
    ) -> list[dict[Name, Tensor]]:
        """Give every process the columns of all blocks, each of which its share computed.

        Parameters
        ----------
        computed
            Of this process's share of the blocks: name -> one entry per unit; at least one block.
        sizes
            Units of every block.
        """
        own = list(computed)
        shares = [self.share(len(sizes), index=index) for index in range(self.count)]
        longest = max(sum(sizes[share]) for share in shares)
        blocks: list[dict[Name, Tensor]] = [{} for _ in sizes]
        for name in own[0]:
            mine = torch.cat([columns[name].reshape(-1) for columns in own])
            padded = mine.new_zeros(longest)
            padded[: len(mine)] = mine
            everyone = self.join(padded, longest * self.count).view(self.count, longest)
            for share, column in zip(shares, everyone, strict=True):
                parts = column[: sum(sizes[share])].split(list(sizes[share]))
                for block, part in zip(blocks[share], parts, strict=True):
                    block[name] = part
        return blocks


_current = Processes()


def current() -> Processes:
    """Which process this is, of how many: one by itself before :func:`use_processes`."""
    return _current


def launched() -> int:
    """How many processes a launcher started, this one among them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def use_processes() -> Processes:
    """Split the work from here on over the processes that ``accelerate launch`` started.

    The command ``accelerate launch -m tl_negation scan ...`` does so by itself; a script of your
    own calls this first. After it every process must make the same calls of
    :func:`tl_negation.collect`, :func:`tl_negation.probe`, :func:`tl_negation.infer`,
    :func:`tl_negation.scan`, with the same arguments, or they wait for each other.

    Returns
    -------
    Processes
        ``index`` and ``count``, and ``is_main`` for what only one process should do. One by
        itself where there are no others.

    Notes
    -----
    Split are the contexts (whole batches) and the units that are fitted (whole blocks): the
    probe, words left out, selectivity, the lexical null. The rest of the inference over words is
    computed by every process again, which takes no longer than having it sent; figures and report
    are the main process's alone. Without a ``store`` every process holds all activations; a store
    must lie on a disk that all of them see. Each process runs the model on a GPU of its own, the
    one that accelerate gives it, or on the CPU. If a process fails, the launcher ends the others.
    """
    global _current  # noqa: PLW0603 - as accelerate and torch.distributed, once in a process
    if _current.count == 1 and launched() > 1:
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        _current = Processes(state.process_index, state.num_processes, state)
    return _current
