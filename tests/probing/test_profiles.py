"""Profiles: means over the units that remain, shares over the right number, trends over depth."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from scipy.stats import binom, spearmanr

from tl_negation import STATUSES, infer, null_bands
from tl_negation._shared import PRESETS
from tl_negation.inference.heldout import held_out
from tl_negation.inference.nulls import lexical_null
from tl_negation.models.sites import Site
from tl_negation.probing.profiles import (
    check_preset,
    head_table,
    profile,
    under_preset,
)
from tl_negation.probing.results import ProbeResult
from tl_negation.probing.trends import trend

NAN = float("nan")
OK, SEPARATED, CONSTANT = (STATUSES.index(name) for name in ("ok", "separated", "constant"))
NOTEBOOK = {"test": "wald", "alpha": 0.05, "family": "layer", "correction": "bonferroni"}


def by_hand(sites, test=None, **columns):
    """A result of the columns given, [layer, unit] as nested lists; layers 1, 4, 7 ....

    By Wald, units have a p if their status is ok; by the likelihood ratio, if they are separated.
    """
    kinds = {"status": torch.int8, "significant": torch.bool, "significant_words": torch.bool}
    tensors = {
        name: torch.tensor(values, dtype=kinds.get(name, torch.float64))
        for name, values in columns.items()
    }
    status = tensors["status"]
    for name, known in (("p", (OK,)), ("lr_p", (OK, SEPARATED))):
        has_one = torch.isin(status, torch.tensor(known, dtype=torch.int8))
        tensors[name] = torch.where(has_one, 0.01, NAN).double()
    tensors.setdefault("auc", torch.full(status.shape, 0.5, dtype=torch.float64))
    layers = tuple(range(1, 1 + 3 * len(columns["status"]), 3))
    contexts = synthetic.contexts([1] * 6 + [0] * 4, ["not"] * 6 + ["can"] * 4)
    return ProbeResult(tensors, sites, layers, contexts, {"test": test or NOTEBOOK})


@pytest.fixture
def masked():
    """Three units, two layers; the reference's plots turn 90 and 75 per cent into 50 and 66.7."""
    return by_hand(
        (Site("q", "{layer}", "attn", 3, 1),),
        status=[[OK, OK, CONSTANT], [OK, OK, OK]],
        significant=[[True, False, False], [True, True, False]],
        beta=[[2.0, -1.0, NAN], [0.5, 3.0, -4.0]],
        accuracy=[[0.9, 0.1, NAN], [0.8, 0.7, 0.5]],
        beta_per_sd=[[1.0, -0.5, NAN], [0.3, 0.6, -0.9]],
    )


@pytest.fixture
def modules():
    """Two attention sites of unequal width and the MLP, one layer."""
    return by_hand(
        (
            Site("q", "{layer}", "attn", 2, 2),
            Site("k", "{layer}", "attn", 1, 2),
            Site("mlp_pre", "{layer}", "mlp", 1, 2),
        ),
        status=[[OK, OK, OK, SEPARATED, OK, CONSTANT, OK, OK]],
        significant=[[True, False, True, False, True, False, False, True]],
        beta=[[1.0, 1.0, -2.0, NAN, -1.0, NAN, 0.5, -0.5]],
        accuracy=[[0.6, 0.5, 0.8, 1.0, 0.9, NAN, 0.4, 0.7]],
        beta_per_sd=[[0.1, 0.2, -0.3, NAN, -0.6, NAN, 0.4, -0.8]],
        auc=[[0.6, 0.6, 0.1, 0.0, 0.2, 0.5, 0.6, 0.3]],
    )


def test_a_mean_over_masked_units_is_the_mean_over_those_that_remain(masked):
    table = profile(masked)
    np.testing.assert_allclose(table["accuracy_significant_positive"], [0.9, 0.75])
    np.testing.assert_allclose(table["accuracy"], [0.5, 2 / 3])  # of all, under its own name


