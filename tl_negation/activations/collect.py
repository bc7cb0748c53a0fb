"""One pass of the model over the contexts; only the target position is kept.

The tokens after the target are not computed (in a causal model they cannot change it), nor is
anything after the last hook that was asked for (``forward.py``).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import LOG, current, expanded, is_plain, progress_bar, table, validated
from ..corpus import ABSENT, Contexts
from ..models import (
    SITES,
    UNIT,
    Site,
    TransformerLensModel,
    alone_with,
    check_model,
    describe_model,
    identity_of,
    is_hook,
    is_stock,
    select_sites,
    token_device,
    values_device,
)
from . import store as _store
from .activations import Activations
from .features import Encoder, Features, encoders_of, identity_of_encoders
from .forward import run
from .layers import chosen_layers
from .writers import target_writers, window_writers

#: Batch sizes to start from; an out-of-memory error halves them. On two CPU cores 16 contexts
#: of 91 tokens were fastest or within the noise of it (8, 16 and 32 tried, GPT-2's small shape).
START_BATCH = {"cpu": 16, "cuda": 128}


@validated
def collect(
    model: TransformerLensModel,
    contexts: Contexts,
    sites: Iterable[str] = ("q", "k", "v"),
    *,
    layers: Iterable[int] | None = None,
    features: Features = None,
    batch_size: int | None = None,
    store: str | Path | None = None,
    progress: bool = True,
) -> Activations:
    """Run the contexts through the model and keep the target's activations.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
        In evaluation mode.
    contexts : Contexts
        Found with this model's tokenizer. The windows are run as they are: whether they begin
        with BOS was decided by :func:`tl_negation.find_contexts`.
    sites : iterable of str
        Names: see :func:`tl_negation.sites_of`.
    layers : iterable of int, optional
        All layers if not given; kept in the order of the network.
    features : mapping of str to (str, callable), optional
        Name -> a site and what encodes it: ``{"sae": ("resid_post", sae.encode)}``. The encoder
        takes the site's activations at the target, ``[example, unit]`` in float32 (heads side by
        side), and returns ``[example, feature]``; a dict of layer numbers gives every layer its
        own. Features are sites of that name, behind the others.
    batch_size : int, optional
        Contexts per forward pass to begin with, chosen for the device if not given. A batch
        that does not fit into memory is halved and run again.
    store : str or Path, optional
        Directory to keep the activations in instead of memory. After a crash, the same call goes
        on where it stopped, with the same batches and so the same values. A finished store is
        opened without running the model; :func:`load_activations` does not even need the model.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Activations
        ``examples x units x 4`` bytes per layer. These are values that the model computes on its
        way; that a unit tells two words apart does not show that the model uses it to do so.

    Raises
    ------
    TypeError
        Not a TransformerLens model; sites given as a bare string; features of another form.
    ValueError
        An unknown site, or one that the model does not have; a layer that does not exist; features
        with the name of a site, or whose encoder gives another shape or lacks a layer. The
        model is in training mode, its weights are in another basis, it lacks a hook, or its
        context is shorter than the window. The contexts were made with another tokenizer. A store
        was asked for, and the model has hooks or replaced functions, or weights that are not in
        memory, or an encoder is no method of a module.
    RuntimeError
        A hook did not fire or gave another shape than the configuration says; a single context
        does not fit into memory.
    FileExistsError
        The store holds something else (the differences are named), or the directory is not a
        store.
    BlockingIOError
        Another run is writing to the store.
    OSError
        The disk of the store is full.

    Notes
    -----
    A batch of any size gives the same numbers up to float rounding (about 1e-6).

    A model in half precision rounds its activations before they are kept; everything after that is
    float32 and float64. For a tiny GPT-2, the z of all units correlates above 0.999 (bfloat16) and
    above 0.99999 (float16) with the z from the model in float32
    (``tests/models/test_devices.py``).

    A store's values are a memory map on the CPU, whatever the device of the model. A layer is one
    stretch of the file; its pages are read as they are needed and dropped when memory is short.
    Writing into them changes the memory of this process only. The store recognises the contexts by
    a hash of their tokens and labels, and the model by a hash over every byte of its weights, its
    settings and the numbers that its modules hold. Hooks and replaced functions cannot be
    recognised, so a model that has any is collected into memory only.

    With hooks of your own in the model, or modules of your own, whole windows are run and the
    values are those that ``run_with_cache`` holds under the same hooks. Without them, the tokens
    after the target are left out, and the last modules see the target alone, which gives the same
    values in less time. Windows hold no padding, whatever the tokenizer's padding side. Calls from
    several threads on one model wait for each other.

    Examples
    --------
    >>> tln.collect(model, contexts, sites=("q", "mlp_pre"), layers=[0, 2], progress=False)
    Activations(2 layers x 203 examples x 100 units (q 20, mlp_pre 80), ...)
    """
    chosen = select_sites(model, sites)
    numbers = chosen_layers(model.cfg.n_layers, layers)
    made, encoders = encoders_of(model, features, numbers)
    with alone_with(model):  # the hooks of another thread's pass would pass for somebody's own
        stock = is_stock(model)
    # A hook of somebody's own may count positions from the end, or look at all of them.
    window = contexts.before + 1 if stock else contexts.tokens.shape[1]
    read = min(window, contexts.longest)
    check_model(model, (*chosen, *made), read, numbers)
    check_tokens(model, contexts)
    chosen = (*chosen, *made)
    device = token_device(model)
    size = START_BATCH.get(device.type, START_BATCH["cpu"]) if batch_size is None else batch_size
    _check_batch_size(size)
    tokens = contexts.tokens[:, :window]
    about = describe_model(model) | {"hooks": [site.hook for site in chosen]}
    if encoders:
        about["features"] = {name: encoder.source.name for name, encoder in encoders.items()}
    if store is not None:
        with alone_with(model):
            wanted = _wanted(model, chosen, numbers, contexts, size, about, encoders)
        into = _store.Store(expanded(store), *wanted, size)
        return _collect_into(into, model, tokens, chosen, numbers, contexts, encoders, progress)
    units, processes = sum(site.width for site in chosen), current()
    part = tokens[processes.share(len(tokens), size)].to(device)
    there = values_device(model)
    shape = (len(numbers), len(part), units)
    values = torch.full(shape, torch.nan, dtype=torch.float32, device=there)
    writers = target_writers(values, chosen, numbers, encoders)
    with progress_bar(total=len(part), desc="contexts", disable=not progress) as bar:
        run(model, part, writers, size, bar.update, target=contexts.before)
    if processes.count > 1:
        by_example = rearrange(values, "layer example unit -> example layer unit")
        by_example = processes.join(by_example, len(tokens), size)
        values = rearrange(by_example, "example layer unit -> layer example unit").contiguous()
    return Activations(values, chosen, numbers, contexts, about)


@validated
def load_activations(store: str | Path, *, verify: bool = True) -> Activations:
    """Open the activations that :func:`collect` kept in a store, without the model.

    Parameters
    ----------
    store : str or Path
        The directory.
    verify : bool
        Read all values once and compare them with the SHA-256 that was recorded as they were
        written. Without it only the other files are compared, which takes no time.

    Returns
    -------
    Activations
        ``values`` is a memory map on the CPU, as :func:`collect` describes.

    Raises
    ------
    FileNotFoundError
        The directory is not a store.
    ValueError
        The store is unfinished, damaged, or of another version.

    Examples
    --------
    >>> written = tln.collect(model, contexts, layers=[1], store="acts", progress=False)
    >>> read = tln.load_activations("acts")
    >>> read
    Activations(1 layer x 203 examples x 60 units (q 20, k 20, v 20), ...)
    >>> torch.equal(read.values, written.values)
    True
    """
    store = expanded(store)
    holds, about, contexts = _store.read(store)
    if verify:
        _store.check_values(store)
    sites = tuple(Site(**site) for site in holds["sites"])
    layers = tuple(holds["layers"])
    return Activations(_store.open_values(store), sites, layers, contexts, about["model"])


def _collect_into(
    store: _store.Store,
    model: TransformerLensModel,
    tokens: Int[Tensor, "example pos"],
    sites: tuple[Site, ...],
    layers: tuple[int, ...],
    contexts: Contexts,
    encoders: Mapping[str, Encoder],
    progress: bool,
) -> Activations:
    finished, processes = _store.is_finished(store.folder, store.wanted), current()
    processes.wait()  # before the main process changes what the others look at
    if not finished:
        with _store.writing(store, contexts) if processes.is_main else nullcontext():
            processes.wait()
            store.resume()
            _fill(store, model, tokens, contexts.before, sites, layers, encoders, progress)
        processes.wait()
    elif processes.is_main:
        _store.check_values(store.folder)
        _store.sweep(store.folder)
    about = _store.about(store.folder)["model"]
    return Activations(_store.open_values(store.folder), sites, layers, contexts, about)


def _fill(
    store: _store.Store,
    model: TransformerLensModel,
    tokens: Int[Tensor, "example pos"],
    target: int,
    sites: Sequence[Site],
    layers: Sequence[int],
    encoders: Mapping[str, Encoder],
    progress: bool,
) -> None:
    """Compute what the store does not hold yet, a stretch at a time in each process."""
    device, step, processes = token_device(model), store.stretch, current()
    shape = (len(layers), step, store.units)
    buffer = torch.empty(shape, dtype=torch.float32, device=values_device(model))
    writers = target_writers(buffer, sites, layers, encoders)
    if store.done:
        LOG.info("going on from the store: %d of %d contexts are there", store.done, len(tokens))
    bar = progress_bar(total=len(tokens), initial=store.done, desc="contexts", disable=not progress)

    def advance(examples: int) -> None:
        bar.update(examples * processes.count)  # the others are about as far

    with bar:
        for done in range(store.done, len(tokens), step * processes.count):
            start = done + step * processes.index
            part = tokens[start : start + step].to(device)
            size = run(model, part, writers, store.batch_size, advance, target=target)
            store.write(start, buffer[:, : len(part)])
            processes.wait()
            end = min(done + step * processes.count, len(tokens))
            if processes.is_main:
                store.advance(end, size)
            bar.update(end - bar.n)


def _wanted(
    model: TransformerLensModel,
    sites: Sequence[Site],
    layers: Sequence[int],
    contexts: Contexts,
    batch_size: int,
    about: Mapping[str, Any],
    encoders: Mapping[str, Encoder],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a store must hold to be the one asked for, and what else its manifest says."""
    wanted = {
        "model": about["name"],
        **identity_of(model),
        "contexts": _store.contexts_sha256(contexts),
        "sites": [asdict(site) for site in sites],
        "layers": list(layers),
        "shape": [len(layers), len(contexts), sum(site.width for site in sites)],
        "dtype": "float32",
        "batch_size": batch_size,
        "device": token_device(model).type,
        "versions": about["versions"],
    }
    if encoders:
        wanted["features"] = identity_of_encoders(encoders)
    return wanted, {"model": dict(about), "contexts": contexts.manifest()}


