"""Statements about heads: the ridge probe against scikit-learn, and what a rotation may change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import synthetic
from sklearn.linear_model import LogisticRegression

from tl_negation.fitting import ridge as ridge_module
from tl_negation.inference import heads
from tl_negation.inference.heads import head_probe, rotate
from tl_negation.inference.relabelings import relabelings_of
from tl_negation.inference.words import TooFewWordsError
from tl_negation.probing.probe import probe

KEYS = ["layer", "site", "head"]


@pytest.fixture(scope="module")
def acts():
    values, labels, words = synthetic.small(seed=8)
    return synthetic.activations(values, synthetic.contexts(labels, words))


def head_of(acts, row, site, head):
    """Examples [example, d_head] of one head, by slicing."""
    start = {"q": 0, "k": 20}[site] + 4 * head
    return acts.values[row, :, start : start + 4].double().numpy()


def scikit(x, y, penalty):
    return LogisticRegression(C=1 / penalty, tol=1e-10, solver="newton-cholesky").fit(x, y)


# ------------------------------------------------------------------ the ridge fit


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_ridge_is_scikit_learns_logistic_regression(penalty):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([1, 0], [23, 14]))
    x = rng.normal(size=(6, 37, 5)) + np.linspace(0, 3, 6)[:, None, None] * y[:, None]
    weights, intercept = ridge_module.fit(
        torch.from_numpy(x), torch.from_numpy(y).double(), penalty
    )
    assert weights.shape == (6, 5)
    for head in range(6):
        peer = scikit(x[head], y, penalty)
        np.testing.assert_allclose(weights[head], peer.coef_[0], atol=1e-5)
        assert intercept[head].item() == pytest.approx(peer.intercept_[0], abs=1e-5)
        got = ridge_module.decide(torch.from_numpy(x), weights, intercept)[head]
        np.testing.assert_allclose(got, peer.decision_function(x[head]), atol=1e-4)


def test_ridge_gradient_is_zero_where_heads_are_separated():
    """The sharper form of it: the score of the penalised likelihood, intercept unpenalised."""
    y = torch.tensor([1.0] * 9 + [0.0] * 6, dtype=torch.float64)
    x = torch.randn(3, 15, 4, generator=torch.Generator().manual_seed(0)).double() * 50
    weights, intercept = ridge_module.fit(x, y, 1e-3)
    residual = y - ridge_module.decide(x, weights, intercept).sigmoid()
    slope = torch.einsum("hed,he->hd", x, residual)
    torch.testing.assert_close(slope, 1e-3 * weights, atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(residual.sum(dim=1), torch.zeros(3).double(), atol=1e-9, rtol=0)


# ------------------------------------------------------------------ the probe of a head


def scored(x, y, words, penalty):
    """Words left out one by one, each class's words averaged, then the classes; and in sample."""

    def right(train, test):
        mean, scale = x[train].mean(axis=0), np.sqrt(x[train].var(axis=0).mean())
        fit = scikit((x[train] - mean) / scale, y[train], penalty)
        p = fit.predict_proba((x[test] - mean) / scale)[:, 1]
        return (p > y[train].mean()) == y[test]

    everything = np.ones(len(y), dtype=bool)
    inside = right(everything, everything)
    by_class = {0: [], 1: []}
    for word in np.unique(words):
        by_class[y[words == word][0]].append(right(words != word, words == word).mean())
    held_out = (np.mean(by_class[0]) + np.mean(by_class[1])) / 2
    return held_out, (inside[y == 0].mean() + inside[y == 1].mean()) / 2


@pytest.mark.parametrize("penalty", [1.0, 0.1])
def test_held_out_words_of_a_head_agree_with_a_scikit_learn_loop(acts, penalty):
    table = head_probe(acts, penalty=penalty, progress=False).set_index(KEYS)
    labels, words = acts.labels.numpy(), np.array(acts.contexts.words)
    assert len(table) == 3 * (5 + 2)  # layers x heads of q and k; the MLP has none
    for row, layer in enumerate(acts.layers):
        for site, count in (("q", 5), ("k", 2)):
            for head in range(count):
                want = scored(head_of(acts, row, site, head), labels, words, penalty)
                np.testing.assert_allclose(table.loc[(layer, site, head)], want, rtol=1e-12)
    assert table["held_out_accuracy"].nunique() > 15


