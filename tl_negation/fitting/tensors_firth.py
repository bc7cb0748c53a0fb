"""Firth's fit on GPUs and other devices: tensors of all units of a block, step by step.

The sums over the examples are taken around the mean that the weights give, so the information is
diagonal and nothing cancels in its determinant. :mod:`.firth` says what is maximised, and why from
several starts. Rows are examples, those of class 1 first, and columns are units.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .newton import CUT, cut_discriminant
from .outcomes import Penalised
from .scratch import Scratch

#: A step below this, in standard errors of the estimate, is the last: it leaves an error of its
#: square.
LAST_STEP = 3e-6
ITERATIONS = 200
#: A step that was shortened to less leads nowhere.
SHORTEST = 1e-18
#: Values are cut off at CUT scales for a start, and at WIDER times as many for the next.
WIDER = 4.0
#: A maximum must be higher by this, relatively, to be preferred to one found before.
HIGHER = 1e-10
#: A step of the refitted intercept below this is the last.
LAST_REFIT = 1e-7
#: Log-odds nearer to a threshold than this are on it, and not above.
TIED = 1e-10


class _Point(NamedTuple):
    """Penalised log-likelihood at (a, b), and the step that leads up from there."""

    value: Tensor
    da: Tensor
    db: Tensor
    size: Tensor  # of the step, in standard errors, squared
    variance: Tensor  # of b, where the step leads


def penalise(u: Tensor, n1: int, farthest: Tensor, scratch: Scratch) -> Penalised:  # noqa: ARG001
    """Maximise the penalised likelihood of every column of ``u``.

    With ``farthest`` 0 there is one start, the linear discriminant; otherwise it is the largest
    absolute value of the column.
    """
    units = u.shape[1]
    value = torch.full((units,), -torch.inf, dtype=torch.float64, device=u.device)
    best = (value, *(torch.full_like(value, torch.nan) for _ in range(3)))
    index, start = (farthest > 0).nonzero().squeeze(1), math.log((n1 + 1) / (len(u) - n1 + 1))
    if len(index):  # without an effect
        a = torch.full((len(index),), start, dtype=torch.float64, device=u.device)
        _keep_best(best, index, _climb(u[:, index], n1, a, torch.zeros_like(a)))
    cut = CUT
    while len(index):
        few = u[:, index]
        _keep_best(best, index, _climb(few, n1, *cut_discriminant(few, n1, cut)))
        index = index[farthest[index] > cut]
        cut *= WIDER
    index = (farthest == 0).nonzero().squeeze(1)
    if len(index):
        few = u if len(index) == units else u[:, index]
        _keep_best(best, index, _climb(few, n1, *cut_discriminant(few, n1, math.inf)))
    value, a, b, variance = best
    return Penalised(a, b, variance, value, *_accuracies(u, n1, _refitted(u, n1, a, b), b))


def _keep_best(best: tuple, index: Tensor, found: tuple) -> None:
    better = found[0] - HIGHER * (1 + found[0].abs()) > best[0][index]
    for old, new in zip(best, found, strict=True):
        old[index] = torch.where(better, new, old[index])


def _climb(u: Tensor, n1: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Climb from (a, b) to a maximum: its value, a, b, the variance of b; -inf if none is reached.

    A step that would lead down is halved. Units that have arrived are left out of what follows.
    """
    found = torch.full_like(a, -torch.inf), *(a.new_full(a.shape, torch.nan) for _ in range(3))
    index = torch.arange(len(a), device=a.device)
    value, length = torch.full_like(a, -torch.inf), torch.ones_like(a)
    da, db = torch.zeros_like(a), torch.zeros_like(a)
    for _ in range(ITERATIONS):
        there = _point(u, n1, a + length * da, b + length * db)
        up = there.value > value - 1e-13 * (1 + value.abs())  # rounding alone may lower it
        a, b = torch.where(up, a + length * da, a), torch.where(up, b + length * db, b)
        lost = ~up & ((length < SHORTEST) | value.isneginf())
        length = torch.where(up, 1.0, length / 2)
        value, da = torch.where(up, there.value, value), torch.where(up, there.da, da)
        db = torch.where(up, there.db, db)
        done = up & (there.size < LAST_STEP**2)
        arrived = (there.value, a + there.da, b + there.db, there.variance)
        for old, new in zip(found, arrived, strict=True):
            old[index[done]] = new[done]
        rest = (~done & ~lost).nonzero().squeeze(1)
        if not len(rest):
            break
        if len(rest) < len(index):
            u, index = u[:, rest], index[rest]
            a, b, value, length, da, db = (part[rest] for part in (a, b, value, length, da, db))
    value, a, b, variance = found
    return value, a, b, variance


