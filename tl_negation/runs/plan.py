"""Bytes and hours of a scan before it is run, for a model of any size."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from .._shared import integer
from ..activations import START_BATCH
from ..corpus import Contexts, Corpus, Text, find_contexts, load_text
from ..models import (
    ModelSizes,
    TransformerLensModel,
    check_site_names,
    load_tokenizer,
    sizes_of,
    usable_device,
)
from ..probing import WORD_COLUMNS, unit_statistics
from . import machine
from .machine import HARDWARE, UTILISATION, Speed

# `tl-negation audit --model demo --text ...` on builtin:python-docs (Python 3.11), The Variable Man
# and The Defenders (Project Gutenberg 32154, 28767): 824 negations and 895 affirmations in 164,404
# tokens of SmolLM2's tokenizer; 10.5, 9.6 and 12.6 examples per 1,000 tokens one by one.
MEASURED_TOKENS = 164_404
MEASURED = (
    ("not", 1, 538), ("n't", 1, 212), ("cannot", 1, 39), ("never", 1, 26), ("nor", 1, 9),
    ("can", 0, 385), ("may", 0, 170), ("should", 0, 167), ("could", 0, 81), ("always", 0, 54),
    ("allow", 0, 21), ("might", 0, 12), ("certainly", 0, 2), ("agree", 0, 2), ("shall", 0, 1),
)  # fmt: skip
COLUMNS = ("stage", "quantity", "value", "unit", "basis")
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Memory of the probe, in sizes of the activations: `python tests/benchmarks/bench_probe.py`.
PROBE_MEMORY = 1.4
#: Peak of the resident memory over `_working_bytes`: SmolLM2 in batches of 16 x 91 tokens on a CPU
#: needed 2.5 and 2.8 times as much in two runs; freed memory does not go back at once.
WORKING_OVERHEAD = 2.5
#: Bytes of a row of `Contexts.examples`: `examples.memory_usage(deep=True).sum() / len(examples)`
#: on builtin:python-docs with a window of 101 tokens.
EXAMPLE_BYTES = 520


class _Found(NamedTuple):
    """Contexts to expect: how many, of which words, and how that is known."""

    tokens: int | float
    per_class: tuple[float, float]  # label 0, label 1
    words: Sequence[tuple[str, int, int | float]]  # word type, label, examples
    basis: str
    seconds: float | None = None  # to find them, where that was measured

    @property
    def contexts(self) -> float:
        return sum(self.per_class)

    def sampled(self, per_class: int) -> "_Found":
        """At most so many of each class."""
        few = tuple(min(n, float(per_class)) for n in self.per_class)
        return self._replace(per_class=few, basis=f"at most {per_class:,} of each class")


def plan(
    model: TransformerLensModel | ModelSizes | str | Path,
    *,
    tokens: int | float | None = None,
    text: Text | Corpus | str | Path | Sequence[Any] | None = None,
    tokenizer: str | Path | None = None,
    sites: Sequence[str] = ("q", "k", "v"),
    before: int = 90,
    per_class: int | None = None,
    batch_size: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    hardware: str | None = None,
    flops: int | float | None = None,
    device_memory: int | float | None = None,
    devices: int = 1,
    utilisation: int | float = UTILISATION,
) -> pd.DataFrame:
    """Predict bytes and hours of a scan of a text of so many tokens.

    Parameters
    ----------
    model
        A loaded model, a name (only its configuration is read) or a :class:`ModelSizes`.
    tokens
        Of the text to be scanned; those of `text` if not given.
    text
        A text (or source) to count the words in; without it, the rate measured on three texts is
        assumed, which the table states. Needs a tokenizer.
    tokenizer
        Name of the model whose tokenizer splits `text`; the model's own if not given, which sizes
        given by hand have not.
    sites, before, batch_size
        As in :func:`tl_negation.collect` and :func:`tl_negation.find_contexts`.
    per_class
        Contexts drawn of each class, as in :func:`tl_negation.scan`.
    dtype
        Of the weights: ``"float32"``, ``"bfloat16"``, ``"float16"``. Activations are float32.
    device
        The device of this machine that is measured; CUDA if there is any, else the CPU.
    hardware
        Another machine's devices instead: a name in ``HARDWARE``, by published peak figures.
    flops, device_memory
        The same by your own figures: floating-point operations a second that a device peaks at,
        and its bytes.
    devices
        How many of them.
    utilisation
        Share of the peak that a pass is assumed to reach; for `hardware` and `flops` only.

    Returns
    -------
    DataFrame
        Columns ``stage, quantity, value, unit, basis``: a row per predicted quantity, and where
        the number comes from (formula, measurement, published figure).

    Raises
    ------
    TypeError, ValueError, OSError
        The model is not known by its sizes; an argument that is no positive number; a site,
        hardware or data type that does not exist; neither `tokens` nor `text`.

    Notes
    -----
    Without `hardware` and `flops`, this machine is measured for half a minute: one layer of the
    model's shape with random weights, the probe and the tests over words on made numbers. With
    them, no time is given for what was not measured there. A model that does not fit into one
    device is spread over several, of which one computes at a time (TransformerLens's
    ``n_devices``): it then takes as many of them to keep one busy.
    """
    _check(tokens, text, before, per_class, batch_size, dtype)
    check_site_names(sites)
    integer("devices", devices)
    _check_positive(flops=flops, device_memory=device_memory, devices=devices)
    peak = _peak(hardware, flops, dtype, utilisation)
    here = peak is None
    sizes = sizes_of(model)
    per_context = sizes.forward_flops(before + 1, sites)
    found = _expected(model, tokenizer, text, tokens, before)
    run = found if per_class is None else found.sampled(per_class)
    where = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    batch = batch_size or START_BATCH.get(where.type if here else "cuda", START_BATCH["cpu"])
    speed = machine.calibrate(max(100, round(run.contexts)), run.words, where)
    if here:
        rate, block = machine.block_speed(sizes, before + 1, batch, getattr(torch, dtype), where)
        peak = (rate, f"measured: {block}")
    table = _Table()
    _text_rows(table, found, run, before)
    weights = sizes.parameters * DTYPES[dtype]
    without = "" if sizes.d_vocab else "; embeddings left out"
    _model_rows(table, weights, f"{sizes.parameters:,} parameters in {dtype}{without}")
    kept = _size_rows(table, sizes, sites, run.contexts)
    working = WORKING_OVERHEAD * batch * _working_bytes(sizes, before + 1, DTYPES[dtype])
    table.add("forward", "working memory", working, "B", f"{batch} contexts, {_WORKING}")
    table.add("forward", "memory", weights + working + kept, "B", "weights, work, all activations")
    memory = device_memory or _memory(hardware, flops, where)
    busy = _device_rows(table, weights + working, memory, devices)
    _forward_rows(table, per_context, run.contexts, *peak, busy)
    _probe_rows(table, speed, run.contexts, kept, here=here)
    return table.frame()


_FORWARD = (
    "up to the last hook: 2 per weight and token, 4 tokens^2 n_heads d_head a layer for the "
    "scores (Hoffmann et al. 2022, appendix F)"
)
_WORKING = (
    f"{WORKING_OVERHEAD} x the larger of a layer's attention and MLP, every intermediate result "
    "counted once"
)
_LOADING = "on the host: Hugging Face's copy beside HookedTransformer's"


class _Table:
    """Rows of the plan."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, str, str]] = []

    def add(self, stage: str, quantity: str, value: int | float, unit: str, basis: str) -> None:
        self.rows.append((stage, quantity, float(value), unit, basis))

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def _check(
    tokens: Any, text: Any, before: Any, per_class: Any, batch_size: Any, dtype: Any
) -> None:
    if tokens is None and text is None:
        raise ValueError("give the number of tokens to plan for, or a text, or both")
    for name, count in (("before", before), ("per_class", per_class), ("batch_size", batch_size)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"{name} must be an integer; got {count!r}")
    if before < 0:
        raise ValueError(f"before counts tokens and cannot be negative; got {before}")
    _check_positive(tokens=tokens, per_class=per_class, batch_size=batch_size)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")


