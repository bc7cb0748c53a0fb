"""The sign-flip test over pairs, against scipy, brute force and simulation."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from helpers import synthetic
from scipy.stats import binom, ttest_1samp

from tl_negation.inference.groups import group_test
from tl_negation.inference.heldout import held_out
from tl_negation.inference.infer import infer
from tl_negation.inference.pairs import (
    TooFewPairsError,
    flipped_of,
    flips_of,
    has_pairs,
    members,
    pair_test,
)
from tl_negation.probing.probe import probe


def contexts(pairs, items=None, labels=None):
    """Two examples a pair, class 1 first, unless labels say otherwise."""
    labels = [1, 0] * (len(pairs) // 2) if labels is None else labels
    of = synthetic.contexts(labels, ["now"] * len(pairs))
    examples = of.examples.assign(pair=list(pairs))
    return replace(of, examples=examples if items is None else examples.assign(item=list(items)))


def result_of(values, of):
    return probe(synthetic.activations(values, of), progress=False)


def case(n=9, units=synthetic.WIDTH, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 2 * n, units))
    values[:, ::2, :6] += shift
    return values, contexts(np.repeat(np.arange(n), 2))


def differences(values):
    """[unit, pair], units of both layers one after the other."""
    x = torch.as_tensor(values).float().double().numpy()
    return np.concatenate([(layer[::2] - layer[1::2]).T for layer in x])


def all_t(d):
    """t of every unit under every flip, the observed one first."""
    signs = np.array(list(product([1, -1], repeat=d.shape[1])))
    return np.array([ttest_1samp(d * s, 0, axis=1).statistic for s in signs]).T


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_every_flip_by_brute_force(alternative):
    values, of = case(shift=1.2)
    got = pair_test(result_of(values, of), alternative=alternative, progress=False)
    t = all_t(differences(values))
    np.testing.assert_allclose(got.pairs_t.flatten(), t[:, 0], rtol=1e-9)
    t = {"two-sided": np.abs(t), "greater": t, "less": -t}[alternative]
    reached = t >= t[:, :1] - 1e-9
    np.testing.assert_allclose(got.pairs_p.flatten(), reached.mean(axis=1))
    order = np.argsort(t[:, 0], kind="stable")
    largest = np.maximum.accumulate(t[order], axis=0)
    p = (largest >= t[order, :1] - 1e-9).mean(axis=1)
    np.testing.assert_allclose(
        got.pairs_p_maxt.flatten()[torch.from_numpy(order)],
        np.maximum.accumulate(p[::-1])[::-1],
    )
    about = got.provenance["pair_test"]
    assert (about["labelings"], about["exact"], about["pairs"]) == (512, True, 9)
    assert about["flipped"] == "9 pairs"
    assert got.significant_pairs.equal(got.pairs_p_maxt <= 0.05)
    assert "groups" in got.tables


def test_a_sample_of_flips_is_seeded_and_holds_the_observed_one():
    values, of = case(n=12)
    result = result_of(values, of)
    one, again, other = (
        pair_test(result, permutations=99, seed=seed, progress=False).pairs_p for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 1 / 100
    asked, exact = flips_of(12, 99, 0, 0)
    assert not exact
    assert asked.labelings[0].tolist() == [1, 0] * 12
    assert (asked.labelings.reshape(100, 12, 2).sum(axis=2) == 1).all()


def test_pairs_of_several_examples_are_means():
    rng = np.random.default_rng(0)
    labels = [1, 1, 0] * 6
    of = contexts(np.repeat(np.arange(6), 3), labels=labels)
    values = rng.normal(size=(1, 18, synthetic.WIDTH))
    got = pair_test(result_of(values, of), progress=False)
    x = torch.as_tensor(values).float().double().numpy()[0].reshape(6, 3, -1)
    d = x[:, :2].mean(axis=1) - x[:, 2]
    np.testing.assert_allclose(got.pairs_t[0], ttest_1samp(d, 0).statistic, rtol=1e-9)


def test_pairs_of_one_item_are_flipped_together():
    rng = np.random.default_rng(0)
    items = np.repeat(np.arange(6), 8)  # 4 pairs an item
    of = contexts(np.repeat(np.arange(24), 2), items)
    values = rng.normal(size=(1, 48, synthetic.WIDTH))
    got = pair_test(result_of(values, of), progress=False)
    d = differences(values).reshape(-1, 6, 4).mean(axis=2)
    t = np.abs(all_t(d))
    np.testing.assert_allclose(got.pairs_p[0], (t >= t[:, :1] - 1e-9).mean(axis=1))
    about = got.provenance["pair_test"]
    assert (about["pairs"], about["flipped"], about["labelings"]) == (24, "6 items", 64)


def test_where_items_vary_pairs_are_not_exchangeable():
    """Items differ in their effect: flipping pairs finds too much, flipping items does not."""
    rng = np.random.default_rng(1)
    n_units, items = 400, np.repeat(np.arange(7), 12)
    effects = rng.normal(size=(7, n_units))
    values = rng.normal(size=(84, n_units)) * 0.3
    values[::2] += effects[items[::2]]
    pairs = np.repeat(np.arange(42), 2)
    size = {
        name: float((pair_test(result_of(values[None], of), permutations=500, progress=False)
                     .pairs_p <= 0.05).double().mean())
        for name, of in (("pairs", contexts(pairs)), ("items", contexts(pairs, items)))
    }  # fmt: skip
    assert size["pairs"] > 0.3
    low, high = binom.interval(0.999, n_units, 6 / 128)  # the level that 7 items attain
    assert low / n_units <= size["items"] <= high / n_units


def test_a_shift_of_the_size_that_is_stated_is_found_in_four_of_five_units():
    rng = np.random.default_rng(2)
    of = contexts(np.repeat(np.arange(11), 2))
    noise = rng.normal(size=(1, 22, 1500)) / np.sqrt(2)  # differences have an SD of 1
    about = pair_test(result_of(noise, of), progress=False).provenance["pair_test"]
    shifted = noise.copy()
    shifted[:, ::2] += about["shift_alone"]
    found = pair_test(result_of(shifted, of), progress=False)
    assert float((found.pairs_p <= 0.05).double().mean()) == pytest.approx(0.8, abs=0.05)


def test_groups_are_tested_over_pairs():
    values, of = case(n=10, shift=2.5)
    result = result_of(values, of)
    table = group_test(result)
    tested = pair_test(result, progress=False)
    assert table.equals(tested.tables["groups"])
    q = table.set_index(["layer", "site"]).loc[(2, "q")]
    assert q["share"] == float((tested.split()["q"].pairs_p[0] <= 0.05).double().mean())
    assert q["p"] < 0.05
    heads = group_test(result, by=("layer", "site", "head")).set_index(["layer", "site", "head"])
    d = differences(values).reshape(2, synthetic.WIDTH, 10)[0, :4]  # head 0 of q
    n, total = 10, (d**2).sum()
    share = (d.sum(axis=1) ** 2).sum() / n / total
    assert heads.loc[(2, "q", 0), "statistic"] == pytest.approx(9 * share / (1 - share), rel=1e-6)


def test_a_unit_that_changes_within_no_pair_has_no_statistic():
    values, of = case()
    values[0, :, 3] = 1e6 + np.repeat(np.arange(9), 2)
    values[0, 4, 5] = np.nan
    got = pair_test(result_of(values, of), progress=False)
    assert got.pairs_t.isnan().nonzero().tolist() == [[0, 3], [0, 5]]
    assert got.tables["groups"]["units"].sum() == 2 * synthetic.WIDTH - 2


def test_whole_pairs_and_items_are_left_out():
    items = np.repeat(np.arange(5), 4)
    of = contexts(np.repeat(np.arange(10), 2), items)
    values = np.random.default_rng(3).normal(size=(1, 20, synthetic.WIDTH))
    result = result_of(values, of)
    for by, groups in (("pair", np.repeat(np.arange(10), 2)), ("item", items)):
        got = held_out(result, by=by, folds=len(set(groups)), progress=False)
        documents = result_of(values, synthetic.contexts([1, 0] * 10, ["now"] * 20,
                                                         documents=groups))  # fmt: skip
        want = held_out(documents, by="document", folds=len(set(groups)), progress=False)
        assert torch.equal(got.columns[f"{by}_accuracy"], want.document_accuracy)
    with pytest.raises(ValueError, match=r"leaving pairs out needs .* has no column 'pair'"):
        held_out(synthetic.result(*synthetic.small()), by="pair")
    one = contexts([0] * 20)
    with pytest.raises(ValueError, match="needs at least two of them; there is 1"):
        held_out(result_of(values, one), by="pair")


def test_the_claim_is_over_pairs_where_they_were_tested():
    values, of = case(n=10, shift=2.5)
    result = result_of(values, of)
    got = pair_test(result, progress=False)
    passed = int(got.significant_pairs.sum())
    over_pairs = repr(got).splitlines()[1]
    groups = int((got.tables["groups"]["p_maxt"] <= 0.05).sum())
    assert over_pairs == (
        f"  over pairs: {groups} of 6 layer-site groups pass (max-T over the groups, alpha 0.05); "
        f"{passed} of 70 units significant (max-T over all units)"
    )
    lines = got.summary().splitlines()
    assert lines[0].startswith("Over pairs, ")
    assert lines[1].startswith("Over pairs (all 1,024 labelings, max-T over all units, alpha 0.05)")
    assert lines[2].startswith(
        "With these pairs a unit would be found in four of five cases with a"
    )
    assert "SDs of the differences over all of them" in lines[2]
    assert "decodable over pairs from at least" in lines[-1]
    assert got.top(1).shape[0] == 1


def test_infer_tests_pairs_and_words_where_they_allow_it():
    labels = [1, 0] * 12
    words = ["not", "can", "never", "may", "nor", "could", "cannot", "should"] * 3
    of = synthetic.contexts(labels, words)
    of = replace(of, examples=of.examples.assign(pair=np.repeat(np.arange(12), 2)))
    values = np.random.default_rng(0).normal(size=(1, 24, synthetic.WIDTH))
    options = {"permutations": 100, "tasks": 1, "replicates": 1, "progress": False}
    found = infer(result_of(values, of), **options)
    assert {"words_t", "pairs_t"} <= set(found.columns)
    assert found.tables["groups"].equals(
        pair_test(result_of(values, of), permutations=100, progress=False).tables["groups"]
    )


def test_what_is_refused():
    values, of = case()
    result = result_of(values, of)
    assert has_pairs(of)
    plain = synthetic.result(*synthetic.small())
    with pytest.raises(TooFewPairsError, match="carry a pair; their table has no column 'pair'"):
        pair_test(plain)
    few = contexts(np.repeat(np.arange(4), 2))
    with pytest.raises(TooFewPairsError, match=r"16 ways to flip signs cannot .* items than 4"):
        pair_test(result_of(values[:, :8], few))
    alone = contexts([0, 0, 1, 1, 2, 2], labels=[1, 0, 1, 1, 1, 0])
    with pytest.raises(TooFewPairsError, match="pair '1' has none of affirmation"):
        flipped_of(alone)
    two = contexts(np.repeat(np.arange(9), 2), ["a", "b", *["c"] * 16])
    with pytest.raises(TooFewPairsError, match="belongs to one item; pair '0' has several"):
        flipped_of(two)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1; got 2"):
        pair_test(result, alpha=2.0)
    with pytest.raises(ValueError, match="one of two-sided, greater, less; got 'up'"):
        pair_test(result, alternative="up")
    with pytest.raises(ValueError, match="pair_test needs the activations"):
        pair_test(replace(result, activations=None))


def test_pairs_with_which_no_p_can_pass_warn():
    values, of = case(n=5)
    with pytest.warns(UserWarning, match=r"smallest that 5 pairs allow is 0\.062"):
        got = pair_test(result_of(values, of), progress=False)
    assert got.provenance["pair_test"]["cautions"]


def test_members_are_half_the_difference_to_either_side():
    values, of = case(n=5)
    units = members(torch.from_numpy(values).float(), flipped_of(of))
    assert units.deviations.shape == (2 * synthetic.WIDTH, 10)
    d = differences(values)
    np.testing.assert_allclose(units.deviations[:, ::2], d / 2, atol=1e-12)
    np.testing.assert_allclose(units.deviations[:, 1::2], -d / 2, atol=1e-12)
