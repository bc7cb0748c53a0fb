"""Directions of whole layers, against scikit-learn and loops over words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import synthetic
from sklearn.linear_model import LogisticRegression

from tl_negation.inference.directions import layer_probe, mean_difference
from tl_negation.inference.heads import head_probe
from tl_negation.inference.relabelings import relabelings_of
from tl_negation.inference.words import TooFewWordsError

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def acts():
    values, labels, words = synthetic.small(seed=8)
    return synthetic.activations(values, synthetic.contexts(labels, words))


def of_site(acts, row, site):
    return acts.site(site)[row].double().numpy()


def balanced(right, labels, words):
    """Mean over the classes of the mean over their words."""
    of_class = [
        np.mean([right[words == word].mean() for word in np.unique(words[labels == label])])
        for label in (0, 1)
    ]
    return np.mean(of_class)


def ridge_right(x, labels, train, test):
    mean = x[train].mean(axis=0)
    scale = np.sqrt(((x[train] - mean) ** 2).mean())
    peer = LogisticRegression(C=1.0, tol=1e-10, solver="newton-cholesky", max_iter=500)
    peer.fit((x[train] - mean) / scale, labels[train])
    share = labels[train].mean()
    odds = peer.decision_function((x[test] - mean) / scale)
    return (odds > np.log(share / (1 - share))) == (labels[test] == 1), peer.coef_[0] / scale


def mean_right(x, labels, words, train, test):
    ends = [
        np.mean(
            [x[train & (words == word)].mean(axis=0) for word in np.unique(words[train & of])],
            axis=0,
        )
        for of in (labels == 0, labels == 1)
    ]
    along = ends[1] - ends[0]
    return ((x[test] - (ends[0] + ends[1]) / 2) @ along > 0) == (labels[test] == 1), along


@pytest.mark.parametrize("site", ["q", "mlp_pre"])
def test_the_probe_of_a_layer_is_scikit_learns_on_words_left_out(acts, site):
    found = layer_probe(acts, relabelings=2, **QUIET)
    words = acts.contexts.word_codes
    labelings = relabelings_of(acts.contexts, 2, 0)
    everything = np.ones(len(words), dtype=bool)
    for row, layer in enumerate(acts.layers):
        x = of_site(acts, row, site)
        scores = []
        for labels in labelings:
            right = np.empty(len(words), dtype=bool)
            for word in np.unique(words):
                test = words == word
                right[test] = ridge_right(x, labels, ~test, test)[0]
            scores.append(balanced(right, labels, words))
        line = found.table.query("layer == @layer and site == @site").iloc[0]
        assert line["held_out_accuracy"] == pytest.approx(scores[0], abs=1e-12)
        low, high = np.quantile(scores[1:], (0.05, 0.95))
        assert line["null_held_out_low"] == pytest.approx(low, abs=1e-12)
        assert line["null_held_out_high"] == pytest.approx(high, abs=1e-12)
        reached = np.mean(np.array(scores) >= scores[0] - 1e-9)
        assert line["held_out_p"] == pytest.approx(reached)
        right, along = ridge_right(x, labelings[0], everything, everything)
        assert line["accuracy"] == pytest.approx(balanced(right, labelings[0], words), abs=1e-12)
        np.testing.assert_allclose(found.along(site, layer), along, rtol=1e-5, atol=1e-6)


def test_the_difference_of_means_is_that_of_a_loop(acts):
    found = mean_difference(acts, relabelings=1, **QUIET)
    words, labels = acts.contexts.word_codes, acts.contexts.labels.numpy()
    everything = np.ones(len(words), dtype=bool)
    for row, layer in enumerate(acts.layers):
        x = of_site(acts, row, "k")
        right = np.empty(len(words), dtype=bool)
        for word in np.unique(words):
            test = words == word
            right[test] = mean_right(x, labels, words, ~test, test)[0]
        line = found.table.query("layer == @layer and site == 'k'").iloc[0]
        assert line["held_out_accuracy"] == pytest.approx(balanced(right, labels, words), abs=1e-12)
        along = mean_right(x, labels, words, everything, everything)[1]
        np.testing.assert_allclose(found.along("k", layer), along, atol=1e-9)


def test_of_a_site_of_one_head_it_is_the_probe_of_heads():
    values, labels, words = synthetic.small(seed=3)
    acts = synthetic.activations(values, synthetic.contexts(labels, words))
    q = acts.sites[0]
    one = replace(
        acts, values=acts.values[..., : q.width], sites=(replace(q, heads=1, d_head=q.width),)
    )
    heads = head_probe(one, **QUIET)
    found = layer_probe(one, relabelings=0, **QUIET).table
    np.testing.assert_allclose(found["held_out_accuracy"], heads["held_out_accuracy"], atol=1e-12)


def test_p_over_all_rows_is_that_of_the_best_row(acts):
    found = mean_difference(acts, relabelings=30, **QUIET).table
    assert (found["held_out_p_max"] >= found["held_out_p"] - 1e-12).all()
    assert found["held_out_p"].between(1 / 31, 1).all()
    same = mean_difference(acts, relabelings=30, **QUIET).table
    assert same.equals(found)


@pytest.mark.parametrize("make", [layer_probe, mean_difference])
def test_a_planted_category_is_found_and_words_alone_are_not(make):
    rng = np.random.default_rng(5)
    words = np.repeat(np.arange(16), 12)
    labels = (words < 8).astype(int)
    of_word = rng.normal(size=(16, synthetic.WIDTH)) * 2
    values = of_word[words] + rng.normal(size=(2, len(words), synthetic.WIDTH))
    values[1, :, :20] += 2.5 * labels[:, None]  # q of the second layer
    acts = synthetic.activations(values, synthetic.contexts(labels, words.astype(str)))
    table = make(acts, **QUIET).table.set_index(["layer", "site"])
    last, first = acts.layers[-1], acts.layers[0]
    assert table.loc[(last, "q"), "held_out_p_max"] == pytest.approx(1 / 41)
    assert table.loc[(last, "q"), "held_out_accuracy"] > 0.9
    others = table.drop(index=(last, "q"))
    assert (others["held_out_p_max"] > 0.05).all()
    assert others.loc[(first, "q"), "accuracy"] > 0.8  # words are known very well in sample


def test_pairs_are_left_out_whole_and_flipped():
    rng = np.random.default_rng(1)
    labels = np.tile([1, 0], 20)
    values = rng.normal(size=(1, 40, synthetic.WIDTH))
    values[0, :, :20] += labels[:, None]
    of = synthetic.contexts(labels, ["door"] * 40)
    examples = of.examples.assign(pair=np.repeat(np.arange(20), 2), item=np.repeat(range(10), 4))
    acts = synthetic.activations(values, replace(of, examples=examples))
    by_item = mean_difference(acts, **QUIET)
    assert by_item.about["by"] == "item"
    assert by_item.about["left_out"] == "10 items"
    assert by_item.table["held_out_p_max"].iloc[0] == pytest.approx(1 / 41)
    assert mean_difference(acts, by="pair", **QUIET).about["left_out"] == "20 pairs"
    assert "unseen items" in repr(by_item)
    with pytest.raises(TooFewWordsError, match="a class needs at least two word types"):
        mean_difference(acts, by="word", **QUIET)


def test_rows_without_values_have_none():
    values, labels, words = synthetic.small(seed=8)
    values[0, :, :20] = 3.0  # q does not vary
    values[1, 2, 22] = np.inf  # k is not finite
    acts = synthetic.activations(values, synthetic.contexts(labels, words))
    found = layer_probe(acts, relabelings=3, **QUIET)
    table = found.table.set_index(["layer", "site"])
    missing = [(acts.layers[0], "q"), (acts.layers[1], "k")]
    assert table.loc[missing].drop(columns="units").isna().all(axis=None)
    assert table.drop(index=missing).notna().all(axis=None)
    assert found.along("q", acts.layers[0]).isnan().all()


def test_what_cannot_be_probed_is_refused(acts):
    with pytest.raises(ValueError, match="ridge penalty must be positive; got 0"):
        layer_probe(acts, penalty=0.0, **QUIET)
    with pytest.raises(ValueError, match="relabelings must be 0"):
        mean_difference(acts, relabelings=-1, **QUIET)
    with pytest.raises(ValueError, match="by must be one of word, pair, item; got 'fold'"):
        mean_difference(acts, by="fold", **QUIET)
    found = mean_difference(acts, relabelings=0, **QUIET)
    assert "without other labelings" in repr(found)
    assert "held_out_p" not in found.to_frame()
    with pytest.raises(KeyError, match="no direction of site 'v' in layer 0; there are q, k"):
        found.along("v", 0)
    labels = [1, 0] * 6
    both = synthetic.contexts(labels, list("aabbccddeeff"))
    values = np.random.default_rng(0).normal(size=(1, 12, synthetic.WIDTH))
    with pytest.raises(ValueError, match="a word here has both: leave relabelings at"):
        mean_difference(synthetic.activations(values, both), **QUIET)
    constant = synthetic.activations(np.ones((1, 12, synthetic.WIDTH)), synthetic.contexts(
        labels, list("abcdefghijkl")))  # fmt: skip
    nothing = layer_probe(constant, relabelings=0, **QUIET)
    assert "have none" in repr(nothing)
    assert "<table" in nothing._repr_html_()
    assert torch.isnan(nothing.directions["q"]).all()
