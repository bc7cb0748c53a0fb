"""Other labelings of the same words: what a score comes to where the classes mean nothing.

With few words a score on words left out is far from one half by chance alone, and not one half on
average. So it is compared with itself, after the labels of the words were dealt anew.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..activations import Activations
from ..corpus import Contexts
from ..fitting import Scratch, compute, count_right
from ..probing import ProbeResult
from .words import TooFewWordsError

#: Units of a layer and site whose mean the null distribution is of.
UNITS = 64


def check_relabelings(relabelings: int) -> None:
    """Refuse a negative number of relabelings.

    Raises
    ------
    ValueError
        ``relabelings`` is below 0.
    """
    if relabelings < 0:
        raise ValueError(f"relabelings must be 0 (none) or more; got {relabelings}")


def labels_of_words(contexts: Contexts) -> Int[np.ndarray, " word"] | None:
    """Class of each of ``contexts.word_types``; None where a word has both."""
    words, labels = contexts.word_codes, contexts.labels.numpy()
    by_word = np.zeros(len(contexts.word_types), dtype=np.int64)
    by_word[words] = labels
    return by_word if (by_word[words] == labels).all() else None


def relabelings_of(
    contexts: Contexts, count: int, seed: int
) -> Int[np.ndarray, "labeling example"]:
    """Label the words anew, as many in each class: the labels as they are, then other labelings.

    Drawn at random without repetition; all that there are where these are no more than ``count``.
    Only the labels as they are where a word has both, or ``count`` is 0.
    """
    labels, by_word = contexts.labels.numpy(), labels_of_words(contexts)
    if by_word is None or not count:
        return labels[None]
    n1 = int(by_word.sum())
    rng = np.random.default_rng((seed, 2))
    if math.comb(len(by_word), n1) - 1 <= count:
        ones = np.array(list(combinations(range(len(by_word)), n1)))
        drawn = np.zeros((len(ones), len(by_word)), dtype=np.int64)
        np.put_along_axis(drawn, ones, 1, axis=1)
        others = drawn[(drawn != by_word).any(axis=1)]
    else:
        known = {by_word.tobytes(): by_word}
        while len(known) <= count:
            other = rng.permutation(by_word)
            known[other.tobytes()] = other
        others = np.array(list(known.values())[1:])
    return np.vstack([labels, others[:, contexts.word_codes]])


def control_labels(
    contexts: Contexts, groups: Int[np.ndarray, " example"], tasks: int, seed: int
) -> list[Int[np.ndarray, " example"]]:
    """Draw the labels of the control tasks: word types relabelled in the real proportions.

    A relabelling that leaves a training fold without one of the classes (all words of the class
    are rare) is drawn again.

    Raises
    ------
    TooFewWordsError
        A word has both labels, which no control task can keep; too few of the draws, 100 for
        each task, are usable.
    """
    rng = np.random.default_rng((seed, 1))
    words, types, by_type = contexts.word_codes, contexts.word_types, labels_of_words(contexts)
    if by_type is None:
        labels = contexts.labels.numpy()
        both = set(words[labels == 0]) & set(words[labels == 1])
        raise TooFewWordsError(
            f"a control task gives each word type one class; {types[min(both)]!r} has both"
        )
    found: list[np.ndarray] = []
    for _ in range(100 * tasks):
        labels = rng.permutation(by_type)[words]
        if folds_hold_both(labels, groups):
            found.append(labels)
        if len(found) == tasks:
            return found
    raise TooFewWordsError(
        f"no {tasks} control tasks whose training folds hold both classes could be drawn from "
        f"{len(types)} word types; use a contrast with more words, or fewer folds"
    )


def folds_hold_both(labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether the training part of every fold has examples of both classes."""
    return all(0 < labels[groups != g].sum() < (groups != g).sum() for g in np.unique(groups))


def word_weights(
    labels: Int[np.ndarray, "labeling example"], words: Int[np.ndarray, " example"]
) -> Float[Tensor, "labeling word"]:
    """Weight counts of right predictions by word: the mean over words, then over the classes.

    Every word has one class in each labeling.
    """
    sizes = np.bincount(words)
    by_word = np.zeros((len(labels), len(sizes)), dtype=np.int64)
    by_word[:, words] = labels
    ones = by_word.sum(axis=1, keepdims=True)
    of_class = np.where(by_word == 1, ones, len(sizes) - ones)
    return torch.from_numpy(0.5 / of_class / sizes)


def scores_over_words(
    x: Float[Tensor, "example unit"],
    right: Float[Tensor, "labeling word unit"],
    labels: Int[np.ndarray, "labeling example"],
    words: Int[np.ndarray, " example"],
) -> Float[Tensor, "labeling unit"]:
    """Turn counts of right predictions into accuracies, words of a class weighted alike."""
    weights = word_weights(labels, words).to(right.device)
    scores = torch.einsum("twu,tw->tu", right, weights)
    return scores.masked_fill(does_not_vary(x), torch.nan)


def does_not_vary(x: Float[Tensor, "example unit"]) -> Tensor:
    """Which units are constant or not finite."""
    low, high = x.amin(dim=0), x.amax(dim=0)
    return ~(low.isfinite() & high.isfinite()) | (low == high)


def words_left_out_null(
    acts: Activations, relabelings: int, seed: int, progress: bool
) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """Score words left out under other labelings of the words, in some units of every layer.

    Returns
    -------
    table, what was drawn
        ``labeling`` (0: the labels as they are), ``layer, site, accuracy``: means over the units
        drawn, the same for all labelings. None where no word can be relabelled.
    """
    contexts = acts.contexts
    labels = relabelings_of(contexts, relabelings, seed)
    if len(labels) == 1:
        return None
    words = contexts.word_codes
    rng = np.random.default_rng((seed, 3))
    offsets = np.cumsum([0, *(site.width for site in acts.sites)])
    drawn = [
        start + np.sort(rng.choice(site.width, min(UNITS, site.width), replace=False))
        for start, site in zip(offsets, acts.sites, strict=False)
    ]
    index = torch.from_numpy(np.concatenate(drawn)).to(acts.values.device)

    def work(x: Tensor, scratch: Scratch) -> dict[int, Tensor]:
        right = count_right(x, labels, words, words, scratch)
        return dict(enumerate(scores_over_words(x, right, labels, words)))

    values = acts.values.index_select(2, index)
    scores = compute(values, work, desc="words left out, relabelled", progress=progress)
    widths = [len(units) for units in drawn]
    table = means_table(acts, torch.stack(list(scores.values())), widths, "labeling")
    return table, {"relabelings": len(labels) - 1, "units": widths, "seed": seed}


def means_table(
    source: Activations | ProbeResult,
    scores: Float[Tensor, "labeling layer unit"],
    widths: Sequence[int],
    name: str,
) -> pd.DataFrame:
    """Make a table of means over units: ``name``, ``layer, site, accuracy``."""
    parts = scores.split(list(widths), dim=2)
    means = torch.stack([part.nanmean(dim=2) for part in parts], dim=2).cpu().numpy()
    keys = [range(len(means)), source.layers, [site.name for site in source.sites]]
    rows = pd.MultiIndex.from_product(keys, names=[name, "layer", "site"])
    return pd.DataFrame({"accuracy": means.ravel()}, index=rows).reset_index()
