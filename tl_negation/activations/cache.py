"""Activations that somebody already holds: the caches of TransformerLens' ``run_with_cache``."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from reprlib import repr as short
from typing import Any

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import instance, nearest, sequence, validated
from ..corpus import ABSENT, COLUMNS, Contexts, Labels
from ..models import (
    SITES,
    Site,
    TransformerLensModel,
    check_site_names,
    describe_model,
    has_float64,
    select_sites,
    site_name,
)
from .activations import Activations
from .layers import chosen_layers

_HOOK = re.compile(r"blocks\.(\d+)\.(.+)")


@validated
def hook_names(
    model: TransformerLensModel,
    sites: Iterable[str] = ("q", "k", "v"),
    *,
    layers: Iterable[int] | None = None,
) -> list[str]:
    """List the hooks of sites, for the ``names_filter`` of ``run_with_cache``.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    sites : iterable of str
        Names as in :func:`tl_negation.collect`.
    layers : iterable of int, optional
        All layers if not given.

    Returns
    -------
    list of str
        Layer by layer: ``"blocks.0.attn.hook_q"`` ...

    Raises
    ------
    TypeError
        Not a TransformerLens model; sites given as a bare string.
    ValueError
        An unknown site or layer, or a site that the model does not have.

    Examples
    --------
    >>> tln.hook_names(model, ("q", "mlp_pre"), layers=[2])
    ['blocks.2.attn.hook_q', 'blocks.2.mlp.hook_pre']
    """
    chosen = select_sites(model, sites)
    numbers = chosen_layers(model.cfg.n_layers, layers)
    return [site.hook_name(layer) for layer in numbers for site in chosen]


@validated
def from_cache(
    cache: Any,  # an ActivationCache, a dict, or several; _batches says more
    contexts: Contexts | None = None,
    *,
    labels: Any = None,
    words: Sequence[str] | None = None,
    pos: Any = None,
    sites: Iterable[str] | None = None,
    layers: Iterable[int] | None = None,
) -> Activations:
    """Take the activations that ``model.run_with_cache(tokens, names_filter=...)`` returned.

    Parameters
    ----------
    cache : ActivationCache or mapping of str to Tensor, or several of them
        Hook name -> ``[example, pos, head, d_head]`` or ``[example, pos, unit]``, as
        TransformerLens gives them; on any device, of any precision. Several caches are batches, in
        the order of the contexts; they may come from a generator, so that only one is in memory at
        a time.
    contexts : Contexts, optional
        What was run, a row per example of the caches.
    labels : sequence of int
        Instead of contexts: 1 or 0 for each example. Such activations can be probed, but not shown
        in text or intervened on, because nobody knows their tokens.
    words : sequence of str
        With labels: the word type of each example, for tests over words.
    pos : int or sequence of int, optional
        Position to take, in all examples or in each; negative ones count from the end. By default
        the target's, ``contexts.before``, if the caches hold whole windows; a cache that holds one
        position (``pos_slice=90``) needs none.
    sites : iterable of str, optional
        Names as in :func:`tl_negation.collect`; if not given, those of
        :func:`tl_negation.sites_of` that the first cache holds.
    layers : iterable of int, optional
        If not given, those of which the first cache holds something.

    Returns
    -------
    Activations
        What :func:`tl_negation.collect` would give for the same contexts and model. Float32, on the
        caches' device (on the CPU where that has no float64).

    Raises
    ------
    TypeError
        Something else than caches; labels or positions of another kind.
    ValueError
        A hook that a cache lacks, named; a cache without a hook of a site; another number of
        examples than contexts or labels; a position that is not there, or that has to be named;
        neither contexts nor labels, or both.

    Notes
    -----
    ``run_with_cache`` keeps every position of the wanted hooks until the batch ends, and runs the
    whole model; :func:`tl_negation.collect` keeps the target alone and stops after the last hook.
    Whether the cache is of these contexts cannot be seen from it: give the tokens
    ``contexts.tokens[:, : contexts.before + 1]`` to the model. Examples of unequal length are run
    part by part, ``parts = contexts.by_length()``; the caches are then those of
    ``contexts.take(torch.cat([rows for rows, _ in parts]))``.

    Examples
    --------
    >>> window = contexts.tokens[:, : contexts.before + 1]
    >>> _, cache = model.run_with_cache(window, names_filter=tln.hook_names(model, ("q", "k")))
    >>> tln.from_cache(cache, contexts)
    Activations(3 layers x 203 examples x 40 units (q 20, k 20), ...)
    """
    contexts = _contexts(contexts, labels, words)
    at = _positions(pos, contexts)
    values: Tensor | None = None
    chosen: tuple[Site, ...] = ()
    numbers: tuple[int, ...] = ()
    about: Mapping[str, Any] = {}
    done = 0
    for batch in _batches(cache):
        if values is None:
            chosen, numbers = _sites(batch, sites, layers)
            about = _about(batch) | {"hooks": [site.hook for site in chosen]}
            device = batch[chosen[0].hook_name(numbers[0])].device
            shape = (len(numbers), len(contexts), sum(site.width for site in chosen))
            values = torch.empty(
                shape, dtype=torch.float32, device=device if has_float64(device) else "cpu"
            )
        rows = slice(done, done + _examples(batch, chosen, numbers))
        if rows.stop <= len(contexts):
            _fill(values[:, rows], batch, chosen, numbers, at, rows, contexts)
        done = rows.stop
    if values is None:
        raise ValueError("no cache was given; give at least one")
    if done != len(contexts):
        raise ValueError(
            f"the caches hold {done} examples, and there are {len(contexts)} "
            f"{'contexts' if labels is None else 'labels'}: give one for each"
        )
    return Activations(values, chosen, numbers, contexts, about)


def _contexts(contexts: Contexts | None, labels: Any, words: Sequence[str] | None) -> Contexts:
    """Give the contexts, or make some of labels: they hold no tokens."""
    if (contexts is None) == (labels is None):
        raise ValueError(
            "give the contexts that were run, or else labels=[1, 0, ...] for the examples of the "
            f"caches; got {'neither' if labels is None else 'both'}"
        )
    if contexts is not None:
        if words is not None:
            raise ValueError("words come with labels; contexts have words of their own")
        return contexts
    found = _whole_numbers("labels", labels)
    if not set(found.tolist()) <= {0, 1} or len(found) == 0:
        raise ValueError(f"labels are 1 or 0, one for each example; got {short(found.tolist())}")
    about = Labels("labels", ("label 0", "label 1"))
    names = list(about.groups)
    groups: list[str] = [names[label] for label in found.tolist()]
    if words is not None and len(words) != len(found):
        raise ValueError(f"a word for each of {len(found)} labels; got {len(words)}")
    types = groups if words is None else list(map(str, words))
    rows = pd.DataFrame(0, index=range(len(found)), columns=COLUMNS).assign(
        label=found, group=groups, word=types, surface="", token="", passage="",
        in_boilerplate=False, document=np.arange(len(found)),
    )  # fmt: skip
    tokens = torch.full((len(found), 1), ABSENT, dtype=torch.int64, device="cpu")
    source = {"source": "labels", "tokens": 0, "contrast": about.to_dict(), "dropped": {}}
    return Contexts(tokens, rows, 0, about, source)


def _whole_numbers(name: str, given: Any) -> Int[np.ndarray, " number"]:
    sequence(name, given)
    given = given.cpu().numpy() if isinstance(given, Tensor) else np.asarray(list(given))
    if given.dtype == bool:
        given = given.astype(np.int64)
    if given.ndim != 1 or (len(given) and not np.issubdtype(given.dtype, np.integer)):
        raise TypeError(f"{name} must be whole numbers in a list; got {short(given)}")
    return given.astype(np.int64)


def _positions(pos: Any, contexts: Contexts) -> int | Int[np.ndarray, " example"] | None:
    if pos is None or (isinstance(pos, (int, np.integer)) and not isinstance(pos, bool)):
        return pos if pos is None else int(pos)
    found = _whole_numbers("pos", pos)
    if len(found) != len(contexts):
        raise ValueError(
            f"pos is one position, or one for each of {len(contexts)} examples; got {len(found)}"
        )
    return found


def _batches(cache: Any) -> Iterator[dict[str, Tensor]]:
    """Yield each cache as a mapping whose tensors have a dimension of examples."""
    if isinstance(cache, Mapping) or hasattr(cache, "cache_dict"):
        cache = [cache]
    if not isinstance(cache, Iterable):
        raise TypeError(f"{_KIND}; got a {type(cache).__name__}")
    for one in cache:
        held = getattr(one, "cache_dict", one)
        if not isinstance(held, Mapping):
            raise TypeError(f"{_KIND}; got a {type(one).__name__} among them")
        single = not getattr(one, "has_batch_dim", True)
        tensors = {name: act[None] if single else act for name, act in held.items()}
        yield _Batch(tensors, getattr(one, "model", None))


_KIND = "cache is what model.run_with_cache returns, or a list of such caches"


class _Batch(dict[str, Tensor]):
    """The tensors of a cache, and the model that made them if that is known."""

    def __init__(self, tensors: Mapping[str, Tensor], model: Any):
        super().__init__(tensors)
        self.model = model


def _about(batch: Mapping[str, Tensor]) -> dict[str, Any]:
    model = getattr(batch, "model", None)
    return describe_model(model) if model is not None else {"name": "unnamed model"}


def _sites(
    batch: Mapping[str, Tensor], names: Iterable[str] | None, layers: Iterable[int] | None
) -> tuple[tuple[Site, ...], tuple[int, ...]]:
    """Sites and layers to take, from what the first cache holds."""
    found: dict[str, set[int]] = {}
    for hook in batch:
        place = _HOOK.fullmatch(hook)
        if place is not None:
            found.setdefault(site_name(place[2]), set()).add(int(place[1]))
    if names is None:
        names = [name for name in SITES if name in found]
        if not names:
            raise ValueError(
                f"the cache holds no hook of a site; it holds {short(list(batch))}: give "
                "run_with_cache names_filter=hook_names(model, ('q', 'k', 'v'))"
            )
    names = check_site_names(names)
    held = sorted(set().union(*(found.get(name, set()) for name in names)))
    if not held:
        raise ValueError(
            f"the cache holds no hook of {', '.join(names)}; it holds {', '.join(found)}"
            f"{nearest(names[0], found)}"
        )
    numbers = tuple(held) if layers is None else chosen_layers(max(held) + 1, layers)
    return tuple(_site(batch, name, numbers) for name in names), numbers


def _site(batch: Mapping[str, Tensor], name: str, layers: Sequence[int]) -> Site:
    """Make a site of what its first hook holds."""
    record = SITES.get(name)
    hook = f"blocks.{{layer}}.{record.hook if record else name}"
    act = _held(batch, hook.format(layer=layers[0]))
    heads = record.module == "attn" if record else act.ndim > 3
    per_unit = act.shape[-2:] if heads else (1, act.shape[-1])
    module = record.module if record else "attn" if heads else "resid"
    return Site(name, hook, module, *map(int, per_unit))


def _held(batch: Mapping[str, Tensor], hook: str) -> Tensor:
    if hook not in batch:
        raise ValueError(
            f"the cache does not hold {hook}; run with names_filter=hook_names(model, sites), or "
            "leave out that site or layer"
        )
    instance(Tensor)(hook, batch[hook])
    return batch[hook]


def _examples(batch: Mapping[str, Tensor], sites: Sequence[Site], layers: Sequence[int]) -> int:
    return len(_held(batch, sites[0].hook_name(layers[0])))


def _fill(
    into: Float[Tensor, "layer example unit"],
    batch: Mapping[str, Tensor],
    sites: Sequence[Site],
    layers: Sequence[int],
    at: int | Int[np.ndarray, " example"] | None,
    rows: slice,
    contexts: Contexts,
) -> None:
    """Copy the one position of a batch, head after head, to the columns of its sites."""
    widths = [site.width for site in sites]
    chosen = at if at is None or isinstance(at, int) else at[rows]
    for row, layer in zip(into, layers, strict=True):
        for site, columns in zip(sites, row.split(widths, dim=-1), strict=True):
            hook = site.hook_name(layer)
            act = _by_head(_held(batch, hook), site, hook, len(into[0]))
            target = _at(act, chosen, hook, contexts, rows)
            columns.copy_(rearrange(target, "example head d_head -> example (head d_head)"))


def _by_head(
    act: Tensor, site: Site, hook: str, examples: int
) -> Float[Tensor, "example pos head d_head"]:
    """Give an activation the four dimensions of separated heads."""
    shape = (site.heads, site.d_head)
    if site.heads == 1 and act.ndim == 3 and act.shape[-1] == site.d_head:
        act = rearrange(act, "example pos d_head -> example pos 1 d_head")
    if act.ndim != 4 or tuple(act.shape[2:]) != shape or len(act) != examples:
        raise ValueError(
            f"{hook} must be [example, pos, head, d_head] or [example, pos, unit] with {examples} "
            f"examples and {site.heads} x {site.d_head} units, as in the first layer and batch; "
            f"got {tuple(act.shape)}"
        )
    return act


def _at(
    act: Float[Tensor, "example pos head d_head"],
    at: int | Int[np.ndarray, " example"] | None,
    hook: str,
    contexts: Contexts,
    rows: slice,
) -> Float[Tensor, "example head d_head"]:
    """Take the position of every example."""
    length = act.shape[1]
    if at is None:
        at = (
            0
            if length == 1
            else _target(length, hook, contexts.take(np.arange(len(contexts))[rows]))
        )
    wanted = np.full(len(act), at) if isinstance(at, int) else at
    outside = wanted[(wanted < -length) | (wanted >= length)]
    if len(outside):
        raise ValueError(f"{hook} holds {length} positions; got pos {int(outside[0])}")
    return act[torch.arange(len(act), device="cpu"), torch.from_numpy(wanted % length)]


def _target(length: int, hook: str, contexts: Contexts) -> int:
    """Find the target's position in windows of this many tokens, which begin alike."""
    firsts, lasts = contexts.spans.unbind(dim=1)
    first = int(firsts[0])
    at = contexts.before - first
    if not (firsts == first).all() or not at < length <= int(lasts.min()) - first:
        lengths = sorted({contexts.before + 1 - f for f in firsts.tolist()})
        raise ValueError(
            f"{hook} holds {length} positions, but up to the target the windows have "
            f"{', '.join(map(str, lengths))}: name the position, pos=90 or one for each example "
            "(pos=-1 is the last); windows of unequal length are run by contexts.by_length(), and "
            "then contexts.take(rows) has their order"
        )
    return at
