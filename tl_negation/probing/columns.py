"""Every column of a result and its meaning, whichever stage computes it."""

from ..fitting import STATUSES

#: Every column of a result: what it is and in which unit it is measured.
COLUMNS = {
    "status": f"outcome of the fit: {', '.join(STATUSES)}",
    "beta": "slope: change of the log-odds of class 1 per unit of activation",
    "intercept": "log-odds of class 1 at activation 0",
    "se": "standard error of beta, from the expected information",
    "z": "Wald statistic beta / se",
    "p": "two-sided Wald p value",
    "log10_p": "log10 of p; does not underflow",
    "lr": "likelihood-ratio statistic against the intercept alone, 1 degree of freedom",
    "lr_p": "p value of lr, chi-square with 1 degree of freedom",
    "beta_per_sd": "change of the log-odds per standard deviation (population) of the unit",
    "accuracy": "in-sample share of examples on the right side of p = 0.5",
    "balanced_accuracy": "in-sample mean of the two classes' accuracies at p = share of class 1",
    "auc": "area under the ROC curve; above 0.5 where larger activations mean class 1",
    "significant": "Wald p passes the named correction over the named family",
    "score": "Rao's score statistic n r^2, r the point-biserial correlation; needs no fit",
    "score_p": "p value of score, chi-square with 1 degree of freedom",
}
#: Columns that the functions of :mod:`tl_negation.inference` add.
WORD_COLUMNS = {
    "words_t": "pooled t between the two classes' word-type means",
    "words_p": "permutation p value of words_t for the unit by itself",
    "words_p_maxt": "the same, step-down max-T over the named family",
    "significant_words": "words_p_maxt passes the level: the claim that a paper may make",
    "held_out_accuracy": "accuracy on word types left out, mean over words, then over classes",
    "held_out_macro": "accuracy on word types left out, plain mean over words",
    "fold_accuracy": "balanced accuracy in cross-validation, folds stratified by word type",
    "block_accuracy": "balanced accuracy in cross-validation over blocks of the text",
    "document_accuracy": "balanced accuracy in cross-validation, each document whole in one fold",
    "control_accuracy": "mean fold accuracy on control tasks that only the words decide",
    "selectivity": "fold accuracy minus control accuracy (Hewitt & Liang 2019)",
    "cluster_se": "standard error of beta that allows for words as clusters",
    "cluster_t": "beta / cluster_se",
    "cluster_p": "p value of cluster_t with (word types - 1) degrees of freedom",
    **{
        f"firth_{name}": f"{name} of Firth's penalised fit, for units without an ordinary one"
        for name in ("intercept", "beta", "se", "lr", "p", "beta_per_sd", "accuracy")
    },
    "firth_balanced_accuracy": "balanced accuracy of Firth's penalised fit",
}
#: Columns that rank units: free of the unit's scale, larger (in size) is stronger.
RANKS = (
    "lr", "z", "score", "beta_per_sd", "log10_p", "accuracy", "balanced_accuracy", "auc",
    "words_t", "held_out_accuracy", "fold_accuracy", "block_accuracy", "document_accuracy",
    "selectivity", "firth_lr",
)  # fmt: skip
#: Columns that a table of units begins with, after where the unit is and what ranked it.
READ_FIRST = (
    "beta_per_sd", "accuracy", "auc", "significant", "held_out_accuracy", "words_p_maxt",
    "significant_words",
)  # fmt: skip
#: What decides between units that rank alike: all separated units have one likelihood ratio, but
#: the score statistic tells how far apart, in SD, their classes lie.
TIE_BREAKERS = ("lr", "score")

#: The columns that are added to a result's units.
ESTIMATE_COLUMNS = {
    "attribution_1": "gradient's estimate of what replacing the unit does to the log-probability "
    "of the words after the target, in contexts of class 1 (nats)",
    "attribution_0": "the same in contexts of class 0",
}
