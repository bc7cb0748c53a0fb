"""The probe against printed tables, a statsmodels loop, and what must not change it."""

import math

import numpy as np
import pytest
import torch
from helpers.oracles import AGE, DISEASE, FAILED, HOURS, PASSED, TEMPERATURE, logit_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kstest, norm

from tl_negation import STATUSES, unit_statistics
from tl_negation.fitting import engine, newton, tensors
from tl_negation.fitting.auc import auc


def fit(x, y, **options):
    x = torch.as_tensor(np.asarray(x))
    x = x[:, None] if x.ndim == 1 else x
    columns = unit_statistics(x, torch.as_tensor(np.asarray(y)), **options)
    return {name: column.numpy() for name, column in columns.items()}


def status(columns):
    return [STATUSES[code] for code in columns["status"]]


def planted(seed, n1=40, n0=31, units=60, dtype=np.float32):
    """Units of every strength that a finite estimate allows, on every scale."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([1, 0], [n1, n0]))
    effect = rng.normal(size=units) * np.linspace(0, 1.3, units)
    x = rng.normal(size=(n1 + n0, units)) + np.outer(y, effect)
    return (x * 10 ** rng.uniform(-3, 3, units) + rng.normal(size=units)).astype(dtype), y


# ------------------------------------------------------------------ printed tables


def test_hours_and_passing_as_printed():
    got = fit(HOURS, PASSED)
    assert got["intercept"].item() == pytest.approx(-4.0777, abs=5e-5)
    assert got["beta"].item() == pytest.approx(1.5046, abs=5e-5)
    assert got["se"].item() == pytest.approx(0.6287, abs=5e-5)
    assert got["z"].item() == pytest.approx(2.393, abs=5e-4)
    assert got["p"].item() == pytest.approx(0.0167, abs=5e-5)
    assert got["lr"].item() == pytest.approx(11.66613, abs=5e-6)
    assert got["lr_p"].item() == pytest.approx(6.365e-4, abs=5e-8)


def test_o_rings_as_printed():
    got = fit(TEMPERATURE, FAILED)
    assert got["intercept"].item() == pytest.approx(10.87535, abs=5e-6)
    assert got["beta"].item() == pytest.approx(-0.17132, abs=5e-6)
    assert got["se"].item() == pytest.approx(0.08344, abs=5e-6)
    assert got["z"].item() == pytest.approx(-2.053, abs=5e-4)
    assert got["lr"].item() == pytest.approx(5.944, abs=5e-3)
    assert got["p"].item() == pytest.approx(0.0400, abs=1e-4)  # printed from a rounded z


def test_heart_disease_by_age_as_printed():
    got = fit(AGE, DISEASE)
    assert got["intercept"].item() == pytest.approx(-5.3094534, abs=5e-8)
    assert got["beta"].item() == pytest.approx(0.1109211, abs=5e-8)
    assert got["se"].item() == pytest.approx(0.02405982, abs=5e-8)
    assert got["z"].item() == pytest.approx(4.610224, abs=5e-6)  # statsmodels: 4.610220
    assert got["p"].item() == pytest.approx(4.022e-6, abs=5e-10)
    assert got["lr"].item() == pytest.approx(29.31, abs=5e-3)


def test_wald_collapses_and_likelihood_ratio_does_not():
    """Hauck & Donner (1977): class means shifted by 1 ... 6 SD."""
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], 100)
    noise = rng.normal(size=200)
    got = fit(np.stack([noise + shift * y for shift in (1, 2, 3, 4)], axis=1), y)
    z, lr = got["z"], got["lr"]
    assert z[3] < z[1]
    assert (np.diff(lr) > 0).all()


# ------------------------------------------------------------------ the statsmodels loop


SOLVERS = pytest.mark.parametrize("solver", ["rows", "tensors", "guarded"])


def use(solver, monkeypatch):
    """Fit as a CPU does, as other devices do, or as the units that either loses are fitted."""

    def all_lost(*args):
        solved = engine.ROWS.solve(*args)
        return solved._replace(done=torch.zeros_like(solved.done))

    solve = {"rows": engine.ROWS.solve, "tensors": tensors.solve, "guarded": all_lost}[solver]
    monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(solve=solve))


@SOLVERS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_column_agrees_with_a_statsmodels_loop(dtype, solver, monkeypatch):
    use(solver, monkeypatch)
    x, y = planted(seed=1, dtype=dtype)
    got, want = fit(x, y), logit_loop(x, y)
    assert set(status(got)) == {"ok"}
    for name in ("intercept", "beta", "se", "z", "beta_per_sd", "score", "lr"):
        # lr is a difference of two log-likelihoods near 50: 1e-11 is its last digit
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-11, err_msg=name)
    for name in ("p", "lr_p"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(got["accuracy"], want["accuracy"])
    for name in ("balanced_accuracy", "auc"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-14, err_msg=name)


def test_auc_with_ties_agrees_with_scikit_learn():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1, 0, 1], [20, 10, 13, 9])
    x = rng.integers(-2, 3, size=(len(y), 40)).astype(np.float32)
    x[:, 1] = np.where(x[:, 1] == 0, -0.0, x[:, 1])
    np.testing.assert_allclose(fit(x, y)["auc"], logit_loop(x, y)["auc"], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_auc_of_neighbouring_numbers_and_mixed_columns(dtype):
    """Values that differ in the last bit only, beside columns with ties and without."""
    rng = np.random.default_rng(9)
    y = np.repeat([1, 0, 1], [11, 30, 14])
    base = rng.normal(size=(len(y), 30)).astype(dtype)
    x = np.concatenate([base, np.nextafter(base, np.inf, dtype=dtype)])
    x[:, ::3] = np.round(x[:, ::3])
    y = np.concatenate([y, 1 - y])
    np.testing.assert_allclose(fit(x, y)["auc"], logit_loop(x, y)["auc"], rtol=1e-12)
    huge = np.where(x > 0, np.finfo(dtype).max, x)  # finite, though their sum is not
    want = [
        (
            (huge[y == 1, u, None] > huge[y == 0, u])
            + 0.5 * (huge[y == 1, u, None] == huge[y == 0, u])
        ).mean()
        for u in range(30)
    ]
    np.testing.assert_allclose(
        auc(torch.from_numpy(huge[np.argsort(-y, kind="stable")]), int(y.sum())),
        want,
        rtol=1e-12,
    )


def test_log10_p_does_not_underflow():
    rng = np.random.default_rng(3)
    y = np.repeat([1, 0], 4000)
    got = fit(rng.normal(size=8000) + 1.5 * y, y)
    assert got["log10_p"].item() == pytest.approx(
        (math.log(2) + norm.logsf(abs(got["z"].item()))) / math.log(10), rel=1e-12
    )
    assert got["p"].item() < 1e-300 or got["log10_p"].item() > -300


def test_logarithms_of_the_other_p_values_do_not_underflow():
    y = np.repeat([1, 0], 4000)
    rng = np.random.default_rng(3)
    x = np.stack([rng.normal(size=8000) + shift * y for shift in (0, 0.1, 1.5, 9)], axis=1)
    got = fit(x, y)
    assert status(got)[-1] == "separated"
    for name in ("lr", "score"):
        want = (math.log(2) + norm.logsf(np.sqrt(got[name]))) / math.log(10)  # chi-square 1
        np.testing.assert_allclose(got[f"log10_{name}_p"], want, rtol=1e-9)
        small = got[f"{name}_p"] > 0
        np.testing.assert_allclose(got[f"{name}_p"][small], 10 ** want[small], rtol=1e-6)
    assert got["lr_p"][-1] == 0
    assert got["log10_lr_p"][-1] < -2000


@SOLVERS
def test_strong_units_are_still_exact(solver, monkeypatch):
    """One outlier keeps the classes from being separated; the slope is huge."""
    use(solver, monkeypatch)
    rng = np.random.default_rng(4)
    y = np.repeat([1, 0], 150)
    x = rng.normal(size=(300, 30)) * 0.05 + 2 * y[:, None]
    x[0] = -1 + 0.1 * rng.normal(size=30)
    x[1] = 0.02 * rng.normal(size=30)
    got, want = fit(x, y), logit_loop(x, y)
    for name in ("intercept", "beta", "se", "lr"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, err_msg=name)


def test_the_guarded_iteration_alone_reaches_the_same_maximum():
    x, y = planted(seed=5, dtype=np.float64)
    order = np.argsort(-y, kind="stable")
    _, _, xs = newton.standardise(torch.from_numpy(x[order]))
    _, b, done = newton.guarded_newton(xs, int(y.sum()))
    assert done.all()
    np.testing.assert_allclose(b, fit(x, y)["beta_per_sd"], rtol=1e-9)


# ------------------------------------------------------------------ outcomes are data


def test_outcomes():
    y = np.array([1, 1, 1, 0, 0, 0])
    x = np.array(
        [
            [4, 5, 6, 1, 2, 3],  # separated
            [1, 2, 3, 4, 5, 6],  # separated the other way
            [3, 5, 6, 1, 2, 3],  # touch at 3
            [1, 1, 3, 3, 3, 3],  # touch at 3, other way
            [2, 2, 2, 2, 2, 2],  # constant
            [1, 3, 5, 2, 4, 6],  # overlapping
            [np.nan, 3, 5, 2, 4, 6],
            [1, 3, 5, 2, np.inf, 6],
        ],
        dtype=np.float32,
    ).T
    got = fit(x, y)
    assert status(got)[:4] == ["separated", "separated", "quasi_separated", "quasi_separated"]
    assert status(got)[4:] == ["constant", "ok", "nonfinite", "nonfinite"]
    valid = np.array([s == "ok" for s in status(got)])
    for name in ("intercept", "beta", "se", "z", "p", "log10_p", "beta_per_sd"):
        np.testing.assert_array_equal(np.isfinite(got[name]), valid, err_msg=name)
    null = -2 * 6 * math.log(0.5)
    assert got["lr"][:2].tolist() == pytest.approx([null, null])  # exactly -2 l0
    assert got["accuracy"][:4].tolist() == pytest.approx([1, 1, 5 / 6, 5 / 6])
    assert got["auc"][:5].tolist() == pytest.approx([1, 0, 8.5 / 9, 1.5 / 9, 0.5])
    assert np.isnan(got["auc"][6:]).all()


def test_likelihood_of_a_quasi_separated_unit_is_the_supremum():
    """A ridge that is let go to nothing climbs to the limit from below."""
    y = np.array([1, 1, 1, 1, 0, 0, 0])
    x = np.array([3, 3, 5, 6, 1, 2, 3], dtype=float)
    got = fit(x, y)
    eta = 60 * (x - 3) + math.log(2)  # at the touching value 2 of 3 are of class 1
    loglik = -np.logaddexp(0, np.where(y == 1, -eta, eta)).sum()
    null = 4 * math.log(4 / 7) + 3 * math.log(3 / 7)
    assert got["lr"].item() == pytest.approx(2 * (loglik - null), rel=1e-9)
    assert got["accuracy"].item() == pytest.approx(6 / 7)


def test_a_unit_that_will_not_converge_says_so(monkeypatch):
    use("guarded", monkeypatch)
    monkeypatch.setattr(newton, "GUARDED_ITERATIONS", 1)
    rng = np.random.default_rng(6)
    y = np.repeat([1, 0], 50)
    got = fit(rng.standard_cauchy(size=(100, 20)) + y[:, None], y)
    assert "nonconverged" in status(got)
    lost = got["status"] == STATUSES.index("nonconverged")
    assert np.isnan(got["beta"][lost]).all()
    assert np.isnan(got["lr"][lost]).all()


def test_four_examples_are_enough():
    got = fit(np.array([1.0, 3.0, 2.0, 4.0]), [0, 0, 1, 1])
    want = logit_loop(np.array([[1.0], [3.0], [2.0], [4.0]]), np.array([0, 0, 1, 1]))
    assert got["beta"].item() == pytest.approx(want["beta"][0], rel=1e-6)


@pytest.mark.parametrize("y", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_a_missing_class_is_refused(y):
    with pytest.raises(ValueError, match=r"needs examples of both classes; got \d of class 1"):
        fit(np.arange(4.0), y)


def test_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"labels must be 0 or 1; got \[-1, 1, 2\]"):
        fit(np.arange(4.0), [1, 2, 1, -1])


def test_chunk_below_1_is_refused():
    with pytest.raises(ValueError, match="chunk must be at least 1 unit; got 0"):
        fit(np.arange(4.0), [1, 0, 1, 0], chunk=0)


# ------------------------------------------------------------------ what must not change it

values = hnp.arrays(
    np.float64,
    st.tuples(st.integers(4, 24), st.integers(1, 5)),
    elements=st.integers(-20, 20).map(lambda i: i / 4),
)


@st.composite
def problems(draw):
    x = draw(values)
    y = draw(
        hnp.arrays(np.int64, len(x), elements=st.integers(0, 1)).filter(
            lambda y: 0 < y.sum() < len(y)
        )
    )
    return x, y


def same(a, b, names=("beta_per_sd", "lr", "accuracy", "balanced_accuracy", "auc")):
    assert status(a) == status(b)
    for name in names:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6, atol=1e-9, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(-8, 8), st.sampled_from([0.25, 2.0, 64.0]))
def test_shift_and_scale_move_only_the_coefficients(problem, shift, scale):
    x, y = problem  # quarters and powers of two: the transformed values are exact
    a, b = fit(x, y), fit(shift + scale * x, y)
    same(a, b)
    np.testing.assert_allclose(a["beta"], scale * b["beta"], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_label_flip_changes_the_sign(problem):
    x, y = problem
    a, b = fit(x, y), fit(x, 1 - y)
    same(a, b, names=("lr",))
    np.testing.assert_allclose(a["beta"], -b["beta"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(a["auc"], 1 - b["auc"], rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_order_of_examples_does_not_matter(problem, random):
    x, y = problem
    order = list(range(len(y)))
    random.shuffle(order)
    same(fit(x, y), fit(x[order], y[order]), names=("beta", "se", "lr", "accuracy", "auc"))


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(1, 4))
def test_chunks_and_neighbours_do_not_matter(problem, chunk):
    x, y = problem
    whole, cut = fit(x, y), fit(x, y, chunk=chunk)
    same(whole, cut, names=("beta", "se", "lr", "accuracy", "auc"))
    twice = fit(np.concatenate([x, x], axis=1), y)
    same(cut, {name: column[: x.shape[1]] for name, column in twice.items()})


@settings(max_examples=40, deadline=None)
@given(problems())
def test_duplicated_examples_double_the_likelihood_ratio(problem):
    x, y = problem
    a, b = fit(x, y), fit(np.concatenate([x, x]), np.concatenate([y, y]))
    assert status(a) == status(b)
    np.testing.assert_allclose(2 * a["lr"], b["lr"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(a["beta"], b["beta"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(a["se"], math.sqrt(2) * b["se"], rtol=1e-6)


# ------------------------------------------------------------------ calibration


def test_p_values_are_uniform_when_labels_mean_nothing():
    rng = np.random.default_rng(7)
    y = rng.permutation(np.repeat([1, 0], [216, 182]))
    got = fit(rng.normal(size=(398, 3000)), y)
    assert kstest(got["p"], "uniform").pvalue > 0.01
    assert kstest(got["lr_p"], "uniform").pvalue > 0.01
    assert kstest(got["score_p"], "uniform").pvalue > 0.01


@pytest.mark.gpu
def test_gpu_agrees_with_cpu():
    x, y = planted(seed=8)
    cpu = fit(x, y)
    gpu = unit_statistics(torch.from_numpy(x).cuda(), torch.from_numpy(y))
    for name, column in cpu.items():
        np.testing.assert_allclose(gpu[name].cpu().numpy(), column, rtol=1e-6, err_msg=name)
