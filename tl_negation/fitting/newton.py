"""Newton's iteration on tensors: one intercept ``a`` and one slope ``b`` for each of many units.

Rows of ``xs`` are the z-scores of the examples, those of class 1 first; columns are units. Every
unit is fitted on its own; working on many at once only saves time.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .scratch import Scratch

#: A step below this (on z-scores, relative to 1 + |slope|) ends the float32 iteration. Newton
#: squares the error: about 1e-5 is left, of which a float64 step leaves 1e-10.
COARSE_STEP = 5e-3
#: A float64 step below this ends the guarded iteration.
FINE_STEP = 1e-8
COARSE_ITERATIONS = 12
GUARDED_ITERATIONS = 100


class NewtonStep(NamedTuple):
    """A Newton step, and the curvature at the point it was taken from."""

    da: Tensor
    db: Tensor
    h00: Tensor
    det: Tensor


class ChebyshevStep(NamedTuple):
    """A step of third order, the size of its first-order part, and what holds where it leads."""

    da: Tensor
    db: Tensor
    size: Tensor
    loglik: Tensor
    variance: Tensor  # of b


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


def discriminant(
    xs: Float[Tensor, "example unit"], n1: int
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"]]:
    """Intercept and slope of the linear discriminant of z-scores: a start (Efron 1975)."""
    n = xs.shape[0]
    mean1 = xs[:n1].mean(dim=0)
    mean0 = -mean1 * n1 / (n - n1)
    # What is left of the variance, 1, within the classes. Without the floor a nearly separated unit
    # would start at a slope so steep that Newton's iteration diverges.
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
    active = None  # index of the units that still move; None: all
    sum1 = xs[:n1].sum(dim=0)
    for _ in range(COARSE_ITERATIONS):
        step = newton_step(xs, sum1, *_at(a, b, active), n1, scratch)
        a, b = _add(a, b, active, step)
        moving = ~is_small(step, b if active is None else b[active], tolerance)
        moving &= torch.isfinite(step.db)
        left = int(moving.sum())
        if not left:
            break
        # Copying the units that still move pays only where it makes the block much smaller.
        if left <= moving.numel() // 4:
            rest = moving.nonzero().squeeze(1)
            active = rest if active is None else active[rest]
            xs, sum1 = xs.index_select(1, rest), sum1[rest]
    return a, b


def _at(a: Tensor, b: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    return (a, b) if active is None else (a[active], b[active])


def _add(a: Tensor, b: Tensor, active: Tensor | None, step: NewtonStep) -> tuple[Tensor, Tensor]:
    if active is None:
        return a + step.da, b + step.db
    return a.index_add(0, active, step.da), b.index_add(0, active, step.db)


def newton_step(
    xs: Tensor, sum1: Tensor, a: Tensor, b: Tensor, n1: int, scratch: Scratch
) -> NewtonStep:
    """Newton step of the log-likelihood, in closed form; ``sum1`` sums ``xs`` over class 1."""
    p = torch.addcmul(a, xs, b, out=scratch.like("p", xs)).sigmoid_()
    w = torch.addcmul(p, p, p, value=-1, out=scratch.like("w", xs))
    g0 = n1 - p.sum(dim=0)
    g1 = sum1 - p.mul_(xs).sum(dim=0)
    h00 = w.sum(dim=0)
    h01 = w.mul_(xs).sum(dim=0)  # in place: w is now w x, and w x^2 after the next line
    h11 = w.mul_(xs).sum(dim=0)
    det = h00 * h11 - h01.square()
    return NewtonStep((h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det, h00, det)


def chebyshev_step(
    xs: Tensor, narrow: Tensor, a: Tensor, b: Tensor, n1: int, scratch: Scratch
) -> ChebyshevStep:
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
    return ChebyshevStep(da, db, size, loglik, h00 / (h00 * h11 - h01.square()))


def _skew(p: Tensor, w: Tensor, n1: int, scratch: Scratch) -> Tensor:
    """Derivative of w by the log-odds of class 1, w (1 - 2 p), p that of class 1, in float32."""
    short = scratch.like("p", p, torch.float32).copy_(p)
    torch.sub(1, short, alpha=2, out=short)
    short *= scratch.like("w", w, torch.float32).copy_(w)
    short[n1:].neg_()  # there p is the probability of class 0
    return short


def is_small(step: NewtonStep, b: Tensor, tolerance: float) -> Bool[Tensor, " unit"]:
    """Whether a step is below the tolerance, relative to 1 + |slope|; False where it is NaN."""
    return torch.maximum(step.da.abs(), step.db.abs()) < tolerance * (1 + b.abs())


def guarded_newton(
    xs: Float[Tensor, "example unit"], n1: int
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"], Bool[Tensor, " unit"]]:
    """Newton from the null model with step-halving, in the dtype of ``xs``: slow, but it arrives.

    For the few units that a fast way lost. The log-likelihood is concave, so a step that raises it
    and is small enough ends at the maximum wherever one exists.

    Returns
    -------
    intercept, slope, done
    """
    n, units = xs.shape
    a = torch.full((units,), math.log(n1 / (n - n1)), dtype=xs.dtype, device=xs.device)
    b = torch.zeros_like(a)
    done = torch.zeros_like(a, dtype=torch.bool)
    scratch = Scratch()
    for _ in range(GUARDED_ITERATIONS):
        index = (~done).nonzero().squeeze(1)
        x = xs[:, index]
        step = newton_step(x, x[:n1].sum(dim=0), a[index], b[index], n1, scratch)
        done[index] = is_small(step, b[index], FINE_STEP)
        a[index], b[index] = _halved(x, a[index], b[index], step, n1)
        if done.all():
            break
    return a, b, done


def _halved(x: Tensor, a: Tensor, b: Tensor, step: NewtonStep, n1: int) -> tuple[Tensor, Tensor]:
    """Take the step, halved (up to 30 times) for units whose likelihood would fall."""
    before = _loglik(torch.addcmul(a, x, b), n1)
    size = torch.ones_like(a)
    slack = 1e-12 * (1 + before.abs())  # rounding alone may lower it near the maximum
    for _ in range(30):
        after = _loglik(torch.addcmul(a + size * step.da, x, b + size * step.db), n1)
        worse = ~(after >= before - slack)  # true of NaN, too
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
    eighth = len(p) // 8  # products of eight: a logarithm costs as much as ten products
    halves = p[: 4 * eighth], p[4 * eighth : 8 * eighth]
    product = torch.mul(*halves, out=scratch.like("product", halves[0]))
    product = product[: 2 * eighth].mul_(product[2 * eighth :])
    product = product[:eighth].mul_(product[eighth:])
    total = product.log_().sum(dim=0) + p[8 * eighth :].log().sum(dim=0)
    lost = (~torch.isfinite(total)).nonzero().squeeze(1)
    if len(lost):  # a product of probabilities underflowed, or a fit diverged
        total[lost] = p.index_select(1, lost).log_().sum(dim=0)
    return total
