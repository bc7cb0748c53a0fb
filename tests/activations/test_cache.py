"""What run_with_cache returned is what collect would have kept."""

import re

import numpy as np
import pytest
import torch
from helpers import tiny_models

import tl_negation as tln

NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
SITES = ("q", "k", "v", "mlp_pre", "z", "hook_mlp_out")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def contexts():
    return tiny_models.contexts(n=9)


def cached(model, tokens, sites=SITES, **options):
    return model.run_with_cache(tokens, names_filter=tln.hook_names(model, sites), **options)[1]


@NAMES
def test_a_cache_holds_what_collect_gives_however_it_was_made(folder, name, contexts):
    # In float64: passes of other shapes round differently, and float32 hides what is wrong.
    model = tiny_models.load(folder, name, dtype=torch.float64)
    wanted = tln.collect(model, contexts, SITES, progress=False)
    window = contexts.tokens[:, : contexts.before + 1]
    whole = cached(model, contexts.tokens)
    made = {
        "the window": (whole, {}),
        "up to the target": (cached(model, window), {}),
        "one position": (cached(model, window, pos_slice=contexts.before), {}),
        "the last": (cached(model, window), {"pos": -1}),
        "one for each": (whole, {"pos": [contexts.before] * 9}),
        "batches": ([cached(model, tokens) for tokens in window.split(4)], {}),
        "a generator": ((cached(model, tokens) for tokens in window.split(2)), {}),
        "a dict": (dict(whole.items()), {}),
        "examples one by one": (
            [cached(model, tokens[None], remove_batch_dim=True) for tokens in window], {},
        ),
    }  # fmt: skip
    for how, (cache, options) in made.items():
        acts = tln.from_cache(cache, contexts, sites=SITES, **options)
        torch.testing.assert_close(
            acts.values, wanted.values, atol=1e-5, rtol=1e-5, msg=lambda m, how=how: f"{how}: {m}"
        )
        assert acts.sites == wanted.sites
        assert acts.layers == wanted.layers
        assert torch.equal(acts.labels, contexts.labels)
    assert tln.from_cache(whole, contexts).model["name"] == wanted.model["name"]
    assert tln.from_cache(dict(whole.items()), contexts).model["name"] == "unnamed model"


def test_both_classes_and_half_precision(model, contexts):
    wanted = tln.collect(model, contexts, SITES, progress=False).values
    cache = {name: act.to(torch.float16) for name, act in cached(model, contexts.tokens).items()}
    acts = tln.from_cache(cache, contexts, sites=SITES)
    assert acts.values.dtype == torch.float32
    torch.testing.assert_close(acts.values, wanted, atol=1e-2, rtol=1e-2)


def test_sites_and_layers_are_those_of_the_cache_or_those_asked_for(model, contexts):
    cache = cached(model, contexts.tokens)
    assert [site.name for site in tln.from_cache(cache, contexts).sites] == [
        "q", "k", "v", "z", "mlp_pre", "mlp_out",
    ]  # fmt: skip
    some = tln.from_cache(cache, contexts, sites=("mlp_pre", "attn.hook_q"), layers=[2, 0])
    assert [site.name for site in some.sites] == ["mlp_pre", "q"]
    assert some.layers == (0, 2)
    assert torch.equal(some.site("attn.hook_q"), some.site("q"))
    every = model.run_with_cache(contexts.tokens)[1]
    assert {"q", "resid_pre", "mlp_post"} <= {
        site.name for site in tln.from_cache(every, contexts).sites
    }


