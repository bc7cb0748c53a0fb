"""The report's section about interventions, if the result has their tables."""

from typing import Any

from ..interventions import SELECTIONS
from ..probing import ProbeResult
from .figures import page_figure
from .gallery import Gallery
from .tables import page_table

#: Columns of the table of ablations that the figure or the text already shows.
LEFT_OUT = ["random_q25", "random_q50", "random_q75", "how", "follow", "seed", "draws"]
#: Columns that are called otherwise there, because others of the page have these names.
RENAMED = {"p": "permutation_p", "units": "replaced_units"}
HINTS = {
    "class": "in which contexts the effect was measured; the last row is their difference",
    "effect": "mean change of the log-probability of the words after the target (nats)",
    "random_mean": "the same, mean over the matched random sets",
    "random_q025": "2.5 % of the random sets are below",
    "random_q975": "2.5 % of the random sets are above",
    "replaced_units": "units replaced together",
    "permutation_p": "share of sets, the chosen one included, with as large an effect; not "
    "corrected for the number of rows",
}


def effects_section(result: ProbeResult, figures: Gallery) -> dict[str, Any] | None:
    """Return text, figures and table of a result with interventions; None for one without."""
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
            f"change of the log-probability of the next {about['follow']} tokens was measured. It "
            f"is compared with that of random sets (at most {about['draws']}) with as many units "
            f"of every layer, site and stratum of variance, or with as many whole heads where "
            f"heads were chosen; the chosen units may be among them. {small} of the {n} "
            f"comparisons below have p of 0.05 or less; {0.05 * n:.1f} would without any effect.",
            f"For single units, the gradient's estimate agrees with what was measured at r = "
            f"{r['all']:.2f} ({len(checked)} units; {r['random']:.2f} for those drawn at random). "
            f"The estimates for all units are in units.parquet (attribution_1, attribution_0).",
        ],
        "figures": [page_figure(picture) for picture in figures.section("effects")],
        "table": page_table(
            rows.drop(columns=LEFT_OUT).rename(columns=RENAMED),
            {**HINTS, "selection": _selections_hint()},
        ),
    }


def _selections_hint() -> str:
    return "; ".join(f"{name}: {selection.meaning}" for name, selection in SELECTIONS.items())
