"""Views of units: the ends of their distribution, a browser, any text, and heads' attention."""

import html
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.pages import HOSTILE, add_script, dump_dom, props

from tl_negation import views
from tl_negation.activations.collect import collect
from tl_negation.probing.probe import probe
from tl_negation.probing.profiles import head_table

WHERE = (1, "q", 2, 3)


@pytest.fixture(scope="module", params=tiny_models.CLASSES)
def model(request, tmp_path_factory):
    return tiny_models.load(
        tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")), request.param
    )


@pytest.fixture(scope="module")
def result(model):
    acts = collect(model, tiny_models.contexts(16), ("q", "k"), progress=False)
    return probe(acts, progress=False)


def at_target(result):
    return result.activations.site("q")[1, :, 2 * 4 + 3].numpy()


def shown(view):
    return [int(i) for i in re.findall(r"context (\d+) ·", view.body)]


class TestTopContexts:
    def test_shows_both_ends_in_order(self, model, result):
        view = views.top_contexts(model, result, WHERE, n=3)
        order = np.argsort(-at_target(result), kind="stable")
        assert shown(view) == [*order[:3], *order[::-1][:3]]
        assert re.findall(r"\d\. (?:larg|small)est", view.body) == [
            "1. largest", "2. largest", "3. largest", "1. smallest", "2. smallest", "3. smallest",
        ]  # fmt: skip
        values = [given["values"][result.contexts.before] for given in props(view)]
        np.testing.assert_allclose(values, at_target(result)[shown(view)], rtol=2e-3)
        assert view.title.startswith("layer 1, q, head 2, unit 3: contexts with the largest")

    def test_a_result_from_disk_is_collected_anew(self, model, result):
        read = replace(result, activations=None)
        assert shown(views.top_contexts(model, read, result.top(1), n=2)) == shown(
            views.top_contexts(model, result, result.top(1), n=2)
        )

    def test_refusals(self, model, result):
        with pytest.raises(TypeError, match="must be of type ProbeResult; got str"):
            views.top_contexts(model, "run", WHERE)
        with pytest.raises(ValueError, match="half of the 16 contexts; got 9"):
            views.top_contexts(model, result, WHERE, n=9)
        with pytest.raises(ValueError, match="half of the 16 contexts; got 0"):
            views.top_contexts(model, result, WHERE, n=0)
        with pytest.raises(ValueError, match=r"sites q, k of the layers \[0, 1, 2\]; got 'v' in"):
            views.top_contexts(model, result, (0, "v", 0, 0))


class TestOverText:
    def test_is_what_the_model_computes_on_the_text(self, model, result):
        text = "He can not see it"
        (given,) = props(views.over_text(model, text, result.to_frame().iloc[[0]]))
        tokens = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
        _, cache = model.run_with_cache(tokens.to(next(model.parameters()).device))
        expected = cache["blocks.0.attn.hook_q"][0, :, 0, 0]
        np.testing.assert_allclose(given["values"], expected.detach().cpu(), rtol=2e-3, atol=1e-4)
        assert "".join(given["tokens"]) == text

    def test_several_texts_and_units_share_a_scale(self, model, result):
        view = views.over_text(model, ["You may know", "I cannot"], result.top(2))
        assert len({given["maxValue"] for given in props(view)}) == 1
        assert re.findall(r"text \d of 2", view.body) == ["text 1 of 2"] * 2 + ["text 2 of 2"] * 2
        assert "outlined" not in view.body
        assert "<mark>" not in view.body
        assert view.title.endswith("and others, over a text")

    def test_refusals(self, model, result):
        best = result.top(1)
        with pytest.raises(ValueError, match="needs a text; got none"):
            views.over_text(model, [], best)
        with pytest.raises(ValueError, match="the text '' has no token"):
            views.over_text(model, "", best)
        with pytest.raises(TypeError, match=r"a string or a list of strings; got \[3\]"):
            views.over_text(model, [3], best)
        with pytest.raises(ValueError, match="32"):
            views.over_text(model, "not " * 40, best)


