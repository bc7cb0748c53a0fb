"""Units summarised per layer and site, and the trend over depth."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from ._newton import STATUSES
from .results import ProbeResult

PRESETS = (None, "notebook")
#: Columns of :mod:`tl_negation.inference` whose mean over tested units a profile shows.
MEANS = ("held_out_accuracy", "fold_accuracy", "block_accuracy", "control_accuracy", "selectivity")
#: Profile columns whose trend over depth is reported.
TRENDS = ("share_significant", "accuracy", "abs_beta_per_sd", "held_out_accuracy")


def profile(result: ProbeResult, *, preset: str | None = None, by: str = "site") -> pd.DataFrame:
    """Summarise a result: a row per layer and site.

    Parameters
    ----------
    result
        From :func:`tl_negation.probe` or :func:`tl_negation.load_result`.
    preset
        None: shares are over the units with a valid fit (``tested``). ``"notebook"``: shares are
        over all units, Wald, Bonferroni per layer at .05, as the reference counts them; the
        means of accuracy leave out failed fits, which the reference counted as 0.
    by
        ``"site"``, or ``"module"`` for one row per layer of all attention units (site ``q+k+v``)
        and one of all MLP units: the reference's curves.

    Returns
    -------
    DataFrame
        ``layer, site, units, tested``, the number of units of each other status, ``family,
        correction, alpha``, ``share_significant``, ``share_significant_positive`` (beta > 0: a
        larger activation speaks for class 1), mean in-sample accuracy over all tested, over
        significant positive and over significant negative units, mean |beta per SD|, and the
        ``base_rate`` that accuracy has to beat. A mean over no unit is NaN. Where the result has
        them: means of held-out accuracy and selectivity, ``share_significant_words`` (type-level
        max-T, over all units), the smallest ``words_p_maxt``, and how many units have Firth's fit
        (``penalised``); and the 5th, 50th and 95th percentiles of the lexical null
        (``null_accuracy_low`` ..., see :func:`tl_negation.lexical_null`).

    Raises
    ------
    ValueError
        An unknown preset or ``by``; the notebook preset on a result with another test.

    Notes
    -----
    The accuracy of units that were selected as significant on the same data is too high by
    selection alone (the winner's curse).
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be None or 'notebook'; got {preset!r}")
    if by not in ("site", "module"):
        raise ValueError(f"by must be 'site' or 'module'; got {by!r}")
    test = result.provenance["test"]
    if preset and test != {"alpha": 0.05, "family": "layer", "correction": "bonferroni"}:
        raise ValueError(
            "the notebook preset is Wald with Bonferroni per layer at .05; this result was "
            f"probed with {test}: probe again with the defaults"
        )
    rows = [
        {"layer": layer, "site": name, **_row(cut, i, preset), **test}
        for i, layer in enumerate(result.layers)
        for name, cut in _cuts(result, by)
    ]
    table = pd.DataFrame(rows).assign(base_rate=result.base_rate)
    if by == "site" and "lexical_null" in result.provenance:
        bands = pd.DataFrame(result.provenance["lexical_null"]["bands"])
        table = table.merge(bands, how="left", on=["layer", "site"])
    return table


def trend(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation with depth of the main columns of a profile, per site.

    Returns
    -------
    DataFrame
        ``site, column, rho, p, layers``; NaN with fewer than three layers or no variation.
    """
    rows = []
    for site, part in table.groupby("site", sort=False, observed=True):
        for column in (name for name in TRENDS if name in table):
            known = part[["layer", column]].dropna()
            rho, p = np.nan, np.nan
            if len(known) > 2 and known[column].nunique() > 1:
                rho, p = spearmanr(known["layer"], known[column])
            rows.append({"site": site, "column": column, "rho": rho, "p": p, "layers": len(known)})
    return pd.DataFrame(rows)


def _cuts(result: ProbeResult, by: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    key = {site.name: site.name if by == "site" else site.module for site in result.sites}
    names = list(key)
    unit_key = np.repeat([key[n] for n in names], [site.width for site in result.sites])
    columns = {name: column.cpu().numpy() for name, column in result.columns.items()}
    for one in dict.fromkeys(key.values()):
        label = "+".join(name for name in names if key[name] == one)
        yield label, {name: column[:, unit_key == one] for name, column in columns.items()}


def _row(cut: dict[str, np.ndarray], layer: int, preset: str | None) -> dict[str, Any]:
    unit = {name: column[layer] for name, column in cut.items()}
    counts = np.bincount(unit["status"], minlength=len(STATUSES))
    units, tested = int(counts.sum()), int(counts[0])
    passed, up = unit["significant"], unit["beta"] > 0
    base = units if preset else tested
    return {
        "units": units,
        "tested": tested,
        **dict(zip(STATUSES[1:], counts[1:].tolist(), strict=True)),
        "share_significant": _ratio(passed.sum(), base),
        "share_significant_positive": _ratio((passed & up).sum(), base),
        "accuracy": _mean(unit["accuracy"]),
        "accuracy_significant_positive": _mean(unit["accuracy"][passed & up]),
        "accuracy_significant_negative": _mean(unit["accuracy"][passed & ~up]),
        "abs_beta_per_sd": _mean(np.abs(unit["beta_per_sd"])),
        **_word_columns(unit),
    }


def _word_columns(unit: dict[str, np.ndarray]) -> dict[str, Any]:
    row = {name: _mean(unit[name]) for name in MEANS if name in unit}
    if "significant_words" in unit:
        passed = unit["significant_words"]
        row["share_significant_words"] = _ratio(passed.sum(), passed.size)
        row["min_words_p_maxt"] = _least(unit["words_p_maxt"])
    if "firth_beta" in unit:
        row["penalised"] = int(np.isfinite(unit["firth_beta"]).sum())
    return row


def _ratio(part: Any, whole: int) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _least(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else float("nan")