def _check_positive(**numbers: Any) -> None:
    for name, number in numbers.items():
        if number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise TypeError(f"{name} must be a number; got {number!r}")
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name} must be above 0 and finite; got {number!r}")


def _peak(
    hardware: str | None, flops: int | float | None, dtype: str, utilisation: int | float
) -> tuple[float, str] | None:
    """Operations a second that another machine's device is taken to do, and why."""
    _check_positive(utilisation=utilisation)
    if utilisation > 1:
        raise ValueError(f"utilisation is a share of the peak, at most 1; got {utilisation!r}")
    if hardware is not None and hardware not in HARDWARE:
        raise ValueError(f"unknown hardware {hardware!r}; there is {', '.join(HARDWARE)}")
    assumed = f"{utilisation:.0%} of the peak (assumed)"
    if flops is not None:
        return flops * utilisation, f"{assumed}; peak as given, {flops:.3g} FLOP/s"
    if hardware is None:
        return None
    known = HARDWARE[hardware]
    peak = known.flops[dtype]
    return peak * utilisation, f"{assumed}; {known.name}, {dtype}: {peak:.4g} FLOP/s published"


def _expected(
    model: TransformerLensModel | ModelSizes | str | Path,
    tokenizer: Any,
    text: Any,
    tokens: int | float | None,
    before: int,
) -> _Found:
    if text is None:
        shares = tuple(sum(n for _, of, n in MEASURED if of == label) for label in (0, 1))
        scale = tokens / MEASURED_TOKENS
        rate = 1000 * sum(shares) / MEASURED_TOKENS
        basis = f"{rate:.1f} per 1,000 tokens, as in the three texts of plan.MEASURED"
        return _Found(tokens, tuple(n * scale for n in shares), MEASURED, basis)
    text = load_text(text)
    splitter = _tokenizer(model, tokenizer)
    start = time.perf_counter()
    contexts = find_contexts(text, splitter, before=before)
    seconds = time.perf_counter() - start
    counted = contexts.source["tokens"]
    scale = 1.0 if tokens is None else tokens / counted
    rate = 1000 * len(contexts) / counted
    basis = f"{rate:.1f} per 1,000 tokens, as in {text.source} ({counted:,} tokens)"
    by_label = contexts.examples["label"].value_counts()
    shares = tuple(float(by_label[label]) * scale for label in (0, 1))
    return _Found(counted * scale, shares, _words(contexts), basis, seconds * scale)


