"""Firth's fit against closed forms, printed values and the package firthmodels."""

import math

import numpy as np
import pytest
import torch
from firthmodels import FirthLogisticRegression
from helpers.oracles import AGE, DISEASE, FAILED, HOURS, PASSED, TEMPERATURE
from scipy.optimize import brentq
from scipy.special import expit

from tl_negation.fitting import firth as firth_module


def fit(x, y):
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y)
    x = x[:, None] if x.ndim == 1 else x
    order = np.argsort(-y, kind="stable")
    got = firth_module.fit(torch.from_numpy(x[order]), int(y.sum()))
    return {name: column.numpy() for name, column in got._asdict().items()}


def two_by_two(a, b, c, d):
    """x = 1: a of class 1, b of class 0; x = 0: c of class 1, d of class 0."""
    x = np.repeat([1.0, 1.0, 0.0, 0.0], [a, b, c, d])
    return x, np.repeat([1, 0, 1, 0], [a, b, c, d])


@pytest.mark.parametrize(
    ("table", "printed"), [((86, 29, 44, 30), 0.69799165), ((49, 17, 0, 13), 4.33560865)]
)
def test_a_two_by_two_table_has_a_closed_form(table, printed):
    a, b, c, d = table
    closed = math.log((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5)))
    got = fit(*two_by_two(*table))["beta"][0]
    assert got == pytest.approx(closed, rel=1e-9)
    assert got == pytest.approx(printed, abs=5e-9)


def test_x_equal_to_y():
    y = np.array([0, 0, 0, 1, 1, 1])
    assert fit(y.astype(float), y)["beta"][0] == pytest.approx(2 * math.log(7), rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "beta", "se", "lr"),
    [
        (HOURS, PASSED, 1.20122944, 0.51480643, 9.838863),
        (TEMPERATURE, FAILED, -0.14292612, 0.07557798, 5.192627),
        (AGE, DISEASE, 0.10699575, 0.02360983, 28.366868),
    ],
)
def test_one_covariate_as_printed(x, y, beta, se, lr):
    got = fit(x, y)
    assert got["beta"][0] == pytest.approx(beta, abs=5e-9)
    assert got["se"][0] == pytest.approx(se, abs=5e-9)
    assert got["lr"][0] == pytest.approx(lr, abs=5e-7)


def columns(seed):
    """Overlapping, nearly separated and separated units, on several scales."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [33, 27]))
    shift = np.linspace(0, 8, 12)
    return (rng.normal(size=(60, 12)) + np.outer(y, shift)) * 10 ** rng.uniform(-2, 2, 12), y


@pytest.mark.slow
def test_firthmodels_agrees_on_random_data_separated_or_not():
    x, y = columns(seed=0)
    got = fit(x, y)
    separated = x[y == 1].min(axis=0) > x[y == 0].max(axis=0)
    assert 0 < separated.sum() < 12
    for i in range(x.shape[1]):
        scale = x[:, i].std()  # firthmodels' tolerances are absolute
        peer = FirthLogisticRegression(max_iter=2000, gtol=1e-6, xtol=1e-6)
        peer.fit(x[:, [i]] / scale, y)
        peer.lrt(0)
        assert got["beta"][i] * scale == pytest.approx(peer.coef_[0], rel=1e-6)
        assert got["intercept"][i] == pytest.approx(peer.intercept_, rel=1e-6)
        assert math.erfc(math.sqrt(got["lr"][i] / 2)) == pytest.approx(
            peer.lrt_pvalues_[0], rel=1e-5
        )


def test_intercept_is_refitted_before_accuracy():
    """FLIC: with 4 % of class 1, Firth's own probabilities would overpredict the rare class."""
    rng = np.random.default_rng(1)
    y = np.repeat([1, 0], [8, 192])
    x = rng.normal(size=200) + 0.5 * y
    got = fit(x, y)
    offset = got["beta"][0] * x
    a = brentq(lambda a: expit(a + offset).mean() - 0.04, -30, 30, xtol=1e-13)
    assert a < got["intercept"][0] - 0.01
    assert got["accuracy"][0] == np.mean((a + offset > 0) == y)
    above = a + offset > math.log(8 / 192)
    balanced = (above[:8].mean() + 1 - above[8:].mean()) / 2
    assert got["balanced_accuracy"][0] == pytest.approx(balanced, rel=1e-14)


def test_a_unit_that_fires_on_one_example():
    """The two-by-two table's closed form; the Fisher iteration circled here."""
    closed = math.log(1.5 * 40.5 / (0.5 * 19.5))
    got = fit(*two_by_two(1, 0, 19, 40))
    assert got["beta"][0] == pytest.approx(closed, rel=1e-9)
    assert got["beta"][0] == pytest.approx(1.8295, abs=5e-7)


@pytest.mark.parametrize("n", [4000, 100_000])
def test_many_separated_examples(n):
    y = np.repeat([1, 0], n // 2)
    assert fit(y.astype(float), y)["beta"][0] == pytest.approx(2 * math.log(n + 1), rel=1e-9)
