"""Somebody's own hooks, modules, dtypes, padding and threads: ``run_with_cache``'s values or none.

The other route is always TransformerLens' own ``run_with_cache`` over the whole windows.
"""

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import wraps

import pytest
import torch
from helpers import tiny_models
from transformers.activations import NewGELUActivation

import tl_negation as tln
from tl_negation.models.changes import changes_of, foreign_classes, is_stock
from tl_negation.models.identity import identity_of
from tl_negation.models.passes import alone_with, run_windows

pytestmark = pytest.mark.slow  # a model is loaded for each
NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
ALL = ("q", "k", "v", "z", "mlp_pre", "mlp_post", "resid_pre", "resid_post")
CONTEXTS = tiny_models.contexts(n=9, before=6, after=2)


@pytest.fixture
def folder(tmp_path):
    return tiny_models.gpt2_folder(tmp_path)


def as_cached(model, acts):
    """What ``run_with_cache`` holds at the targets, laid out as ``acts.values``."""
    with torch.no_grad():
        _, cache = model.run_with_cache(acts.contexts.tokens)
    layers = [
        torch.cat(
            [cache[site.hook_name(layer)][:, CONTEXTS.before].flatten(1) for site in acts.sites], 1
        )
        for layer in acts.layers
    ]
    return torch.stack(layers)


def assert_as_cached(model, sites=ALL, contexts=CONTEXTS, **options):
    acts = tln.collect(model, contexts, sites, progress=False, **options)
    torch.testing.assert_close(acts.values, as_cached(model, acts), atol=1e-5, rtol=1e-5)
    return acts


# ------------------------------------------------------------------ hooks


def zero_the_first(act, hook):
    return torch.cat([torch.zeros_like(act[:, :1]), act[:, 1:]], dim=1)


def steer_the_fifth(act, hook):
    new = act.clone()
    new[:, 5] += 3
    return new


def steer_behind_the_target(act, hook):
    new = act.clone()
    new[:, 8] += 3
    return new


def steer_the_last(act, hook):
    new = act.clone()
    new[:, -1] += 3
    return new


def centre(act, hook):
    return act - act.mean(dim=1, keepdim=True)


FUNCTIONS = (zero_the_first, steer_the_fifth, steer_behind_the_target, steer_the_last, centre)
HOOKS = (
    "hook_embed",
    "blocks.0.mlp.hook_post",
    "blocks.1.attn.hook_q",
    "blocks.2.hook_resid_pre",
    "blocks.2.mlp.hook_pre",
    "blocks.2.hook_resid_post",
)


@NAMES
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_hook_sees_what_it_sees_in_run_with_cache(folder, name, hook, function):
    model = tiny_models.load(folder, name)
    plain = tln.collect(model, CONTEXTS, ALL, progress=False)
    with model.hooks(fwd_hooks=[(hook, function)]):
        acts = assert_as_cached(model)
        for sites in (("mlp_pre",), ("mlp_post",), ("q",)):  # the same unit, whatever else is asked
            some = assert_as_cached(model, sites)
            assert torch.equal(some.site(sites[0]), acts.site(sites[0]))
    assert torch.equal(tln.collect(model, CONTEXTS, ALL, progress=False).values, plain.values)


@NAMES
@pytest.mark.parametrize("way", ["permanent", "torch", "before", "everywhere", "callable"])
def test_every_way_to_add_a_hook_is_seen(folder, name, way):
    model = tiny_models.load(folder, name)
    point = model.hook_dict["blocks.2.mlp.hook_pre"]
    where = "a hook at every module of torch" if way == "everywhere" else r"hook at blocks\.2\.mlp"
    assert changes_of(model) == []

    def last(module, given, made):
        return zero_the_first(made, None) if module is point else None

    class Callable:
        def __call__(self, *args):
            return zero_the_first(args[2], None)

    handle = None
    if way == "permanent":
        model.add_perma_hook("blocks.2.mlp.hook_pre", zero_the_first)
    elif way == "torch":
        point.register_forward_hook(last)
    elif way == "before":
        point.register_forward_pre_hook(lambda *args: (zero_the_first(args[1][0], None),))
    elif way == "callable":
        point.register_forward_hook(Callable())
    else:
        handle = torch.nn.modules.module.register_module_forward_hook(last)
    try:
        assert_as_cached(model)
        [said] = changes_of(model)
        assert re.search(where, said)
    finally:
        if handle:
            handle.remove()


