"""One logistic model per unit, for every unit of every layer at once."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._shared import validated
from ..activations import Activations
from ..corpus import class_one_first
from ..fitting import (
    Scratch,
    auc,
    compute,
    log10_p_of_chi_square,
    log10_p_of_z,
    logistic,
)
from .families import check_test, significant
from .results import ProbeResult


@validated
def probe(
    acts: Activations,
    *,
    test: str = "lr",
    alpha: float = 0.05,
    family: str = "layer",
    correction: str = "bonferroni",
    chunk: int | None = None,
    progress: bool = True,
) -> ProbeResult:
    """Fit ``logit P(class 1) = intercept + beta * activation`` for every unit of every layer.

    The fit is the exact maximum-likelihood estimate (Newton, float64 at the end), with the Wald
    and likelihood-ratio tests, in-sample accuracies and AUC. It runs on the activations' device.

    Parameters
    ----------
    acts
        From :func:`tl_negation.collect`.
    test, alpha, family, correction
        Test, level, family and multiple-testing correction of the column ``significant``: by
        default the likelihood-ratio test (``"lr"``), which separated units have too, with
        Bonferroni over the attention units (or the MLP units) of a layer. ``"wald"`` is the
        reference's test. ``tl_negation.probing.EXAMPLE_TESTS``, ``.FAMILIES`` and ``.CORRECTIONS``
        explain the names. Whatever the test, ``p`` is Wald's p and ``lr_p`` the other.
    chunk
        Units fitted together; the default suits the device. No result depends on it.
    progress
        Show a progress bar over layers.

    Returns
    -------
    ProbeResult
        Columns ``[layer, unit]``. A unit without a valid estimate has NaN; ``status`` says why.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        A class is missing; ``alpha`` is outside (0, 1); the test, the family or the correction is
        unknown; ``chunk`` is below 1.

    Notes
    -----
    A significant unit is one from which the class is decodable in these examples. With a few
    words per class that may be no more than the identity of the word; and nothing here shows
    that the model uses it. Formulas: maximum likelihood by Newton's method; the reference fits
    the same model with statsmodels' ``Logit``. The likelihood ratio is the default because Wald's
    statistic collapses for strong units (Hauck & Donner 1977) and does not exist for separated
    ones, which tell the classes apart best.

    Examples
    --------
    >>> result = tln.probe(acts, progress=False)
    >>> result  # doctest: +ELLIPSIS
    ProbeResult of ...: 3 layers x (q 20, k 20, v 20, mlp_pre 80) units on 203 contexts
      over words: not tested (tl_negation.infer)
      by example (likelihood-ratio test, bonferroni per layer, alpha 0.05): ... of 420 tested ...
      units: 420 ok; base rate 53.2%
    """
    rule = {"test": test, "alpha": alpha, "family": family, "correction": correction}
    check_test(**rule)
    columns = _columns(acts.values, acts.labels, chunk, progress)
    columns["significant"] = significant(columns, acts.sites, len(acts.layers), **rule)
    provenance: dict[str, Any] = {"model": dict(acts.model), "test": rule}
    return ProbeResult(columns, acts.sites, acts.layers, acts.contexts, provenance, acts)


@validated
def unit_statistics(
    x: Float[Tensor, "example unit"],
    y: Int[Tensor, " example"] | Bool[Tensor, " example"],
    *,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Compute the columns of :func:`probe` for one matrix of activations, of units of any kind.

    Parameters
    ----------
    x
        One column per unit: float64, or float32, float16 or bfloat16, which are float32 in the
        fit. No scale is too large or too small for a float64 fit of values from 1e-300 to 1e300.
    y
        Class of each example, 0 or 1.
    chunk
        Units fitted together.

    Returns
    -------
    dict
        Column name -> tensor with an entry per unit, on the device of ``x``: every column of
        :func:`probe` except ``significant``, which needs a family.

    Raises
    ------
    TypeError
        Arguments of another type, named; ``x`` holds integers.
    ValueError
        ``x`` is not a matrix with as many rows as ``y`` has entries; ``y`` holds other values than
        0 and 1, or only one of them; ``chunk`` is below 1.

    Notes
    -----
    As with :func:`probe`: a class that is decodable from a unit need not be what the model uses.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 1.0], [2.0, 5.0], [3.0, 2.0], [4.0, 6.0], [5.0, 3.0]])
    >>> columns = tln.unit_statistics(x, torch.tensor([0, 0, 0, 1, 1]))
    >>> [tln.STATUSES[code] for code in columns["status"]]
    ['separated', 'ok']
    >>> columns["auc"].tolist()
    [1.0, 0.8333333333333334]
    """
    if not x.is_floating_point():
        raise TypeError(f"x must hold floating-point numbers; got {x.dtype}: x.float()")
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y):
        raise ValueError(
            "x must be [example, unit] and y [example]; got shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    columns = _columns(x[None], y, chunk, progress=False)
    return {name: column.squeeze(0) for name, column in columns.items()}


def _columns(
    values: Float[Tensor, "layer example unit"], y: Tensor, chunk: int | None, progress: bool
) -> dict[str, Tensor]:
    n1 = _count_class_one(y)
    order = class_one_first(y.to(values.device, torch.int8))

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        x = torch.index_select(x, 0, order, out=scratch.like("sorted", x))
        return {**logistic.fit(x, n1, scratch)._asdict(), "auc": auc(x, n1, scratch)}

    columns = compute(values, work, chunk=chunk, desc="probe", progress=progress)
    return {**columns, **_tests(columns)}


def _tests(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Wald, likelihood-ratio and score tests; the logarithms of p do not underflow."""
    z = columns["beta"] / columns["se"]
    p = torch.erfc(z.abs() / math.sqrt(2))
    tests = {"z": z, "p": p, "log10_p": log10_p_of_z(z)}
    for name in ("lr", "score"):
        statistic = columns[name].clamp_min(0)
        tests[f"{name}_p"] = torch.erfc(torch.sqrt(statistic / 2))
        tests[f"log10_{name}_p"] = log10_p_of_chi_square(statistic)
    return tests


def _count_class_one(y: Tensor) -> int:
    if not ((y == 0) | (y == 1)).all():
        raise ValueError(f"labels must be 0 or 1; got {sorted(set(y.tolist()))[:5]}")
    n1 = int(y.sum())
    if not 0 < n1 < len(y):
        raise ValueError(
            f"a probe needs examples of both classes; got {n1} of class 1 among {len(y)}"
        )
    return n1
