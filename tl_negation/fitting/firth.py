"""Firth's penalised logistic fit, batched over units: finite where the likelihood has no maximum.

Rows are examples, those of class 1 first, and columns are units. Firth (1993) adds
``h (1/2 - p)`` to the score, h the leverages; the penalty is half the log determinant of the
information, which has two parameters here and so a closed form.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .newton import standardise

ITERATIONS = 200
#: The iteration ends below this step (on z-scores, relative to 1 + |slope|).
TOLERANCE = 1e-10
HALVINGS = 25
#: No step is longer than this, on z-scores: the default ``maxstep`` of R's logistf.
LONGEST_STEP = 5


class FirthFit(NamedTuple):
    """One penalised fit per unit, in the units of ``x``; NaN where it did not converge."""

    intercept: Float[Tensor, " unit"]
    beta: Float[Tensor, " unit"]
    se: Float[Tensor, " unit"]
    lr: Float[Tensor, " unit"]
    beta_per_sd: Float[Tensor, " unit"]
    accuracy: Float[Tensor, " unit"]
    balanced_accuracy: Float[Tensor, " unit"]


class _Point(NamedTuple):
    """Penalised log-likelihood at (a, b), and the step that Fisher scoring takes from there."""

    value: Tensor
    da: Tensor
    db: Tensor
    h00: Tensor
    det: Tensor


def fit(x: Float[Tensor, "example unit"], n1: int) -> FirthFit:
    """Fit every column of ``x`` by penalised likelihood.

    Parameters
    ----------
    x
        Activations, finite and not constant; the first ``n1`` rows are class 1.
    n1
        Number of examples of class 1.

    Returns
    -------
    FirthFit
        ``se`` is from the Fisher information X'WX, as in R's brglm2. ``lr`` is the penalised
        likelihood ratio with the two-parameter penalty under the null. The accuracies are taken
        after the intercept was refitted by ordinary likelihood (FLIC, Puhr et al. 2017), because
        Firth's probabilities shrink to one half.
    """
    n = x.shape[0]
    mean, sd, xs = standardise(x)
    a, b, point, done = _maximise(xs, n1)
    p0 = (n1 + 1) / (n + 2)
    null = (n1 + 1) * math.log(p0) + (n - n1 + 1) * math.log(1 - p0) + math.log(n * n) / 2
    accuracy, balanced = _accuracies(torch.addcmul(_flic(xs, b, n1), xs, b), n1)
    beta = b / sd
    columns = (
        a - beta * mean,
        beta,
        torch.sqrt(point.h00 / point.det) / sd,
        2 * (point.value - null),
        b,
        accuracy,
        balanced,
    )
    return FirthFit(*(column.masked_fill(~done, torch.nan) for column in columns))


def _maximise(xs: Tensor, n1: int) -> tuple[Tensor, Tensor, _Point, Bool[Tensor, " unit"]]:
    """Fisher scoring with step-halving from the null model; converged units no longer move."""
    n, units = xs.shape
    a = torch.full((units,), math.log((n1 + 1) / (n - n1 + 1)), dtype=xs.dtype, device=xs.device)
    b = torch.zeros_like(a)
    done = torch.zeros_like(a, dtype=torch.bool)
    for _ in range(ITERATIONS):
        index = (~done).nonzero().squeeze(1)
        x = xs[:, index]
        here = _point(x, a[index], b[index], n1)
        step = torch.maximum(here.da.abs(), here.db.abs())
        done[index] = step < TOLERANCE * (1 + b[index].abs())
        a[index], b[index] = _climb(x, a[index], b[index], here, n1)
        if done.all():
            break
    return a, b, _point(xs, a, b, n1), done


def _point(x: Tensor, a: Tensor, b: Tensor, n1: int) -> _Point:
    """Evaluate the penalised likelihood, and the step from here."""
    eta = torch.addcmul(a, x, b)
    p = eta.sigmoid()
    w = p * (1 - p)
    h00, h01, h11 = w.sum(dim=0), (w * x).sum(dim=0), (w * x * x).sum(dim=0)
    det = h00 * h11 - h01.square()
    centre = h01 / h00
    leverage = w * (1 / h00 + (x - centre).square() * h00 / det)
    score = leverage * (0.5 - p) - p
    score[:n1] += 1  # y - p, y = 1 in these rows
    g0, g1 = score.sum(dim=0), (score * x).sum(dim=0)
    eta[n1:].neg_()  # now the log-odds of the class that was observed
    loglik = torch.nn.functional.logsigmoid(eta).sum(dim=0)
    da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
    return _Point(loglik + det.log() / 2, da, db, h00, det)


def _climb(x: Tensor, a: Tensor, b: Tensor, here: _Point, n1: int) -> tuple[Tensor, Tensor]:
    """Take the step, halved for units whose penalised likelihood would fall."""
    longest = torch.maximum(here.da.abs(), here.db.abs())
    size = (LONGEST_STEP / longest).clamp_max(1.0)
    slack = 1e-12 * (1 + here.value.abs())  # rounding alone may lower it near the maximum
    for _ in range(HALVINGS):
        there = _point(x, a + size * here.da, b + size * here.db, n1)
        worse = ~(there.value >= here.value - slack)
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    return a + size * here.da, b + size * here.db


def _flic(x: Tensor, b: Tensor, n1: int) -> Tensor:
    """Intercept at which the mean fitted probability is the share of class 1, slope fixed.

    Bisection, because the mean rises with the intercept. At the lower end of the interval no fitted
    probability exceeds the share, and at the upper end none is below it.
    """
    share = math.log(n1 / (x.shape[0] - n1))
    offset = x * b
    low, high = share - offset.amax(dim=0), share - offset.amin(dim=0)
    for _ in range(60):
        middle = (low + high) / 2
        short = (offset + middle).sigmoid().sum(dim=0) < n1
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2


def _accuracies(
    eta: Float[Tensor, "example unit"], n1: int
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]]:
    """Accuracy at p = 1/2, and balanced accuracy at p = share of class 1, of log-odds."""
    n0 = eta.shape[0] - n1
    predicted = eta > 0
    accuracy = (_count(predicted[:n1]) + n0 - _count(predicted[n1:])) / (n1 + n0)
    torch.gt(eta, math.log(n1 / n0), out=predicted)
    sensitivity = _count(predicted[:n1]) / n1
    false_alarms = _count(predicted[n1:]) / n0
    return accuracy, (sensitivity + 1 - false_alarms) / 2


def _count(true: Tensor) -> Tensor:
    return true.sum(dim=0, dtype=torch.int32).double()
