"""Predictions of folds left out, for CPUs, compiled by Numba: one unit after the other.

Arrays in, arrays out, as in :mod:`.compiled`. What a step of the iteration needs is sums over the
examples, and those of all folds but one are the sums over everything less that fold's. So all
folds of a unit begin with a step that costs one pass over its values; most end there, too.
"""

import math

import numpy as np

from .compiled import (
    ITERATIONS,
    LARGEST,
    Row,
    above,
    discriminant,
    entry,
    extremes,
    moments,
    odds_against,
    part,
    sum_of,
    vectors,
)

#: A step (of third order, on z-scores) below this is the last. It leaves an error of its cube.
LAST_STEP = 1e-2
#: Where the fit to all examples ends, from which those without one fold begin.
NEAR_STEP = 5e-2
#: A step below this leaves an error of at most :data:`ERROR` times its cube.
CUBIC_STEP = 0.2
ERROR = 4.0
#: Columns of a table of folds.
N1, SUM1, LOW1, HIGH1, N0, SUM0, LOW0, HIGH0 = range(8)


@vectors
def _within(z: Row, a: float, b: float, error: float) -> float:
    """Number of examples whose prediction another ``error`` in ``a`` and ``b`` might change."""
    count = 0.0
    for i in range(len(z)):
        count += 1.0 if abs(a + b * z[i]) <= error * (1 + abs(z[i])) else 0.0
    return count


@vectors
def _weights(z: Row, odds: Row, skew: Row) -> tuple:
    """Residuals and weights, summed with powers of z; ``skew`` = d weight / d eta."""
    g0 = g1 = h0 = h1 = h2 = 0.0
    for i in range(len(z)):
        p = 1 / (1 + odds[i])
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
def _skews(z: Row, skew: Row) -> tuple:
    """Sums of ``skew`` times 1, z, z^2, z^3: with the sums above they overflow the registers."""
    t0 = t1 = t2 = t3 = 0.0
    for i in range(len(z)):
        t0 += skew[i]
        t1 += skew[i] * z[i]
        t2 += skew[i] * z[i] * z[i]
        t3 += skew[i] * z[i] * z[i] * z[i]
    return t0, t1, t2, t3


@part
def _add_sums(z: Row, a: float, b: float, sums: Row, odds: Row, work: Row) -> None:
    """Add to ``sums`` what the examples contribute to a step, each counted as of class 1."""
    n = len(z)
    odds_against(z, n, a, b, odds[:n], work[:n])
    g0, g1, h0, h1, h2 = _weights(z, odds[:n], work[:n])
    t0, t1, t2, t3 = _skews(z, work[:n])
    sums[0] += g0
    sums[1] += g1
    sums[2] += h0
    sums[3] += h1
    sums[4] += h2
    sums[5] += t0
    sums[6] += t1
    sums[7] += t2
    sums[8] += t3


@part
def _step_of(sums: Row, less: Row, n0: float, sum0: float) -> tuple:
    """Step of third order from ``sums`` without those ``less``, and the size of its first part.

    ``n0`` and ``sum0``: number and sum of the examples of class 0, which the sums count as class 1.
    """
    g0, g1 = sums[0] - less[0] - n0, sums[1] - less[1] - sum0
    h00, h01, h11 = sums[2] - less[2], sums[3] - less[3], sums[4] - less[4]
    t0, t1, t2, t3 = sums[5] - less[5], sums[6] - less[6], sums[7] - less[7], sums[8] - less[8]
    det = h00 * h11 - h01 * h01
    if not det > 0:  # NaN, too
        return np.nan, np.nan, np.nan
    da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
    d00, d01, d11 = t0 * da + t1 * db, t1 * da + t2 * db, t2 * da + t3 * db
    size = max(abs(da), abs(db))
    g0, g1 = (d00 * da + d01 * db) / -2, (d01 * da + d11 * db) / -2
    return da + (h11 * g0 - h01 * g1) / det, db + (h00 * g1 - h01 * g0) / det, size


@part
def _near_fit(z: Row, edges: Row, n1: int, sum1: float, sums: Row, odds: Row, work: Row) -> tuple:
    """A point near the fit to all examples, and there the ``sums`` of each fold; all in the last.

    The linear discriminant, moved on until the next step is below :data:`NEAR_STEP`. NaN where
    that does not arrive.
    """
    n, folds = len(z), len(edges) - 1
    a, b = discriminant(sum1, n1, n)
    sums[folds + 1] = 0
    for _ in range(ITERATIONS):
        sums[folds] = 0
        for fold in range(folds):
            sums[fold] = 0
            _add_sums(z[edges[fold] : edges[fold + 1]], a, b, sums[fold], odds, work)
            sums[folds] += sums[fold]
        da, db, size = _step_of(sums[folds], sums[folds + 1], n - n1, -sum1)
        if size < NEAR_STEP:
            return a, b
        a += da
        b += db
        if not abs(b) < LARGEST:  # NaN, too
            break
    return np.nan, np.nan


