"""The lexical null keeps all but the category; distinct rows count what the token decides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from helpers.oracles import swap_word_means

from tl_negation.fitting import engine
from tl_negation.inference import nulls
from tl_negation.inference.generated import without_category
from tl_negation.inference.heldout import held_out
from tl_negation.inference.infer import infer
from tl_negation.inference.nulls import (
    distinct_rows,
    lexical_null,
    null_bands,
    null_p_values,
)
from tl_negation.inference.words import TooFewWordsError
from tl_negation.probing.probe import probe
from tl_negation.probing.profiles import profile


@pytest.fixture(scope="module")
def small():
    values, labels, words = synthetic.small(seed=9)
    codes, types = pd.factorize(words)
    return torch.from_numpy(values).float(), labels, words, codes, list(types)


# ------------------------------------------------------------------ lexical_null


def test_the_table_is_that_of_a_slow_loop(small):
    values, labels, words, codes, types = small
    test = {"alpha": 0.2, "family": "site", "correction": "bh"}
    result = synthetic.result(values, labels, words, **test)
    table = lexical_null(result, replicates=3, seed=5, held_out_words=True, progress=False)
    keys = ["replicate", "layer", "site"]
    assert list(table.columns[:3]) == keys
    assert len(table) == 3 * 3 * 3
    rng = np.random.default_rng(5)
    for replicate in range(3):
        moved = swap_word_means(values, codes, rng.permutation(len(types)))
        null = held_out(synthetic.result(moved, labels, words, **test), progress=False)
        frame = null.to_frame()
        frame = frame[frame["lr_p"].notna()]
        want = frame.groupby(["layer", "site"], observed=True).agg(
            share_significant=("significant", "mean"),
            accuracy=("accuracy", "mean"),
            balanced_accuracy=("balanced_accuracy", "mean"),
            held_out_accuracy=("held_out_accuracy", "mean"),
        )
        got = table[table["replicate"] == replicate].set_index(keys[1:])
        for (layer, site), row in want.iterrows():
            np.testing.assert_allclose(got.loc[(layer, site), want.columns].astype(float), row)
    assert set(table["layer"]) == {2, 5, 8}
    assert table["share_significant"].between(0.01, 0.99).any()


@pytest.mark.parametrize("test", ["lr", "wald"])
def test_a_null_that_moves_nothing_has_the_means_of_the_profile(monkeypatch, test):
    """One definition of tested units: the separated ones count in both, or in neither."""
    monkeypatch.setattr(
        nulls, "_word_means", lambda x, words: x.new_zeros(words.max() + 1, x.shape[1])
    )
    result = held_out(synthetic.result(*synthetic.every_outcome(), test=test), progress=False)
    null = lexical_null(result, replicates=1, held_out_words=True, progress=False)
    table = profile(result)
    keys = ["layer", "site"]
    first = table.set_index(keys).loc[(2, "q")]
    gap = result.to_frame().query("layer == 2 and site == 'q' and status == 'separated'")
    assert first["tested"] == (20 if test == "lr" else 19)
    assert (len(gap), gap["significant"].all()) == (1, test == "lr")
    for name in ("share_significant", "accuracy", "held_out_accuracy"):
        got = null.set_index(keys)[name].sort_index()
        np.testing.assert_allclose(got, table.set_index(keys)[name].sort_index(), rtol=1e-12)
    of_all = result.accuracy[0, :20].nanmean().item()
    assert bool(first["accuracy"] == pytest.approx(of_all)) is (test == "lr")


@pytest.mark.parametrize("family", ["layer", "site", "all"])
def test_some_units_at_a_time_give_the_same_table(monkeypatch, family):
    values, labels, words = synthetic.small(seed=9)
    result = synthetic.result(values, labels, words, family=family, correction="holm")
    options = {"replicates": 2, "held_out_words": True, "progress": False}
    whole = lexical_null(result, **options)
    for units in (4, 50):
        monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(units=units))
        pd.testing.assert_frame_equal(lexical_null(result, **options), whole)


def test_held_out_words_are_scored_only_if_asked_for_and_seeds_repeat():
    result = synthetic.result(*synthetic.small())
    table = lexical_null(result, replicates=2, seed=1, progress=False)
    assert "held_out_accuracy" not in table
    pd.testing.assert_frame_equal(table, lexical_null(result, replicates=2, seed=1, progress=False))
    other = lexical_null(result, replicates=2, seed=2, progress=False)
    assert not table["accuracy"].equals(other["accuracy"])


def test_the_category_is_taken_and_the_words_are_left():
    """A unit that only follows the category loses it; one that follows the words keeps them."""
    of = synthetic.story_contexts()
    rng = np.random.default_rng(0)
    category = of.labels.numpy()[:, None] + 0.5 * rng.normal(size=(398, 60))
    acts = synthetic.activations(category[None], of)
    real = probe(acts, progress=False)
    table = lexical_null(real, replicates=10, progress=False)
    assert real.significant.all()
    assert real.balanced_accuracy.mean() > 0.8
    assert table["balanced_accuracy"].mean() < 0.72
    assert table["replicate"].tolist() == list(range(10))


def test_a_layer_without_a_tested_unit_is_nan(small):
    values, labels, words, _, _ = small
    values = values.clone()
    values[0] = 1.0
    table = lexical_null(synthetic.result(values, labels, words), replicates=1, progress=False)
    first = table["layer"] == 2
    assert table.loc[first, ["share_significant", "accuracy"]].isna().all(axis=None)
    assert table.loc[~first, ["share_significant", "accuracy"]].notna().all(axis=None)


def test_no_replicates_and_no_activations_are_refused():
    result = synthetic.result(*synthetic.small())
    with pytest.raises(ValueError, match="at least one replicate; got 0"):
        lexical_null(result, replicates=0)
    with pytest.raises(ValueError, match="lexical_null needs the activations"):
        lexical_null(replace(result, activations=None))


# ------------------------------------------------------------------ null_bands and infer


def test_bands_are_the_percentiles_of_the_replicates():
    rng = np.random.default_rng(0)
    rows = [
        {
            "replicate": replicate, "layer": layer, "site": site,
            "share_significant": rng.uniform(), "accuracy": rng.uniform(),
            "balanced_accuracy": np.nan if layer == 5 else rng.uniform(),
        }
        for replicate in range(41)
        for layer in (2, 5)
        for site in ("q", "k")
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    bands = null_bands(table)
    assert bands[["layer", "site"]].to_numpy().tolist() == [[2, "q"], [2, "k"], [5, "q"], [5, "k"]]
    for row in bands.to_dict("records"):
        part = table[(table["layer"] == row["layer"]) & (table["site"] == row["site"])]
        for name in ("share_significant", "accuracy", "balanced_accuracy"):
            got = [row[f"null_{name}_{end}"] for end in ("low", "middle", "high")]
            # 41 replicates: the 5th, 50th and 95th percentile are the 3rd, 21st and 39th of them
            np.testing.assert_array_equal(got, np.sort(part[name])[[2, 20, 38]])
    assert not any("held_out" in name for name in bands)


def test_bands_of_held_out_accuracy_are_there_where_it_was_scored():
    result = synthetic.result(*synthetic.small())
    table = lexical_null(result, replicates=2, held_out_words=True, progress=False)
    bands = null_bands(table)
    assert (bands["null_held_out_accuracy_low"] <= bands["null_held_out_accuracy_high"]).all()
    assert len(bands) == 9


def test_infer_keeps_the_bands_as_a_table():
    result = synthetic.result(*synthetic.small())
    found = infer(result, permutations=30, tasks=1, replicates=3, seed=6, progress=False)
    assert found.provenance["lexical_null"] == {"replicates": 3, "seed": 6}
    bands = null_bands(lexical_null(result, replicates=3, seed=6, progress=False))
    pd.testing.assert_frame_equal(found.tables["lexical_null"], bands)
    assert "lexical_null" not in {*result.provenance, *result.tables}


# ------------------------------------------------------------------ distinct_rows


def test_where_the_token_decides_there_are_as_many_rows_as_tokens():
    of = synthetic.story_contexts()
    rng = np.random.default_rng(0)
    codes, tokens = pd.factorize(of.examples["token"])
    by_token = rng.normal(size=(len(tokens), synthetic.WIDTH))[codes]
    values = np.stack([by_token, by_token + 0.1 * rng.normal(size=by_token.shape), 0 * by_token])
    table = distinct_rows(synthetic.activations(values, of))
    assert table.to_dict("list") == {
        "layer": [2, 5, 8],
        "distinct_rows": [28, 398, 1],
        "examples": [398] * 3,
    }


# ------------------------------------------------------------------ null_p_values


def test_generated_units_have_the_spread_of_the_real_ones_and_no_category():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 40, 80)
    by_word = np.array([1] * 30 + [0] * 50)
    words = np.repeat(np.arange(80), sizes)
    effects = rng.normal(size=(80, 2)) @ np.array([[2.0, 1.0], [0.0, 1.0]])
    x = effects[words] + 3.0 * by_word[words][:, None] + rng.normal(size=(len(words), 2))
    values = torch.from_numpy(np.concatenate([x, rng.normal(size=(len(words), 1))], axis=1))
    made = [without_category(values, words, by_word[words], rng).numpy() for _ in range(100)]
    means = np.array([[one[words == w].mean(axis=0) for w in range(80)] for one in made])
    residuals = made[0] - means[0][words]
    within = (residuals**2).sum(axis=0) / (len(words) - 80)
    np.testing.assert_allclose(within, 1, rtol=0.2)  # drawn from examples whose variance is 1
    frequent = sizes >= 10
    between = means[:, frequent].std(axis=0).mean(axis=0)
    real = [effects[by_word == c] - effects[by_word == c].mean(axis=0) for c in (1, 0)]
    want = np.sqrt(sum((part**2).sum(0) for part in real) / 78)
    np.testing.assert_allclose(between[:2], want, rtol=0.2)
    assert between[2] < 0.35  # knows no words: nothing but the noise of the means
    correlation = np.corrcoef(means[:, frequent].reshape(-1, 3).T)[0, 1]
    assert correlation == pytest.approx(np.corrcoef(np.concatenate(real).T)[0, 1], abs=0.15)
    difference = means[:, by_word == 1].mean(axis=1) - means[:, by_word == 0].mean(axis=1)
    np.testing.assert_allclose(difference.mean(axis=0) / (difference.std(axis=0) / 10), 0, atol=3.5)


def test_what_is_not_finite_stays_in_its_unit():
    values, labels, words = synthetic.small(seed=9)
    codes, _ = pd.factorize(words)
    x = torch.from_numpy(values[0])
    broken = x.clone()
    broken[4, 6] = torch.inf
    clean, made = (
        without_category(of, codes, labels, np.random.default_rng(1)) for of in (x, broken)
    )
    assert not made[:, 6].isfinite().any()
    others = [unit for unit in range(x.shape[1]) if unit != 6]
    assert torch.equal(made[:, others], clean[:, others])


def test_units_that_know_words_pass_by_example_and_not_over_words():
    values, labels, words = synthetic.small()
    result = synthetic.result(values, labels, words)
    p = null_p_values(result, deals=30, units=60, seed=1)
    assert p.shape == (30 * 60, 2)
    assert p.notna().all(axis=None)
    rejected = (p <= 0.05).mean()
    assert rejected["by example (likelihood-ratio test)"] > 0.25
    assert rejected["over words (permutation)"] < 0.08
    again, once = (null_p_values(result, deals=2, units=5, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(again, once)
    wald = synthetic.result(values, labels, words, test="wald")
    assert "by example (Wald test)" in null_p_values(wald, deals=1, units=5)


def test_a_test_that_does_not_hold_its_level_is_found_out():
    """Three rare words against twelve frequent ones: means that are not weighed are not alike."""
    rng = np.random.default_rng(0)
    names = [f"rare {i}" for i in range(3)] + [f"frequent {i}" for i in range(12)]
    words = np.repeat(names, [2] * 3 + [60] * 12)
    labels = np.array([int(word.startswith("rare")) for word in words])
    x = synthetic.lexical_units(words, 105, rng, noise=0.9).reshape(1, len(words), -1)
    result = synthetic.bare(synthetic.activations(x, synthetic.contexts(labels, words)))
    size = {
        statistic: (
            null_p_values(result, deals=20, units=105, statistic=statistic, permutations=400)
            <= 0.05
        )["over words (permutation)"].mean()
        for statistic in ("pooled", "weighted")
    }
    assert size["pooled"] > 0.15
    assert size["weighted"] < 0.09


def test_null_p_values_refuse(small):
    values, labels, words, *_ = small
    result = synthetic.result(values, labels, words)
    with pytest.raises(
        ValueError, match=r"one shuffle \(deals\) of one unit is needed; got 0 of 500"
    ):
        null_p_values(result, deals=0)
    with pytest.raises(
        ValueError, match=r"one shuffle \(deals\) of one unit is needed; got 40 of 0"
    ):
        null_p_values(result, units=0)
    with pytest.raises(ValueError, match="null_p_values needs the activations"):
        null_p_values(replace(result, activations=None))
    with pytest.raises(TooFewWordsError):
        null_p_values(synthetic.result(values, labels, np.where(labels, "not", "can")), deals=1)
