"""Units that know words and nothing else, drawn anew from what real units are like.

Shuffling the means of the words among the words gives the p value of another labeling of the same
data, which is uniform whatever is true. Whether a test holds its level shows only where the words'
effects are drawn anew.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .precision import WordMeans, between_variance


def without_category(
    values: Float[Tensor, "example unit"],
    words: Int[np.ndarray, " example"],
    labels: Int[np.ndarray, " example"],
    rng: np.random.Generator,
) -> Float[Tensor, "example unit"]:
    """Draw activations of units that have the words' variance, but no difference between classes.

    Word effects are normal with each unit's variance between the words of a class, and correlated
    between units as the words' means are. Residuals are drawn from the examples of the same word;
    for a word that occurs once, from those of all others.
    """
    x = values.double().cpu().numpy()
    with np.errstate(invalid="ignore"):  # units that are not finite
        drawn = _drawn(x, words, labels, rng)
    return torch.from_numpy(drawn).to(values)


def _drawn(
    x: Float[np.ndarray, "example unit"],
    words: Int[np.ndarray, " example"],
    labels: Int[np.ndarray, " example"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "example unit"]:
    sizes = np.bincount(words)
    means = np.stack([np.bincount(words, column) for column in x.T], axis=1) / sizes[:, None]
    by_word = np.zeros(len(sizes), dtype=np.int64)
    by_word[words] = labels
    raw = x - means[words]
    within = (raw**2).sum(axis=0) / max(1, len(words) - len(sizes))
    centred = means - _class_means(means, by_word)
    mixing = rng.normal(size=(len(sizes), len(sizes))) / np.sqrt(len(sizes) - 2)
    effects = (mixing @ centred) * _shrinkage(centred, within, sizes, by_word)
    residuals = raw * np.sqrt(sizes / np.maximum(sizes - 1, 1))[words, None]  # their mean was taken
    return x.mean(axis=0) + effects[words] + residuals[_sources(words, sizes, rng)]


def _class_means(
    means: Float[np.ndarray, "word unit"], by_word: Int[np.ndarray, " word"]
) -> Float[np.ndarray, "word unit"]:
    """Mean over the words of each word's class."""
    of_class = [means[by_word == label].mean(axis=0) for label in (0, 1)]
    return np.where(by_word[:, None] == 1, of_class[1], of_class[0])


def _shrinkage(
    centred: Float[np.ndarray, "word unit"],
    within: Float[np.ndarray, " unit"],
    sizes: Int[np.ndarray, " word"],
    by_word: Int[np.ndarray, " word"],
) -> Float[np.ndarray, " unit"]:
    """SD between words without the noise of their means, as a share of the SD of these means."""
    between, freedom = np.zeros(len(within)), 0
    for label in (0, 1):
        chosen = by_word == label
        counts = torch.from_numpy(sizes[chosen].astype(np.float64))
        means = torch.from_numpy(centred[chosen].T.copy())
        part = WordMeans(means, counts, torch.from_numpy(within))
        between += between_variance(part).numpy() * (int(chosen.sum()) - 1)
        freedom += int(chosen.sum()) - 1
    observed = (centred**2).sum(axis=0) / (len(sizes) - 2)
    return np.sqrt(between / freedom / np.where(observed > 0, observed, 1))


def _sources(
    words: Int[np.ndarray, " example"], sizes: Int[np.ndarray, " word"], rng: np.random.Generator
) -> Int[np.ndarray, " example"]:
    """Draw the example whose residual each gets: one of the same word, if there are several."""
    repeated = np.flatnonzero(sizes[words] > 1)
    sources = np.arange(len(words))
    for word, size in enumerate(sizes):
        here = np.flatnonzero(words == word)
        among = here if size > 1 or not len(repeated) else repeated
        sources[here] = rng.choice(among, len(here))
    return sources
