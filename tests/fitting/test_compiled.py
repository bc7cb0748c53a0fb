"""The kernels for CPUs, by themselves: exact, and the same bits whenever they were compiled."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tl_negation.fitting import compiled
from tl_negation.fitting.compiled import Column

FITS = """
import hashlib, numpy as np
from tl_negation.fitting import compiled
rng = np.random.default_rng(0)
x, n1 = rng.normal(size=(2000, 203)).astype(np.float32), 108
x[:, :n1] += 0.5 * rng.normal(size=(2000, 1)).astype(np.float32)
out = np.empty((len(compiled.Column), len(x)))
compiled.fit(x, n1, out)
print(hashlib.sha256(out.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_compiled_afresh_and_read_from_the_cache_are_the_same_bits(tmp_path):
    command = [sys.executable, "-c", FITS]
    options = {"env": {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, "text": True}
    first, second = (
        subprocess.run(command, check=True, capture_output=True, **options).stdout for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert len(first) == 65
    assert first == second


UNKEPT = """
import warnings
from numba.core import caching
caching.FunctionCache._impl_class._locator_classes = []
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from tl_negation.fitting import compiled
print([str(each.message) for each in said])
print(type(compiled.fit).__name__)
"""


def test_without_a_folder_for_its_cache_it_is_compiled_all_the_same():
    """As with a read-only installation and home: Numba then refuses to decorate a function."""
    done = subprocess.run(
        [sys.executable, "-c", UNKEPT], check=True, capture_output=True, text=True
    )
    [said], kind = done.stdout.splitlines()[0].split("', '"), done.stdout.splitlines()[1]
    assert "set NUMBA_CACHE_DIR to a folder that can" in said
    assert kind == "CPUDispatcher"


def test_every_column_is_filled_and_has_the_place_that_its_name_says():
    x = np.random.default_rng(1).normal(size=(3, 40)) * 5 + 2
    out = np.full((len(Column), 3), np.nan)
    compiled.fit(x, 18, out)
    assert sorted(Column) == list(range(len(Column)))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[Column.MEAN], x.mean(axis=1))
    np.testing.assert_allclose(out[Column.SD], x.std(axis=1))
    z = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    np.testing.assert_allclose(out[Column.SUM1], z[:, :18].sum(axis=1))
    above = out[Column.A, :, None] + out[Column.B, :, None] * z
    share = np.log(18 / 22)
    np.testing.assert_array_equal(out[Column.HITS], (above > 0)[:, :18].sum(axis=1))
    np.testing.assert_array_equal(out[Column.ALARMS], (above > 0)[:, 18:].sum(axis=1))
    np.testing.assert_array_equal(out[Column.BALANCED_HITS], (above > share)[:, :18].sum(axis=1))
    np.testing.assert_array_equal(out[Column.BALANCED_ALARMS], (above > share)[:, 18:].sum(axis=1))
    above[:, 18:] *= -1
    np.testing.assert_allclose(out[Column.LOGLIK], -np.log1p(np.exp(-above)).sum(axis=1))
    weight = np.exp(above) / (1 + np.exp(above)) ** 2
    information = weight.sum(1), (weight * z).sum(1), (weight * z * z).sum(1)
    variance = information[0] / (information[0] * information[2] - information[1] ** 2)
    np.testing.assert_allclose(out[Column.VARIANCE], variance)
    assert out[Column.CONVERGED].tolist() == [1, 1, 1]


def test_the_compiled_exponential_is_exact_to_the_last_places():
    z = np.linspace(-700, 700, 100_001)
    odds, work = np.empty_like(z), np.empty_like(z)
    compiled.odds_against(z, 0, 0.0, 1.0, odds, work)
    np.testing.assert_allclose(odds, np.exp(z), rtol=1e-15)


@pytest.mark.parametrize("n", [4, 127, 128, 129, 1000])
def test_log_likelihood_by_products_and_where_they_overflow(n):
    odds = np.exp(np.random.default_rng(n).normal(0, 3, n))
    assert compiled.loglik(odds) == pytest.approx(-np.log1p(odds).sum(), rel=1e-13)
    odds *= 1e30
    assert compiled.loglik(odds) == pytest.approx(-np.log1p(odds).sum(), rel=1e-13)
