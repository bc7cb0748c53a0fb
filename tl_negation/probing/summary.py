"""A result in sentences: what holds over words, what it rests on, and the count by example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from .claims import by_example_sentence, claim, over_words_sentences
from .relabeled import place_of_mean

if TYPE_CHECKING:  # results imports this module
    from .results import ProbeResult


def summary_lines(result: ProbeResult) -> list[str]:
    """Write the sentences of ``ProbeResult.summary()``: over words first, then by example."""
    lines = [*over_words_sentences(result), _basis(result)]
    if "significant_words" in result.columns:
        lines.append(_permuted(result))
    if "held_out_accuracy" in result.columns:
        lines.append(_held_out(result))
    if "selectivity" in result.columns:
        lines.append(_selectivity(result))
    if "heads" in result.tables:
        lines.append(_heads(result.tables["heads"]))
    lines.append(by_example_sentence(result))
    if "lexical_baseline" in result.provenance:
        lines.append(_baseline(result.provenance["lexical_baseline"]))
    lines.append(_take_away(result))
    return lines


def _basis(result: ProbeResult) -> str:
    counts = result.contexts.counts()
    groups = "; ".join(
        f"{group['examples']} {name} contexts ({len(group['word_types'])} words; "
        f'{100 * group["largest_word_share"]:.0f} % are "{group["largest_word"]}")'
        for name, group in counts["groups"].items()
    )
    return f"Based on {groups}; guessing the larger class is right in {counts['base_rate']:.1%}."


def _baseline(baseline: Mapping[str, int]) -> str:
    return (
        f"Lexical baseline: in layer {baseline['layer']} the {baseline['examples']} examples have "
        f"{baseline['distinct_rows']} distinct activation rows; where there are as few rows as "
        "token types, what is decodable is the word."
    )


def _permuted(result: ProbeResult) -> str:
    types: Mapping[str, Mapping[str, list[str]]] = result.provenance["word_test"]["word_types"]
    words = "; ".join(
        f"{group}: "
        + ", ".join(f"{word} ({' '.join(map(repr, tokens))})" for word, tokens in tokens_of.items())
        for group, tokens_of in types.items()
    )
    return f"The words whose labels were permuted, with the tokens merged into each: {words}."


def _held_out(result: ProbeResult) -> str:
    seen = _mean(result, "balanced_accuracy")
    unseen = _mean(result, "held_out_accuracy")
    return (
        f"On words left out of the fit, the mean unit is right in {unseen:.1%} (balanced"
        f"{_null(result)}) against {seen:.1%} on the words it was fitted to."
    )


def _null(result: ProbeResult) -> str:
    """What the score comes to where the words' labels are dealt anew."""
    place = place_of_mean(result, "held_out_null")
    if place is None:
        return ""
    return (
        f"; after dealing the words' labels anew, {place.labelings} times: {place.low:.1%} to "
        f"{place.high:.1%}, p = {place.p:.2g}"
    )


def _selectivity(result: ProbeResult) -> str:
    # A run of an earlier version weighed examples, and has no accuracy over words.
    weighed = "task_accuracy" in result.columns
    real = _mean(result, "task_accuracy" if weighed else "fold_accuracy")
    control, difference = (_mean(result, name) for name in ("control_accuracy", "selectivity"))
    return (
        f"Control tasks that only the words decide are predicted at {control:.1%}, the real one at "
        f"{real:.1%}{', each word of a class weighted alike' * weighed}: mean selectivity "
        f"{100 * difference:+.1f} points{_rank(result)}."
    )


def _rank(result: ProbeResult) -> str:
    place = place_of_mean(result, "control_tasks")
    if place is None:
        return ""
    return f" (rank {place.at_least + 1} among the {place.labelings + 1} tasks)"


def _heads(table: pd.DataFrame) -> str:
    best = table.iloc[table["held_out_accuracy"].argmax()]
    means = table.groupby("site")["held_out_accuracy"].mean()
    by_site = ", ".join(f"{site} {mean:.1%}" for site, mean in means.items())
    null = ""
    if "held_out_p" in table:
        ends = (table[f"null_held_out_{end}"].mean() for end in ("low", "high"))
        passed = int((table["held_out_p"] <= 0.05).sum())
        null = (
            f" (labels of the words dealt anew: {' to '.join(f'{end:.1%}' for end in ends)}; "
            f"{passed:,} of {len(table):,} heads have p <= .05, each by itself)"
        )
    return (
        f"Heads, all units of a head together, on words left out: mean {by_site}{null}; best of "
        f"{len(table):,}: layer {best['layer']}, {best['site']}, head {best['head']}, "
        f"{best['held_out_accuracy']:.1%} (the best of many looks better than it is)."
    )


def _take_away(result: ProbeResult) -> str:
    use = (
        "the table ablation shows what replacing units does"
        if "ablation" in result.tables
        else "no intervention was run"
    )
    return (
        f"Take away: {claim(result)}. Decodable from a unit does not mean used by the model: {use}."
    )


def _mean(result: ProbeResult, column: str) -> float:
    """Mean over tested units that have a value."""
    return result.columns[column][result.tested].double().nanmean().item()
