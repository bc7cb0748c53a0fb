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
#: A float64 step below this, in standard errors, ends the guarded iteration.
FINE_STEP = 1e-8
#: Where the determinant of the information is smaller than this share of the product that it is a
#: difference from, too few of its digits are left: the unit is fitted with care.
CANCELLED = 1e-6
#: Values are cut off at this many scales (see :func:`robust`) for a start.
CUT = 3.0
#: Beyond these the square of a float64 deviation is not to be trusted.
SMALLEST_SD, LARGEST_SD = 1e-140, 1e140
COARSE_ITERATIONS = 12
GUARDED_ITERATIONS = 100
HALVINGS = 60


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
    size: Tensor  # NaN where too few digits are left
    rise: Tensor  # of the log-likelihood
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
    if x.dtype == torch.float64:  # squares of narrower numbers stay within its range
        off = (~((sd > SMALLEST_SD) & (sd < LARGEST_SD))).nonzero().squeeze(1)
        if len(off):
            few, exponent = _near_one(x[:, off])
            mean_few = few.mean(dim=0)
            few -= mean_few
            sd_few = few.square().mean(dim=0).sqrt()
            xs[:, off] = few / sd_few
            mean[off], sd[off] = _times_two_to(mean_few, exponent), _times_two_to(sd_few, exponent)
    return mean, sd, xs


def robust(
    x: Float[Tensor, "example unit"],
) -> tuple[Float[Tensor, " unit"], Float[Tensor, " unit"], Float[Tensor, "example unit"]]:
    """Median, scale and scaled distances from the median of every unit, in float64.

    The scale is the median distance of the values that differ from the median, so it is above 0
    even for a unit that is 0 in most examples. A value far out leaves the others as they are,
    where it would move all z-scores to one number. The units are finite and not constant.
    """
    near, exponent = _near_one(x.double())
    centre = _median(near)
    near -= centre
    distance = near.abs()
    scale = _median(torch.where(distance > 0, distance, torch.nan))
    near /= scale
    return _times_two_to(centre, exponent), _times_two_to(scale, exponent), near


