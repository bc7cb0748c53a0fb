"""A result in sentences: the notebook's count beside the claim a paper may make."""

from typing import Any

import numpy as np


def summary_lines(result: Any) -> list[str]:
    """Sentences of ``ProbeResult.summary()``; ``result`` is a ProbeResult."""
    units = int(result.status.numel())
    lines = [_basis(result), _notebook(result, units)]
    if "lexical_baseline" in result.provenance:
        lines.append(_baseline(result.provenance["lexical_baseline"]))
    if "significant_words" in result.columns:
        lines += [_words(result, units), _exchanged(result)]
    if "held_out_accuracy" in result.columns:
        lines.append(_held_out(result))
    if "selectivity" in result.columns:
        lines.append(_selectivity(result))
    if "heads" in result.tables:
        lines.append(_heads(result.tables["heads"]))
    lines.append(_take_away(result))
    return lines


def _basis(result: Any) -> str:
    counts = result.contexts.counts()
    groups = "; ".join(
        f"{of['examples']} {name} contexts ({len(of['word_types'])} words; '{of['largest_word']}' "
        f"makes {of['largest_word_share']:.0%})"
        for name, of in counts["groups"].items()
    )
    return f"Stands on {groups}; guessing the larger class is right in {counts['base_rate']:.1%}."


def _notebook(result: Any, units: int) -> str:
    passed = int(result.significant.sum())
    accuracy = _mean(result.accuracy[result.significant])
    test = result.provenance["test"]
    return (
        f"Example by example (Wald, {test['correction']} per {test['family']}, alpha "
        f"{test['alpha']}), {passed:,} of {units:,} units are significant ({passed / units:.2%}); "
        f"their accuracy in sample is {accuracy:.1%}."
    )


def _baseline(baseline: dict[str, int]) -> str:
    return (
        f"Lexical baseline: in layer {baseline['layer']} the {baseline['examples']} examples have "
        f"{baseline['distinct_rows']} distinct activation rows; where they are as few as the token "
        "types, what is decodable is the word."
    )


def _words(result: Any, units: int) -> str:
    about = result.provenance["word_test"]
    passed = int(result.significant_words.sum())
    labelings = f"{about['labelings']:,} labelings"
    how = f"all {labelings}" if about["exact"] else f"{labelings} at random"
    smallest = float(np.nanmin(result.words_p_maxt.cpu().numpy(), initial=np.inf))
    return (
        f"Over words ({how}, max-T over {_family(about)}, alpha {about['alpha']}), {passed:,} of "
        f"{units:,} units are significant ({passed / units:.2%}); the smallest p is "
        f"{smallest:.2g}."
    )


def _exchanged(result: Any) -> str:
    types = result.provenance["word_test"]["word_types"]
    words = "; ".join(
        f"{group}: " + ", ".join(f"{word} ({' '.join(map(repr, tokens))})" for word, tokens in of)
        for group, of in ((group, words.items()) for group, words in types.items())
    )
    return f"Words whose labels were dealt, with the tokens merged into each: {words}."


def _family(about: dict[str, Any]) -> str:
    return {"all": "all units", "layer": "each layer", "site": "each site"}[about["family"]]


def _held_out(result: Any) -> str:
    seen = _mean(result.balanced_accuracy)
    unseen = _mean(result.held_out_accuracy)
    return (
        f"On words left out of the fit, the mean unit is right in {unseen:.1%} (balanced; "
        f"guessing: 50 %) against {seen:.1%} on the words it was fitted to."
    )


def _selectivity(result: Any) -> str:
    return (
        f"Control tasks that only the words decide are predicted at "
        f"{_mean(result.control_accuracy):.1%}, the real one at {_mean(result.fold_accuracy):.1%}: "
        f"mean selectivity {100 * _mean(result.selectivity):+.1f} points."
    )


def _heads(table: Any) -> str:
    best = table.loc[table["held_out_accuracy"].idxmax()]
    means = table.groupby("site")["held_out_accuracy"].mean()
    by_site = ", ".join(f"{site} {mean:.1%}" for site, mean in means.items())
    return (
        f"Heads, all units of one together, on words left out: mean {by_site}; best of "
        f"{len(table):,}: layer {best['layer']}, {best['site']}, head {best['head']}, "
        f"{best['held_out_accuracy']:.1%} (the best of many is too good by its selection)."
    )


def _take_away(result: Any) -> str:
    if "significant_words" not in result.columns:
        return (
            "What is decodable may be no more than the word; test over words (tl_negation.infer) "
            "before writing that a unit knows the category. Nothing here shows that the model uses "
            "a unit."
        )
    passed = int(result.significant_words.sum())
    claim = (
        f"the category is decodable over words from {passed:,} unit{'s' * (passed != 1)}"
        if passed
        else "no single unit can be said to know the category rather than some of its words"
    )
    intervened = "ablation" in result.tables
    use = (
        "what replacing units does stands in the table ablation"
        if intervened
        else ("no intervention was run")
    )
    return f"Take away: {claim}. Decodable from, not used by: {use}."


def _mean(column: Any) -> float:
    values = column.double().cpu().numpy()
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
