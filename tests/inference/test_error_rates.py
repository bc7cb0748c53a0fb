"""False discovery rate and exceedance over words, against their definitions."""

import numpy as np
import pytest
import torch
from helpers import synthetic

from tl_negation.inference import error_rates
from tl_negation.inference.every_labeling_tensors import statistics
from tl_negation.inference.precision import weigh, word_means
from tl_negation.inference.words import exchangeable, labelings_of, word_test


def made(effect, seed=0, n_units=60):
    """A result whose first third of units is tuned, and all statistics [unit, labeling]."""
    _, labels, names = synthetic.small(seed=seed)
    rng = np.random.default_rng(seed)
    x = synthetic.lexical_units(names.tolist(), n_units, rng, noise=0.3)
    x[:, : n_units // 3] += effect * labels[:, None]
    of = synthetic.contexts(labels, names)
    acts = synthetic.activations(x[None], of)
    types = exchangeable(of)
    labelings, _ = labelings_of(types, 10_000, 0)
    units = weigh(word_means(acts.values, of.words, tuple(types["word"])))
    value = statistics(units.deviations, units.weights, labelings, 0).numpy()
    return synthetic.bare(acts), value


def by_definition(value, gamma, alpha):
    """Hemerik 2025: a threshold for each labeling, and their quantile."""
    observed = value[:, 0]
    highest = []
    for column in value.T:
        s = -np.inf
        # The ratio can only come to exceed gamma just below a value of this labeling.
        for t in np.sort(column):
            n, r = (column >= t - 1e-9).sum(), (observed >= t - 1e-9).sum()
            if n / max(r, 1) > gamma:
                s = max(s, t)
        highest.append(s)
    return [(np.array(highest) >= t - 1e-9).mean() <= alpha for t in observed]


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("effect", [0.0, 3.0, 6.0])
def test_exceedance_is_that_of_its_definition(gamma, effect):
    result, value = made(effect)
    got = word_test(result, error="fdx", gamma=gamma, alpha=0.1, progress=False)
    assert got.significant_words[0].tolist() == by_definition(value, gamma, 0.1)


def test_cases_of_exceedance_differ():
    """So that the comparison above is not one of empty sets."""
    result, _ = made(6.0)
    options = {"error": "fdx", "alpha": 0.1, "progress": False}
    found = [
        int(word_test(result, gamma=g, **options).significant_words.sum()) for g in (0.0, 0.1, 0.3)
    ]
    assert 0 < found[0] < found[2]


def test_without_false_units_exceedance_is_max_t_in_a_single_step():
    result, value = made(6.0)
    got = word_test(result, error="fdx", gamma=0.0, alpha=0.1, progress=False)
    p = (value.max(axis=0) >= value[:, :1] - 1e-9).mean(axis=1)
    np.testing.assert_array_equal(got.significant_words[0], p <= 0.1)
    assert got.provenance["word_test"]["gamma"] == 0


def test_false_discovery_rate_is_that_of_its_definition():
    result, value = made(3.0)
    got = word_test(result, error="fdr", alpha=0.2, progress=False)
    observed = value[:, 0]
    rate = [
        min(1, (value >= t - 1e-9).sum() / value.shape[1] / (observed >= t - 1e-9).sum())
        for t in observed
    ]
    want = [min(rate[j] for j in range(60) if observed[j] <= t + 1e-9) for t in observed]
    # Values of one bin are taken for equal.
    np.testing.assert_allclose(got.words_q[0], want, rtol=2e-3)
    assert (got.words_q[0].numpy() >= np.array(want) - 1e-12).all()
    assert torch.equal(got.significant_words, got.words_q <= 0.2)
    assert 0 < got.significant_words.sum() < 60


def test_thresholds_are_thinned_only_beyond_the_first(monkeypatch):
    """Fewer thresholds give a set that is no larger."""
    result, _ = made(6.0)
    every = word_test(result, error="fdx", gamma=0.3, alpha=0.1, progress=False).significant_words
    monkeypatch.setattr(error_rates, "EACH", 2)
    monkeypatch.setattr(error_rates, "STEP", 1.5)
    fewer = word_test(result, error="fdx", gamma=0.3, alpha=0.1, progress=False).significant_words
    assert (fewer <= every).all()
    assert fewer.any()


def test_units_without_a_statistic_have_no_rate():
    values, labels, names = synthetic.small()
    values[1] = 0.3
    got = word_test(
        synthetic.bare(synthetic.activations(values, synthetic.contexts(labels, names))),
        error="fdx",
        progress=False,
    )
    assert torch.isnan(got.words_q[1]).all()
    assert torch.isfinite(got.words_q[[0, 2]]).all()
    assert not got.significant_words[1].any()
