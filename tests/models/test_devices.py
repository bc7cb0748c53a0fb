"""Half precision, devices without float64, models spread over devices, quantised weights.

A second device is played by a kind of tensor that keeps torch's rules of what may be mixed.
"""

from importlib import import_module
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from accelerate import dispatch_model
from helpers import tiny_models
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from tl_negation.activations import writers
from tl_negation.activations.collect import collect, token_activations
from tl_negation.activations.forward import Part
from tl_negation.models import devices
from tl_negation.models.check import _is_refactored
from tl_negation.models.describe import describe_model
from tl_negation.models.sites import Site
from tl_negation.probing.probe import probe

#: The module; the room hands on its function by the same name.
activations = import_module("tl_negation.activations.collect")
NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)
ALL = ("q", "k", "v", "z", "mlp_pre", "resid_post")


# ------------------------------------------------------------------ half precision

#: Largest difference from float32, in standard deviations of the unit, and least correlation of z.
HALF = {torch.bfloat16: (0.25, 0.999), torch.float16: (0.03, 0.99999)}


@NAMES
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_agrees_with_float32(tmp_path, name, dtype):
    folder, contexts = tiny_models.gpt2_folder(tmp_path), tiny_models.contexts(n=60)
    exact = collect(tiny_models.load(folder, name), contexts, ALL, progress=False)
    model = tiny_models.load(folder, name, dtype=dtype)
    acts = collect(model, contexts, ALL, progress=False)
    assert next(model.parameters()).dtype == dtype
    assert acts.values.dtype == torch.float32
    off = (acts.values - exact.values).abs() / exact.values.std(dim=1, keepdim=True)
    largest, least = HALF[dtype]
    assert 0 < off.max() < largest
    z = [probe(each, progress=False).columns["z"] for each in (acts, exact)]
    assert z[0].dtype == torch.float64
    both = z[0].isfinite() & z[1].isfinite()
    assert both.double().mean() > 0.9
    assert torch.corrcoef(torch.stack([each[both] for each in z]))[0, 1] > least


# ------------------------------------------------------------------ no float64


def like_mps(monkeypatch):
    """Refuse float64 as MPS does."""
    zeros = torch.zeros

    def refusing(*shape, dtype=None, **options):
        if dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework ...")
        return zeros(*shape, dtype=dtype, **options)

    monkeypatch.setattr(torch, "zeros", refusing)


def test_a_device_without_float64_leaves_the_activations_to_the_cpu(monkeypatch):
    weight = SimpleNamespace(device=torch.device("mps"))
    on_mps = tiny_models.StandIn(parameters=lambda: iter([weight]))
    assert devices.token_device(on_mps).type == "mps"
    like_mps(monkeypatch)
    assert not devices.has_float64(torch.device("mps"))
    assert devices.values_device(on_mps).type == "cpu"


