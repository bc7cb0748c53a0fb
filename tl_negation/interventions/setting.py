"""What an intervention does to which contexts, and the passes that measure it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from ..activations import Activations, collect, halve_until_it_fits
from ..corpus import Contexts
from ..models import Site, TransformerLensModel, check_model
from .continuation import Continuation

HOWS = ("mean", "zero", "resample")
#: Tokens after the target whose probability counts, where the window holds so many.
FOLLOW = 5
#: Contexts of each class. 20 sets on 2 x 20 contexts with kept keys took SmolLM2 61 s on two cores
#: that were busy with other work.
PER_CLASS = 20
#: Contexts whose keys and values are kept at a time, and rows of a pass: by kind of device.
CONTEXTS, ROWS = 20, {"cpu": 80, "cuda": 640}
#: A row of a pass over whole windows takes as much as so many of a pass that reads kept keys.
WHOLE_WINDOW = 8


#: What arguments of all interventions must be, for :func:`tl_negation._checks.takes`.
@dataclass(frozen=True)
class Setting:
    """Everything that two sets of units are compared under.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    acts : Activations
        Of all contexts: what means, donors and variances are taken from.
    rows : Int[np.ndarray, " example"]
        The contexts on which effects are measured.
    how : str
        ``mean``, ``zero`` or ``resample``.
    follow : int
        Tokens after the target whose log-probability is summed.
    seed : int
        Of the donors and of all that is drawn.
    batch_size : int, optional
        Rows of a pass.
    keep : bool
        Keep keys and values of the tokens before the target.
    progress : bool
    """

    model: TransformerLensModel
    acts: Activations
    rows: Int[np.ndarray, " example"]
    how: str
    follow: int
    seed: int
    batch_size: int | None
    keep: bool
    progress: bool

    @property
    def contexts(self) -> Contexts:
        """All contexts."""
        return self.acts.contexts

    @property
    def examples(self) -> pd.DataFrame:
        """The measured examples."""
        return self.contexts.examples.iloc[self.rows].reset_index(drop=True)

    @property
    def tokens(self) -> Int[Tensor, "example pos"]:
        """Windows of the measured examples, up to the last token that counts."""
        end = self.contexts.before + 1 + self.follow
        return self.contexts.tokens[torch.from_numpy(self.rows), :end]

    @cached_property
    def donors(self) -> Int[np.ndarray, " example"]:
        """For each measured example, another of all contexts, drawn at random."""
        rng = np.random.default_rng(self.seed)
        drawn = rng.integers(len(self.contexts) - 1, size=len(self.rows))
        return drawn + (drawn >= self.rows)  # skips the example itself

    def replacement(self, row: int, columns: slice) -> Float[Tensor, "example unit"]:
        """What the units of a layer are replaced by in every measured example."""
        layer = self.acts.values[row][:, columns]
        if self.how == "resample":
            return layer[torch.from_numpy(self.donors).to(layer.device)]
        mean = layer.double().mean(dim=0).to(layer.dtype)
        return (mean if self.how == "mean" else torch.zeros_like(mean)).expand(len(self.rows), -1)

    def sites(self) -> Iterator[tuple[int, slice, str, Site]]:
        """Row of the layer, columns, hook and site, for every layer and site."""
        for row, layer in enumerate(self.acts.layers):
            start = 0
            for site in self.acts.sites:
                yield row, slice(start, start + site.width), site.hook_name(layer), site
                start += site.width

    def continuations(self, size: int) -> Iterator[tuple[slice, Continuation]]:
        """The measured examples in parts whose keys and values are kept together."""
        for start in range(0, len(self.rows), size):
            part = slice(start, min(start + size, len(self.rows)))
            yield part, self._continuation(part, self.kept)

    @cached_property
    def kept(self) -> bool:
        """Whether keys and values are kept: if asked for, and the first context allows it."""
        return self.keep and self._continuation(slice(0, 1), True).cache is not None

    def _continuation(self, part: slice, keep: bool) -> Continuation:
        return Continuation(self.model, self.tokens[part], self.contexts.before, keep)

    def about(self) -> dict[str, Any]:
        """What was done, ready for JSON."""
        labels = self.examples["label"]
        return {
            "how": self.how,
            "follow": self.follow,
            "seed": self.seed,
            "contexts": {
                self.contexts.contrast.groups[label]: int((labels == label).sum())
                for label in (1, 0)
            },
            "kept_keys": self.kept,
            "replacements_from": len(self.contexts),
            "model": self.acts.model.get("name", "a model"),
        }


def make_setting(
    model: TransformerLensModel,
    contexts: Contexts,
    acts: Activations | None,
    *,
    sites: Iterable[str],
    layers: Sequence[int] | None,
    how: str,
    per_class: int | None,
    follow: int | None,
    seed: int,
    batch_size: int | None,
    keep: bool,
    progress: bool,
) -> Setting:
    """Check all arguments, then collect the activations if they were not given.

    Raises
    ------
    ValueError
        An unknown ``how``; no token after the target, or fewer than asked for; fewer than two
        contexts, or none of a class; activations of other
        contexts; whatever :func:`tl_negation.collect` refuses.
    """
    if how not in HOWS:
        raise ValueError(f"how must be one of {', '.join(HOWS)}; got {how!r}")
    follow = _follow(contexts, follow)
    rows = _sampled(contexts, per_class, seed)
    if acts is None:
        acts = collect(model, contexts, sites, layers=layers, progress=progress)
    elif not torch.equal(acts.contexts.tokens, contexts.tokens):
        raise ValueError(
            f"the activations must be of these contexts; they are of {len(acts.contexts)} other "
            f"contexts than the {len(contexts)} given. Leave acts out to collect them"
        )
    check_model(model, acts.sites, contexts.before + follow, acts.layers)
    options = {"batch_size": batch_size, "keep": keep, "progress": progress}
    return Setting(model, acts, rows, how, follow, seed, **options)


def _follow(contexts: Contexts, follow: int | None) -> int:
    if contexts.after < 1:
        raise ValueError(
            "an intervention is measured on the words after the target, but these windows end "
            "with it: find_contexts(..., after=10)"
        )
    if follow is not None and not 1 <= follow <= contexts.after:
        raise ValueError(
            f"follow must be between 1 and the {contexts.after} tokens that the windows hold after "
            f"the target; got {follow}"
        )
    return min(FOLLOW, contexts.after) if follow is None else follow


def _sampled(contexts: Contexts, per_class: int | None, seed: int) -> Int[np.ndarray, " example"]:
    counts = contexts.examples["label"].value_counts()
    if not {0, 1} <= set(counts.index):
        raise ValueError(f"contexts of both classes are needed; got {counts.to_dict()} by label")
    if per_class is None:
        return np.arange(len(contexts))
    numbered = contexts.examples.assign(row=np.arange(len(contexts)))
    drawn = replace(contexts, examples=numbered).sample(per_class, seed)
    return drawn.examples["row"].to_numpy(copy=True)  # pandas lends it read-only


def measure(
    setting: Setting, sets: Sequence[np.ndarray], desc: str
) -> tuple[Float[np.ndarray, "set example"], Float[np.ndarray, " example"]]:
    """Replace each set of units and measure the change of the continuation's log-probability.

    Parameters
    ----------
    setting
        Model, contexts and kind of replacement.
    sets
        Positions of units, all layers end to end.
    desc
        Of the progress bar.

    Returns
    -------
    changes, clean
        Change of the summed log-probability by each set in each example (nats; exactly 0 for a
        set of no unit); the log-probability without a change.
    """
    device = next(setting.model.parameters()).device.type
    rows = setting.batch_size or ROWS.get(device, ROWS["cpu"])
    rows = rows if setting.kept else max(1, rows // WHOLE_WINDOW)
    smallest = f"one context of {setting.tokens.shape[1]} tokens"
    found, _ = halve_until_it_fits(partial(_measure, setting, sets, desc), rows, smallest)
    return found


def _measure(
    setting: Setting, sets: Sequence[np.ndarray], desc: str, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    n = len(setting.rows)
    changes, clean = np.empty((len(sets), n)), np.empty(n)
    needed = np.unique(np.concatenate([*sets, np.empty(0, np.int64)]))
    bar = tqdm(total=len(sets) * n, desc=desc, disable=not setting.progress)
    with bar:
        for part, continuation in setting.continuations(min(CONTEXTS, rows, n)):
            copies = max(1, min(rows // (part.stop - part.start), len(sets)))
            patch = _Patch(setting, part, needed)
            with torch.inference_mode(), continuation.hooked(patch.hooks):
                base = continuation.log_p(copies)
                clean[part] = base[:, 0].double().cpu().numpy()
                for first in range(0, len(sets), copies):
                    stack = list(sets[first : first + copies])
                    # Filled up with sets of no unit: a pass of another shape rounds otherwise.
                    filled = stack + [needed[:0]] * (copies - len(stack))
                    continuation.edits = patch.edits(filled)
                    changed = (continuation.log_p(copies).double() - base.double()).cpu().numpy()
                    changes[first : first + len(stack), part] = changed.T[: len(stack)]
                    bar.update(len(stack) * (part.stop - part.start))
    return changes, clean


class _Patch:
    """Turns sets of units into edits of the hooks that hold them."""

    def __init__(self, setting: Setting, part: slice, needed: Int[np.ndarray, " chosen"]):
        self.width = sum(site.width for site in setting.acts.sites)
        self.hooks: dict[str, Site] = {}
        self.values: dict[str, tuple[int, Tensor]] = {}
        for row, columns, name, site in setting.sites():
            first = row * self.width + columns.start
            if not ((needed >= first) & (needed < first + site.width)).any():
                continue
            self.hooks[name] = site
            self.values[name] = (first, setting.replacement(row, columns)[part])

    def edits(self, sets: Sequence[np.ndarray]) -> Mapping[str, Any]:
        """One edit per hook that any of the sets has units at."""
        edits = {}
        for name, (first, values) in self.values.items():
            mask = torch.zeros(len(sets), values.shape[1], dtype=torch.bool)
            for copy, units in enumerate(sets):
                here = units[(units >= first) & (units < first + values.shape[1])] - first
                mask[copy, torch.from_numpy(here)] = True
            if mask.any():
                edits[name] = self._edit(mask.to(values.device), values)
        return edits

    @staticmethod
    def _edit(mask: Tensor, values: Tensor) -> Any:
        def edit(at: Tensor) -> Tensor:
            by_copy = rearrange(at, "(example copy) unit -> example copy unit", copy=len(mask))
            new = torch.where(mask.to(at.device), values[:, None].to(at), by_copy)
            return rearrange(new, "example copy unit -> (example copy) unit")

        return edit
