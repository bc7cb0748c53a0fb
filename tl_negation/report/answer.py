"""What a report says first: the answer in numbers, what it does not show, and the key figures."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .. import plots
from ..fitting import STATUSES
from ..probing import WORD_COLUMNS, ProbeResult, place_of_mean


def answer(result: ProbeResult, modules: pd.DataFrame, groups: list[str]) -> list[str]:
    """Answer in sentences with numbers: example by example, and over words.

    Parameters
    ----------
    result
        Any result.
    modules
        Its profile by module; numbers of a layer are those of the first family of sites.
    groups
        Names of the two classes.
    """
    passed, units = int(result.columns["significant"].sum()), result.columns["status"].numel()
    return [
        f"{groups[0].capitalize()} or {groups[1]} is decodable from {passed:,} of {units:,} units "
        f"({passed / units:.1%}), each taken alone, example by example (Wald test, "
        f"{plots.rule_text(result.provenance['test'])}). {_ends(result, modules)}",
        _over_words_answer(result, units),
    ]


def _ends(result: ProbeResult, modules: pd.DataFrame) -> str:
    """Compare the first layer with the last."""
    rows = modules[modules["site"] == modules["site"].iloc[0]]
    site, ends = rows["site"].iloc[0], rows.iloc[[0, -1]] if len(rows) > 1 else rows
    shares, right = (_at_layers(ends, name) for name in ("share_significant", "accuracy"))
    if not right:
        return f"No {site} unit has a valid fit in these layers."
    return (
        f"Of the {site} units, {shares or 'none'} pass this test. On the contexts it was fitted "
        f"to, the mean {site} unit is right in {right}; guessing is right in "
        f"{result.base_rate:.1%}."
    )


def _at_layers(rows: pd.DataFrame, column: str) -> str:
    known = rows[rows[column].notna()]
    return " and ".join(
        f"{value:.1%} in layer {layer}"
        for value, layer in zip(known[column], known["layer"], strict=True)
    )


def _over_words_answer(result: ProbeResult, units: int) -> str:
    parts = []
    if "significant_words" in result.columns:
        passed = int(result.columns["significant_words"].sum())
        parts.append(f"{passed:,} of {units:,} units are significant when words are the examples")
    if "held_out_accuracy" in result.columns:
        unseen, seen = (
            float(result.columns[name].nanmean())
            for name in ("held_out_accuracy", "balanced_accuracy")
        )
        parts.append(
            f"on words left out of the fit the mean unit is right in {unseen:.1%}{_null(result)}, "
            f"against {seen:.1%} on the words it was fitted to"
        )
    text = "; ".join(parts) or "whether it is the category or only some of its words was not tested"
    return f"{text[0].upper()}{text[1:]}."


def _null(result: ProbeResult) -> str:
    """What the score comes to under other labelings of the words."""
    place = place_of_mean(result, "held_out_null")
    return "" if place is None else f" (words relabelled: {place.low:.1%} to {place.high:.1%})"


def summary(result: ProbeResult) -> list[str]:
    """Return the sentences of ``result.summary()`` if anything was tested over words."""
    over_words = any(name in WORD_COLUMNS for name in result.columns)
    return result.summary().splitlines() if over_words else []


def caution(audit: Mapping[str, Any], *, intervened: bool) -> list[str]:
    """Say what the numbers do not show; ``audit`` is ``Contexts.counts()``."""
    words = [
        f"{group} is {len(about['word_types'])} word{'s' * (len(about['word_types']) != 1)}, "
        f"{about['largest_word_share']:.0%} of it “{about['largest_word']}”"
        for group, about in audit["groups"].items()
    ]
    return [
        "Whether the model uses these units: "
        + ("see what the units do." if intervened else "no intervention was run."),
        f"Whether it is the category rather than the word: {'; '.join(words)}. With this few "
        "words, a unit that only tells these words apart passes the same test.",
        "How well it can be decoded in another text: accuracy is in-sample, and higher still for "
        "units that were selected for being significant.",
    ]


def tiles(result: ProbeResult, audit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key figures: a number, and what it is."""
    groups = audit["groups"].items()
    sizes = ", ".join(f"{about['examples']:,} {group}" for group, about in groups)
    yield f"{audit['examples']:,}", f"contexts: {sizes}"
    status = result.columns["status"].flatten().cpu().numpy()
    counts = dict(zip(STATUSES, np.bincount(status, minlength=len(STATUSES)), strict=True))
    failed = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n and name != "ok")
    yield f"{counts['ok']:,}", f"units tested of {len(status):,} ({failed or 'none failed'})"
    yield f"{int(result.columns['significant'].sum()):,}", "units significant"
    yield f"{result.base_rate:.1%}", "base rate: guessing the larger class"