def test_a_device_with_float64_keeps_them(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    assert devices.has_float64(torch.device("cpu"))
    assert devices.values_device(model) == torch.device("cpu")


def test_activations_and_display_are_made_where_values_go(tmp_path, monkeypatch):
    model, contexts = tiny_models.load(tiny_models.gpt2_folder(tmp_path)), tiny_models.contexts()
    asked = []
    monkeypatch.setattr(
        activations, "values_device", lambda model: asked.append(model) or torch.device("cpu")
    )
    collect(model, contexts, progress=False)
    token_activations(model, contexts, UNITS, [0])
    collect(model, contexts, progress=False, store=tmp_path / "store")
    assert asked == [model] * 3


# ------------------------------------------------------------------ several devices

UNITS = pd.DataFrame([(0, "q", 1, 2), (0, "q", 4, 0)], columns=["layer", "site", "head", "index"])


class Elsewhere(torch.Tensor):
    """A tensor of another device: torch copies it over, and refuses to compute with both."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            return super().__torch_function__(func, types, args, kwargs).as_subclass(torch.Tensor)
        if func is torch.Tensor.__setitem__ and not indexed_by_tensors(args[1]):
            return args[0].__setitem__(args[1], args[2].as_subclass(torch.Tensor))
        # Indices may lie on the CPU.
        if func is not torch.Tensor.__getitem__ and torch.Tensor in map(type, args):
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs)


def indexed_by_tensors(index):
    return any(
        isinstance(i, torch.Tensor) for i in (index if isinstance(index, tuple) else [index])
    )


def test_the_second_device_refuses_to_mix():
    here, there = torch.zeros(3), torch.ones(3).as_subclass(Elsewhere)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(RuntimeError, match="same device"):
        here[torch.tensor([0, 1, 2])] = there
    here[:] = there
    assert here.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rows", [slice(2, 5), torch.tensor([2, 3, 4])], ids=type)
def test_writers_take_what_a_hook_gives_on_another_device(dtype, rows):
    site = Site("q", "blocks.{layer}.attn.hook_q", "attn", 5, 4)
    act = torch.arange(3 * 7 * 20).reshape(3, 7, 5, 4).to(dtype)
    values, shown = torch.zeros(1, 8, 20), torch.zeros(2, 8, 7)
    (write,) = writers.target_writers(values, [site], [0], {}).values()
    write(act[:, -1:].as_subclass(Elsewhere), Part(rows, slice(0, 7)))
    assert torch.equal(values[0, 2:5], act[:, -1].flatten(1).float())
    assert not values[0, :2].any()
    (write,) = writers.window_writers(shown, [site], UNITS, {}).values()
    write(act.as_subclass(Elsewhere), Part(rows, slice(0, 7)))
    expected = torch.stack([act[:, :, 1, 2], act[:, :, 4, 0]])
    assert torch.equal(shown[:, 2:5], expected.float())


def test_tokens_go_to_the_embedding_and_the_device_of_every_part_is_named():
    embedding = SimpleNamespace(parameters=lambda: iter([torch.empty(1, device="meta")]))
    offloaded = tiny_models.StandIn(embed=embedding, parameters=lambda: iter([torch.empty(1)]))
    assert devices.token_device(offloaded).type == "cpu"  # accelerate fetches them from there
    embedding.parameters = lambda: iter([SimpleNamespace(device=torch.device("cuda", 1))])
    assert devices.token_device(offloaded) == torch.device("cuda", 1)


def test_a_model_that_accelerate_dispatched(tmp_path):
    """The hooks that accelerate puts around modules to move their inputs; all on the CPU here."""
    from transformer_lens.model_bridge import TransformerBridge

    folder, contexts = tiny_models.llama_folder(tmp_path), tiny_models.contexts()
    plain = tiny_models.load(folder, "TransformerBridge")
    expected = collect(plain, contexts, ALL, progress=False)
    parts = ("model.embed_tokens", "model.rotary_emb", "model.layers", "model.norm", "lm_head")
    hf = AutoModelForCausalLM.from_pretrained(
        folder, device_map=dict.fromkeys(parts, "cpu"), attn_implementation="eager"
    )
    hf = dispatch_model(hf, dict.fromkeys(parts, "cpu"), force_hooks=True)
    assert hasattr(hf.model.embed_tokens, "_hf_hook")
    model = TransformerBridge.boot_transformers(
        "tiny", hf_model=hf, tokenizer=AutoTokenizer.from_pretrained(folder), dtype=torch.float32
    ).eval()
    acts = collect(model, contexts, ALL, progress=False)
    torch.testing.assert_close(acts.values, expected.values, atol=1e-5, rtol=1e-5)
    assert describe_model(model)["device"] == "cpu"


# ------------------------------------------------------------------ quantised


def test_quantised_weights_are_described(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), "TransformerBridge")
    assert describe_model(model)["quantised"] is None
    model.original_model.config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)
    assert describe_model(model)["quantised"] == "bitsandbytes, 8 bits"
    model.original_model.config.quantization_config = {"quant_method": "gptq", "bits": 4}
    assert describe_model(model)["quantised"] == "gptq, 4 bits"


def test_packed_and_offloaded_weights_are_not_looked_into():
    """4 bits lie in bytes of another shape, and what is offloaded has no values."""
    packed = torch.zeros(40, 1, dtype=torch.uint8)
    empty = torch.empty(5, 20, 4, device="meta")
    for weight in (packed, empty):
        attn = SimpleNamespace(W_Q=weight, b_Q=weight, W_K=weight, b_K=weight)
        assert _is_refactored(attn) is False


@NAMES
def test_the_basis_is_checked_without_float64_too(tmp_path, name, monkeypatch):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    like_mps(monkeypatch)
    collect(model, tiny_models.contexts(), ("q",), progress=False)
