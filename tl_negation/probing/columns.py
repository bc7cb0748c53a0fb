"""Every column of a result and its meaning, whichever stage computes it.

A new column is one entry here: its name, what it means, and by what else it is known (see
:class:`Column`). Tables, ranks, corrections and the hints of a report follow.
"""

from collections.abc import Iterable

from ..fitting import STATUSES


class Column(str):
    """What a column means: plain text that also knows how the column is used.

    Parameters
    ----------
    meaning
        What the column is, and in which unit it is measured.
    ranks
        Units can be ranked by it: it does not depend on a unit's scale, and larger (in size) is
        stronger.
    read_first
        A table of units begins with it, after where the unit is and what ranked it.
    breaks_ties
        It decides between units that rank alike.
    p_value
        It holds p values, which :func:`tl_negation.adjusted` can correct.
    codes
        What its integers stand for, if they are positions in a list of names; a table shows the
        names, and nothing for -1.
    """

    ranks: bool
    read_first: bool
    breaks_ties: bool
    p_value: bool
    codes: tuple[str, ...]

    def __new__(
        cls,
        meaning: str,
        *,
        ranks: bool = False,
        read_first: bool = False,
        breaks_ties: bool = False,
        p_value: bool = False,
        codes: tuple[str, ...] = (),
    ) -> "Column":
        """Make the text, and note how the column is used."""
        column = super().__new__(cls, meaning)
        column.ranks, column.read_first = ranks, read_first
        column.breaks_ties, column.p_value = breaks_ties, p_value
        column.codes = codes
        return column


#: The columns of :func:`tl_negation.probe`, in the order of a table of units.
COLUMNS = {
    "status": Column(f"outcome of the fit: {', '.join(STATUSES)}", codes=STATUSES),
    "beta": Column("slope: change of the log-odds of class 1 per unit of activation"),
    "intercept": Column("log-odds of class 1 at activation 0"),
    "se": Column("standard error of beta, from the expected information"),
    "z": Column("Wald statistic beta / se", ranks=True),
    "p": Column("two-sided Wald p value", p_value=True),
    "log10_p": Column("log10 of p; does not underflow", ranks=True),
    # All separated units have one likelihood ratio; the score then tells how far apart, in SD of
    # the unit, the two classes are.
    "lr": Column(
        "likelihood-ratio statistic against the intercept alone, 1 degree of freedom",
        ranks=True,
        breaks_ties=True,
    ),
    "lr_p": Column("p value of lr, chi-square with 1 degree of freedom", p_value=True),
    "beta_per_sd": Column(
        "change of the log-odds per standard deviation (population) of the unit",
        ranks=True,
        read_first=True,
    ),
    "accuracy": Column(
        "in-sample share of examples on the right side of p = 0.5", ranks=True, read_first=True
    ),
    "balanced_accuracy": Column(
        "in-sample mean of the two classes' accuracies at p = share of class 1", ranks=True
    ),
    "auc": Column(
        "area under the ROC curve; above 0.5 where larger activations mean class 1",
        ranks=True,
        read_first=True,
    ),
    "significant": Column(
        "by example: p of the named test passes the named correction over the named family",
        read_first=True,
    ),
    "score": Column(
        "Rao's score statistic n r^2, r the point-biserial correlation; needs no fit",
        ranks=True,
        breaks_ties=True,
    ),
    "score_p": Column("p value of score, chi-square with 1 degree of freedom", p_value=True),
    "log10_lr_p": Column("log10 of lr_p; does not underflow"),
    "log10_score_p": Column("log10 of score_p; does not underflow"),
}
#: The columns that the functions of :mod:`tl_negation.inference` add.
WORD_COLUMNS = {
    "words_t": Column(
        "t between the two classes' means over word types, each weighed by its precision",
        ranks=True,
    ),
    "words_p": Column("permutation p value of words_t for the unit by itself", p_value=True),
    "significant_words": Column(
        "passes over words at the named error rate: the claim that a paper may make",
        read_first=True,
    ),
    "words_p_maxt": Column(
        "words_p, step-down max-T over the named family", read_first=True, p_value=True
    ),
    "words_q": Column(
        "permutation false discovery rate at which the unit is found over words, pooled over units "
        "of the named family"
    ),
    "words_icc": Column("share of the unit's variance that lies between words"),
    "held_out_accuracy": Column(
        "accuracy on word types left out, mean over words, then over classes",
        ranks=True,
        read_first=True,
    ),
    "held_out_macro": Column("accuracy on word types left out, plain mean over words"),
    "fold_accuracy": Column(
        "balanced accuracy in cross-validation, folds stratified by word type", ranks=True
    ),
    "block_accuracy": Column(
        "balanced accuracy in cross-validation over blocks of the text", ranks=True
    ),
    "document_accuracy": Column(
        "balanced accuracy in cross-validation, each document whole in one fold", ranks=True
    ),
    "task_accuracy": Column(
        "accuracy in the same cross-validation, mean over the words of a class, then over classes"
    ),
    "control_accuracy": Column("mean of the same over control tasks that only the words decide"),
    "selectivity": Column("task accuracy minus control accuracy (Hewitt & Liang 2019)", ranks=True),
    "selectivity_rank": Column("place of the real task among all tasks, from 1, the best"),
    "cluster_se": Column("standard error of beta that allows for words as clusters"),
    "cluster_t": Column("beta / cluster_se"),
    "cluster_p": Column(
        "p value of cluster_t with (word types - 1) degrees of freedom", p_value=True
    ),
    "log10_cluster_p": Column("log10 of cluster_p; does not underflow"),
    "firth_status": Column(
        "outcome of Firth's penalised fit, as in status; empty where it was not asked for",
        codes=STATUSES,
    ),
    **{
        f"firth_{name}": Column(
            f"{name} of Firth's penalised fit, for units without an ordinary one",
            ranks=name == "lr",
            p_value=name == "p",
        )
        for name in ("intercept", "beta", "se", "lr", "p", "beta_per_sd", "accuracy")
    },
    "log10_firth_p": Column("log10 of firth_p; does not underflow"),
    "firth_balanced_accuracy": Column("balanced accuracy of Firth's penalised fit"),
}
#: The columns that :func:`tl_negation.pair_test` adds, for examples that carry pairs.
PAIR_COLUMNS = {
    "pairs_t": Column("t of the differences within pairs, or of their means by item", ranks=True),
    "pairs_p": Column("sign-flip p value of pairs_t for the unit by itself", p_value=True),
    "significant_pairs": Column(
        "passes over pairs at the named error rate: the claim that a paper may make",
        read_first=True,
    ),
    "pairs_p_maxt": Column(
        "pairs_p, step-down max-T over the named family", read_first=True, p_value=True
    ),
    **{
        f"{of}_accuracy": Column(
            f"balanced accuracy in cross-validation, each {of} whole in one fold", ranks=True
        )
        for of in ("pair", "item")
    },
    "pairs_q": Column("sign-flip false discovery rate, pooled over units of the named family"),
}
#: The columns that the functions of :mod:`tl_negation.interventions` add.
ESTIMATE_COLUMNS = {
    "attribution_1": Column(
        "gradient's estimate of what replacing the unit does to the log-probability of the words "
        "after the target, in contexts of class 1 (nats)"
    ),
    "attribution_0": Column("the same in contexts of class 0"),
}


