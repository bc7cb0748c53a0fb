"""Where in a transformer a unit sits: attention, MLP, residual stream; which head, which index.

Everything is read off ``model.cfg`` and ``model.hook_dict``, which the two model classes of
TransformerLens have in common, so neither is imported here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .._shared import validated
from .protocol import TransformerLensModel, blocks_of

#: Name -> hook within the block, family of a correction, what it is. The order is that of a block.
_SITES = {
    "resid_pre": ("hook_resid_pre", "resid", "residual stream before the block"),
    "q": ("attn.hook_q", "attn", "query"),
    "k": ("attn.hook_k", "attn", "key"),
    "v": ("attn.hook_v", "attn", "value"),
    "rot_q": ("attn.hook_rot_q", "attn", "query after the rotary embedding of its position"),
    "rot_k": ("attn.hook_rot_k", "attn", "key after the rotary embedding of its position"),
    "z": ("attn.hook_z", "attn", "values mixed by attention, per head"),
    "attn_out": ("hook_attn_out", "resid", "what attention adds to the residual stream"),
    "resid_mid": ("hook_resid_mid", "resid", "residual stream between attention and MLP"),
    "mlp_pre": ("mlp.hook_pre", "mlp", "MLP before its nonlinearity"),
    "mlp_pre_linear": ("mlp.hook_pre_linear", "mlp", "linear branch of a gated MLP"),
    "mlp_post": ("mlp.hook_post", "mlp", "MLP after its nonlinearity"),
    "mlp_out": ("hook_mlp_out", "resid", "what the MLP adds to the residual stream"),
    "resid_post": ("hook_resid_post", "resid", "residual stream after the block"),
}
#: What each site is, for tables and reports.
MEANINGS = {name: meaning for name, (_, _, meaning) in _SITES.items()}
#: Sites that depend on nothing but the token (and its position) in the first layer.
LEXICAL_AT_FIRST = ("resid_pre", "q", "k", "v", "rot_q", "rot_k")
#: Sites whose units are those of attention heads.
WITH_HEADS = tuple(name for name, (_, module, _) in _SITES.items() if module == "attn")
_QUERY_SIZED = ("q", "rot_q", "z")
_EXPERTS = ("mlp_pre", "mlp_pre_linear", "mlp_post")
_ROTATED = ("rot_q", "rot_k")


@dataclass(frozen=True)
class Site:
    """A kind of activation that every layer has: the queries, the keys, ....

    Parameters
    ----------
    name : str
        ``"q"``, ``"k"``, ``"v"``; ``"rot_q"``, ``"rot_k"``; ``"z"``; ``"mlp_pre"``,
        ``"mlp_pre_linear"``, ``"mlp_post"``; ``"resid_pre"``, ``"resid_mid"``, ``"resid_post"``;
        ``"attn_out"``, ``"mlp_out"``. ``MEANINGS`` says what each is.
    hook : str
        Name of the TransformerLens hook, with ``{layer}`` where the layer's number goes.
    module : str
        ``"attn"``, ``"mlp"`` or ``"resid"`` (the residual stream and what is added to it): the
        family of a correction within a layer (the reference divides 0.05 by the 3,840 units of
        ``c_attn``, and by the 5,120 of ``c_fc``).
    heads : int
        Number of heads, 1 where the activation is not separated into heads.
    d_head : int
        Units per head.

    Notes
    -----
    Queries and keys are taken before a rotary embedding and before a query/key norm; ``rot_q``
    and ``rot_k`` after both. A unit of ``q`` that tells two words apart knows them from the
    content; one of ``rot_q`` alone may know where they stand. In a gated MLP ``mlp_pre`` is the
    gate's branch and ``mlp_post`` the product of both. Where a norm follows attention or MLP
    (Gemma 2 and 3), ``attn_out`` and ``mlp_out`` are behind it: what is added. A model whose
    attention and MLP run in parallel has no ``resid_mid``. As with q and k, nothing in the
    architecture singles out the basis of the residual stream; and ``center_writing_weights``, one
    of the steps of ``HookedTransformer.from_pretrained`` that ``load_model`` leaves out, takes the
    mean over its units out of it, which is not noticed.
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


@validated
def sites_of(model: TransformerLensModel) -> dict[str, Site]:
    """List the sites that the model has, in at least one layer.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    dict of str to Site
        With hooks, widths and heads, in the order of a block. With grouped-query attention k and
        v are narrower than q. A mixture of experts has no MLP units: each token runs other
        experts. ``rot_q`` and ``rot_k`` are there if TransformerLens computes them apart.

    Raises
    ------
    TypeError
        ``model`` is no TransformerLens model.
    """
    hooks, layers = model.hook_dict, range(model.cfg.n_layers)
    refused = _refused(model)
    return {
        name: Site(name, f"blocks.{{layer}}.{hook}", module, *_shape(model.cfg, name, module))
        for name, (hook, module, _) in _SITES.items()
        if name not in refused and any(f"blocks.{layer}.{hook}" in hooks for layer in layers)
    }


def _refused(model: TransformerLensModel) -> dict[str, str]:
    """Sites whose hooks are there, or may be, and are not what their name says; and why."""
    blocks = blocks_of(model)
    refused = {}
    experts = getattr(model.cfg, "num_experts", None)
    if experts or any("MoE" in type(getattr(block, "mlp", None)).__name__ for block in blocks):
        reason = "its MLP is a mixture of experts, and each token runs other experts' units"
        refused |= dict.fromkeys(_EXPERTS, reason)
    # The attention of GPT-NeoX' bridge rotates inside Hugging Face's own code.
    if any("JointQKVPosition" in type(getattr(block, "attn", None)).__name__ for block in blocks):
        reason = (
            "TransformerBridge has the hook but does not reach it, as Hugging Face's own code "
            "rotates; HookedTransformer (TransformerLens 2, 3) has it"
        )
        refused |= dict.fromkeys(_ROTATED, reason)
    return refused


def _shape(cfg: Any, name: str, module: str) -> tuple[int, int]:
    if module != "attn":
        return 1, cfg.d_mlp if module == "mlp" else cfg.d_model
    grouped = getattr(cfg, "n_key_value_heads", None)
    ungrouped = getattr(cfg, "ungroup_grouped_query_attention", False)
    if name in _QUERY_SIZED or grouped is None or ungrouped:
        return cfg.n_heads, cfg.d_head
    return grouped, cfg.d_head


def select_sites(model: TransformerLensModel, names: Iterable[str]) -> tuple[Site, ...]:
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
        A site the model has not (with those it has), a site named twice, or no site at all.
    """
    if isinstance(names, str):
        raise TypeError(f'sites must be a sequence of names, got the string {names!r}; pass ("q",)')
    names = tuple(names)
    known = sites_of(model)
    for name in names:
        if name not in known:
            reason = _refused(model).get(name)
            problem = f"no site {name!r} here: {reason}" if reason else f"unknown site {name!r}"
            raise ValueError(f"{problem}; this model has {', '.join(known)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each site once; got {', '.join(repeated)} more than once in {names}")
    if not names:
        raise ValueError(f"no site was asked for; this model has {', '.join(known)}")
    return tuple(known[name] for name in names)