def test_every_number_of_a_row(masked):
    first, second = profile(masked).to_dict("records")
    assert first == {
        "layer": 1, "site": "q", "units": 3, "tested": 2,
        "separated": 0, "quasi_separated": 0, "constant": 1, "nonfinite": 0, "nonconverged": 0,
        "share_significant": 0.5, "share_significant_positive": 0.5,
        "accuracy": 0.5, "accuracy_significant_positive": 0.9,
        "accuracy_significant_negative": pytest.approx(NAN, nan_ok=True),
        "abs_beta_per_sd": 0.75, **NOTEBOOK, "base_rate": 0.6,
    }  # fmt: skip
    assert second["layer"] == 4
    assert (second["units"], second["tested"]) == (3, 3)
    assert second["share_significant"] == pytest.approx(2 / 3)
    assert second["abs_beta_per_sd"] == pytest.approx(0.6)


def test_the_notebook_preset_counts_every_unit(masked):
    table = profile(masked, preset="notebook")
    np.testing.assert_allclose(table["share_significant"], [1 / 3, 2 / 3])
    np.testing.assert_allclose(table["share_significant_positive"], [1 / 3, 2 / 3])
    np.testing.assert_allclose(table["accuracy"], [0.5, 2 / 3])  # a failed fit is no accuracy of 0
    assert table["tested"].tolist() == [2, 3]


def test_sites_are_cut_at_their_widths(modules):
    table = profile(modules).set_index("site")
    assert table["units"].to_dict() == {"q": 4, "k": 2, "mlp_pre": 2}
    assert table["tested"].to_dict() == {"q": 3, "k": 1, "mlp_pre": 2}
    assert table["separated"].to_dict() == {"q": 1, "k": 0, "mlp_pre": 0}
    np.testing.assert_allclose(table["share_significant"], [2 / 3, 1, 0.5])
    np.testing.assert_allclose(table["share_significant_positive"], [1 / 3, 0, 0])
    np.testing.assert_allclose(table["accuracy"], [1.9 / 3, 0.9, 0.55])  # of the tested units
    np.testing.assert_allclose(table["accuracy_significant_negative"], [0.8, 0.9, 0.7])


@pytest.mark.parametrize(("auc", "for_class_1"), [(0.0, 1), (1.0, 2)])
def test_a_separated_unit_is_tested_by_the_likelihood_ratio_and_can_be_significant(
    modules, auc, for_class_1
):
    columns = {name: column.clone() for name, column in modules.columns.items()}
    columns["significant"][0, 3], columns["auc"][0, 3] = True, auc
    table = profile(modules.with_columns(columns, test=NOTEBOOK | {"test": "lr"}))
    assert table["tested"].tolist() == [4, 1, 2]
    assert table["separated"].tolist() == [1, 0, 0]
    assert table["test"].unique().tolist() == ["lr"]
    np.testing.assert_allclose(table["share_significant"], [3 / 4, 1, 0.5])
    # it has no slope: on which side class 1 lies, its AUC says
    np.testing.assert_allclose(table["share_significant_positive"], [for_class_1 / 4, 0, 0])
    np.testing.assert_allclose(table["accuracy"], [2.9 / 4, 0.9, 0.55])
    of_class_1 = [0.6] if for_class_1 == 1 else [0.6, 1.0]
    assert table["accuracy_significant_positive"][0] == pytest.approx(np.mean(of_class_1))


def test_modules_put_all_units_of_their_sites_together(modules):
    table = profile(modules, by="module")
    assert table["site"].tolist() == ["q+k", "mlp_pre"]
    assert table["units"].tolist() == [6, 2]
    assert table["share_significant"].tolist() == [0.75, 0.5]
    np.testing.assert_allclose(table["accuracy"], [(1.9 + 0.9) / 4, 0.55])
    notebook = profile(modules, by="module", preset="notebook")
    assert notebook["share_significant"].tolist() == [0.5, 0.5]


def test_a_layer_without_a_valid_fit_is_nan_and_not_nought():
    result = by_hand(
        (Site("q", "{layer}", "attn", 1, 2),),
        status=[[CONSTANT, CONSTANT]],
        significant=[[False, False]],
        beta=[[NAN, NAN]],
        accuracy=[[NAN, NAN]],
        beta_per_sd=[[NAN, NAN]],
        significant_words=[[False, False]],
        words_p_maxt=[[NAN, NAN]],
    )
    row = profile(result).iloc[0]
    assert row[["share_significant", "accuracy", "abs_beta_per_sd"]].isna().all()
    assert np.isnan(row["min_words_p_maxt"])
    assert profile(result, preset="notebook")["share_significant"].tolist() == [0.0]