def _words(contexts: Contexts) -> Sequence[tuple[str, int, int | float]]:
    """Words of the text for the calibration; the measured ones where the text has too few."""
    counts = contexts.examples.groupby(["word", "label"]).size()
    words = [(str(word), int(label), float(n)) for (word, label), n in counts.items()]
    few = any(sum(of == label for _, of, _ in words) < 3 for label in (0, 1))
    return MEASURED if few else words


def _tokenizer(
    model: TransformerLensModel | ModelSizes | str | Path, name: str | Path | None
) -> Any:
    if name is not None:
        return load_tokenizer(name)
    if isinstance(model, ModelSizes):
        raise ValueError(
            "sizes given by hand have no tokenizer to split the text with; name a model whose "
            "tokenizer is to be used (tokenizer=, --tokenizer), or leave the text out"
        )
    return load_tokenizer(model) if isinstance(model, (str, Path)) else model.tokenizer


def _memory(
    hardware: str | None, flops: int | float | None, device: torch.device
) -> int | float | None:
    """Bytes of a device; not known of one that is described by its speed only."""
    if hardware is not None:
        return HARDWARE[hardware].memory
    if flops is not None:
        return None
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    import psutil  # comes with accelerate

    return float(psutil.virtual_memory().total)


def _working_bytes(sizes: ModelSizes, tokens: int, width: int) -> int:
    """Peak of a layer's intermediate results for one context.

    Attention: the residual stream, its norm, queries, keys and values, keys and values repeated
    over the queries' heads, scores before and after the mask and the softmax, mixed values. MLP:
    the residual stream, its norm, both input branches, their product and the activation function.
    """
    inner, kv = sizes.n_heads * sizes.d_head, sizes.kv_heads * sizes.d_head
    repeated = 2 * inner if sizes.kv_heads < sizes.n_heads else 0
    attention = 3 * sizes.d_model + 2 * inner + 2 * kv + repeated + 3 * sizes.n_heads * tokens
    mlp = 3 * sizes.d_model + (4 if sizes.gated_mlp else 3) * sizes.d_mlp
    return tokens * width * max(attention, mlp)