@NAMES
def test_an_intervention_sees_the_whole_window_too(folder, name):
    """Keys and values are not kept; every pass gives what TransformerLens gives under the hook."""
    model = tiny_models.load(folder, name)
    rows = tln.probe(tln.collect(model, CONTEXTS, progress=False), progress=False).to_frame()[:3]
    for hooks in ([], [("blocks.1.hook_resid_pre", steer_the_fifth)]):
        with model.hooks(fwd_hooks=hooks):
            options = {"per_class": 2, "draws": 19, "follow": 2, "progress": False}
            done = tln.ablate(model, CONTEXTS, rows, **options)
            if hooks or name == "HookedTransformer":  # not every bridge can keep keys
                assert done.about["kept_keys"] is not bool(hooks)
            with torch.no_grad():
                log_p = model(CONTEXTS.tokens).log_softmax(-1)
        wanted = sum(
            log_p[:, pos].gather(1, CONTEXTS.tokens[:, pos + 1 : pos + 2])[:, 0]
            for pos in range(CONTEXTS.before, CONTEXTS.before + 2)
        )
        assert len(done.examples) == 4
        rows_run = done.examples["example"].tolist()
        clean = torch.tensor(done.examples["clean"].tolist())
        torch.testing.assert_close(clean, wanted[rows_run], atol=1e-4, rtol=1e-5)


# ------------------------------------------------------------------ modules of somebody's own


@NAMES
def test_a_patched_activation_function_is_run_and_kept(folder, name):
    model = tiny_models.load(folder, name)

    def doubled(x):
        return 2 * torch.nn.functional.gelu(x, approximate="tanh")

    patched = [
        module
        for module in model.modules()
        if isinstance(module, NewGELUActivation) or hasattr(module, "act_fn")
    ]
    for module in patched:
        if isinstance(module, NewGELUActivation):
            module.forward = doubled
        else:
            module.act_fn = doubled
    assert patched
    acts = assert_as_cached(model)
    torch.testing.assert_close(
        acts.site("mlp_post"),
        2 * torch.nn.functional.gelu(acts.site("mlp_pre"), approximate="tanh"),
        atol=1e-5,
        rtol=1e-5,
    )
    for module in patched:
        own = vars(module).get("forward") or module.act_fn
        assert own is doubled


@NAMES
def test_a_class_that_somebody_patched_is_not_bypassed(folder, name, monkeypatch):
    model = tiny_models.load(folder, name)
    kind = type(model.blocks[2].mlp)
    forward = kind.forward

    def shifted(self, x, *args, **kwargs):
        return forward(self, x - x.mean(dim=1, keepdim=True), *args, **kwargs)

    monkeypatch.setattr(kind, "forward", shifted)
    assert not is_stock(model)
    assert_as_cached(model)


@NAMES
def test_a_module_of_somebodys_own_sees_all_positions(folder, name):
    model = tiny_models.load(folder, name)

    class Mixing(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x, *args, **kwargs):
            return self.inner(x - x.mean(dim=1, keepdim=True), *args, **kwargs)

    model.blocks[2].ln2 = Mixing(model.blocks[2].ln2).eval()
    assert foreign_classes(model) == [f"{__name__}.{Mixing.__qualname__}"]
    if name == "HookedTransformer":  # a bridge runs Hugging Face's block, not this module
        assert_as_cached(model)


def wrapped(old):
    """What people write who have read functools' documentation: it passes for the original."""

    @wraps(old)
    def centred(*args, **kwargs):
        new = [x - x.mean(1, keepdim=True) if isinstance(x, torch.Tensor) else x for x in args]
        return old(*new, **kwargs)

    return centred


@NAMES
@pytest.mark.parametrize("where", ["forward", "class"])
def test_a_wrapped_function_does_not_pass_for_the_librarys(
    folder, name, where, monkeypatch, tmp_path
):
    model = tiny_models.load(folder, name)
    tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)
    mlp = model.blocks[2].mlp
    if where == "class":
        monkeypatch.setattr(type(mlp), "forward", wrapped(type(mlp).forward))
    else:
        vars(mlp)["forward"] = wrapped(mlp.forward)  # a bridge would hand it on to what it wraps
    assert not is_stock(model)
    assert_as_cached(model)
    with pytest.raises(ValueError, match="code of its own at"):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


def use_relu(model):
    """In one MLP, as somebody might who reads how the activation function is held."""
    for module in model.modules():
        if "act_fn" in vars(module):
            module.act_fn = torch.relu
            return
        if isinstance(getattr(module, "act", None), NewGELUActivation):
            module.act = torch.nn.ReLU().eval()
            return
    pytest.fail("no activation function was found")


