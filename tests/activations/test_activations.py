"""Activations are the model's own at the target, whatever the class and the batch size."""

import re
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest
import torch
from helpers import tiny_models
from helpers.hugging_face_oracles import gpt2_oracle, llama_oracle
from transformers import GPT2LMHeadModel, LlamaForCausalLM

from tl_negation.activations import forward as forward_module
from tl_negation.activations.activations import Activations
from tl_negation.activations.collect import collect, token_activations

ALL = ("q", "k", "v", "mlp_pre")
NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)


def oracle(folder, tokens):
    if folder.name == "tiny-gpt2":
        return gpt2_oracle(GPT2LMHeadModel.from_pretrained(folder), tokens)
    return llama_oracle(LlamaForCausalLM.from_pretrained(folder), tokens)


@NAMES
def test_identical_to_hugging_face_whatever_the_batch_size(folder, name):
    contexts = tiny_models.contexts(n=11)
    model = tiny_models.load(folder, name)
    expected = oracle(folder, contexts.tokens)[:, :, contexts.before]
    for batch_size in (1, 3, 11, 64, None):
        acts = collect(model, contexts, ALL, batch_size=batch_size, progress=False)
        torch.testing.assert_close(acts.values, expected, atol=1e-5, rtol=1e-5)


@NAMES
def test_sites_and_layers_are_columns_and_rows(folder, name):
    contexts = tiny_models.contexts()
    model = tiny_models.load(folder, name)
    whole = collect(model, contexts, ALL, progress=False)
    part = collect(model, contexts, ("mlp_pre", "k"), layers=[1], progress=False)
    assert part.layers == (1,)
    for site in ("mlp_pre", "k"):
        torch.testing.assert_close(part.site(site), whole.site(site)[1:2], atol=1e-5, rtol=1e-5)
    assert part.values.shape[-1] == part.sites[0].width + part.sites[1].width
    assert part.model["hooks"] == ["blocks.{layer}.mlp.hook_pre", "blocks.{layer}.attn.hook_k"]
    assert torch.equal(part.labels, contexts.labels)


@NAMES
def test_values_are_plain_tensors(folder, name):
    model = tiny_models.load(folder, name)
    acts = collect(model, tiny_models.contexts(), progress=False)
    assert acts.values.dtype == torch.float32
    assert not acts.values.requires_grad
    assert not acts.values.is_inference()
    assert not acts.values.isnan().any()
    # The model was not spoilt by the pass in inference mode either.
    model.requires_grad_(True)
    model(tiny_models.contexts().tokens).sum().backward()


@NAMES
def test_a_site_is_a_view(folder, name):
    acts = collect(tiny_models.load(folder, name), tiny_models.contexts(), progress=False)
    assert acts.site("k").untyped_storage().data_ptr() == acts.values.untyped_storage().data_ptr()
    with pytest.raises(KeyError, match="site 'mlp_pre' was not collected; there are q, k, v"):
        acts.site("mlp_pre")


@NAMES
def test_half_precision_models_give_float32(folder, name):
    model = tiny_models.load(folder, name, dtype=torch.bfloat16)
    acts = collect(model, tiny_models.contexts(), progress=False)
    exact = collect(tiny_models.load(folder, name), tiny_models.contexts(), progress=False)
    assert acts.values.dtype == torch.float32
    assert torch.corrcoef(torch.stack([acts.values.flatten(), exact.values.flatten()]))[0, 1] > 0.99


def spy(model, monkeypatch):
    """Note the shape of the tokens in each call of the model."""
    shapes, forward = [], model.forward

    def noted(tokens, *args, **kwargs):
        shapes.append(tuple(tokens.shape))
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(noted))
    return shapes


@NAMES
def test_trailing_tokens_are_not_computed(folder, name, monkeypatch):
    model = tiny_models.load(folder, name)
    shapes = spy(model, monkeypatch)
    collect(model, tiny_models.contexts(n=11, before=6, after=2), batch_size=4, progress=False)
    assert shapes == [(4, 7), (4, 7), (3, 7)]