def _of_groups(over: str, labelings: str) -> dict[str, Column]:
    """Columns of a profile that tell how many units of a layer and site are tuned."""
    return {
        f"share_{over}": Column(
            f"share of units that are significant over {over}, each by itself (at alpha, "
            "uncorrected)"
        ),
        f"share_{over}_expected": Column(f"mean of the same share over all {labelings}"),
        f"share_{over}_high": Column(f"its 95th percentile over all {labelings}"),
        f"share_{over}_p": Column(
            f"{labelings} that reach the share, for this layer and site by itself"
        ),
        f"share_{over}_p_maxt": Column("the same over all layers and sites at once (max-T)"),
        f"at_least_{over}": Column("lower 95 % bound of the share of units that are tuned"),
        f"at_least_all_{over}": Column("the same for all layers and sites at once"),
    }


#: What the summaries of units add to these: profiles, tables of heads, trends over depth. The
#: columns that say where a unit is are here, too.
SUMMARY_COLUMNS = {
    "layer": Column("number of the layer, from 0"),
    "head": Column("attention head, from 0; none where the site has no heads"),
    "index": Column("index of the unit within its head, or within the site"),
    "units": Column("units of this site in this layer"),
    "test": Column("test by example: lr (likelihood ratio) or wald"),
    "tested": Column("units for which the named test exists"),
    "share_significant": Column("share of units that are significant by example"),
    "share_significant_positive": Column("as before, and a larger activation speaks for class 1"),
    **_of_groups("words", "labelings of the words"),
    **_of_groups("pairs", "flips of the pairs"),
    "share_significant_words": Column("share of all units that are significant over words"),
    "accuracy_significant_positive": Column(
        "mean in-sample accuracy of the significant units with beta above 0; too high by the "
        "selection"
    ),
    "accuracy_significant_negative": Column("the same for significant units with beta below 0"),
    "abs_beta_per_sd": Column("mean size of beta_per_sd"),
    "min_words_p_maxt": Column("smallest words_p_maxt"),
    "penalised": Column("units that have Firth's fit"),
    "held_out_accuracy_low": Column(
        "5 % of the means over words resampled within each class are below"
    ),
    "held_out_accuracy_high": Column(
        "95 % of the means over words resampled within each class are below"
    ),
    "held_out_p": Column(
        "share of all labelings of the words under which words left out are predicted as well"
    ),
    "rho": Column("Spearman's rank correlation with depth"),
    "layers": Column("layers with a value"),
}


def explained() -> dict[str, Column]:
    """Return the columns of all stages: name -> meaning."""
    return {**COLUMNS, **PAIR_COLUMNS, **WORD_COLUMNS, **ESTIMATE_COLUMNS}


def ranks() -> list[str]:
    """Name the columns by which units can be ranked."""
    return [name for name, column in explained().items() if column.ranks]


def read_first() -> list[str]:
    """Name the columns that a table of units begins with, those over pairs or words first."""
    first = {**PAIR_COLUMNS, **WORD_COLUMNS, **COLUMNS, **ESTIMATE_COLUMNS}
    return [name for name, column in first.items() if column.read_first]


def tie_breakers() -> list[str]:
    """Name the columns that decide, one after the other, between units that rank alike."""
    return [name for name, column in explained().items() if column.breaks_ties]


def p_values(names: Iterable[str]) -> list[str]:
    """Select the columns of p values; one that is not explained here is known by its name."""
    known = explained()
    return [
        name
        for name in names
        if (known[name].p_value if name in known else name.endswith(("_p", "_maxt")))
    ]


def coded(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Select the columns whose integers stand for names: column -> these names."""
    known = explained()
    return {name: known[name].codes for name in names if name in known and known[name].codes}


def in_order(names: Iterable[str]) -> list[str]:
    """Sort the names of columns: those of :data:`COLUMNS` first, the others as they come."""
    names = list(names)
    return [name for name in COLUMNS if name in names] + [n for n in names if n not in COLUMNS]
