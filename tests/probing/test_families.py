"""Families of tests, and corrections as statsmodels makes them."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from tl_negation.models.sites import Site
from tl_negation.probing.families import adjust, family_ids

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
