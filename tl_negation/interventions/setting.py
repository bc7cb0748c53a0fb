"""What an intervention does to which contexts: everything that sets of units are compared under."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import LOG
from ..activations import FEATURE, Activations, collect
from ..corpus import Contexts
from ..models import SiteSlice, TransformerLensModel, check_model, site_slices
from .continuation import Continuation
from .replacements import HOWS

#: Tokens after the target whose probability counts, if the window holds this many.
FOLLOW = 5
#: Contexts of each class. 20 sets on 2 x 20 contexts with kept keys took SmolLM2 61 s on two cores
#: that were busy with other work.
PER_CLASS = 20


@dataclass(frozen=True)
class Setting:
    """Everything that sets of units are compared under.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    acts : Activations
        Of all contexts: means, donors and variances are taken from them.
    rows : Int[np.ndarray, " example"]
        The contexts on which effects are measured.
    how : str
        Name of a replacement in :data:`HOWS`.
    follow : int
        Tokens after the target whose log-probabilities are summed.
    seed : int
        Of the donors and of everything else that is drawn.
    batch_size : int, optional
        Rows of a pass.
    keep : bool
        Keep keys and values of the tokens before the target.
    progress : bool
        Show a progress bar.
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

    @cached_property
    def measured(self) -> Contexts:
        """The contexts on which effects are measured."""
        return self.contexts.take(self.rows)

    @property
    def longest(self) -> int:
        """Tokens of the longest measured window, up to the last that counts."""
        first = int(self.measured.spans[:, 0].min())
        return self.contexts.before + 1 + self.follow - first

    @cached_property
    def donors(self) -> Int[np.ndarray, " example"]:
        """For each measured example, the row of another context, drawn at random from all."""
        rng = np.random.default_rng(self.seed)
        drawn = rng.integers(len(self.contexts) - 1, size=len(self.rows))
        return drawn + (drawn >= self.rows)  # skips the example itself

    def replacement(self, row: int, columns: slice) -> Float[Tensor, "example unit"]:
        """What these units of a layer are replaced by in every measured example."""
        return HOWS[self.how].values(self.acts.values[row][:, columns], self.donors)

    def slices(self) -> Iterator[SiteSlice]:
        """Every site of every layer of the activations."""
        return site_slices(self.acts.sites, self.acts.layers)

    def continuations(self, size: int) -> Iterator[tuple[slice, Continuation]]:
        """The measured examples in parts whose keys and values are kept together.

        The windows of a part begin in the same column.
        """
        firsts = self.measured.spans[:, 0].tolist()
        start = 0
        while start < len(firsts):
            end = start + 1
            while end < min(start + size, len(firsts)) and firsts[end] == firsts[start]:
                end += 1
            part = slice(start, end)
            yield part, self._continuation(part, self.kept)
            start = end

    @cached_property
    def kept(self) -> bool:
        """Whether keys and values are kept: if asked for, and if the first context allows it."""
        kept = self.keep and self._continuation(slice(0, 1), True).cache is not None
        if self.keep and not kept:
            LOG.info("keys and values are not kept (hooks, or other numbers): whole windows run")
        return kept

    def _continuation(self, part: slice, keep: bool) -> Continuation:
        contexts = self.measured
        first = int(contexts.spans[part.start, 0])
        tokens = contexts.tokens[part, first : contexts.before + 1 + self.follow]
        return Continuation(self.model, tokens, contexts.before - first, keep)

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
    layers: Iterable[int] | None,
    how: str,
    per_class: int | None,
    follow: int | None,
    seed: int,
    batch_size: int | None,
    keep: bool,
    progress: bool,
) -> Setting:
    """Check all arguments, then collect the activations unless they were given.

    Raises
    ------
    ValueError
        No token after the target, or fewer than asked for; a class without contexts; activations
        of other contexts; whatever :func:`tl_negation.collect` refuses.
    """
    if acts is not None:
        _check_no_features(acts)
    follow = _follow(contexts, follow)
    rows = _sampled(contexts, per_class, seed)
    if acts is None:
        acts = collect(model, contexts, sites, layers=layers, progress=progress)
    elif not torch.equal(acts.contexts.tokens, contexts.tokens):
        raise ValueError(
            f"the activations must be of these contexts; they are of {len(acts.contexts)} other "
            f"contexts than the {len(contexts)} given. Leave acts out to collect them"
        )
    firsts = contexts.spans[:, 0].numpy()
    rows = rows[np.argsort(firsts[rows], kind="stable")]  # windows of equal length run together
    check_model(model, acts.sites, contexts.before + follow - int(firsts.min()), acts.layers)
    return Setting(model, acts, rows, how, follow, seed, batch_size, keep, progress)


def _check_no_features(acts: Activations) -> None:
    features = [site.name for site in acts.sites if site.module == FEATURE]
    if features:
        raise ValueError(
            f"the activations hold the features {', '.join(features)}, which are made of a site "
            "and are no part of the model: replacing one needs its decoder. Give activations of "
            "sites, or leave acts out"
        )


def _follow(contexts: Contexts, follow: int | None) -> int:
    after = contexts.shortest_after
    if after < 1:
        shortest = int(contexts.spans[:, 1].argmin())
        raise ValueError(
            "an intervention is measured on the words after the target, but "
            + ("these windows end" if contexts.after < 1 else f"the window of row {shortest} ends")
            + " with it: find_contexts(..., after=10), or a text that goes on behind the target"
        )
    if follow is not None and not 1 <= follow <= after:
        raise ValueError(
            f"follow must be between 1 and the {after} tokens that every window holds after "
            f"the target; got {follow}"
        )
    return min(FOLLOW, after) if follow is None else follow


def _sampled(contexts: Contexts, per_class: int | None, seed: int) -> Int[np.ndarray, " example"]:
    """Rows of the contexts to measure on."""
    counts = contexts.examples["label"].value_counts()
    if not {0, 1} <= set(counts.index):
        raise ValueError(f"contexts of both classes are needed; got {counts.to_dict()} by label")
    if per_class is None:
        return np.arange(len(contexts))
    numbered = contexts.examples.assign(row=np.arange(len(contexts)))
    drawn = replace(contexts, examples=numbered).sample(per_class, seed)
    return drawn.examples["row"].to_numpy(copy=True)  # pandas lends its own read-only
