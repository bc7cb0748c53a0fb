"""Figures: what is drawn is what the result says, and nothing lies on anything else."""

from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.figures import texts_overlap
from helpers.made_results import LAYERS, SITES, make_result

from tl_negation import plots
from tl_negation.activations.activations import Activations
from tl_negation.inference.infer import infer
from tl_negation.probing.probe import probe
from tl_negation.probing.profiles import profile


@pytest.fixture(scope="module")
def result():
    return make_result()


@pytest.fixture(scope="module")
def over_words(result):
    return infer(result, permutations=50, tasks=1, replicates=3, progress=False)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def known(drawn):
    """x and y of a line's points, without the gaps."""
    x, y = (np.asarray(values, float) for values in drawn.get_data())
    return x[~np.isnan(x)], y[~np.isnan(x)]


def line(ax, site):
    return next(one for one in ax.lines if one.get_label() == site)


class TestLaminar:
    def test_draws_the_profile(self, result):
        upper, lower = plots.laminar(result)
        table = profile(result)
        for site in ("q", "k", "mlp_pre"):
            rows = table[table["site"] == site]
            np.testing.assert_array_equal(known(line(upper, site))[0], LAYERS)
            share, accuracy = (known(line(ax, site))[1] for ax in (upper, lower))
            np.testing.assert_allclose(share, 100 * rows["share_significant"])
            np.testing.assert_allclose(accuracy, 100 * rows["accuracy"])

    def test_no_line_is_drawn_over_layers_that_were_not_scanned(self, result):
        ax = plots.laminar(result, y="accuracy")
        x, y = (np.asarray(values, float) for values in line(ax, "q").get_data())
        assert LAYERS == (0, 2, 5)  # the step to the last is longer than the other
        np.testing.assert_array_equal(np.isnan(x), [False, False, True, False])
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
        every_third = profile(result).assign(layer=lambda t: t["layer"].map({0: 0, 2: 3, 5: 6}))
        assert not np.isnan(line(plots.laminar(every_third, y="accuracy"), "q").get_xdata()).any()

    def test_small_shares_have_an_axis_of_their_own(self, result):
        table = profile(result)
        for top, limit in ((0.02, 10), (0.3, 37.5), (0.9, 102)):
            ax = plots.laminar(table.assign(share_significant=top), y="share_significant")
            assert ax.get_ylim()[1] == pytest.approx(limit)

    def test_base_rate_is_drawn_and_named_where_accuracy_is(self, result):
        upper, lower = plots.laminar(result)
        assert "base rate 50.0%" in [text.get_text() for text in lower.texts]
        assert any(np.allclose(one.get_ydata(), 50) for one in lower.lines)
        assert not any("base rate" in text.get_text() for text in upper.texts)

    def test_no_line_at_one_half_is_drawn_that_was_not_measured(self, result):
        ax = plots.laminar(profile(result).assign(held_out_accuracy=0.6), y="held_out_accuracy")
        assert not any("50" in text.get_text() for text in ax.texts)
        assert not any(np.allclose(one.get_ydata(), 50) for one in ax.lines)

    def test_every_line_is_named_at_its_end_with_its_units(self, result):
        names = {text.get_text() for text in plots.laminar(result)[0].texts}
        assert names == {"q (20 units)", "k (12 units)", "mlp_pre (7 units)"}

    def test_sites_differ_in_more_than_colour(self, result):
        lines = [line(plots.laminar(result)[0], site) for site in ("q", "k", "mlp_pre")]
        for look in ("get_color", "get_marker", "get_linestyle"):
            assert len({getattr(one, look)() for one in lines}) == 3

    def test_says_test_and_n(self, result):
        title = plots.laminar(result)[0].get_title(loc="left")
        assert title == "likelihood-ratio test, Bonferroni per layer at 0.05; n = 40 contexts"
        table = profile(result, preset="notebook")
        title = plots.laminar(table, y="share_significant").get_title(loc="left")
        assert title == "Wald test, Bonferroni per layer at 0.05"

    @pytest.mark.parametrize("y", ["accuracy", "abs_beta_per_sd", ["accuracy", "abs_beta_per_sd"]])
    def test_names_no_test_where_nothing_drawn_depends_on_one(self, result, y):
        assert np.ravel(plots.laminar(result, y=y))[0].get_title(loc="left") == "n = 40 contexts"
        selected = plots.laminar(result, y="accuracy_significant_positive")
        assert selected.get_title(loc="left").startswith("likelihood-ratio test, ")

    def test_one_column_gives_one_axes_and_several_share_the_layers(self, result):
        assert isinstance(plots.laminar(result, y="abs_beta_per_sd"), mpl.axes.Axes)
        upper, lower = plots.laminar(result)
        assert upper.get_shared_x_axes().joined(upper, lower)

    def test_a_table_is_drawn_as_it_is(self, result):
        table = profile(result, by="module").assign(accuracy=0.625)
        ax = plots.laminar(table, y="accuracy")
        np.testing.assert_allclose(known(line(ax, "q+k"))[1], 62.5)

    def test_an_unknown_column_of_numbers_is_drawn_too(self, result):
        table = profile(result).assign(some_accuracy=0.5, other=3.0)
        assert plots.laminar(table, y="some_accuracy").get_ylabel() == "some accuracy (%)"
        ax = plots.laminar(table, y="other")
        assert ax.get_ylabel() == "other"
        np.testing.assert_allclose(known(line(ax, "q"))[1], 3)

    def test_draws_on_the_axes_given(self, result):
        _, axes = plt.subplots(2, layout="constrained")
        assert list(plots.laminar(result, ax=axes)) == list(axes)
        assert len(axes[0].lines) == 3

    def test_no_labels_overlap_though_all_lines_end_together(self, result):
        table = profile(result).assign(share_significant=0.0, accuracy=0.5)
        assert texts_overlap(plots.laminar(table)[0].figure) == []

    def test_a_profile_without_any_valid_unit(self, result):
        table = profile(result).assign(share_significant=np.nan, accuracy=np.nan)
        axes = plots.laminar(table)
        assert [text.get_text() for text in axes[1].texts] == ["base rate 50.0%"]

    def test_leaves_the_users_style_alone_and_stays_light_in_a_dark_notebook(self, result):
        with plt.style.context("dark_background"):
            before = dict(mpl.rcParams)
            figure = plots.laminar(result)[0].figure
            assert dict(mpl.rcParams) == before
        assert figure.get_facecolor() == (1, 1, 1, 1)
        assert figure.axes[0].get_facecolor() == (1, 1, 1, 1)
        assert mpl.colors.to_rgb(figure.axes[0].xaxis.label.get_color()) < (0.3, 0.3, 0.3)

    def test_refuses_what_is_neither_result_nor_table(self):
        with pytest.raises(TypeError, match="type ProbeResult or DataFrame; got dict: probe"):
            plots.laminar({})

    def test_refuses_a_missing_column_and_an_empty_table(self, result):
        with pytest.raises(ValueError, match="lacks nonsense"):
            plots.laminar(result, y="nonsense")
        with pytest.raises(ValueError, match="it has 0 rows"):
            plots.laminar(profile(result).iloc[:0])

    def test_refuses_another_number_of_axes(self, result):
        with pytest.raises(ValueError, match="as many Axes as panels are needed: 2, got 1"):
            plots.laminar(result, ax=plt.figure().subplots())


