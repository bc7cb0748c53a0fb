"""Families of tests; corrections as statsmodels makes them, and against scipy; new ones."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from helpers.command_line import invoke, plain
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from tl_negation.inference.words import word_test
from tl_negation.models.sites import Site
from tl_negation.plots import rule_text
from tl_negation.probing.example_tests import EXAMPLE_TESTS
from tl_negation.probing.families import (
    CORRECTIONS,
    FAMILIES,
    Correction,
    Family,
    adjust,
    adjusted,
    family_ids,
    retested,
)
from tl_negation.probing.probe import probe

SITES = (
    Site("q", "blocks.{layer}.attn.hook_q", "attn", 3, 2),
    Site("k", "blocks.{layer}.attn.hook_k", "attn", 1, 2),
    Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "mlp", 1, 5),
)


def sizes(family):
    ids = family_ids(SITES, 4, family)
    assert ids.shape == (4, 13)
    return sorted(np.unique(ids, return_counts=True)[1].tolist())


def test_a_layer_is_split_into_attention_and_mlp():
    assert sizes("layer") == [5] * 4 + [8] * 4


def test_a_site_runs_over_all_layers():
    assert sizes("site") == [8, 20, 24]


def test_all_is_one_family():
    assert sizes("all") == [52]


def test_a_module_that_comes_twice_is_one_family_of_the_layer():
    ids = family_ids((SITES[0], SITES[2], SITES[1]), 1, "layer")[0]
    assert ids[0] == ids[-1] != ids[6]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("bonferroni", "bonferroni"), ("holm", "holm"), ("bh", "fdr_bh"), ("by", "fdr_by")],
)
def test_corrections_are_those_of_statsmodels_within_each_family(ours, theirs):
    p = np.random.default_rng(0).uniform(size=(4, 13)) ** 4
    ids = family_ids(SITES, 4, "site")
    got = adjust(p, ids, ours)
    for columns in (slice(0, 6), slice(6, 8), slice(8, 13)):
        want = multipletests(p[:, columns].ravel(), method=theirs)[1]
        np.testing.assert_allclose(got[:, columns].ravel(), want)


def test_an_untested_unit_keeps_its_place_in_the_family():
    """The reference divides by 3,840 whether or not all 3,840 fits succeeded."""
    p = np.array([[0.01, np.nan, 0.2, np.nan]])
    got = adjust(p, np.zeros((1, 4), int), "bonferroni")
    np.testing.assert_allclose(got, [[0.04, np.nan, 0.8, np.nan]])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="family must be one of layer, site, all; got 'head'"):
        family_ids(SITES, 4, "head")
    with pytest.raises(ValueError, match="correction must be one of bonferroni, holm, bh, by; got"):
        adjust(np.ones((1, 1)), np.zeros((1, 1), int), "sidak")


# ------------------------------------------------------------------ adjusted


def with_p(p, column="p"):
    """A result that holds nothing but these p values."""
    result = synthetic.bare(
        synthetic.activations(np.zeros((3, 61, synthetic.WIDTH)), small_contexts())
    )
    return result.with_columns({**result.columns, column: torch.as_tensor(p)})


def small_contexts():
    return synthetic.contexts(*synthetic.small()[1:])


@pytest.fixture
def p():
    return np.random.default_rng(0).uniform(size=(3, synthetic.WIDTH)) ** 5


def holm(p):
    """Holm 1979, written out."""
    adjusted_p, least = np.empty(len(p)), 0.0
    for rank, unit in enumerate(np.argsort(p)):
        least = max(least, (len(p) - rank) * p[unit])
        adjusted_p[unit] = min(least, 1)
    return adjusted_p


ORACLES = {
    "bonferroni": lambda p: np.minimum(len(p) * p, 1),
    "holm": holm,
    "bh": lambda p: false_discovery_control(p, method="bh"),
    "by": lambda p: false_discovery_control(p, method="by"),
}


@pytest.mark.parametrize("family", ["layer", "site", "all"])
@pytest.mark.parametrize("correction", list(ORACLES))
def test_every_correction_over_every_family(p, family, correction):
    got = adjusted(with_p(p), family=family, correction=correction)
    ids = family_ids(synthetic.SITES, 3, family)
    assert len(np.unique(ids)) == {"layer": 6, "site": 3, "all": 1}[family]
    for number in np.unique(ids):
        member = ids == number
        np.testing.assert_allclose(got.numpy()[member], ORACLES[correction](p[member]))
    assert (got < 0.05).any()


def test_the_example_of_scipys_documentation():
    """The 15 p values of Benjamini & Hochberg 1995, in scipy.stats.false_discovery_control."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p += [0.4262, 0.5719, 0.6528, 0.7590, 1.000]
    printed = [0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.06385714, 0.06385714, 0.0645, 0.0765]
    printed += [0.486, 0.58118182, 0.714875, 0.75323077, 0.81321429, 1.0]
    of = synthetic.contexts([1, 0], ["not", "can"])
    result = synthetic.bare(synthetic.activations(np.zeros((1, 2, 15)), of))
    result = result.with_columns({"p": torch.tensor([p])})
    np.testing.assert_allclose(adjusted(result, correction="bh")[0], printed, atol=5e-9)


