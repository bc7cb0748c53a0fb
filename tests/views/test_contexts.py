"""Coloured text: offline, one scale, and not to be broken by any text."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.pages import HOSTILE, drawn, dump_dom, props

from tl_negation import views
from tl_negation.activations.collect import collect
from tl_negation.models.sites import sites_of

UNITS = pd.DataFrame(
    {"layer": [0, 2], "site": ["q", "k"], "head": [1, 4], "index": [3, 0], "lr": [9.0, 8.0]}
)


def small(tokens=("a", " b", "c"), values=(1.0, -2.0, 0.5), target=1):
    return views.heatmap_from_values(
        [list(tokens)], [np.array(values)], ["a row"], target=target, title="a view"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def contexts():
    return tiny_models.contexts(16)


class TestValues:
    def test_values_keep_their_sign_and_zero_is_in_the_middle(self):
        (given,) = props(small())
        assert given["values"] == [1.0, -2.0, 0.5]
        assert given["minValue"] == -given["maxValue"]
        assert given["negativeColor"] != given["positiveColor"]

    def test_one_scale_for_all_rows(self):
        view = views.heatmap_from_values(
            [["a", "b"]] * 2,
            [np.array([1.0, 2.0]), np.array([-50.0, 3.0])],
            ["first", "second"],
            target=0,
            title="two rows",
        )
        first, second = props(view)
        assert first["maxValue"] == second["maxValue"]
        assert 3 < first["maxValue"] < 50

    def test_no_value_and_nothing_but_zeros_can_be_drawn(self):
        (given,) = props(small(values=(np.nan, 0.0, 0.0)))
        assert given["values"] == [None, 0.0, 0.0]
        assert given["maxValue"] == 1

    def test_the_target_is_marked_with_and_without_the_script(self):
        view = small()
        assert "<mark> b</mark>" in view.body
        assert ".colored-tokens > span:nth-of-type(2) > span { outline: 2px" in view.body

    def test_length_must_fit(self):
        with pytest.raises(ValueError, match=r"Length of values \(2\) .* number of tokens \(3\)"):
            small(values=(1.0, 2.0))


class TestSafety:
    def test_script_data_cannot_end_the_script(self):
        text = views.to_script({"text": list(HOSTILE)})
        assert not set("<>&\u2028\u2029") & set(text)
        assert json.loads(text) == {"text": list(HOSTILE)}

    def test_script_data_refuses_what_json_has_not(self):
        with pytest.raises(ValueError, match="not JSON compliant"):
            views.to_script([float("nan")])

    def test_the_scripts_on_a_page_end_where_they_should(self):
        page = small(tokens=HOSTILE, values=np.arange(5.0)).html
        assert page.count("</script") == 2
        assert "<!--" not in page
        assert "<img" not in page
        assert html.escape(HOSTILE[0]) in page

    def test_tokens_are_text_to_inner_html(self):
        (given,) = props(small(tokens=HOSTILE, values=np.arange(5.0)))
        for token in given["tokens"]:
            assert not re.search(r"<[A-Za-z!/?]|&[A-Za-z#]", token)
        assert given["tokens"][4].endswith("↵")
        assert [t.replace(views.WORD_JOINER, "") for t in given["tokens"][:3]] == list(HOSTILE[:3])

    def test_titles_and_labels_are_escaped(self):
        view = views.heatmap_from_values(
            [["a"]], [np.ones(1)], ["<i>label</i>"], target=0, title="<i>title</i>"
        )
        assert "<i>" not in view.html
        assert "<i>" not in view._repr_html_()

    def test_nothing_is_asked_from_anywhere(self):
        page = small().html
        assert not re.search(r"""(src|href)=["'](?!data:)""", page)
        assert "sourceMappingURL" not in page
        assert "default-src 'none'" in page

    def test_the_notebook_frames_the_whole_page(self):
        view = small(tokens=HOSTILE, values=np.arange(5.0))
        frame = view._repr_html_()
        source = re.search('srcdoc="([^"]*)"', frame).group(1)
        assert html.unescape(source) == view.html
        assert 'title="a view"' in frame
        assert "<script" not in frame

    def test_save_writes_the_page(self, tmp_path):
        view = small()
        path = view.save(tmp_path / "new" / "view.html")
        assert path.read_text(encoding="utf-8") == view.html
        assert repr(view) == "View(a view; .save(path) writes it as a page)"

    @pytest.mark.browser
    def test_a_browser_shows_hostile_text_as_text(self, tmp_path):
        page = small(tokens=HOSTILE, values=np.arange(5.0), target=3).save(tmp_path / "view.html")
        dom, console = dump_dom(page, tmp_path)
        (row,), elements = drawn(dom)
        expected = "".join(HOSTILE).replace("\r\n", "↵")
        assert row == re.sub(r"[\u2028\u2029]", " ", expected)
        assert elements == {"div", "span"}
        assert "<title>a view</title>" in dom
        assert console == []


