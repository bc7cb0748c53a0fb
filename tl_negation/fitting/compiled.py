"""Kernels for CPUs, compiled by Numba: fits, folds and ranks, one unit after the other.

Arrays in, arrays out. A row is a unit: its values, those of class 1 first. The tensor version
passes its data through main memory a dozen times; here one unit at a time stays in L1 cache.

Numba compiles for the processor at hand at the first call and keeps the result on disk, so only
the first fit on a machine waits (seconds). Importing this module imports Numba: :mod:`.rows` does
so at its first fit.
"""

import inspect
import math
import warnings
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numba import njit

#: A step (of third order, on z-scores, relative to 1 + |slope|) below this leaves an error of its
#: cube in the estimates, and of its square in the curvature.
LAST_STEP = 1e-4
#: And the rise of the log-likelihood by that step, half the square of the step in standard errors.
LAST_RISE = 1e-6
#: Where the determinant of the information is smaller than this share of the product that it is a
#: difference from, too few of its digits are left: the unit is lost, and fitted with care.
CANCELLED = 1e-6
ITERATIONS = 25

Row: TypeAlias = np.ndarray


class Column(IntEnum):
    """Columns of :func:`fit`'s result, ``out[Column.MEAN, unit]``."""

    MEAN = 0
    SD = 1
    SUM1 = 2
    A = 3
    B = 4
    VARIANCE = 5
    LOGLIK = 6
    HITS = 7
    ALARMS = 8
    BALANCED_HITS = 9
    BALANCED_ALARMS = 10
    CONVERGED = 11