@NAMES
def test_another_activation_function_is_another_model(folder, name, tmp_path):
    model = tiny_models.load(folder, name)
    tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)
    use_relu(model)
    assert_as_cached(model)
    with pytest.raises(FileExistsError, match=r"does not fit.*\nmodules: it holds"):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


@NAMES
def test_autocast_is_another_arithmetic(folder, name, tmp_path):
    model = tiny_models.load(folder, name)
    tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(FileExistsError, match=r"\narithmetic: it holds .*off.*bfloat16"),
    ):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


@NAMES
def test_modules_of_somebodys_own_have_no_store(folder, name, tmp_path):
    model = tiny_models.load(folder, name)

    class Adapter(torch.nn.Module):
        def forward(self, x):
            return x

    model.add_module("added", Adapter().eval())
    with pytest.raises(ValueError, match=r"this one has a module of class .*Adapter\. Take it out"):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


# ------------------------------------------------------------------ dtypes


@NAMES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_torchs_default_dtype_does_not_matter(folder, name, dtype, tmp_path, monkeypatch):
    model = tiny_models.load(folder, name)
    memory = tln.collect(model, CONTEXTS, ALL, progress=False)
    result = tln.probe(memory, progress=False)
    torch.set_default_dtype(dtype)
    try:
        again = tln.collect(model, CONTEXTS, ALL, progress=False)
        kept = tln.collect(model, CONTEXTS, ALL, store=tmp_path / "store", progress=False)
        shown = tln.token_activations(
            model, CONTEXTS, tln.probe(kept, progress=False).to_frame()[:2], [0, 1]
        )
        columns = tln.probe(kept, progress=False).columns
    finally:
        torch.set_default_dtype(torch.float32)
    for acts in (again, kept, tln.load_activations(tmp_path / "store")):
        assert acts.values.dtype == torch.float32
        assert torch.equal(acts.values, memory.values)
    assert shown.dtype == torch.float32
    assert columns.keys() == result.columns.keys()
    for column, values in result.columns.items():
        assert columns[column].dtype == values.dtype
        torch.testing.assert_close(columns[column], values, rtol=0, atol=0, equal_nan=True)


# ------------------------------------------------------------------ padding


@NAMES
@pytest.mark.parametrize("make", [tiny_models.gpt2_folder, tiny_models.llama_folder])
def test_a_window_holds_no_padding_whatever_the_tokenizer_pads_with(tmp_path, name, make):
    model = tiny_models.load(make(tmp_path), name)
    tokens = CONTEXTS.tokens.clone()
    tokens[:, 0] = tokens[::2, :3] = model.tokenizer.pad_token_id
    contexts = replace(CONTEXTS, tokens=tokens)
    found = {}
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        acts = tln.collect(model, contexts, ALL, progress=False)
        result = tln.probe(acts, progress=False)
        units = result.to_frame()[:3]
        done = tln.ablate(model, contexts, units, acts=acts, per_class=2, draws=19, progress=False)
        estimated = tln.attribute(
            model, contexts, acts=acts, per_class=2, checked=4, progress=False
        )
        shown = tln.token_activations(model, contexts, units, [0, 1])
        found[side] = acts.values, shown, done.table, estimated.table
        assert done.about["kept_keys"] or name == "TransformerBridge"
    for one, other in zip(found["right"], found["left"], strict=True):
        assert one.equals(other) if hasattr(one, "equals") else torch.equal(one, other)


# ------------------------------------------------------------------ threads


@NAMES
def test_threads_take_turns_on_a_model(folder, name):
    model = tiny_models.load(folder, name)
    asked = [(("mlp_post",), 1), (ALL, 4), (("q", "mlp_post"), 3), (("resid_post", "mlp_post"), 9)]
    wanted = [
        tln.collect(model, CONTEXTS, s, batch_size=n, progress=False).values for s, n in asked
    ]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(tln.collect, model, CONTEXTS, sites, batch_size=n, progress=False)
            for sites, n in asked * 5
        ]
        found = [job.result().values for job in jobs]
    for values, expected in zip(found, wanted * 5, strict=True):
        assert torch.equal(values, expected)


