"""The engine for GPUs and other devices: tensors of all units of a block, step by step.

Float32 takes the first steps and float64 the last. A CPU comes here only with the few units that
its own engine lost.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import newton
from .outcomes import (
    CONSTANT,
    NONFINITE,
    OK,
    QUASI_SEPARATED,
    SEPARATED,
    Solved,
    class_ranges,
    classify,
)
from .scratch import Scratch

#: Where the float32 iteration of a fit ends (compare ``newton.COARSE_STEP``): an error of about
#: 1e-4 is left, which is enough for the step of third order that follows.
FIT_STEP = 8e-3
#: A float64 step (of third order) below this leaves an error of its cube, 1e-12, in the estimates
#: and of its square in their errors. After a larger one comes another.
POLISHED_STEP = 1e-4
#: And so must be the rise of the log-likelihood, half the square of the step in standard errors.
POLISHED_RISE = 1e-6


def solve(x: Float[Tensor, "example unit"], n1: int, scratch: Scratch) -> Solved:
    """Fit every column of ``x``, class 1 first."""
    mean, sd, xs = newton.standardise(x, scratch)
    narrow = scratch.like("narrow", xs, torch.float32).copy_(xs)
    a, b = newton.coarse(narrow, n1, *newton.discriminant(narrow, n1), scratch, FIT_STEP)
    a, b = a.double(), b.double()
    step = newton.chebyshev_step(xs, narrow, a, b, n1, scratch)
    sum1, done = xs[:n1].sum(dim=0), _arrived(step, b)
    a, b = a + step.da, b + step.db
    far = (~done & torch.isfinite(b)).nonzero().squeeze(1)
    if len(far):
        few = xs.index_select(1, far)
        again = newton.chebyshev_step(few, few.float(), a[far], b[far], n1, Scratch())
        done[far] = _arrived(again, b[far])
        a[far], b[far] = a[far] + again.da, b[far] + again.db
        step.loglik[far], step.variance[far] = again.loglik, again.variance
    accuracy, balanced = _accuracies(x, n1, a, b, mean, sd, scratch)
    per_sd = b.clone()
    return Solved(
        mean, sd, sum1, a, b, per_sd, step.variance, step.loglik, accuracy, balanced, done
    )


def _arrived(step: newton.ChebyshevStep, b: Tensor) -> Bool[Tensor, " unit"]:
    return (step.size < POLISHED_STEP * (1 + b.abs())) & (step.rise < POLISHED_RISE)


def solve_guarded(x: Float[Tensor, "example unit"], n1: int) -> Solved:
    """Fit with step-halving: for the few units that an engine lost.

    Around the weighted mean of the unit, so that nothing cancels in the information.
    """
    scratch = Scratch()
    _, sd, xs = newton.standardise(x, scratch)
    sum1 = xs[:n1].sum(dim=0)
    centre, scale, u = newton.robust(x)
    a, b, done = newton.guarded_newton(u, n1)
    middle = newton.weighted_mean(u, a, b)
    u -= middle
    a = a + b * middle
    step = newton.chebyshev_step(u, u.float(), a, b, n1, scratch)
    a, b = a + step.da, b + step.db
    centre = centre + middle * scale
    accuracy, balanced = _accuracies(x, n1, a, b, centre, scale, scratch)
    per_sd = b * (sd / scale)
    return Solved(
        centre, scale, sum1, a, b, per_sd, step.variance, step.loglik, accuracy, balanced, done
    )


def _accuracies(
    x: Tensor, n1: int, a: Tensor, b: Tensor, mean: Tensor, sd: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """Accuracy at p = 1/2, and balanced accuracy at p = share of class 1.

    Class 1 is predicted where ``a + b (x - mean) / sd > cut``; here ``x`` itself is compared with
    a threshold. A float32 number exceeds a threshold just where it exceeds the threshold rounded
    down, so nothing is lost by staying in the dtype of ``x``, at a fifth of the time.
    """
    n0 = x.shape[0] - n1
    up = torch.sign(b)
    upwards = torch.mul(x, up.to(x.dtype), out=scratch.like("upwards", x))
    above = scratch.like("above", x)
    counts = []
    for cut in (0.0, math.log(n1 / n0)):
        threshold = _rounded_down(up * mean - (a - cut) / b.abs() * sd, x.dtype)
        above.copy_(upwards).gt_(threshold)
        counts += [above[:n1].sum(dim=0).double(), above[n1:].sum(dim=0).double()]
    hits, alarms, balanced_hits, balanced_alarms = counts
    accuracy = (hits + n0 - alarms) / (n1 + n0)
    return accuracy, (balanced_hits / n1 + 1 - balanced_alarms / n0) / 2


def _rounded_down(value: Tensor, dtype: torch.dtype) -> Tensor:
    rounded = value.to(dtype)
    lower = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded > value, lower, rounded)


def count_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, "task example"],
    groups: Int[np.ndarray, " example"],
    parts: Int[np.ndarray, " example"],
    scratch: Scratch,
) -> tuple[Float[Tensor, "task part unit"], Bool[Tensor, "task unit"]]:
    """Count the examples of each part predicted right by the fits to other groups; none is lost."""
    out = torch.zeros(
        len(labels), int(parts.max()) + 1, x.shape[1], dtype=torch.float64, device=x.device
    )
    part = torch.from_numpy(parts).to(x.device)
    for task, counts in zip(labels, out, strict=True):
        counts.index_add_(0, part, _predicted_right(x, task, groups, scratch).double())
    return out, torch.zeros(len(labels), x.shape[1], dtype=torch.bool, device=x.device)


def _predicted_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    scratch: Scratch,
) -> Bool[Tensor, "example unit"]:
    """Whether each example is predicted right by the fit to the groups that it is not in."""
    order = np.lexsort((groups, -labels))  # class 1 first, groups together within a class
    rows = torch.from_numpy(order).to(x.device)
    _, _, xs = newton.standardise(x[rows], scratch)
    xs = scratch.like("all", xs).copy_(xs).nan_to_num_()
    y, g = labels[order], groups[order]
    n1 = int(y.sum())
    narrow = scratch.like("narrow", xs, torch.float32).copy_(xs)
    start = newton.coarse(narrow, n1, *newton.discriminant(narrow, n1), scratch)
    right = torch.empty(x.shape, dtype=torch.bool, device=x.device)
    for train, test in _splits(g):
        a, b = _boundary(_take(xs, train, scratch), int(y[train].sum()), *start, scratch)
        predicted = torch.addcmul(a, _take(xs, test, scratch), b) > 0
        truth = torch.from_numpy(y[test] == 1).to(x.device)[:, None]
        right[rows[torch.from_numpy(test).to(x.device)]] = predicted == truth
    return right


def _splits(groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for group in np.unique(groups):
        test = groups == group
        yield np.flatnonzero(~test), np.flatnonzero(test)


def _take(xs: Tensor, rows: np.ndarray, scratch: Scratch) -> Tensor:
    index = torch.from_numpy(rows).to(xs.device)
    out = scratch.like("rows", xs)[: len(rows)]
    return torch.index_select(xs, 0, index, out=out)


def _boundary(
    xs: Float[Tensor, "example unit"],
    n1: int,
    a: Float[Tensor, " unit"],
    b: Float[Tensor, " unit"],
    scratch: Scratch,
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]]:
    """Where a fit on these examples decides for class 1: ``a + b x > 0``, at p = share of class 1.

    Parameters
    ----------
    xs
        Training examples, those of class 1 first, on any affine scale near z-scores.
    n1
        Number of class 1 among them.
    a, b
        A start on the same scale: a fit to nearly the same examples.
    scratch
        Memory to work in.

    Returns
    -------
    intercept, slope
        The maximum-likelihood fit, its threshold moved from p = 1/2 to the training base rate.
        Under (quasi-)complete separation the middle of the gap, which is where a ridge fit goes
        as its penalty vanishes (Rosset, Zhu & Hastie 2004). NaN for a unit that is constant in
        training, not finite, or without convergence.
    """
    status = classify(xs, n1)
    narrow = scratch.like("narrow", xs, torch.float32).copy_(xs)
    a, b = newton.coarse(narrow, n1, a.float(), b.float(), scratch)
    a, b = a.double(), b.double()
    step = newton.newton_step(xs, xs[:n1].sum(dim=0), a, b, n1, scratch)
    lost = (status == OK) & ~newton.is_small(step, b, 10 * newton.COARSE_STEP)
    a, b = a + step.da, b + step.db
    if lost.any():
        a[lost], b[lost], done = newton.guarded_newton(xs[:, lost], n1)
        b[lost.nonzero().squeeze(1)[~done]] = torch.nan
    a = a - math.log(n1 / (xs.shape[0] - n1))
    gap = (status == SEPARATED) | (status == QUASI_SEPARATED)
    if gap.any():
        a[gap], b[gap] = _middle_of_gap(xs[:, gap], n1)
    invalid = (status == CONSTANT) | (status == NONFINITE)
    return a.masked_fill(invalid, torch.nan), b.masked_fill(invalid, torch.nan)


def _middle_of_gap(xs: Tensor, n1: int) -> tuple[Tensor, Tensor]:
    low1, high1, low0, high0 = class_ranges(xs, n1)
    up = low1 >= high0
    middle = torch.where(up, low1 + high0, high1 + low0) / 2
    slope = torch.where(up, 1.0, -1.0).to(xs.dtype)
    return -slope * middle, slope


def count_wins(
    x: Float[Tensor, "example unit"],
    n1: int,
    scratch: Scratch,  # noqa: ARG001 - as other engines
) -> tuple[Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
    """Pairs that class 1 wins, ties counted half; and whether all values are finite."""
    values, order = x.T.sort(dim=1)
    rank_sum = ((order < n1) * _midranks(values)).sum(dim=1)
    finite = x.amin(dim=0).isfinite() & x.amax(dim=0).isfinite()
    return rank_sum - n1 * (n1 + 1) / 2, finite


def _midranks(values: Float[Tensor, "unit example"]) -> Float[Tensor, "unit example"]:
    """Ranks from 1 of sorted rows, ties given their mean rank."""
    first = torch.ones_like(values, dtype=torch.bool)
    first[:, 1:] = values[:, 1:] != values[:, :-1]
    group = first.cumsum(dim=1) - 1
    rank = torch.arange(1, values.shape[1] + 1, dtype=torch.float64, device=values.device)
    rank = rank.expand(values.shape)
    total = torch.zeros_like(rank).scatter_add_(1, group, rank)
    size = torch.zeros_like(rank).scatter_add_(1, group, torch.ones_like(rank))
    return (total / size.clamp_min(1)).gather(1, group)
