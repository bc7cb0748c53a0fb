"""What this machine can do, measured in half a minute; what others can do, as published."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from ..activations import Activations
from ..corpus import NEGATION, Contexts
from ..inference import held_out, lexical_null, selectivity, word_test
from ..models import ModelSizes, Site
from ..probing import probe


@dataclass(frozen=True)
class Hardware:
    """Published figures of a device.

    Parameters
    ----------
    name
        As its maker writes it.
    memory
        Bytes.
    flops
        Data type -> peak floating-point operations a second, dense.
    """

    name: str
    memory: float
    flops: Mapping[str, float]


def _device(name: str, memory_gb: int | float, half: int | float, single: int | float) -> Hardware:
    flops = {"bfloat16": half * 1e12, "float16": half * 1e12, "float32": single * 1e12}
    return Hardware(name, memory_gb * 1e9, MappingProxyType(flops))


#: Peak dense TFLOP/s from NVIDIA's data sheets: tensor cores for the 16-bit types, without
#: sparsity; float32 as torch computes it by default, not TF32.
HARDWARE = {
    "a100": _device("NVIDIA A100 SXM 80 GB", 80, 312, 19.5),
    "h100": _device("NVIDIA H100 SXM", 80, 989.4, 66.9),
    "h200": _device("NVIDIA H200 SXM", 141, 989.4, 66.9),
    "l40s": _device("NVIDIA L40S", 48, 362.05, 91.6),
    "rtx4090": _device("NVIDIA GeForce RTX 4090", 24, 165.2, 82.6),
}

#: Share of the published peak that a pass is assumed to reach: the PaLM paper reports 46 % for
#: training and 21 to 33 % for other large models (Chowdhery et al. 2022, table 3).
UTILISATION = 0.35

#: Most operations of a measured block of the model; a larger one is made narrower.
BLOCK_FLOPS = 5e10
#: A measurement is repeated for at least this long.
MEASURED_SECONDS = 0.5
PROBE_UNITS, PROBE_EXAMPLES = 4096, 1000
WORD_UNITS, WORD_EXAMPLES = 512, 400


class Speed(NamedTuple):
    """Seconds, measured."""

    probe: float  # for one example of one unit
    permutation: float  # for one unit: does not grow with the examples
    words: float  # for one example of one unit


def calibrate(
    examples: int, words: Sequence[tuple[str, int, int | float]], device: torch.device
) -> Speed:
    """Time the probe and the tests over words on random numbers.

    Parameters
    ----------
    examples
        Contexts of the planned run; at most ``PROBE_EXAMPLES`` are measured.
    words
        Word type, its label, its number of examples (only the proportions matter).
    device
        Where the activations would be.
    """
    many = _synthetic(min(examples, PROBE_EXAMPLES), PROBE_UNITS, words, device)
    seconds = _seconds(lambda: probe(many, progress=False), device)
    few = _synthetic(min(examples, WORD_EXAMPLES), WORD_UNITS, words, device)
    result = probe(few, progress=False)

    def over_words() -> None:
        held_out(result, progress=False)
        selectivity(result, progress=False)
        lexical_null(result, progress=False)

    return Speed(
        seconds / many.values.numel(),
        _seconds(lambda: word_test(result, progress=False), device) / WORD_UNITS,
        _seconds(over_words, device) / few.values.numel(),
    )


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a call, after a first one to warm up."""
    times: list[float] = []
    run()
    while sum(times) < MEASURED_SECONDS or len(times) < 2:
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - start)
    return median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def block_speed(
    sizes: ModelSizes, tokens: int, batch: int, dtype: torch.dtype, device: torch.device
) -> tuple[float, str]:
    """Measure the operations per second of one layer of the model's shape; say what was measured.

    The weights are random; a layer too large to be measured quickly is made narrower first.
    """
    sizes, batch = _narrower(sizes, tokens, batch)
    block = _Block(sizes, dtype, device)
    x = torch.randn(batch, tokens, sizes.d_model, dtype=dtype, device=device)
    with torch.inference_mode():
        seconds = _seconds(lambda: block(x), device)
    shape = (
        f"one layer of d_model {sizes.d_model}, d_mlp {sizes.d_mlp}, {batch} x {tokens} tokens, "
        f"{str(dtype).removeprefix('torch.')}, {device}, {torch.get_num_threads()} threads"
    )
    return batch * sizes.layer_flops(tokens) / seconds, shape


