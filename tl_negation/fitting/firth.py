"""Firth's penalised logistic fit of many units: finite where the likelihood has no maximum.

Rows are examples, those of class 1 first, and columns are units. Firth (1993) adds to the
log-likelihood half the log determinant of the information, which has two parameters here and so a
closed form. Each step is Newton's on the penalised likelihood, third and fourth derivatives
included, because the iteration of the modified score alone circles where a unit fires on a few
examples.

With that penalty the likelihood is no longer concave. A unit with values far out can have a maximum
for each scale: one where the slope is small and the far values have a say, one where it is large
and only the bulk has. Such a unit is fitted from several starts, and the highest maximum is kept.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from .engine import engine_of
from .newton import robust, standardise
from .outcomes import NONCONVERGED, OK, QUASI_SEPARATED, SEPARATED, classify
from .scratch import Scratch

#: A unit with a z-score beyond FAR, or with fewer examples than FEW, is fitted from several starts.
FAR, FEW = 4.0, 50
#: Value farthest from the median, in median distances, up to which the sums are correct.
FARTHEST = 1e50


class FirthFit(NamedTuple):
    """One penalised fit per unit, in the units of ``x``; NaN where the status is not ok."""

    status: Int8[Tensor, " unit"]
    intercept: Float[Tensor, " unit"]
    beta: Float[Tensor, " unit"]
    se: Float[Tensor, " unit"]
    lr: Float[Tensor, " unit"]
    beta_per_sd: Float[Tensor, " unit"]
    accuracy: Float[Tensor, " unit"]
    balanced_accuracy: Float[Tensor, " unit"]


def fit(x: Float[Tensor, "example unit"], n1: int, scratch: Scratch | None = None) -> FirthFit:
    """Fit every column of ``x`` by penalised likelihood.

    Parameters
    ----------
    x
        Activations; the first ``n1`` rows are class 1.
    n1
        Number of examples of class 1; ``0 < n1 < example``.
    scratch
        Memory to work in, handed from block to block.

    Returns
    -------
    FirthFit
        ``status`` is an index into ``STATUSES``: ok, constant, nonfinite or nonconverged (no
        start led to a maximum, or a value lies 1e50 median distances out). ``se`` is from the
        Fisher information X'WX, as in R's brglm2. ``lr`` is the penalised likelihood ratio with
        the two-parameter penalty under the null. The accuracies are taken after the intercept was
        refitted by ordinary likelihood (FLIC, Puhr et al. 2017), because Firth's probabilities
        shrink to one half.
    """
    n = x.shape[0]
    scratch = scratch or Scratch()
    status = classify(x, n1)
    status[(status == SEPARATED) | (status == QUASI_SEPARATED)] = OK
    centre, sd, u = standardise(x, scratch)
    scale, farthest = sd.clone(), torch.zeros_like(sd)
    several = (status == OK) & ((n < FEW) | (torch.maximum(-u.amin(dim=0), u.amax(dim=0)) > FAR))
    if several.any():
        centre[several], scale[several], u[:, several] = robust(x[:, several])
        farthest[several] = u[:, several].abs().amax(dim=0)
    status[(status == OK) & ~(farthest < FARTHEST)] = NONCONVERGED
    u.masked_fill_(status != OK, torch.nan)
    farthest.masked_fill_(status != OK, 0)
    found = engine_of(x.device).penalise(u, n1, farthest, scratch)
    status[(status == OK) & ~found.value.isfinite()] = NONCONVERGED
    null = _null(n1, n) + torch.log(n * (sd / scale))
    beta = found.b / scale
    columns = (
        found.a - beta * centre,
        beta,
        found.variance.sqrt() / scale,
        2 * (found.value - null),
        found.b * (sd / scale),
        found.accuracy,
        found.balanced_accuracy,
    )
    lost = status != OK
    return FirthFit(status, *(column.masked_fill(lost, torch.nan) for column in columns))


def _null(n1: int, n: int) -> float:
    """Penalised log-likelihood without an effect, but for ``log(n sd)``."""
    p0 = (n1 + 1) / (n + 2)
    return (n1 + 1) * math.log(p0) + (n - n1 + 1) * math.log(1 - p0)