@part
def _far_fit(
    z: Row, start: int, stop: int, a: float, b: float, step: tuple, n0: float, sum0: float,
    share: float, sums: Row, odds: Row, work: Row,
) -> tuple:  # fmt: skip
    """Intercept and slope of the decision by the fit without the examples ``start:stop``.

    The iteration ends where what is left of it would change no prediction of theirs: after a small
    step, or where they all lie further from the boundary than the error that a step of third order
    leaves. NaN where it does not arrive.
    """
    da, db, size = step
    for _ in range(ITERATIONS):
        a += da
        b += db
        if not abs(b) < LARGEST:  # NaN, too
            break
        left = ERROR * size * size * size
        if size < LAST_STEP or (
            size < CUBIC_STEP and _within(z[start:stop], a - share, b, left) == 0
        ):
            return a - share, b
        sums[:] = 0
        _add_sums(z[:start], a, b, sums[0], odds, work)
        _add_sums(z[stop:], a, b, sums[0], odds, work)
        da, db, size = _step_of(sums[0], sums[1], n0, sum0)
    return np.nan, np.nan


@part
def _gap(low1: float, high1: float, low0: float, high0: float) -> tuple:
    """Whether the classes have a gap or are constant, and the decision where they have.

    Under (quasi-)complete separation the middle of the gap, where a ridge fit goes as its penalty
    vanishes (Rosset, Zhu & Hastie 2004); NaN where all values are equal.
    """
    if min(low0, low1) == max(high0, high1):
        return True, np.nan, np.nan
    if low1 >= high0:
        return True, -(low1 + high0) / 2, 1.0
    if high1 <= low0:
        return True, (high1 + low0) / 2, -1.0
    return False, np.nan, np.nan


@part
def _rest_ranges(folds: Row, left_out: int) -> tuple:
    """Ranges of class 1 and 0 over all folds but one; ``folds`` holds those of each."""
    low1 = low0 = np.inf
    high1 = high0 = -np.inf
    for fold in range(len(folds)):
        if fold != left_out:
            low1, high1 = min(low1, folds[fold, LOW1]), max(high1, folds[fold, HIGH1])
            low0, high0 = min(low0, folds[fold, LOW0]), max(high0, folds[fold, HIGH0])
    return low1, high1, low0, high0


@part
def _describe_folds(cells: Row, sizes: Row, ends: Row, labels: Row, out: Row) -> None:
    """Size, sum and range of each fold by class, from those of its cells."""
    for fold in range(len(out)):
        out[fold] = 0
        out[fold, LOW1] = out[fold, LOW0] = np.inf
        out[fold, HIGH1] = out[fold, HIGH0] = -np.inf
        for cell in range(ends[fold], ends[fold + 1]):
            of_class = 4 * (1 - labels[cell])  # columns of class 1 come first
            out[fold, of_class] += sizes[cell]
            out[fold, of_class + 1] += cells[cell, 0]
            out[fold, of_class + 2] = min(out[fold, of_class + 2], cells[cell, 1])
            out[fold, of_class + 3] = max(out[fold, of_class + 3], cells[cell, 2])


@entry
def count_right(
    x: np.ndarray,
    edges: np.ndarray,
    ends: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    out: np.ndarray,
    lost: np.ndarray,
) -> None:
    """Count the examples that the fit to all folds but their own predicts right.

    ``x`` [unit, example] holds the examples of a cell together, and the cells of a fold. Cell ``c``
    is ``edges[c]:edges[c + 1]``, fold ``f`` the cells ``ends[f]:ends[f + 1]``; ``labels``
    [task, cell] are the classes, ``parts`` [cell] says where in ``out`` [unit, task, part] a cell
    is counted. ``lost`` [unit, task] is True where an iteration did not arrive, as with NaN.
    The sums behind a step are sums over folds: those of the others are all without one's own.
    """
    n, folds = x.shape[1], len(ends) - 1
    fold_edges, sizes = edges[ends], edges[1:] - edges[:-1]
    z, odds, work = np.empty(n), np.empty(n), np.empty(n)
    cells, about = np.empty((len(sizes), 3)), np.empty((folds, 8))
    sums, rest = np.empty((folds + 2, 9)), np.empty((2, 9))
    for unit in range(len(x)):
        _, sd = moments(x[unit], z)
        out[unit], lost[unit] = 0, False
        for cell in range(len(sizes)):
            values = z[edges[cell] : edges[cell + 1]]
            cells[cell, 0] = sum_of(values)
            cells[cell, 1], cells[cell, 2] = extremes(values)
        for task in range(len(labels)):
            _describe_folds(cells, sizes, ends, labels[task], about)
            n1, n0 = about[:, N1].sum(), about[:, N0].sum()
            sum1, sum0 = about[:, SUM1].sum(), about[:, SUM0].sum()
            a0, b0 = _near_fit(z, fold_edges, int(n1), sum1, sums, odds, work)
            for fold in range(folds):
                known, a, b = _gap(*_rest_ranges(about, fold))
                if sd > 0 and not known:
                    m1, m0 = n1 - about[fold, N1], n0 - about[fold, N0]
                    less0 = sum0 - about[fold, SUM0]
                    a, b = _far_fit(
                        z, fold_edges[fold], fold_edges[fold + 1], a0, b0,
                        _step_of(sums[folds], sums[fold], m0, less0), m0, less0,
                        math.log(m1 / m0), rest, odds, work,
                    )  # fmt: skip
                    lost[unit, task] |= not abs(b) < LARGEST
                for cell in range(ends[fold], ends[fold + 1]):
                    ones = above(z[edges[cell] : edges[cell + 1]], a, b)  # none for NaN
                    right = ones if labels[task, cell] else sizes[cell] - ones
                    out[unit, task, parts[cell]] += right
