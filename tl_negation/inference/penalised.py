"""Firth's fit for the units whose likelihood has no maximum: the strongest ones."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor

from .._shared import validated
from ..fitting import (
    NONCONVERGED,
    OK,
    QUASI_SEPARATED,
    SEPARATED,
    Scratch,
    compute,
    firth,
    log10_p_of_chi_square,
)
from ..probing import ProbeResult, needs_activations

WHICH = ("invalid", "all")
WITHOUT_ESTIMATE = (SEPARATED, QUASI_SEPARATED, NONCONVERGED)
#: Code in ``firth_status`` of a unit that nobody asked to be fitted; missing in tables.
NOT_FITTED = -1


@validated
def penalise(result: ProbeResult, *, units: str = "invalid") -> ProbeResult:
    """Add Firth's penalised fit and its likelihood-ratio test.

    It has a finite estimate where the two classes do not overlap, and ordinary maximum likelihood
    does not.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    units
        ``"invalid"``: separated, quasi-separated and nonconverged units, which have no ordinary
        estimate (as PLINK 2 falls back). ``"all"``: every unit that is finite and not constant.

    Returns
    -------
    ProbeResult
        With ``firth_status``, an index into ``tl_negation.STATUSES`` (-1, missing in tables: not
        fitted), and ``firth_intercept, firth_beta, firth_se, firth_lr, firth_p, log10_firth_p,
        firth_beta_per_sd, firth_accuracy, firth_balanced_accuracy``; NaN where the status is not
        ok. ``provenance["firth"]["fitted"]`` counts those that are ok.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        An unknown ``units``; the result was read from disk.

    Notes
    -----
    Sources: Firth 1993; Heinze & Schemper 2002 for separation; accuracies after the intercept was
    refitted by ordinary likelihood (FLIC: Puhr et al. 2017). The penalised likelihood of a unit
    with values far out can have several maxima; the highest of those found from several starts is
    taken. The fit, like the ordinary one, treats examples of one word as independent.

    Examples
    --------
    >>> found = tln.penalise(result, units="all")
    >>> found.provenance["firth"]
    {'units': 'all', 'fitted': 420}
    >>> bool(found.firth_beta.isfinite().all())
    True
    """
    if units not in WHICH:
        raise ValueError(f"units must be 'invalid' or 'all'; got {units!r}")
    acts = needs_activations(result, "penalise")
    order = acts.contexts.class_one_first.to(acts.values.device)
    n1 = int(acts.labels.sum())

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        x = torch.index_select(x, 0, order, out=scratch.like("sorted", x))
        fit = firth.fit(x, n1, scratch)._asdict()
        fit["p"] = torch.erfc(torch.sqrt(fit["lr"].clamp_min(0) / 2))
        return {**fit, "log10_p": log10_p_of_chi_square(fit["lr"])}

    if units == "all":
        found = compute(acts.values, work)
    else:
        status = result.columns["status"]
        found = _of_some(acts.values, torch.isin(status, status.new_tensor(WITHOUT_ESTIMATE)), work)
    columns = {_name(name): column for name, column in found.items()}
    about = {"units": units, "fitted": int((columns["firth_status"] == OK).sum())}
    return result.with_columns({**result.columns, **columns}, firth=about)


def _of_some(
    values: Tensor,
    wanted: Bool[Tensor, "layer unit"],
    work: Callable[[Tensor, Scratch], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Compute columns of the units that are wanted, side by side; nothing for the others."""
    picked = [layer[:, mask] for layer, mask in zip(values, wanted, strict=True)]
    together = torch.cat(picked, dim=1)
    some = compute(together[None], work) if together.numel() else work(together, Scratch())
    found = {}
    for name, column in some.items():
        found[name] = column.new_full(wanted.shape, NOT_FITTED if name == "status" else torch.nan)
        found[name][wanted] = column.squeeze(0)
    return found


def _name(name: str) -> str:
    return "log10_firth_p" if name == "log10_p" else f"firth_{name}"