def test_labels_alone_can_be_probed_but_not_run_again(model, contexts):
    cache = cached(model, contexts.tokens, ("q",))
    acts = tln.from_cache(cache, labels=contexts.labels, pos=contexts.before)
    same = tln.from_cache(cache, contexts)
    assert torch.equal(acts.values, same.values)
    probed = tln.probe(acts, progress=False)
    expected = tln.probe(same, progress=False)
    torch.testing.assert_close(probed.beta, expected.beta, equal_nan=True)
    with pytest.raises(ValueError, match="hold labels but no tokens"):
        tln.views.text_heatmap(model, acts.contexts, probed.top(1))
    with pytest.raises(tln.TooFewWordsError, match="two word types in each class"):
        tln.word_test(probed, progress=False)
    worded = tln.from_cache(cache, labels=[1, 0] * 4 + [1], words=contexts.words, pos=6)
    assert worded.contexts.words == contexts.words


def test_examples_of_unequal_length_part_by_part(model):
    rows = [("He can see it", 0), ("you never know it at", 1), ("I cannot", 1), ("I may not", 0)]
    contexts = tln.examples(
        [{"text": text, "label": label} for text, label in rows], model.tokenizer
    )
    parts = contexts.by_length()
    order = torch.cat([rows for rows, _ in parts])
    caches = [cached(model, part.tokens, ("q",)) for _, part in parts]
    wanted = tln.collect(model, contexts, ("q",), progress=False)
    acts = tln.from_cache(caches, contexts.take(order))
    torch.testing.assert_close(acts.values, wanted.values[:, order], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"run by contexts\.by_length\(\)"):
        tln.from_cache(caches, contexts)  # the contexts in another order


def test_hook_names_are_those_of_the_model(model):
    names = tln.hook_names(model, ("k", "ln1.hook_normalized"), layers=[2, 1])
    assert names == [
        "blocks.1.attn.hook_k", "blocks.1.ln1.hook_normalized",
        "blocks.2.attn.hook_k", "blocks.2.ln1.hook_normalized",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown site 'qq'"):
        tln.hook_names(model, ("qq",))
    with pytest.raises(ValueError, match="layers must lie between 0 and 2"):
        tln.hook_names(model, layers=[3])


def without(cache, name):
    return {hook: act for hook, act in cache.items() if hook != name}


def narrowed(cache):
    return {hook: act[..., :2] if "1.attn.hook_v" in hook else act for hook, act in cache.items()}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda c: without(c, "blocks.1.attn.hook_v"), {}, "does not hold blocks.1.attn.hook_v"),
        (lambda c: c, {"sites": ("rot_q",)}, "the cache holds no hook of rot_q; it holds"),
        (lambda _: {"other": torch.ones(9)}, {}, "no hook of a site; it holds ['other']"),
        (lambda c: c, {"layers": [5]}, "layers must lie between 0 and 2"),
        (lambda c: [c, c], {}, "the caches hold 18 examples, and there are 9 contexts"),
        (lambda _: [], {}, "no cache was given"),
        (lambda c: c, {"pos": 9}, "holds 9 positions; got pos 9"),
        (lambda c: c, {"pos": -10}, "holds 9 positions; got pos -10"),
        (lambda c: c, {"pos": [1, 2]}, "one for each of 9 examples; got 2"),
        (lambda c: {h: a[:, 2:5] for h, a in c.items()}, {}, "holds 3 positions, but up to the"),
        (narrowed, {}, "blocks.1.attn.hook_v must be [example, pos, head, d_head]"),
        (lambda c: c, {"words": ["a"] * 9}, "words come with labels"),
    ],
)  # fmt: skip
def test_a_cache_that_does_not_fit_is_refused(model, contexts, change, options, message):
    cache = change(dict(cached(model, contexts.tokens, ("q", "k", "v")).items()))
    with pytest.raises(ValueError, match=re.escape(message)):
        tln.from_cache(cache, contexts, **options)


