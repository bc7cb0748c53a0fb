"""Kernels for CPUs, compiled by Numba: one statistic under every labeling, a unit at a time.

Arrays in, arrays out. A unit is its weights ``w`` for each word and its weighted deviations ``d``
(weight times the distance from the weighted mean, so that they sum to 0). Under a labeling the
statistic is the share of the weighted sum of squares that lies between the two classes,

    v = A^2 B / (B1 (B - B1) S),   A = sum of d, B1 = sum of w over the words of class 1,

with ``B`` the sum of all weights and ``S`` the sum of ``d^2 / w``. It rises with the square of the
t statistic; for a one-sided test it has the sign of ``A``.

A labeling is given as one number of up to 8 bits for every 8 words. The sums over all subsets of 8
words fit into the first cache, so a labeling costs two look-ups per 8 words.
"""

import numpy as np

from .compiled import entry, part

#: How the statistic is signed.
TWO_SIDED, GREATER, LESS = 0, 1, -1
#: Stretches of equal length into which the values of the statistic, -1 to 1, are sorted.
BINS = 1 << 17
#: Values above this share of the last unit's threshold are looked at first.
_NEAR = 0.85
_BITS = 8


def codes_of(labelings: np.ndarray) -> np.ndarray:
    """Pack labelings of 0 and 1, ``[labeling, word]``, into ``[word // 8, labeling]``."""
    n_words = labelings.shape[1]
    parts = range(0, n_words, _BITS)
    powers = 1 << np.arange(_BITS)
    packed = [labelings[:, p : p + _BITS] @ powers[: n_words - p][:_BITS] for p in parts]
    return np.stack(packed).astype(np.uint8)


@part
def _sums(x, table):
    """Fill a table with the sums over all subsets of at most 8 numbers, by the subset's bits."""
    table[0] = 0.0
    size = 1
    for i in range(len(x)):
        for subset in range(size):
            table[size + subset] = table[subset] + x[i]
        size *= 2


@part
def _statistics(d, w, codes, side, tables, values):
    """Compute the statistic of one unit under every labeling."""
    pieces, n = codes.shape
    total = 0.0
    squares = 0.0
    for i in range(len(w)):
        total += w[i]
        squares += d[i] * d[i] / w[i]
    for piece in range(pieces):
        begin = piece * _BITS
        _sums(d[begin : begin + _BITS], tables[0, piece])
        _sums(w[begin : begin + _BITS], tables[1, piece])
    scale = total / squares
    for i in range(n):
        a = tables[0, 0, codes[0, i]]
        b = tables[1, 0, codes[0, i]]
        for piece in range(1, pieces):
            a += tables[0, piece, codes[piece, i]]
            b += tables[1, piece, codes[piece, i]]
        value = a * a * scale / (b * (total - b))
        if side != TWO_SIDED:
            value = value if a * side > 0 else -value
        values[i] = value


@part
def _bin(value):
    """Bin of a value between -1 and 1, up to rounding."""
    return min(max(int((value + 1.0) * (BINS // 2)), 0), BINS - 1)


@part
def _above(values, bound, work):
    """Copy the values above a bound to the front of ``work``; return how many there are."""
    n = 0
    for i in range(len(values)):
        work[n] = values[i]
        n += values[i] > bound
    return n


@part
def _kth_largest(values, work, k, guess):
    """Select the value that k others exceed or equal (k = 0: the largest), by Hoare's method.

    Only among the values above the guess, if these are enough.
    """
    n = _above(values, guess, work)
    if n <= k:
        n = _above(values, -np.inf, work)
    low, high = 0, n - 1
    while low < high:
        pivot = work[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while work[i] > pivot:
                i += 1
            while work[j] < pivot:
                j -= 1
            if i <= j:
                work[i], work[j] = work[j], work[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return work[k]


@entry
def reached(d, w, codes, side, k, slack, groups, families, observed, single, counts, bins):
    """Count by each unit, and by each group of units, what reaches what.

    Parameters
    ----------
    d, w
        ``[unit, word]``.
    codes
        Of :func:`codes_of`; the first labeling is the observed one.
    side
        TWO_SIDED, GREATER or LESS.
    k
        Labelings that may reach a value for it to be significant: ``floor(alpha * labelings)``.
    slack
        Values that differ by less, relatively, are equal.
    groups, families
        Group of each unit: a row of ``counts``; its family: a row of ``bins``.
    observed, single
        Filled: the statistic under the observed labeling, and the number of labelings under which
        it is reached, the observed one included.
    counts
        ``[group, labeling]``, added to: units of the group that are significant among their own
        labelings, if this labeling is taken for the observed one.
    bins
        ``[family, BINS]``, added to: values of the statistic, of all units and labelings, by size.
    """
    pieces, n = codes.shape
    tables = np.empty((2, pieces, 1 << _BITS))
    values = np.empty(n)
    work = np.empty(n + 1)
    threshold = 0.0
    for unit in range(len(d)):
        _statistics(d[unit], w[unit], codes, side, tables, values)
        observed[unit] = values[0]
        reach = values[0] - slack * abs(values[0])
        single[unit] = 0
        for i in range(n):
            single[unit] += values[i] >= reach
        # Units have similar thresholds: a little below that of the last one few values are above.
        threshold = _kth_largest(values, work, k, _NEAR * threshold)
        threshold += slack * abs(threshold)
        row = counts[groups[unit]]
        bin_of = bins[families[unit]]
        for i in range(n):
            row[i] += values[i] > threshold
            bin_of[_bin(values[i])] += 1


@entry
def exceeding(d, w, codes, side, column, counts):
    """Count, for every labeling, the units whose statistic falls into each stretch of bins.

    Parameters
    ----------
    column
        ``[BINS]``, the column of ``counts`` for a value in this bin; -1: not counted.
    counts
        ``[labeling, column]``, added to.
    """
    pieces, n = codes.shape
    tables = np.empty((2, pieces, 1 << _BITS))
    values = np.empty(n)
    for unit in range(len(d)):
        _statistics(d[unit], w[unit], codes, side, tables, values)
        for i in range(n):
            where = column[_bin(values[i])]
            if where >= 0:
                counts[i, where] += 1


@entry
def highest(d, w, codes, side, largest):
    """Raise ``largest`` ``[labeling]`` to the largest statistic of any of these units."""
    pieces, n = codes.shape
    tables = np.empty((2, pieces, 1 << _BITS))
    values = np.empty(n)
    for unit in range(len(d)):
        _statistics(d[unit], w[unit], codes, side, tables, values)
        for i in range(n):
            largest[i] = max(largest[i], values[i])


@entry
def stepped_down(d, w, codes, side, slack, largest, counts):
    """Count the labelings under which a unit, or one of those before it, reaches its statistic.

    The units come in rising order of it; ``largest`` ``[labeling]`` is that of the units before the
    first, and is raised.
    """
    pieces, n = codes.shape
    tables = np.empty((2, pieces, 1 << _BITS))
    values = np.empty(n)
    for unit in range(len(d)):
        _statistics(d[unit], w[unit], codes, side, tables, values)
        reach = values[0] - slack * abs(values[0])
        counts[unit] = 0
        for i in range(n):
            largest[i] = max(largest[i], values[i])
            counts[unit] += largest[i] >= reach
