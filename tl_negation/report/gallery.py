"""Which figures a result gives, for files and pages: :data:`FIGURES`, one entry for each.

``gallery(result, table)`` goes through the entries; runs and reports show whatever it returns. A
new figure is a new entry: a function that takes :class:`Numbers` and yields pictures, or none if
the result lacks what the figure needs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .. import plots
from ..probing import ProbeResult, basis_of, check_preset, effect_table, head_table, profile
from .picture import Picture, drawn

#: Profile columns that the figure about words needs.
OVER_WORDS = {"held_out_accuracy", "share_significant_words"}
#: Profile columns in the figures over depth, if the profile has them.
PANELS = ("held_out_accuracy", "share_significant", "accuracy")


@dataclass(frozen=True)
class Numbers:
    """A result with the tables that figures and pages show; each is computed once.

    Parameters
    ----------
    result
        Any result.
    table
        Its profile, a row per layer and site.
    preset
        The preset of the profile.
    """

    result: ProbeResult
    table: pd.DataFrame
    preset: str | None = None

    @cached_property
    def modules(self) -> pd.DataFrame:
        """The profile by module: all attention units of a layer together, all of its MLP ..."""
        return profile(self.result, preset=self.preset, by="module")

    @cached_property
    def heads(self) -> pd.DataFrame:
        """The table of :func:`tl_negation.head_table`."""
        return head_table(self.result)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """The table of :func:`tl_negation.effect_table`."""
        return effect_table(self.result)

    @property
    def panels(self) -> list[str]:
        """Columns of the figures over depth."""
        return [name for name in PANELS if name in self.table]

    @property
    def with_heads(self) -> list[str]:
        """Names of the attention sites."""
        return [site.name for site in self.result.sites if site.module == "attn"]


@dataclass(frozen=True)
class Gallery:
    """The figures of a result: iterate over it for the pictures.

    Parameters
    ----------
    numbers
        What they are drawn from.
    pictures
        In the order of :data:`FIGURES`. Each remembers what it has drawn.
    """

    numbers: Numbers
    pictures: tuple[Picture, ...]

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def __len__(self) -> int:
        return len(self.pictures)

    def section(self, name: str) -> list[Picture]:
        """Return the pictures of a section of the page."""
        return [picture for picture in self.pictures if picture.section == name]


def gallery(result: ProbeResult, table: pd.DataFrame, preset: str | None = None) -> Gallery:
    """Collect every figure that the result has the numbers for; nothing is drawn yet.

    Parameters
    ----------
    result
        Any result.
    table
        Its profile, a row per layer and site.
    preset
        The preset of the profile.

    Raises
    ------
    ValueError
        The preset goes by another test than the result; two pictures have the same name, so that
        one file would replace the other.
    """
    check_preset(preset, result.provenance["test"])
    numbers = Numbers(result, table, preset)
    pictures = tuple(picture for entry in FIGURES for picture in entry.pictures(numbers))
    names = [picture.name for picture in pictures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"each figure needs a name of its own; got {', '.join(twice)} twice")
    return Gallery(numbers, pictures)


def _over_words(numbers: Numbers) -> Iterator[Picture]:
    if "groups" not in numbers.result.tables:
        return
    over = basis_of(numbers.result).name
    yield Picture(
        "over-words",
        f"Over {over}, by depth",
        f"From how many units of each layer the category is decodable over {over}: the share that "
        f"is significant, each unit by itself. Grey: what 95 % of the other labelings of the "
        f"{over} give. The coloured area is the share that is tuned at least, with 95 % "
        "confidence. Filled marks pass over all layers and sites at once.",
        drawn(plots.over_words, numbers.result),
        wide=True,
    )


def _laminar(numbers: Numbers) -> Iterator[Picture]:
    unseen = "accuracy on words left out of the fit; by example, " * (
        "held_out_accuracy" in numbers.table
    )
    yield Picture(
        "laminar",
        "Over depth",
        f"In each layer, a line per site: {unseen}share of units significant by example, mean "
        f"in-sample accuracy; {_n(numbers)}. {_lines(numbers)}",
        drawn(plots.laminar, numbers.table, y=numbers.panels),
    )


def _lines(numbers: Numbers) -> str:
    """Say what the line and the bands beside accuracies are."""
    base = "The dashed line is the base rate of the larger class."
    if "null_held_out_low" not in numbers.table:
        return base
    return f"{base} Grey: accuracy on words left out after the words' labels were dealt anew."


def _word_or_category(numbers: Numbers) -> Iterator[Picture]:
    if not set(numbers.table) >= OVER_WORDS:
        return
    yield Picture(
        "word-or-category",
        "Word or category",
        "Blue: what holds over words, which is accuracy on words left out of the fit, and units "
        "that pass the test over word types. Orange: what is decodable by example. Shuffling "
        "which word has which mean activation gives the grey band (the lexical null, "
        "5 to 95 % of its replicates): units that know words and nothing else reach it. The blue "
        "band is the accuracy on words left out after the words' labels were dealt anew.",
        drawn(plots.word_or_category, numbers.table),
        wide=True,
    )


def _attention_and_mlp(numbers: Numbers) -> Iterator[Picture]:
    if not {"attn", "mlp"} <= {site.module for site in numbers.result.sites}:
        return
    yield Picture(
        "attention-and-mlp",
        "Attention against MLP",
        f"The same measures with a line for all attention units of a layer and a line for all of "
        f"its MLP units; {_n(numbers)}. The two kinds have separate Bonferroni families, so their "
        "accuracies compare better than their shares.",
        drawn(plots.laminar, numbers.modules, y=numbers.panels),
    )


def _calibration(numbers: Numbers) -> Iterator[Picture]:
    if "calibration" not in numbers.result.tables:
        return
    yield Picture(
        "calibration",
        "Both tests on units that know only words",
        "These units are drawn anew: words differ as they do in real units, the classes do not. A "
        "calibrated test rejects as often as its nominal level, which is the dashed line; a test "
        "above it finds a category that is not there.",
        drawn(
            plots.calibration,
            numbers.result.tables["calibration"],
            title="units that know words and nothing else",
        ),
    )


def _volcano(numbers: Numbers) -> Iterator[Picture]:
    best = numbers.result.top(1, by="lr")["layer"].tolist()
    layer = int(best[0] if best else numbers.result.layers[0])
    yield Picture(
        f"volcano-layer-{layer}",
        f"Layer {layer}, unit by unit",
        "Effect against evidence, by example. Units above the threshold are significant by "
        "example. Separated units, the strongest of all, have no finite effect and are only "
        "counted.",
        drawn(plots.volcano, numbers.result, layer),
    )


def _effects(numbers: Numbers) -> Iterator[Picture]:
    yield Picture(
        "effects",
        "Effect sizes by depth",
        "How large the effects of single units are, site by site, in each third of the layers. "
        "Nothing in the architecture singles out the basis of queries and keys: a difference "
        "between them is a difference between the bases that training happened to give.",
        drawn(plots.effects, numbers.effects),
    )


def _units(numbers: Numbers) -> Iterator[Picture]:
    if numbers.result.activations is None:
        return
    for unit in by_depth(numbers.result):
        yield Picture(
            f"unit-{unit['span'].replace(' ', '-')}",
            f"Strongest unit with a finite fit, {unit['span']}",
            "Each mark is a context. Where the words of one class lie apart from each other, the "
            "unit tells words apart.",
            drawn(plots.unit, numbers.result, unit),
        )


def by_depth(result: ProbeResult, parts: int = 3) -> Iterator[dict[str, Any]]:
    """Find the unit with a curve and the largest likelihood ratio in each third of the layers."""
    frame = result.to_frame()
    frame = frame[frame["status"] == "ok"].sort_values("lr", ascending=False)
    for layers in np.array_split(result.layers, min(parts, len(result.layers))):
        best = frame[frame["layer"].isin(layers)].head(1)
        span = f"layers {layers[0]} to {layers[-1]}" if len(layers) > 1 else f"layer {layers[0]}"
        yield from ({**row, "span": span} for row in best.to_dict("records"))


def _heads(numbers: Numbers) -> Iterator[Picture]:
    for site in numbers.with_heads:
        yield Picture(
            f"heads-{site}",
            f"Heads, site {site}",
            f"A row per layer, a cell per head: if words were left out of the fit, the mean "
            f"accuracy of its {site} units on unseen words; and the share of them that are "
            "significant by example.",
            drawn(plots.heads, numbers.heads, site=site),
        )


def _whole_heads(numbers: Numbers) -> Iterator[Picture]:
    table = numbers.result.tables.get("heads")
    if table is None:
        return
    for site in (site for site in numbers.with_heads if (table["site"] == site).any()):
        yield Picture(
            f"whole-heads-{site}",
            f"Heads probed whole, site {site}",
            "All units of a head together (ridge), scored on words left out of the fit; no "
            "rotation within the head changes it.",
            drawn(plots.heads, table, site=site, y=("held_out_accuracy",)),
        )


def _units_by_head(numbers: Numbers) -> Iterator[Picture]:
    groups = numbers.result.contexts.contrast.groups  # by label
    for site in numbers.with_heads:
        yield Picture(
            f"units-by-head-{site}",
            f"Every {site} unit, sorted within its head",
            f"Orange: a larger activation speaks for {groups[1]}; blue: for {groups[0]}; grey: no "
            "finite effect.",
            drawn(plots.units_by_head, numbers.result, site=site),
            more=True,
        )


def _ablation(numbers: Numbers) -> Iterator[Picture]:
    if "ablation" not in numbers.result.tables:
        return
    yield Picture(
        "ablation",
        "Units replaced",
        "Marks: the effect of replacing the chosen units. Grey: the effect of replacing random "
        "units of the same layers, sites and variance. A mark within the grey is no more than "
        "such units do.",
        drawn(plots.ablation, numbers.result.tables["ablation"]),
        wide=True,
        section="effects",
    )


def _attribution(numbers: Numbers) -> Iterator[Picture]:
    if "attribution" not in numbers.result.tables:
        return
    about = numbers.result.provenance.get("interventions")
    yield Picture(
        "attribution",
        "Estimated and measured",
        "The effect of replacing single units, against the first-order estimate that the gradient "
        "gives for all units in two passes.",
        drawn(plots.attribution, numbers.result.tables["attribution"], about=about),
        section="effects",
    )


def _n(numbers: Numbers) -> str:
    return f"n = {len(numbers.result.contexts):,} contexts"


class Figure(NamedTuple):
    """An entry of :data:`FIGURES`.

    Parameters
    ----------
    name
        What the entry draws.
    pictures
        Takes :class:`Numbers`; yields pictures, or none if the result lacks what they need.
    """

    name: str
    pictures: Callable[[Numbers], Iterable[Picture]]


#: The figures of a run and of its report, in their order. A new figure is a new entry.
FIGURES: list[Figure] = [
    Figure("over words by layer", _over_words),
    Figure("word or category", _word_or_category),
    Figure("profile by layer", _laminar),
    Figure("attention against MLP", _attention_and_mlp),
    Figure("calibration of the tests", _calibration),
    Figure("units of the best layer", _volcano),
    Figure("effect sizes", _effects),
    Figure("strongest units by word", _units),
    Figure("heads", _heads),
    Figure("heads probed whole", _whole_heads),
    Figure("all units by head", _units_by_head),
    Figure("units replaced", _ablation),
    Figure("estimates of the gradient", _attribution),
]
