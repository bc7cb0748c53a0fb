"""Figures against stored images, heat maps, distributions and calibration.

``pytest --mpl-generate-path=tests/plots/baseline tests/plots/test_images.py`` stores them anew;
look at them before they are committed.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from helpers.figures import texts_overlap
from helpers.made_results import ABOUT, ablations, checked, make_result, study
from matplotlib.testing.compare import compare_images

from tl_negation import plots, replicate
from tl_negation.inference.directions import layer_probe, mean_difference
from tl_negation.inference.heldout import held_out
from tl_negation.inference.infer import infer
from tl_negation.probing.profiles import (
    calibration_table,
    effect_table,
    head_table,
    profile,
    word_bands,
)

#: Root mean square difference of the pixels, of 255; a curve moved by a little differs by more.
TOLERANCE = 1.0
LOOK = {"dpi": 60}
#: Width in inches of a column of a paper with two.
PAPER = 3.3


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def words():
    """A result with the columns of inference over words."""
    options = {"permutations": 200, "tasks": 2, "replicates": 3, "progress": False}
    return infer(synthetic.result(*synthetic.small()), **options)


@cache
def directions():
    acts, fast = words().activations, {"relabelings": 9, "progress": False}
    return [layer_probe(acts, **fast), mean_difference(acts, **fast)]


@cache
def plain():
    return make_result()


@cache
def p_values():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"Wald": rng.uniform(size=400) ** 3, "over words": rng.uniform(size=400)})


#: Name -> the figure of a table or result, and the same of something slightly else.
FIGURES = {
    "laminar": (
        lambda **w: plots.laminar(profile(plain()), **w),
        lambda: plots.laminar(profile(plain()).assign(accuracy=lambda t: t["accuracy"] + 0.01)),
    ),
    "laminar_bands": (
        lambda **w: plots.laminar(words(), y="held_out_accuracy", **w),
        lambda: plots.laminar(
            profile(words()).assign(
                held_out_accuracy_low=lambda t: t["held_out_accuracy_low"] - 0.01
            ),
            y="held_out_accuracy",
        ),
    ),
    "attention_and_mlp": (
        lambda **w: plots.laminar(profile(plain(), by="module"), **w),
        lambda: plots.laminar(profile(plain())),
    ),
    "word_or_category": (
        lambda **w: plots.word_or_category(words(), **w),
        lambda: plots.word_or_category(
            profile(words()).assign(accuracy=lambda t: t["accuracy"] + 0.02)
        ),
    ),
    "over_words": (
        lambda **w: plots.over_words(words(), **w),
        lambda: plots.over_words(
            words().tables["groups"].assign(share_high=lambda t: t["share_high"] + 0.01)
        ),
    ),
    "directions": (
        lambda **w: plots.directions(directions(), result=words(), **w),
        lambda: plots.directions(directions()),
    ),
    "volcano": (lambda **w: plots.volcano(plain(), 2, **w), lambda: plots.volcano(plain(), 0)),
    "unit": (
        lambda **w: plots.unit(plain(), (2, "q", 0, 1), **w),
        lambda: plots.unit(plain(), (2, "q", 0, 2)),
    ),
    "heads": (
        lambda **w: plots.heads(words(), **w),
        lambda: plots.heads(
            head_table(words()).assign(share_significant=lambda t: 0.95 * t["share_significant"])
        ),
    ),
    "units_by_head": (
        lambda **w: plots.units_by_head(words(), **w),
        lambda: plots.units_by_head(words(), value="z"),
    ),
    "effects": (
        lambda **w: plots.effects(plain(), **w),
        lambda: plots.effects(effect_table(plain()).assign(q50=lambda t: 1.1 * t["q50"])),
    ),
    "calibration": (
        lambda **w: plots.calibration(p_values(), title="random p values", **w),
        lambda: plots.calibration(p_values() ** 1.03, title="random p values"),
    ),
    "replication": (
        lambda **w: plots.replication(replicate(study(), study(1, 2.0)), **w),
        lambda: plots.replication(replicate(study(), study(1, 2.2))),
    ),
    "ablation": (
        lambda **w: plots.ablation(ablations(), **w),
        lambda: plots.ablation(ablations(shift=0.01)),
    ),
    "attribution": (
        lambda **w: plots.attribution(checked(), about=ABOUT, **w),
        lambda: plots.attribution(checked(slope=0.85), about=ABOUT),
    ),
}


def figure_of(axes):
    return np.ravel(axes)[0].figure


def stored(draw):
    """Compare the figure that a test returns with the stored one."""
    options = {"baseline_dir": "baseline", "savefig_kwargs": LOOK, "tolerance": TOLERANCE}
    return pytest.mark.mpl_image_compare(style="default", **options)(draw)


@pytest.mark.parametrize("name", FIGURES)
@stored
def test_image(name):
    return figure_of(FIGURES[name][0]())


@pytest.mark.parametrize("name", ["laminar", "word_or_category", "volcano", "unit", "heads"])
@stored
def test_image_in_a_papers_column(name):
    return figure_of(FIGURES[name][0](width=PAPER))


@pytest.mark.parametrize("name", FIGURES)
def test_a_changed_figure_would_fail(name, tmp_path):
    stored = Path(__file__).parent / "baseline" / f"test_image_{name}.png"
    with mpl.rc_context(mpl.rcParamsDefault), mpl.style.context("default"):
        figure_of(FIGURES[name][1]()).savefig(tmp_path / "changed.png", **LOOK)
    found = compare_images(stored, str(tmp_path / "changed.png"), tol=TOLERANCE)
    assert found is not None


@pytest.mark.parametrize("width", [None, 4.6, PAPER])
@pytest.mark.parametrize("name", FIGURES)
def test_no_labels_overlap_nor_are_cut_off(name, width):
    figure = figure_of(FIGURES[name][0](**({} if width is None else {"width": width})))
    assert width is None or figure.get_figwidth() == width
    assert texts_overlap(figure) == []


@pytest.mark.parametrize(
    "name",
    sorted({*FIGURES} - {"heads", "word_or_category", "over_words", "directions", "ablation"}),
)
def test_a_narrow_axes_of_ones_own_is_labelled_below(name):
    rows = {"laminar": 2, "attention_and_mlp": 2, "replication": 3}.get(name, 1)
    size = {"figsize": (7, 6), "layout": "constrained"}
    figure, axes = plt.subplots(rows, 2, squeeze=False, **size)
    own = axes[:, 0] if rows > 1 else axes[0, 0]
    assert figure_of(FIGURES[name][0](ax=own)) is figure
    assert texts_overlap(figure) == []


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_is_too_narrow_to_read(name):
    with pytest.raises(ValueError, match=r"at least 2\.5 inches for its labels; got width=2\.0"):
        FIGURES[name][0](width=2.0)


class TestDirections:
    def test_a_line_is_a_table_and_its_area_the_other_labelings(self):
        ax = plots.directions(directions(), result=words())[0]
        for line, found in zip(ax.lines[:2], directions(), strict=True):
            part = found.table[found.table["site"] == "q"]
            np.testing.assert_allclose(line.get_ydata(), 100 * part["held_out_accuracy"])
        singles = profile(words())
        own = 100 * singles.loc[singles["site"] == "q", "held_out_accuracy"]
        np.testing.assert_allclose(ax.lines[2].get_ydata(), own)
        assert len(ax.collections) == 3

    def test_on_axes_of_ones_own(self):
        axes = plt.figure().subplots(1, 3)
        assert list(plots.directions(directions()[0], axes=axes)) == list(axes)

    def test_what_cannot_be_drawn_is_refused(self):
        first, second = directions()
        with pytest.raises(ValueError, match="no directions to draw"):
            plots.directions([])
        less = second.table[second.table["site"] == "q"]
        with pytest.raises(ValueError, match="of the same sites; got q, k, mlp_pre and q"):
            plots.directions([first, replace(second, table=less)])
        with pytest.raises(ValueError, match="held_out or infer adds it"):
            plots.directions(first, result=plain())
        with pytest.raises(ValueError, match="an Axes is needed for each site, 3; got 2"):
            plots.directions(first, axes=plt.figure().subplots(1, 2))


class TestBands:
    def test_words_and_classes_weigh_as_in_the_accuracy(self):
        by_class = words().tables["held_out_by_word"].groupby(["layer", "site", "label"])
        mean = by_class["accuracy"].mean().groupby(["layer", "site"]).mean()
        got = profile(words()).set_index(["layer", "site"])["held_out_accuracy"]
        np.testing.assert_allclose(mean[got.index], got, atol=1e-12)

    def test_are_the_quantiles_of_resampled_words(self):
        rng = np.random.default_rng(5)
        accuracy = rng.uniform(size=(7, 2))
        given = pd.DataFrame(
            [
                {"word": f"w{i}", "label": int(i < 3), "layer": j, "site": "q", "accuracy": value}
                for (i, j), value in np.ndenumerate(accuracy)
            ]
        )
        ones, zeros = (accuracy[rng.integers(low, high, (40_000, n))].mean(axis=1)
                       for low, high, n in ((0, 3, 3), (3, 7, 4)))  # fmt: skip
        expected = np.quantile((ones + zeros) / 2, (0.05, 0.95), axis=0)
        bands = word_bands(given, replicates=40_000)
        np.testing.assert_allclose(bands["held_out_accuracy_low"], expected[0], atol=0.01)
        np.testing.assert_allclose(bands["held_out_accuracy_high"], expected[1], atol=0.01)

    def test_hold_the_line_and_are_drawn_around_it(self):
        table = profile(words())
        assert (table["held_out_accuracy_low"] <= table["held_out_accuracy"]).all()
        assert (table["held_out_accuracy"] <= table["held_out_accuracy_high"]).all()
        ax = plots.laminar(table, y="held_out_accuracy")
        assert len(ax.collections) == 3 + 3  # and what other labelings of the words give
        assert "bands: 5 to 95 % over words" in ax.get_title(loc="left")
        assert not plots.laminar(table, y="accuracy").collections

    def test_are_not_there_by_module_nor_without_words_left_out(self):
        assert "held_out_accuracy_low" not in profile(words(), by="module")
        folds = held_out(synthetic.result(*synthetic.small()), by="fold", progress=False)
        assert "held_out_by_word" not in folds.tables
        assert "held_out_accuracy_low" not in profile(folds)


class TestHeads:
    def test_table_summarises_the_units_of_a_head(self):
        table = head_table(plain())
        assert len(table) == 3 * (5 + 3)
        frame = plain().to_frame()
        row = table.query("layer == 2 and site == 'k' and head == 1").iloc[0]
        units = frame.query("layer == 2 and site == 'k' and head == 1")
        assert set(units["status"]) == {"ok", "separated"}
        assert (row["units"], row["tested"]) == (4, 4)
        assert row["share_significant"] == pytest.approx(units["significant"].mean())
        assert row["accuracy"] == pytest.approx(units["accuracy"].mean())

    def test_draws_the_table(self):
        first, second = plots.heads(words(), site="k")
        table = head_table(words()).query("site == 'k'")
        for ax, name in ((first, "held_out_accuracy"), (second, "share_significant")):
            drawn = np.asarray(ax.images[0].get_array())
            np.testing.assert_allclose(drawn.ravel(), 100 * table[name])
        assert first.get_title(loc="left") == "k: 2 heads a layer, 4 units each"
        assert [label.get_text() for label in first.get_yticklabels()] == ["2", "5", "8"]

    def test_takes_the_table_of_a_head_probe(self):
        table = pd.DataFrame({"layer": [0, 0, 1, 1], "site": "q", "head": [0, 1, 0, 1]})
        (ax,) = plots.heads(table.assign(held_out_accuracy=[0.5, 0.6, 0.7, 0.8]))
        np.testing.assert_allclose(ax.images[0].get_array(), [[50, 60], [70, 80]])

    def test_units_are_sorted_within_their_head(self):
        ax = plots.units_by_head(plain(), site="q")
        drawn = np.ma.filled(ax.images[0].get_array(), np.nan)
        values = plain().split()["q"].beta_per_sd.numpy().reshape(3, 5, 4)
        np.testing.assert_array_equal(drawn, np.sort(values, axis=2).reshape(3, 20))
        low, high = ax.images[0].get_clim()
        assert low == -high

    def test_draw_on_the_axes_given(self):
        axes = plt.figure(layout="constrained").subplots(1, 2)
        assert list(plots.heads(words(), ax=axes)) == list(axes)
        assert plots.units_by_head(words(), ax=axes[0]) is axes[0]

    def test_refusals(self):
        with pytest.raises(TypeError, match="type ProbeResult or DataFrame; got str"):
            plots.heads("k")
        with pytest.raises(ValueError, match="sites q, k; got 'v'"):
            plots.heads(words(), site="v")
        with pytest.raises(ValueError, match="it lacks nonsense"):
            plots.heads(words(), y=["nonsense"])
        with pytest.raises(ValueError, match="lacks held_out_accuracy and share_significant"):
            plots.heads(pd.DataFrame({"layer": [0], "site": "q", "head": 0}))
        with pytest.raises(ValueError, match="panels are needed: 2, got 1"):
            plots.heads(words(), ax=plt.figure().subplots())
        with pytest.raises(ValueError, match=r"heads need an attention site .* has mlp_pre"):
            head_table(plain().split()["mlp_pre"])
        with pytest.raises(TypeError, match="result must be of type ProbeResult; got dict"):
            plots.units_by_head({})
        with pytest.raises(ValueError, match="sites q, k, mlp_pre; got 'v'"):
            plots.units_by_head(plain(), site="v")
        with pytest.raises(ValueError, match="by one of beta_per_sd, z, auc; got 'words_t'"):
            plots.units_by_head(plain(), value="words_t")


class TestEffects:
    def test_table_is_the_quantiles_of_valid_units(self):
        table = effect_table(plain())
        assert table["part"].unique().tolist() == ["layer 0", "layer 2", "layer 5"]
        row = table.query("part == 'layer 2' and site == 'k'").iloc[0]
        known = plain().split()["k"].beta_per_sd[1].abs().numpy()
        known = known[np.isfinite(known)]
        assert (row["units"], row["left_out"]) == (11, 1)
        np.testing.assert_allclose(
            row[["q5", "q25", "q50", "q75", "q95"]].astype(float),
            np.quantile(known, (0.05, 0.25, 0.5, 0.75, 0.95)),
        )

    def test_layers_are_cut_into_parts(self):
        assert effect_table(plain(), parts=2)["part"].unique().tolist() == [
            "layers 0 to 2", "layer 5",
        ]  # fmt: skip

    def test_a_site_without_valid_units_has_no_box(self):
        table = effect_table(plain())
        quantiles = [name for name in table if name.startswith("q")]
        table.loc[0, quantiles] = np.nan
        table.loc[0, "units"] = 0
        assert len(plots.effects(table).patches) == len(table) - 1

    def test_refusals(self):
        with pytest.raises(ValueError, match="parts must be at least 1; got 0"):
            effect_table(plain(), parts=0)
        with pytest.raises(TypeError, match="type ProbeResult or DataFrame; got list"):
            plots.effects([])
        with pytest.raises(ValueError, match="it has 9 rows and lacks q50"):
            plots.effects(effect_table(plain()).drop(columns="q50"))


class TestCalibration:
    def test_table_counts(self):
        table = calibration_table([0.01, 0.2, np.nan, 0.2, 1.0], points=3)
        assert table["n"].tolist() == [4] * 3
        np.testing.assert_allclose(table["level"], [0.25, 0.5, 1])
        np.testing.assert_allclose(table["share"], [0.75, 0.75, 1])

    def test_uniform_p_values_lie_in_the_band(self):
        table = calibration_table(np.random.default_rng(1).uniform(size=5000))
        inside = table["share"].between(table["low"], table["high"])
        assert inside.mean() > 0.9
        assert (table["low"] <= table["level"]).all()

    def test_lines_are_named_with_their_n(self):
        ax = plots.calibration(p_values())
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert names[1:] == ["Wald (n = 400)", "over words (n = 400)"]
        one = plots.calibration(p_values()["Wald"].to_numpy())
        assert one.get_legend().get_texts()[1].get_text() == "(n = 400)"

    def test_refusals(self):
        with pytest.raises(ValueError, match="are needed; got 0 of them"):
            plots.calibration([np.nan])
        with pytest.raises(ValueError, match=r"got 2 of them from -1 to 0\.5"):
            calibration_table([-1, 0.5])


class TestReplication:
    def test_draws_the_tables(self):
        found = replicate(study(), study(1, 2.0), strongest=20)
        axes = plots.replication(found, found="strongest 20")
        ranks = found.ranks.query("site == 'k' and layer == layer")["rho"]
        np.testing.assert_allclose(axes[0].lines[1].get_ydata(), ranks)
        rows = found.overlap.query("found == 'strongest 20' and site == 'q' and layer == layer")
        np.testing.assert_allclose(axes[2].lines[0].get_ydata(), 100 * rows["both"] / rows["first"])
        names = [text.get_text() for text in axes[2].texts]
        assert f"q ({rows['first'].sum()} units)" in names
        assert "units strongest 20 in the first; n = 61 and 61 contexts" in axes[0].get_title(
            loc="left"
        )

    def test_of_one_site(self):
        one = study().split()["k"]
        axes = plots.replication(replicate(one, one))
        assert len(axes[0].lines) == 2

    def test_refusals(self):
        found = replicate(study(), study())
        with pytest.raises(
            TypeError, match=r"type Replication; got DataFrame: replicate\(result, other\)"
        ):
            plots.replication(found.ranks)
        with pytest.raises(ValueError, match=r"tests examples were compared.*got 'words'"):
            plots.replication(found, test="words")
        with pytest.raises(ValueError, match="significant, strongest 100; got 'examples' and 'all"):
            plots.replication(found, found="all")
        with pytest.raises(ValueError, match="panels are needed: 3, got 1"):
            plots.replication(found, ax=plt.figure().subplots())
