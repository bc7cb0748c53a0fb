"""Replication: made results whose agreement is known, scipy's own counts, refusals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import synthetic
from helpers.made_results import study
from scipy.stats import binomtest, spearmanr

from tl_negation import infer, load_result, replicate
from tl_negation.fitting import STATUSES
from tl_negation.probing.results import ProbeResult

FAST = {"permutations": 126, "tasks": 1, "replicates": 2, "progress": False}
ALL_LAYERS = "layer.isna()"


@pytest.fixture(scope="module")
def pair():
    return study(), infer(study(1, 2.0), **FAST)


def row(table, query):
    (one,) = table.query(query).to_dict("records")
    return one


def units_of(result, site=None, layer=None):
    frame = result.to_frame()
    keep = np.ones(len(frame), bool)
    keep &= True if site is None else frame["site"] == site
    keep &= True if layer is None else frame["layer"] == layer
    return frame[keep]


class TestTables:
    @pytest.mark.parametrize(("site", "layer"), [(None, None), ("k", None), (None, 5), ("q", 8)])
    def test_overlap_is_that_of_the_significant_units(self, pair, site, layer):
        table = replicate(*pair, strongest=20).overlap
        where = ALL_LAYERS if layer is None else f"layer == {layer}"
        found = row(table, f"{where} and site == '{site or 'all'}' and found == 'significant'")
        first, second = (units_of(one, site, layer)["significant"].to_numpy() for one in pair)
        both, n1, n2, n = (first & second).sum(), first.sum(), second.sum(), len(first)
        assert (found["units"], found["first"], found["second"], found["both"]) == (n, n1, n2, both)
        assert found["expected"] == pytest.approx(n1 * n2 / n)
        assert found["jaccard"] == pytest.approx(both / (first | second).sum())
        with np.errstate(divide="ignore"):
            odds = np.float64(both * (n - n1 - n2 + both)) / ((n1 - both) * (n2 - both))
        assert found["odds_ratio"] == pytest.approx(odds)

    def test_expectation_within_layers_and_sites(self, pair):
        found = row(
            replicate(*pair).overlap, f"{ALL_LAYERS} and site == 'all' and found == 'significant'"
        )
        frames = [one.to_frame().groupby(["layer", "site"], observed=True) for one in pair]
        first, second = (frame["significant"].sum() for frame in frames)
        assert found["expected_by_layer"] == pytest.approx(
            (first * second / frames[0].size()).sum()
        )

    def test_signs_are_those_of_the_units_found_in_the_first(self, pair):
        table = replicate(*pair).signs
        first, second = (one.to_frame() for one in pair)
        same = (first["auc"] > 0.5) == (second["auc"] > 0.5)
        signed = (first["auc"] != 0.5) & (second["auc"] != 0.5)
        for found, keep in (("significant", signed & first["significant"]), ("all", signed)):
            got = row(table, f"{ALL_LAYERS} and site == 'all' and found == '{found}'")
            assert (got["units"], got["agree"]) == (keep.sum(), same[keep].sum())
            assert got["share"] == pytest.approx(same[keep].mean())

    def test_ranks_are_spearmans(self, pair):
        got = row(replicate(*pair).ranks, "layer == 5 and site == 'mlp_pre'")
        first, second = (units_of(one, "mlp_pre", 5)["auc"] for one in pair)
        expected = spearmanr(first, second)
        assert got["units"] == 7
        assert got["rho"] == pytest.approx(expected.statistic)

    def test_by_words_too_where_both_have_it(self, pair):
        first, second = infer(pair[0], **FAST), pair[1]
        assert set(replicate(*pair).ranks["test"]) == {"examples"}
        found = replicate(first, second)
        assert found.provenance["tests"] == ["examples", "words"]
        got = row(found.ranks, f"{ALL_LAYERS} and site == 'q' and test == 'words'")
        expected = spearmanr(*(units_of(one, "q")["words_t"] for one in (first, second)))
        assert got["rho"] == pytest.approx(expected.statistic)

    def test_a_result_agrees_with_itself(self):
        one = study()
        found = replicate(one, one, strongest=7)
        assert (found.ranks["rho"].dropna() - 1).abs().max() < 1e-12
        assert set(found.signs["share"].dropna()) == {1.0}
        assert set(found.overlap["jaccard"].dropna()) == {1.0}
        assert (
            row(found.overlap, f"{ALL_LAYERS} and site == 'all' and found == 'strongest 7'")["both"]
            == 7
        )

    def test_noise_gives_what_chance_gives(self):
        """Over 40 pairs of unrelated results of independent units."""
        rng = np.random.default_rng(0)
        _, labels, words = synthetic.small()
        both, rhos = [], []
        for _ in range(40):
            one, two = (
                synthetic.result(rng.normal(size=(2, 61, 35)), labels, words, alpha=0.999)
                for _ in "ab"
            )
            found = replicate(one, two, strongest=15)
            whole = f"{ALL_LAYERS} and site == 'all'"
            overlap = row(found.overlap, f"{whole} and found == 'strongest 15'")
            both.append(overlap["both"] - overlap["expected"])
            rhos.append(row(found.ranks, whole)["rho"])
        assert abs(np.mean(both)) < 4 * np.std(both) / np.sqrt(40)
        assert abs(np.mean(rhos)) < 4 / np.sqrt(70 * 40)

    def test_a_sign_test_over_correlated_units_would_find_agreement_in_noise(self):
        """Why no table has a p value: units that share their noise agree, or disagree, together."""
        rng = np.random.default_rng(0)
        _, labels, words = synthetic.small()
        shared = rng.normal(size=(1, 2, 35))  # how the units of one model hang together
        rejected = []
        for _ in range(30):
            one, two = (
                synthetic.result(rng.normal(size=(1, 61, 2)) @ shared, labels, words) for _ in "ab"
            )
            found = replicate(one, two)
            assert not any("p" in table for table in (found.overlap, found.signs, found.ranks))
            got = row(found.signs, f"{ALL_LAYERS} and site == 'all' and found == 'all'")
            rejected.append(binomtest(int(got["agree"]), int(got["units"])).pvalue <= 0.05)
        assert np.mean(rejected) > 0.15

    def test_units_without_an_effect_are_left_out_and_counted(self):
        one = study()
        columns = dict(one.columns)
        status = columns["status"].clone()
        status[0, 0], status[1, 2] = STATUSES.index("constant"), STATUSES.index("nonfinite")
        holed = replace(one, columns={**columns, "status": status})
        whole = f"{ALL_LAYERS} and site == 'all'"
        assert row(replicate(holed, one).ranks, whole)["units"] == 105 - 2
        assert row(replicate(one, holed).signs, f"{whole} and found == 'all'")["units"] == 105 - 2

    def test_a_group_without_any_unit_found_has_no_share(self):
        one = study()
        none = {**one.columns, "significant": torch.zeros_like(one.significant)}
        found = replicate(replace(one, columns=none), one)
        got = row(found.overlap, f"{ALL_LAYERS} and site == 'all' and found == 'significant'")
        assert got["both"] == 0
        assert np.isnan(got["jaccard"]) or got["jaccard"] == 0
        assert np.isnan(
            row(found.signs, f"{ALL_LAYERS} and site == 'all' and found == 'significant'")["share"]
        )
        assert "none of 0 found in the first keep their sign" in found.summary()

    def test_one_site_alone_has_no_row_over_sites(self):
        one = study().split()["k"]
        assert set(replicate(one, one).ranks["site"]) == {"k"}
        assert "all units: 100.0% of 24 have the same sign" in replicate(one, one).summary()


class TestResult:
    def test_says_what_was_compared(self, pair):
        found = replicate(*pair)
        text = found.summary()
        assert "First: negation in made, made, 61 contexts." in text
        assert "9 of its 9 words are words of the first too" in text
        assert repr(found) == f"Replication\n{text}"
        assert "<table" in found._repr_html_()
        assert "same text" not in text

    def test_names_the_same_text(self):
        one = study()
        source = {**one.contexts.source, "sha256": "ab"}
        one = replace(one, contexts=replace(one.contexts, source=source))
        assert "their agreement is not a replication" in replicate(one, one).summary()

    def test_frame_holds_every_number(self, pair):
        found = replicate(*pair)
        frame = found.to_frame()
        assert frame.columns.tolist() == [
            "table", "test", "found", "site", "layer", "name", "value",
        ]  # fmt: skip
        got = frame.query(f"table == 'ranks' and name == 'rho' and {ALL_LAYERS} and site == 'q'")
        assert got["value"].item() == row(found.ranks, f"{ALL_LAYERS} and site == 'q'")["rho"]

    def test_saves_tables_and_provenance(self, pair, tmp_path):
        found = replicate(*pair)
        folder = found.save(tmp_path / "both")
        for name in ("overlap", "signs", "ranks"):
            read = pd.read_csv(folder / f"{name}.csv").astype({"layer": "Int64"})
            pd.testing.assert_frame_equal(read, getattr(found, name), check_dtype=False)
        kept = json.loads((folder / "run.json").read_text())
        assert kept["provenance"]["second"]["examples"] == 61
        with pytest.raises(FileExistsError, match="already holds a run"):
            found.save(folder)
        found.save(folder, overwrite=True)
        with pytest.raises(ValueError, match="is not a run of format"):
            load_result(folder)


class TestRefusals:
    def test_unequal_shapes_are_named(self):
        values, labels, words = synthetic.small()
        one = synthetic.result(values, labels, words)
        with pytest.raises(ValueError, match=r"layers \[2, 5, 8\] and \[2, 5\]"):
            replicate(one, synthetic.result(values[:2], labels, words))
        with pytest.raises(
            ValueError, match=r"site q .* 5 x 4 and 1 x 12; site k .* 2 x 4 and not there"
        ):
            replicate(one, synthetic.result(values[..., :12], labels, words))
        turned = ProbeResult(one.columns, one.sites[::-1], one.layers, one.contexts, one.provenance)
        with pytest.raises(ValueError, match="in another order or at other hooks: q, k, mlp_pre"):
            replicate(one, turned)

    def test_arguments(self):
        with pytest.raises(
            TypeError, match=r"other_result must be of type ProbeResult; got str: probe"
        ):
            replicate(study(), "runs/other")
        with pytest.raises(ValueError, match="at least 1 unit; got 0"):
            replicate(study(), study(), strongest=0)
