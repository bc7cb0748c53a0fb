"""Firth's fit for the units whose likelihood has no maximum: the strongest ones."""

import torch

from .._shared import validated
from ..fitting import NONCONVERGED, OK, QUASI_SEPARATED, SEPARATED, firth, units_at_once
from ..probing import ProbeResult, needs_activations

WHICH = ("invalid", "all")


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
        With ``firth_intercept, firth_beta, firth_se, firth_lr, firth_p, firth_beta_per_sd,
        firth_accuracy, firth_balanced_accuracy``; NaN for units that were not fitted.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        An unknown ``units``; the result was read from disk.

    Notes
    -----
    Sources: Firth 1993; Heinze & Schemper 2002 for separation; accuracies after the intercept was
    refitted by ordinary likelihood (FLIC: Puhr et al. 2017). The fit, like the ordinary one,
    treats examples of one word as independent.

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
    codes = [SEPARATED, QUASI_SEPARATED, NONCONVERGED, *([OK] if units == "all" else [])]
    status = result.columns["status"]
    wanted = torch.isin(status, torch.tensor(codes, dtype=status.dtype, device=status.device))
    order = acts.contexts.class_one_first.to(acts.values.device)
    n1 = int(acts.labels.sum())
    columns = {
        f"firth_{name}": torch.full(
            status.shape, torch.nan, dtype=torch.float64, device=status.device
        )
        for name in (*firth.FirthFit._fields, "p")
    }
    size = units_at_once(acts.values.device, len(acts.contexts))
    for layer, values in enumerate(acts.values):
        for index in wanted[layer].nonzero().squeeze(1).split(size):
            fit = firth.fit(values[order][:, index], n1)._asdict()
            fit["p"] = torch.erfc(torch.sqrt(fit["lr"].clamp_min(0) / 2))
            for name, column in fit.items():
                columns[f"firth_{name}"][layer, index] = column
    about = {"units": units, "fitted": int(wanted.sum())}
    return result.with_columns({**result.columns, **columns}, firth=about)
