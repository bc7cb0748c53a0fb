"""Figures of interventions: what is drawn is what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers.made_results import ABOUT, CLASSES, ablations, checked

from tl_negation import plots
from tl_negation.interventions.ablation import Ablation
from tl_negation.interventions.attribution import Attribution


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def titles(axes):
    return [ax.get_title(loc="left") for ax in axes]


class TestAblation:
    def test_draws_the_effects_and_the_random_sets(self):
        table = ablations()
        axes = plots.ablation(table)
        for ax, name in zip(axes, CLASSES, strict=True):
            rows = table[table["class"] == name]
            marks = [line for line in ax.lines if line.get_marker() not in ("None", None)]
            assert [line.get_xdata()[0] for line in marks] == rows["effect"].tolist()
            wide = ax.patches[::2]
            np.testing.assert_allclose([bar.get_x() for bar in wide], rows["random_q025"])
            ends = [bar.get_x() + bar.get_width() for bar in wide]
            np.testing.assert_allclose(ends, rows["random_q975"])
            texts = [text.get_text() for text in ax.texts]
            assert texts == [f"p = {p:.2g}" for p in rows["p"]]
        assert titles(axes)[0] == "negation\nn = 20 contexts"
        labels = [label.get_text() for label in axes[0].get_yticklabels()]
        assert labels == [f"{name}\n(64 units)" for name in ("examples", "words", "heads")]
        assert "next 5 tokens (nats), units replaced (mean)" in axes[1].get_xlabel()

    def test_of_one_ablation(self):
        table = ablations().iloc[:3].drop(columns="selection")
        frame = pd.DataFrame()
        axes = plots.ablation(Ablation(table, frame, frame, frame, {}))
        assert [label.get_text() for label in axes[0].get_yticklabels()] == [
            "chosen units\n(64 units)"
        ]

    def test_draws_on_the_axes_given(self):
        given = plt.figure(layout="constrained").subplots(1, 3)
        assert list(plots.ablation(ablations(), ax=given)) == list(given)

    def test_refusals(self):
        with pytest.raises(
            TypeError, match=r"type Ablation or Steering or DataFrame; got str: ablate\(model"
        ):
            plots.ablation("table")
        with pytest.raises(ValueError, match=r"compare_ablations.*it has 9 rows and lacks p"):
            plots.ablation(ablations().drop(columns="p"))
        with pytest.raises(ValueError, match="it has 0 rows and lacks no column"):
            plots.ablation(ablations()[:0])
        with pytest.raises(ValueError, match="are needed: 3, got 1"):
            plots.ablation(ablations(), ax=plt.figure().subplots())


class TestAttribution:
    def test_draws_estimate_against_measurement(self):
        table = checked()
        ax = plots.attribution(table, about=ABOUT)
        for line, drawn in zip(ax.lines[1:], ("largest", "random"), strict=True):
            part = table[table["drawn"] == drawn]
            np.testing.assert_allclose(line.get_xdata(), part["estimate"])
            np.testing.assert_allclose(line.get_ydata(), part["measured"])
        names = [text.get_text() for text in ax.get_legend().get_texts()]
        assert names == ["largest estimates (n = 20)", "random units (n = 20)"]
        few = {"all": 0.9, "random": np.nan}
        ax = plots.attribution(table, about={"correlation": few, "rank_correlation": few})
        assert ax.get_title(loc="left") == "r = 0.90, by rank 0.90"
        ax = plots.attribution(table, about=ABOUT)
        assert ax.get_title(loc="left") == (
            "r = 0.91, by rank 0.93; random units only 0.87, 0.83"
        )  # fmt: skip

    def test_of_an_attribution_or_without_correlations(self):
        found = Attribution(checked(), checked(), ABOUT)
        assert plots.attribution(found).get_title(loc="left").startswith("r = 0.91")
        assert "r =" not in plots.attribution(checked()).get_title(loc="left")

    def test_refusals(self):
        with pytest.raises(
            TypeError, match=r"type Attribution or DataFrame; got list: attribute\(model"
        ):
            plots.attribution([])
        with pytest.raises(ValueError, match="it has 40 rows and lacks measured"):
            plots.attribution(checked().drop(columns="measured"))