def test_the_null_of_a_head_is_its_score_under_other_labelings(acts):
    table = head_probe(acts, relabelings=7, seed=3, progress=False)
    scores = []
    for labels in relabelings_of(acts.contexts, 7, 3):
        other = replace(acts, contexts=synthetic.contexts(labels, acts.contexts.words))
        scores.append(head_probe(other, progress=False)["held_out_accuracy"].to_numpy())
    first, others = scores[0], np.array(scores[1:])
    np.testing.assert_array_equal(table["held_out_accuracy"], first)
    for name, level in (("low", 0.05), ("high", 0.95)):
        want = np.quantile(others, level, axis=0)
        np.testing.assert_allclose(table[f"null_held_out_{name}"], want, rtol=1e-12)
    np.testing.assert_allclose(table["held_out_p"], (1 + (others >= first - 1e-9).sum(0)) / 8)
    assert 0.5 < table["null_held_out_high"].mean() < 1
    assert table["held_out_p"].min() == 1 / 8


def test_relabelings_of_heads_that_cannot_be_are_refused(acts):
    with pytest.raises(ValueError, match=r"relabelings must be 0 \(none\) or more; got -1"):
        head_probe(acts, relabelings=-1)
    labels, words = [1, 1, 0, 0, 1, 0], ["not", "nor", "can", "may", "to", "to"]
    both = synthetic.activations(
        np.random.default_rng(0).normal(size=(1, 6, synthetic.WIDTH)),
        synthetic.contexts(labels, words),
    )
    with pytest.raises(ValueError, match="gives each word one class; a word here has both"):
        head_probe(both, relabelings=3)


def test_rows_run_by_layer_then_site_then_head(acts):
    table = head_probe(acts, progress=False)
    want = [*((2, "q", head) for head in range(5)), (2, "k", 0), (2, "k", 1), (5, "q", 0)]
    assert list(table[KEYS].itertuples(index=False, name=None))[:8] == want


def test_chunks_do_not_matter(acts, monkeypatch):
    whole = head_probe(acts, progress=False)
    monkeypatch.setattr(heads, "CHUNK", 2)
    cut = head_probe(acts, progress=False)
    np.testing.assert_allclose(whole["held_out_accuracy"], cut["held_out_accuracy"])


def test_the_probe_of_a_head_does_not_depend_on_its_basis_or_scale(acts):
    plain = head_probe(acts, progress=False)
    turned = head_probe(rotate(acts, seed=3), progress=False)
    scaled = synthetic.activations(acts.values * 64 - 8, acts.contexts)
    for other in (turned, head_probe(scaled, progress=False)):
        np.testing.assert_allclose(other["accuracy"], plain["accuracy"], rtol=1e-12)
        np.testing.assert_allclose(
            other["held_out_accuracy"], plain["held_out_accuracy"], rtol=1e-12
        )


def test_a_word_with_examples_of_both_classes_counts_in_both():
    rng = np.random.default_rng(0)
    words = np.repeat(["be", "go", "see", "do"], [6, 9, 12, 15])
    labels = np.tile([1, 0, 0], 14)
    values = rng.normal(size=(1, 42, synthetic.WIDTH)) + 9 * labels[None, :, None]
    table = head_probe(
        synthetic.activations(values, synthetic.contexts(labels, words)), progress=False
    )
    np.testing.assert_allclose(table["held_out_accuracy"], 1)


def test_heads_that_cannot_be_fitted_are_nan_and_disturb_nobody(acts):
    plain = head_probe(acts, progress=False).set_index(KEYS)
    values = acts.values.clone()
    values[0, 3, 5] = torch.nan  # q, head 1
    values[1, 3, 20] = torch.inf  # k, head 0
    values[2, :, 8:12] = torch.tensor([0.5, 0, -1, 2])  # q, head 2
    got = head_probe(synthetic.activations(values, acts.contexts), progress=False).set_index(KEYS)
    broken = [(2, "q", 1), (5, "k", 0), (8, "q", 2)]
    assert got.loc[broken].isna().all(axis=None)
    np.testing.assert_allclose(got.drop(broken), plain.drop(broken))