def test_contexts_or_labels_and_of_the_right_kind(model, contexts):
    cache = cached(model, contexts.tokens, ("q",))
    with pytest.raises(ValueError, match="got neither"):
        tln.from_cache(cache)
    with pytest.raises(ValueError, match="got both"):
        tln.from_cache(cache, contexts, labels=contexts.labels)
    with pytest.raises(ValueError, match=r"labels are 1 or 0, one for each example; got \[2"):
        tln.from_cache(cache, labels=[2] * 9, pos=0)
    with pytest.raises(TypeError, match="labels must be whole numbers"):
        tln.from_cache(cache, labels=np.full(9, 0.5), pos=0)
    with pytest.raises(ValueError, match="a word for each of 9 labels; got 1"):
        tln.from_cache(cache, labels=[1] * 8 + [0], words=["a"], pos=0)
    with pytest.raises(TypeError, match=r"cache is what model\.run_with_cache returns"):
        tln.from_cache(7, contexts)
    with pytest.raises(TypeError, match="got a Tensor among them"):
        tln.from_cache([torch.ones(9)], contexts)


# ------------------------------------------------------------------ any hook by its name


@NAMES
def test_any_hook_of_a_block_is_a_site(folder, name, contexts, tmp_path):
    model = tiny_models.load(folder, name)
    hook = "ln1.hook_normalized"
    acts = tln.collect(model, contexts, ("q", hook, "mlp.hook_post"), progress=False)
    assert [site.name for site in acts.sites] == ["q", hook, "mlp_post"]
    assert acts.sites[1].width == model.cfg.d_model
    cache = model.run_with_cache(contexts.tokens, attention_mask=torch.ones_like(contexts.tokens))
    for layer in range(model.cfg.n_layers):
        expected = cache[1][f"blocks.{layer}.{hook}"][:, contexts.before]
        torch.testing.assert_close(acts.site(hook)[layer], expected, atol=1e-5, rtol=1e-5)
    result = tln.probe(acts, progress=False)
    result.save(tmp_path / "run")
    assert tln.load_result(tmp_path / "run").sites == acts.sites
    view = tln.views.text_heatmap(model, contexts, result.to_frame().iloc[[30]], examples=[0, 1])
    assert view.body.count("<mark>") == 2
    stored = tln.collect(model, contexts, (hook,), store=tmp_path / "acts", progress=False)
    torch.testing.assert_close(stored.values, acts.site(hook), atol=1e-5, rtol=1e-5)
    assert tln.load_activations(tmp_path / "acts").sites[0].name == hook


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("attn.hook_pattern", "hook 'attn.hook_pattern' has no units at a position"),
        ("attn.hook_attn_scores", "a number for each pair of positions: see views.head_attention"),
        ("ln1.hook_normalised", "'ln1.hook_normalised': did you mean 'ln1.hook_normalized'?"),
        ("blocks.1.attn.hook_q", "name a hook within its block, for all layers: 'attn.hook_q'"),
        ("mlp.hook_pre_linear", "this model has no site 'mlp_pre_linear'"),
    ],
)  # fmt: skip
def test_a_hook_without_units_is_refused(model, contexts, hook, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tln.collect(model, contexts, ("q", hook), progress=False)


def test_a_hook_that_never_fires_is_refused(model, contexts):
    ours = r"has the hook 'blocks\.0\.attn\.hook_result' but does not compute it"
    theirs = r"Cannot add hook blocks\.0\.attn\.hook_result"  # TransformerLens 4 itself
    with pytest.raises(ValueError, match=f"{ours}|{theirs}"):
        tln.collect(model, contexts, ("attn.hook_result",), progress=False)


def test_a_site_and_its_hook_are_the_same_site(model, contexts):
    with pytest.raises(ValueError, match="each site once; got mlp_out more than once"):
        tln.collect(model, contexts, ("mlp_out", "hook_mlp_out"), progress=False)


def test_a_plan_knows_listed_sites_only():
    from tl_negation.models import ModelSizes

    sizes = ModelSizes(2, 8, 2, 4, 16)
    assert sizes.width("mlp.hook_post") == 16
    with pytest.raises(ValueError, match=r"the size of hook 'ln1\.hook_scale' is known from a"):
        sizes.width("ln1.hook_scale")