def test_the_rows_are_those_of_a_groupby():
    result = synthetic.result(*synthetic.small())
    frame = result.to_frame()
    assert (frame["status"] == "ok").all()
    want = frame.groupby(["layer", "site"], observed=True).agg(
        share_significant=("significant", "mean"), accuracy=("accuracy", "mean")
    )
    got = profile(result).set_index(["layer", "site"])[list(want)]
    np.testing.assert_allclose(got, want)
    assert list(got.index) == list(want.index)


def test_columns_of_inference(masked):
    columns = {
        "significant_words": torch.tensor([[False, False, False], [True, False, False]]),
        "words_p_maxt": torch.tensor([[0.2, 0.5, NAN], [0.01, 0.3, 0.4]]).double(),
        "held_out_accuracy": torch.tensor([[0.5, 0.25, NAN], [0.5, 0.5, 0.8]]).double(),
        "selectivity": torch.tensor([[0.1, -0.1, NAN], [0.2, 0.2, 0.2]]).double(),
        "firth_beta": torch.tensor([[NAN, NAN, NAN], [1.0, NAN, -2.0]]).double(),
    }
    table = profile(masked.with_columns({**masked.columns, **columns}))
    np.testing.assert_allclose(table["held_out_accuracy"], [0.375, 0.6])
    np.testing.assert_allclose(table["selectivity"], [0.0, 0.2])
    np.testing.assert_allclose(table["share_significant_words"], [0, 1 / 3])
    np.testing.assert_allclose(table["min_words_p_maxt"], [0.2, 0.01])
    assert table["penalised"].tolist() == [0, 2]
    assert "fold_accuracy" not in table


def test_bands_of_the_lexical_null_are_beside_their_layer_and_site():
    result = infer(
        synthetic.result(*synthetic.small()), permutations=50, tasks=1, replicates=3, progress=False
    )
    bands = null_bands(lexical_null(result, replicates=3, progress=False))
    names = [name for name in bands if name.startswith("null_")]
    table = profile(result)
    keys = ["layer", "site"]
    pd.testing.assert_frame_equal(
        table.set_index(keys)[names].sort_index(), bands.set_index(keys)[names].sort_index()
    )
    assert table["layer"].tolist() == [2, 2, 2, 5, 5, 5, 8, 8, 8]
    assert not any(name in profile(result, by="module") for name in names)


def test_trend_is_scipys_spearman():
    depth = [0, 1, 5, 7, 9]
    shares = {"q": [0.9, 0.7, 0.8, 0.4, 0.3], "k": [0.1, 0.1, 0.5, NAN, 0.2]}
    table = pd.DataFrame(
        [
            {"layer": layer, "site": site, "share_significant": share, "accuracy": 0.5}
            for site, of in shares.items()
            for layer, share in zip(depth, of, strict=True)
        ]
    )
    got = trend(table).set_index(["site", "column"])
    rho = spearmanr(depth, shares["q"]).statistic
    assert got.loc[("q", "share_significant")].tolist() == pytest.approx([rho, 5])
    rho = spearmanr([0, 1, 5, 9], [0.1, 0.1, 0.5, 0.2]).statistic
    assert got.loc[("k", "share_significant")].tolist() == pytest.approx([rho, 4])
    assert np.isnan(got.loc[("q", "accuracy"), "rho"])  # no variation
    assert got.index.get_level_values("column").unique().tolist() == [
        "share_significant", "accuracy",
    ]  # fmt: skip


def test_two_layers_have_no_trend(masked):
    table = trend(profile(masked))
    assert table["rho"].isna().all()
    assert set(table["layers"]) == {2}


