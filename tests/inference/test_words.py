"""The permutation test over word types, against brute force and slow loops."""

import math
from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from helpers import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_ind

from tl_negation.inference import every_labeling_compiled, words
from tl_negation.inference.precision import weigh, word_means
from tl_negation.inference.words import TooFewWordsError, exchangeable, word_test
from tl_negation.probing.families import family_ids


def run(values, labels, words, **options):
    acts = synthetic.activations(values, synthetic.contexts(labels, words))
    return word_test(synthetic.bare(acts), progress=False, **options)


def means_by_word(x, labels, words):
    """Type means of one unit, class 1 first, in the order of `exchangeable`: a plain loop."""
    order = exchangeable(synthetic.contexts(labels, words))["word"]
    return [np.mean([float(x[i]) for i in range(len(x)) if words[i] == word]) for word in order]


def pooled_t(means, _, chosen):
    one = [m for i, m in enumerate(means) if i in chosen]
    zero = [m for i, m in enumerate(means) if i not in chosen]
    return float(ttest_ind(one, zero).statistic)


def weighted_t(means, weights, chosen):
    """Slope of a weighted regression on the class: statsmodels scales its error as we do."""
    y = [i in chosen for i in range(len(means))]
    return float(sm.WLS(means, sm.add_constant(np.float64(y)), weights=weights).fit().tvalues[1])


T_OF = {"pooled": pooled_t, "weighted": weighted_t}


def weights_of(values, labels, names):
    """Weights of each unit; those of `precision` have oracles of their own."""
    of = synthetic.contexts(labels, names)
    types = tuple(exchangeable(of)["word"])
    return weigh(word_means(torch.as_tensor(values[None]).float(), of.words, types)).weights


SIDES = {"two-sided": abs, "greater": float, "less": lambda t: -t}


def slow_t(values, labels, words, labelings, alternative, statistic="weighted"):
    """Statistic of every unit (rows) under every labeling (columns), one t test at a time."""
    side, t_of = SIDES[alternative], T_OF[statistic]
    chosen = [frozenset(np.flatnonzero(row)) for row in labelings]
    weights = weights_of(values, labels, words).tolist()
    means = [means_by_word(x, labels, words) for x in values.T]
    return np.array(
        [[side(t_of(m, w, one)) for one in chosen] for m, w in zip(means, weights, strict=True)]
    )


def slow_step_down(t):
    """Westfall & Young's algorithm 2.8, the observed labeling in column 0, in plain Python."""
    n_units, n_labelings = t.shape
    order = sorted(range(n_units), key=lambda unit: -t[unit, 0])
    adjusted, least = {}, 0.0
    for rank, unit in enumerate(order):
        family = order[rank:]
        reached = 0
        for labeling in range(n_labelings):
            largest = max(t[other, labeling] for other in family)
            reached += largest >= t[unit, 0] - 1e-9
        least = max(least, reached / n_labelings)
        adjusted[unit] = least
    return np.array([adjusted[unit] for unit in range(n_units)])


def closed_testing(t):
    """Largest max-T p over all sets of hypotheses that hold the unit: every subset is looked at."""
    n_units = len(t)
    subsets = chain.from_iterable(
        combinations(range(n_units), size) for size in range(1, n_units + 1)
    )
    adjusted = np.zeros(n_units)
    for subset in map(list, subsets):
        largest = t[subset].max(axis=0)
        p = np.mean(largest >= largest[0] - 1e-9)
        adjusted[subset] = np.maximum(adjusted[subset], p)
    return adjusted


@pytest.fixture(scope="module")
def seven():
    """One layer, seven units with effects from below to above, a tie; 126 labelings."""
    values, labels, words = synthetic.small(seed=3)
    values = np.float32(values[:1, :, :7])
    values += values.std(axis=1) * np.linspace(-2, 2, 7, dtype=np.float32) * labels[:, None]
    values[:, :, 6] = values[:, :, 5] * np.float32(0.5)
    return values, labels, words


