"""Figures as files, with text as text; and the gallery that a run and a report draw from."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import synthetic

from tl_negation import plots
from tl_negation.inference.heldout import held_out
from tl_negation.inference.nulls import null_p_values
from tl_negation.probing.profiles import calibration_table, profile
from tl_negation.report.gallery import by_depth, gallery

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.small())


def texts(path):
    return [one.text for one in ET.parse(path).iter(f"{SVG}text")]


class TestSave:
    def test_text_is_text_in_an_svg(self, result, tmp_path):
        path = plots.save(plots.laminar(result), tmp_path / "new" / "figure.svg")
        assert {"layer", "significant units (%)", "q (20 units)"} <= set(texts(path))
        assert "<image" not in path.read_text("utf-8")

    def test_fonts_of_a_pdf_can_be_edited_and_nothing_is_an_image(self, result, tmp_path):
        path = plots.save(plots.effects(result), tmp_path / "figure.PDF")
        data = path.read_bytes()
        assert data.startswith(b"%PDF")
        assert b"/Subtype /CIDFontType2" in data  # TrueType; journals refuse Type 3
        assert b"/Subtype /Type3" not in data
        assert b"/Subtype /Image" not in data

    @pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
    def test_the_same_bytes_from_the_same_figure(self, result, tmp_path, kind):
        first, second = (
            plots.save(plots.unit(result, (2, "q", 0, 1)), tmp_path / folder / f"unit.{kind}")
            for folder in ("a", "b")
        )
        assert first.read_bytes() == second.read_bytes()

    def test_only_a_crowd_of_points_is_an_image(self, tmp_path):
        rng = np.random.default_rng(0)
        labels = np.repeat([1, 0], 20)
        values = rng.normal(size=(1, 40, 2100)) + 0.5 * labels[None, :, None]
        crowd = synthetic.result(values, labels, ["not"] * 20 + ["can"] * 20)
        path = plots.save(plots.volcano(crowd, 2), tmp_path / "crowd.svg")
        assert path.read_text("utf-8").count("<image") == 1
        assert path.stat().st_size < 400_000
        assert "q (2,100)" in texts(path)

    def test_leaves_the_settings_and_keeps_the_background(self, result, tmp_path):
        before = dict(mpl.rcParams)
        with plt.style.context("dark_background"):
            path = plots.save(plots.effects(result), tmp_path / "figure.png", dpi=50)
        assert dict(mpl.rcParams) == before
        assert plt.imread(path).shape == (170, 350, 4)
        np.testing.assert_array_equal(plt.imread(path)[0, 0], [1, 1, 1, 1])

    def test_refuses_a_format_that_is_none(self, result, tmp_path):
        with pytest.raises(ValueError, match=r"written as .*pdf.*svg.*; got 'figure.doc'"):
            plots.save(plots.effects(result), tmp_path / "figure.doc")
        with pytest.raises(ValueError, match="got 'figure'"):
            plots.save(plots.effects(result), tmp_path / "figure")
        assert list(tmp_path.iterdir()) == []


def names(result):
    return [picture.name for picture in gallery(result, profile(result))]


class TestGallery:
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

    def test_without_activations_no_unit_is_drawn_by_word(self, result):
        read = replace(result, activations=None)
        assert [name for name in names(result) if name not in names(read)] == [
            "unit-layer-2", "unit-layer-5", "unit-layer-8",
        ]  # fmt: skip

    def test_each_can_be_drawn_at_a_width(self, result):
        of = held_out(result, progress=False)
        for picture in gallery(of, profile(of)):
            assert np.ravel(picture.draw(4.0))[0].figure.get_figwidth() == 4
            assert picture.caption.endswith(".")
            plt.close("all")

    def test_units_are_the_strongest_that_have_a_fit(self, result):
        for row, layer in zip(by_depth(result), result.layers, strict=True):
            units = result.to_frame().query(f"layer == {layer} and status == 'ok'")
            assert row["lr"] == units["lr"].max()
            assert row["span"] == f"layer {layer}"
        (one,) = by_depth(result, parts=1)
        assert one["span"] == "layers 2 to 8"


def test_calibration_is_drawn_from_its_tables(result):
    p = null_p_values(result, deals=2, units=30)
    tables = [calibration_table(p[name]).assign(test=name) for name in p]
    first = plots.calibration(p)
    second = plots.calibration(pd.concat(tables, ignore_index=True))
    assert len(first.lines) == len(second.lines)
    for one, other in zip(first.lines, second.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    labels = [text.get_text() for text in second.get_legend().get_texts()]
    assert labels[1:] == ["by example (Wald) (n = 60)", "over words (permutation) (n = 60)"]