class TestVolcano:
    def test_shows_every_tested_unit_of_the_layer(self, result):
        ax = plots.volcano(result, 2)
        points = np.concatenate([np.asarray(drawn.get_offsets()) for drawn in ax.collections])
        frame = result.to_frame().query("layer == 2 and status == 'ok'")
        expected = np.column_stack([frame["beta_per_sd"], -frame["log10_lr_p"]])
        points = points[~np.isnan(points).any(1)]
        np.testing.assert_allclose(np.sort(points, 0), np.sort(expected, 0))
        assert ax.get_ylabel() == "evidence (-log10 of the likelihood-ratio p)"

    def test_shows_the_p_of_the_results_own_test(self):
        result = make_result(test="wald")
        ax = plots.volcano(result, 2)
        points = np.concatenate([np.asarray(drawn.get_offsets()) for drawn in ax.collections])
        highest = -result.to_frame().query("layer == 2")["log10_p"].min()
        assert np.nanmax(points[:, 1]) == pytest.approx(highest)
        assert ax.get_ylabel() == "evidence (-log10 of the Wald p)"

    def test_says_what_is_not_shown(self, result):
        assert plots.volcano(result, 2).get_title(loc="left") == (
            "layer 2: 37 of 39 units; n = 40 contexts\n"
            "not shown: 1 separated, 1 constant (1 of them significant)"
        )
        assert plots.volcano(result, 0).get_title(loc="left").endswith("not shown: none")

    @pytest.mark.parametrize(
        ("family", "sizes"), [("layer", {32, 7}), ("site", {60, 36, 21}), ("all", {117})]
    )
    def test_draws_the_thresholds_of_bonferroni(self, family, sizes):
        ax = plots.volcano(make_result(family=family), 0)
        flat = [one.get_ydata()[0] for one in ax.lines if one.get_linestyle() == "--"]
        np.testing.assert_allclose(sorted(flat), sorted(-np.log10(0.05 / n) for n in sizes))
        assert {int(text.get_text().split("/")[1].split(" ")[0]) for text in ax.texts} == sizes

    def test_draws_no_threshold_where_there_is_no_single_one(self):
        ax = plots.volcano(make_result(correction="bh"), 0)
        assert not ax.texts
        assert len(ax.lines) == 1  # effect 0

    def test_no_labels_overlap(self, result):
        assert texts_overlap(plots.volcano(result, 2).figure) == []

    def test_legend_moves_away_from_a_high_threshold(self):
        n, contexts = 40, tiny_models.contexts(40)
        values = torch.randn(3, n, 39, generator=torch.Generator().manual_seed(0))
        acts = Activations(values, SITES, LAYERS, contexts, {"name": "null"})
        ax = plots.volcano(probe(acts, progress=False), 0)
        assert texts_overlap(ax.figure) == []
        assert ax.get_ylim()[1] > -np.log10(0.05 / 32)

    def test_refuses_an_unknown_layer_and_another_type(self, result):
        with pytest.raises(ValueError, match=r"layers \[0, 2, 5\]; got 1"):
            plots.volcano(result, 1)
        with pytest.raises(TypeError, match="result must be of type ProbeResult; got DataFrame"):
            plots.volcano(pd.DataFrame(), 0)


