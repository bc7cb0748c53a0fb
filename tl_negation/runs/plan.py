"""Bytes and hours of a scan before it is run, for a model of any size."""

import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import torch

from .._shared import Count, TokenCount, nearest, real, validated
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
#: Data type of the weights -> bytes of one.
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Memory of the probe, in sizes of the activations: ``python tests/benchmarks/bench_probe.py``.
PROBE_MEMORY = 1.4
#: Peak of the resident memory over ``_working_bytes``: SmolLM2 in batches of 16 x 91 tokens on a
#: CPU needed 2.5 and 2.8 times as much in two runs; freed memory does not go back at once.
WORKING_OVERHEAD = 2.5
#: Bytes of a row of ``Contexts.examples``: ``memory_usage(deep=True).sum() / len(examples)`` on
#: builtin:python-docs with a window of 101 tokens.
EXAMPLE_BYTES = 520
_FORWARD = (
    "up to the last hook: 2 per weight and token, 4 tokens^2 n_heads d_head a layer for the "
    "scores (Hoffmann et al. 2022, appendix F)"
)
_WORKING = (
    f"{WORKING_OVERHEAD} x the larger of a layer's attention and MLP, every intermediate result "
    "counted once"
)
_LOADING = "on the host: Hugging Face's copy beside HookedTransformer's"


def positive(name: str, value: Any) -> None:
    """Raise unless the value is a finite number above 0."""
    real(name, value)
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0 and finite; got {value!r}")


Positive = Annotated[int | float, positive]


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
        """Keep at most this many of each class."""
        zeros, ones = (min(n, float(per_class)) for n in self.per_class)
        return self._replace(per_class=(zeros, ones), basis=f"at most {per_class:,} of each class")


@validated
def plan(
    model: TransformerLensModel | ModelSizes | str | Path,
    *,
    tokens: Positive | None = None,
    text: Text | Corpus | str | Path | Sequence[Any] | None = None,
    tokenizer: str | Path | None = None,
    sites: Sequence[str] = ("q", "k", "v"),
    before: TokenCount = 90,
    per_class: Count | None = None,
    batch_size: Count | None = None,
    dtype: str = "float32",
    device: str | None = None,
    hardware: str | None = None,
    flops: Positive | None = None,
    device_memory: Positive | None = None,
    devices: Count = 1,
    utilisation: Positive = UTILISATION,
) -> pd.DataFrame:
    """Predict bytes and hours of a scan of a text of this many tokens.

    Parameters
    ----------
    model
        A loaded model, a name (only its configuration is read) or a
        :class:`~tl_negation.ModelSizes`.
    tokens
        Of the text to be scanned; those of ``text`` if not given.
    text
        A text (or source) to count the words in, for which a tokenizer is needed. Without it, the
        rate measured on three texts is assumed, and the table says so.
    tokenizer
        Name of the model whose tokenizer splits ``text``; the model's own if not given. Sizes
        given by hand have no tokenizer.
    sites, batch_size
        As in :func:`tl_negation.collect`.
    before
        Tokens before the target, as in :func:`tl_negation.find_contexts`.
    per_class
        Contexts drawn of each class, as in :func:`tl_negation.scan`.
    dtype
        Of the weights: ``"float32"``, ``"bfloat16"`` or ``"float16"``. Activations are float32.
    device
        The device of this machine that is measured; CUDA if there is any, otherwise the CPU.
    hardware
        Plan for other devices instead, by their published peak figures: ``"h100"`` or another name
        in ``tl_negation.runs.HARDWARE``.
    flops, device_memory
        The same by your own figures: peak floating-point operations per second of a device, and
        its bytes.
    devices
        How many of them.
    utilisation
        Share of the peak that a pass is assumed to reach; only used with ``hardware`` and
        ``flops``.

    Returns
    -------
    DataFrame
        Columns ``stage, quantity, value, unit, basis``: a row per predicted quantity, and where
        the number comes from (formula, measurement, published figure).

    Raises
    ------
    TypeError
        A number that is not one; a model that cannot be one.
    ValueError
        Neither ``tokens`` nor ``text``; a number outside its range; a site, hardware or data type
        that does not exist; a model whose layers these formulas do not describe.
    OSError
        The model's configuration cannot be loaded.

    Notes
    -----
    Without ``hardware`` and ``flops``, this machine is measured for half a minute: one layer of
    the model's shape with random weights, and the probe and the tests over words on random
    numbers. The probe and these tests are always measured here, whatever is planned for. A model
    that does not fit into one device is spread over several, of which one computes at a time
    (TransformerLens's ``n_devices``): it then takes that many of them to keep one busy.

    Examples
    --------
    >>> table = tln.plan(model, text=text, before=6, per_class=50, hardware="h100")
    >>> row = table.set_index("quantity").loc["all layers"]
    >>> print(row["value"], row["unit"], "=", row["basis"])  # 100 contexts, 180 units
    72000.0 B = contexts x units x 4
    """
    check_site_names(sites)
    _check(dtype, utilisation)
    assumed = _assumed(tokens) if text is None else None  # raises if neither was given
    peak = _peak(hardware, flops, dtype, utilisation)
    here = peak is None
    sizes = sizes_of(model)
    per_context = sizes.forward_flops(before + 1, sites)
    found = assumed or _counted(text, _tokenizer(model, tokenizer), tokens, before)
    run = found if per_class is None else found.sampled(per_class)
    where = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    batch = batch_size or START_BATCH.get(where.type if here else "cuda", START_BATCH["cpu"])
    speed = machine.calibrate(max(100, round(run.contexts)), run.words, where)
    if peak is None:
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


