"""The report's section about interventions, where the result has their tables."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from .. import plots
from ..probing import ProbeResult
from .gallery import Picture, drawn

#: Columns of the ablations' table that the figure or the caption already says.
LEFT_OUT = ["random_q25", "random_q50", "random_q75", "how", "follow", "seed", "draws"]
RENAMED = {"p": "permutation_p", "units": "replaced_units"}
HINTS = {
    "selection": "examples: largest Wald |z|; words: largest |t| over word types; heads: units of "
    "the best heads",
    "class": "in which contexts the effect was measured; the last row is their difference",
    "effect": "mean change of the log-probability of the words after the target (nats)",
    "random_mean": "the same, mean over the matched random sets",
    "random_q025": "2.5 % of the random sets are below",
    "random_q975": "2.5 % of the random sets are above",
    "replaced_units": "units replaced together",
    "permutation_p": "share of random sets with as large an effect; not corrected for the rows",
}


#: Name, title and caption of the two figures.
REPLACED = (
    "ablation",
    "Units replaced",
    "Marks: what replacing the chosen units did. Grey: what replacing random units of the same "
    "layers, sites and variance did. A mark within the grey is no more than such units do.",
)
ESTIMATED = (
    "attribution",
    "Estimated and measured",
    "Units replaced one at a time, against the first-order estimate that the gradient gives for "
    "all units in two passes.",
)


def effects_section(
    result: ProbeResult,
    figure: Callable[[Picture], Any],
    table: Callable[[pd.DataFrame], Any],
) -> dict[str, Any] | None:
    """Give sentences, figures and table of a result with interventions; None for one without."""
    rows, checked = result.tables.get("ablation"), result.tables.get("attribution")
    about = result.provenance.get("interventions")
    if rows is None or checked is None or about is None:
        return None
    small, n = int((rows["p"] <= 0.05).sum()), len(rows)
    contexts = ", ".join(f"{count} {group}" for group, count in about["contexts"].items())
    r = about["correlation"]
    return {
        "text": [
            f"Units were replaced at the target ({about['how']}) in {contexts} contexts, and the "
            f"change of the log-probability of the next {about['follow']} tokens was measured, "
            f"against {about['draws']} random sets of units of the same layers and sites and of "
            f"like variance. {small} of the {n} comparisons below have p of 0.05 or less; "
            f"{0.05 * n:.1f} would without any effect.",
            f"For single units, the gradient's estimate agrees with what was measured at r = "
            f"{r['all']:.2f} ({len(checked)} units; {r['random']:.2f} for those drawn at random). "
            f"The estimates of all units are in units.parquet (attribution_1, attribution_0).",
        ],
        "figures": [
            figure(Picture(*REPLACED, drawn(plots.ablation, rows), wide=True)),
            figure(Picture(*ESTIMATED, drawn(plots.attribution, checked, about=about))),
        ],
        "table": table(rows.drop(columns=LEFT_OUT).rename(columns=RENAMED)),
    }
