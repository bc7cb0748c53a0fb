"""Results and tables for what draws and writes them, made without a model."""

import numpy as np
import pandas as pd
import torch
from helpers import synthetic, tiny_models

from tl_negation import plots
from tl_negation.activations.activations import Activations
from tl_negation.models.sites import Site
from tl_negation.probing.probe import probe

SITES = (
    Site("q", "blocks.{layer}.attn.hook_q", "attn", 5, 4),
    Site("k", "blocks.{layer}.attn.hook_k", "attn", 3, 4),
    Site("mlp_pre", "blocks.{layer}.mlp.hook_pre", "mlp", 1, 7),
)


LAYERS = (0, 2, 5)


def make_result(n=40, **options):
    """Random activations; in layer 2 unit k.1.3 is separated, q.0.0 constant, q.0.1 strong."""
    contexts = tiny_models.contexts(n)
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(len(LAYERS), n, 39, generator=generator)
    signs = 2.0 * contexts.labels - 1
    values[..., 1] += 0.7 * signs
    values[1, :, 20 + 7] = signs + 0.1 * values[1, :, 20 + 7].tanh()
    values[1, :, 0] = 1.5
    acts = Activations(values, SITES, LAYERS, contexts, {"name": "random", "hooks": []})
    return probe(acts, progress=False, **options)


ABOUT = {
    "correlation": {"all": 0.913, "random": 0.871},
    "rank_correlation": {"all": 0.925, "random": 0.834},
}


def ablations(shift=0.0):
    rng = np.random.default_rng(0)
    rows = []
    for selection in ("examples", "words", "heads"):
        for name in CLASSES:
            random = rng.normal(-0.02, 0.03, size=100)
            levels = (0.025, 0.25, 0.5, 0.75, 0.975)
            quantiles = zip(plots.interventions.BANDS, np.quantile(random, levels), strict=True)
            rows.append(
                {
                    "selection": selection,
                    "how": "mean",
                    "class": name,
                    "effect": rng.normal(-0.06, 0.05) + shift,
                    "random_mean": random.mean(),
                    **dict(quantiles),
                    "p": rng.uniform(0.01, 0.5),
                    "draws": 100,
                    "units": 64,
                    "contexts": 40 if "minus" in name else 20,
                    "follow": 5,
                    "seed": 0,
                }
            )
    return pd.DataFrame(rows)


def checked(slope=0.8):
    rng = np.random.default_rng(0)
    estimate = np.concatenate([rng.normal(scale=0.1, size=20), rng.normal(scale=0.01, size=20)])
    measured = slope * estimate + rng.normal(scale=0.004, size=40)
    drawn = ["largest"] * 20 + ["random"] * 20
    return pd.DataFrame({"estimate": estimate, "measured": measured, "drawn": drawn})


def study(seed=0, noise=0.0):
    """A result of the made examples; ``noise`` is added to the same activations."""
    values, labels, words = synthetic.small()
    scale = values.std(axis=1, keepdims=True)
    values = values + noise * scale * np.random.default_rng(seed).normal(size=values.shape)
    return synthetic.result(values, labels, words, correction="bh", alpha=0.3)


def display(result, texts=(" not", " so")):
    """What a scan keeps: two units at the tokens of two contexts."""
    width = result.contexts.tokens.shape[1]
    tokens = [texts[i % len(texts)] for i in range(width)]
    rows = [
        {"layer": layer, "site": "q", "head": 0, "index": 1, "example": example}
        for layer in result.layers[:2]
        for example in (0, 1)
    ]
    values = list(np.linspace(-1, 1, len(rows) * width).reshape(len(rows), width))
    return pd.DataFrame(rows).assign(tokens=[tokens] * len(rows), values=values)


CLASSES = ("negation", "affirmation", "negation minus affirmation")
