"""What a fit can come to: the status of a unit, and what every engine hands back.

Rows of ``x`` are examples, those of class 1 first; columns are units.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

#: A unit's status by name; the columns of a result hold the position in this tuple.
STATUSES = ("ok", "separated", "quasi_separated", "constant", "nonfinite", "nonconverged")
OK, SEPARATED, QUASI_SEPARATED, CONSTANT, NONFINITE, NONCONVERGED = range(len(STATUSES))


class Solved(NamedTuple):
    """Fits of many units on the scale of z = (x - mean) / sd; ``done`` where the fit arrived.

    Mean and SD are those of the examples, or where a value is far out others that it does not
    move.
    """

    mean: Tensor
    sd: Tensor
    sum1: Tensor  # of the z-scores, by the examples' own mean and SD, of class 1
    a: Tensor
    b: Tensor
    per_sd: Tensor  # b for the examples' own SD
    variance: Tensor  # of b
    loglik: Tensor
    accuracy: Tensor
    balanced_accuracy: Tensor
    done: Tensor


class Penalised(NamedTuple):
    """Maxima of the penalised likelihoods of many units, on the scale that was fitted.

    ``value`` is -inf where none was reached. The accuracies are those after the intercept was
    refitted by ordinary likelihood.
    """

    a: Tensor
    b: Tensor
    variance: Tensor  # of b
    value: Tensor
    accuracy: Tensor
    balanced_accuracy: Tensor


def classify(x: Float[Tensor, "example unit"], n1: int) -> Int8[Tensor, " unit"]:
    """Status of every unit that can be told before the fit, in closed form (Albert & Anderson)."""
    low1, high1, low0, high0 = class_ranges(x, n1)
    status = torch.zeros(x.shape[1], dtype=torch.int8, device=x.device)
    # From the weakest condition to the strongest: separated and constant units meet the first, too.
    status[(high0 <= low1) | (high1 <= low0)] = QUASI_SEPARATED
    status[(high0 < low1) | (high1 < low0)] = SEPARATED
    status[(high0 == low1) & (high1 == low0) & (low0 == high0)] = CONSTANT
    finite = low1.isfinite() & high1.isfinite() & low0.isfinite() & high0.isfinite()
    status[~finite] = NONFINITE
    return status


def class_ranges(x: Tensor, n1: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lowest and highest value of class 1, then of class 0, for every unit."""
    ones, zeros = x[:n1], x[n1:]
    # amin and amax: aminmax is an order of magnitude slower along the first axis on a CPU
    return ones.amin(dim=0), ones.amax(dim=0), zeros.amin(dim=0), zeros.amax(dim=0)
