"""Figures as files, with text as text."""

import importlib
import inspect
import pkgutil
import xml.etree.ElementTree as ET

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from helpers.figures import texts_overlap

from tl_negation import plots
from tl_negation.inference.nulls import null_p_values
from tl_negation.probing.profiles import calibration_table

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.small())


def texts(path):
    return [element.text for element in ET.parse(path).iter(f"{SVG}text")]


class TestSave:
    def test_text_is_text_in_an_svg(self, result, tmp_path):
        path = plots.save(plots.laminar(result), tmp_path / "new" / "figure.svg")
        assert {"layer", "by example (%)", "q (20 units)"} <= set(texts(path))
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

    def test_refuses_what_is_not_axes(self, tmp_path):
        with pytest.raises(TypeError, match=r"Axes are needed, .*; got \[\]"):
            plots.save([], tmp_path / "figure.svg")

    def test_takes_axes_of_a_part_of_a_figure(self, result, tmp_path):
        figure = plt.figure(figsize=(8, 4), layout="constrained")
        left, right = figure.subfigures(1, 2)
        ax = plots.effects(result, ax=left.subplots())
        plots.volcano(result, 2, ax=right.subplots())
        assert texts_overlap(figure) == []
        path = plots.save(ax, tmp_path / "both.svg")
        assert {"layer", "2"} <= set(" ".join(texts(path)).split())


class TestSaveKinds:
    def test_writes_what_save_writes(self, result, tmp_path):
        ax = plots.effects(result)
        files = plots.save_kinds(ax, tmp_path / "layer 2.5", dpi=50)
        assert [file.name for file in files] == ["layer 2.5.png", "layer 2.5.svg"]
        assert sorted(tmp_path.iterdir()) == files
        alone = plots.save(plots.effects(result), tmp_path / "alone" / "layer 2.5.png", dpi=50)
        assert files[0].read_bytes() == alone.read_bytes()
        assert "layer" in " ".join(texts(files[1]))

    def test_the_layout_is_computed_once_and_kept_on(self, result, tmp_path):
        ax = plots.effects(result)
        engine, computed = ax.figure.get_layout_engine(), []
        execute = engine.execute
        engine.execute = lambda figure: computed.append(execute(figure))
        plots.save_kinds(ax, tmp_path / "effects", kinds=("svg", "png", "pdf"))
        assert len(computed) == 1
        assert ax.figure.get_layout_engine() is engine

    def test_a_figure_without_a_layout_stays_without(self, result, tmp_path):
        ax = plots.effects(result, ax=plt.figure().subplots())
        with mpl.rc_context({"figure.constrained_layout.use": True}):
            plots.save_kinds(ax, tmp_path / "effects")
        assert ax.figure.get_layout_engine() is None

    def test_an_unknown_format_is_refused_before_anything_is_written(self, result, tmp_path):
        with pytest.raises(ValueError, match=r"written as .*svg.*; got 'effects.doc'"):
            plots.save_kinds(plots.effects(result), tmp_path / "effects", kinds=("png", "doc"))
        with pytest.raises(TypeError, match=r"kinds must be a list; got 'png': write \['png'\]"):
            plots.save_kinds(plots.effects(result), tmp_path / "effects", kinds="png")
        assert list(tmp_path.iterdir()) == []


def test_names_of_functions_are_functions_though_files_have_them_too():
    for module in pkgutil.iter_modules(plots.__path__):
        importlib.import_module(f"{plots.__name__}.{module.name}")
    data = {"STYLE", "FIGURE_KINDS"}
    assert {name for name in plots.__all__ if not inspect.isfunction(getattr(plots, name))} == data


def test_by_layer_is_the_plain_name_of_laminar():
    assert plots.by_layer is plots.laminar


def test_calibration_is_drawn_from_its_tables(result):
    p = null_p_values(result, deals=2, units=30)
    tables = [calibration_table(p[name]).assign(test=name) for name in p]
    first = plots.calibration(p)
    second = plots.calibration(pd.concat(tables, ignore_index=True))
    assert len(first.lines) == len(second.lines)
    for one, other in zip(first.lines, second.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    labels = [text.get_text() for text in second.get_legend().get_texts()]
    assert labels[1:] == [
        "by example (likelihood-ratio test) (n = 60)",
        "over words (permutation) (n = 60)",
    ]
