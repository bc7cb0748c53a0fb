"""BOS on purpose: as the tokenizer was made, as asked, and never in the reference's rule."""

import io

import numpy as np
import pytest
import torch
from helpers import corpora, tiny_models
from transformers import AutoTokenizer

from tl_negation import views
from tl_negation._shared.tokens import encodes_bos, prepends_bos
from tl_negation.activations.collect import collect
from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.controls import control
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text
from tl_negation.models.loading import untrained_twin
from tl_negation.probing.probe import probe
from tl_negation.runs.comparison import compare
from tl_negation.runs.scan import scan

NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
BUILD = pytest.mark.parametrize("build", [corpora.byte_level, corpora.metaspace])


def with_bos(folder):
    """The tiny tokenizer as a maker saves it whose models were trained with BOS."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_bos_token = True
    tokenizer.save_pretrained(folder)
    assert encodes_bos(AutoTokenizer.from_pretrained(folder))
    return folder


@BUILD
def test_the_window_begins_with_bos_and_the_target_follows(build):
    tokenizer = build()
    options = {"before": 3, "after": 2}
    without = find_contexts(corpora.STORY, tokenizer, prepend_bos=False, **options)
    contexts = find_contexts(corpora.STORY, tokenizer, prepend_bos=True, **options)
    assert (contexts.before, contexts.text_before, contexts.after) == (4, 3, 2)
    assert contexts.tokens[:, 0].tolist() == [tokenizer.bos_token_id] * len(contexts)
    assert torch.equal(contexts.tokens[:, 1:], without.tokens)
    target = contexts.tokens[:, contexts.before]
    assert torch.equal(target, without.tokens[:, without.before])
    assert contexts.examples.equals(without.examples)
    assert (contexts.prepend_bos, without.prepend_bos) == (True, False)
    assert (contexts.source["prepend_bos"], without.source["prepend_bos"]) == (True, False)
    assert contexts.source["dropped"] == without.source["dropped"]


@BUILD
def test_by_default_the_tokenizer_decides(build):
    contexts = find_contexts(corpora.STORY, build(), before=3, after=2)
    assert contexts.prepend_bos is (build is corpora.metaspace)  # its template begins with <s>


@NAMES
@pytest.mark.parametrize("bos", [False, True])
def test_what_transformer_lens_does_to_every_tokenizer_is_looked_behind(tmp_path, name, bos):
    folder = tiny_models.gpt2_folder(tmp_path)
    if bos:
        with_bos(folder)
    model = tiny_models.load(folder, name)
    assert encodes_bos(model.tokenizer)  # TransformerLens has set it to
    assert prepends_bos(model.tokenizer) is bos
    assert find_contexts(tiny_models.story(20), model.tokenizer, before=2).prepend_bos is bos
    twin = untrained_twin(model)
    assert prepends_bos(twin.tokenizer) is bos


def set_by_others(folder):
    """A tokenizer as TransformerLens loads it for a model that we did not load."""
    return AutoTokenizer.from_pretrained(folder, add_bos_token=True)


def test_a_model_of_the_users_own_is_looked_behind_too(tmp_path):
    folder = tiny_models.gpt2_folder(tmp_path)
    assert encodes_bos(set_by_others(folder))
    assert prepends_bos(set_by_others(folder)) is False
    assert prepends_bos(set_by_others(with_bos(folder))) is True


def test_files_that_are_gone_are_an_error_with_the_cure(tmp_path):
    folder = tiny_models.gpt2_folder(tmp_path)
    tokenizer = set_by_others(folder)
    expected = find_contexts(tiny_models.story(20), tokenizer, before=2)
    folder.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"cannot tell whether .*prepend_bos=True or prepend_bos="):
        find_contexts(tiny_models.story(20), tokenizer, before=2)
    found = find_contexts(tiny_models.story(20), tokenizer, before=2, prepend_bos=False)
    assert found.tokens.tolist() == expected.tokens.tolist() != []


def test_refusals():
    tokenizer = corpora.by_word("can|not|we")
    assert tokenizer.bos_token_id is None
    with pytest.raises(
        ValueError, match=r"prepend_bos=True needs a BOS token, and .* does not have one"
    ):
        find_contexts("we can we not", tokenizer, before=1, after=0, prepend_bos=True)
    assert not find_contexts("we can we not", tokenizer, before=1, after=0).prepend_bos
    with pytest.raises(
        ValueError, match=r"without BOS under preset='notebook'; got prepend_bos=True"
    ):
        find_contexts(corpora.STORY, corpora.byte_level(), preset="notebook", prepend_bos=True)


def test_the_notebooks_rule_never_has_it(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(with_bos(tiny_models.gpt2_folder(tmp_path)))
    assert find_contexts(tiny_models.story(40), tokenizer, before=2, after=1).prepend_bos
    contexts = find_contexts(tiny_models.story(40), tokenizer, before=2, after=1, preset="notebook")
    assert (contexts.prepend_bos, contexts.before) == (False, 2)


def test_audit_repr_and_overlaps_count_the_texts_tokens():
    text = "a b c not e f can h i j k l not n o p q"  # targets at 3, 6 and 12
    tokenizer = corpora.by_word("|".join("abcefhijklnopq") + "|not|can|<s>")
    tokenizer.bos_token = "<s>"
    options = {"before": 1, "after": 1, "prepend_bos": True}
    contexts = find_contexts(text, tokenizer, **options)
    counts = contexts.counts()
    assert counts["window"] == {"before": 1, "after": 1, "prepend_bos": True}
    assert counts["overlapping_windows"] == 0
    out = io.StringIO()
    contexts.audit(out)
    assert "window     BOS + 1 before + target + 1 after" in out.getvalue()
    assert "; BOS + 1 + 1 + 1 tokens; " in repr(contexts)


def test_files_samples_and_controls_keep_it():
    tokenizer, text = corpora.metaspace(), Text.from_string(corpora.STORY * 20)
    contexts = find_contexts(text, tokenizer, before=3, after=2)
    again = Contexts.from_frame(contexts.to_frame(), **contexts.manifest())
    assert again.prepend_bos
    assert again.before == contexts.before == 4
    assert torch.equal(again.tokens, contexts.tokens)
    assert contexts.sample(5).prepend_bos
    matched = control(contexts, text, tokenizer)
    assert matched.prepend_bos
    assert (matched.before, matched.after) == (contexts.before, contexts.after)
    assert (matched.tokens[:, 0] == tokenizer.bos_token_id).all()


@NAMES
def test_activations_are_those_behind_bos(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    options = {"before": 5, "after": 1}
    contexts = find_contexts(tiny_models.story(40), model.tokenizer, prepend_bos=True, **options)
    acts = collect(model, contexts, progress=False)
    bos = model.tokenizer.bos_token_id
    tokens = torch.cat([torch.full((len(contexts), 1), bos), contexts.tokens[:, 1:7]], dim=1)
    _, cache = model.run_with_cache(tokens)
    for layer in range(3):
        expected = cache[f"blocks.{layer}.attn.hook_q"][:, 6].flatten(1)
        torch.testing.assert_close(acts.site("q")[layer], expected, atol=1e-5, rtol=1e-5)
    other = find_contexts(tiny_models.story(40), model.tokenizer, prepend_bos=False, **options)
    assert (collect(model, other, progress=False).values - acts.values).abs().max() > 0.01


def test_bos_counts_against_the_models_context(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))  # 32 positions
    options = {"before": 31, "after": 0}
    contexts = find_contexts(tiny_models.story(80), model.tokenizer, prepend_bos=False, **options)
    assert collect(model, contexts, layers=[0], progress=False).values.isfinite().all()
    contexts = find_contexts(tiny_models.story(80), model.tokenizer, prepend_bos=True, **options)
    with pytest.raises(ValueError, match="context of 32 tokens, got 33"):
        collect(model, contexts, layers=[0], progress=False)


def test_scan_and_compare_pass_it_on(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    options = {"before": 4, "after": 1, "prepend_bos": True, "progress": False}
    text = Text.from_string(tiny_models.story(80))
    result = scan(model, text, words=False, sites=("q",), layers=[0], **options)
    assert result.contexts.prepend_bos
    assert all(np.isnan(values[0]) for values in result.display["values"])  # NaN at BOS
    # A longer window than the model's context is refused only if BOS is there.
    options |= {"before": 31, "after": 0}
    with pytest.raises(ValueError, match="context of 32 tokens, got 33"):
        compare(model, text, distances=(), layers=[0], **options)


@NAMES
def test_views_show_bos_without_a_value(tmp_path, name):
    model = tiny_models.load(with_bos(tiny_models.gpt2_folder(tmp_path)), name)
    contexts = find_contexts(tiny_models.story(60), model.tokenizer, before=4, after=1)
    result = probe(collect(model, contexts, progress=False), progress=False)
    units = result.top(1)
    table = views.display_table(model, contexts, units, n=2)
    for tokens, values in zip(table["tokens"], table["values"], strict=True):
        assert (tokens[0], len(tokens)) == ("<|endoftext|>", 7)
        assert np.isnan(values).tolist() == [True] + [False] * 6
    assert "endoftext" in views.over_text(model, "you may", units).body
