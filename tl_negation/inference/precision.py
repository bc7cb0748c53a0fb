"""Weigh words by how precisely their means are known: random effects, estimated without labels.

A word seen once has a noisier mean than one seen a hundred times. A unit's mean over a word varies
between words by ``tau2`` and within a word by ``s2 / n``; its weight is one over the sum of both
(DerSimonian & Laird 1986). Neither is estimated with the labels, so the weights are the same under
every labeling of the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

#: Means of float32 activations that differ by less than this, relatively, are equal.
ROUNDING = 1e-12


class WordMeans(NamedTuple):
    """What a test over words knows of each unit.

    Attributes
    ----------
    means
        Mean of the unit over each word type's examples.
    counts
        Examples of each word type.
    within
        Pooled variance of the unit among the examples of one word.
    """

    means: Float[Tensor, "unit word"]
    counts: Float[Tensor, " word"]
    within: Float[Tensor, " unit"]


class Weighted(NamedTuple):
    """Units ready for every labeling; NaN for units that are constant over words or not finite.

    Attributes
    ----------
    deviations
        Weight times the distance from the weighted mean: each unit's sum to 0.
    weights
        Of each word for each unit, on a scale of the unit's own.
    icc
        Intraclass correlation ``tau2 / (tau2 + within)``: how much of a unit's variance (class
        differences included) lies between words.
    """

    deviations: Float[Tensor, "unit word"]
    weights: Float[Tensor, "unit word"]
    icc: Float[Tensor, " unit"]


def word_means(
    values: Float[Tensor, "layer example unit"], words: Sequence[str], types: Sequence[str]
) -> WordMeans:
    """Average every unit over the examples of each word type, in float64."""
    one_hot = torch.tensor(
        [[float(word == word_type) for word in words] for word_type in types],
        dtype=torch.float64,
        device=values.device,
    )
    counts = one_hot.sum(dim=1)
    means, within = [], []
    for layer in values:
        x = layer.double()
        mean = (one_hot / counts[:, None]) @ x
        rest = x - one_hot.T @ mean
        means.append(mean)
        within.append(rest.square().sum(dim=0) / max(1, len(words) - len(types)))
    return WordMeans(
        rearrange(torch.stack(means), "layer word unit -> (layer unit) word"),
        counts,
        rearrange(torch.stack(within), "layer unit -> (layer unit)"),
    )


def weigh(found: WordMeans, *, equal: bool = False) -> Weighted:
    """Weigh the word types of every unit; ``equal``: as the pooled t does."""
    means, counts, within = found
    centred = means - means.mean(dim=1, keepdim=True)
    constant = centred.abs().amax(dim=1) <= ROUNDING * means.abs().amax(dim=1)
    tau2 = _between(_spread(centred, counts), counts, within)
    weights = torch.ones_like(centred) if equal else _weights(tau2, counts, within)
    deviations = _deviations(centred, weights).masked_fill(constant[:, None], torch.nan)
    return Weighted(deviations, weights, tau2 / (tau2 + within))


def between_variance(found: WordMeans) -> Float[Tensor, " unit"]:
    """Estimate each unit's variance between words (DerSimonian & Laird's moments), at least 0."""
    means, counts, within = found
    return _between(_spread(means - means.mean(dim=1, keepdim=True), counts), counts, within)


def gram_of(found: WordMeans) -> tuple[Float[Tensor, "word word"], Float[Tensor, " word"]]:
    """Gram matrix of the words' deviations, all units together, and the words' weights.

    The units share the weights, which come from the sums of their variances: a rotation of the
    units changes neither.
    """
    means, counts, within = found
    centred = means - means.mean(dim=1, keepdim=True)
    together = within.sum()[None]
    tau2 = _between(_spread(centred, counts).sum()[None], counts, together)
    weights = _weights(tau2, counts, together)
    deviations = _deviations(centred, weights)
    return deviations.T @ deviations, weights[0]


def _deviations(
    centred: Float[Tensor, "unit word"], weights: Float[Tensor, "#unit word"]
) -> Float[Tensor, "unit word"]:
    centre = (weights * centred).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
    return weights * (centred - centre)


def _weights(
    tau2: Float[Tensor, " unit"], counts: Float[Tensor, " word"], within: Float[Tensor, " unit"]
) -> Float[Tensor, "unit word"]:
    """One over each word's variance, the largest 1: activations of any size are weighed alike."""
    variances = tau2[:, None] + within[:, None] / counts
    least = variances.amin(dim=1, keepdim=True)
    # Where no word varies within itself and none from others, all are alike.
    return torch.where(least > 0, least / variances, torch.ones_like(variances))


def _spread(
    centred: Float[Tensor, "unit word"], counts: Float[Tensor, " word"]
) -> Float[Tensor, " unit"]:
    """Sum of squares of the examples' word means around their mean."""
    centre = (centred @ counts / counts.sum())[:, None]
    return (centred - centre).square() @ counts


def _between(
    spread: Float[Tensor, " unit"], counts: Float[Tensor, " word"], within: Float[Tensor, " unit"]
) -> Float[Tensor, " unit"]:
    """Variance between words by DerSimonian & Laird's moments, at least 0.

    The spread has the mean ``(W - 1) within + (N - sum n^2 / N) tau2``.
    """
    scale = counts.sum() - counts.square().sum() / counts.sum()
    return ((spread - (len(counts) - 1) * within) / scale).clamp(min=0)
