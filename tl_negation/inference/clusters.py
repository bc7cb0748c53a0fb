"""Standard errors that allow for words as clusters."""

import torch
from torch import Tensor

from .._shared import validated
from ..fitting import log10_p_of_t, standardise, units_at_once
from ..probing import ProbeResult, needs_activations
from .words import TooFewWordsError


@validated
def cluster_robust(result: ProbeResult) -> ProbeResult:
    """Add standard errors that allow for correlation among the examples of a word type.

    Parameters
    ----------
    result
        With its activations (not one read from disk).

    Returns
    -------
    ProbeResult
        With ``cluster_se``, ``cluster_t``, ``cluster_p`` and ``log10_cluster_p`` (t with G - 1
        degrees of freedom, G word types), NaN where the fit is not valid.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) All examples are of one word type.
    ValueError
        The result was read from disk.

    Notes
    -----
    The sandwich estimator with the factor G / (G - 1) * (n - 1) / (n - 2), as statsmodels'
    ``cov_type="cluster"``. It needs many clusters of similar size; here there are few, of very
    unequal sizes, and it still rejects far more true null hypotheses than its level says: with
    the reference's words 19-21 % at 5 % where 10-95 % of a unit's variance lies within words,
    12-13 % where all or none does (``tests/whole/test_calibration.py`` measures it). Use
    :func:`word_test` for a claim.

    Examples
    --------
    >>> found = tln.cluster_robust(result)
    >>> found.provenance["cluster_robust"]
    {'clusters': 13, 'degrees_of_freedom': 12}
    >>> found.cluster_se.shape
    torch.Size([3, 140])
    """
    from scipy.stats import t as student

    acts = needs_activations(result, "cluster_robust")
    order = acts.contexts.class_one_first
    in_order = acts.contexts.take(order)
    words = torch.from_numpy(in_order.word_codes)
    first, *others = in_order.word_types
    if not others:
        raise TooFewWordsError(
            f"errors clustered by word need at least two word types; all are {first!r}"
        )
    member = torch.nn.functional.one_hot(words).double().to(acts.values.device)
    size = units_at_once(acts.values.device, len(acts.contexts))
    n1 = int(acts.labels.sum())
    rows = []
    for layer, values in enumerate(acts.values):
        x = values[order.to(values.device)]
        a, b = result.columns["intercept"][layer], result.columns["beta"][layer]
        parts = [slice(i, i + size) for i in range(0, x.shape[1], size)]
        rows.append(torch.cat([_sandwich(x[:, s], a[s], b[s], n1, member) for s in parts]))
    se = torch.stack(rows)
    t = result.columns["beta"] / se
    p = torch.from_numpy(2 * student.sf(t.abs().cpu().numpy(), member.shape[1] - 1))
    log10_p = log10_p_of_t(t, member.shape[1] - 1)
    columns = {"cluster_se": se, "cluster_t": t, "cluster_p": p.to(se.device)}
    columns["log10_cluster_p"] = log10_p
    about = {"clusters": member.shape[1], "degrees_of_freedom": member.shape[1] - 1}
    return result.with_columns({**result.columns, **columns}, cluster_robust=about)


def _sandwich(x: Tensor, a: Tensor, b: Tensor, n1: int, member: Tensor) -> Tensor:
    """Standard error of the slope, computed on z-scores (an affine map of the design)."""
    n, clusters = member.shape
    mean, sd, xs = standardise(x)
    p = torch.addcmul(a + b * mean, xs, b * sd).sigmoid()
    w = p * (1 - p)
    h00, h01, h11 = w.sum(dim=0), (w * xs).sum(dim=0), (w * xs * xs).sum(dim=0)
    det = h00 * h11 - h01.square()
    residual = -p
    residual[:n1] += 1
    u0, u1 = member.T @ residual, member.T @ (residual * xs)  # [word, unit]
    influence = (h00 * u1 - h01 * u0) / det  # row of the inverse information for the slope
    factor = clusters / (clusters - 1) * (n - 1) / (n - 2)
    return torch.sqrt(factor * influence.square().sum(dim=0)) / sd
