"""What a report says first: the answer in numbers, what it does not show, and the key figures."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import pandas as pd

from .. import plots
from ..probing import (
    WORD_COLUMNS,
    ProbeResult,
    claim,
    over_words_figures,
    over_words_sentences,
    place_of_mean,
)

#: Most key figures at the top of the page.
TILES = 4


def lead(result: ProbeResult, groups: list[str]) -> str:
    """Say in one sentence what may be published, and of what."""
    count = f"{len(result.layers)} layer{'s' * (len(result.layers) != 1)}"
    over = f"{groups[0].capitalize()} or {groups[1]}, in {count} of {short_name(result)}"
    return f"{over}: {claim(result)}."


def short_name(result: ProbeResult) -> str:
    """Return what the model is called, without the folders before it."""
    return PurePath(result.provenance["model"].get("name", "a model")).name


def answer(result: ProbeResult, modules: pd.DataFrame, groups: list[str]) -> list[str]:
    """Answer in sentences with numbers: over words first, then by example.

    Parameters
    ----------
    result
        Any result.
    modules
        Its profile by module; numbers of a layer are those of the first family of sites.
    groups
        Names of the two classes.
    """
    passed, tested = int(result.columns["significant"].sum()), int(result.tested.sum())
    share = f" ({passed / tested:.1%})" if tested else ""
    return [
        " ".join([f"{groups[0].capitalize()} or {groups[1]}?", *_over_words_answer(result)]),
        f"By example ({plots.rule_text(result.provenance['test'])}), the class is decodable from "
        f"{passed:,} of {tested:,} tested units{share}, each taken alone. {_ends(result, modules)}",
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


def _over_words_answer(result: ProbeResult) -> list[str]:
    sentences = over_words_sentences(result)
    if "held_out_accuracy" in result.columns:
        unseen, seen = (
            float(result.columns[name][result.tested].nanmean())
            for name in ("held_out_accuracy", "balanced_accuracy")
        )
        sentences.append(
            f"On words left out of the fit the mean unit is right in {unseen:.1%}{_null(result)}, "
            f"against {seen:.1%} on the words it was fitted to."
        )
    return sentences


def _null(result: ProbeResult) -> str:
    """What the score comes to under other labelings of the words."""
    place = place_of_mean(result, "held_out_null")
    return "" if place is None else f" (words relabelled: {place.low:.1%} to {place.high:.1%})"


def summary(result: ProbeResult) -> list[str]:
    """Return the sentences of ``result.summary()`` that the answer has not, if words were asked."""
    over_words = any(name in WORD_COLUMNS for name in result.columns)
    said = over_words_sentences(result)
    return [line for line in result.summary().splitlines() if over_words and line not in said]


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
        "words, a unit that only tells these words apart passes the test by example.",
        "How well it can be decoded in another text: accuracy is in-sample, and higher still for "
        "units that were selected for being significant.",
    ]


def tiles(result: ProbeResult, audit: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield at most four key figures, those over words first: a number, and what it is."""
    yield from over_words_figures(result)[: TILES - 1]
    groups = audit["groups"].items()
    sizes = ", ".join(f"{about['examples']:,} {group}" for group, about in groups)
    yield f"{audit['examples']:,}", f"contexts: {sizes}"