# ------------------------------------------------------------------ one unit


@pytest.mark.parametrize("statistic", list(T_OF))
def test_statistic_is_the_t_of_the_type_means(statistic):
    values, labels, names = synthetic.small()
    got = run(values, labels, names, statistic=statistic)
    for layer, unit in [(0, 0), (1, 13), (2, 26)]:
        x = np.float32(values[layer, :, unit : unit + 1])
        weights = weights_of(x, labels, names)[0].tolist()
        want = T_OF[statistic](means_by_word(x[:, 0], labels, names), weights, range(4))
        assert got.words_t[layer, unit].item() == pytest.approx(want, rel=1e-6)


def test_where_words_alone_vary_both_statistics_are_one():
    """Without noise within words their weights are alike: the intraclass correlation is 1."""
    of = synthetic.story_contexts()
    x = synthetic.lexical_units(of.words, 20, np.random.default_rng(0))
    result = synthetic.bare(synthetic.activations(x[None], of))
    weighted, pooled = (word_test(result, statistic=s, progress=False) for s in T_OF)
    torch.testing.assert_close(weighted.words_icc, torch.ones(1, 20).double())
    torch.testing.assert_close(weighted.words_t, pooled.words_t, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided_p_is_scipys(seven, alternative):
    values, labels, names = seven
    got = run(*seven, alternative=alternative, statistic="pooled").words_p[0]
    for unit in range(7):
        means = means_by_word(values[0, :, unit], labels, names)
        want = permutation_test(
            (means[:4], means[4:]),
            lambda a, b: np.mean(a) - np.mean(b),
            n_resamples=np.inf,
            alternative=alternative,
        )
        assert got[unit].item() == pytest.approx(want.pvalue, abs=1e-12)


def test_a_word_counts_once_however_often_it_occurs():
    """The datum of the pooled t is the word: more examples of one word change nothing."""
    values, labels, names = synthetic.small()
    again = np.concatenate([np.arange(61)] + [np.flatnonzero(names == "can")] * 2)
    once = run(values, labels, names, statistic="pooled")
    thrice = run(values[:, again], labels[again], names[again], statistic="pooled")
    torch.testing.assert_close(thrice.words_t, once.words_t, rtol=1e-6, atol=1e-9)
    assert torch.equal(thrice.words_p, once.words_p)


# ------------------------------------------------------------------ max-T


@pytest.mark.parametrize("statistic", list(T_OF))
@pytest.mark.parametrize("alternative", list(SIDES))
def test_step_down_is_closed_testing_and_the_slow_loop(seven, alternative, statistic):
    types = exchangeable(synthetic.contexts(seven[1], seven[2]))
    labelings, exact = words.labelings_of(types, 10_000, 0)
    assert exact
    assert len(labelings) == math.comb(9, 4)
    t = slow_t(seven[0][0], *seven[1:], labelings.numpy(), alternative, statistic)
    got = run(*seven, alternative=alternative, statistic=statistic)
    np.testing.assert_allclose(got.words_p[0], (t >= t[:, :1] - 1e-9).mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(got.words_p_maxt[0], closed_testing(t), atol=1e-12)
    np.testing.assert_allclose(got.words_p_maxt[0], slow_step_down(t), atol=1e-12)
    assert len(set(got.words_p_maxt[0].tolist())) >= 3  # not all 1


def test_sampled_labelings_agree_with_the_slow_loop_and_are_seeded(seven):
    types = exchangeable(synthetic.contexts(seven[1], seven[2]))
    labelings, exact = words.labelings_of(types, 60, 5)
    assert not exact
    assert labelings.shape == (61, 9)
    assert torch.equal(labelings[0], torch.tensor([1.0] * 4 + [0.0] * 5).double())
    assert (labelings.sum(dim=1) == 4).all()
    t = slow_t(seven[0][0], *seven[1:], labelings.numpy(), "two-sided")
    got = run(*seven, permutations=60, seed=5)
    np.testing.assert_allclose(got.words_p_maxt[0], slow_step_down(t), atol=1e-12)
    assert torch.equal(got.words_p, run(*seven, permutations=60, seed=5).words_p)
    assert not torch.equal(got.words_p, run(*seven, permutations=60, seed=6).words_p)


def test_one_is_added_where_labelings_are_sampled():
    """Phipson & Smyth 2010: a p value is never 0; (1 + reached) / (1 + drawn)."""
    of = synthetic.story_contexts()
    values = of.labels[None, :, None] + 0.01 * torch.randn(
        1, 398, 5, generator=torch.Generator().manual_seed(0)
    )
    got = word_test(
        synthetic.bare(synthetic.activations(values, of)), permutations=99, seed=1, progress=False
    )
    assert got.words_p.min().item() == pytest.approx(1 / 100)  # no draw reaches it
    assert got.provenance["word_test"]["labelings"] == 99
    weak = torch.randn(1, 398, 50, generator=torch.Generator().manual_seed(1))
    p = word_test(
        synthetic.bare(synthetic.activations(weak, of)), permutations=99, progress=False
    ).words_p
    torch.testing.assert_close(p * 100, (p * 100).round())
    assert p.max().item() <= 1


def test_enumeration_and_sampling_agree():
    of = synthetic.story_contexts()
    x = synthetic.lexical_units(of.words, 40, np.random.default_rng(4))
    result = synthetic.bare(
        synthetic.activations(x[None] + 0.7 * of.labels.numpy()[None, :, None], of)
    )
    exact = word_test(result, progress=False)
    drawn = word_test(result, permutations=2500, progress=False)
    assert exact.provenance["word_test"]["labelings"] == 3003
    for name in ("words_p", "words_p_maxt"):
        p = exact.columns[name]
        four_sigma = 4 * torch.sqrt(p * (1 - p) / 2500) + 1 / 2500
        assert ((drawn.columns[name] - p).abs() <= four_sigma).all()
        assert (drawn.columns[name] != p).any()


@pytest.mark.parametrize("family", ["layer", "site", "all"])
def test_families_are_tested_apart(family):
    values, labels, names = synthetic.small(seed=1)
    whole = run(values, labels, names, family=family)
    ids = family_ids(synthetic.SITES, 3, family)
    for one in np.unique(ids):
        member = ids == one
        alone = run(
            np.stack([np.asarray(values)[layer, :, unit] for layer, unit in np.argwhere(member)]).T[
                None
            ],
            labels,
            names,
        )
        np.testing.assert_allclose(whole.words_p_maxt.numpy()[member], alone.words_p_maxt[0])
    assert whole.provenance["word_test"]["family"] == family


def test_a_larger_family_costs_power_and_a_unit_alone_has_its_own_p():
    values, labels, names = synthetic.small(seed=1)
    layer, whole = (run(values, labels, names, family=one) for one in ("layer", "all"))
    assert torch.equal(layer.words_p, whole.words_p)
    assert (whole.words_p_maxt >= layer.words_p_maxt).all()
    assert (layer.words_p_maxt >= layer.words_p).all()
    alone = run(values[:1, :, :1], labels, names)
    assert torch.equal(alone.words_p, alone.words_p_maxt)


def test_blocks_do_not_matter(seven, monkeypatch):
    values, labels, names = synthetic.small(seed=2)
    whole = run(values, labels, names)
    monkeypatch.setattr(every_labeling_compiled, "STRETCH", 5)  # 105 units in the family
    cut = run(values, labels, names)
    for name in ("words_t", "words_p", "words_p_maxt", "words_q"):
        assert torch.equal(whole.columns[name], cut.columns[name])
    pd.testing.assert_frame_equal(whole.tables["groups"], cut.tables["groups"])


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.01, 100) | st.floats(-100, -0.01),
    st.floats(-3, 3),
    st.integers(0, 2**32 - 1),
)
def test_scale_shift_and_order_do_not_matter(scale, shift, seed):
    values, labels, names = synthetic.small(seed=2)
    values /= values.std(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    order, unit_order = rng.permutation(61), rng.permutation(synthetic.WIDTH)
    a = run(values[:1], labels, names)
    b = run(
        values[:1][:, order][:, :, unit_order] * scale + shift * abs(scale),
        labels[order],
        names[order],
    )
    np.testing.assert_allclose(
        a.words_t[:, unit_order] * np.sign(scale), b.words_t, rtol=1e-4, atol=1e-5
    )
    # equality of two labelings may depend on a rounding of the float32 activations
    np.testing.assert_allclose(a.words_p[:, unit_order], b.words_p, atol=2.5 / 126)


# ------------------------------------------------------------------ what a unit can be


def test_a_unit_with_one_value_per_class_is_the_strongest_not_missing():
    values, labels, names = synthetic.small()
    values[1, :, 4] = np.where(labels, 0.3, -0.7)
    values[2, :, 20] = -5.0 * labels
    got = run(values, labels, names)
    assert got.words_t[1, 4].item() == math.inf
    assert got.words_t[2, 20].item() == -math.inf
    for where in ((1, 4), (2, 20)):
        assert got.words_p[where].item() == pytest.approx(1 / 126)
        assert got.words_p_maxt[where].item() == pytest.approx(1 / 126)
        assert got.significant_words[where]


def test_units_without_a_statistic_are_nan_and_disturb_nobody():
    values, labels, names = synthetic.small()
    clean = run(np.delete(values, [0, 13, 26], axis=2), labels, names)
    values[:, :, 0] = 0.3  # its type means differ by rounding
    values[:, 7, 13] = np.nan
    values[:, 7, 26] = np.inf
    got = run(values, labels, names)
    for name in ("words_t", "words_p", "words_p_maxt"):
        column = got.columns[name].numpy()
        assert np.isnan(column[:, [0, 13, 26]]).all()
        rest = np.delete(column, [0, 13, 26], axis=1)
        np.testing.assert_allclose(rest, clean.columns[name], rtol=1e-12)
    assert not got.significant_words[:, [0, 13, 26]].any()


def test_a_family_without_any_statistic_is_all_nan():
    values, labels, names = synthetic.small()
    values[1] = 2.0
    got = run(values, labels, names, family="layer")
    assert torch.isnan(got.words_p_maxt[1]).all()
    assert not torch.isnan(got.words_p_maxt[[0, 2]]).any()


def test_alpha_is_the_level_of_significant_words():
    of = synthetic.story_contexts()
    x = synthetic.lexical_units(of.words, 30, np.random.default_rng(0))
    x += np.linspace(0, 3, 30) * of.labels.numpy()[:, None]
    result = synthetic.bare(synthetic.activations(x[None], of))
    strict, loose = (word_test(result, alpha=a, progress=False) for a in (0.01, 0.3))
    for got, alpha in ((strict, 0.01), (loose, 0.3)):
        assert torch.equal(got.significant_words, got.words_p_maxt <= alpha)
    assert 0 < strict.significant_words.sum() < loose.significant_words.sum()


# ------------------------------------------------------------------ what is permuted


def test_tokens_of_a_word_are_merged():
    table = exchangeable(synthetic.story_contexts())
    assert len(table) == 15
    assert table["label"].tolist() == [1] * 5 + [0] * 10
    row = table.set_index("word").loc
    assert row["not"]["tokens"] == (" not", " Not", "not", "Not", " NOT")
    assert row["not"]["examples"] == 86
    assert row["can"]["tokens"] == (" can", "Can", " Can", "can")
    assert table["examples"].sum() == 398
    assert table["word"][0] == "n't"  # the most frequent of class 1 comes first


def test_provenance_says_what_was_permuted():
    of = synthetic.story_contexts()
    result = synthetic.bare(synthetic.activations(torch.randn(1, 398, 2), of))
    about = word_test(result, progress=False).provenance["word_test"]
    assert about["exact"]
    assert about["seed"] is None
    assert about["word_types"]["negation"]["nor"] == [" nor"]
    assert about["word_types"]["affirmation"]["may"] == [" may", " May"]
    drawn = word_test(result, permutations=50, seed=3, alternative="less", progress=False)
    about = drawn.provenance["word_test"]
    assert (about["exact"], about["seed"], about["labelings"]) == (False, 3, 50)
    assert about["alternative"] == "less"


# ------------------------------------------------------------------ what is refused


def by_counts(ones, zeros):
    labels = [1] * len(ones) + [0] * len(zeros)
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, len(labels), 3)), labels, [*ones, *zeros]


