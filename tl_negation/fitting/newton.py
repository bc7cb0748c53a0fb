"""The batched logistic solver: one intercept and one slope per unit, tensors in, tensors out.

Nothing here knows of words, layers or models. Rows of ``x`` are examples with all examples of
class 1 first, columns are units. Every unit is fitted on its own; the batch only shares time.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from . import compiled
from .blocks import Scratch

STATUSES = ("ok", "separated", "quasi_separated", "constant", "nonfinite", "nonconverged")
OK, SEPARATED, QUASI_SEPARATED, CONSTANT, NONFINITE, NONCONVERGED = range(len(STATUSES))

#: A step below this (on z-scores, relative to 1 + |slope|) ends the float32 iteration. Newton
#: squares the error: about 1e-5 is left, of which a float64 step leaves 1e-10.
COARSE_STEP = 5e-3
#: The same for a fit: about 1e-4 is left.
FIT_STEP = 8e-3
#: A float64 step (of third order) below this leaves an error of its cube, 1e-12, in the estimates
#: and of its square in their errors. After a larger one comes another.
POLISHED_STEP = 1e-4
#: A float64 step below this ends the guarded iteration.
FINE_STEP = 1e-8
COARSE_ITERATIONS = 12
ROBUST_ITERATIONS = 100


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


class _Point(NamedTuple):
    """A step, the size of its first-order part, and likelihood and variance where it leads."""

    da: Tensor
    db: Tensor
    size: Tensor
    loglik: Tensor
    variance: Tensor


class _Step(NamedTuple):
    """One Newton step and the curvature at the point it was taken from."""

    da: Tensor
    db: Tensor
    h00: Tensor
    det: Tensor


def fit(x: Float[Tensor, "example unit"], n1: int, scratch: Scratch | None = None) -> Fit:
    """Exact maximum-likelihood fit of ``logit P(class 1) = a + b x`` for every column of ``x``.

    Parameters
    ----------
    x
        Activations; the first ``n1`` rows are class 1, the others class 0.
    n1
        Number of examples of class 1; ``0 < n1 < example``.
    scratch
        Memory to work in, handed from chunk to chunk.

    Returns
    -------
    Fit
        Float64 tensors of one entry per unit. Likelihood ratio and accuracies of separated and
        quasi-separated units are their limits, which exist in closed form; the estimates do not.
        ``score`` is Rao's statistic n r^2, r the point-biserial correlation: no fit is needed.

    Notes
    -----
    Newton's iteration from the linear discriminant, with steps of third order (Chebyshev's),
    along which likelihood and information are carried too. On a CPU that is ``_rows``; elsewhere
    float32 takes the first steps and float64 the last.
    """
    n = x.shape[0]
    scratch = scratch or Scratch()
    status = classify(x, n1)
    solve = _solve_rows if x.device.type == "cpu" else _solve
    solved = solve(x, n1, scratch)
    lost = ((status == OK) & ~solved.done).nonzero().squeeze(1)
    if len(lost):
        guarded = _solve_guarded(x.index_select(1, lost), n1)
        status[lost[~guarded.done]] = NONCONVERGED
        for old, new in zip(solved, guarded, strict=True):
            old[lost] = new
    null = null_loglik(n1, n)
    beta = solved.b / solved.sd
    columns = [
        solved.a - beta * solved.mean,
        beta,
        solved.variance.sqrt() / solved.sd,
        2 * (solved.loglik - null),
        n / (n1 * (n - n1)) * solved.sum1.square(),  # n r^2, r the point-biserial correlation
        solved.b,
        solved.accuracy,
        solved.balanced_accuracy,
    ]
    invalid = status != OK
    result = Fit(status, *(column.masked_fill(invalid, torch.nan) for column in columns))
    gap = (status == SEPARATED) | (status == QUASI_SEPARATED)
    result.score[gap] = columns[Fit._fields.index("score") - 1][gap]
    _fill_separated(result, x, n1, null)
    return result


class _Solved(NamedTuple):
    """Fits in the units of the z-scores, and whether each arrived."""

    mean: Tensor
    sd: Tensor
    sum1: Tensor
    a: Tensor
    b: Tensor
    variance: Tensor
    loglik: Tensor
    accuracy: Tensor
    balanced_accuracy: Tensor
    done: Tensor


def _solve_rows(x: Tensor, n1: int, scratch: Scratch) -> _Solved:
    """On a CPU: compiled code, a unit at a time."""
    n0 = x.shape[0] - n1
    rows = scratch.like("rows", x.T).copy_(x.T)
    out = np.empty((len(compiled.COLUMNS), len(rows)))
    compiled.fit(rows.numpy(), n1, out)
    *solved, hits, alarms, balanced_hits, balanced_alarms, done = torch.from_numpy(out)
    accuracy = (hits + n0 - alarms) / (n1 + n0)
    balanced = (balanced_hits / n1 + 1 - balanced_alarms / n0) / 2
    return _Solved(*solved, accuracy, balanced, done > 0)


def _solve(x: Tensor, n1: int, scratch: Scratch) -> _Solved:
    """On other devices: tensors of all units, step by step."""
    mean, sd, xs = standardise(x, scratch)
    narrow = scratch.like("narrow", xs, torch.float32).copy_(xs)
    a, b = coarse(narrow, n1, *discriminant(narrow, n1), scratch, FIT_STEP)
    a, b = a.double(), b.double()
    point = _point(xs, narrow, a, b, n1, scratch)
    sum1, done = xs[:n1].sum(dim=0), point.size < POLISHED_STEP * (1 + b.abs())
    a, b = a + point.da, b + point.db
    far = (~done & torch.isfinite(b)).nonzero().squeeze(1)
    if len(far):
        few = xs.index_select(1, far)
        again = _point(few, few.float(), a[far], b[far], n1, Scratch())
        done[far] = again.size < POLISHED_STEP * (1 + b[far].abs())
        a[far], b[far] = a[far] + again.da, b[far] + again.db
        point.loglik[far], point.variance[far] = again.loglik, again.variance
    right = _accuracies_at(x, n1, a, b, mean, sd, scratch)
    return _Solved(mean, sd, sum1, a, b, point.variance, point.loglik, *right, done)


def _solve_guarded(x: Tensor, n1: int) -> _Solved:
    """With step-halving, for the few units that the fast ways lost."""
    scratch = Scratch()
    mean, sd, xs = standardise(x, scratch)
    a, b, done = robust(xs, n1)
    point = _point(xs, xs.float(), a, b, n1, scratch)
    a, b = a + point.da, b + point.db
    right = _accuracies_at(x, n1, a, b, mean, sd, scratch)
    return _Solved(mean, sd, xs[:n1].sum(dim=0), a, b, point.variance, point.loglik, *right, done)


def classify(x: Float[Tensor, "example unit"], n1: int) -> Int8[Tensor, " unit"]:
    """Status of every unit that can be told before the fit, in closed form (Albert & Anderson)."""
    # amin and amax: aminmax is an order of magnitude slower along the first axis on a CPU
    low1, high1, low0, high0 = ranges(x, n1)
    status = torch.zeros(x.shape[1], dtype=torch.int8, device=x.device)
    status[(high0 <= low1) | (high1 <= low0)] = QUASI_SEPARATED
    status[(high0 < low1) | (high1 < low0)] = SEPARATED
    status[(high0 == low1) & (high1 == low0) & (low0 == high0)] = CONSTANT
    finite = low1.isfinite() & high1.isfinite() & low0.isfinite() & high0.isfinite()
    status[~finite] = NONFINITE
    return status


def ranges(x: Tensor, n1: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ones, zeros = x[:n1], x[n1:]
    return ones.amin(dim=0), ones.amax(dim=0), zeros.amin(dim=0), zeros.amax(dim=0)


def standardise(
    x: Float[Tensor, "example unit"], scratch: Scratch | None = None
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"], Float[Tensor, "example unit"]]:
    """Mean, population SD and z-scores of every unit, in float64."""
    scratch = scratch or Scratch()
    xs = scratch.like("z-scores", x, torch.float64).copy_(x)
    mean = xs.mean(dim=0)
    xs -= mean
    sd = torch.mul(xs, xs, out=scratch.like("p", xs)).mean(dim=0).sqrt_()
    xs *= 1 / sd
    return mean, sd, xs


def null_loglik(n1: int, n: int) -> float:
    """Log-likelihood of the model with an intercept only."""
    return n1 * math.log(n1 / n) + (n - n1) * math.log((n - n1) / n)


def discriminant(
    xs: Float[Tensor, "example unit"], n1: int
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]]:
    """Intercept and slope of the linear discriminant of z-scores: a start (Efron 1975)."""
    n = xs.shape[0]
    mean1 = xs[:n1].mean(dim=0)
    mean0 = -mean1 * n1 / (n - n1)
    pooled = (1 - (n1 * mean1.square() + (n - n1) * mean0.square()) / n).clamp_min(0.05)
    b = (mean1 - mean0) / pooled
    a = math.log(n1 / (n - n1)) - (mean1.square() - mean0.square()) / (2 * pooled)
    return a, b


def coarse(
    xs: Float[Tensor, "example unit"],
    n1: int,
    a: Float[Tensor, " unit"],
    b: Float[Tensor, " unit"],
    scratch: Scratch,
    tolerance: float = COARSE_STEP,
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]]:
    """Newton steps from (a, b) until they are small; a unit that diverges is left as it is."""
    active = None
    sum1 = xs[:n1].sum(dim=0)
    for _ in range(COARSE_ITERATIONS):
        step = newton_step(xs, sum1, *_at(a, b, active), n1, scratch)
        a, b = _add(a, b, active, step)
        moving = ~is_small(step, b if active is None else b[active], tolerance)
        moving &= torch.isfinite(step.db)
        left = int(moving.sum())
        if not left:
            break
        if left <= moving.numel() // 4:  # converged units leave the active set
            rest = moving.nonzero().squeeze(1)
            active = rest if active is None else active[rest]
            xs, sum1 = xs.index_select(1, rest), sum1[rest]
    return a, b


def _at(a: Tensor, b: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    return (a, b) if active is None else (a[active], b[active])


def _add(a: Tensor, b: Tensor, active: Tensor | None, step: _Step) -> tuple[Tensor, Tensor]:
    if active is None:
        return a + step.da, b + step.db
    return a.index_add(0, active, step.da), b.index_add(0, active, step.db)


def newton_step(xs: Tensor, sum1: Tensor, a: Tensor, b: Tensor, n1: int, scratch: Scratch) -> _Step:
    """Newton step of the log-likelihood, in closed form; ``sum1`` sums ``xs`` over class 1."""
    p = torch.addcmul(a, xs, b, out=scratch.like("p", xs)).sigmoid_()
    w = torch.addcmul(p, p, p, value=-1, out=scratch.like("w", xs))
    g0 = n1 - p.sum(dim=0)
    g1 = sum1 - p.mul_(xs).sum(dim=0)
    h00 = w.sum(dim=0)
    h01 = w.mul_(xs).sum(dim=0)
    h11 = w.mul_(xs).sum(dim=0)
    det = h00 * h11 - h01.square()
    return _Step((h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det, h00, det)


def _point(xs: Tensor, narrow: Tensor, a: Tensor, b: Tensor, n1: int, scratch: Scratch) -> _Point:
    """Step of third order (Chebyshev's) in float64; likelihood and variance carried along it.

    The third derivatives of the likelihood, which float32 gives well enough (``narrow`` are
    ``xs`` in float32), tell how the gradient and the information change along the Newton step.
    """
    p = scratch.like("p", xs)
    torch.addcmul(a, xs[:n1], b, out=p[:n1])
    torch.addcmul(-a, xs[n1:], -b, out=p[n1:])
    p.sigmoid_()  # of the class that was observed
    w = torch.addcmul(p, p, p, value=-1, out=scratch.like("w", xs))
    skew = _skew(p, w, n1, scratch)
    loglik = _log_product(p, scratch)
    h00 = w.sum(dim=0)
    h01 = w.mul_(xs).sum(dim=0)
    h11 = w.mul_(xs).sum(dim=0)
    residual = torch.sub(1, p, out=p)
    g0 = residual[:n1].sum(dim=0) - residual[n1:].sum(dim=0)
    residual *= xs
    g1 = residual[:n1].sum(dim=0) - residual[n1:].sum(dim=0)
    t0 = skew.sum(dim=0)
    t1, t2, t3 = (skew.mul_(narrow).sum(dim=0) for _ in range(3))
    det = h00 * h11 - h01.square()
    da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
    d00, d01, d11 = t0 * da + t1 * db, t1 * da + t2 * db, t2 * da + t3 * db
    size = torch.maximum(da.abs(), db.abs())
    loglik = loglik + (g0 * da + g1 * db) / 2
    g0, g1 = (d00 * da + d01 * db) / -2, (d01 * da + d11 * db) / -2  # left by the Newton step
    da, db = da + (h11 * g0 - h01 * g1) / det, db + (h00 * g1 - h01 * g0) / det
    h00, h01, h11 = h00 + d00, h01 + d01, h11 + d11
    return _Point(da, db, size, loglik, h00 / (h00 * h11 - h01.square()))


def _skew(p: Tensor, w: Tensor, n1: int, scratch: Scratch) -> Tensor:
    """Derivative of w by the log-odds of class 1, w (1 - 2 p), p that of class 1, in float32."""
    short = scratch.like("p", p, torch.float32).copy_(p)
    torch.sub(1, short, alpha=2, out=short)
    short *= scratch.like("w", w, torch.float32).copy_(w)
    short[n1:].neg_()
    return short


def is_small(step: _Step, b: Tensor, tolerance: float) -> Bool[Tensor, " unit"]:
    return torch.maximum(step.da.abs(), step.db.abs()) < tolerance * (1 + b.abs())


def robust(xs: Tensor, n1: int) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 Newton from the null model with step-halving: for the few that the fast path lost.

    The log-likelihood is concave, so a step that raises it and is small enough ends at the
    maximum wherever one exists.
    """
    n, units = xs.shape
    a = torch.full((units,), math.log(n1 / (n - n1)), dtype=xs.dtype, device=xs.device)
    b = torch.zeros_like(a)
    done = torch.zeros_like(a, dtype=torch.bool)
    scratch = Scratch()
    for _ in range(ROBUST_ITERATIONS):
        index = (~done).nonzero().squeeze(1)
        x = xs[:, index]
        step = newton_step(x, x[:n1].sum(dim=0), a[index], b[index], n1, scratch)
        done[index] = is_small(step, b[index], FINE_STEP)
        a[index], b[index] = _halved(x, a[index], b[index], step, n1)
        if done.all():
            break
    return a, b, done


def _halved(x: Tensor, a: Tensor, b: Tensor, step: _Step, n1: int) -> tuple[Tensor, Tensor]:
    """Take the step, halved (up to 30 times) for units whose likelihood would fall."""
    before = _loglik(torch.addcmul(a, x, b), n1)
    size = torch.ones_like(a)
    slack = 1e-12 * (1 + before.abs())
    for _ in range(30):
        after = _loglik(torch.addcmul(a + size * step.da, x, b + size * step.db), n1)
        worse = ~(after >= before - slack)
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    size = torch.where(torch.isfinite(step.da) & torch.isfinite(step.db), size, 0.0)
    return a + size * step.da.nan_to_num(), b + size * step.db.nan_to_num()


def _loglik(eta: Tensor, n1: int) -> Tensor:
    """Log-likelihood of log-odds ``eta``, which is overwritten."""
    eta[n1:].neg_()  # P(y) is sigmoid(eta) for class 1 and sigmoid(-eta) for class 0
    return _log_product(eta.sigmoid_(), Scratch())


def _log_product(p: Float[Tensor, "example unit"], scratch: Scratch) -> Float[Tensor, " unit"]:
    """Sum of logarithms of probabilities over the examples."""
    eighth = len(p) // 8  # a logarithm costs as much as ten products
    halves = p[: 4 * eighth], p[4 * eighth : 8 * eighth]
    product = torch.mul(*halves, out=scratch.like("product", halves[0]))
    product = product[: 2 * eighth].mul_(product[2 * eighth :])
    product = product[:eighth].mul_(product[eighth:])
    total = product.log_().sum(dim=0) + p[8 * eighth :].log().sum(dim=0)
    lost = (~torch.isfinite(total)).nonzero().squeeze(1)
    if len(lost):  # a product of probabilities underflowed, or a fit diverged
        total[lost] = p.index_select(1, lost).log_().sum(dim=0)
    return total


def accuracies(
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


def _accuracies_at(
    x: Tensor, n1: int, a: Tensor, b: Tensor, mean: Tensor, sd: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """The same, of ``a + b (x - mean) / sd > cut``, by comparing ``x`` itself with a threshold.

    A float32 number exceeds a threshold just where it exceeds the threshold rounded down, so
    nothing is lost by staying in the dtype of ``x``, at a fifth of the time.
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


def _count(true: Tensor) -> Tensor:
    return true.sum(dim=0, dtype=torch.int32).double()


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
    at_touch1 = (ones == touch).sum(dim=0).double() * (at_touch0 > 0)
    share = at_touch1 / (at_touch0 + at_touch1).clamp_min(1)
    loglik = torch.xlogy(at_touch1, share) + torch.xlogy(at_touch0, 1 - share)
    result.lr[which] = 2 * (loglik - null)
    above, balanced_above = share > 0.5, share > n1 / n
    wrong = torch.where(above, at_touch0, at_touch1)
    result.accuracy[which] = 1 - wrong / n
    miss1 = torch.where(balanced_above, 0.0, at_touch1) / n1
    miss0 = torch.where(balanced_above, at_touch0, 0.0) / (n - n1)
    result.balanced_accuracy[which] = 1 - (miss1 + miss0) / 2