def test_a_category_spread_over_a_head_is_found_though_no_unit_shows_it():
    """The category lies in the difference of two units that share a large variance."""
    of = synthetic.story_contexts()
    rng = np.random.default_rng(0)
    shared = 10 * rng.normal(size=(398, 1))
    values = rng.normal(size=(398, synthetic.WIDTH))
    values[:, 4:6] += shared + np.outer(of.labels.numpy(), [2.5, -2.5])
    acts = synthetic.activations(values[None], of)
    table = head_probe(acts, progress=False).set_index(KEYS)["held_out_accuracy"]
    assert table[(2, "q", 1)] > 0.9
    assert table.drop((2, "q", 1)).max() < 0.65
    assert probe(acts, progress=False).balanced_accuracy[0, 4:6].max() < 0.7


# ------------------------------------------------------------------ rotation


def test_a_rotation_keeps_every_inner_product_within_a_head(acts):
    turned = rotate(acts, seed=1)
    assert turned.values.shape == acts.values.shape
    assert turned.values.dtype == torch.float32
    for row in range(3):
        for site, count in (("q", 5), ("k", 2)):
            for head in range(count):
                before, after = head_of(acts, row, site, head), head_of(turned, row, site, head)
                size = np.abs(before @ before.T).max()
                np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5 * size)
                assert not np.allclose(after, before, rtol=0.01)


def test_a_rotation_leaves_the_mlp_alone_and_the_rest_as_it_was(acts):
    turned = rotate(acts, seed=1)
    assert torch.equal(turned.site("mlp_pre"), acts.site("mlp_pre"))
    assert not torch.equal(turned.site("q"), acts.site("q"))
    assert (turned.sites, turned.layers, turned.contexts) == (
        acts.sites,
        acts.layers,
        acts.contexts,
    )
    assert turned.model == {"name": "made", "rotated_within_heads": {"seed": 1}}


def test_rotations_are_seeded_and_differ_between_heads_and_layers(acts):
    one, same, other = (rotate(acts, seed=seed).values for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    unit = torch.zeros_like(acts.values)
    unit[:, 0, ::4] = 1  # example 0 is the first basis vector of each head
    rows = rotate(synthetic.activations(unit, acts.contexts), seed=1).values[:, 0, :28]
    vectors = rows.reshape(21, 4)  # a row of each head's matrix
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(21))
    assert len(torch.unique(vectors, dim=0)) == 21


def test_rotations_are_uniform():
    """Every entry of a random orthogonal matrix has mean 0 and variance 1 / d; QR alone has not."""
    identity = np.eye(4)[None].repeat(2000, axis=0)
    of = synthetic.contexts([1, 1, 0, 0], ["a", "b", "c", "d"])
    site = synthetic.Site("q", "blocks.{layer}.attn.hook_q", "attn", 1, 4)
    q = rotate(synthetic.activations(identity, of, sites=(site,)), seed=0).values
    torch.testing.assert_close(q @ q.transpose(1, 2), torch.eye(4).expand(2000, 4, 4))
    four_sigma = 4 * 0.5 / 2000**0.5
    assert q.mean(dim=0).abs().max() < four_sigma
    assert (q.square().mean(dim=0) - 0.25).abs().max() < 0.03
    assert abs((torch.linalg.det(q) > 0).double().mean().item() - 0.5) < 4 * 0.5 / 2000**0.5


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("inf"), float("nan")])
def test_penalties_that_are_not_positive_are_refused(acts, penalty):
    with pytest.raises(ValueError, match=f"ridge penalty must be positive; got {penalty}"):
        head_probe(acts, penalty=penalty)


def test_a_head_probe_needs_heads_and_words():
    rng = np.random.default_rng(0)
    of = synthetic.contexts([1, 1, 0, 0, 0], ["not", "not", "can", "may", "may"])
    with pytest.raises(TooFewWordsError, match="held out by word, a training fold has no example"):
        head_probe(synthetic.activations(rng.normal(size=(1, 5, synthetic.WIDTH)), of))
    mlp = synthetic.activations(rng.normal(size=(1, 5, 7)), of, sites=synthetic.SITES[2:])
    with pytest.raises(ValueError, match=r"needs an attention site \(q, k, v\); there are mlp_pre"):
        head_probe(mlp)
