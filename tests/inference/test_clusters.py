"""Clustered errors against statsmodels."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from helpers import synthetic
from scipy.stats import t as student

from tl_negation.fitting import engine
from tl_negation.inference.clusters import cluster_robust
from tl_negation.inference.penalised import penalise
from tl_negation.inference.words import TooFewWordsError


def clustered(x, y, words):
    """statsmodels' sandwich for one unit.

    With ``use_correction`` the factor is G / (G - 1) * (n - 1) / (n - k), k = 2 parameters; with
    ``df_correction`` and ``use_t`` the reference distribution is t with G - 1 degrees of freedom.
    """
    codes = np.unique(words, return_inverse=True)[1]
    options = {"groups": codes, "use_correction": True, "df_correction": True}
    fit = sm.Logit(y, sm.add_constant(x)).fit(
        disp=False, method="newton", cov_type="cluster", cov_kwds=options, use_t=True
    )
    return fit.bse[1], fit.tvalues[1], fit.pvalues[1]


def test_clustered_errors_are_those_of_statsmodels():
    values, labels, words = synthetic.small(seed=6)
    result = cluster_robust(synthetic.result(values, labels, words))
    compared = 0
    for layer, unit in np.argwhere(result.beta.isfinite().numpy()):
        x = np.float64(np.float32(values[layer, :, unit]))
        scale = x.std()  # statsmodels' Newton stops by an absolute rule
        se, t, p = clustered(x / scale, labels, words)
        got = [result.columns[f"cluster_{name}"][layer, unit].item() for name in ("se", "t", "p")]
        assert got == pytest.approx([se / scale, t, p], rel=1e-6)
        compared += 1
    assert compared > 100
    assert result.provenance["cluster_robust"] == {"clusters": 9, "degrees_of_freedom": 8}


def test_the_words_decide_not_their_order():
    values, labels, words = synthetic.small(seed=6)
    order = np.random.default_rng(0).permutation(61)
    a = cluster_robust(synthetic.result(values, labels, words))
    b = cluster_robust(synthetic.result(values[:, order], labels[order], words[order]))
    torch.testing.assert_close(a.cluster_p, b.cluster_p, rtol=1e-6, atol=1e-12, equal_nan=True)


def test_clusters_of_one_example_give_the_heteroscedasticity_robust_error():
    """HC1 of statsmodels, with n clusters: only the factor G / (G - 1) remains beside it."""
    values, labels, _ = synthetic.small(seed=6)
    one = values[:1, :, :5]
    result = cluster_robust(synthetic.result(one, labels, [f"w{i}" for i in range(61)]))
    for unit in range(5):
        x = np.float64(np.float32(one[0, :, unit]))
        fit = sm.Logit(labels, sm.add_constant(x / x.std())).fit(disp=False, cov_type="HC0")
        want = fit.bse[1] / x.std() * np.sqrt(61 / 60 * 60 / 59)
        assert result.cluster_se[0, unit].item() == pytest.approx(want, rel=1e-6)


def test_chunks_do_not_matter(monkeypatch):
    result = synthetic.result(*synthetic.small())
    whole = cluster_robust(result)
    monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(units=4))
    cut = cluster_robust(result)
    torch.testing.assert_close(whole.cluster_p, cut.cluster_p, equal_nan=True)


def test_units_without_an_estimate_have_no_clustered_error():
    values, labels, words = synthetic.small()
    values[0, :, 0] = 1.5
    values[1, 3, 1] = np.nan
    values[2, :, 2] = labels * 2.0
    result = cluster_robust(synthetic.result(values, labels, words))
    invalid = result.beta.isnan()
    assert invalid[[0, 1, 2], [0, 1, 2]].all()
    for name in ("cluster_se", "cluster_t", "cluster_p"):
        assert torch.equal(torch.isnan(result.columns[name]), invalid)
    p = result.cluster_p[~invalid]
    assert torch.equal(torch.isfinite(penalise(result).cluster_p), ~invalid)  # columns are kept
    assert ((p > 0) & (p <= 1)).all()
    t = result.cluster_t[~invalid].abs()
    np.testing.assert_allclose(p, 2 * student.sf(t, 8))


def test_one_word_in_all_and_no_activations_are_refused():
    rng = np.random.default_rng(0)
    result = synthetic.result(rng.normal(size=(1, 12, 3)), [0, 1] * 6, ["be"] * 12)
    with pytest.raises(TooFewWordsError, match="at least two word types; all are 'be'"):
        cluster_robust(result)
    stored = replace(synthetic.result(*synthetic.small()), activations=None)
    with pytest.raises(ValueError, match="cluster_robust needs the activations"):
        cluster_robust(stored)