def test_one_word_type_in_a_class_has_no_permutation_test():
    data = by_counts(["not"] * 4, ["can", "may", "could", "must"])
    with pytest.raises(TooFewWordsError, match="two word types in each class; got 1 of class 1"):
        run(*data)
    data = by_counts(["not", "never", "nor"], ["can"] * 5)
    with pytest.raises(ValueError, match=r"got 3 of class 1 and 1 of class 0: .*more words"):
        run(*data)


def test_a_class_of_one_example_has_one_word_type():
    with pytest.raises(TooFewWordsError, match="got 1 of class 1 and 3 of class 0"):
        run(*by_counts(["not"], ["can", "may", "may", "could"]))


def test_fewer_than_20_labelings_are_refused():
    data = by_counts(["not", "never"], ["can", "may", "could"])
    with pytest.raises(TooFewWordsError, match=r"10 labelings cannot give a p value of \.05"):
        run(*data)
    values, labels, names = synthetic.small()
    with pytest.raises(TooFewWordsError, match=r"19 labelings cannot .* more permutations"):
        run(values, labels, names, permutations=19)
    assert run(values, labels, names, permutations=20).words_p.min() >= 1 / 21


def test_twenty_labelings_are_enough():
    data = by_counts(["not", "never", "nor"], ["can", "may", "could"])
    said = r"no p value over words can reach 0\.05: the smallest that these 6 words allow is 0\.1;"
    with pytest.warns(UserWarning, match=said):
        got = run(*data)
    assert got.provenance["word_test"]["labelings"] == 20
    assert got.provenance["word_test"]["smallest_p"] == pytest.approx(2 / 20)
    assert got.words_p.min() >= 2 / 20  # two-sided: the mirrored labeling reaches it too


