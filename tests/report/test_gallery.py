"""The gallery that a run and a report draw from: which figures, drawn how often, added to."""

import importlib
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from helpers.made_results import ABOUT, ablations, checked

from tl_negation import plots
from tl_negation.inference.heldout import held_out
from tl_negation.probing.profiles import calibration_table, profile
from tl_negation.report import Figure, Picture, gallery, report
from tl_negation.report.gallery import by_depth
from tl_negation.report.picture import drawn
from tl_negation.runs.directory import write_run

#: A table that takes little time to draw.
EFFECTS = {"part": ["layer 0"], "site": ["q"], "units": [9], "q5": [1.0], "q25": [2.0]}
EFFECTS |= {"q50": [3.0], "q75": [4.0], "q95": [5.0]}
#: Which figures there are is what is tested here.
pytestmark = pytest.mark.all_figures
MODULE = importlib.import_module("tl_negation.report.gallery")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.small())


@pytest.fixture(scope="module")
def replaced(result):
    """A result with the tables of interventions."""
    with_tables = result.with_table("ablation", ablations()).with_table("attribution", checked())
    about = {"how": "mean", "follow": 5, "draws": 100, "contexts": {"negation": 20}, **ABOUT}
    return replace(with_tables, provenance={**result.provenance, "interventions": about})


def gallery_of(result):
    return gallery(result, profile(result))


def names(result):
    return [picture.name for picture in gallery_of(result)]


class TestWhich:
    def test_a_plain_result_has_what_it_has_numbers_for(self, result):
        assert names(result) == [
            "laminar", "attention-and-mlp", "volcano-layer-2", "effects", "unit-layer-2",
            "unit-layer-5", "unit-layer-8", "heads-q", "heads-k", "units-by-head-q",
            "units-by-head-k",
        ]  # fmt: skip

    def test_one_kind_of_site_is_not_compared(self, result):
        parts = result.split()
        assert "attention-and-mlp" not in names(parts["k"])
        assert not [name for name in names(parts["mlp_pre"]) if "head" in name]

    def test_more_numbers_give_more_figures(self, result):
        table = calibration_table([0.2, 0.4, 0.9]).assign(test="any")
        heads = pd.DataFrame({"layer": [2, 5], "site": "q", "head": 0, "held_out_accuracy": 0.5})
        more = result.with_table("calibration", table).with_table("heads", heads)
        assert {*names(more)} - {*names(result)} == {"calibration", "whole-heads-q"}

    def test_interventions_have_a_section_of_their_own(self, result, replaced):
        figures = gallery_of(replaced)
        assert [picture.name for picture in figures.section("figures")] == names(result)
        assert [picture.name for picture in figures.section("effects")] == [
            "ablation", "attribution",
        ]  # fmt: skip
        assert len(figures) == len(names(result)) + 2

    def test_without_activations_no_unit_is_drawn_by_word(self, result):
        read = replace(result, activations=None)
        assert [name for name in names(result) if name not in names(read)] == [
            "unit-layer-2", "unit-layer-5", "unit-layer-8",
        ]  # fmt: skip

    def test_units_are_the_strongest_that_have_a_fit(self, result):
        for row, layer in zip(by_depth(result), result.layers, strict=True):
            units = result.to_frame().query(f"layer == {layer} and status == 'ok'")
            assert row["lr"] == units["lr"].max()
            assert row["span"] == f"layer {layer}"
        (strongest,) = by_depth(result, parts=1)
        assert strongest["span"] == "layers 2 to 8"

    def test_each_can_be_drawn_at_a_width(self, replaced):
        for picture in gallery_of(held_out(replaced, progress=False)):
            assert np.ravel(picture.draw(4.0))[0].figure.get_figwidth() == 4
            assert picture.caption.endswith(".")
            plt.close("all")


