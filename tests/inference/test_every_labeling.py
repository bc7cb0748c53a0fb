"""All labelings, compiled and as tensors, against loops over labelings and units."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tl_negation.fitting.labelings import BINS
from tl_negation.inference import every_labeling_compiled, every_labeling_tensors
from tl_negation.inference.every_labeling import bins_of
from tl_negation.inference.labelings import SIDES, Asked
from tl_negation.inference.precision import Weighted

ENGINES = [every_labeling_compiled, every_labeling_tensors]
UNITS, GROUPS = 40, 3


def made(n_words, n1, seed=0):
    """Units of unequal weights, and all labelings of their words, the observed one first."""
    rng = np.random.default_rng(seed)
    chosen = np.array(list(combinations(range(n_words), n1)))
    labelings = np.zeros((len(chosen), n_words), np.int64)
    np.put_along_axis(labelings, chosen, 1, axis=1)
    means = rng.normal(size=(UNITS, n_words)) + rng.uniform(0, 2, (UNITS, 1)) * labelings[0]
    weights = rng.uniform(0.2, 1, means.shape)
    centre = (weights * means).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    units = Weighted(*map(torch.from_numpy, (weights * (means - centre), weights, weights[:, 0])))
    return means, weights, units, labelings


def share_between(mean, weight, chosen, side):
    """Sum of squares between the classes by its definition, over that in all; with the sign."""
    one = chosen == 1
    middle = np.average(mean, weights=weight)
    ends = [np.average(mean[rows], weights=weight[rows]) for rows in (one, ~one)]
    sizes = [weight[rows].sum() for rows in (one, ~one)]
    between = sum(n * (end - middle) ** 2 for n, end in zip(sizes, ends, strict=True))
    value = between / (weight * (mean - middle) ** 2).sum()
    return value if not side or (ends[0] - ends[1]) * side > 0 else -value


def slow(means, weights, labelings, side):
    return np.array(
        [
            [share_between(mean, weight, chosen, side) for chosen in labelings]
            for mean, weight in zip(means, weights, strict=True)
        ]
    )


@pytest.fixture(scope="module", params=[(7, 3, "two-sided"), (10, 4, "greater"), (9, 4, "less")])
def case(request):
    n_words, n1, alternative = request.param
    means, weights, units, labelings = made(n_words, n1)
    side = SIDES[alternative]
    return units, Asked(labelings, side), slow(means, weights, labelings, side)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_reaches_what(case, engine):
    units, asked, value = case
    n = len(asked.labelings)
    k = int(0.05 * n)
    groups = np.arange(UNITS) % GROUPS
    families = np.arange(UNITS) // (UNITS // 2)
    done = []
    got = engine.reached(units, asked, groups, families, k, done.append)
    np.testing.assert_allclose(got.observed, value[:, 0], rtol=1e-10)
    reach = value[:, :1] - 1e-9 * np.abs(value[:, :1])
    np.testing.assert_array_equal(got.single, (value >= reach).sum(axis=1))
    # A unit is significant under a labeling if no more than k labelings reach its value.
    rank = (value[:, None, :] >= (value - 1e-9 * np.abs(value))[:, :, None]).sum(axis=2)
    for group in range(GROUPS):
        np.testing.assert_array_equal(got.counts[group], (rank[groups == group] <= k).sum(axis=0))
    for family in (0, 1):
        want = np.bincount(bins_of(value[families == family].ravel()), minlength=BINS)
        assert got.bins[family].sum() == want.sum()
        # Rounding may move a value to the next bin.
        assert np.abs(np.cumsum(got.bins[family].numpy() - want)).max() <= 1
    assert sum(done) == UNITS


@pytest.mark.parametrize("engine", ENGINES)
def test_stepping_down(case, engine):
    units, asked, value = case
    rising = torch.from_numpy(value[:, 0].argsort())
    got = engine.stepped_down(Weighted(*(part[rising] for part in units)), asked, lambda _: None)
    running = np.maximum.accumulate(value[rising], axis=0)
    observed = value[rising, :1]
    want = (running >= observed - 1e-9 * np.abs(observed)).sum(axis=1)
    np.testing.assert_array_equal(got.counts, want)
    np.testing.assert_allclose(got.largest, value.max(axis=0), rtol=1e-10)


@pytest.mark.parametrize("engine", ENGINES)
def test_counts_between_thresholds(case, engine):
    units, asked, value = case
    edges = [int(x) for x in np.quantile(bins_of(value.ravel()), [0.5, 0.9, 0.99])]
    column = np.full(BINS, -1)
    for place, edge in enumerate(edges):
        column[edge:] = len(edges) - 1 - place
    got = engine.exceeding(units, asked, column)
    bins = bins_of(value.ravel()).reshape(value.shape)
    assert got.shape == (len(asked.labelings), 3)
    for place, edge in enumerate(edges):
        above = got[:, : len(edges) - place].sum(axis=1)
        assert np.abs(above - (bins >= edge).sum(axis=0)).max() <= 1


def test_blocks_do_not_matter(case, monkeypatch):
    units, asked, _ = case
    groups = np.zeros(UNITS, np.int64)
    for engine, name, size in (
        (every_labeling_compiled, "STRETCH", 7),
        (every_labeling_tensors, "BLOCK", 7 * len(asked.labelings)),
    ):
        whole = engine.reached(units, asked, groups, groups, 2, lambda _: None)
        stepped = engine.stepped_down(units, asked, lambda _: None)
        monkeypatch.setattr(engine, name, size)
        cut = engine.reached(units, asked, groups, groups, 2, lambda _: None)
        for one, other in zip(whole, cut, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
        assert torch.equal(stepped.counts, engine.stepped_down(units, asked, lambda _: None).counts)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_units_at_all(engine):
    _, _, units, labelings = made(7, 3)
    none = Weighted(*(part[:0] for part in units))
    asked, empty = Asked(labelings, 0), np.zeros(0, np.int64)
    got = engine.reached(none, asked, empty, empty, 1, lambda _: None)
    assert got.observed.shape == got.single.shape == (0,)
    assert got.counts.shape == (0, 35)
    assert engine.stepped_down(none, asked, lambda _: None).counts.shape == (0,)
