"""Groups of units over words, against loops over labelings and units."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic

from tl_negation.inference.every_labeling_tensors import statistics
from tl_negation.inference.groups import group_test
from tl_negation.inference.heads import rotate
from tl_negation.inference.precision import gram_of, weigh, word_means
from tl_negation.inference.shares import share_table
from tl_negation.inference.words import TooFewWordsError, exchangeable, labelings_of, word_test

KEYS = ["layer", "site"]


@pytest.fixture(scope="module")
def case():
    """A result, and the statistic of every unit under every labeling."""
    values, labels, names = synthetic.small(seed=6)
    result = synthetic.result(values, labels, names)
    types = exchangeable(result.contexts)
    labelings, _ = labelings_of(types, 10_000, 0)
    units = weigh(word_means(result.activations.values, names.tolist(), tuple(types["word"])))
    return result, statistics(units.deviations, units.weights, labelings, 0).numpy()


def significant(value, alpha=0.05):
    """Which units reach alpha among their own labelings, if each labeling were the observed one."""
    reach = value - 1e-9 * np.abs(value)
    p = (value[:, None, :] >= reach[:, :, None]).mean(axis=2)
    return p <= alpha + 1e-12


def test_shares_and_p_values_are_those_of_the_loop(case):
    result, value = case
    got = group_test(result)
    frame = result.to_frame()
    passed = significant(value)
    assert got[KEYS].to_numpy().tolist() == frame[KEYS].drop_duplicates().to_numpy().tolist()
    for row in got.itertuples():
        member = (frame["layer"] == row.layer) & (frame["site"] == row.site)
        counts = passed[member].sum(axis=0)
        assert row.units == member.sum()
        assert row.statistic == counts[0]
        assert row.share == pytest.approx(counts[0] / row.units)
        assert row.share_expected == pytest.approx(counts.mean() / row.units)
        assert row.share_high == pytest.approx(np.quantile(counts, 0.95) / row.units)
        assert row.p == pytest.approx((counts >= counts[0]).mean())
        # The bound: the observed count less the smallest that 95 % of the labelings do not exceed.
        quantile = min(c for c in counts if (counts <= c).mean() >= 0.95)
        assert row.at_least == pytest.approx(max(0, counts[0] - quantile) / row.units)
    assert (got["at_least_all"] <= got["at_least"] + 1e-12).mean() > 0.5
    assert 0 < (got["p"] <= 0.05).sum() < len(got)


def test_p_over_all_groups_is_step_down_by_closed_testing(case):
    """The largest p over all sets of groups that hold the group: every set is looked at."""
    result, value = case
    got = group_test(result)
    frame, passed = result.to_frame(), significant(value)
    groups = frame.groupby(KEYS, sort=False, observed=True).ngroup().to_numpy()
    counts = np.stack([passed[groups == g].sum(axis=0) for g in range(len(got))]).astype(float)
    z = (counts - counts.mean(axis=1, keepdims=True)) / counts.std(axis=1, keepdims=True)
    want = np.zeros(len(z))
    for code in range(1, 2 ** len(z)):
        chosen = [g for g in range(len(z)) if code >> g & 1]
        largest = z[chosen].max(axis=0)
        p = (largest >= largest[0] - 1e-9).mean()
        want[chosen] = np.maximum(want[chosen], p)
    np.testing.assert_allclose(got["p_maxt"], want, atol=1e-12)
    assert (got["p_maxt"] >= got["p"]).all()


def test_bound_for_all_groups_at_once():
    """By its definition: the excess, in SDs, that 95 % of the labelings exceed in no group."""
    counts = np.random.default_rng(0).binomial(50, [[0.05], [0.1]], size=(2, 400))
    counts[:, 0] = [40, 9]
    mean, sd = counts.mean(axis=1), counts.std(axis=1)
    largest = np.sort(((counts - mean[:, None]) / sd[:, None]).max(axis=0))
    got = share_table(counts, np.array([50, 50]), 0.05)
    want = np.maximum(counts[:, 0] - (mean + largest[380 - 1] * sd), 0) / 50
    np.testing.assert_allclose(got["at_least_all"], want)
    assert got["at_least_all"][0] > 0.5


def test_word_test_leaves_the_same_table_by_layer_and_site(case):
    result, _ = case
    found = word_test(result, progress=False)
    pd.testing.assert_frame_equal(found.tables["groups"], group_test(result))
    share = (found.words_p <= 0.05).double().mean(dim=1)
    whole = group_test(result, by=["layer"])
    np.testing.assert_allclose(whole["share"], share)


def test_one_group_of_all_units_and_groups_by_module(case):
    result, value = case
    whole = group_test(result, by=())
    counts = significant(value).sum(axis=0)
    assert next(iter(whole)) == "units"
    assert whole["p"].tolist() == [pytest.approx((counts >= counts[0]).mean())]
    assert whole["p_maxt"].tolist() == whole["p"].tolist()
    by_module = group_test(result, by=("module",))
    assert by_module["module"].tolist() == ["attn", "mlp"]
    assert by_module["units"].tolist() == [3 * 28, 3 * 7]


def test_a_head_is_tested_without_regard_to_its_basis(case):
    result, _ = case
    keys = ("layer", "site", "head")
    got = group_test(result, by=keys)
    turned = rotate(result.activations, seed=1)
    other = group_test(replace(result, activations=turned), by=keys)
    attention = (got["site"] != "mlp_pre").to_numpy()
    np.testing.assert_allclose(other["statistic"], got["statistic"], rtol=1e-4)
    np.testing.assert_allclose(other["p"], got["p"], atol=2.5 / 126)
    assert (other["share"] != got["share"])[attention].any()  # a count of units does depend on it


def test_statistic_of_a_head_is_the_pseudo_f_of_its_word_means(case):
    """Anderson 2001: sums of squared distances within and between, all units of a head together."""
    result, _ = case
    row = group_test(result, by=("layer", "site", "head")).iloc[1]
    x = result.activations.site("q")[0, :, 4:8]
    types = exchangeable(result.contexts)
    found = word_means(x[None], result.contexts.words, tuple(types["word"]))
    w, m = gram_of(found)[1].numpy(), found.means.numpy().T
    one = types["label"].to_numpy() == 1

    def squares(rows):
        centre = np.average(m[rows], axis=0, weights=w[rows])
        return (w[rows, None] * (m[rows] - centre) ** 2).sum()

    within = squares(one) + squares(~one)
    f = (squares(one | ~one) - within) / (within / (len(w) - 2))
    assert (row["site"], row["head"]) == ("q", 1)
    assert row["statistic"] == pytest.approx(f, rel=1e-6)


def test_units_without_a_statistic_are_not_counted():
    values, labels, names = synthetic.small(seed=6)
    values[0] = 0.3
    values[1, :, :4] = np.nan
    got = group_test(
        synthetic.bare(synthetic.activations(values, synthetic.contexts(labels, names)))
    )
    assert got["layer"].tolist() == [5, 5, 5, 8, 8, 8]
    assert got["units"].tolist() == [16, 8, 7, 20, 8, 7]


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_side(case, alternative):
    """What a larger activation says is what a smaller one says after a change of sign."""
    result, _ = case
    flipped = replace(result.activations, values=-result.activations.values)
    other = {"greater": "less", "less": "greater"}[alternative]
    pd.testing.assert_frame_equal(
        group_test(result, alternative=alternative),
        group_test(replace(result, activations=flipped), alternative=other),
    )


def test_a_planted_group_is_found_and_the_bound_is_below_the_truth():
    """The story's words, effects of 1.5 SD between words in 30 % of one site's units."""
    of = synthetic.story_contexts()
    rng = np.random.default_rng(0)
    x = np.stack([synthetic.lexical_units(of.words, 35, rng, noise=0.5) for _ in range(4)])
    planted = rng.permutation(20)[:6]
    x[1][:, planted] += 3 * of.labels.numpy()[:, None]
    acts = synthetic.activations(torch.from_numpy(x), of)
    got = group_test(synthetic.bare(acts)).set_index(KEYS)
    found = got.loc[(5, "q")]
    assert found["p_maxt"] <= 0.05
    assert 0 < found["at_least_all"] <= found["at_least"] <= 0.3
    assert (got.drop((5, "q"))["p_maxt"] > 0.05).all()


def test_what_is_refused(case):
    result, _ = case
    with pytest.raises(ValueError, match="grouped by any of layer, site, head, module; got 'lay'"):
        group_test(result, by=["lay"])
    with pytest.raises(ValueError, match="grouped by different keys; got site, site"):
        group_test(result, by=["site", "site"])
    with pytest.raises(TypeError, match=r"by must be a list; got 'layer': write \['layer'\]"):
        group_test(result, by="layer")
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1; got 5"):
        group_test(result, alpha=5.0)
    with pytest.raises(ValueError, match="one of two-sided, greater, less; got 'up'"):
        group_test(result, alternative="up")
    with pytest.raises(ValueError, match="group_test needs the activations"):
        group_test(replace(result, activations=None))


def test_too_few_words_are_refused():
    labels, names = [1] * 4 + [0] * 4, ["not"] * 4 + ["can", "may", "could", "must"]
    result = synthetic.result(np.random.default_rng(0).normal(size=(1, 8, 3)), labels, names)
    with pytest.raises(TooFewWordsError, match="two word types in each class"):
        group_test(result)