class TestOneEntryMore:
    @pytest.fixture
    def widths(self, monkeypatch):
        """A figure added from outside, alone with another; the widths at which it was drawn."""
        asked = []

        def draw(width):
            asked.append(width)
            return plots.effects(pd.DataFrame(EFFECTS), **({"width": width} if width else {}))

        def pictures(numbers):
            if "held_out_accuracy" not in numbers.table:
                yield Picture("mine", "My figure", "What mine shows.", draw)
                yield Picture("wide", "My wide figure", "The same.", draw, wide=True)

        by_layer = [entry for entry in MODULE.FIGURES if entry.name == "profile by layer"]
        monkeypatch.setattr(MODULE, "FIGURES", by_layer)
        MODULE.FIGURES.append(Figure("mine", pictures))
        return asked

    @pytest.mark.usefixtures("widths")
    def test_is_written_and_shown(self, result, tmp_path):
        run = write_run(result, tmp_path / "run", progress=False)
        assert sorted(path.name for path in (run / "figures").iterdir()) == [
            f"{name}.{kind}" for name in ("laminar", "mine", "wide") for kind in ("png", "svg")
        ]
        page = (run / "report.html").read_text("utf-8")
        assert "<strong>My figure.</strong> What mine shows." in page
        assert 'aria-labelledby="fig-mine-title fig-mine-desc"' in page

    def test_is_drawn_once_for_each_width(self, result, widths, tmp_path):
        write_run(result, tmp_path / "run", progress=False)
        assert widths == [None, None, 4.6, 3.6]  # files of both, page of one, phone of the other

    @pytest.mark.usefixtures("widths")
    def test_the_page_has_the_file_of_a_wide_figure(self, result, tmp_path):
        run = write_run(result, tmp_path / "run", progress=False)
        svg = (run / "figures" / "wide.svg").read_text("utf-8")
        longest = max(re.findall(r'<path d="([^"]*)"', svg), key=len)
        assert f'<path d="{longest}"' in (run / "report.html").read_text("utf-8")

    @pytest.mark.usefixtures("widths")
    def test_is_left_out_where_the_result_lacks_what_it_needs(self, result):
        assert "mine" in names(result)
        assert "mine" not in names(held_out(result, progress=False))

    @pytest.mark.usefixtures("widths")
    def test_is_gone_with_its_entry(self, result):
        MODULE.FIGURES.pop()
        assert names(result) == ["laminar"]

    @pytest.mark.usefixtures("widths")
    def test_needs_a_name_of_its_own(self, result):
        MODULE.FIGURES.append(MODULE.FIGURES[0])
        with pytest.raises(ValueError, match=r"a name of its own; got laminar twice"):
            gallery_of(result)


def test_a_figure_is_not_drawn_twice_at_a_width():
    asked = []

    def draw(width):
        asked.append(width)
        return plots.effects(pd.DataFrame(EFFECTS), width=width or 7.0)

    picture = Picture("effects", "Effects", "A caption.", draw)
    assert picture.svg(4.0) == picture.svg(4.0) != picture.svg()
    assert asked == [4.0, None]
    assert plt.get_fignums() == []


def test_drawn_leaves_the_width_to_be_given():
    asked = drawn(lambda *given, **options: (given, options), 1, y=2)
    assert (asked(None), asked(3.3)) == (((1,), {"y": 2}), ((1,), {"y": 2, "width": 3.3}))


def test_a_page_takes_only_figures_of_its_own_result(result, tmp_path):
    figures = gallery_of(result)
    for other, preset in ((replace(result), None), (result, "notebook")):
        with pytest.raises(ValueError, match=r"figures must be those of this result and preset"):
            report(other, tmp_path / "report.html", figures=figures, preset=preset)
    assert list(tmp_path.iterdir()) == []


def test_figures_of_one_test_do_not_show_a_profile_of_another(result):
    with pytest.raises(ValueError, match=r"preset is Wald .*: leave test, family, correction"):
        gallery(result, profile(result, preset="notebook"), "notebook")


def test_what_holds_over_words_is_the_first_figure():
    first = ["over words by layer", "word or category", "profile by layer"]
    assert [entry.name for entry in MODULE.FIGURES][:3] == first