def _compile(*fastmath: str, forceinline: bool = True) -> Callable[[Callable], Callable]:
    """Compile a function; ``inspect.unwrap`` takes off the type checks that tests put on.

    Everything that an entry point calls is inlined into it. Otherwise there would be two
    compilations of a part, its own and the caller's, and which of them ran, with its rounding,
    would depend on whether Numba compiled it in this process or read it from its cache.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": forceinline}
    options["fastmath"] = set(fastmath)

    def compiled(function: Callable) -> Callable:
        plain = inspect.unwrap(function)
        try:
            return njit(**options, cache=True)(plain)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _say_once_that_nothing_is_kept()
            return njit(**options)(plain)

    return compiled


@cache
def _say_once_that_nothing_is_kept() -> None:
    warnings.warn(
        "neither the package's folder nor the user's can be written to, so the compiled probe is "
        "not kept and each process compiles it again; set NUMBA_CACHE_DIR to a folder that can",
        stacklevel=2,
    )


entry = _compile(forceinline=False)
part = _compile()
# Sums may be reordered and products fused. Without that a loop that sums cannot use the
# processor's vectors, because it would have to add in the order of the examples.
vectors = _compile("reassoc", "contract", "nsz")
# No operation may be reordered: the method below relies on how each of them rounds.
_exactly = _compile("contract")

_LOG2_E = 1 / math.log(2)
_LN2_HIGH = 6.93147180369123816490e-01  # log 2 in two parts, as in fdlibm's e_exp.c
_LN2_LOW = 1.90821492927058770002e-10
_ROUNDER = 1.5 * 2.0**52  # added to a number, leaves its nearest integer in the lowest bits
LARGEST = 700.0  # exp(700) is finite, and exp(-700) not yet subnormal
_C = tuple(1 / math.factorial(k) for k in range(13))  # of the Taylor series of exp
_PRODUCT = 128  # factors multiplied before a logarithm is taken


@_exactly
def odds_against(z: Row, n1: int, a: float, b: float, odds: Row, work: Row) -> None:
    """Odds against the class that was observed, ``exp(-(a + b z))`` or its inverse, in ``odds``.

    exp(m) = 2^k exp(r), k the nearest integer to m / log 2; the Taylor series of degree 12 errs
    by less than a unit in the last place for |r| <= log(2) / 2. Written out here because
    ``math.exp`` is a call for each number, which keeps the loop from using vectors.
    """
    for i in range(len(z)):
        m = a + b * z[i]
        m = m if i >= n1 else -m
        m = min(max(m, -LARGEST), LARGEST)
        # Numbers as large as _ROUNDER are 1 apart, so this addition rounds to an integer. We get
        # that integer, k, as a number below, and from the bits of ``work`` in the last loop.
        shifted = m * _LOG2_E + _ROUNDER
        work[i] = shifted
        k = shifted - _ROUNDER
        # k log 2 is taken off in two parts: k * _LN2_HIGH has no rounding error, since _LN2_HIGH
        # ends in zeros.
        r = (m - k * _LN2_HIGH) - k * _LN2_LOW
        # In groups of terms that do not wait for each other, unlike Horner's rule.
        r2 = r * r
        r4 = r2 * r2
        low = (1 + r) + (_C[2] + _C[3] * r) * r2
        middle = (_C[4] + _C[5] * r) + (_C[6] + _C[7] * r) * r2
        high = (_C[8] + _C[9] * r) + (_C[10] + _C[11] * r) * r2 + _C[12] * r4
        odds[i] = low + r4 * (middle + r4 * high)
    # Times 2^k: a double's exponent begins at bit 52. The shift drops all bits but the lowest 12,
    # where k is.
    exponents, bits = work.view(np.int64), odds.view(np.int64)
    for i in range(len(z)):
        bits[i] += exponents[i] << 52


@vectors
def _gradient(z: Row, odds: Row, skew: Row) -> tuple:
    """Sums of residuals and weights over the examples of one class; ``skew`` = d weight / d eta.

    Residual and skew point to the observed class, so the caller subtracts those of class 0.
    """
    g0 = g1 = h0 = h1 = h2 = 0.0
    for i in range(len(z)):
        p = 1 / (1 + odds[i])  # of the class that was observed
        residual = odds[i] * p  # 1 - p without cancellation
        w = residual * p
        skew[i] = w * (residual - p)  # w (1 - 2 p)
        g0 += residual
        g1 += residual * z[i]
        h0 += w
        h1 += w * z[i]
        h2 += w * z[i] * z[i]
    return g0, g1, h0, h1, h2


@vectors
def _powers(z: Row, skew: Row) -> tuple:
    """Sums of ``skew`` times 1, z, z^2, z^3.

    A loop of its own: together with :func:`_gradient`'s sums they would not fit into registers.
    """
    t0 = t1 = t2 = t3 = 0.0
    for i in range(len(z)):
        t0 += skew[i]
        t1 += skew[i] * z[i]
        t2 += skew[i] * z[i] * z[i]
        t3 += skew[i] * z[i] * z[i] * z[i]
    return t0, t1, t2, t3


@part
def _step(z: Row, n1: int, a: float, b: float, odds: Row, work: Row) -> tuple:
    """Step of third order (Chebyshev's), and what holds where it leads.

    Returns da, db, the size of their first-order part, the rise of the log-likelihood, and the
    variance of b. Afterwards ``odds`` are those at (a, b), where the step begins.
    """
    odds_against(z, n1, a, b, odds, work)
    sums1 = _gradient(z[:n1], odds[:n1], work[:n1])
    sums0 = _gradient(z[n1:], odds[n1:], work[n1:])
    skew1, skew0 = _powers(z[:n1], work[:n1]), _powers(z[n1:], work[n1:])
    g0, g1 = sums1[0] - sums0[0], sums1[1] - sums0[1]
    h00, h01, h11 = sums1[2] + sums0[2], sums1[3] + sums0[3], sums1[4] + sums0[4]
    t0, t1 = skew1[0] - skew0[0], skew1[1] - skew0[1]
    t2, t3 = skew1[2] - skew0[2], skew1[3] - skew0[3]
    det = h00 * h11 - h01 * h01
    if not det > CANCELLED * h00 * h11:  # NaN, too
        return np.nan, np.nan, np.nan, np.nan, np.nan
    da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
    # Change of the information along the Newton step, by the third derivatives
    d00, d01, d11 = t0 * da + t1 * db, t1 * da + t2 * db, t2 * da + t3 * db
    size, rise = max(abs(da), abs(db)), (g0 * da + g1 * db) / 2
    g0, g1 = (d00 * da + d01 * db) / -2, (d01 * da + d11 * db) / -2  # left by the Newton step
    da += (h11 * g0 - h01 * g1) / det
    db += (h00 * g1 - h01 * g0) / det
    h00, h01, h11 = h00 + d00, h01 + d01, h11 + d11
    return da, db, size, rise, h00 / (h00 * h11 - h01 * h01)


@part
def _climb(
    z: Row, n1: int, a: float, b: float, last: float, last_rise: float, odds: Row, work: Row
) -> tuple:
    """Steps from (a, b) until one is below the limits, which is taken; NaN where none gets there.

    Returns a, b, the rise of the log-likelihood by the last step, and the variance of b.
    """
    for _ in range(ITERATIONS):
        da, db, size, rise, variance = _step(z, n1, a, b, odds, work)
        small = size < last * (1 + abs(b)) and rise < last_rise
        a += da
        b += db
        if small:
            return a, b, rise, variance
        if not abs(b) < LARGEST:  # NaN, too
            break
    return np.nan, np.nan, np.nan, np.nan


@vectors
def _product(odds: Row) -> float:
    """Product of 1 + odds."""
    product = 1.0
    for i in range(len(odds)):
        product *= 1 + odds[i]
    return product


@part
def loglik(odds: Row) -> float:
    """Sum of log p, p = 1 / (1 + odds): few logarithms, each of a product of many factors."""
    total = 0.0
    for start in range(0, len(odds), _PRODUCT):
        some = odds[start : start + _PRODUCT]
        product = _product(some)
        if product < 1e300:  # neither overflowed nor NaN
            total -= math.log(product)
        else:
            for against in some:
                total -= math.log1p(against)
    return total


@vectors
def extremes(z: Row) -> tuple:
    """Lowest and highest value."""
    low, high = z[0], z[0]
    for i in range(1, len(z)):
        low, high = min(low, z[i]), max(high, z[i])
    return low, high


@vectors
def _scaled_moments(x: Row, z: Row, factor: float) -> tuple:
    """Mean and population SD of ``factor * x``; z-scores in ``z``."""
    n = len(x)
    total = 0.0
    for i in range(n):
        total += np.float64(x[i]) * factor
    mean = total / n
    square = 0.0
    for i in range(n):
        z[i] = np.float64(x[i]) * factor - mean
        square += z[i] * z[i]
    sd = math.sqrt(square / n)
    scale = 1 / sd if sd > 0 else np.nan
    for i in range(n):
        z[i] *= scale
    return mean, sd


@part
def moments(x: Row, z: Row) -> tuple:
    """Mean and population SD of ``x``; z-scores in ``z``.

    Squares of very large and very small numbers leave the range of float64; such a unit is first
    multiplied by a power of two, which rounds nothing.
    """
    factor = 1.0
    while True:
        mean, sd = _scaled_moments(x, z, factor)
        if (sd > 1e-140 and sd < 1e140) or factor != 1.0:
            return mean / factor, sd / factor
        least, most = extremes(x)
        largest = max(-np.float64(least), np.float64(most))
        if largest > 1e-140 and largest < 1e140:  # constant
            return mean, sd
        factor = 2.0**900 if largest <= 1e-140 else 2.0**-600


@vectors
def sum_of(z: Row) -> float:
    """Sum of the values."""
    total = 0.0
    for i in range(len(z)):
        total += z[i]
    return total


@vectors
def above(z: Row, a: float, b: float) -> float:
    """Number of examples for which class 1 is predicted, counted in the width of ``z``."""
    count = 0.0
    for i in range(len(z)):
        count += 1.0 if a + b * z[i] > 0 else 0.0
    return count


@part
def discriminant(sum1: float, n1: int, n: int) -> tuple:
    """Intercept and slope of the linear discriminant of z-scores (Efron 1975)."""
    mean1, mean0 = sum1 / n1, -sum1 / (n - n1)
    # The floor: see newton.discriminant
    pooled = max(1 - (n1 * mean1 * mean1 + (n - n1) * mean0 * mean0) / n, 0.05)
    b = (mean1 - mean0) / pooled
    return math.log(n1 / (n - n1)) - (mean1 * mean1 - mean0 * mean0) / (2 * pooled), b


@entry
def fit(x: np.ndarray, n1: int, out: np.ndarray) -> None:
    """Fit every row of ``x`` [unit, example]; ``out`` [:class:`Column`, unit] is filled.

    ``a``, ``b`` and ``variance`` are those of the z-scores. ``hits`` and ``alarms`` count the
    examples of class 1 and 0 whose probability exceeds one half, the balanced ones those that
    exceed the share of class 1. A row that is not ``converged`` has no valid fit.
    """
    n = x.shape[1]
    share = math.log(n1 / (n - n1))
    z, odds, work = np.empty(n), np.empty(n), np.empty(n)
    for unit in range(len(x)):
        mean, sd = moments(x[unit], z)
        sum1 = sum_of(z[:n1])
        a, b = discriminant(sum1, n1, n)
        a, b, rise, variance = _climb(z, n1, a, b, LAST_STEP, LAST_RISE, odds, work)
        ones, zeros = z[:n1], z[n1:]
        out[Column.MEAN, unit] = mean
        out[Column.SD, unit] = sd
        out[Column.SUM1, unit] = sum1
        out[Column.A, unit] = a
        out[Column.B, unit] = b
        out[Column.VARIANCE, unit] = variance
        # ``odds`` are from before the last step; ``rise`` is what that step adds.
        out[Column.LOGLIK, unit] = loglik(odds) + rise
        out[Column.HITS, unit] = above(ones, a, b)
        out[Column.ALARMS, unit] = above(zeros, a, b)
        out[Column.BALANCED_HITS, unit] = above(ones, a - share, b)
        out[Column.BALANCED_ALARMS, unit] = above(zeros, a - share, b)
        out[Column.CONVERGED, unit] = 1.0 if abs(b) < LARGEST else 0.0


@vectors
def _places(bits: Row) -> float:
    """Sum of the places, counted from 1, at which the lowest bit is set."""
    total = 0.0
    for i in range(len(bits)):
        total += (i + 1.0) * (bits[i] & 1)
    return total


@vectors
def _equals(bits: Row) -> int:
    """Number of neighbours that differ in no more than the lowest bit."""
    count = 0
    for i in range(len(bits) - 1):
        count += (bits[i] | 1) == (bits[i + 1] | 1)
    return count


@entry
def places(bits: np.ndarray, out: np.ndarray, tied: np.ndarray) -> None:
    """For every sorted row: sum of the places of class 1 (lowest bit), and whether values tie."""
    for unit in range(len(bits)):
        out[unit] = _places(bits[unit])
        tied[unit] = _equals(bits[unit]) > 0


@entry
def count_wins(ones: np.ndarray, zeros: np.ndarray, out: np.ndarray) -> None:
    """Pairs in which the value of class 1 is the larger, ties counted half, for every row.

    The rows of ``ones`` (class 1) and ``zeros`` (class 0) are sorted.
    """
    n1, n0 = ones.shape[1], zeros.shape[1]
    for unit in range(len(ones)):
        less = not_more = total = 0
        for i in range(n1):
            value = ones[unit, i]
            while less < n0 and zeros[unit, less] < value:
                less += 1
            while not_more < n0 and zeros[unit, not_more] <= value:
                not_more += 1
            total += less + not_more  # a value below counts in both, a tie in one
        out[unit] = total / 2
