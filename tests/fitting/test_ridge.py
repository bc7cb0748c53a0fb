"""Ridge fits of one set of units under many labelings, against scikit-learn and fit by fit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tl_negation.fitting import ridge


def case(examples, units, labelings, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, units)) * np.geomspace(1, spread, units)
    y = np.stack([rng.permutation(np.arange(examples) % 3 == 0) for _ in range(labelings)])
    return torch.from_numpy(x), torch.from_numpy(y.astype(float))


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("examples", "units"), [(50, 4), (40, 90)])
def test_each_labeling_is_scikit_learns_fit(examples, units, penalty):
    x, y = case(examples, units, 5)
    weights, intercept = ridge.fit_labelings(x, y, penalty)
    assert weights.shape == (5, units)
    for row in range(5):
        peer = LogisticRegression(C=1 / penalty, tol=1e-10, solver="newton-cholesky", max_iter=500)
        peer.fit(x.numpy(), y[row].numpy())
        np.testing.assert_allclose(weights[row], peer.coef_[0], atol=1e-6)
        assert intercept[row].item() == pytest.approx(peer.intercept_[0], abs=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_each_labeling_is_the_fit_by_itself(spread):
    x, y = case(60, 30, 7, spread)
    weights, intercept = ridge.fit_labelings(x, y, 1.0)
    for row in range(7):
        alone, constant = ridge.fit(x[None], y[row], 1.0)
        torch.testing.assert_close(weights[row], alone[0], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(intercept[row], constant[0], rtol=1e-6, atol=1e-8)


def test_the_gradient_is_zero_where_the_classes_are_separated():
    x, y = case(20, 3, 1)
    x[:, 0] += 50 * y[0]
    weights, intercept = ridge.fit_labelings(x, y, 0.1)
    p = torch.sigmoid(x @ weights[0] + intercept[0])
    assert ((y[0] - p) @ x - 0.1 * weights[0]).abs().max() < 1e-7
    assert (y[0] - p).sum().abs() < 1e-8