def fired(model, names):
    """Count how often hook points are run."""
    counts, points = dict.fromkeys(names, 0), model.hook_dict

    def count(name):
        counts[name] += 1

    for name in names:
        watch = tiny_models.as_librarys(lambda *_, name=name, **__: count(name))
        points[name].add_hook(watch, is_permanent=True)
    return counts


PASSES = [  # sites, last layer, a hook that is reached, one that is not
    (("q", "k"), 1, "blocks.1.attn.hook_k", "blocks.1.hook_attn_out"),
    (("v",), 0, "blocks.0.attn.hook_v", "blocks.1.attn.hook_q"),
    (("q", "mlp_pre"), 1, "blocks.1.hook_attn_out", "blocks.1.mlp.hook_post"),
]


@NAMES
@pytest.mark.parametrize("case", PASSES)
def test_nothing_is_computed_past_the_last_hook(folder, name, case):
    sites, last, reached, not_reached = case
    model = tiny_models.load(folder, name)
    counts, layers = fired(model, (reached, not_reached)), range(last + 1)
    collect(model, tiny_models.contexts(n=6), sites, layers=layers, batch_size=3, progress=False)
    assert counts == {reached: 2, not_reached: 0}


CUT = [  # sites, last layer, hooks that see the last position only, hooks that see all
    (("q", "k", "v"), 2, ("1.mlp.hook_pre", "2.attn.hook_q"), ("0.mlp.hook_pre", "1.attn.hook_q")),
    (("q", "mlp_pre"), 1, ("1.mlp.hook_pre",), ("0.mlp.hook_pre", "1.attn.hook_q")),
    (("v",), 0, ("0.attn.hook_v",), ("0.hook_resid_pre",)),
]


@NAMES
@pytest.mark.parametrize("case", CUT)
def test_the_last_modules_see_the_target_alone(tmp_path, name, case):
    sites, last, short, whole = case
    model, lengths = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name), {}

    def note(name):
        return tiny_models.as_librarys(lambda act, **_: lengths.update({name: act.shape[1]}))

    for hook in (*short, *whole):
        model.hook_dict[f"blocks.{hook}"].add_hook(note(hook), is_permanent=True)
    contexts, layers = tiny_models.contexts(n=4, before=6), range(last + 1)
    acts = collect(model, contexts, sites, layers=layers, progress=False)
    assert lengths == dict.fromkeys(short, 1) | dict.fromkeys(whole, 7)
    _, cache = model.run_with_cache(contexts.tokens[:, :7])
    for site in sites:
        for layer in layers:
            hook = {"mlp_pre": "mlp.hook_pre"}.get(site, f"attn.hook_{site}")
            want = cache[f"blocks.{layer}.{hook}"][:, -1].flatten(1)
            torch.testing.assert_close(acts.site(site)[layer], want, rtol=0, atol=1e-5)


@NAMES
def test_no_hook_is_left_and_the_model_runs_as_before(folder, name):
    model, tokens = tiny_models.load(folder, name), tiny_models.contexts().tokens
    before = model(tokens)
    own = []
    model.hook_dict["blocks.0.hook_resid_post"].add_hook(
        lambda _, hook: own.append(hook), is_permanent=True
    )
    collect(model, tiny_models.contexts(), ALL, progress=False)
    own.clear()
    assert torch.equal(model(tokens), before)
    assert len(own) == 1  # the user's hook is still there, once
    assert model.context_level == 0
    left = {name for name, point in model.hook_dict.items() if point.fwd_hooks}
    assert {re.sub(r"hook_(out|resid_post)", "", name) for name in left} == {"blocks.0."}


@NAMES
@pytest.mark.parametrize(("dtype", "steps"), [(torch.float32, 1), (torch.bfloat16, 0)])
def test_gelu_takes_one_step_where_that_is_the_same(tmp_path, monkeypatch, name, dtype, steps):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path / "tiny-gpt2"), name, dtype=dtype)
    contexts, calls = tiny_models.contexts(), []

    def counted(x, approximate):
        calls.append(x.shape)
        return torch.nn.functional.gelu(x, approximate=approximate)

    def functions():
        modules = model.modules()
        return [(getattr(one, "act_fn", None), vars(one).get("forward")) for one in modules]

    own = functions()
    monkeypatch.setattr(forward_module, "gelu", counted)
    values = collect(model, contexts, ("mlp_pre",), progress=False).values
    assert len(calls) == steps * (len(values) - 1)  # the last layer's is not needed
    assert functions() == own
    monkeypatch.setattr(forward_module, "_fused_gelu", lambda _: nullcontext())
    stepwise = collect(model, contexts, ("mlp_pre",), progress=False).values
    torch.testing.assert_close(values, stepwise, atol=1e-6 * steps, rtol=0)


