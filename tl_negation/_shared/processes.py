"""Several processes of one run, as ``accelerate launch`` starts them: who does what.

Every process makes the same calls. Contexts are split by whole batches and units by whole blocks,
the same batches and blocks that one process would make, so that the results are the same to the
last bit; what the others computed is gathered where it is needed. Only the main process writes and
prints.

Torch and accelerate are imported where they are used: a command line that only asks whether it was
launched (:func:`launched`) does not wait for them.
"""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    import torch

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Processes:
    """One process among all of a run.

    Parameters
    ----------
    index, count
        Its number, from 0, and how many there are.
    state
        What connects them, an ``accelerate.PartialState``; None for a process by itself.
    """

    index: int = 0
    count: int = 1
    state: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.index == 0

    def share(self, n: int, whole: int = 1, index: int | None = None) -> slice:
        """Which of ``n`` things this process does (or the one with ``index``), in whole batches.

        Shares follow each other in the order of the processes, and differ by at most one batch.

        Parameters
        ----------
        n
            Number of things.
        whole
            Size of a batch, which is never cut.
        index
            Another process's number.
        """
        batches = -(-n // whole)
        index = self.index if index is None else index
        first, end = (batches * i // self.count for i in (index, index + 1))
        return slice(min(n, whole * first), min(n, whole * end))

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.count > 1:
            self.state.wait_for_everyone()

    def end(self) -> None:
        """Close the connection to the other processes; nothing is exchanged afterwards."""
        if self.count > 1:
            self.state.destroy_process_group()

    def join(self, part: "torch.Tensor", n: int, whole: int = 1) -> "torch.Tensor":
        """Put the parts of all processes together, bit for bit, and give the whole to each.

        Parameters
        ----------
        part
            ``[part, ...]``: what this process has of the ``n`` things, its :meth:`share`.
        n, whole
            As for :meth:`share`.

        Returns
        -------
        Tensor
            ``[n, ...]``.
        """
        if self.count == 1:
            return part
        import torch
        from accelerate.utils import gather

        lengths = [len(range(n)[self.share(n, whole, index)]) for index in range(self.count)]
        # gather wants the same shape of all. As bytes, any dtype is sent as it is.
        padded = part.new_zeros(max(lengths), *part.shape[1:])
        padded[: len(part)] = part
        sent = padded.reshape(-1).view(torch.uint8).to(self.state.device)
        received = cast("torch.Tensor", gather(sent)).view(self.count, -1).to(part.device)
        pieces = (data.view(part.dtype).view(padded.shape) for data in received)
        return torch.cat([piece[:length] for piece, length in zip(pieces, lengths, strict=True)])

    def exchange(
        self, computed: "Iterable[Mapping[Name, torch.Tensor]]", sizes: Sequence[int]
    ) -> "list[dict[Name, torch.Tensor]]":
        """Give every process the columns of all blocks; each has computed its share of them.

        Parameters
        ----------
        computed
            For each block of this process's share, at least one: name -> one entry per unit.
        sizes
            Units of every block.
        """
        import torch

        own = list(computed)
        shares = [self.share(len(sizes), index=index) for index in range(self.count)]
        longest = max(sum(sizes[share]) for share in shares)
        blocks: list[dict[Name, torch.Tensor]] = [{} for _ in sizes]
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
    """Which process this is, and of how many; before :func:`use_processes` it is by itself."""
    return _current


def launched() -> int:
    """How many processes a launcher started, this one among them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def use_processes() -> Processes:
    """Split the work from here on over the processes that ``accelerate launch`` started.

    The command ``accelerate launch -m tl_negation scan ...`` does so by itself; a script of your
    own calls this first. After it every process must make the same calls of
    :func:`tl_negation.collect`, :func:`tl_negation.probe`, :func:`tl_negation.infer` and
    :func:`tl_negation.scan` with the same arguments, or they wait for each other.

    Returns
    -------
    Processes
        ``index`` and ``count``, and ``is_main`` for what only one process should do. Without a
        launcher this process is number 0 of 1, and nothing is split.

    Notes
    -----
    What is split are the contexts (whole batches) and the units that are fitted (whole blocks): the
    probe, words left out, selectivity, the lexical null. Every process computes the rest of the
    inference over words by itself, because sending it would take as long; only the main process
    draws figures and writes the report. Without a ``store`` every process holds all activations; a
    store must be on a disk that all of them see. Each process runs the model on a GPU of its own,
    which accelerate assigns, or on the CPU. If a process fails, the launcher ends the others.

    Examples
    --------
    >>> processes = tln.use_processes()
    >>> processes.index, processes.count  # without accelerate launch
    (0, 1)
    >>> if processes.is_main:
    ...     print("printed once, however many processes there are")
    printed once, however many processes there are
    """
    global _current  # noqa: PLW0603 - once in a process, as in torch.distributed
    if _current.count == 1 and launched() > 1:
        import torch
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        _current = Processes(state.process_index, state.num_processes, state)
    return _current