class TestModel:
    def test_shows_what_collect_measured_at_the_target(self, model, contexts):
        table = views.display_table(model, contexts, UNITS, examples=[3, 0, 5])
        acts = collect(model, contexts, ("q", "k"), progress=False)
        assert table["example"].tolist() == [3, 0, 5] * 2
        for row in table.to_dict("records"):
            unit = row["head"] * sites_of(model)[row["site"]].d_head + row["index"]
            expected = acts.site(row["site"])[row["layer"], row["example"], unit]
            assert row["values"][contexts.before] == pytest.approx(float(expected), abs=1e-5)

    def test_tokens_are_those_of_the_window(self, model, contexts):
        table = views.display_table(model, contexts, UNITS.iloc[:1], examples=[2])
        (tokens,) = table["tokens"]
        assert len(tokens) == contexts.tokens.shape[1] == len(table["values"].iloc[0])
        assert "".join(tokens) == model.tokenizer.decode(contexts.tokens[2])

    def test_heat_map_of_one_unit(self, model, contexts):
        view = views.text_heatmap(model, contexts, UNITS.iloc[[1]], examples=[0, 1])
        assert view.title == "layer 2, k, head 4, unit 0, by token"
        table = views.display_table(model, contexts, UNITS.iloc[[1]], examples=[0, 1])
        for given, values in zip(props(view), table["values"], strict=True):
            np.testing.assert_allclose(given["values"], values, rtol=1e-3)
        assert f"span:nth-of-type({contexts.before + 1})" in view.body
        assert "negation: not · context 0 · " in view.body

    def test_heat_map_of_several_units_names_them(self, model, contexts):
        view = views.text_heatmap(model, contexts, UNITS, n=4)
        assert len(props(view)) == 8
        assert view.body.count("layer 0, q, head 1, unit 3 · ") == 4
        assert view.body.count("layer 2, k, head 4, unit 0 · ") == 4

    def test_a_result_keeps_the_table_on_disk(self, model, contexts, tmp_path):
        table = views.display_table(model, contexts, UNITS, n=2)
        table.to_parquet(tmp_path / "display.parquet")
        read = pd.read_parquet(tmp_path / "display.parquet")
        assert props(views.heatmap(read, contexts)) == props(views.heatmap(table, contexts))

    def test_refuses_bad_units(self, model, contexts):
        with pytest.raises(TypeError, match=r"must be a DataFrame; got tuple: result\.top\(1\)"):
            views.text_heatmap(model, contexts, (0, "q", 0, 0))
        with pytest.raises(ValueError, match="layer, site, head, index; it lacks head: result"):
            views.text_heatmap(model, contexts, UNITS.drop(columns="head"))
        with pytest.raises(ValueError, match="units must have rows; got an empty table: result"):
            views.text_heatmap(model, contexts, UNITS.iloc[:0])

    def test_refuses_no_example_and_one_that_is_not_there(self, model, contexts):
        with pytest.raises(ValueError, match="no example was asked for"):
            views.text_heatmap(model, contexts, UNITS, examples=[])
        with pytest.raises(IndexError, match="between 0 and 15, got 16"):
            views.text_heatmap(model, contexts, UNITS, examples=[16])

    def test_refuses_a_table_without_tokens(self, contexts):
        with pytest.raises(ValueError, match="it lacks example, tokens, values: display_table"):
            views.heatmap(UNITS, contexts)


class TestSpread:
    def test_goes_through_the_words_of_each_class(self, contexts):
        words = contexts.examples.loc[views.spread_examples(contexts, 10), "word"].tolist()
        assert set(words[:4]) == set(tiny_models.WORDS["negation"])
        assert set(words[5:9]) == set(tiny_models.WORDS["affirmation"])
        labels = contexts.examples.loc[views.spread_examples(contexts, 10), "label"]
        assert labels.tolist() == [1] * 5 + [0] * 5

    def test_is_the_same_every_time_and_repeats_none(self, contexts):
        chosen = views.spread_examples(contexts, 12)
        assert chosen == views.spread_examples(contexts, 12)
        assert len(set(chosen)) == 12
        assert chosen != views.spread_examples(contexts, 12, seed=1)

    def test_takes_all_of_a_class_that_has_fewer(self, contexts):
        assert sorted(views.spread_examples(contexts, 100)) == list(range(16))

    def test_refuses_fewer_than_one_of_each_class(self, contexts):
        with pytest.raises(ValueError, match="got n = 1"):
            views.spread_examples(contexts, 1)