@NAMES
def test_hooks_are_gone_after_an_error_too(folder, name):
    model = tiny_models.load(folder, name)

    def broken(*args):
        raise ZeroDivisionError("inside the model")

    model.blocks[1].mlp.register_forward_pre_hook(broken)
    with pytest.raises(ZeroDivisionError, match="inside the model"):
        collect(model, tiny_models.contexts(), ("mlp_pre",), layers=[1], progress=False)
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def failing_above(model, monkeypatch, limit):
    """Let the model run out of memory for batches of more than ``limit``, as CUDA says it."""
    sizes, forward = [], model.forward

    def greedy(tokens, *args, **kwargs):
        sizes.append(len(tokens))
        if len(tokens) > limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB (GPU 0; ...)")
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(greedy))
    return sizes


@NAMES
@pytest.mark.parametrize("batch_size", [None, 8])
def test_out_of_memory_gives_smaller_batches_and_the_same_values(
    folder, name, monkeypatch, batch_size
):
    model, contexts = tiny_models.load(folder, name), tiny_models.contexts(n=11)
    expected = collect(model, contexts, batch_size=2, progress=False)
    sizes = failing_above(model, monkeypatch, 3)
    acts = collect(model, contexts, batch_size=batch_size, progress=False)
    assert torch.equal(acts.values, expected.values)
    assert sizes == ([11, 5, 2] if batch_size is None else [8, 4, 2]) + [2] * 4 + [1]


@NAMES
def test_out_of_memory_half_way_neither_loses_nor_doubles(folder, name, monkeypatch):
    model, contexts = tiny_models.load(folder, name), tiny_models.contexts(n=11)
    expected = collect(model, contexts, batch_size=1, progress=False)
    forward, calls, seen = model.forward, [], []

    def fails_once(tokens, *args, **kwargs):
        calls.append(len(tokens))
        if len(calls) == 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        seen.extend(tokens[:, 0].tolist())
        return forward(tokens, *args, **kwargs)

    monkeypatch.setattr(model, "forward", tiny_models.as_librarys(fails_once))
    acts = collect(model, contexts, batch_size=4, progress=False)
    assert calls == [4, 4, 3, 2, 1]
    assert seen == contexts.tokens[:, 0].tolist()
    torch.testing.assert_close(acts.values, expected.values, atol=1e-5, rtol=1e-5)


def test_a_single_context_too_large_for_memory(tmp_path, monkeypatch):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    failing_above(model, monkeypatch, 0)
    with pytest.raises(RuntimeError, match="one context of 7 tokens does not fit into memory"):
        collect(model, tiny_models.contexts(), progress=False)


