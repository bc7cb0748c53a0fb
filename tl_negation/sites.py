"""Where in a transformer a unit sits: query, key, value or MLP; which head, which index.

Everything is read off ``model.cfg`` and ``model.hook_dict``, which the two model classes of
TransformerLens have in common, so neither is imported here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_HOOKS = {
    "q": "blocks.{layer}.attn.hook_q",
    "k": "blocks.{layer}.attn.hook_k",
    "v": "blocks.{layer}.attn.hook_v",
    "mlp_pre": "blocks.{layer}.mlp.hook_pre",
}


@dataclass(frozen=True)
class Site:
    """A kind of activation that every layer has: the queries, the keys, ....

    Parameters
    ----------
    name : str
        ``"q"``, ``"k"``, ``"v"`` or ``"mlp_pre"``.
    hook : str
        Name of the TransformerLens hook, with ``{layer}`` where the layer's number goes.
    module : str
        ``"attn"`` or ``"mlp"``: the family of a correction within a layer (the reference
        divides 0.05 by the 3,840 units of ``c_attn``, and by the 5,120 of ``c_fc``).
    heads : int
        Number of heads, 1 where the activation is not separated into heads.
    d_head : int
        Units per head.

    Notes
    -----
    Queries and keys are taken before a rotary embedding and before a query/key norm. In a
    gated MLP ``mlp_pre`` is the gate's branch.
    """

    name: str
    hook: str
    module: str
    heads: int
    d_head: int

    @property
    def width(self) -> int:
        """Units of this site in one layer: ``heads * d_head``."""
        return self.heads * self.d_head

    def hook_name(self, layer: int) -> str:
        """Name of the hook in ``layer``, for instance ``"blocks.3.attn.hook_q"``."""
        return self.hook.format(layer=layer)


def require_transformer_lens(model: Any) -> None:
    """Refuse an object that is no TransformerLens model.

    Raises
    ------
    TypeError
        ``model`` has no ``cfg``, ``hook_dict`` or ``hooks``; a bare Hugging Face model has not.
    """
    missing = [name for name in ("cfg", "hook_dict", "hooks") if not hasattr(model, name)]
    if missing:
        raise TypeError(
            f"a TransformerLens model is needed (HookedTransformer or TransformerBridge); "
            f"{type(model).__name__} has no {', '.join(missing)}. Use "
            f"tl_negation.load_model(name), or wrap a Hugging Face model with "
            f"TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=tokenizer)"
        )


def sites_of(model: Any) -> dict[str, Site]:
    """List the sites whose hooks exist in at least one layer of the model.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    dict of str to Site
        In the order q, k, v, mlp_pre. With grouped-query attention k and v are narrower
        than q.

    Raises
    ------
    TypeError
        ``model`` is no TransformerLens model.
    """
    require_transformer_lens(model)
    hooks, layers = model.hook_dict, range(model.cfg.n_layers)
    return {
        name: Site(name, hook, "mlp" if name == "mlp_pre" else "attn", *_shape(model.cfg, name))
        for name, hook in _HOOKS.items()
        if any(hook.format(layer=layer) in hooks for layer in layers)
    }


def _shape(cfg: Any, name: str) -> tuple[int, int]:
    if name == "mlp_pre":
        return 1, cfg.d_mlp
    grouped = getattr(cfg, "n_key_value_heads", None)
    ungrouped = getattr(cfg, "ungroup_grouped_query_attention", False)
    if name == "q" or grouped is None or ungrouped:
        return cfg.n_heads, cfg.d_head
    return grouped, cfg.d_head


def select_sites(model: Any, names: Iterable[str]) -> tuple[Site, ...]:
    """Look up sites by name.

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
        ``names`` is a bare string, or ``model`` is no TransformerLens model.
    ValueError
        A site the model has not, a site named twice, or no site at all.
    """
    if isinstance(names, str):
        raise TypeError(f'sites must be a sequence of names, got the string {names!r}; pass ("q",)')
    names = tuple(names)
    known = sites_of(model)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown site {name!r}; this model has {', '.join(known)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each site once; got {', '.join(repeated)} more than once in {names}")
    if not names:
        raise ValueError(f"no site was asked for; this model has {', '.join(known)}")
    return tuple(known[name] for name in names)


def locate(sites: Sequence[Site], unit: int) -> tuple[Site, int, int]:
    """Find which site, head and index a column of the side-by-side layout is.

    Parameters
    ----------
    sites : sequence of Site
        In the order in which their columns lie side by side.
    unit : int
        Column, from 0.

    Returns
    -------
    site : Site
    head : int
        ``column within the site // d_head``; 0 where the site has no heads.
    index : int
        ``column within the site % d_head``.

    Raises
    ------
    IndexError
        There is no such column.
    """
    column = unit
    for site in sites:
        if 0 <= column < site.width:
            return site, column // site.d_head, column % site.d_head
        column -= site.width
    total = sum(site.width for site in sites)
    raise IndexError(f"unit must be between 0 and {total - 1}, got {unit}")