class TestUnit:
    def test_each_word_has_its_row_of_activations(self, result):
        ax = plots.unit(result, (2, "q", 0, 1))
        words = [label.get_text().split(" (")[0] for label in ax.get_yticklabels()]
        examples = result.contexts.examples
        for word, drawn in zip(words, ax.collections, strict=True):
            these = torch.tensor((examples["word"] == word).tolist())
            expected = result.activations.site("q")[1, these, 1]
            points = np.asarray(drawn.get_offsets())
            np.testing.assert_allclose(np.sort(points[:, 0]), np.sort(expected.numpy()))
            assert (np.abs(points[:, 1] - words.index(word)) < 0.3).all()

    def test_class_one_on_top_frequent_words_first_with_n(self):
        labels = [
            t.get_text() for t in plots.unit(make_result(42), (0, "q", 0, 0)).get_yticklabels()
        ]
        assert labels[0] == "not (n = 6)"
        assert [label.split(" (n = ")[0] for label in labels[4:]] == [
            "can", "always", "may", "should",
        ]  # fmt: skip

    def test_curve_is_the_fit(self, result):
        panel = plots.unit(result, (2, "q", 0, 1)).child_axes[0]
        curve = panel.lines[-1]
        a, b = float(result.intercept[1, 1]), float(result.beta[1, 1])
        np.testing.assert_allclose(
            curve.get_ydata(), 1 / (1 + np.exp(-(a + b * curve.get_xdata()))), atol=1e-12
        )
        assert panel.get_ylabel() == "P(negation)"

    def test_a_separated_unit_has_no_curve_and_says_why(self, result):
        panel = plots.unit(result, (2, "k", 1, 3)).child_axes[0]
        assert [text.get_text() for text in panel.texts] == ["no curve: the unit is separated"]
        assert len(panel.lines) == 2

    def test_title_names_the_unit(self, result):
        title = plots.unit(result, (2, "k", 2, 1)).get_title(loc="left")
        assert title.startswith("layer 2, k, head 2, unit 1\nLR = ")

    def test_takes_rows_tuples_and_the_axes_given(self, result):
        own = plt.figure(layout="constrained").subplots()
        assert plots.unit(result, result.top(1), ax=own) is own
        row = result.to_frame().iloc[39 + 1]
        assert (
            plots.unit(result, row).get_title(loc="left").startswith("layer 2, q, head 0, unit 1")
        )

    def test_the_same_picture_every_time(self, result):
        first, second = (plots.unit(result, (0, "q", 0, 0)).collections[0] for _ in range(2))
        np.testing.assert_array_equal(first.get_offsets(), second.get_offsets())

    def test_no_labels_overlap(self, result):
        assert texts_overlap(plots.unit(result, (2, "q", 0, 1)).figure) == []

    def test_a_word_is_no_formula(self, result):
        examples = result.contexts.examples
        examples = examples.assign(word=examples["word"].replace("not", r"$\nosuch$"))
        ax = plots.unit(
            replace(result, contexts=replace(result.contexts, examples=examples)), (0, "q", 0, 0)
        )
        ax.figure.draw_without_rendering()
        assert r"$\nosuch$ (n = 5)" in [label.get_text() for label in ax.get_yticklabels()]

    def test_needs_activations(self, result):
        with pytest.raises(ValueError, match=r"needs the activations.* run collect"):
            plots.unit(replace(result, activations=None), (0, "q", 0, 0))

    def test_refuses_what_is_no_result_or_no_unit(self, result):
        with pytest.raises(TypeError, match="result must be of type ProbeResult; got NoneType"):
            plots.unit(None, (0, "q", 0, 0))
        with pytest.raises(ValueError, match=r"sites q, k, mlp_pre of the layers .*; got 'v'"):
            plots.unit(result, (0, "v", 0, 0))


