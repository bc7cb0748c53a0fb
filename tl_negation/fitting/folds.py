"""Predictions for examples that a fit has not seen: every fold an exact refit of every unit.

Tensors in, tensors out, as in ``_newton``; direction and threshold come from the training part.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from . import compiled, newton
from .blocks import Scratch

_SIDES = ("left", "right")


def predictions_right(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    scratch: Scratch | None = None,
) -> Bool[Tensor, "example unit"]:
    """Whether each example is predicted right by the fit to all groups but its own.

    Parameters
    ----------
    x
        Activations.
    labels, groups
        Class (0 or 1) and group of each example.
    scratch
        Memory to work in.

    Returns
    -------
    Bool[Tensor, "example unit"]
        A unit without an estimate in a fold (constant in training) predicts class 0 there.
    """
    scratch = scratch or Scratch()
    if x.device.type != "cpu":
        return _right_tensors(x, labels, groups, scratch)
    right, lost = _right_rows(x, labels, groups, scratch)
    if lost.any():
        index = lost.nonzero().squeeze(1)
        few = x.index_select(1, index)
        right[:, index] = _right_tensors(few, labels, groups, Scratch())
    return right


def _right_rows(
    x: Tensor, labels: np.ndarray, groups: np.ndarray, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """On a CPU: compiled code, a unit at a time; and which units it lost."""
    order = np.lexsort((groups, -labels))  # class 1 first, groups together within a class
    n1 = int(labels.sum())
    rows = scratch.like("rows", x.T)
    torch.index_select(x.T, 1, torch.from_numpy(order), out=rows)
    out = np.empty(rows.shape, dtype=np.bool_)
    lost = np.empty(len(rows), dtype=np.bool_)
    ones, zeros = groups[order[:n1]], groups[order[n1:]]
    edges = np.array(
        [
            [np.searchsorted(part, group, side) for part in (ones, zeros) for side in _SIDES]
            for group in np.unique(groups)
        ]
    )
    compiled.predicted_right(rows.numpy(), n1, np.add(edges, [0, 0, n1, n1]), out, lost)
    right = torch.empty(x.shape, dtype=torch.bool)
    right[torch.from_numpy(order)] = torch.from_numpy(out).T
    return right, torch.from_numpy(lost)


def _right_tensors(x: Tensor, labels: np.ndarray, groups: np.ndarray, scratch: Scratch) -> Tensor:
    """On other devices: tensors of all units, fold by fold."""
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
    status = newton.classify(xs, n1)
    narrow = scratch.like("narrow", xs, torch.float32).copy_(xs)
    a, b = newton.coarse(narrow, n1, a.float(), b.float(), scratch)
    a, b = a.double(), b.double()
    step = newton.newton_step(xs, xs[:n1].sum(dim=0), a, b, n1, scratch)
    lost = (status == newton.OK) & ~newton.is_small(step, b, 10 * newton.COARSE_STEP)
    a, b = a + step.da, b + step.db
    if lost.any():
        a[lost], b[lost], done = newton.robust(xs[:, lost], n1)
        b[lost.nonzero().squeeze(1)[~done]] = torch.nan
    a = a - math.log(n1 / (xs.shape[0] - n1))
    gap = (status == newton.SEPARATED) | (status == newton.QUASI_SEPARATED)
    if gap.any():
        a[gap], b[gap] = _middle_of_gap(xs[:, gap], n1)
    invalid = (status == newton.CONSTANT) | (status == newton.NONFINITE)
    return a.masked_fill(invalid, torch.nan), b.masked_fill(invalid, torch.nan)


def _middle_of_gap(xs: Tensor, n1: int) -> tuple[Tensor, Tensor]:
    low1, high1, low0, high0 = newton.ranges(xs, n1)
    up = low1 >= high0
    middle = torch.where(up, low1 + high0, high1 + low0) / 2
    slope = torch.where(up, 1.0, -1.0).to(xs.dtype)
    return -slope * middle, slope
