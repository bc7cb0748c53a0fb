"""What each test does where there is nothing to find, and where there is something.

Rates are over simulated units or families with the word counts of "The Variable Man"
(`synthetic.NEGATIONS`, `synthetic.AFFIRMATIONS`): 5 + 10 words, 28 tokens, 398 examples. Seeds are
fixed; bounds are binomial at 99.9 % around the nominal rate unless a measured rate is stated.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from scipy.stats import binom, kstest

from tl_negation.inference.clusters import cluster_robust
from tl_negation.inference.heldout import held_out, selectivity
from tl_negation.inference.nulls import lexical_null
from tl_negation.inference.penalised import penalise
from tl_negation.inference.words import word_test
from tl_negation.probing.probe import probe

STORY = synthetic.story_contexts()
LABELS = STORY.labels.numpy()
TOKENS, WORDS = tuple(STORY.examples["token"]), STORY.words
LAYER = 3840  # attention units of a layer of GPT-2 Large: 3 x 1280, the reference's family


def units(kinds, n_units, seed, noise=0.0):
    """One layer of units that know the kind and nothing else."""
    x = synthetic.lexical_units(kinds, n_units, np.random.default_rng(seed), noise)
    return synthetic.activations(x[None], STORY)


def bounds(n, rate=0.05):
    """Shares of ``n`` that a true rate gives with a probability of 99.9 %."""
    return tuple(limit / n for limit in binom.interval(0.999, n, rate))


def share(passed):
    return passed.double().mean().item()


# ------------------------------------------------------------------ the reference's test


def test_wald_with_bonferroni_passes_units_that_know_only_the_token():
    """STATISTICS, 5: 64 % of them, at 73.7 % accuracy, with no negation in it at all."""
    result = probe(units(TOKENS, LAYER, seed=0), test="wald", progress=False)
    passed = result.significant
    assert share(passed) > 0.5
    assert share(passed) == pytest.approx(0.64, abs=0.03)
    assert result.accuracy[passed].mean().item() == pytest.approx(0.737, abs=0.01)


@pytest.mark.parametrize(
    ("noise", "passing", "accuracy"),
    [(0.5, 0.46, 0.67), (0.8, 0.22, 0.635), (0.9, 0.09, 0.62), (0.95, 0.02, 0.61)],
)
def test_noise_within_tokens_alone_draws_the_published_decline(noise, passing, accuracy):
    result = probe(units(TOKENS, LAYER, seed=1, noise=noise), test="wald", progress=False)
    passed = result.significant
    assert share(passed) == pytest.approx(passing, abs=min(0.04, passing / 2))
    assert result.accuracy[passed].mean().item() == pytest.approx(accuracy, abs=0.015)


# ------------------------------------------------------------------ the test over words


@pytest.mark.slow
def test_p_values_are_uniform_when_word_labels_mean_nothing():
    """The activations stay, with all that they know of the category; the words' labels are dealt.

    Units depend on one another, so one of them is followed, and the family's smallest max-T p.
    """
    rng = np.random.default_rng(2)
    codes, types = pd.factorize(np.array(WORDS))
    shared = rng.normal(size=(398, 3)) @ rng.normal(size=(3, 35))
    values = synthetic.lexical_units(WORDS, 35, rng, noise=0.3) + shared + LABELS[:, None]
    p, smallest = [], []
    for seed in range(500):
        of_type = rng.permutation(np.repeat([1, 0], [5, len(types) - 5]))
        acts = synthetic.activations(values[None], synthetic.contexts(of_type[codes], WORDS))
        got = word_test(synthetic.bare(acts), permutations=199, seed=seed, progress=False)
        p.append(got.words_p[0, 0].item())
        smallest.append(got.words_p_maxt.min().item())
    low, high = bounds(500)
    for values in (np.array(p), np.array(smallest)):
        assert low <= (values <= 0.05).mean() <= high
        # p lies on a grid of 1 / 200: at its points the uniform distribution is hit exactly
        assert kstest(values - rng.uniform(0, 1 / 200, 500), "uniform").pvalue > 0.01


def test_max_t_controls_the_family_wise_error_where_units_know_only_the_word():
    """1500 families of 20 units; the null of the test itself, so the rate is met, not only kept."""
    rng = np.random.default_rng(3)
    families = synthetic.lexical_units(WORDS, 1500 * 20, rng).reshape(398, 1500, 20)
    acts = synthetic.activations(families.transpose(1, 0, 2), STORY)
    got = word_test(synthetic.bare(acts), family="layer", progress=False)
    low, high = bounds(1500)
    assert low <= share(got.significant_words.any(dim=1)) <= high
    assert 0.045 <= share(got.words_p <= 0.05) <= 0.055


@pytest.mark.parametrize(
    ("kinds", "noise"), [(WORDS, 0.5), (WORDS, 0.95), (TOKENS, 0.0), (TOKENS, 0.5)]
)
def test_max_t_keeps_the_family_wise_error_where_type_means_differ_in_precision(kinds, noise):
    """Within-word noise makes rare words' means vary more than frequent ones', which is not exactly
    exchangeable. So does a value per *token*: the mean of "not" is over five of them, that of
    "nor" is one. Measured: 2 to 5 % of families, never above the nominal rate.
    """
    rng = np.random.default_rng(4)
    families = synthetic.lexical_units(kinds, 1000 * 20, rng, noise).reshape(398, 1000, 20)
    acts = synthetic.activations(families.transpose(1, 0, 2), STORY)
    got = word_test(synthetic.bare(acts), family="layer", progress=False)
    assert 0.01 <= share(got.significant_words.any(dim=1)) <= bounds(1000)[1]
    one = probe(synthetic.activations(families[None, :, 0], STORY), progress=False)
    if noise <= 0.5:
        assert one.significant.any()  # the same family by example


def test_a_unit_that_follows_the_category_over_all_words_is_found_among_a_layer_of_others():
    acts = units(WORDS, LAYER, seed=5)
    rng = np.random.default_rng(5)
    planted = synthetic.lexical_units(WORDS, 1, rng)[:, 0] + 6 * LABELS
    acts.values[0, :, 1234] = torch.from_numpy(planted)
    result = word_test(probe(acts, progress=False), family="layer", progress=False)
    assert result.significant_words.nonzero().tolist() == [[0, 1234]]
    assert result.words_p_maxt[0, 1234] <= 0.01
    assert share(result.significant) > 0.5  # by example most units pass


# ------------------------------------------------------------------ held-out words, selectivity


def test_units_that_know_only_words_score_about_one_half_on_words_left_out():
    """In sample 0.67. Slightly below one half, as always where the word left out shifts the mean of
    its class away from itself; the macro average over words has it at 0.50.
    """
    acts = units(WORDS, 1500, seed=6)
    result = held_out(probe(acts, progress=False), progress=False)
    assert result.balanced_accuracy.nanmean() > 0.65
    assert 0.46 < result.held_out_accuracy.nanmean() < 0.51
    assert result.held_out_macro.nanmean().item() == pytest.approx(0.5, abs=0.02)


def test_units_that_know_the_category_score_the_same_on_words_left_out():
    rng = np.random.default_rng(7)
    values = 1.5 * LABELS[:, None] + rng.normal(size=(398, 300))
    result = probe(synthetic.activations(values[None], STORY), progress=False)
    result = held_out(result, progress=False)
    inside, outside = result.balanced_accuracy.mean(), result.held_out_accuracy.mean()
    assert inside > 0.75
    assert outside.item() == pytest.approx(inside.item(), abs=0.02)


def test_folds_of_units_that_know_nothing_score_one_half():
    result = probe(units([str(i) for i in range(398)], 1000, seed=8), progress=False)
    for by in ("fold", "block", "word"):
        result = held_out(result, by=by, progress=False)
    for name in ("fold_accuracy", "block_accuracy", "held_out_accuracy"):
        assert result.columns[name].mean().item() == pytest.approx(0.5, abs=0.01)
    assert result.accuracy.mean() > 0.53  # in sample, against a majority of 54.3 %


def test_words_leave_selectivity_at_or_below_zero():
    """With the story's counts control tasks are easier than the real one, whose two classes are
    equally large: 5 points below zero on average. (With equal counts it is zero: test_heldout.py.)
    """
    result = selectivity(synthetic.bare(units(WORDS, 600, seed=9)), tasks=10, progress=False)
    assert result.fold_accuracy.mean() > 0.6
    assert -0.1 < result.selectivity.mean() < 0.01


# ------------------------------------------------------------------ other errors and fits

CLUSTERED = {0.0: 0.125, 0.1: 0.21, 0.5: 0.21, 0.8: 0.205, 0.9: 0.20, 0.95: 0.19, 1.0: 0.13}


@pytest.mark.parametrize("noise", list(CLUSTERED))
def test_clustered_errors_reject_far_too_often_with_so_few_words(noise):
    """Share of cluster_p < .05 by the share of variance within words; Wald's is beside it."""
    result = cluster_robust(probe(units(WORDS, 4000, seed=10, noise=noise), progress=False))
    rejected = share(result.cluster_p[result.tested] < 0.05)
    assert rejected == pytest.approx(CLUSTERED[noise], abs=0.02)
    assert rejected > 2 * 0.05
    wald = share(result.p[result.tested] < 0.05)
    assert wald > rejected if noise < 1 else wald == pytest.approx(0.05, abs=0.011)


def test_penalised_p_values_are_uniform_when_labels_mean_nothing():
    result = probe(units([str(i) for i in range(398)], 2000, seed=11), progress=False)
    assert kstest(penalise(result, units="all").firth_p[0], "uniform").pvalue > 0.01


def test_the_lexical_null_of_lexical_units_shows_what_they_show():
    """Where there is nothing but words, dealing them anew changes no rate."""
    result = probe(units(WORDS, 2000, seed=12, noise=0.5), progress=False, family="all")
    table = lexical_null(result, replicates=10, progress=False)
    spread = table["share_significant"].std()
    assert table["share_significant"].mean() == pytest.approx(share(result.significant), abs=0.05)
    assert table["accuracy"].mean() == pytest.approx(result.accuracy.mean().item(), abs=0.02)
    assert 0 < spread < 0.1
