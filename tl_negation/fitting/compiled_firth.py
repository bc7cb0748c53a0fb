"""Firth's fit for CPUs, compiled by Numba: one unit after the other.

Arrays in, arrays out, as in :mod:`.compiled`. The sums over the examples are taken around the mean
that the weights give, so the information is diagonal and nothing cancels in its determinant.
:mod:`.firth` says what is maximised, and why from several starts.
"""

import math
from enum import IntEnum

import numpy as np

from .compiled import (
    Row,
    above,
    entry,
    extremes,
    loglik,
    odds_against,
    part,
    vectors,
)
from .newton import CUT
from .tensors_firth import HIGHER, ITERATIONS, LAST_REFIT, LAST_STEP, SHORTEST, TIED, WIDER


class Column(IntEnum):
    """Columns of :func:`fit`'s result, ``out[Column.A, unit]``."""

    A = 0
    B = 1
    VARIANCE = 2
    VALUE = 3
    HITS = 4
    ALARMS = 5
    BALANCED_HITS = 6
    BALANCED_ALARMS = 7


@vectors
def _weights(u: Row, odds: Row, residual: Row, w: Row, skew: Row) -> tuple:
    """Residuals, weights, and their derivatives by the log-odds, for the examples of one class.

    Residual and ``skew`` point to the observed class. Returns sums of the residuals (times 1, u),
    of the weights (times 1, u), of the skews, and of the second derivatives of the weights.
    """
    g0 = g1 = h0 = h1 = t0 = v0 = 0.0
    for i in range(len(u)):
        p = 1 / (1 + odds[i])  # of the class that was observed
        r = odds[i] * p  # 1 - p without cancellation
        weight = r * p
        s = weight * (r - p)
        residual[i], w[i], skew[i] = r, weight, s
        g0 += r
        g1 += r * u[i]
        h0 += weight
        h1 += weight * u[i]
        t0 += s
        v0 += weight * (1 - 6 * weight)
    return g0, g1, h0, h1, t0, v0


@vectors
def _centred(u: Row, centre: float, w: Row, skew: Row) -> tuple:
    """Sums of weights, skews and second derivatives times powers of u - centre."""
    s2 = t1 = t2 = t3 = v1 = v2 = v3 = v4 = 0.0
    for i in range(len(u)):
        d = u[i] - centre
        d2 = d * d
        weighted = w[i] * d2
        skewed = skew[i] * d
        bent = weighted * (1 - 6 * w[i])
        s2 += weighted
        t1 += skewed
        t2 += skewed * d
        t3 += skewed * d2
        v1 += w[i] * (1 - 6 * w[i]) * d
        v2 += bent
        v3 += bent * d
        v4 += bent * d2
    return s2, t1, t2, t3, v1, v2, v3, v4


@vectors
def _residual_slope(u: Row, centre: float, residual: Row) -> float:
    """Sum of the residuals times u - centre."""
    total = 0.0
    for i in range(len(u)):
        total += residual[i] * (u[i] - centre)
    return total


@part
def _point(u: Row, n1: int, a: float, b: float, memory: np.ndarray) -> tuple:
    """Penalised log-likelihood at (a, b), and the Newton step that leads up from there.

    Returns its value, da, db, the square of the step's length in standard errors, and the variance
    of b where it leads to first order. The step is that of Fisher scoring where the penalised
    likelihood is not concave.
    """
    odds, residual, w, skew = memory[0], memory[1], memory[2], memory[3]
    odds_against(u, n1, a, b, odds, w)
    one = _weights(u[:n1], odds[:n1], residual[:n1], w[:n1], skew[:n1])
    zero = _weights(u[n1:], odds[n1:], residual[n1:], w[n1:], skew[n1:])
    h = one[2] + zero[2]
    centre = (one[3] + zero[3]) / h
    c1 = _centred(u[:n1], centre, w[:n1], skew[:n1])
    c0 = _centred(u[n1:], centre, w[n1:], skew[n1:])
    s = c1[0] + c0[0]
    if not (h > 0 and s > 0):  # NaN, too
        return -np.inf, 0.0, 0.0, np.inf, np.nan
    value = loglik(odds) + (math.log(h) + math.log(s)) / 2
    g0 = one[0] - zero[0]
    g1 = _residual_slope(u[:n1], centre, residual[:n1])
    g1 -= _residual_slope(u[n1:], centre, residual[n1:])
    # Of the information's derivatives, relative to h and s
    t0, t1, t2, t3 = one[4] - zero[4], c1[1] - c0[1], c1[2] - c0[2], c1[3] - c0[3]
    v0, v1, v2 = one[5] + zero[5], c1[4] + c0[4], c1[5] + c0[5]
    v3, v4 = c1[6] + c0[6], c1[7] + c0[7]
    g0 += (t0 / h + t2 / s) / 2
    g1 += (t1 / h + t3 / s) / 2
    # The curvature: the information, less the second derivatives of the penalty
    k00 = h - (v0 / h + v2 / s - (t0 * t0 / h / h + 2 * t1 * t1 / h / s + t2 * t2 / s / s)) / 2
    k01 = -(v1 / h + v3 / s - (t0 * t1 / h / h + 2 * t1 * t2 / h / s + t2 * t3 / s / s)) / 2
    k11 = s - (v2 / h + v4 / s - (t1 * t1 / h / h + 2 * t2 * t2 / h / s + t3 * t3 / s / s)) / 2
    k01 /= math.sqrt(h * s)  # now without dimension
    k00, k11 = k00 / h, k11 / s
    det = k00 * k11 - k01 * k01
    e0, e1 = g0 / math.sqrt(h), g1 / math.sqrt(s)
    if k00 > 0 and det > 1e-3 * k00 * k11:
        d0, d1 = (k11 * e0 - k01 * e1) / det, (k00 * e1 - k01 * e0) / det
    else:
        d0, d1 = e0, e1
    size = d0 * d0 + d1 * d1
    da, db = d0 / math.sqrt(h), d1 / math.sqrt(s)
    s_there = s + t2 * da + t3 * db
    return value, da - centre * db, db, size, 1 / s_there


