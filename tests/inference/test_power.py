"""What a test over words could have found, by simulation; what casts doubt on it, by example."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from scipy.stats import nct
from scipy.stats import t as student

from tl_negation.inference.labelings import Asked
from tl_negation.inference.power import cautions, shifts, smallest_p, spread_of
from tl_negation.inference.precision import word_means
from tl_negation.inference.words import exchangeable, labelings_of, word_test

STORY = synthetic.story_contexts()
TYPES = exchangeable(STORY)


def asked(types, side=0):
    return Asked(labelings_of(types, 10_000, 0)[0].numpy().astype(np.int64), side)


def table(ones, zeros):
    """Word types by their numbers of examples."""
    rows = [{"label": 1, "group": "negation", "examples": n} for n in ones]
    rows += [{"label": 0, "group": "affirmation", "examples": n} for n in zeros]
    return pd.DataFrame(rows).assign(word=[f"w{i}" for i in range(len(rows))])


def test_a_shift_of_the_size_that_is_stated_is_found_in_four_of_five_units():
    about = word_test(
        synthetic.bare(synthetic.activations(_units(0, 2000, seed=1), STORY)), progress=False
    ).provenance["word_test"]
    shifted = _units(about["shift_alone"], 2000, seed=2)
    found = word_test(synthetic.bare(synthetic.activations(shifted, STORY)), progress=False)
    share = float((found.words_p <= 0.05).double().mean())
    assert share == pytest.approx(0.8, abs=0.05)  # the permutation's p has steps of 1 in 3003
    shifted = _units(about["shift_family"], 2000, seed=3)
    found = word_test(synthetic.bare(synthetic.activations(shifted, STORY)), progress=False)
    t_needed = _critical(about["shift_family"], about["icc"])
    share = float((found.words_t.abs() >= t_needed).double().mean())
    assert share == pytest.approx(0.8, abs=0.06)


def _units(shift, n, seed):
    """Half of the variance within a class lies between its words; the shift is in SDs of that."""
    x = synthetic.lexical_units(STORY.words, n, np.random.default_rng(seed), noise=0.5)
    return (x + shift * np.sqrt(0.5) * STORY.labels.numpy()[:, None])[None]


def _critical(shift, icc):
    """The t that is exceeded with a probability of 80 % at this shift, by the t distribution."""
    weight = 1 / (1 + (1 - icc) / icc / TYPES["examples"].to_numpy())
    one = weight[TYPES["label"] == 1].sum()
    return nct.isf(0.8, 13, shift * np.sqrt(one * (weight.sum() - one) / weight.sum()))


def test_the_shift_is_that_of_a_t_test_where_words_are_frequent():
    """5 + 5 words, one of 74,880 units: a million draws of the pooled t."""
    types = table([10_000] * 5, [10_000] * 5)
    p = 1 - 0.95 ** (1 / 74_880)
    t = student.isf(p / 2, 8)
    got = shifts(types, 1.0, asked(types), t**2 / (8 + t**2), 0.05)
    rng = np.random.default_rng(0)
    z, sd = rng.normal(size=1_000_000), np.sqrt(rng.chisquare(8, 1_000_000) / 8)
    for name, level in (("shift_family", p), ("shift_alone", 0.05)):
        found = (z + got[name] * np.sqrt(5 / 2)) / sd > student.isf(level / 2, 8)
        assert found.mean() == pytest.approx(0.8, abs=0.002)


def test_no_shift_is_stated_where_none_would_do():
    types = table([5] * 4, [5] * 4)
    assert shifts(types, 0.0, asked(types), 0.5, 0.05) == {
        "shift_alone": None,
        "shift_family": None,
    }
    assert shifts(types, 0.5, asked(types), 1.0, 0.05)["shift_family"] is None


def test_rare_words_need_a_larger_shift():
    frequent, rare = table([50] * 5, [50] * 5), table([1] * 5, [50] * 5)
    found = [shifts(types, 0.3, asked(types), 0.9, 0.05) for types in (frequent, rare)]
    assert found[1]["shift_alone"] > 1.2 * found[0]["shift_alone"]
    assert found[1]["shift_family"] > 1.2 * found[0]["shift_family"]


def test_smallest_p():
    assert smallest_p(asked(table([1] * 3, [1] * 3))) == pytest.approx(2 / 20)
    assert smallest_p(asked(table([1] * 3, [1] * 3), side=1)) == pytest.approx(1 / 20)
    assert smallest_p(asked(table([1] * 3, [1] * 4))) == pytest.approx(1 / 35)


def test_spread_between_words_of_a_class():
    rng = np.random.default_rng(0)
    words = [f"n{i}" for i in range(20)] * 10 + [f"a{i}" for i in range(30)] * 10
    labels = [1] * 200 + [0] * 300
    between = rng.normal(size=(50, 400)) * np.where(np.arange(50) < 20, 2.0, 1.0)[:, None]
    codes = pd.factorize(np.array(words))[0]
    x = between[codes] + rng.normal(size=(500, 400)) + 5 * np.array(labels)[:, None]
    of = synthetic.contexts(labels, words)
    types = exchangeable(of)
    acts = synthetic.activations(x[None], of)
    means = word_means(acts.values, of.words, tuple(types["word"]))
    got = spread_of(means, types, torch.ones(400, dtype=torch.bool))
    # Variance between words 4 and 1, pooled over 19 and 29 degrees of freedom; 1 within.
    pooled = (19 * 4 + 29 * 1) / 48
    assert got["icc"] == pytest.approx(pooled / (pooled + 1), abs=0.03)
    ratio = got["between_variance"]["negation"] / got["between_variance"]["affirmation"]
    assert ratio == pytest.approx(4, rel=0.1)


def test_cautions():
    fine = {
        "smallest_p": 0.01,
        "alpha": 0.05,
        "between_variance": {"negation": 0.3, "affirmation": 0.3},
    }
    assert cautions(table([10] * 4, [10] * 8), fine) == []
    (said,) = cautions(table([2] * 4, [10] * 8), fine)
    assert said.startswith("the class with fewer words (negation) has the rarer ones")
    (said,) = cautions(table([10] * 8, [2] * 4), fine)
    assert said.startswith("the class with fewer words (affirmation) has the rarer ones")
    uneven = fine | {"between_variance": {"negation": 0.6, "affirmation": 0.2}}
    (said,) = cautions(table([10] * 4, [10] * 8), uneven)
    assert "(negation) differ more among each other: 0.60 of a unit's variance" in said
    assert cautions(table([10] * 8, [10] * 4), uneven) == []
    (said,) = cautions(table([10] * 3, [10] * 3), fine | {"smallest_p": 0.1})
    assert said.startswith("no p value over words can reach 0.05: the smallest that these 6 words")
