"""Exact logistic fits: one intercept and one slope per unit, tensors in, tensors out.

Every unit is fitted on its own; working on many at once only saves time.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from .engine import engine_of
from .outcomes import NONCONVERGED, OK, QUASI_SEPARATED, SEPARATED, classify
from .scratch import Scratch
from .tensors import solve_guarded


class Fit(NamedTuple):
    """One logistic model per unit, in the units of ``x``; NaN where there is no estimate."""

    status: Int8[Tensor, " unit"]
    intercept: Float[Tensor, " unit"]
    beta: Float[Tensor, " unit"]
    se: Float[Tensor, " unit"]
    lr: Float[Tensor, " unit"]
    score: Float[Tensor, " unit"]
    beta_per_sd: Float[Tensor, " unit"]
    accuracy: Float[Tensor, " unit"]
    balanced_accuracy: Float[Tensor, " unit"]


def fit(x: Float[Tensor, "example unit"], n1: int, scratch: Scratch | None = None) -> Fit:
    """Exact maximum-likelihood fit of ``logit P(class 1) = a + b x`` for every column of ``x``.

    Parameters
    ----------
    x
        Activations; the first ``n1`` rows are class 1, the others class 0.
    n1
        Number of examples of class 1; ``0 < n1 < example``.
    scratch
        Memory to work in, handed from block to block.

    Returns
    -------
    Fit
        Float64 tensors of one entry per unit. Separated and quasi-separated units have no
        estimates, but their likelihood ratio and accuracies have limits in closed form, which are
        given. ``score`` is Rao's statistic n r^2, r the point-biserial correlation, and needs no
        fit.

    Notes
    -----
    Newton's iteration from the linear discriminant, with steps of third order (Chebyshev's),
    along which likelihood and information are carried too, by the engine of the device. Units
    that it loses are fitted again with step-halving.
    """
    n = x.shape[0]
    scratch = scratch or Scratch()
    status = classify(x, n1)
    solved = engine_of(x.device).solve(x, n1, scratch)
    lost = ((status == OK) & ~solved.done).nonzero().squeeze(1)
    if len(lost):
        guarded = solve_guarded(x.index_select(1, lost), n1)
        status[lost[~guarded.done]] = NONCONVERGED
        for old, new in zip(solved, guarded, strict=True):
            old[lost] = new
    null = _null_loglik(n1, n)
    beta = solved.b / solved.sd
    score = n / (n1 * (n - n1)) * solved.sum1.square()  # n r^2, r the point-biserial correlation
    columns = [
        solved.a - beta * solved.mean,
        beta,
        solved.variance.sqrt() / solved.sd,
        2 * (solved.loglik - null),
        score,
        solved.per_sd,
        solved.accuracy,
        solved.balanced_accuracy,
    ]
    invalid = status != OK
    result = Fit(status, *(column.masked_fill(invalid, torch.nan) for column in columns))
    gap = (status == SEPARATED) | (status == QUASI_SEPARATED)
    result.score[gap] = score[gap]
    _fill_separated(result, x, n1, null)
    return result


def _null_loglik(n1: int, n: int) -> float:
    """Log-likelihood of the model with an intercept only."""
    return n1 * math.log(n1 / n) + (n - n1) * math.log((n - n1) / n)


def _fill_separated(result: Fit, x: Tensor, n1: int, null: float) -> None:
    """Limits of likelihood and accuracy as the slope grows without bound.

    Under complete separation every example is predicted with certainty; under quasi-complete
    separation only those at the touching value are not, and there the fit is their proportion.
    """
    which = (result.status == SEPARATED) | (result.status == QUASI_SEPARATED)
    if not which.any():
        return
    n, ones, zeros = x.shape[0], x[:n1, which], x[n1:, which]
    touch = torch.where(ones.amin(dim=0) >= zeros.amax(dim=0), ones.amin(dim=0), ones.amax(dim=0))
    at_touch0 = (zeros == touch).sum(dim=0).double()
    at_touch1 = (ones == touch).sum(dim=0).double() * (at_touch0 > 0)  # 0 where nothing touches
    share = at_touch1 / (at_touch0 + at_touch1).clamp_min(1)
    loglik = torch.xlogy(at_touch1, share) + torch.xlogy(at_touch0, 1 - share)
    result.lr[which] = 2 * (loglik - null)
    above, balanced_above = share > 0.5, share > n1 / n
    wrong = torch.where(above, at_touch0, at_touch1)
    result.accuracy[which] = 1 - wrong / n
    miss1 = torch.where(balanced_above, 0.0, at_touch1) / n1
    miss0 = torch.where(balanced_above, at_touch0, 0.0) / (n - n1)
    result.balanced_accuracy[which] = 1 - (miss1 + miss0) / 2