def test_other_columns_of_p_values_can_be_adjusted(p):
    got = adjusted(with_p(p, "firth_p"), "firth_p", family="all", correction="holm")
    np.testing.assert_allclose(got.numpy().ravel(), holm(p.ravel()))
    result = word_test(synthetic.result(*synthetic.small()), progress=False)
    assert (adjusted(result, "words_p", family="all") >= result.words_p_maxt - 1e-12).all()


@pytest.mark.parametrize(("test", "column"), [("lr", "lr_p"), ("wald", "p")])
def test_by_default_the_p_values_are_those_of_the_results_own_test(test, column):
    result = synthetic.result(*synthetic.every_outcome(), test=test)
    got = adjusted(result)
    torch.testing.assert_close(got, adjusted(result, column), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(got <= 0.05, result.significant)


def test_an_untested_unit_of_a_result_keeps_its_place_in_the_family(p):
    p[1, 3] = np.nan
    got = adjusted(with_p(p), family="layer").numpy()
    assert np.isnan(got[1, 3])
    assert np.isnan(got).sum() == 1
    np.testing.assert_allclose(got[1, 4], min(1, p[1, 4] * 28))


def test_unknown_names_for_adjusted_are_refused(p):
    result = with_p(p)
    with pytest.raises(ValueError, match="column of p values is needed, one of p; got 'status'"):
        adjusted(result, "status")
    with pytest.raises(ValueError, match="one of p; got 'lr_p'"):
        adjusted(result, "lr_p")
    with pytest.raises(ValueError, match="family must be one of layer, site, all; got 'head'"):
        adjusted(result, family="head")
    with pytest.raises(ValueError, match="correction must be one of bonferroni, holm, bh, by"):
        adjusted(result, correction="sidak")


def test_what_log10_p_holds_is_not_a_p_value():
    result = synthetic.result(*synthetic.small())
    with pytest.raises(ValueError, match="one of p, lr_p, score_p; got 'log10_p'"):
        adjusted(result, "log10_p")


# ------------------------------------------------------------------ one entry more


def test_a_new_correction_is_one_entry(monkeypatch):
    halved = Correction("Halved", "the number of tests, halved", lambda p: np.minimum(p * 14, 1))
    monkeypatch.setitem(CORRECTIONS, "halved", halved)
    monkeypatch.setitem(CORRECTIONS, "sidak", Correction("Sidak", "of independent tests", "sidak"))
    result = synthetic.result(*synthetic.small(), correction="halved", family="layer")
    attention = slice(0, 28)
    want = result.lr_p[:, attention] * 14 <= 0.05
    assert torch.equal(result.significant[:, attention], want)
    assert 0 < want.sum() < want.numel()
    assert "(likelihood-ratio test, halved per layer, alpha 0.05)" in repr(result)
    text = rule_text(result.provenance["test"])
    assert text == "likelihood-ratio test, Halved per layer at 0.05"
    p = adjusted(result, family="all", correction="sidak")
    np.testing.assert_allclose(p, 1 - (1 - result.lr_p) ** result.p.numel(), atol=1e-12)
    with pytest.raises(ValueError, match="one of bonferroni, holm, bh, by, halved, sidak; got 'x'"):
        synthetic.result(*synthetic.small(), correction="x")
    assert "halved (Halved)" in plain(invoke("scan", "--help").output).replace("│ ", "")


def test_a_new_family_is_one_entry(monkeypatch):
    by_layer = Family("every unit of one layer", lambda layer, _: layer)
    monkeypatch.setitem(FAMILIES, "whole_layer", by_layer)
    result = synthetic.result(*synthetic.small(), family="whole_layer")
    assert torch.equal(result.significant, result.lr_p * synthetic.WIDTH <= 0.05)
    assert (
        "max-T over each whole_layer"
        in word_test(result, permutations=126, family="whole_layer", progress=False).summary()
    )
    with pytest.raises(ValueError, match="one of layer, site, all, whole_layer; got 'head'"):
        word_test(result, family="head")
    shown = plain(invoke("scan", "--help").output).replace("│ ", "")  # the frame of the table
    assert "whole_layer (every unit of one layer)" in shown


# ------------------------------------------------------------------ the test by example


def test_significant_is_the_corrected_p_of_the_named_test():
    made = synthetic.every_outcome()
    by = {test: synthetic.result(*made, test=test) for test in EXAMPLE_TESTS}
    assert list(by) == ["lr", "wald"]
    assert by["lr"].provenance["test"] == probe(by["lr"].activations).provenance["test"]
    for name, column in by["lr"].columns.items():  # the test decides nothing else
        if name != "significant":
            torch.testing.assert_close(column, by["wald"].columns[name], equal_nan=True)
    for test, column in (("lr", "lr_p"), ("wald", "p")):
        p = by[test].columns[column]
        attention, mlp = p[:, :28] * 28 <= 0.05, p[:, 28:] * 7 <= 0.05
        assert torch.equal(by[test].significant, torch.cat([attention, mlp], dim=1))
        assert torch.equal(by[test].tested, p.isfinite())


def test_units_that_wald_has_nothing_to_say_of_are_found_by_the_likelihood_ratio():
    """Hauck & Donner (1977): shifts of 3 to 8 SD; the last separate the classes."""
    labels = np.repeat([1, 0], 20)
    noise = np.random.default_rng(0).normal(size=(40, 1))
    values = noise + labels[:, None] * np.array([3.0, 4, 6, 8])
    words = np.where(labels, "not", "can")
    lr, wald = (
        synthetic.result(values[None], labels, words, test=test, alpha=1e-4, correction="holm")
        for test in ("lr", "wald")
    )
    assert lr.status_counts()["separated"] >= 2
    assert lr.significant.all()
    assert not wald.significant.any()


def test_another_test_decides_anew_and_fits_nothing():
    made = synthetic.every_outcome()
    rule = {"test": "wald", "alpha": 0.2, "family": "all", "correction": "bh"}
    lr, want = synthetic.result(*made), synthetic.result(*made, **rule)
    bands = pd.DataFrame({"layer": [2], "site": ["q"]})
    got = retested(lr.with_table("lexical_null", bands).with_table("mine", bands), rule)
    assert torch.equal(got.significant, want.significant)
    assert got.provenance == want.provenance
    assert got.beta is lr.beta
    assert list(got.tables) == ["mine"]  # the lexical null is that of the other test


def test_an_unknown_test_is_refused():
    with pytest.raises(ValueError, match="test must be one of lr, wald; got 'score'"):
        synthetic.result(*synthetic.small(), test="score")