def _narrower(sizes: ModelSizes, tokens: int, batch: int) -> tuple[ModelSizes, int]:
    """Shrink the batch, then the block, until a pass through it is short on any machine."""
    while batch > 4 and batch * sizes.layer_flops(tokens) > BLOCK_FLOPS:
        batch //= 2
    while batch * sizes.layer_flops(tokens) > BLOCK_FLOPS and sizes.d_model >= 256:
        heads = max(1, sizes.n_heads // 2)
        sizes = ModelSizes(
            1,
            sizes.d_model // 2,
            heads,
            sizes.d_head,
            max(1, sizes.d_mlp // 2),
            min(heads, max(1, sizes.kv_heads // 2)),
            sizes.gated_mlp,
        )
    return sizes, batch


class _Block:
    """One layer with random weights: norms, attention with its scores, MLP."""

    def __init__(self, sizes: ModelSizes, dtype: torch.dtype, device: torch.device) -> None:
        self.sizes = sizes
        kv, inner = sizes.kv_heads * sizes.d_head, sizes.n_heads * sizes.d_head

        def weight(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, dtype=dtype, device=device) / columns**0.5

        self.q, self.k, self.v = (weight(size, sizes.d_model) for size in (inner, kv, kv))
        self.out = weight(sizes.d_model, inner)
        self.up = weight(sizes.d_mlp, sizes.d_model)
        self.gate = weight(sizes.d_mlp, sizes.d_model) if sizes.gated_mlp else None
        self.down = weight(sizes.d_model, sizes.d_mlp)

    def __call__(self, x: Tensor) -> Tensor:
        size = (self.sizes.d_model,)
        x = x + self._attention(functional.layer_norm(x, size))
        return x + self._mlp(functional.layer_norm(x, size))

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = (
            functional.linear(x, weight).unflatten(-1, (-1, self.sizes.d_head)).transpose(1, 2)
            for weight in (self.q, self.k, self.v)
        )
        repeat = self.sizes.n_heads // self.sizes.kv_heads
        k, v = (part.repeat_interleave(repeat, dim=1) for part in (k, v))
        scores = q @ k.transpose(-2, -1) / self.sizes.d_head**0.5
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()
        pattern = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        return functional.linear((pattern @ v).transpose(1, 2).flatten(2), self.out)

    def _mlp(self, x: Tensor) -> Tensor:
        up = functional.linear(x, self.up)
        if self.gate is None:
            return functional.linear(functional.gelu(up), self.down)
        return functional.linear(functional.silu(functional.linear(x, self.gate)) * up, self.down)


def _synthetic(
    examples: int, units: int, words: Sequence[tuple[str, int, int | float]], device: torch.device
) -> Activations:
    """Make activations of word, class and noise: all three are in those of a model."""
    rng = np.random.default_rng(0)
    shares = np.array([share for _, _, share in words])
    drawn = rng.choice(len(words), size=examples, p=shares / shares.sum())
    # Every word at least twice, so that each can be left out.
    drawn[: 2 * len(words)] = np.resize(np.arange(len(words)), min(examples, 2 * len(words)))
    labels = np.array([label for _, label, _ in words])[drawn]
    names = [words[i][0] for i in drawn]
    table = pd.DataFrame(
        {
            "label": labels,
            "group": [NEGATION.groups[label] for label in labels],
            "word": names,
            "surface": names,
            "token": names,
            "position": np.arange(examples),
            "start": np.arange(examples),
            "end": np.arange(examples) + 1,
            "passage": names,
            "in_boilerplate": False,
        }
    )
    tokens = torch.zeros(examples, 1, dtype=torch.int64, device="cpu")
    contexts = Contexts(tokens, table, 0, NEGATION, {"contrast": NEGATION.to_dict()})
    # Words matter more than noise, as in the early layers of a real model: the fit then needs as
    # many steps as there (a Gaussian without words takes a third of the time).
    values = rng.standard_normal((examples, units), dtype=np.float32)
    values += 4 * rng.standard_normal((len(words), units), dtype=np.float32)[drawn]
    values += labels[:, None].astype(np.float32)
    site = Site("synthetic", "", "attn", 1, units)
    return Activations(torch.from_numpy(values)[None].to(device), (site,), (0,), contexts, {})
