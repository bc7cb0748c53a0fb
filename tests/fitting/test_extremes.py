"""Where the fits failed: values far out, several maxima, any scale, half precision."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from tl_negation import unit_statistics
from tl_negation.fitting import firth, log10_p_of_chi_square, log10_p_of_t, log10_p_of_z
from tl_negation.fitting.outcomes import STATUSES

LABELS = torch.tensor([1] * 20 + [0] * 40)


def normal(seed=0, effect=0.8):
    rng = np.random.default_rng(seed)
    return rng.normal(size=60) + effect * LABELS.numpy()


def ordinary_error(x, y):
    """Standard error of the slope by exact rational arithmetic at scipy's maximum."""
    scale = np.abs(x).max()
    z = x / scale

    def loss(theta):
        eta = theta[0] + theta[1] * z
        return -(y * log_expit(eta) + (1 - y) * log_expit(-eta)).sum()

    def slope(theta):
        residual = expit(theta[0] + theta[1] * z) - y
        return np.array([residual.sum(), residual @ z])

    best = minimize(loss, [0.0, 0.0], jac=slope, method="BFGS", options={"gtol": 1e-12}).x
    p = expit(best[0] + best[1] * z)
    weights = [Fraction(float(w)) for w in p * (1 - p)]
    values = [Fraction(float(v)) for v in z]
    h00 = sum(weights)
    h01 = sum(w * v for w, v in zip(weights, values, strict=True))
    h11 = sum(w * v * v for w, v in zip(weights, values, strict=True))
    return float(np.sqrt(float(h00 / (h00 * h11 - h01 * h01)))) / scale


@pytest.mark.parametrize("far", [1e4, 1e6, 1e8])
def test_the_standard_error_keeps_its_digits_with_an_example_far_out(far):
    x = normal()
    x[0] = far  # of class 1; the others decide the slope
    x[30] = far  # and one of class 0, so that the slope is finite
    got = unit_statistics(torch.from_numpy(x)[:, None], LABELS)
    assert STATUSES[int(got["status"])] in ("ok", "nonconverged")
    if STATUSES[int(got["status"])] == "ok":
        want = ordinary_error(x, LABELS.numpy())
        assert got["se"].item() == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e300])
def test_values_of_any_scale_have_the_same_tests(scale):
    x = torch.from_numpy(normal())[:, None]
    small, plain = (unit_statistics(x * of, LABELS) for of in (scale, 1.0))
    for name in ("z", "lr", "score", "p", "accuracy", "auc", "beta_per_sd"):
        torch.testing.assert_close(small[name], plain[name], rtol=1e-9, atol=0)
    torch.testing.assert_close(small["beta"] * scale, plain["beta"], rtol=1e-9, atol=0)
    fits = [firth.fit(x * of, 20) for of in (scale, 1.0)]
    torch.testing.assert_close(fits[0].lr, fits[1].lr, rtol=1e-7, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_fitted_as_the_numbers_that_it_holds(dtype):
    x = torch.from_numpy(normal())[:, None].to(dtype)
    half, single = (unit_statistics(of, LABELS) for of in (x, x.float()))
    for name, column in half.items():
        torch.testing.assert_close(column, single[name], rtol=0, atol=0, equal_nan=True)


def penalised_loglik(theta, x, y):
    """The logarithm of Firth's penalised likelihood, up to a constant."""
    eta = theta[0] + theta[1] * x
    w = expit(eta) * expit(-eta)
    centred = x - (w @ x) / w.sum()
    information = np.log(w.sum()) + np.log(w @ centred**2)
    return (y * log_expit(eta) + (1 - y) * log_expit(-eta)).sum() + information / 2


def highest(x, y):
    """The highest maximum that scipy finds from many starts."""
    starts = [(a, b) for a in (-3.0, -0.7, 0.0, 2.0) for b in (-8, -3, -1, -0.1, 0, 0.1, 1, 3, 8)]
    found = [
        minimize(lambda t: -penalised_loglik(t, x, y), start, method="Nelder-Mead",
                 options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4000})
        for start in starts
    ]  # fmt: skip
    return -min(one.fun for one in found)


def test_the_highest_of_several_maxima_is_found():
    """One example at 100 SD bends the curve: from the middle, the iteration ends on a low hill."""
    x = normal(seed=3, effect=2.0)
    x[0] = 100.0
    y = LABELS.numpy().astype(float)
    got = firth.fit(torch.from_numpy(x)[:, None], 20)
    assert STATUSES[int(got.status)] == "ok"
    at_null = max(penalised_loglik((a, 0.0), x, y) for a in np.linspace(-1.0, -0.4, 20_001))
    want = 2 * (highest(x, y) - at_null)
    assert got.lr.item() == pytest.approx(want, rel=1e-4)
    assert want > 10


def test_logarithms_of_p_far_out():
    """Against mpmath's values where the numbers themselves are 0."""
    mpmath.mp.dps = 50
    for z in (1.5, 12.0, 50.0, 400.0):
        want = float(mpmath.log10(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2))))
        got = log10_p_of_z(torch.tensor([z, -z], dtype=torch.float64))
        np.testing.assert_allclose(got, want, rtol=1e-12)
        chi = log10_p_of_chi_square(torch.tensor([z * z], dtype=torch.float64))
        np.testing.assert_allclose(chi, want, rtol=1e-12)
    for t, freedom in ((2.0, 8), (300.0, 12), (1e30, 14), (1e60, 9)):
        x = mpmath.mpf(freedom) / (freedom + mpmath.mpf(t) ** 2)
        want = mpmath.betainc(mpmath.mpf(freedom) / 2, mpmath.mpf(1) / 2, 0, x, regularized=True)
        got = log10_p_of_t(torch.tensor([t], dtype=torch.float64), freedom)
        np.testing.assert_allclose(got, float(mpmath.log10(want)), rtol=1e-10)
