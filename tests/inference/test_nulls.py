"""The lexical null keeps all but the category; distinct rows count what the token decides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_negation.fitting import engine
from tl_negation.inference import nulls
from tl_negation.inference.heldout import held_out
from tl_negation.inference.infer import infer
from tl_negation.inference.nulls import (
    distinct_rows,
    lexical_null,
    null_bands,
    null_p_values,
    swap_word_means,
)
from tl_negation.inference.words import TooFewWordsError, word_test
from tl_negation.probing.probe import probe
from tl_negation.probing.profiles import profile


@pytest.fixture(scope="module")
def small():
    values, labels, words = synthetic.small(seed=9)
    codes, types = pd.factorize(words)
    return torch.from_numpy(values).float(), labels, words, codes, list(types)


# ------------------------------------------------------------------ swap_word_means


def test_giving_each_word_its_own_mean_changes_nothing(small):
    values, _, _, codes, types = small
    assert torch.equal(swap_word_means(values, codes, np.arange(len(types))), values)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(9)))
def test_a_shuffle_moves_the_means_and_nothing_else(source):
    values, _, words = synthetic.small(seed=9)
    codes, _ = pd.factorize(words)
    moved = swap_word_means(torch.from_numpy(values), codes, np.array(source)).numpy()
    for word in range(9):
        rows, from_rows = codes == word, codes == source[word]
        before, after = values[:, rows], moved[:, rows]
        np.testing.assert_allclose(after.mean(axis=1), values[:, from_rows].mean(axis=1))
        np.testing.assert_allclose(
            after - after.mean(axis=1, keepdims=True),
            before - before.mean(axis=1, keepdims=True),
            atol=1e-12 * np.abs(values).max(),
        )


def test_a_shuffle_is_the_same_for_all_units_and_layers(small):
    """So that their correlations stay: the shuffle of a sum is the sum of the shuffles."""
    values, _, _, codes, _ = small
    values = values.double()
    source = np.random.default_rng(0).permutation(9)
    both = torch.cat([values, values[:, :, :1] + values[:, :, 1:2]], dim=2)
    moved = swap_word_means(both, codes, source)
    torch.testing.assert_close(moved[:, :, -1], moved[:, :, 0] + moved[:, :, 1])
    torch.testing.assert_close(moved[:, :, :-1], swap_word_means(values, codes, source))


def test_equal_rows_of_a_word_stay_equal(small):
    values, _, _, codes, _ = small
    values = values.clone()
    rows = np.flatnonzero(codes == 0)
    values[:, rows] = values[:, rows[:1]]
    moved = swap_word_means(values, codes, np.roll(np.arange(9), 1))
    assert (moved[:, rows] == moved[:, rows[:1]]).all()
    assert not torch.equal(moved[:, rows], values[:, rows])


def test_what_is_not_finite_stays_in_its_unit(small):
    values, _, _, codes, _ = small
    broken = values.clone()
    broken[1, 4, 6] = torch.nan
    source = np.roll(np.arange(9), 1)
    clean, moved = swap_word_means(values, codes, source), swap_word_means(broken, codes, source)
    others = torch.ones(3, synthetic.WIDTH, dtype=torch.bool)
    others[1, 6] = False
    assert torch.isnan(moved[1, 4, 6])
    assert torch.equal(moved.transpose(1, 2)[others], clean.transpose(1, 2)[others])


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


def test_a_shuffle_of_all_units_is_the_lexical_null_tested(small):
    values, labels, words, codes, types = small
    p = null_p_values(synthetic.result(values, labels, words), deals=1, units=10**6, seed=4)
    rng = np.random.default_rng(4)
    order = rng.choice(3 * synthetic.WIDTH, 3 * synthetic.WIDTH, replace=False)
    swapped = swap_word_means(values, codes, rng.permutation(len(types)))
    null = word_test(synthetic.result(swapped, labels, words), seed=4, progress=False)
    by_example, over_words = (p[name].to_numpy() for name in p)
    np.testing.assert_allclose(by_example, null.p.flatten()[order], rtol=1e-9)
    np.testing.assert_array_equal(over_words, null.words_p.flatten()[order])


def test_units_that_know_words_pass_by_example_and_not_over_words():
    values, labels, words = synthetic.small()
    p = null_p_values(synthetic.result(values, labels, words), deals=30, units=60, seed=1)
    assert p.shape == (30 * 60, 2)
    assert p.notna().all(axis=None)
    rejected = (p <= 0.05).mean()
    assert rejected["by example (Wald)"] > 0.25
    assert rejected["over words (permutation)"] < 0.08
    assert (
        null_p_values(synthetic.result(values, labels, words), deals=2, units=5, seed=1)
        == (null_p_values(synthetic.result(values, labels, words), deals=2, units=5, seed=1))
    ).all(axis=None)


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