def _median(x: Tensor) -> Tensor:
    """Median of every column, NaN left out: the mean of the two in the middle."""
    ordered = x.sort(dim=0).values  # NaN last
    count = (~x.isnan()).sum(dim=0)
    low, high = ((count - 1) // 2)[None], (count // 2)[None]
    return (ordered.gather(0, low) / 2 + ordered.gather(0, high) / 2).squeeze(0)


def _near_one(x: Tensor) -> tuple[Tensor, Tensor]:
    """Columns times the power of two that brings their largest value near 1, and its exponent."""
    exponent = torch.frexp(x.abs().amax(dim=0)).exponent
    return _times_two_to(x, -exponent), exponent


def _times_two_to(x: Tensor, exponent: Tensor) -> Tensor:
    """``x * 2 ** exponent``, in two factors, because one alone may be beyond the largest number."""
    half = exponent // 2
    return torch.ldexp(torch.ldexp(x, half), exponent - half)


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
    size = size.masked_fill(~(det > CANCELLED * h00 * h11), torch.nan)
    rise = (g0 * da + g1 * db) / 2
    g0, g1 = (d00 * da + d01 * db) / -2, (d01 * da + d11 * db) / -2  # left by the Newton step
    da, db = da + (h11 * g0 - h01 * g1) / det, db + (h00 * g1 - h01 * g0) / det
    h00, h01, h11 = h00 + d00, h01 + d01, h11 + d11
    return ChebyshevStep(da, db, size, rise, loglik + rise, h00 / (h00 * h11 - h01.square()))


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
    """Newton with step-halving, in float64: slow, but it arrives.

    For the few units that a fast way lost. The log-likelihood is concave, so a step that raises it
    and is small enough ends at the maximum wherever one exists. The sums are taken around the mean
    that the weights give, on a scale that values far out do not move. It starts at the null model,
    and for units that do not get there in time at the linear discriminant of values cut off.

    Returns
    -------
    intercept, slope, done
    """
    centre, scale, u = robust(xs)
    a, b, done = _climb(u, n1, *_null_start(u, n1))
    rest = (~done).nonzero().squeeze(1)
    if len(rest):
        few = u[:, rest]
        a[rest], b[rest], done[rest] = _climb(few, n1, *cut_discriminant(few, n1, CUT))
    return a - b * (centre / scale), b / scale, done


def _climb(
    u: Tensor, n1: int, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor, Bool[Tensor, " unit"]]:
    a, b, done = a.clone(), b.clone(), torch.zeros_like(a, dtype=torch.bool)
    for _ in range(GUARDED_ITERATIONS):
        index = (~done).nonzero().squeeze(1)
        x = u[:, index]
        step, size = _centred_step(x, a[index], b[index], n1)
        done[index] = size < FINE_STEP
        a[index], b[index] = _halved(x, a[index], b[index], step, n1)
        if done.all():
            break
    return a, b, done


def weighted_mean(x: Tensor, a: Tensor, b: Tensor) -> Float[Tensor, " unit"]:
    """Mean of every column, weighted as in the information at (a, b)."""
    eta = torch.addcmul(a, x, b)
    w = eta.sigmoid() * (-eta).sigmoid()
    return (w * x).sum(dim=0) / w.sum(dim=0)


def _null_start(u: Tensor, n1: int) -> tuple[Tensor, Tensor]:
    a = torch.full((u.shape[1],), math.log(n1 / (len(u) - n1)), dtype=u.dtype, device=u.device)
    return a, torch.zeros_like(a)


def cut_discriminant(u: Tensor, n1: int, cut: float) -> tuple[Tensor, Tensor]:
    """Intercept and slope of the linear discriminant of values cut off beyond +-``cut``."""
    n = len(u)
    v = u.clamp(-cut, cut)
    mean1, mean0, mean = v[:n1].mean(dim=0), v[n1:].mean(dim=0), v.mean(dim=0)
    spread = v.square().mean(dim=0) - mean.square()
    within = spread - n1 / n * (n - n1) / n * (mean1 - mean0).square()
    b = (mean1 - mean0) / torch.maximum(within, 0.05 * spread)
    return math.log(n1 / (n - n1)) - b * (mean1 + mean0) / 2, b


def _centred_step(x: Tensor, a: Tensor, b: Tensor, n1: int) -> tuple[NewtonStep, Tensor]:
    """Newton's step, from sums around the weighted mean; and its length in standard errors."""
    eta = torch.addcmul(a, x, b)
    eta[n1:].neg_()
    p, r = eta.sigmoid(), (-eta).sigmoid()
    w = p * r
    r[n1:].neg_()
    h00 = w.sum(dim=0)
    centre = (w * x).sum(dim=0) / h00
    d = x - centre
    h11 = (w * d * d).sum(dim=0)
    g0, g1 = r.sum(dim=0), (r * d).sum(dim=0)
    da, db = g0 / h00, g1 / h11
    size = (g0 * da + g1 * db).sqrt()
    return NewtonStep(da - centre * db, db, h00, h00 * h11), size


def _halved(x: Tensor, a: Tensor, b: Tensor, step: NewtonStep, n1: int) -> tuple[Tensor, Tensor]:
    """Take the step, halved for units whose likelihood would fall; none that falls all the same."""
    before = _loglik(torch.addcmul(a, x, b), n1)
    size = torch.ones_like(a)
    slack = 1e-12 * (1 + before.abs())  # rounding alone may lower it near the maximum
    worse = torch.zeros_like(size, dtype=torch.bool)
    for _ in range(HALVINGS):
        after = _loglik(torch.addcmul(a + size * step.da, x, b + size * step.db), n1)
        worse = ~(after >= before - slack)  # true of NaN, too
        if not worse.any():
            break
        size = torch.where(worse, size / 2, size)
    size = torch.where(torch.isfinite(step.da) & torch.isfinite(step.db) & ~worse, size, 0.0)
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