def _point(u: Tensor, n1: int, a: Tensor, b: Tensor) -> _Point:
    """Evaluate the penalised likelihood, and find Newton's step from here.

    The step is that of Fisher scoring where the penalised likelihood is not concave.
    """
    eta = torch.addcmul(a, u, b)
    eta[n1:].neg_()  # the log-odds of the class that was observed
    p, r = eta.sigmoid(), (-eta).sigmoid()
    w = p * r
    skew, bent = w * (r - p), w * (1 - 6 * w)  # derivatives of w
    skew[n1:].neg_()
    loglik = torch.nn.functional.logsigmoid(eta).sum(dim=0)
    r[n1:].neg_()
    h = w.sum(dim=0)
    centre = (w * u).sum(dim=0) / h
    d = u - centre
    s = (w * d * d).sum(dim=0)
    t = _powers(skew, d, 3)
    v = _powers(bent, d, 4)
    value = (loglik + (h.log() + s.log()) / 2).nan_to_num(nan=-torch.inf)
    # Gradient and curvature, relative to the errors of the two estimates
    g0 = (r.sum(dim=0) + (t[0] / h + t[2] / s) / 2) / h.sqrt()
    g1 = ((r * d).sum(dim=0) + (t[1] / h + t[3] / s) / 2) / s.sqrt()
    square = _squares(t, h, s)
    k00 = 1 - (v[0] / h + v[2] / s - square[0]) / 2 / h
    k01 = -(v[1] / h + v[3] / s - square[1]) / 2 / (h * s).sqrt()
    k11 = 1 - (v[2] / h + v[4] / s - square[2]) / 2 / s
    det = k00 * k11 - k01.square()
    concave = (k00 > 0) & (det > 1e-3 * k00 * k11)
    d0 = torch.where(concave, (k11 * g0 - k01 * g1) / det, g0)
    d1 = torch.where(concave, (k00 * g1 - k01 * g0) / det, g1)
    da, db = d0 / h.sqrt(), d1 / s.sqrt()
    variance = 1 / (s + t[2] * da + t[3] * db)
    return _Point(value, da - centre * db, db, d0.square() + d1.square(), variance)


def _powers(weight: Tensor, d: Tensor, highest: int) -> list[Tensor]:
    """Sums of ``weight`` times 1, d, d^2, ...; ``weight`` is overwritten."""
    sums = [weight.sum(dim=0)]
    sums += [weight.mul_(d).sum(dim=0) for _ in range(highest)]
    return sums


def _squares(t: list[Tensor], h: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Traces of products of the information's derivatives, relative to the information."""
    return (
        t[0] * t[0] / h / h + 2 * t[1] * t[1] / h / s + t[2] * t[2] / s / s,
        t[0] * t[1] / h / h + 2 * t[1] * t[2] / h / s + t[2] * t[3] / s / s,
        t[1] * t[1] / h / h + 2 * t[2] * t[2] / h / s + t[3] * t[3] / s / s,
    )


def _refitted(u: Tensor, n1: int, a: Tensor, b: Tensor) -> Tensor:
    """Intercept of the ordinary fit with this slope (FLIC): it fits the share of class 1.

    Newton's iteration from ``a``, between bounds: at the lower no fitted probability exceeds the
    share, and at the upper none is below it.
    """
    share = math.log(n1 / (len(u) - n1))
    offset = u * b
    low, high = share - offset.amax(dim=0), share - offset.amin(dim=0)
    a = a.clamp(low, high)
    for _ in range(ITERATIONS):
        p = (offset + a).sigmoid()
        short = n1 - p.sum(dim=0)
        low, high = torch.where(short > 0, a, low), torch.where(short > 0, high, a)
        step = short / (p * (1 - p)).sum(dim=0)
        last = ~(step.abs() >= LAST_REFIT)
        outside = ~last & ~((low < a + step) & (a + step < high))
        a = torch.where(outside, (low + high) / 2, a + step)
        if last.all():
            break
    return a


def _accuracies(u: Tensor, n1: int, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy at p = 1/2, and balanced accuracy at p = share of class 1."""
    n0 = len(u) - n1
    eta = torch.addcmul(a - TIED, u, b)
    accuracy = (_count(eta[:n1] > 0) + n0 - _count(eta[n1:] > 0)) / (n1 + n0)
    above = eta > math.log(n1 / n0)
    return accuracy, (_count(above[:n1]) / n1 + 1 - _count(above[n1:]) / n0) / 2


def _count(true: Tensor) -> Tensor:
    return true.sum(dim=0, dtype=torch.int32).double()
