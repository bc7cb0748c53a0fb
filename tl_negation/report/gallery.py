"""Which figures a result gives, with a name, a title and a caption each: for files and pages."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .. import plots
from ..probing import ProbeResult, profile

#: Profile columns that the figure about words needs.
OVER_WORDS = {"held_out_accuracy", "share_significant_words"}
#: Profile columns in the figures over depth, where the profile has them.
PANELS = ("share_significant", "accuracy", "held_out_accuracy")


class Picture(NamedTuple):
    """A figure that can be drawn at a width in inches, or at its own (None).

    Attributes
    ----------
    name
        Of a file.
    title, caption
        Plain text: what it shows, and how to read it.
    draw
        Takes the width; returns Axes.
    wide
        Whether it needs the width of a page.
    more
        Whether it is one for a second look.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[float | None], Any]
    wide: bool = False
    more: bool = False


def gallery(
    result: ProbeResult, table: pd.DataFrame, preset: str | None = None
) -> Iterator[Picture]:
    """Give every figure that the result has the numbers for.

    Parameters
    ----------
    result
        Any result.
    table
        Its profile, a row per layer and site.
    preset
        Of the profile.
    """
    yield from _over_depth(result, table, preset)
    if "calibration" in result.tables:
        yield Picture(
            "calibration",
            "Both tests on units that know only words",
            "The words' mean activations were dealt to the words at random, so that nothing but "
            "the words is left to know. A calibrated test rejects as often as its nominal level "
            "says, on the dashed line; a test above it finds a category that is not there.",
            drawn(
                plots.calibration,
                result.tables["calibration"],
                title="units that know words and nothing else",
            ),
        )
    yield from _units(result)
    for unit in by_depth(result) if result.activations is not None else ():
        yield Picture(
            f"unit-{unit['span'].replace(' ', '-')}",
            f"Strongest tested unit, {unit['span']}",
            "Each mark is a context. Where the words of one class lie apart from each other, the "
            "unit tells words apart.",
            drawn(plots.unit, result, unit),
        )
    yield from _heads(result)


def drawn(plot: Callable[..., Any], *given: Any, **options: Any) -> Callable[[float | None], Any]:
    """Leave the width of a plot to be given."""
    return lambda width: plot(*given, **options, **({} if width is None else {"width": width}))


def _over_depth(result: ProbeResult, table: pd.DataFrame, preset: str | None) -> Iterator[Picture]:
    n = f"n = {len(result.contexts):,} contexts"
    panels = [name for name in PANELS if name in table]
    unseen = "accuracy on words left out of the fit, " * ("held_out_accuracy" in table)
    yield Picture(
        "laminar",
        "Over depth",
        f"Share of significant units, mean in-sample accuracy, {unseen}in each layer, a line per "
        f"site; {n}. The dashed line is what guessing gets right.",
        drawn(plots.laminar, table, y=panels),
    )
    if set(table) >= OVER_WORDS:
        yield Picture(
            "word-or-category",
            "Word or category",
            "Orange: what is decodable example by example. Blue: what holds over words, which is "
            "accuracy on words left out of the fit, and units that pass the test over word types. "
            "The grey band is what units give that know words and nothing else (the lexical null, "
            "5 to 95 % of its replicates).",
            drawn(plots.word_or_category, table),
            wide=True,
        )
    if {"attn", "mlp"} <= {site.module for site in result.sites}:
        yield Picture(
            "attention-and-mlp",
            "Attention against MLP",
            f"The same measures with all attention units of a layer as one line and its MLP units "
            f"as the other; {n}. The two kinds have Bonferroni families of their own, so that "
            "their accuracies compare better than their shares.",
            drawn(plots.laminar, profile(result, preset=preset, by="module"), y=panels),
        )


def _units(result: ProbeResult) -> Iterator[Picture]:
    best = result.top(1)["layer"].tolist()
    layer = int(best[0] if best else result.layers[0])
    yield Picture(
        f"volcano-layer-{layer}",
        f"Layer {layer}, unit by unit",
        "Effect against evidence. Units above the threshold are significant; separated units, "
        "the strongest of all, have no finite effect and are only counted.",
        drawn(plots.volcano, result, layer),
    )
    yield Picture(
        "effects",
        "Effect sizes by depth",
        "How large the effects of single units are, site against site, in each third of the "
        "layers. Queries and keys have no basis of their own: a difference between them is one "
        "between the bases that training left.",
        drawn(plots.effects, result),
    )


def _heads(result: ProbeResult) -> Iterator[Picture]:
    names = [site.name for site in result.sites if site.module == "attn"]
    groups = result.contexts.contrast.groups  # by label
    for name in names:
        yield Picture(
            f"heads-{name}",
            f"Heads, site {name}",
            f"A row per layer, a cell per head: the share of its {name} units that are significant "
            "and, where words were left out, their mean accuracy on unseen words.",
            drawn(plots.heads, result, site=name),
        )
    probed = result.tables["heads"]["site"].unique() if "heads" in result.tables else ()
    for name in (name for name in names if name in probed):
        yield Picture(
            f"whole-heads-{name}",
            f"Heads probed whole, site {name}",
            "All units of a head together (ridge), scored on words left out of the fit; no "
            "rotation within the head changes it.",
            drawn(plots.heads, result.tables["heads"], site=name, y=("held_out_accuracy",)),
        )
    for name in names:
        yield Picture(
            f"units-by-head-{name}",
            f"Every {name} unit, sorted within its head",
            f"Orange: a larger activation speaks for {groups[1]}; blue: for {groups[0]}; grey: no "
            "finite effect.",
            drawn(plots.units_by_head, result, site=name),
            more=True,
        )


def by_depth(result: ProbeResult, parts: int = 3) -> Iterator[dict[str, Any]]:
    """Name the tested unit with the largest likelihood ratio in each third of the layers."""
    frame = result.to_frame()
    frame = frame[frame["status"] == "ok"].sort_values("lr", ascending=False)
    for layers in np.array_split(result.layers, min(parts, len(result.layers))):
        best = frame[frame["layer"].isin(layers)].head(1)
        span = f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"
        yield from ({**row, "span": span} for row in best.to_dict("records"))
