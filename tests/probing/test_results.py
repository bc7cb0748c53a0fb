"""A result: its columns and their order, cut, ranked and told in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic

from tl_negation import COLUMNS, STATUSES, WORD_COLUMNS, load_result
from tl_negation.models.units import check_units, head_number, unit_of
from tl_negation.probing.columns import PAIR_COLUMNS, ranks
from tl_negation.probing.probe import probe
from tl_negation.probing.results import needs_activations

#: As DESIGN.md promises for units.parquet from the first day.
PROMISED = [
    *("layer", "site", "head", "index", "status", "beta", "intercept", "se", "z", "p", "log10_p"),
    *("lr", "lr_p", "beta_per_sd", "accuracy", "balanced_accuracy", "auc", "significant"),
]
FAILED = {
    "separated": (2, "q", 0, 1),
    "quasi_separated": (2, "k", 1, 0),
    "constant": (5, "q", 4, 3),
    "nonfinite": (8, "mlp_pre", 0, 6),
}


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.every_outcome())


@pytest.fixture(scope="module")
def full(result):
    return synthetic.full(result)


# ------------------------------------------------------------------ columns


def test_the_promised_columns_come_first_and_in_their_order(result, full):
    for one in (result, full):
        names = list(one.to_frame().columns)
        assert names[: len(PROMISED)] == PROMISED
        assert len(set(names)) == len(names)
    assert set(result.columns) == set(COLUMNS)
    assert set(full.columns) == {*COLUMNS, *WORD_COLUMNS}


def test_a_row_per_unit_in_the_order_of_the_tensors(result):
    frame = result.to_frame()
    assert len(frame) == 3 * synthetic.WIDTH
    assert frame["layer"].tolist() == [2] * 35 + [5] * 35 + [8] * 35
    k = frame[(frame["layer"] == 5) & (frame["site"] == "k")]
    assert k["head"].tolist() == [0] * 4 + [1] * 4
    assert k["index"].tolist() == [0, 1, 2, 3] * 2
    assert list(frame["site"].cat.categories) == ["q", "k", "mlp_pre"]
    for name, column in result.columns.items():
        if name != "status":
            np.testing.assert_array_equal(frame[name], column.flatten())
    codes = [STATUSES.index(name) for name in frame["status"]]
    assert codes == result.status.flatten().tolist()


def test_every_failed_outcome_is_a_row_without_an_estimate(result):
    frame = result.to_frame()
    failed = frame[frame["status"] != "ok"]
    got = {
        row.status: (row.layer, row.site, head_number(row.head), row.index_)
        for row in _rows(failed)
    }
    assert got == FAILED
    assert failed[["beta", "intercept", "se", "z", "p", "beta_per_sd"]].isna().all(axis=None)
    passed = failed.loc[failed["significant"], "status"].tolist()
    assert sorted(passed) == ["quasi_separated", "separated"]
    assert int(result.tested.sum()) == 3 * 35 - 2
    assert result.tested.dtype == torch.bool
    by_wald = synthetic.result(*synthetic.every_outcome(), test="wald")
    assert int(by_wald.tested.sum()) == 3 * 35 - 4
    assert not by_wald.significant[~by_wald.tested].any()


def _rows(frame):
    return frame.rename(columns={"index": "index_"}).itertuples(index=False)


def test_columns_are_attributes_and_are_listed(result, full):
    assert result.beta is result.columns["beta"]
    assert result.beta.shape == (3, synthetic.WIDTH)
    assert {"beta", "status", "split", "save"} <= set(dir(result))
    assert "words_p_maxt" in dir(full)
    assert "words_p_maxt" not in dir(result)
    with pytest.raises(AttributeError, match=r"has no 'betta'; its columns are status, beta, "):
        result.betta  # noqa: B018 - the access is the test


def test_every_column_is_explained(full):
    explained = COLUMNS | WORD_COLUMNS
    assert all(explained[name] for name in full.columns)


@pytest.mark.parametrize(("ones", "rate"), [(27, 34 / 61), (50, 50 / 61)])
def test_base_rate_is_the_share_of_the_larger_class(ones, rate):
    values, _, words = synthetic.small()
    labels = np.repeat([1, 0], [ones, 61 - ones])
    assert synthetic.result(values, labels, words).base_rate == pytest.approx(rate, abs=1e-15)


# ------------------------------------------------------------------ split


def test_split_is_torch_split_at_the_sites_widths(full):
    parts = full.split()
    assert list(parts) == ["q", "k", "mlp_pre"]
    for name, column in full.columns.items():
        for part, expected in zip(parts.values(), torch.split(column, [20, 8, 7], 1), strict=True):
            np.testing.assert_array_equal(part.columns[name], expected)
    acts = torch.split(full.activations.values, [20, 8, 7], dim=2)
    for part, expected in zip(parts.values(), acts, strict=True):
        np.testing.assert_array_equal(part.activations.values, expected)


def test_a_head_is_missing_where_a_site_has_none(result, tmp_path):
    frame = result.to_frame()
    assert frame["head"].dtype == "Int64"
    assert frame["head"].isna().equals(frame["site"] == "mlp_pre")
    assert result.select("head == 0")["site"].unique().tolist() == ["q", "k"]
    again = load_result(result.save(tmp_path / "run")).to_frame()
    assert again["head"].equals(frame["head"])
    first = frame[frame["site"] == "mlp_pre"].head(1)
    assert unit_of(result.sites, result.layers, first) == (0, 28)  # behind 20 of q and 8 of k
    assert check_units(first)["head"].tolist() == [0]
    lost = frame[frame["site"] == "q"].head(1).assign(head=pd.NA)
    with pytest.raises(ValueError, match="a unit of site q is in a head; the table names none"):
        check_units(lost)
    with pytest.raises(ValueError, match="head of a unit must be a whole number; got <NA>"):
        unit_of(result.sites, result.layers, lost)
    from_csv = frame.head(30).astype({"head": float})
    assert check_units(from_csv)["head"].tolist() == frame["head"].head(30).fillna(0).tolist()


def test_a_part_is_a_result_of_its_own(result):
    k = result.split()["k"]
    assert [site.name for site in k.sites] == ["k"]
    whole = result.to_frame().query("site == 'k'").reset_index(drop=True)
    whole["site"] = whole["site"].cat.remove_unused_categories()
    pd.testing.assert_frame_equal(k.to_frame(), whole)
    again = probe(k.activations, progress=False, family="site")
    np.testing.assert_allclose(again.lr, k.lr, rtol=1e-9)
    np.testing.assert_array_equal(k.split()["k"].beta, k.beta)


def test_a_result_without_activations_is_split_too(result):
    bare = replace(result, activations=None)
    assert all(part.activations is None for part in bare.split().values())


# ------------------------------------------------------------------ top


@pytest.mark.parametrize("by", [name for name in ranks() if name not in PAIR_COLUMNS])
def test_top_ranks_by_size_and_leaves_out_what_has_none(full, by):
    frame = full.to_frame()
    size = (frame[by] - (0.5 if by == "auc" else 0)).abs()
    got = full.top(len(frame), by=by, full=True)
    assert sorted(got.index) == sorted(size.dropna().index)
    assert (np.diff(size[got.index]) <= 0).all()
    pd.testing.assert_frame_equal(full.top(3, by=by, full=True), got.head(3))
    assert set(got) == set(frame)
    assert list(got)[:6] == ["layer", "site", "head", "index", "status", by]
    pd.testing.assert_frame_equal(got, frame.loc[got.index, list(got)])


def test_top_takes_a_separated_unit_for_the_strongest_and_a_small_auc_for_a_strong_one(result):
    first = result.top(1).iloc[0]
    assert (first["status"], first["layer"], first["index"]) == ("separated", 2, 1)
    columns = {**result.columns, "auc": torch.full_like(result.auc, 0.6)}
    columns["auc"][1, 3] = 0.1
    assert result.with_columns(columns).top(1, by="auc").index.tolist() == [35 + 3]


def test_among_equals_the_classes_farther_apart_come_first_then_the_order_of_the_units(result):
    lr, score = torch.zeros_like(result.lr), torch.ones_like(result.lr)
    lr[1, [4, 9]] = lr[2, 0] = 2.0
    score[1, 9] = 3.0
    tied = result.with_columns({**result.columns, "lr": lr, "score": score})
    assert tied.top(5).index.tolist() == [35 + 9, 35 + 4, 70, 0, 1]


def test_separated_units_share_one_likelihood_ratio_and_are_ranked_by_score():
    labels = np.repeat([1, 0], 10)
    noise = np.random.default_rng(0).uniform(size=(20, 2))
    values = np.stack([1.01 * labels[:, None] + noise, 9 * labels[:, None] + noise])
    found = synthetic.result(values, labels, ["not"] * 10 + ["can"] * 10)
    assert found.status_counts()["separated"] == 4
    assert found.lr.unique().numel() == 1
    top = found.top(4, full=True)
    assert top["layer"].tolist() == [5, 5, 2, 2]
    assert (np.diff(top["score"]) < 0).all()
    assert set(found.top()) < set(top)


def test_top_ranks_by_the_statistic_over_words_where_there_is_one(result, full):
    pd.testing.assert_frame_equal(result.top(4), result.top(4, by="lr"))
    pd.testing.assert_frame_equal(full.top(4), full.top(4, by="words_t"))
    assert "<p>units with the largest lr</p>" in result._repr_html_()
    assert "<p>units with the largest words_t</p>" in full._repr_html_()


def test_top_refuses_what_does_not_rank(result):
    with pytest.raises(ValueError, match=r"ranked by one of z, log10_p, lr, .*; got 'beta'"):
        result.top(by="beta")
    with pytest.raises(ValueError, match=r"ranked by one of z, .*, score; got 'words_t'"):
        result.top(by="words_t")  # inference has not run
    with pytest.raises(ValueError, match="must be at least 1; got 0"):
        result.top(0)


# ------------------------------------------------------------------ in words


def test_summary_of_a_plain_probe(result):
    lines = result.summary().splitlines()
    frame = result.to_frame()
    passed = frame[frame["significant"]]
    assert lines[0] == (
        "Over words: not tested (tl_negation.infer tests it). What follows may be no more than the "
        "word."
    )
    assert lines[1] == (
        'Based on 27 negation contexts (4 words; 41 % are "not"); 34 affirmation contexts '
        '(5 words; 38 % are "can"); guessing the larger class is right in 55.7%.'
    )
    assert lines[2] == (
        "By example (likelihood-ratio test, bonferroni per layer, alpha 0.05), "
        f"{len(passed)} of 103 tested units are significant ({len(passed) / 103:.2%}); their "
        f"accuracy in sample is {passed['accuracy'].mean():.1%}."
    )
    assert "whether anything holds over words has not been tested" in lines[3]
    assert len(lines) == 4
    assert 10 < len(passed) < 100


def test_summary_with_inference_over_words(full):
    text = full.summary()
    groups = full.tables["groups"]
    passed = int((groups["p_maxt"] <= 0.05).sum())
    assert text.startswith(f"Over words, {passed} of 9 layer-site groups pass")
    assert 0 < passed < 9
    assert text.index("On words left out") < text.index("By example (")
    frame = full.to_frame()
    tested = frame[frame["lr_p"].notna()]
    passed = int(frame["significant_words"].sum())
    assert (
        "Over words (50 labelings at random, max-T over all units, alpha 0.05), "
        f"{passed} of 105 units are significant ({passed / 105:.2%}); the smallest p is "
        f"{frame['words_p_maxt'].min():.2g}."
    ) in text
    assert "affirmation: can (' can')" not in text  # the tokens as they are
    assert "negation: not ('not'), n't (\"n't\"), never ('never'), nor ('nor')" in text
    assert (
        f"the mean unit is right in {tested['held_out_accuracy'].mean():.1%} (balanced; after "
        "dealing the words' labels anew, 40 times: "
    ) in text
    assert f") against {tested['balanced_accuracy'].mean():.1%} on the words" in text
    assert (
        f"predicted at {tested['control_accuracy'].mean():.1%}, the real one at "
        f"{tested['task_accuracy'].mean():.1%}, each word of a class weighted alike: mean "
        f"selectivity {100 * tested['selectivity'].mean():+.1f} points (rank "
    ) in text
    best = full.tables["heads"]["held_out_accuracy"]
    assert f"best of {len(best)}: " in text
    assert f"{best.max():.1%} (the best of many" in text
    assert text.endswith("does not mean used by the model: no intervention was run.")
    replaced = full.with_table("ablation", pd.DataFrame())
    assert replaced.summary().endswith("the table ablation shows what replacing units does.")


@pytest.mark.parametrize(
    ("passed", "claim"), [(0, "no single unit can be said"), (3, "over words from 3 units")]
)
def test_the_claim_follows_the_test_over_words(full, passed, claim):
    significant = torch.zeros(3, synthetic.WIDTH, dtype=torch.bool)
    significant[0, :passed] = True
    of = full.with_columns({**full.columns, "significant_words": significant})
    about = dict(full.provenance["word_test"])
    about["all_units"] = {**about["all_units"], "at_least": 0.0}
    of = replace(of, provenance={**full.provenance, "word_test": about})
    assert claim in of.summary().splitlines()[-1]


def test_reprs(result):
    text = repr(result)
    assert text.startswith("ProbeResult of made: 3 layers x (q 20, k 8, mlp_pre 7) units on 61 con")
    _, over_words, by_example, units = text.splitlines()
    assert over_words == "  over words: not tested (tl_negation.infer)"
    passed = int(result.significant.sum())
    assert by_example == (
        "  by example (likelihood-ratio test, bonferroni per layer, alpha 0.05): "
        f"{passed} of 103 tested units significant"
    )
    assert units == (
        "  units: 101 ok, 1 separated, 1 quasi_separated, 1 constant, 1 nonfinite; base rate 55.7%"
    )
    page = result._repr_html_()
    assert page.count("<tr") == 1 + 5
    assert "separated" in page


def test_what_needs_activations_says_so(result):
    assert needs_activations(result, "this") is result.activations
    with pytest.raises(ValueError, match=r"this needs the activations, .* collect and probe again"):
        needs_activations(replace(result, activations=None), "this")