def test_a_word_with_both_labels_is_refused():
    data = by_counts(["not", "be", "never", "nor"], ["can", "be", "may", "could"])
    with pytest.raises(TooFewWordsError, match=r"belongs to one class .*; 'be' has both"):
        run(*data)


def test_a_result_without_activations_is_refused():
    values, labels, names = synthetic.small()
    result = replace(synthetic.result(values, labels, names), activations=None)
    with pytest.raises(ValueError, match="word_test needs the activations"):
        word_test(result)


def test_unknown_names_are_refused():
    values, labels, names = synthetic.small()
    with pytest.raises(ValueError, match="one of two-sided, greater, less; got 'larger'"):
        run(values, labels, names, alternative="larger")
    with pytest.raises(ValueError, match="family must be one of layer, site, all; got 'head'"):
        run(values, labels, names, family="head")
    with pytest.raises(ValueError, match="statistic must be one of weighted, pooled; got 'welch'"):
        run(values, labels, names, statistic="welch")
    with pytest.raises(ValueError, match="error must be one of fwer, fdx, fdr; got 'fcr'"):
        run(values, labels, names, error="fcr")
    with pytest.raises(ValueError, match=r"a share of false units, is from 0 to below 1; got 1\.5"):
        run(values, labels, names, error="fdx", gamma=1.5)
