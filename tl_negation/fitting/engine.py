"""Which engine computes the fits on a device. A new engine is one entry in :data:`ENGINES`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import rows, tensors, tensors_firth
from .outcomes import Penalised, Solved
from .scratch import Scratch


class Engine(NamedTuple):
    """One way to compute the fits, and how much of them at a time.

    ``x`` is ``[example, unit]`` on the engine's device. An engine may lose units, that is, end an
    iteration before it arrived: it says which, and they are fitted again, with care.

    Parameters
    ----------
    solve
        ``(x, n1, scratch)`` -> the maximum-likelihood fits; the first ``n1`` examples are class 1.
    count_right
        ``(x, labels, groups, parts, scratch)`` -> how many examples of each part are predicted
        right by the fit to the groups that they are not in, ``[task, part, unit]``, and which units
        were lost, ``[task, unit]``.
    count_wins
        ``(x, n1, scratch)`` -> pairs in which the example of class 1 has the larger value, ties
        counted half, and whether all values are finite; per unit.
    penalise
        ``(u, n1, farthest, scratch)`` -> the maxima of Firth's penalised likelihood (:mod:`.firth`
        says what ``u`` and ``farthest`` are).
    units
        Units worked on together.
    entries
        Entries of a block (examples times units) at most, whatever the number of examples.
    threads
        Whether blocks are computed in threads of ours, as many as torch uses.
    """

    solve: Callable[[Tensor, int, Scratch], Solved]
    count_right: Callable[
        [Tensor, np.ndarray, np.ndarray, np.ndarray, Scratch], tuple[Tensor, Tensor]
    ]
    count_wins: Callable[[Tensor, int, Scratch], tuple[Tensor, Tensor]]
    penalise: Callable[[Tensor, int, Tensor, Scratch], Penalised]
    units: int
    entries: int
    threads: bool


#: Compiled code, a unit at a time. A block's temporaries stay in cache, and take at most 64 MB in
#: float32.
ROWS = Engine(
    rows.solve,
    rows.count_right,
    rows.count_wins,
    rows.penalise,
    units=1024,
    entries=2**24,
    threads=True,
)
#: Tensors of all units. A GPU is idle with less at once; at most 1 GB in float32.
TENSORS = Engine(
    tensors.solve,
    tensors.count_right,
    tensors.count_wins,
    tensors_firth.penalise,
    units=65_536,
    entries=2**28,
    threads=False,
)

#: Type of device -> its engine; every other type of device gets :data:`TENSORS`.
ENGINES = {"cpu": ROWS, "cuda": TENSORS}


def engine_of(device: torch.device) -> Engine:
    """Choose the engine for tensors on this device."""
    return ENGINES.get(device.type, TENSORS)