@NAMES
def test_a_model_is_had_by_one_thread_at_a_time_and_by_a_thread_more_than_once(folder, name):
    model, other = tiny_models.load(folder, name), tiny_models.load(folder, name)
    entered = threading.Event()

    def enter():
        with alone_with(model):
            entered.set()

    thread = threading.Thread(target=enter)
    with alone_with(model), alone_with(model):
        thread.start()
        assert not entered.wait(0.05)
        with ThreadPoolExecutor(1) as pool:  # another model is free
            done = pool.submit(run_windows, other, CONTEXTS.tokens[:1]).result(timeout=60)
    thread.join(timeout=60)
    assert entered.is_set()
    assert done is None


# ------------------------------------------------------------------ what a store is recognised by


def weights(model, layer, *ends):
    """A matrix of a layer; the classes name it differently."""
    return next(
        parameter.data
        for name, parameter in model.named_parameters()
        if f".{layer}." in name and name.endswith(ends)
    )


def change_one_weight(model):
    """One that a sample of each matrix would miss."""
    flat = weights(model, 1, "mlp.W_out", "c_proj._original_component.weight").view(-1)
    flat[len(flat) // 2 + 1] += 1e-3


def prune_a_head(model):
    weights(model, 0, "attn.W_O", "attn.o._original_component.weight").view(5, -1)[2] = 0


def change_an_epsilon(model):
    model.cfg.eps = 1e-3


def change_a_scale(model):
    model.blocks[1].attn.attn_scale = 7.0


@NAMES
@pytest.mark.parametrize(
    "change", [change_one_weight, prune_a_head, change_an_epsilon, change_a_scale],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_a_store_is_of_all_that_decides_its_values(folder, name, tmp_path, change):
    model = tiny_models.load(folder, name)
    tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)
    change(model)
    with pytest.raises(
        FileExistsError, match=r"does not fit.*\n(weights|config|modules): it holds"
    ):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


@NAMES
def test_another_base_of_the_rotation_is_another_model(tmp_path, name):
    folder = tiny_models.llama_folder(tmp_path)
    model = tiny_models.load(folder, name)
    first = tln.collect(model, CONTEXTS, ("rot_q",), store=tmp_path / "store", progress=False)
    other = tiny_models.load(tiny_models.llama_folder(tmp_path / "b", rope_theta=123.0), name)
    weights = [dict(one.named_parameters()) for one in (model, other)]
    assert all(torch.equal(x, weights[1][key]) for key, x in weights[0].items())
    assert not torch.equal(
        tln.collect(other, CONTEXTS, ("rot_q",), progress=False).values, first.values
    )
    with pytest.raises(FileExistsError, match="does not fit"):
        tln.collect(other, CONTEXTS, ("rot_q",), store=tmp_path / "store", progress=False)


@NAMES
def test_no_store_of_a_model_with_hooks(folder, name, tmp_path):
    model = tiny_models.load(folder, name)
    tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)
    says = (
        r"recognised by weights and settings, .* this one has a hook at "
        r"blocks\.0\.hook_(in|resid_pre) and 1 more\. Take it out "
        r"\(model\.reset_hooks\(including_permanent=True\)\)"
    )
    pair = [(f"blocks.{layer}.hook_resid_pre", zero_the_first) for layer in (0, 1)]
    for store in ("store", "new"):
        with model.hooks(fwd_hooks=pair), pytest.raises(ValueError, match=says):
            tln.collect(model, CONTEXTS, store=tmp_path / store, progress=False)
    assert not (tmp_path / "new").exists()
    model.blocks[1].ln1.forward = model.blocks[1].ln2.forward = lambda x: x
    with pytest.raises(ValueError, match=r"code of its own at blocks\.1\..*ln_?1.* and 1 more"):
        tln.collect(model, CONTEXTS, store=tmp_path / "new", progress=False)


def test_weights_that_are_not_in_memory_are_not_recognised(folder, tmp_path):
    model = tiny_models.load(folder)
    module = next(module for module in model.modules() if module._parameters)
    kept, weight = next(iter(module._parameters.items()))
    module._parameters[kept] = torch.nn.Parameter(weight.to("meta"), requires_grad=False)
    with pytest.raises(ValueError, match=rf"but \S*{kept} is not in memory; load .* offloading"):
        tln.collect(model, CONTEXTS, store=tmp_path / "store", progress=False)


@NAMES
def test_the_identity_is_the_same_after_a_pass_and_in_another_loading(folder, name, tmp_path):
    model = tiny_models.load(folder, name)
    first = identity_of(model)
    model(CONTEXTS.tokens)
    moved = tiny_models.load(shutil.copytree(folder, tmp_path / "elsewhere"), name)
    assert first == identity_of(model) == identity_of(moved)
    assert first["arithmetic"]["autocast"] == "off"