def _text_rows(table: _Table, found: _Found, run: _Found, before: int) -> None:
    table.add("text", "tokens", found.tokens, "", "to be scanned")
    table.add("text", "contexts found", found.contexts, "", found.basis)
    if run is not found:
        table.add("text", "contexts used", run.contexts, "", run.basis)
    for label, name in ((1, "negations"), (0, "affirmations")):
        table.add("text", name, run.per_class[label], "", "of them")
    size = run.contexts * (8 * (before + 11) + EXAMPLE_BYTES)
    table.add("text", "contexts", size, "B", f"{before} + 1 + 10 token ids and a row of the table")
    if found.seconds is not None:
        table.add("text", "time", found.seconds, "s", "to find them: measured, one process")


def _model_rows(table: _Table, weights: int, basis: str) -> None:
    table.add("model", "weights", weights, "B", basis)
    table.add("model", "weights while loading", 2 * weights, "B", _LOADING)


def _size_rows(table: _Table, sizes: ModelSizes, sites: Iterable[str], contexts: float) -> float:
    """Units and what they weigh; returns the bytes of all activations."""
    sites = tuple(sites)
    width = sum(map(sizes.width, sites))
    units = sizes.n_layers * width
    kept = contexts * units * 4
    table.add(
        "activations", "units", units, "", f"{sizes.n_layers} layers x {width:,} of {sizes.name}"
    )
    table.add("activations", "all layers", kept, "B", "contexts x units x 4")
    table.add("activations", "one layer", kept / sizes.n_layers, "B", "what a stored probe holds")
    made = unit_statistics(torch.tensor([[0.0], [2.0], [1.0], [3.0]]), torch.tensor([0, 0, 1, 1]))
    row = 1 + sum(column.element_size() for column in made.values())
    table.add("result", "by example", units * row, "B", f"{row} bytes a unit")
    over_words = 8 * len(WORD_COLUMNS)
    table.add("result", "over words", units * over_words, "B", f"at most {over_words} bytes more")
    return kept


def _device_rows(table: _Table, needed: float, memory: int | float | None, devices: int) -> int:
    """How many devices hold one model; returns how many models compute at the same time."""
    if memory is None:
        each, basis = 1, "memory of a device not given: taken to suffice"
    else:
        each = math.ceil(needed / memory)
        basis = f"weights and working memory, {memory / 1e9:.4g} GB a device"
    table.add("forward", "devices for one model", each, "", basis)
    busy = devices // each
    table.add(
        "forward", "models at work", busy, "", f"{devices} devices; layers over several take turns"
    )
    return busy


def _forward_rows(
    table: _Table, per_context: int, contexts: float, rate: float, basis: str, busy: int
) -> None:
    table.add("forward", "operations per context", per_context, "FLOP", _FORWARD)
    table.add("forward", "operations", per_context * contexts, "FLOP", "times contexts")
    table.add("forward", "speed of a device", rate, "FLOP/s", basis)
    seconds = per_context * contexts / rate / busy if busy else math.nan
    why = "operations / speed / models at work" if busy else "too few devices for one model"
    table.add("forward", "time", seconds, "s", f"{why}; loading the model not counted")


def _probe_rows(table: _Table, speed: Speed, contexts: float, kept: float, *, here: bool) -> None:
    units = kept / 4 / contexts
    basis = "measured here" if here else "measured on this machine, not on the one planned for"
    fits = units * contexts
    table.add(
        "probe", "memory", kept * PROBE_MEMORY, "B", f"{PROBE_MEMORY} x activations in memory"
    )
    table.add("probe", "time", fits * speed.probe, "s", f"{basis}: per unit and example")
    over_words = units * speed.permutation + fits * speed.words
    table.add("over words", "time", over_words, "s", f"{basis}: permutation, held out, selectivity")
