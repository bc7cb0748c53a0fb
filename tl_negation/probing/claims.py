"""What holds over words, and what by example: every view of a result says both, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .example_tests import example_test

if TYPE_CHECKING:  # results imports this module
    from .results import ProbeResult

#: Columns by which the groups of the table ``groups`` may be told apart.
_GROUPED_BY = ("layer", "site", "head", "module")
#: What a claim may rest on, the strongest first: a test over each leaves ``significant_NAME``.
_BASES = {"pairs": "pair_test", "words": "word_test"}


class _Basis(NamedTuple):
    """What was labelled anew, and what the provenance says of that test."""

    name: str
    about: Mapping[str, Any]

    @property
    def significant(self) -> str:
        """The column of the units that pass."""
        return f"significant_{self.name}"

    @property
    def decodable(self) -> str:
        """What a lower bound is of."""
        return f"the category is decodable over {self.name} from at least"


def basis_of(result: ProbeResult) -> _Basis:
    """What the claim of a result rests on: pairs where they were tested, otherwise words."""
    for name, test in _BASES.items():
        if test in result.provenance:
            return _Basis(name, result.provenance[test])
    return _Basis("words", {})


def over_words(result: ProbeResult) -> str:
    """Say in a line what holds over words, or that nothing was tested."""
    groups, basis = _groups(result), basis_of(result)
    parts = [] if groups is None else [_groups_passed(groups, level_over_words(result))]
    if basis.significant in result.columns:
        passed, units = _passed(result, basis.significant)
        parts.append(f"{passed:,} of {units:,} units significant (max-T over {_scope(basis)})")
    return f"over {basis.name}: {'; '.join(parts) or 'not tested (tl_negation.infer)'}"


def over_words_sentences(result: ProbeResult) -> list[str]:
    """Say in sentences what holds over words, groups of units before single ones.

    Where nothing was tested over words, the only sentence says so, and why if that is known.
    """
    groups = _groups(result)
    found = [] if groups is None else [_group_sentence(result, groups)]
    basis = basis_of(result)
    if basis.significant in result.columns:
        found += [_unit_sentence(result, basis), *_power_sentences(basis)]
    return found or [_not_tested(result)]


def over_words_figures(result: ProbeResult) -> list[tuple[str, str]]:
    """Return the key figures over words: a number, and what it is."""
    figures = []
    groups, basis = _groups(result), basis_of(result)
    if groups is not None:
        passed = int((groups["p_maxt"] <= level_over_words(result)).sum())
        kind = _kind(groups)
        figures += [
            (
                f"{_at_least(result, groups):.1%}",
                f"of all units, at least: decodable over {basis.name}",
            ),
            (f"{passed:,} of {len(groups):,}", f"{kind} that pass over {basis.name} (max-T)"),
        ]
    if basis.significant in result.columns:
        passed, units = _passed(result, basis.significant)
        what = f"units significant over {basis.name} (max-T) of {units:,}"
        figures.append((f"{passed:,}", what))
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


def _scope(basis: _Basis) -> str:
    """Name the units over which max-T was taken."""
    family = basis.about["family"]
    return "all units" if family == "all" else f"each {family}"


def claim(result: ProbeResult) -> str:
    """Return what may be written of the category, without the full stop."""
    groups, basis = _groups(result), basis_of(result)
    if groups is not None and (least := _at_least(result, groups)) > 0:
        return f"{basis.decodable} {least:.1%} of the units"
    if basis.significant not in result.columns:
        return "whether anything holds over words has not been tested (tl_negation.infer)"
    passed, _ = _passed(result, basis.significant)
    if passed:
        units = f"{passed:,} unit{'s' * (passed != 1)}"
        return f"the category is decodable over {basis.name} from {units}"
    return f"no single unit can be said to know the category rather than some of its {basis.name}"


def _not_tested(result: ProbeResult) -> str:
    reason = result.provenance.get("words_left_out")
    why = f": {str(reason).rstrip('.')}" if reason else " (tl_negation.infer tests it)"
    return f"Over words: not tested{why}. What follows may be no more than the word."


def _unit_sentence(result: ProbeResult, basis: _Basis) -> str:
    about = basis.about
    passed, units = _passed(result, basis.significant)
    labelings = f"{about['labelings']:,} labelings"
    how = f"all {labelings}" if about["exact"] else f"{labelings} at random"
    smallest = float(
        np.nanmin(result.columns[f"{basis.name}_p_maxt"].cpu().numpy(), initial=np.inf)
    )
    return (
        f"Over {basis.name} ({how}, max-T over {_scope(basis)}, alpha {about['alpha']}), "
        f"{passed:,} of "
        f"{units:,} units are significant{_per_cent(passed, units)}; the smallest p is "
        f"{smallest:.2g}."
    )


def _power_sentences(basis: _Basis) -> list[str]:
    """Say what the test could have found with these words, and what casts doubt on it."""
    about = basis.about
    if "shift_alone" not in about:  # of an earlier version
        return []
    of = {"words": "between words", "pairs": "of the differences"}[basis.name]
    found = [
        f"a shift of {shift:.1f} SDs {of} {where}"
        for name, where in (("shift_family", "over all of them"), ("shift_alone", "by itself"))
        if (shift := about[name]) is not None
    ]
    power = f"with these {basis.name} a unit would be found in four of five cases with "
    parts = [power + " or ".join(found)] if found else []
    if "icc" in about:
        variances = ", ".join(
            f"{name} {one:.2f}" for name, one in about["between_variance"].items()
        )
        parts.append(
            f"of the variance of the median unit {about['icc']:.0%} lies between the words of a "
            f"class (ICC; mean over units: {variances})"
        )
    said = ["; ".join(parts)] if parts else []
    return [f"{text[0].upper()}{text[1:]}." for text in (*said, *about["cautions"])]


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
    basis = basis_of(result)
    sentence = f"Over {basis.name}, {_groups_passed(table, level_over_words(result))}"
    least = _at_least(result, table)
    if not least > 0:
        return f"{sentence}; no share of units above 0 can be stated with confidence."
    if not table["at_least_all"].max() > 0:
        return f"{sentence}; {basis.decodable} {least:.1%} of all units."
    best = table.iloc[int(table["at_least_all"].fillna(0).to_numpy().argmax())]
    where = ", ".join(f"{name} {best[name]}" for name in _GROUPED_BY if name in table)
    return (
        f"{sentence}; {basis.decodable} {least:.1%} of all units, "
        f"and from at least {best['at_least_all']:.1%} of those of {where or 'the group'}."
    )


def _at_least(result: ProbeResult, groups: pd.DataFrame) -> float:
    """Bound the share of all units that is tuned.

    From the test of all units as one group; without it the bounds of the groups, which hold at
    once, add up.
    """
    about = basis_of(result).about.get("all_units")
    if about is not None:
        return float(about["at_least"])
    known = groups[groups["at_least_all"].notna()]
    return float((known["at_least_all"] * known["units"]).sum() / groups["units"].sum())


def level_over_words(result: ProbeResult) -> float:
    """Return the level of the tests over words, or over pairs."""
    return basis_of(result).about.get("alpha", 0.05)


def _passed(result: ProbeResult, column: str) -> tuple[int, int]:
    return int(result.columns[column].sum()), result.columns[column].numel()


def _passed_by_example(result: ProbeResult) -> tuple[int, int]:
    return int(result.columns["significant"].sum()), int(result.tested.sum())


def _per_cent(part: int, whole: int) -> str:
    return f" ({part / whole:.2%})" if whole else ""