class TestWordOrCategory:
    def test_draws_the_profile_site_by_site(self, over_words):
        axes = plots.word_or_category(over_words)
        table = profile(over_words)
        assert axes.shape == (2, 3)
        lines = {
            (0, "in sample"): "accuracy",
            (0, "words left out"): "held_out_accuracy",
            (1, "by example"): "share_significant",
            (1, "over words"): "share_words",
        }
        for column, site in enumerate(("q", "k", "mlp_pre")):
            rows = table[table["site"] == site]
            for (row, label), name in lines.items():
                layers, values = known(line(axes[row, column], label))
                np.testing.assert_array_equal(layers, LAYERS)
                np.testing.assert_allclose(values, 100 * rows[name])
            assert axes[0, column].get_title(loc="left").startswith(f"{site} (")

    def test_the_band_is_the_lexical_null(self, over_words):
        axes = plots.word_or_category(over_words)
        table = profile(over_words)
        for column, site in enumerate(("q", "k", "mlp_pre")):
            rows = table[table["site"] == site]
            for row, name in enumerate(("null_accuracy", "null_share_significant")):
                bands = axes[row, column].collections
                first = [one.get_label() for one in bands].index("lexical null, 5-95 %")
                parts = bands[first : first + 2]  # the last layer is by itself
                corners = np.concatenate([part.get_paths()[0].vertices for part in parts])
                for i, layer in enumerate(LAYERS):
                    heights = corners[np.abs(corners[:, 0] - layer) < 0.5, 1]
                    ends = [100 * rows[f"{name}_{end}"].iloc[i] for end in ("low", "high")]
                    np.testing.assert_allclose([heights.min(), heights.max()], ends)

    def test_the_base_rate_is_drawn_and_named(self, over_words):
        axes = plots.word_or_category(over_words)
        heights = [one.get_ydata()[0] for one in axes[0, 0].lines if len(one.get_ydata()) == 2]
        np.testing.assert_allclose(heights, [100 * over_words.base_rate])
        names = [text.get_text() for text in axes[0, -1].get_legend().get_texts()]
        assert f"base rate {over_words.base_rate:.1%}" in names
        assert not any("guessing" in name for name in names)
        assert "lexical null, 5-95 %" in names
        title = axes[0, 0].figure.get_suptitle().replace("\n", " ")
        assert "over words, and by example (likelihood-ratio test); n = 40 contexts" in title

    def test_a_table_without_bands_is_drawn_without(self, over_words):
        table = profile(over_words)
        bands = ("null_", "share_words_")
        table = table[[name for name in table if not name.startswith(bands)]]
        axes = plots.word_or_category(table)
        assert not any(ax.collections for ax in axes.flat)
        assert "contexts" not in axes[0, 0].figure.get_suptitle()

    def test_draws_on_the_axes_given(self, over_words):
        _, axes = plt.subplots(2, 3)
        assert plots.word_or_category(over_words, axes=axes) is axes
        with pytest.raises(ValueError, match=r"axes must have shape \(2, 3\); got \(3, 2\)"):
            plots.word_or_category(over_words, axes=axes.T)

    def test_one_site(self, over_words):
        part = over_words.split()["k"]
        table = profile(part)
        assert plots.word_or_category(table).shape == (2, 1)

    def test_no_labels_overlap(self, over_words):
        assert texts_overlap(plots.word_or_category(over_words)[0, 0].figure) == []

    def test_refuses_a_result_without_inference_over_words(self, result):
        with pytest.raises(ValueError, match="lacks held_out_accuracy, share_words"):
            plots.word_or_category(result)
        with pytest.raises(TypeError, match="type ProbeResult or DataFrame; got NoneType"):
            plots.word_or_category(None)


def test_sites_of_other_names_get_looks_of_their_own():
    looks = [plots.site_style(name, ["q", "z", "y"]) for name in ("q", "z", "y")]
    assert len({marker for _, marker, _ in looks}) == 3


def test_nothing_opens_a_window(result, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_, **__: pytest.fail("show was called"))
    plots.laminar(result)
    plots.volcano(result, 0)
    plots.unit(result, (0, "q", 0, 0))


def test_laminar_needs_a_column(result):
    with pytest.raises(ValueError, match="y must name at least one column of the profile"):
        plots.laminar(result, y=())