@part
def _climb(u: Row, n1: int, a: float, b: float, memory: np.ndarray) -> tuple:
    """Climb from (a, b) to a maximum: its value, a, b, the variance of b; -inf if none is reached.

    A step that would lead down is halved.
    """
    value, length, da, db = -np.inf, 1.0, 0.0, 0.0
    for _ in range(ITERATIONS):
        there = _point(u, n1, a + length * da, b + length * db, memory)
        if there[0] > value - 1e-13 * (1 + abs(value)):  # rounding alone may lower it
            a += length * da
            b += length * db
            value, da, db, size, variance = there
            length = 1.0
            if size < LAST_STEP * LAST_STEP:
                return value, a + da, b + db, variance
        elif length < SHORTEST or value == -np.inf:
            break
        else:
            length /= 2
    return -np.inf, np.nan, np.nan, np.nan


@vectors
def _cut_sums(u: Row, cut: float) -> tuple:
    """Sums of the values, and of their squares, that were cut off beyond +-``cut``."""
    s1 = s2 = 0.0
    for i in range(len(u)):
        value = min(max(u[i], -cut), cut)
        s1 += value
        s2 += value * value
    return s1, s2


@part
def _cut_start(u: Row, n1: int, cut: float) -> tuple:
    """Intercept and slope of the linear discriminant of values cut off beyond +-``cut``."""
    n0 = len(u) - n1
    one, zero = _cut_sums(u[:n1], cut), _cut_sums(u[n1:], cut)
    mean1, mean0 = one[0] / n1, zero[0] / n0
    mean = (one[0] + zero[0]) / len(u)
    spread = (one[1] + zero[1]) / len(u) - mean * mean
    within = spread - n1 / len(u) * n0 / len(u) * (mean1 - mean0) ** 2
    b = (mean1 - mean0) / max(within, 0.05 * spread)
    return math.log(n1 / n0) - b * (mean1 + mean0) / 2, b


@part
def _from_all_starts(u: Row, n1: int, farthest: float, memory: np.ndarray) -> tuple:
    """The highest of the maxima above the starts: its value, a, b, the variance of b.

    The first start has no effect; the others are linear discriminants of values that were cut off,
    at CUT scales and farther and farther out. With ``farthest`` 0 there is one start, uncut.
    """
    best = (-np.inf, np.nan, np.nan, np.nan)
    cut = CUT / WIDER if farthest > 0 else np.inf
    a, b = math.log((n1 + 1) / (len(u) - n1 + 1)), 0.0
    while True:
        if cut >= CUT:
            a, b = _cut_start(u, n1, cut)
        found = _climb(u, n1, a, b, memory)
        if found[0] - HIGHER * (1 + abs(found[0])) > best[0]:
            best = found
        if cut >= farthest:
            return best
        cut *= WIDER


@part
def _refitted(u: Row, n1: int, a: float, b: float, memory: np.ndarray) -> float:
    """Intercept of the ordinary fit with this slope (FLIC): it fits the share of class 1.

    Newton's iteration from ``a``, between bounds: at the lower no fitted probability exceeds the
    share, and at the upper none is below it.
    """
    share = math.log(n1 / (len(u) - n1))
    least, most = extremes(u)
    low, high = share - max(b * least, b * most), share - min(b * least, b * most)
    a = min(max(a, low), high)
    for _ in range(ITERATIONS):
        odds_against(u, n1, a, b, memory[0], memory[1])
        one = _weights(u[:n1], memory[0, :n1], memory[1, :n1], memory[2, :n1], memory[3, :n1])
        zero = _weights(u[n1:], memory[0, n1:], memory[1, n1:], memory[2, n1:], memory[3, n1:])
        short = one[0] - zero[0]
        if short > 0:
            low = a
        else:
            high = a
        step = short / (one[2] + zero[2])
        if abs(step) < LAST_REFIT:
            return a + step
        a += step
        if not low < a < high:
            a = (low + high) / 2
    return a


@entry
def fit(u: np.ndarray, n1: int, farthest: np.ndarray, out: np.ndarray) -> None:
    """Fit every row of ``u`` [unit, example]; ``out`` [:class:`Column`, unit] is filled.

    With ``farthest`` [unit] 0 there is one start. ``HITS`` and the others are counted as in
    :func:`.compiled.fit`, after the intercept was refitted. Where no maximum was reached, ``VALUE``
    is -inf.
    """
    share = math.log(n1 / (u.shape[1] - n1))
    memory = np.empty((4, u.shape[1]))
    for unit in range(len(u)):
        row = u[unit]
        value, a, b, variance = _from_all_starts(row, n1, farthest[unit], memory)
        out[Column.VALUE, unit] = value
        out[Column.A, unit] = a
        out[Column.B, unit] = b
        out[Column.VARIANCE, unit] = variance
        if value == -np.inf:
            continue
        a = _refitted(row, n1, a, b, memory) - TIED
        out[Column.HITS, unit] = above(row[:n1], a, b)
        out[Column.ALARMS, unit] = above(row[n1:], a, b)
        out[Column.BALANCED_HITS, unit] = above(row[:n1], a - share, b)
        out[Column.BALANCED_ALARMS, unit] = above(row[n1:], a - share, b)
