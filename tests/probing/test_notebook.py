"""What a notebook shows of contexts, activations and results."""

import re
from dataclasses import replace

import pytest
from helpers import synthetic

from tl_negation.inference.heldout import held_out
from tl_negation.inference.words import word_test


@pytest.fixture(scope="module")
def result():
    return held_out(synthetic.result(*synthetic.small()), progress=False)


def test_contexts_show_their_classes_and_frequent_words():
    page = synthetic.story_contexts()._repr_html_()
    assert page.count("<tr") == 1 + 2
    assert "n't 118, not 86, never 7, cannot 4, nor 1<" in page
    assert "allow 3, certainly 1 ...<" in page


def test_activations_show_their_sites_layers_and_size(result):
    acts = result.activations
    page = acts._repr_html_()
    assert page.startswith(
        "<p>made: at the target of 61 contexts, in 3 layers, 2, 5, 8; 0.03 MB of float32</p>"
    )
    rows = re.findall("<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall("<td>(.*?)</td>", row) for row in rows]
    assert cells == [
        ["q", "20", "5 of 4", "blocks.{layer}.attn.hook_q"],
        ["k", "8", "2 of 4", "blocks.{layer}.attn.hook_k"],
        ["mlp_pre", "7", "", "blocks.{layer}.mlp.hook_pre"],
    ]
    one = replace(acts, values=acts.values[:1], layers=(2,))
    assert "in layer 2; " in one._repr_html_()
    deep = replace(acts, values=acts.values[[0] * 9], layers=tuple(range(9)))
    assert "in 9 layers, 0 to 8; " in deep._repr_html_()


def test_a_result_shows_what_it_has(result):
    plain = synthetic.result(*synthetic.small())._repr_html_()
    assert "held_out_accuracy" not in plain
    page = result._repr_html_()
    assert "held_out_accuracy" in page
    assert page.index("<th>lr</th>") < page.index("<th>accuracy</th>")


def test_nothing_shown_can_be_a_script(result):
    bad = "<script>alert(1)</script>"
    named = replace(result, provenance={**result.provenance, "model": {"name": bad}})
    acts = replace(result.activations, model={"name": bad})
    source = {**result.contexts.source, "source": bad}
    examples = result.contexts.examples.assign(word=bad)
    contexts = replace(result.contexts, source=source, examples=examples)
    for shown in (named, acts, contexts):
        page = shown._repr_html_()
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_the_strongest_units_begin_with_what_a_reader_looks_for(result):
    first = ["layer", "site", "head", "index", "status"]
    assert list(result.top(by="z"))[:8] == [*first, "z", "held_out_accuracy", "beta_per_sd"]
    shown = [*first, "lr", "held_out_accuracy", "beta_per_sd", "accuracy", "auc", "significant"]
    assert list(result.top()) == shown
    over_words = word_test(result, permutations=20, progress=False)
    assert list(over_words.top())[5:9] == [
        "words_t", "significant_words", "words_p_maxt", "held_out_accuracy",
    ]  # fmt: skip
    assert set(result.top(full=True)) == set(result.to_frame())