class TestBrowser:
    def test_holds_a_panel_per_unit(self, model, result):
        view = views.unit_browser(result, model=model, n=5, contexts=4)
        top = views.spread_units(result, 5)
        panels = re.findall(r"<h3>(.*?)</h3>", view.body)
        assert panels == [views.contexts.name_of(row) for row in top.to_dict("records")]
        assert len(props(view)) == 5 * 4
        listed = json.loads(re.search(r"const units = (\[.*?\]), draw", view.script).group(1))
        assert [unit["layer"] for unit in listed] == top["layer"].tolist()
        assert view.html.count(views.page_script()) == 1

    def test_shows_what_a_scan_kept(self, model, result):
        kept = views.display_table(model, result.contexts, result.top(2), n=2)
        assert len(props(views.unit_browser(replace(result, display=kept)))) == 4

    def test_chooses_the_strongest_of_each_part_of_the_depth(self, result):
        chosen = views.spread_units(result, 6)
        for layer in result.layers:
            best = result.top(10**4).query(f"layer == {layer}").head(2)
            assert set(best.index) == set(chosen.index[chosen["layer"] == layer])
        assert (np.diff(chosen["lr"]) <= 0).all()
        assert len(views.spread_units(result, 2)) == 2
        assert len(views.spread_units(result, 4, parts=2)) == 4
        with pytest.raises(TypeError, match="must be of type ProbeResult; got dict"):
            views.spread_units({})
        with pytest.raises(ValueError, match="one unit of one part is needed; got 0 of 3"):
            views.spread_units(result, 0)

    def test_refusals(self, result):
        with pytest.raises(TypeError, match="must be of type ProbeResult; got dict"):
            views.unit_browser({})
        with pytest.raises(ValueError, match=r"unit_browser\(result, model=model\)"):
            views.unit_browser(result)

    @pytest.mark.browser
    def test_in_a_browser_one_unit_is_shown_and_can_be_changed(self, model, result, tmp_path):
        view = views.unit_browser(result, model=model, n=6, contexts=2)
        path = view.save(tmp_path / "view.html")
        script = """
          const shown = () => [...document.querySelectorAll(".tln-unit")].filter((s) => !s.hidden);
          const name = (s) => s.querySelector("h3").textContent;
          const first = shown(), [layer, unit] = document.querySelectorAll("select");
          const choose = (list, value) => {
            list.value = value; list.dispatchEvent(new Event("change")); };
          choose(layer, layer.options[layer.options.length - 1].value);
          choose(unit, unit.options[unit.options.length - 1].value);
          setTimeout(() => { document.body.dataset.said = JSON.stringify({
            first: first.map(name), now: shown().map(name), layer: layer.value,
            drawn: shown()[0].querySelectorAll(".colored-tokens").length }); }, 500);
        """
        add_script(path, script)
        dom, console = dump_dom(path, tmp_path)
        said = json.loads(html.unescape(re.search('data-said="([^"]*)"', dom).group(1)))
        best = views.contexts.name_of(result.top(1).iloc[0])
        assert said["first"] == [best]
        assert len(said["now"]) == 1
        assert said["now"][0].startswith(f"layer {said['layer']}, ")
        assert said["drawn"] == 2
        assert console == []


