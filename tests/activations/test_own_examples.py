"""Examples of unequal length: their values are those of each text run alone."""

import warnings

import pandas as pd
import pytest
import torch
from helpers import tiny_models

import tl_negation as tln

NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
SITES = ("q", "k", "v", "mlp_pre", "resid_post")
TEXTS = [
    ("He can see it, and you may go", "He can not see it, and you may go"),
    ("you may know it", "you never know it"),
    ("I should always go home, I say", "I cannot go home, I say"),
    ("They agree that she could stay; we say it", "They don't agree; we say it"),
    ("they might see it", "they might not see it"),
    ("You shall stay at home", "You can't stay at home"),
]
ROWS = [
    {"text": text, "polarity": polarity, "id": number, "item": number % 3}
    for number, pair in enumerate(TEXTS)
    for polarity, text in zip(("affirmed", "negated"), pair, strict=True)
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


def taken(model, **options):
    return tln.examples(ROWS, model.tokenizer, label="polarity", pair="id", **options)


def alone(model, contexts, sites):
    """Values of every example from a pass of its own, as run_with_cache gives them."""
    found = []
    for tokens, (first, last) in zip(contexts.tokens, contexts.spans.tolist(), strict=True):
        window = tokens[None, first:last]
        _, cache = model.run_with_cache(window, attention_mask=torch.ones_like(window))
        rows = [
            torch.cat([
                cache[site.hook_name(layer)][0, contexts.before - first].flatten()
                for site in sites
            ])
            for layer in range(model.cfg.n_layers)
        ]  # fmt: skip
        found.append(torch.stack(rows))
    return torch.stack(found, dim=1)


@NAMES
@pytest.mark.parametrize("bos", [False, True])
def test_values_are_those_of_each_text_alone(folder, name, bos):
    # In float64: passes of other shapes round differently, and float32 hides what is wrong.
    model = tiny_models.load(folder, name, dtype=torch.float64)
    contexts = taken(model, prepend_bos=bos)
    assert len({first for first, _ in contexts.spans.tolist()}) > 2
    sites = tln.collect(model, contexts, SITES, progress=False).sites
    expected = alone(model, contexts, sites).float()
    for batch_size in (1, 2, 5, None):
        acts = tln.collect(model, contexts, SITES, batch_size=batch_size, progress=False)
        torch.testing.assert_close(acts.values, expected, atol=1e-5, rtol=1e-5)


@NAMES
def test_values_in_the_middle_of_a_text_and_with_hooks_of_ones_own(folder, name):
    model = tiny_models.load(folder, name, dtype=torch.float64)
    rows = [{**row, "where": row["text"].split()[1]} for row in ROWS]
    contexts = tln.examples(rows, model.tokenizer, label="polarity", at="where", word="polarity")
    assert contexts.after > contexts.shortest_after > 0
    plain = tln.collect(model, contexts, SITES, progress=False)
    torch.testing.assert_close(
        plain.values, alone(model, contexts, plain.sites).float(), atol=1e-5, rtol=1e-5
    )
    hook = ("blocks.0.hook_resid_pre", lambda act, **_: 2 * act)
    with model.hooks(fwd_hooks=[hook]):
        changed = tln.collect(model, contexts, SITES, progress=False)
        expected = alone(model, contexts, plain.sites).float()
    torch.testing.assert_close(changed.values, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(changed.values, plain.values)


@NAMES
def test_a_store_holds_the_same_and_gives_the_examples_back(folder, name, tmp_path):
    model = tiny_models.load(folder, name)
    contexts = taken(model)
    plain = tln.collect(model, contexts, progress=False)
    kept = tln.collect(model, contexts, store=tmp_path / "acts", batch_size=2, progress=False)
    torch.testing.assert_close(kept.values, plain.values, atol=1e-5, rtol=1e-5)
    read = tln.load_activations(tmp_path / "acts")
    assert torch.equal(read.contexts.tokens, contexts.tokens)
    assert read.contexts.contrast == contexts.contrast
    pd.testing.assert_frame_equal(read.contexts.examples, contexts.examples)


def test_every_token_is_shown_and_no_padding(model):
    contexts = taken(model, item="item")
    units = pd.DataFrame({"layer": [1, 0], "site": ["k", "q"], "head": [2, 0], "index": [3, 1]})
    chosen = [0, 3, 8]
    values = tln.token_activations(model, contexts, units, chosen)
    there = contexts.tokens[chosen] >= 0
    assert torch.equal(~values.isnan(), there.expand(2, -1, -1))
    acts = tln.collect(model, contexts, ("q", "k"), progress=False)
    at_target = values[:, :, contexts.before]
    torch.testing.assert_close(at_target[0], acts.site("k")[1, chosen, 11], atol=1e-5, rtol=1e-5)
    view = tln.views.text_heatmap(model, contexts, units, examples=chosen)
    assert view.body.count("<mark>") == 6
    tokens = [" it", " it", " it"]
    assert all(f"<mark>{token}</mark>" in view.body for token in tokens)
    looks = tln.views.head_attention(model, contexts, units, examples=chosen)
    assert looks.body.count("<mark>") == 2 * len(chosen)


def test_everything_downstream_takes_them(model, tmp_path):
    contexts = tln.examples(
        [*ROWS, *({**row, "id": row["id"] + 6} for row in ROWS)],
        model.tokenizer, label="polarity", pair="id",
    )  # fmt: skip
    result = tln.probe(tln.collect(model, contexts, progress=False), progress=False)
    found = tln.infer(result, permutations=200, progress=False)
    assert "significant_pairs" in found.columns
    assert "pair_accuracy" in found.columns
    assert "'it' has both" in found.provenance["words_left_out"]
    with pytest.raises(tln.TooFewWordsError, match="'it' has both"):
        tln.word_test(result, progress=False)
    tln.report(found, tmp_path / "report.html")
    assert "over pairs" in repr(found)
    found.save(tmp_path / "run")
    again = tln.load_result(tmp_path / "run")
    assert again.contexts.contrast == contexts.contrast
    signs = tln.replicate(again, found).signs["share"].dropna()
    assert len(signs)
    assert (signs == 1).all()  # the same result: every unit keeps its sign


def test_effects_are_measured_on_texts_that_go_on(model):
    rows = [{**row, "where": row["text"].split()[1]} for row in ROWS]
    contexts = tln.examples(rows, model.tokenizer, label="polarity", at="where", word="polarity")
    acts = tln.collect(model, contexts, ("q", "k"), progress=False)
    units = tln.probe(acts, progress=False).top(3)
    few = {"acts": acts, "per_class": None, "draws": 19, "progress": False}
    kept = tln.ablate(model, contexts, units, "zero", **few)
    whole = tln.ablate(model, contexts, units, "zero", keep=False, batch_size=1, **few)
    assert sorted(kept.examples["example"]) == list(range(len(rows)))
    pd.testing.assert_series_equal(
        kept.examples.set_index("example")["clean"].sort_index(),
        whole.examples.set_index("example")["clean"].sort_index(),
        atol=1e-3,
    )
    follow = kept.about["follow"]
    row = kept.examples.set_index("example").loc[4]
    tokens = contexts.tokens[4, : contexts.before + 1 + follow]
    tokens = tokens[tokens >= 0][None]
    log_p = model(tokens, attention_mask=torch.ones_like(tokens)).log_softmax(dim=-1)
    wanted = sum(float(log_p[0, i - 1, tokens[0, i]]) for i in range(-follow, 0))
    assert row["clean"] == pytest.approx(wanted, abs=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tln.attribute(model, contexts, acts=acts, per_class=None, checked=6, progress=False)


def test_texts_that_end_at_the_target_have_nothing_to_measure_on(model):
    contexts = taken(model)
    units = tln.probe(tln.collect(model, contexts, progress=False), progress=False).top(2)
    with pytest.raises(ValueError, match="these windows end with it"):
        tln.ablate(model, contexts, units, progress=False)
    rows = [
        {**row, "where": row["text"].split()[-1 if i == 4 else 1]} for i, row in enumerate(ROWS)
    ]
    some = tln.examples(rows, model.tokenizer, label="polarity", at="where", word="polarity")
    with pytest.raises(ValueError, match="the window of row 4 ends with it"):
        tln.ablate(model, some, units, progress=False)
