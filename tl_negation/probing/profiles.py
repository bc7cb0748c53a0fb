"""Units summarised per layer and site, and the trend over depth."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike

from .._shared import Count, Preset, Seed, table, validated
from ..fitting import STATUSES
from .claims import basis_of
from .example_tests import EARLIER, EXAMPLE_TESTS, example_test
from .families import retested
from .relabeled import relabeled_bands
from .results import ProbeResult

#: Presets whose shares are over all units, and the test by example that each is defined by.
PRESET_TESTS: dict[str, dict[str, Any]] = {
    "notebook": {"test": "wald", "alpha": 0.05, "family": "layer", "correction": "bonferroni"}
}
#: Columns of :mod:`tl_negation.inference` whose mean over tested units a profile shows.
MEANS = ("held_out_accuracy", "fold_accuracy", "block_accuracy", "task_accuracy")
MEANS += ("control_accuracy", "selectivity")
#: Columns that the summary of a head averages over its units.
HEAD_MEANS = ("held_out_accuracy", "selectivity", "accuracy")
#: Points of a distribution that a box and its whiskers show.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@validated
def profile(result: ProbeResult, *, preset: Preset = None, by: str = "site") -> pd.DataFrame:
    """Summarise a result: a row per layer and site.

    Parameters
    ----------
    result
        From :func:`tl_negation.probe` or :func:`tl_negation.load_result`.
    preset
        None: shares are over the units for which the result's test by example exists
        (``tested``). ``"notebook"``: Wald, Bonferroni per layer at .05, whatever the result's own
        test, and shares over all units, as the reference counts them; the means of accuracy leave
        out failed fits, which the reference counted as 0.
    by
        ``"site"``, or ``"module"`` for one row per layer of all attention units (site ``q+k+v``),
        one of all MLP units (the reference's curves) and one of the residual stream's.

    Returns
    -------
    DataFrame
        ``layer, site, units``. Then, where the result has them, what holds over words:
        ``share_significant_words`` (type-level max-T, over all units), the smallest
        ``words_p_maxt``, means of held-out accuracy and selectivity. Then what holds by example:
        ``tested`` (units for which the test exists), the number of units of each other status,
        ``share_significant``, ``share_significant_positive`` (a larger activation speaks for
        class 1: beta > 0, or an AUC above one half where the unit is separated), mean in-sample
        accuracy over all tested units, over significant positive and over significant negative
        ones, mean |beta per SD| of those that have one, how many units have Firth's fit
        (``penalised``), ``test, alpha, family, correction``, and the ``base_rate`` that accuracy
        has to beat. All means are over tested units; a mean over no units is NaN. Where the result
        has these tables, and only by site: what :func:`tl_negation.group_test` says of the layer's
        units (``share_words``, ``share_words_expected``, ``share_words_high``, ``share_words_p``,
        ``share_words_p_maxt``, ``at_least_words``, ``at_least_all_words``); the 5th, 50th and 95th
        percentiles of the lexical null (``null_accuracy_low`` ..., see
        :func:`tl_negation.lexical_null`); and ``held_out_accuracy_low`` and ``_high``, which
        enclose 90 % of the means over words resampled within each class (:func:`word_bands`);
        and what that accuracy comes to under other labelings of the words, measured in some units
        of every site (:func:`tl_negation.held_out`): its 5th, 50th and 95th percentile
        (``null_held_out_low`` ...) and ``held_out_p``, the share of labelings that reach it.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        An unknown preset or ``by``.

    Notes
    -----
    The accuracy of units that were selected as significant on the same data is too high by
    selection alone (the winner's curse). A share says from how many units the category can be
    decoded, not that the model uses them.

    Examples
    --------
    >>> table = tln.profile(result)
    >>> table[["layer", "site", "units", "tested"]].head(4)
       layer     site  units  tested
    0      0        q     20      20
    1      0        k     20      20
    2      0        v     20      20
    3      0  mlp_pre     80      80
    >>> tln.profile(result, by="module")["site"].unique().tolist()
    ['q+k+v', 'mlp_pre']
    """
    if by not in ("site", "module"):
        raise ValueError(f"by must be 'site' or 'module'; got {by!r}")
    result = under_preset(result, preset)
    rule = {"test": EARLIER, **result.provenance["test"]}
    rows = [
        {"layer": layer, "site": name, **_row(cut, i, rule, preset), **rule}
        for i, layer in enumerate(result.layers)
        for name, cut in _cuts(result, by)
    ]
    table = pd.DataFrame(rows).assign(base_rate=result.base_rate)
    for bands in _bands(result) if by == "site" else ():
        table = table.merge(bands, how="left", on=["layer", "site"])
    return table


#: Columns of the table ``groups`` in a profile, and their names there: of words or of pairs.
OF_GROUPS = {
    "share": "share_{over}",
    "share_expected": "share_{over}_expected",
    "share_high": "share_{over}_high",
    "p": "share_{over}_p",
    "p_maxt": "share_{over}_p_maxt",
    "at_least": "at_least_{over}",
    "at_least_all": "at_least_all_{over}",
}


def _bands(result: ProbeResult) -> Iterator[pd.DataFrame]:
    """Bands around columns of a profile, a row per layer and site."""
    if "groups" in result.tables:
        groups = result.tables["groups"]
        over = basis_of(result).name
        names = {column: name.format(over=over) for column, name in OF_GROUPS.items()}
        yield groups[["layer", "site", *names]].rename(columns=names)
    if "lexical_null" in result.tables:
        yield result.tables["lexical_null"]
    if "held_out_by_word" in result.tables:
        yield word_bands(result.tables["held_out_by_word"])
    if "held_out_null" in result.tables:
        yield relabeled_bands(result.tables["held_out_null"])


def default_test(preset: str | None) -> str:
    """Return the test by example of a preset; the likelihood ratio's where it names none."""
    return PRESET_TESTS.get(preset or "", {}).get("test", next(iter(EXAMPLE_TESTS)))


@validated
def check_preset(preset: Preset, test: Mapping[str, Any]) -> None:
    """Refuse an unknown preset, or one that the test does not fit.

    Raises
    ------
    ValueError
        The preset is unknown, or is another test by its definition.
    """
    if preset in PRESET_TESTS and {"test": EARLIER, **test} != PRESET_TESTS[preset]:
        raise ValueError(
            f"the {preset} preset is Wald with Bonferroni per layer at .05; the test here is "
            f"{dict(test)}: leave test, family, correction and alpha to the preset"
        )


def under_preset(result: ProbeResult, preset: str | None) -> ProbeResult:
    """Let a preset decide by its own test which units are significant; nothing is fitted again.

    A result that goes by this test already, or a preset without a test, leaves it as it is.
    """
    rule = PRESET_TESTS.get(preset or "")
    if rule is None or {"test": EARLIER, **result.provenance["test"]} == rule:
        return result
    return retested(result, rule)


@validated
def word_bands(
    by_word: Annotated[pd.DataFrame, table("word", "label", "layer", "site", "accuracy")],
    *,
    replicates: Count = 2000,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Resample the words of each class, for the uncertainty of accuracy on words left out.

    Parameters
    ----------
    by_word
        ``result.tables["held_out_by_word"]``, which :func:`tl_negation.held_out` makes: a row per
        word, layer and site.
    replicates, seed
        Of the bootstrap (Efron 1979): words are drawn with replacement, the same words for all
        layers and sites.

    Returns
    -------
    DataFrame
        ``layer, site, held_out_accuracy_low, held_out_accuracy_high``: 5th and 95th percentile.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        The table is empty or lacks a column; ``replicates`` is below 1.

    Notes
    -----
    The fits are not repeated, and the bootstrap over k words is too narrow by the factor
    ``sqrt((k - 1) / k)``: with four words a class, by 13 %. It answers "what if other words of
    this kind had been there", not "what if the text had been another".

    Examples
    --------
    >>> bands = tln.word_bands(result.tables["held_out_by_word"])
    >>> list(bands)
    ['layer', 'site', 'held_out_accuracy_low', 'held_out_accuracy_high']
    >>> len(bands) == len(tln.profile(result))
    True
    """
    rng = np.random.default_rng(seed)
    where = by_word[["layer", "site"]].drop_duplicates(ignore_index=True)
    word = by_word.groupby(["word", "label"], sort=False).ngroup().to_numpy()
    cell = by_word.groupby(["layer", "site"], sort=False).ngroup().to_numpy()
    accuracy = np.full((word.max() + 1, len(where)), np.nan)
    accuracy[word, cell] = by_word["accuracy"]
    labels = by_word.drop_duplicates(["word", "label"])["label"].to_numpy()
    means = np.zeros((replicates, len(where)))
    for label in np.unique(labels):
        words = accuracy[labels == label]
        drawn = rng.multinomial(len(words), np.full(len(words), 1 / len(words)), size=replicates)
        means += drawn @ words / len(words) / len(np.unique(labels))
    low, high = np.quantile(means, (0.05, 0.95), axis=0)
    return where.assign(held_out_accuracy_low=low, held_out_accuracy_high=high)


@validated
def head_table(result: ProbeResult) -> pd.DataFrame:
    """Summarise the units of every head.

    Parameters
    ----------
    result
        With an attention site (q, k, v ...).

    Returns
    -------
    DataFrame
        A row per layer, site and head of the attention sites: ``layer, site, head, units``;
        where the result has them, ``share_significant_words`` (of all units),
        ``held_out_accuracy`` and ``selectivity``; then, by example, ``tested,
        share_significant`` and ``accuracy``: means over the head's tested units.

    Raises
    ------
    ValueError
        The result has no attention site.

    Notes
    -----
    Queries and keys do not have a basis of their own: how many units of a head pass depends on
    the basis. What :func:`tl_negation.head_probe` says of a head does not.

    Examples
    --------
    >>> tln.head_table(result)[["layer", "site", "head", "units"]].tail(2)
        layer site  head  units
    43      2    v     3      4
    44      2    v     4      4
    """
    sites = [site.name for site in result.sites if site.module == "attn"]
    if not sites:
        raise ValueError(
            "heads need an attention site (q, k, v); the result has "
            f"{', '.join(site.name for site in result.sites)}"
        )
    frame = result.to_frame()
    tested = frame[example_test(result.provenance["test"]).p].notna()
    frame = frame.assign(tested=tested)[frame["site"].isin(sites)]
    columns = [name for name in HEAD_MEANS if name in frame]
    frame[columns] = frame[columns].where(frame["tested"])
    grouped = frame.groupby(["layer", "site", "head"], observed=True, sort=True)
    table = grouped[columns].mean()
    table.insert(0, "units", grouped.size())
    if "significant_words" in frame:
        table.insert(1, "share_significant_words", grouped["significant_words"].mean())
    by_example = table.columns.get_loc("accuracy")
    table.insert(by_example, "tested", grouped["tested"].sum())
    share = grouped["significant"].sum() / table["tested"]
    table.insert(by_example + 1, "share_significant", share)
    return table.reset_index().astype({"site": str, "head": int})


@validated
def effect_table(result: ProbeResult, *, parts: Count = 3) -> pd.DataFrame:
    """Summarise how the size of the effect is distributed over units, per part of the depth.

    Parameters
    ----------
    result
        Any result.
    parts
        Into how many parts of nearly equal size the layers are cut; at most one per layer.

    Returns
    -------
    DataFrame
        A row per part and site: ``part`` (``"layers 0 to 9"``), ``site``, ``units`` with a valid
        fit, ``left_out`` (separated units and others without an effect) and the 5th, 25th, 50th,
        75th and 95th percentile of ``|beta_per_sd|`` as ``q5`` ... ``q95``.

    Raises
    ------
    TypeError
        Arguments of another type, named.
    ValueError
        ``parts`` is below 1.

    Examples
    --------
    >>> table = tln.effect_table(result, parts=2)
    >>> table["part"].unique().tolist()
    ['layers 0 to 1', 'layer 2']
    >>> list(table)
    ['part', 'site', 'units', 'left_out', 'q5', 'q25', 'q50', 'q75', 'q95']
    """
    rows = []
    size = {name: cut["beta_per_sd"] for name, cut in _cuts(result, "site")}
    for layers in np.array_split(np.arange(len(result.layers)), min(parts, len(result.layers))):
        first, last = result.layers[layers[0]], result.layers[layers[-1]]
        part = f"layers {first} to {last}" if first != last else f"layer {first}"
        for site, effects in size.items():
            rows.append({"part": part, "site": site, **_spread(np.abs(effects[layers]))})
    return pd.DataFrame(rows)


def _spread(sizes: Float[np.ndarray, "layer unit"]) -> dict[str, Any]:
    known = sizes[np.isfinite(sizes)]
    points = np.quantile(known, QUANTILES) if known.size else [np.nan] * len(QUANTILES)
    names = [f"q{100 * q:.0f}" for q in QUANTILES]
    counts = {"units": known.size, "left_out": sizes.size - known.size}
    return counts | dict(zip(names, points, strict=True))


@validated
def calibration_table(p: ArrayLike, *, points: Count = 60) -> pd.DataFrame:
    """Compare the share of p values at or below each level with that of uniform p values.

    Parameters
    ----------
    p
        p values of tests whose null hypothesis is true (shuffled labels, units that know only
        words ...); NaN is left out.
    points
        Number of levels, evenly spaced in the logarithm from ``1 / n`` to 1.

    Returns
    -------
    DataFrame
        ``n`` (p values), ``level, share, low, high``: the central 95 % of the share under n
        independent uniform p values (binomial). Units of one model are correlated: their share
        varies more.

    Raises
    ------
    TypeError
        ``p`` cannot be read as numbers.
    ValueError
        There is no p value, or one is outside 0 to 1; ``points`` is below 1.

    Examples
    --------
    >>> p = np.random.default_rng(0).uniform(size=1000)
    >>> tln.calibration_table(p, points=4).round(3)
          n  level  share    low   high
    0  1000  0.001  ...
    """
    from scipy.stats import binom

    try:
        values = np.asarray(p, float).ravel()
    except (TypeError, ValueError) as error:
        raise TypeError(f"p must be numbers, as a list or an array on the CPU: {error}") from error
    values = np.sort(values[~np.isnan(values)])
    if not values.size or values[0] < 0 or values[-1] > 1:
        raise ValueError(
            f"p values between 0 and 1 are needed; got {values.size} of them"
            + (f" from {values[0]:g} to {values[-1]:g}" if values.size else "")
        )
    level = np.geomspace(1 / max(values.size, 2), 1, points)
    share = np.searchsorted(values, level, side="right") / values.size
    low, high = (binom.ppf(q, values.size, level) / values.size for q in (0.025, 0.975))
    return pd.DataFrame(
        {"n": values.size, "level": level, "share": share, "low": low, "high": high}
    )


def _cuts(result: ProbeResult, by: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    key = {site.name: site.name if by == "site" else site.module for site in result.sites}
    names = list(key)
    unit_key = np.repeat([key[n] for n in names], [site.width for site in result.sites])
    columns = {name: column.cpu().numpy() for name, column in result.columns.items()}
    for group in dict.fromkeys(key.values()):
        label = "+".join(name for name in names if key[name] == group)
        yield label, {name: column[:, unit_key == group] for name, column in columns.items()}


def _row(
    cut: dict[str, np.ndarray], layer: int, rule: Mapping[str, Any], preset: str | None
) -> dict[str, Any]:
    unit = {name: column[layer] for name, column in cut.items()}
    counts = np.bincount(unit["status"], minlength=len(STATUSES))
    tested = ~np.isnan(unit[example_test(rule).p])
    passed, up = unit["significant"], _speaks_for_class_1(unit)
    base = passed.size if preset in PRESET_TESTS else int(tested.sum())
    accuracy = unit["accuracy"]
    return {
        "units": passed.size,
        **_over_words(unit, tested),
        "tested": int(tested.sum()),
        **dict(zip(STATUSES[1:], counts[1:].tolist(), strict=True)),
        "share_significant": _ratio(passed.sum(), base),
        "share_significant_positive": _ratio((passed & up).sum(), base),
        "accuracy": _mean(accuracy[tested]),
        "accuracy_significant_positive": _mean(accuracy[passed & up]),
        "accuracy_significant_negative": _mean(accuracy[passed & ~up]),
        "abs_beta_per_sd": _mean(np.abs(unit["beta_per_sd"][tested])),
        **_penalised(unit),
    }


def _speaks_for_class_1(unit: dict[str, np.ndarray]) -> np.ndarray:
    """Of which units larger activations do; a separated unit has no slope that would say so."""
    slope = unit["beta"]
    return np.where(np.isnan(slope), unit["auc"] > 0.5, slope > 0)


def _over_words(unit: dict[str, np.ndarray], tested: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if "significant_words" in unit:
        passed = unit["significant_words"]
        row["share_significant_words"] = _ratio(passed.sum(), passed.size)
        row["min_words_p_maxt"] = _least(unit["words_p_maxt"])
    return row | {name: _mean(unit[name][tested]) for name in MEANS if name in unit}


def _penalised(unit: dict[str, np.ndarray]) -> dict[str, int]:
    fits = unit.get("firth_beta")
    return {} if fits is None else {"penalised": int(np.isfinite(fits).sum())}


def _ratio(part: Any, whole: int) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _least(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else float("nan")
