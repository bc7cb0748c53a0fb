"""What holds over words, and what by example: every view of a result says both, in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .example_tests import example_test

if TYPE_CHECKING:  # results imports this module
    from .results import ProbeResult

#: Columns by which the groups of the table ``groups`` may be told apart.
_GROUPED_BY = ("layer", "site", "head", "module")
_DECODABLE = "the category is decodable over words from at least"


def over_words(result: ProbeResult) -> str:
    """Say in a line what holds over words, or that nothing was tested."""
    groups = _groups(result)
    parts = [] if groups is None else [_groups_passed(groups, level_over_words(result))]
    if "significant_words" in result.columns:
        passed, units = _passed(result, "significant_words")
        parts.append(f"{passed:,} of {units:,} units significant (max-T over {_scope(result)})")
    return f"over words: {'; '.join(parts) or 'not tested (tl_negation.infer)'}"


def over_words_sentences(result: ProbeResult) -> list[str]:
    """Say in sentences what holds over words, groups of units before single ones.

    Where nothing was tested over words, the only sentence says so, and why if that is known.
    """
    groups = _groups(result)
    found = [] if groups is None else [_group_sentence(result, groups)]
    if "significant_words" in result.columns:
        found += [_unit_sentence(result), *_power_sentences(result)]
    return found or [_not_tested(result)]


def over_words_figures(result: ProbeResult) -> list[tuple[str, str]]:
    """Return the key figures over words: a number, and what it is."""
    figures = []
    groups = _groups(result)
    if groups is not None:
        passed = int((groups["p_maxt"] <= level_over_words(result)).sum())
        kind = _kind(groups)
        figures += [
            (f"{passed:,} of {len(groups):,}", f"{kind} that pass over words (max-T)"),
            (f"{_at_least(result, groups):.1%}", "of all units, at least: decodable over words"),
        ]
    if "significant_words" in result.columns:
        passed, units = _passed(result, "significant_words")
        figures.append((f"{passed:,}", f"units significant over words (max-T) of {units:,}"))
    return figures or [("not tested", "whether anything holds over words")]


def by_example(result: ProbeResult) -> str:
    """Say in a line how many units are significant by example."""
    passed, tested = _passed_by_example(result)
    return f"by example ({_rule(result)}): {passed:,} of {tested:,} tested units significant"


def by_example_sentence(result: ProbeResult) -> str:
    """Say in a sentence how many units are significant by example, and how accurate they are."""
    passed, tested = _passed_by_example(result)
    right = result.columns["accuracy"][result.columns["significant"]].double().mean().item()
    accuracy = f"; their accuracy in sample is {right:.1%}" if passed else ""
    return (
        f"By example ({_rule(result)}), {passed:,} of {tested:,} tested units are significant"
        f"{_per_cent(passed, tested)}{accuracy}."
    )


def _rule(result: ProbeResult) -> str:
    """Name the test by example with its correction, family and level."""
    rule = result.provenance["test"]
    return (
        f"{example_test(rule).name} test, {rule['correction']} per {rule['family']}, alpha "
        f"{rule['alpha']}"
    )


def _scope(result: ProbeResult) -> str:
    """Name the units over which max-T was taken."""
    family = result.provenance["word_test"]["family"]
    return "all units" if family == "all" else f"each {family}"


def claim(result: ProbeResult) -> str:
    """Return what may be written of the category, without the full stop."""
    groups = _groups(result)
    if groups is not None and (least := _at_least(result, groups)) > 0:
        return f"{_DECODABLE} {least:.1%} of the units"
    if "significant_words" not in result.columns:
        return "whether anything holds over words has not been tested (tl_negation.infer)"
    passed, _ = _passed(result, "significant_words")
    if passed:
        return f"the category is decodable over words from {passed:,} unit{'s' * (passed != 1)}"
    return "no single unit can be said to know the category rather than some of its words"


def _not_tested(result: ProbeResult) -> str:
    reason = result.provenance.get("words_left_out")
    why = f": {str(reason).rstrip('.')}" if reason else " (tl_negation.infer tests it)"
    return f"Over words: not tested{why}. What follows may be no more than the word."


def _unit_sentence(result: ProbeResult) -> str:
    about = result.provenance["word_test"]
    passed, units = _passed(result, "significant_words")
    labelings = f"{about['labelings']:,} labelings"
    how = f"all {labelings}" if about["exact"] else f"{labelings} at random"
    smallest = float(np.nanmin(result.columns["words_p_maxt"].cpu().numpy(), initial=np.inf))
    return (
        f"Over words ({how}, max-T over {_scope(result)}, alpha {about['alpha']}), {passed:,} of "
        f"{units:,} units are significant{_per_cent(passed, units)}; the smallest p is "
        f"{smallest:.2g}."
    )


def _power_sentences(result: ProbeResult) -> list[str]:
    """Say what the test could have found with these words, and what casts doubt on it."""
    about = result.provenance["word_test"]
    if "icc" not in about:  # of an earlier version
        return []
    found = [
        f"a shift of {shift:.1f} SDs between words {where}"
        for name, where in (("shift_family", "over all of them"), ("shift_alone", "by itself"))
        if (shift := about[name]) is not None
    ]
    power = "With these words a unit would be found in four of five cases with "
    power += " or ".join(found)
    variances = ", ".join(f"{name} {of:.2f}" for name, of in about["between_variance"].items())
    spread = (
        f"of the variance of the median unit {about['icc']:.0%} lies between the words of a class "
        f"(ICC; mean over units: {variances})"
    )
    cautions = [f"{text[0].upper()}{text[1:]}." for text in about["cautions"]]
    return [f"{power}; {spread}." if found else f"{spread[0].upper()}{spread[1:]}.", *cautions]


def _groups(result: ProbeResult) -> pd.DataFrame | None:
    """Return the test of groups of units, if it was run."""
    table = result.tables.get("groups", pd.DataFrame())
    return table if {"units", "p_maxt", "at_least_all"} <= set(table) else None


def _groups_passed(table: pd.DataFrame, level: float) -> str:
    passed = int((table["p_maxt"] <= level).sum())
    count = f"{passed:,} of {len(table):,} {_kind(table)}"
    return f"{count} pass (max-T over the groups, alpha {level})"


def _kind(groups: pd.DataFrame) -> str:
    by = "-".join(name for name in _GROUPED_BY if name in groups)
    return f"{by} groups" if by else "groups"


def _group_sentence(result: ProbeResult, table: pd.DataFrame) -> str:
    sentence = f"Over words, {_groups_passed(table, level_over_words(result))}"
    least = _at_least(result, table)
    if not least > 0:
        return f"{sentence}; no share of units above 0 can be stated with confidence."
    if not table["at_least_all"].max() > 0:
        return f"{sentence}; {_DECODABLE} {least:.1%} of all units."
    best = table.iloc[int(table["at_least_all"].fillna(0).to_numpy().argmax())]
    where = ", ".join(f"{name} {best[name]}" for name in _GROUPED_BY if name in table)
    return (
        f"{sentence}; {_DECODABLE} {least:.1%} of all units, "
        f"and from at least {best['at_least_all']:.1%} of those of {where or 'the group'}."
    )


def _at_least(result: ProbeResult, groups: pd.DataFrame) -> float:
    """Bound the share of all units that is tuned.

    From the test of all units as one group; without it the bounds of the groups, which hold at
    once, add up.
    """
    about = result.provenance.get("word_test", {}).get("all_units")
    if about is not None:
        return float(about["at_least"])
    known = groups[groups["at_least_all"].notna()]
    return float((known["at_least_all"] * known["units"]).sum() / groups["units"].sum())


def level_over_words(result: ProbeResult) -> float:
    """Return the level of the tests over words."""
    return result.provenance.get("word_test", {}).get("alpha", 0.05)


def _passed(result: ProbeResult, column: str) -> tuple[int, int]:
    return int(result.columns[column].sum()), result.columns[column].numel()


def _passed_by_example(result: ProbeResult) -> tuple[int, int]:
    return int(result.columns["significant"].sum()), int(result.tested.sum())


def _per_cent(part: int, whole: int) -> str:
    return f" ({part / whole:.2%})" if whole else ""
