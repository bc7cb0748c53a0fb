"""Words weighed by their precision, against statsmodels' meta-analysis."""

import numpy as np
import pytest
import torch
from helpers import synthetic
from statsmodels.stats.meta_analysis import combine_effects

from tl_negation.inference.precision import between_variance, gram_of, weigh, word_means
from tl_negation.inference.words import exchangeable

VALUES, LABELS, NAMES = synthetic.small(seed=4)
#: Some units that do not know words.
VALUES[:, :, :3] = np.random.default_rng(4).normal(size=(3, len(LABELS), 3))
OF = synthetic.contexts(LABELS, NAMES)
TYPES = tuple(exchangeable(OF)["word"])
MEANS = word_means(torch.from_numpy(VALUES), OF.words, TYPES)


def test_means_and_the_variance_within_words():
    for unit in (0, 40, 104):
        x = VALUES[unit // 35, :, unit % 35]
        groups = [x[word == NAMES] for word in TYPES]
        np.testing.assert_allclose(MEANS.means[unit], [g.mean() for g in groups], rtol=1e-12)
        squares = sum(((g - g.mean()) ** 2).sum() for g in groups)
        assert MEANS.within[unit].item() == pytest.approx(squares / (61 - 9), rel=1e-10)
    assert MEANS.counts.tolist() == [list(NAMES).count(word) for word in TYPES]


def test_weights_are_those_of_der_simonian_and_laird():
    units = weigh(MEANS)
    variances = (MEANS.within[:, None] / MEANS.counts).numpy()
    seen = []
    for unit in range(105):
        with np.errstate(invalid="ignore"):  # statsmodels does not cut tau2 off at 0
            want = combine_effects(MEANS.means[unit].numpy(), variances[unit], method_re="chi2")
        tau2 = max(want.tau2, 0)
        assert between_variance(MEANS)[unit].item() == pytest.approx(tau2, rel=1e-8, abs=1e-12)
        weights = 1 / (tau2 + variances[unit])
        np.testing.assert_allclose(units.weights[unit], weights / weights.max(), rtol=1e-7)
        icc = tau2 / (tau2 + MEANS.within[unit].item())
        assert units.icc[unit].item() == pytest.approx(icc, rel=1e-8, abs=1e-12)
        seen.append(tau2)
    assert min(seen) == 0 < max(seen)  # both cases


def test_deviations_sum_to_nothing_and_equal_weights_are_the_plain_deviations():
    units = weigh(MEANS)
    scale = units.deviations.abs().sum(dim=1)
    assert (units.deviations.sum(dim=1).abs() <= 1e-12 * scale).all()
    plain = weigh(MEANS, equal=True)
    centred = MEANS.means - MEANS.means.mean(dim=1, keepdim=True)
    torch.testing.assert_close(plain.deviations, centred)
    assert (plain.weights == 1).all()


@pytest.mark.parametrize("exponent", [-140, 140])
def test_scale_does_not_matter(exponent):
    """By a power of two, in float64: the very same weights."""
    scaled = word_means(torch.from_numpy(VALUES * 2.0**exponent), OF.words, TYPES)
    got, want = weigh(scaled), weigh(MEANS)
    torch.testing.assert_close(got.weights, want.weights, rtol=1e-10, atol=0)
    torch.testing.assert_close(got.deviations * 2.0**-exponent, want.deviations)


def test_units_that_are_constant_over_words_or_not_finite_are_nan():
    values = VALUES.copy()
    values[0, :, 0] = 0.3
    values[0, 5, 1] = np.nan
    values[0, 5, 2] = np.inf
    units = weigh(word_means(torch.from_numpy(values), OF.words, TYPES))
    assert torch.isnan(units.deviations[:3]).any(dim=1).all()
    assert torch.isfinite(units.deviations[3:]).all()


def test_without_any_spread_within_words_all_weigh_alike():
    one_each = synthetic.contexts([1, 1, 0, 0], ["not", "nor", "can", "may"])
    values = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    units = weigh(word_means(values, one_each.words, ("not", "nor", "can", "may")))
    assert (units.weights == 1).all()


def test_gram_does_not_depend_on_the_basis():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(35, 35)))[0]
    gram, weights = gram_of(word_means(torch.from_numpy(VALUES[:1]), OF.words, TYPES))
    turned = gram_of(word_means(torch.from_numpy(VALUES[:1] @ turn), OF.words, TYPES))
    torch.testing.assert_close(turned[0], gram, rtol=1e-8, atol=1e-8 * gram.abs().max().item())
    torch.testing.assert_close(turned[1], weights, rtol=1e-8, atol=0)