class TestHeads:
    def test_tuned_heads_have_the_most_significant_units(self, result):
        table = views.tuned_heads(result, 4)
        frame = result.to_frame().query("site == 'q'")
        counts = frame.groupby(["layer", "head"])["significant"].sum()
        assert table["significant"].tolist() == sorted(counts, reverse=True)[:4]
        assert set(table) == {*head_table(result), "significant"}

    def test_patterns_are_the_models(self, model, result):
        heads = pd.DataFrame({"layer": [2, 0], "head": [4, 1]})
        view = views.head_attention(model, result.contexts, heads, examples=[3, 5])
        calls = re.findall(r"AttentionPatterns, (\{.*?\})\);", view.script)
        before = result.contexts.before
        tokens = result.contexts.tokens[[3, 5], : before + 1]
        _, cache = model.run_with_cache(tokens)
        for i, call in enumerate(calls):
            given = np.array(json.loads(call)["attention"])
            for j, (layer, head) in enumerate(((2, 4), (0, 1))):
                expected = cache[f"blocks.{layer}.attn.hook_pattern"][i, head].detach().cpu()
                np.testing.assert_allclose(given[j], expected, atol=2e-3)
        assert len(calls) == 2
        target = props(view)[1]["values"]
        expected = cache["blocks.0.attn.hook_pattern"][0, 1, -1].detach().cpu()
        np.testing.assert_allclose(target, expected, atol=2e-3)
        labels = [json.loads(call)["headLabels"] for call in calls]
        assert labels == [["layer 2, head 4", "layer 0, head 1"]] * 2
        assert "attention: 0</span>" in view.body  # no share of attention is below zero

    def test_a_key_head_stands_for_its_query_heads(self, tmp_path):
        model = tiny_models.load(tiny_models.llama_folder(tmp_path))
        heads = pd.DataFrame({"layer": [1, 1], "site": ["k", "q"], "head": [2, 4]})
        view = views.head_attention(model, tiny_models.contexts(4), heads, n=2)
        assert view.title == "attention of layer 1, head 4; layer 1, head 5"
        if hasattr(model, "set_ungroup_grouped_query_attention"):  # every query head has its keys
            model.set_ungroup_grouped_query_attention(True)
            view = views.head_attention(model, tiny_models.contexts(4), heads, n=2)
            assert view.title == "attention of layer 1, head 2; layer 1, head 4"

    def test_refusals(self, model, result):
        heads = views.tuned_heads(result, 1)
        with pytest.raises(
            TypeError, match=r"must be a DataFrame; got list: tuned_heads\(result\)"
        ):
            views.head_attention(model, result.contexts, [])
        with pytest.raises(ValueError, match="the columns layer, head; it lacks head"):
            views.head_attention(model, result.contexts, heads.drop(columns="head"))
        with pytest.raises(ValueError, match="3 layers of 5 heads; got layer 3, head 0"):
            views.head_attention(model, result.contexts, pd.DataFrame({"layer": [3], "head": 0}))
        with pytest.raises(ValueError, match="no example was asked for"):
            views.head_attention(model, result.contexts, heads, examples=[])
        with pytest.raises(IndexError, match="between 0 and 15, got 16"):
            views.head_attention(model, result.contexts, heads, examples=[16])
        with pytest.raises(TypeError, match="must be of type ProbeResult; got dict"):
            views.tuned_heads({})
        with pytest.raises(ValueError, match="heads of the sites q, k; got 'v'"):
            views.tuned_heads(result, site="v")
        with pytest.raises(ValueError, match="at least 1; got 0"):
            views.tuned_heads(result, 0)

    def test_a_model_without_patterns_is_refused(self, model, result, monkeypatch):
        monkeypatch.setattr(views.attention, "HOOK", "blocks.{layer}.attn.hook_nosuch")
        with pytest.raises(RuntimeError, match=r"no attention pattern .*attn_implementation"):
            views.head_attention(model, result.contexts, views.tuned_heads(result, 1))

    @pytest.mark.browser
    def test_a_browser_shows_hostile_tokens_as_text(self, model, result, tmp_path, monkeypatch):
        monkeypatch.setattr(views.examples, "decoder", lambda _: lambda i: HOSTILE[i % 5])
        view = views.head_attention(model, result.contexts, views.tuned_heads(result, 2), n=2)
        assert view.html.count("</script") == 2
        dom, console = dump_dom(view.save(tmp_path / "view.html"), tmp_path)
        buttons = re.findall(r"<button[^>]*>(.*?)</button>", dom, re.DOTALL)
        texts = [html.unescape(button).replace(views.WORD_JOINER, "") for button in buttons]
        ids = result.contexts.tokens[
            views.spread_examples(result.contexts, 2), : result.contexts.before + 1
        ]
        expected = [HOSTILE[i % 5].replace("\r\n", "↵") for i in ids.flatten().tolist()]
        clean = [re.sub(r"\s", " ", text).strip() for text in texts]
        assert clean == [re.sub(r"\s", " ", text).strip() for text in expected]
        assert "<title>broken</title>" not in dom
        assert not [line for line in console if "GL" not in line]