@NAMES
def test_nan_passes_through(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    for parameter in model.blocks[2].ln1.parameters():
        parameter.fill_(torch.nan)
    acts = collect(model, tiny_models.contexts(), progress=False)
    assert acts.values[2].isnan().all()
    assert not acts.values[:2].isnan().any()


@NAMES
def test_progress(folder, name, capfd):
    model = tiny_models.load(folder, name)
    capfd.readouterr()
    collect(model, tiny_models.contexts(n=11), progress=False)
    assert capfd.readouterr() == ("", "")
    collect(model, tiny_models.contexts(n=11))
    assert "11/11" in capfd.readouterr().err


def test_refusals(tmp_path):
    model, contexts = tiny_models.load(tiny_models.gpt2_folder(tmp_path)), tiny_models.contexts()
    with pytest.raises(ValueError, match=r"layers must lie between 0 and 2; got \(1, 3\)"):
        collect(model, contexts, layers=(3, 1))
    with pytest.raises(ValueError, match="at least one layer, and each once"):
        collect(model, contexts, layers=())
    with pytest.raises(ValueError, match=r"each once; got \(1, 1\)"):
        collect(model, contexts, layers=(1, 1))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        collect(model, contexts, batch_size=0)
    with pytest.raises(TypeError, match="model must be of type TransformerLensModel"):
        collect(tiny_models.gpt2(), contexts)
    with pytest.raises(ValueError, match="context of 32 tokens, got 41"):
        collect(model, tiny_models.contexts(before=40))
    other = replace(contexts, tokens=contexts.tokens + len(tiny_models.tokenizer()))
    with pytest.raises(ValueError, match=r"vocabulary has \d+: .*another tokenizer"):
        collect(model, other)
    with pytest.raises(ValueError, match="found training mode"):
        collect(model.train(), contexts)


def test_a_hook_of_another_shape_is_refused(tmp_path, monkeypatch):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    monkeypatch.setattr(model.cfg, "d_mlp", 79)
    with pytest.raises(RuntimeError, match=r"'mlp_pre' gave \(11, 1, 1, 80\).*1 heads, 79 per"):
        collect(model, tiny_models.contexts(), ("mlp_pre",), progress=False)


@NAMES
def test_a_hook_that_does_not_fire_is_refused(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    model.blocks[0].mlp.forward = lambda hidden, *_: hidden
    with pytest.raises(RuntimeError, match=r"1 hooks did not fire, blocks\.0\.mlp\.hook_pre among"):
        collect(model, tiny_models.contexts(), ("q", "mlp_pre"), layers=[0], progress=False)


def test_activations_check_their_shape(tmp_path):
    acts = collect(
        tiny_models.load(tiny_models.gpt2_folder(tmp_path)), tiny_models.contexts(), progress=False
    )
    with pytest.raises(ValueError, match=r"= \(2, 11, 60\) to fit .*got \(3, 11, 60\)"):
        replace(acts, layers=(0, 1))


def test_repr(tmp_path):
    acts = collect(
        tiny_models.load(tiny_models.gpt2_folder(tmp_path)), tiny_models.contexts(), progress=False
    )
    assert isinstance(acts, Activations)
    assert "3 layers x 11 examples x 60 units (q 20, k 20, v 20)" in repr(acts)
    assert "3 layers" in acts._repr_html_()


UNITS = pd.DataFrame(
    [(1, "k", 2, 3), (0, "mlp_pre", 0, 7), (1, "q", 4, 0), (1, "k", 0, 1)],
    columns=["layer", "site", "head", "index"],
    index=[9, 3, 3, 5],  # of any result table
)


@NAMES
def test_token_activations_cover_the_whole_window(folder, name, monkeypatch):
    model, contexts = tiny_models.load(folder, name), tiny_models.contexts(n=11)
    shapes = spy(model, monkeypatch)
    values = token_activations(model, contexts, UNITS, [7, 2, 10], batch_size=2)
    assert shapes == [(2, 9), (1, 9)]
    assert values.shape == (4, 3, 9)
    reference = oracle(folder, contexts.tokens[[7, 2, 10]])
    sites = collect(model, contexts, ALL, progress=False).sites
    for row, (layer, site, head, index) in zip(values, UNITS.to_numpy(), strict=True):
        at = ALL.index(site)
        column = sum(site.width for site in sites[:at]) + head * sites[at].d_head + index
        torch.testing.assert_close(row, reference[layer, ..., column], atol=1e-5, rtol=1e-5)


def test_token_activations_refuse(tmp_path):
    model, contexts = tiny_models.load(tiny_models.gpt2_folder(tmp_path)), tiny_models.contexts()
    with pytest.raises(IndexError, match="example must be between 0 and 10, got 11"):
        token_activations(model, contexts, UNITS, [0, 11])
    with pytest.raises(IndexError, match="head of site 'k' must be between 0 and 4, got"):
        token_activations(model, contexts, UNITS.assign(head=[5, 0, 0, 0]), [0])
    with pytest.raises(IndexError, match="index of site 'mlp_pre' must be between 0 and 79, got"):
        token_activations(model, contexts, UNITS.assign(index=[0, 80, 0, 0]), [0])
    with pytest.raises(ValueError, match="context of 32 tokens, got 33"):
        token_activations(model, tiny_models.contexts(before=30), UNITS, [0])
