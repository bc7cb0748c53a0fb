"""Slow, readable statements of what the library must agree with."""

import warnings

import numpy as np
import statsmodels.api as sm
from scipy.stats import chi2
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

# Printed data (STATISTICS of the textbooks named), class 1 where y is 1.
_HOURS = ".5 .75 1 1.25 1.5 1.75 1.75 2 2.25 2.5 2.75 3 3.25 3.5 4 4.25 4.5 4.75 5 5.5"
HOURS = np.array([float(hours) for hours in _HOURS.split()])
PASSED = np.array([int(c) for c in "00000010101010111111"])

_O_RINGS = "53 56 57 63 66 67 67 67 68 69 70 70 70 70 72 73 75 75 76 76 78 79 80 81"
TEMPERATURE = np.array([float(t) for t in _O_RINGS.split()])
FAILED = np.zeros(24, dtype=int)
FAILED[[0, 1, 2, 10, 11, 12, 16]] = 1  # 53, 56, 57, three of the 70s, one of the 75s

# Hosmer & Lemeshow, Applied Logistic Regression, table 1.1: coronary heart disease by age,
# written as age:outcomes.
_CHD = """20:0 23:0 24:0 25:01 26:00 28:00 29:0 30:000001 32:00 33:00 34:00100 35:00 36:010 37:010
38:00 39:01 40:01 41:00 42:0001 43:001 44:0011 45:01 46:01 47:001 48:011 49:001 50:01 51:0 52:01
53:11 54:1 55:011 56:111 57:001111 58:011 59:11 60:01 61:1 62:11 63:1 64:01 65:1 69:1"""
_BY_AGE = [entry.split(":") for entry in _CHD.split()]
AGE = np.array([float(age) for age, outcomes in _BY_AGE for _ in outcomes])
DISEASE = np.array([int(one) for _, outcomes in _BY_AGE for one in outcomes])


def swap_word_means(values, words, source):
    """Give every word the mean activations of another, its ``source``; keep the spread within."""
    moved = values.clone()
    for word, other in enumerate(source):
        rows = words == word
        before = values[:, rows].double().mean(dim=1, keepdim=True)
        after = values[:, words == other].double().mean(dim=1, keepdim=True)
        moved[:, rows] = (values[:, rows] + (after - before)).to(values.dtype)
    return moved


def logit_loop(x, y):
    """One statsmodels fit per column: beta, intercept, se, z, p, lr, lr_p, accuracy, ..."""
    n, n1 = len(y), int(np.sum(y))
    # in closed form: statsmodels' own llr fits the null numerically, to about 5e-9
    null = n1 * np.log(n1 / n) + (n - n1) * np.log((n - n1) / n)
    rows = []
    for column in np.asarray(x, dtype=np.float64).T:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = sm.Logit(y, sm.add_constant(column))
            fit = model.fit(disp=False, method="newton", maxiter=100)
        predicted = fit.predict()
        rows.append(
            {
                "intercept": fit.params[0],
                "beta": fit.params[1],
                "se": fit.bse[1],
                "z": fit.tvalues[1],
                "p": fit.pvalues[1],
                "lr": 2 * (fit.llf - null),
                "lr_p": chi2.sf(max(2 * (fit.llf - null), 0), 1),
                "score": n * np.corrcoef(column, y)[0, 1] ** 2,
                "beta_per_sd": fit.params[1] * column.std(),
                "accuracy": np.mean((predicted > 0.5) == y),
                "balanced_accuracy": balanced_accuracy_score(y, predicted > y.mean()),
                "auc": roc_auc_score(y, column),
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def wald_loop(x, y):
    """The bare statsmodels fit of each column: rows beta, SE, LR, accuracy."""
    n, n1 = len(y), int(np.sum(y))
    null = n1 * np.log(n1 / n) + (n - n1) * np.log((n - n1) / n)
    rows = np.empty((4, x.shape[1]))
    exog = np.ones((n, 2))
    for column in range(x.shape[1]):
        exog[:, 1] = x[:, column]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sm.Logit(y, exog).fit(disp=False, method="newton", maxiter=100)
        right = np.mean((exog @ fit.params > 0) == y)
        rows[:, column] = fit.params[1], fit.bse[1], 2 * (fit.llf - null), right
    return rows
