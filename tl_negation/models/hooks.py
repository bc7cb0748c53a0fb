"""The sites that are asked for: those of the table, and any hook of a block.

What the units of a hook are is measured, since no table says it.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import torch
from torch import Tensor

from .devices import token_device
from .passes import alone_with, run_windows
from .protocol import TransformerLensModel
from .sites import SITES, Site, check_site_names, refused_sites, sites_of

#: Two short windows of different length: what changes between them are positions, not units.
LENGTHS = (3, 4)
EXAMPLES = 2


def hook_site(model: TransformerLensModel, hook: str) -> Site:
    """Make the site of a hook that the table of sites does not list.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    hook : str
        Name within a block: ``"ln1.hook_normalized"``.

    Returns
    -------
    Site
        Of that name; with heads if the hook gives ``[example, pos, head, d_head]``.

    Raises
    ------
    ValueError
        No block has the hook, it does not fire, or what it gives are no units: attention patterns
        hold a number for each pair of positions.
    """
    layers = [
        layer for layer in range(model.cfg.n_layers) if f"blocks.{layer}.{hook}" in model.hook_dict
    ]
    if not layers:
        first = "blocks.0."
        known = [name.removeprefix(first) for name in model.hook_dict if name.startswith(first)]
        near = get_close_matches(hook.removeprefix(first), known, n=1)
        raise ValueError(
            f"no block of this model has a hook {hook!r}"
            + (f": did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}")
        )
    shapes = [_shape(model, f"blocks.{layers[0]}.{hook}", length) for length in LENGTHS]
    wanted = [(EXAMPLES, length, *shapes[0][2:]) for length in LENGTHS]
    if shapes != wanted or len(shapes[0]) not in (3, 4):
        raise ValueError(
            f"hook {hook!r} has no units at a position: for {EXAMPLES} windows of "
            f"{LENGTHS[0]} tokens it gives {shapes[0]}, of {LENGTHS[1]} tokens {shapes[1]}, and a "
            "site is [example, pos, unit] or [example, pos, head, d_head]. (An attention pattern "
            "is a number for each pair of positions: see views.head_attention)"
        )
    heads, d_head = (1, *shapes[0][2:])[-2:]
    module = "attn" if len(shapes[0]) == 4 else "mlp" if hook.startswith("mlp.") else "resid"
    return Site(hook, f"blocks.{{layer}}.{hook}", module, heads, d_head)


def _shape(model: TransformerLensModel, name: str, length: int) -> tuple[int, ...]:
    """Shape of what a hook gives for two windows of this many tokens."""
    seen: list[tuple[int, ...]] = []

    def note(act: Tensor, hook: object) -> None:  # noqa: ARG001 - TransformerLens passes it
        seen.append(tuple(act.shape))

    tokens = torch.zeros(EXAMPLES, length, dtype=torch.int64, device=token_device(model))
    with alone_with(model), torch.inference_mode(), model.hooks(fwd_hooks=[(name, note)]):
        run_windows(model, tokens)
    if not seen:
        raise ValueError(f"the model has the hook {name!r} but does not compute it; choose another")
    return seen[0]


def select_sites(model: TransformerLensModel, names: Iterable[str]) -> tuple[Site, ...]:
    """Look up sites by name: those of the table, or any hook within a block.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    names : iterable of str
        The order is kept: it is the order of the columns later on.

    Returns
    -------
    tuple of Site

    Raises
    ------
    TypeError
        ``names`` is a bare string, or ``model`` is not a TransformerLens model.
    ValueError
        As :func:`check_site_names`; a site that this model does not have, with those it has; a
        hook that :func:`hook_site` refuses.
    """
    names, known = check_site_names(names), sites_of(model)
    for name in names:
        if name in SITES and name not in known:
            reason = refused_sites(model).get(name)
            raise ValueError(
                f"this model has no site {name!r}{f' ({reason})' if reason else ''}; it has "
                f"{', '.join(known)}"
            )
    return tuple(known[name] if name in known else hook_site(model, name) for name in names)
