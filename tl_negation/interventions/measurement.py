"""The passes that measure what sets of units do when they are replaced."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._shared import progress_bar
from ..activations import halve_until_it_fits
from ..models import Site
from .continuation import Edit
from .setting import Setting

#: Contexts whose keys and values are kept at a time, and rows of a pass: by kind of device.
CONTEXTS, ROWS = 20, {"cpu": 80, "cuda": 640}
#: A row of a pass over whole windows takes as much memory as this many rows of a pass that reads
#: kept keys.
WHOLE_WINDOW = 8


class Change(Protocol):
    """What is done to some contexts, one thing in each copy of them."""

    @property
    def hooks(self) -> Mapping[str, Site]:
        """Hook name -> its site, of all that is done."""
        ...

    @property
    def nothing(self) -> np.ndarray:
        """What changes nothing."""
        ...

    def edits(self, stack: Sequence[np.ndarray]) -> Mapping[str, Edit]:
        """One edit for each hook, which does one thing of the stack in each copy."""
        ...


#: Makes the change of a part of the measured examples: setting, all that is done, the part.
Changing = Callable[[Setting, Sequence[np.ndarray], slice], Change]


def measure(
    setting: Setting, sets: Sequence[np.ndarray], desc: str, changing: Changing | None = None
) -> tuple[Float[np.ndarray, "set example"], Float[np.ndarray, " example"]]:
    """Make each change and measure that of the continuation's log-probability.

    Parameters
    ----------
    setting
        Model, contexts and kind of replacement.
    sets
        Positions of units, all layers end to end; or what ``changing`` takes instead.
    desc
        Of the progress bar.
    changing
        What is done; if not given, units are replaced.

    Returns
    -------
    changes, clean
        Change of the summed log-probability by each set in each example (nats; exactly 0 for an
        empty set); the log-probability without a change.
    """
    device = next(setting.model.parameters()).device.type
    rows = setting.batch_size or ROWS.get(device, ROWS["cpu"])
    rows = rows if setting.kept else of_windows(rows)
    smallest = f"one context of {setting.longest} tokens"
    work = partial(_measure, setting, sets, desc, changing or Replaced)
    found, _ = halve_until_it_fits(work, rows, smallest)
    return found


def of_windows(rows: int) -> int:
    """How many whole windows fit where this many rows with kept keys do."""
    return max(1, rows // WHOLE_WINDOW)


def _measure(
    setting: Setting, sets: Sequence[np.ndarray], desc: str, changing: Changing, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    n = len(setting.rows)
    changes, clean = np.empty((len(sets), n)), np.empty(n)
    bar = progress_bar(total=len(sets) * n, desc=desc, disable=not setting.progress)
    with bar:
        for part, continuation in setting.continuations(min(CONTEXTS, rows, n)):
            copies = max(1, min(rows // (part.stop - part.start), len(sets)))
            change = changing(setting, sets, part)
            with torch.inference_mode(), continuation.hooked(change.hooks):
                base = continuation.log_p(copies)
                clean[part] = base[:, 0].double().cpu().numpy()
                for first in range(0, len(sets), copies):
                    stack = list(sets[first : first + copies])
                    # Filled up with nothing: a pass of another shape would round differently, and
                    # the change by an empty set would not be exactly 0.
                    filled = stack + [change.nothing] * (copies - len(stack))
                    continuation.edits = change.edits(filled)
                    changed = (continuation.log_p(copies).double() - base.double()).cpu().numpy()
                    changes[first : first + len(stack), part] = changed.T[: len(stack)]
                    bar.update(len(stack) * (part.stop - part.start))
    return changes, clean


class Replaced:
    """Turns sets of units into edits of the hooks that hold them.

    Only hooks that hold a needed unit are put in: every hook costs time in every pass.
    """

    def __init__(self, setting: Setting, sets: Sequence[Int[np.ndarray, " chosen"]], part: slice):
        needed = np.unique(np.concatenate([*sets, np.empty(0, np.int64)]))
        self.nothing = needed[:0]
        self.hooks: dict[str, Site] = {}
        self.values: dict[str, tuple[int, Tensor]] = {}
        for row, layer, site, columns, positions in setting.slices():
            if not ((needed >= positions.start) & (needed < positions.stop)).any():
                continue
            name = site.hook_name(layer)
            self.hooks[name] = site
            self.values[name] = (positions.start, setting.replacement(row, columns)[part])

    def edits(self, stack: Sequence[np.ndarray]) -> Mapping[str, Edit]:
        """One edit for each hook at which any of the sets has units."""
        edits = {}
        for name, (first, values) in self.values.items():
            mask = torch.zeros(len(stack), values.shape[1], dtype=torch.bool, device="cpu")
            for copy, units in enumerate(stack):
                here = units[(units >= first) & (units < first + values.shape[1])] - first
                mask[copy, torch.from_numpy(here)] = True
            if mask.any():
                edits[name] = _replaces(mask.to(values.device), values)
        return edits


def _replaces(mask: Bool[Tensor, "copy unit"], values: Float[Tensor, "example unit"]) -> Edit:
    """Build the edit that replaces the masked units, other ones in each copy of an example."""

    def edit(at: Tensor) -> Tensor:
        by_copy = rearrange(at, "(example copy) unit -> example copy unit", copy=len(mask))
        new = torch.where(mask.to(at.device), values[:, None].to(at), by_copy)
        return rearrange(new, "example copy unit -> (example copy) unit")

    return edit