class _Table:
    """Rows of the plan."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, str, str]] = []

    def add(self, stage: str, quantity: str, value: int | float, unit: str, basis: str) -> None:
        self.rows.append((stage, quantity, float(value), unit, basis))

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def _check(dtype: str, utilisation: int | float) -> None:
    if dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise ValueError(f"dtype must be one of {known}; got {dtype!r}{nearest(dtype, DTYPES)}")
    if utilisation > 1:
        raise ValueError(f"utilisation is a share of the peak, at most 1; got {utilisation!r}")


def _peak(
    hardware: str | None, flops: int | float | None, dtype: str, utilisation: int | float
) -> tuple[float, str] | None:
    """Operations a second that another machine's device is taken to do, and why; None: this one."""
    if hardware is not None and hardware not in HARDWARE:
        known = ", ".join(HARDWARE)
        cure = nearest(hardware, HARDWARE)
        raise ValueError(f"unknown hardware {hardware!r}; there are {known}{cure}")
    assumed = f"{utilisation:.0%} of the peak (assumed)"
    if flops is not None:
        return flops * utilisation, f"{assumed}; peak as given, {flops:.3g} FLOP/s"
    if hardware is None:
        return None
    known = HARDWARE[hardware]
    peak = known.flops[dtype]
    return peak * utilisation, f"{assumed}; {known.name}, {dtype}: {peak:.4g} FLOP/s published"


def _assumed(tokens: int | float | None) -> _Found:
    """Contexts at the rate of the measured texts."""
    if tokens is None:
        raise ValueError("give the number of tokens to plan for, or a text, or both")
    zeros, ones = (sum(n for _, label, n in MEASURED if label == wanted) for wanted in (0, 1))
    scale = tokens / MEASURED_TOKENS
    rate = 1000 * (zeros + ones) / MEASURED_TOKENS
    basis = f"{rate:.1f} per 1,000 tokens, as in the three texts of plan.MEASURED"
    return _Found(tokens, (zeros * scale, ones * scale), MEASURED, basis)


def _counted(text: Any, tokenizer: Any, tokens: int | float | None, before: int) -> _Found:
    """Contexts of a text, or of a longer one with the same words."""
    text = load_text(text)
    start = time.perf_counter()
    contexts = find_contexts(text, tokenizer, before=before)
    seconds = time.perf_counter() - start
    counted = contexts.source["tokens"]
    scale = 1.0 if tokens is None else tokens / counted
    rate = 1000 * len(contexts) / counted
    basis = f"{rate:.1f} per 1,000 tokens, as in {text.source} ({counted:,} tokens)"
    by_label = contexts.examples["label"].value_counts()
    zeros, ones = (float(by_label[label]) * scale for label in (0, 1))
    return _Found(counted * scale, (zeros, ones), _words(contexts), basis, seconds * scale)


def _words(contexts: Contexts) -> Sequence[tuple[str, int, int | float]]:
    """Words of the text for the calibration; the measured ones where the text has too few."""
    counts = contexts.examples.groupby(["word", "label"]).size().reset_index(name="n")
    words = [
        (str(word), int(label), float(n))
        for word, label, n in zip(counts["word"], counts["label"], counts["n"], strict=True)
    ]
    few = any(sum(label == wanted for _, label, _ in words) < 3 for wanted in (0, 1))
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
    """Bytes of a device; None if it is described by its speed only."""
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
    """Count the units and what they weigh; return the bytes of all activations."""
    sites = tuple(sites)
    width = sum(map(sizes.width, sites))
    units = sizes.n_layers * width
    kept = contexts * units * 4
    table.add(
        "activations", "units", units, "", f"{sizes.n_layers} layers x {width:,} of {sizes.name}"
    )
    table.add("activations", "all layers", kept, "B", "contexts x units x 4")
    table.add("activations", "one layer", kept / sizes.n_layers, "B", "what a stored probe holds")
    columns = unit_statistics(
        torch.tensor([[0.0], [2.0], [1.0], [3.0]], device="cpu"),
        torch.tensor([0, 0, 1, 1], device="cpu"),
    )
    row = 1 + sum(column.element_size() for column in columns.values())
    table.add("result", "by example", units * row, "B", f"{row} bytes a unit")
    over_words = 8 * len(WORD_COLUMNS)
    table.add("result", "over words", units * over_words, "B", f"at most {over_words} bytes more")
    return kept


def _device_rows(table: _Table, needed: float, memory: int | float | None, devices: int) -> int:
    """Say how many devices hold one model; return how many models compute at the same time."""
    if memory is None:
        each, basis = 1, "memory of a device not given: assumed to be enough"
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
