"""Models that are rejected before a forward pass, and those that are not."""

import pytest
import torch
from helpers import tiny_models

from tl_negation.models.check import check_model
from tl_negation.models.hooks import select_sites

QKV = ("q", "k", "v")
NAMES = pytest.mark.parametrize("name", tiny_models.CLASSES)


def check(model, names=QKV, window=7, layers=None):
    layers = range(model.cfg.n_layers) if layers is None else layers
    check_model(model, select_sites(model, names), window, layers)


@NAMES
def test_a_good_model_passes(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    check(model, (*QKV, "mlp_pre"), window=32)


@NAMES
def test_training_mode_is_refused(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    model.blocks[1].train()
    with pytest.raises(ValueError, match=r"training mode at blocks\.1; call\s+model\.eval\(\)"):
        check(model)
    model.train()
    with pytest.raises(ValueError, match="training mode at the model itself"):
        check(model)


@NAMES
def test_a_window_longer_than_the_context_is_refused(tmp_path, name):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path), name)
    with pytest.raises(ValueError, match=r"context of 32 tokens, got 33.*smaller `before`"):
        check(model, window=33)


def test_a_missing_hook_is_refused(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    with pytest.raises(ValueError, match=r"no hook blocks\.7\.attn\.hook_q \(3 of 6"):
        check(model, layers=(0, 7))


def test_a_model_that_looks_ahead_is_refused(tmp_path, monkeypatch):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    monkeypatch.setattr(model.cfg, "attention_dir", "bidirectional")
    with pytest.raises(ValueError, match=r"a causal model is needed.*bidirectional"):
        check(model)


def processed(folder, name, **steps):
    """Load with TransformerLens's own weight processing."""
    steps = {"fold_ln": False, "center_writing_weights": False, "center_unembed": False} | steps
    steps = {"fold_value_biases": False, "refactor_factored_attn_matrices": False} | steps
    model = tiny_models.load(folder, name)
    if name == "TransformerBridge":
        model.enable_compatibility_mode(**steps)
    else:
        model.load_and_process_state_dict(model.state_dict(), **steps)
    return model.eval()


HARMLESS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")


@NAMES
@pytest.mark.parametrize("steps", [*((step,) for step in HARMLESS), HARMLESS])
def test_harmless_processing_is_accepted(tmp_path, name, steps):
    check(processed(tiny_models.gpt2_folder(tmp_path), name, **dict.fromkeys(steps, True)))


@NAMES
@pytest.mark.parametrize("others", [(), HARMLESS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_refactored_attention_is_refused(tmp_path, name, others, dtype):
    steps = dict.fromkeys((*others, "refactor_factored_attn_matrices"), True)
    model = processed(tiny_models.gpt2_folder(tmp_path), name, **steps).to(dtype)
    for site in QKV:
        with pytest.raises(ValueError, match=r"layer 0 .*refactor_factored_attn_matrices.*load_"):
            check(model, (site,))
    check(model, ("mlp_pre",))


def test_no_transformer_lens_model_is_refused():
    with pytest.raises(TypeError, match="model must be of type TransformerLensModel"):
        check_model(tiny_models.gpt2(), (), 7, (0,))