@validated
def token_activations(
    model: TransformerLensModel,
    contexts: Contexts,
    units: Annotated[pd.DataFrame, table(*UNIT)],
    examples: Sequence[int],
    *,
    features: Features = None,
    batch_size: int = 16,
) -> Float[Tensor, "unit example pos"]:
    """Run a few contexts again and keep a few units at every token, for display.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
        In evaluation mode.
    contexts : Contexts
    units : DataFrame
        A row per unit with ``layer``, ``site``, ``head`` and ``index``.
    examples : sequence of int
        Which contexts, by position.
    features : mapping, optional
        As in :func:`collect`; needed for units that are features.
    batch_size : int
        Contexts per forward pass to begin with, as in :func:`collect`.

    Returns
    -------
    Float[Tensor, "unit example pos"]
        float32, on the device of the model's embedding. The positions include the tokens after
        the target; NaN where a window of examples of unequal length has no token.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`collect`.
    IndexError
        An example, a head or an index that does not exist. (No example at all: ValueError.)

    Examples
    --------
    >>> units = pd.DataFrame({"layer": [1], "site": ["k"], "head": [2], "index": [3]})
    >>> tln.token_activations(model, contexts, units, examples=[0, 7]).shape  # 6 + target + 2
    torch.Size([1, 2, 9])
    """
    numbers = chosen_layers(model.cfg.n_layers, units["layer"].unique().tolist())
    wanted = units["site"].unique().tolist()
    asked = {name: made for name, made in (features or {}).items() if name in wanted}
    made, encoders = encoders_of(model, asked, numbers)
    plain = [name for name in wanted if name not in encoders]
    _check_no_features(plain)
    chosen = (*(select_sites(model, plain) if plain else ()), *made)
    check_model(model, chosen, contexts.longest, numbers)
    check_tokens(model, contexts)
    examples = list(examples)
    if not examples:
        raise ValueError("no example was asked for; name at least one")
    outside = [example for example in examples if not 0 <= example < len(contexts)]
    if outside:
        raise IndexError(f"example must be between 0 and {len(contexts) - 1}, got {outside[0]}")
    tokens = contexts.tokens[examples].to(token_device(model))
    shape, there = (len(units), *tokens.shape), values_device(model)
    values = torch.full(shape, torch.nan, dtype=torch.float32, device=there)
    _check_batch_size(batch_size)
    run(model, tokens, window_writers(values, chosen, units, encoders), batch_size, lambda _: None)
    return values


def _check_no_features(names: Sequence[str]) -> None:
    """Raise where a name is neither a site's nor a hook's, and features may be meant."""
    for name in names:
        if is_plain(name) and name not in SITES and not is_hook(name):
            raise ValueError(
                f"{name!r} is not a site; if these are features, say what makes them: "
                f'features={{"{name}": (site, encode)}}'
            )


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")


def check_tokens(model: TransformerLensModel, contexts: Contexts) -> None:
    """Raise ValueError if there are no tokens, or one is not in the model's vocabulary."""
    if bool((contexts.tokens[:, contexts.before] == ABSENT).any()):
        raise ValueError(
            "these contexts hold labels but no tokens, so the model cannot run them: make them "
            "with examples(table, tokenizer) or find_contexts(text, tokenizer)"
        )
    largest, vocabulary = int(contexts.tokens.max()), model.cfg.d_vocab
    if largest >= vocabulary:
        raise ValueError(
            f"the contexts hold token {largest}, but the model's vocabulary has {vocabulary}: "
            f"they were made with another tokenizer. Call "
            f"find_contexts(text, model.tokenizer) for this model"
        )
