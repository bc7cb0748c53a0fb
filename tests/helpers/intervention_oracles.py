"""What the tests of interventions share: places, settings and hand-written Hugging Face hooks."""

from contextlib import contextmanager

import pandas as pd
import torch
from helpers import tiny_models

from tl_negation.interventions.setting import make_setting

SITES = ("q", "k", "v", "mlp_pre")
OPTIONS = {"per_class": None, "progress": False}
FAMILIES = {
    "gpt2": (tiny_models.gpt2, tiny_models.gpt2_folder),
    "llama": (tiny_models.llama, tiny_models.llama_folder),
}


def units_table(*rows):
    return pd.DataFrame(rows, columns=["layer", "site", "head", "index"])


def setting(model, contexts, acts, **options):
    options = {"how": "mean", "follow": 3, "seed": 0, "batch_size": None, "keep": True} | options
    return make_setting(
        model, contexts, acts, sites=(), layers=None, per_class=None, progress=False, **options
    )


MODULES = {
    ("gpt2", "q"): ("transformer.h.{}.attn.c_attn", 0),
    ("gpt2", "k"): ("transformer.h.{}.attn.c_attn", 20),
    ("gpt2", "v"): ("transformer.h.{}.attn.c_attn", 40),
    ("gpt2", "mlp_pre"): ("transformer.h.{}.mlp.c_fc", 0),
    ("llama", "q"): ("model.layers.{}.self_attn.q_proj", 0),
    ("llama", "k"): ("model.layers.{}.self_attn.k_proj", 0),
    ("llama", "v"): ("model.layers.{}.self_attn.v_proj", 0),
    ("llama", "mlp_pre"): ("model.layers.{}.mlp.gate_proj", 0),
}
D_HEAD = {"gpt2": 4, "llama": 8}


@contextmanager
def hf_hooks(hf, family, units, position, value):
    """Write ``value(old)`` over single columns of the projections at one position."""
    handles = []
    for layer, site, head, index in units.itertuples(index=False):
        name, start = MODULES[family, site]
        column = start + head * D_HEAD[family] + index

        def hook(module, inputs, output, column=column):
            output = output.clone()
            output[:, position, column] = value(output[:, position, column])
            return output

        module = hf.get_submodule(name.format(layer))
        handles.append(module.register_forward_hook(hook))
    yield
    for handle in handles:
        handle.remove()


def hf_log_p(hf, contexts, follow):
    window = contexts.tokens[:, : contexts.before + 1 + follow]
    with torch.no_grad():
        log_p = hf(window).logits.double().log_softmax(dim=-1)
    at = range(contexts.before, contexts.before + follow)
    return sum(log_p[range(len(window)), i, window[:, i + 1]] for i in at).numpy()


UNITS = {
    "gpt2": units_table(
        (0, "q", 1, 2), (1, "k", 4, 3), (1, "v", 0, 0), (2, "v", 2, 1), (1, "mlp_pre", 0, 77)
    ),
    "llama": units_table((0, "q", 5, 7), (1, "k", 2, 3), (0, "v", 1, 0), (1, "mlp_pre", 0, 50)),
}