def test_a_preset_that_says_nothing_about_profiles_leaves_them_as_they_are(masked, monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", "a rule of finding")
    other = masked.with_columns(masked.columns, test=NOTEBOOK | {"alpha": 0.01})
    pd.testing.assert_frame_equal(profile(other, preset="mine"), profile(other))


def test_what_is_refused(masked):
    with pytest.raises(ValueError, match="preset must be None or 'notebook'; got 'paper'"):
        profile(masked, preset="paper")
    with pytest.raises(ValueError, match="by must be 'site' or 'module'; got 'head'"):
        profile(masked, by="head")


@pytest.mark.parametrize(
    "change", [{"test": "lr"}, {"alpha": 0.01}, {"family": "all"}, {"correction": "bh"}]
)
def test_the_notebook_preset_goes_by_the_notebooks_test_whatever_the_results(change):
    made = synthetic.every_outcome()
    other, notebook = (synthetic.result(*made, **NOTEBOOK | this) for this in (change, {}))
    other = other.with_table("lexical_null", null_bands(lexical_null(other, replicates=1)))
    assert profile(other)[list(change)].iloc[0].tolist() == list(change.values())
    assert not profile(other)["share_significant"].equals(profile(notebook)["share_significant"])
    # the bands are those of the other test
    pd.testing.assert_frame_equal(
        profile(other, preset="notebook"), profile(notebook, preset="notebook")
    )
    assert under_preset(notebook, "notebook") is notebook
    assert under_preset(other, None) is other


def test_a_run_of_an_earlier_version_went_by_wald(masked):
    earlier = {name: value for name, value in NOTEBOOK.items() if name != "test"}
    old = masked.with_columns(masked.columns, test=earlier)
    assert torch.equal(old.tested, masked.tested)
    for preset in (None, "notebook"):
        pd.testing.assert_frame_equal(profile(old, preset=preset), profile(masked, preset=preset))


def test_a_preset_that_is_another_test_is_refused_before_the_work():
    check_preset("notebook", NOTEBOOK)
    with pytest.raises(
        ValueError, match=r"notebook preset is Wald with Bonferroni per layer at .05.*'test': 'lr'"
    ):
        check_preset("notebook", NOTEBOOK | {"test": "lr"})


def test_what_holds_over_words_comes_before_what_holds_by_example():
    table = infer(
        synthetic.result(*synthetic.small()), permutations=50, tasks=1, replicates=1, progress=False
    )
    names = list(profile(table))
    assert names[:6] == [
        "layer", "site", "units", "share_significant_words", "min_words_p_maxt",
        "held_out_accuracy",
    ]  # fmt: skip
    assert names.index("selectivity") < names.index("tested") < names.index("share_significant")
    heads = list(head_table(table))
    assert heads[3:] == [
        "units", "share_significant_words", "held_out_accuracy", "selectivity", "tested",
        "share_significant", "accuracy",
    ]  # fmt: skip


def test_the_place_of_a_trend_among_labelings_is_uniform_where_usual_p_values_are_not():
    """Random walks over 30 layers: the observed curve is one more draw of the same kind."""
    rng = np.random.default_rng(0)

    def walks(n):
        steps = rng.normal(size=(n, 30)).cumsum(axis=1)
        return pd.DataFrame(
            [
                {"replicate": i, "layer": layer, "site": "q", "accuracy": value}
                for i, walk in enumerate(steps)
                for layer, value in enumerate(walk)
            ]
        )

    p, usual = [], []
    for _ in range(120):
        table = walks(1)
        p.append(trend(table, null=walks(19))["p"].item())
        usual.append(spearmanr(table["layer"], table["accuracy"]).pvalue)
    assert np.mean(np.array(usual) <= 0.05) > 0.6
    low, high = binom.interval(0.999, 120, 0.05)
    assert low <= (np.array(p) <= 0.05).sum() <= high


def test_accuracy_on_words_left_out_has_its_place_among_the_labelings():
    result = held_out(synthetic.result(*synthetic.small()), progress=False, relabelings=30)
    table = result.tables["held_out_null"]
    assert table.groupby("labeling").size().tolist() == [9] * 31
    got = profile(result).set_index(["layer", "site"])
    for key, part in table.groupby(["layer", "site"]):
        scores = part.set_index("labeling")["accuracy"]
        assert got.loc[key, "held_out_accuracy"] == pytest.approx(scores[0])
        reached = (scores[1:] >= scores[0] - 1e-9).sum()
        assert got.loc[key, "held_out_p"] == pytest.approx((1 + reached) / 31)
        low, high = np.quantile(scores[1:], (0.05, 0.95))
        assert got.loc[key, "null_held_out_low"] == pytest.approx(low)
        assert got.loc[key, "null_held_out_high"] == pytest.approx(high)
    assert "after dealing the words' labels anew, 30 times" in result.summary()
    assert "50 %" not in result.summary()
