"""The sites of a layer: kinds of activation whose units are probed, :data:`SITES`.

Whatever the package knows of a site is in its record there, so a new site is one new entry.
Everything else reads the table when it is needed: which sites a model has, how wide they are, what
a pass up to them costs, how they look in figures, and every message and help text that lists them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .._shared import is_plain, validated
from .protocol import TransformerLensModel, blocks_of

#: The matrix products of a layer in the order in which they are computed. ``scores`` are those of
#: attention with their use on the values; ``gate`` is the first input matrix of an MLP, ``up`` the
#: second one of a gated MLP.
PRODUCTS = (
    "nothing", "query", "key", "value", "rotation", "scores", "output", "gate", "up", "down",
)  # fmt: skip
#: Heads and units per head, read off ``model.cfg`` or a :class:`ModelSizes`.
Shape = Callable[[Any], tuple[int, int]]


def queries(sizes: Any) -> tuple[int, int]:
    """Shape of what every query head has."""
    return sizes.n_heads, sizes.d_head


def keys(sizes: Any) -> tuple[int, int]:
    """Shape of what every key head has: fewer of them with grouped-query attention."""
    grouped = getattr(sizes, "n_key_value_heads", None)
    if grouped is None or getattr(sizes, "ungroup_grouped_query_attention", False):
        return queries(sizes)
    return grouped, sizes.d_head


def neurons(sizes: Any) -> tuple[int, int]:
    """Shape of the inside of an MLP."""
    return 1, sizes.d_mlp


def stream(sizes: Any) -> tuple[int, int]:
    """Shape of the residual stream and of what is added to it."""
    return 1, sizes.d_model


@dataclass(frozen=True, kw_only=True)
class SiteRecord:
    """What the package knows of a site before any model is loaded.

    Parameters
    ----------
    hook : str
        Name of the TransformerLens hook within a block: ``"attn.hook_q"``.
    module : str
        ``"attn"``, ``"mlp"`` or ``"resid"``: see :class:`Site`. Sites of ``"attn"`` have heads.
    meaning : str
        What the site is, in a few words, for tables and reports.
    needs : str
        The last of :data:`PRODUCTS` that is computed for it. It decides what a forward pass up to
        the site costs, and whether the site sees other positions.
    shape : callable
        Heads and units per head: ``queries``, ``keys``, ``neurons`` or ``stream``.
    label : str
        Name in figures; that of the site if not given.
    colour, marker, line : str
        Look in figures, as matplotlib writes it. Sites without a colour share a few spare looks.

    Raises
    ------
    ValueError
        ``needs`` is not one of :data:`PRODUCTS`.

    Examples
    --------
    What attention reads, which this package does not list:

    >>> from tl_negation.models.sites import SITES, SiteRecord, stream
    >>> SITES["normed"] = SiteRecord(
    ...     hook="ln1.hook_normalized",
    ...     module="resid",
    ...     meaning="residual stream before the block, normalised",
    ...     needs="nothing",
    ...     shape=stream,
    ... )
    """

    hook: str
    module: str
    meaning: str
    needs: str
    shape: Shape
    label: str = ""
    colour: str | None = None
    marker: str = "o"
    line: str = "-"

    def __post_init__(self) -> None:
        if self.needs not in PRODUCTS:
            raise ValueError(f"needs must be one of {', '.join(PRODUCTS)}; got {self.needs!r}")

    @property
    def before_mixing(self) -> bool:
        """Whether a block computes it at each position from its input at that position alone.

        Not so after a rotary embedding, which needs to know which position it is at.
        """
        return PRODUCTS.index(self.needs) < PRODUCTS.index("rotation")

    @property
    def lexical_at_first(self) -> bool:
        """Whether it depends on the token and its position only, in the first layer."""
        return PRODUCTS.index(self.needs) < PRODUCTS.index("scores")


#: Name -> record, in the order of a block. The colours are in Okabe and Ito's (2008) palette, one
#: per family of sites, whose members are told apart by marker and line.
SITES: dict[str, SiteRecord] = {
    "resid_pre": SiteRecord(
        hook="hook_resid_pre", module="resid", needs="nothing", shape=stream,
        meaning="residual stream before the block",
        colour="#8A6D00", marker="<", line="-",
    ),
    "q": SiteRecord(
        hook="attn.hook_q", module="attn", needs="query", shape=queries,
        meaning="query",
        colour="#0072B2", marker="o", line="-",
    ),
    "k": SiteRecord(
        hook="attn.hook_k", module="attn", needs="key", shape=keys,
        meaning="key",
        colour="#D55E00", marker="s", line="--",
    ),
    "v": SiteRecord(
        hook="attn.hook_v", module="attn", needs="value", shape=keys,
        meaning="value",
        colour="#009E73", marker="^", line="-.",
    ),
    "rot_q": SiteRecord(
        hook="attn.hook_rot_q", module="attn", needs="rotation", shape=queries,
        meaning="query after the rotary embedding of its position",
        colour="#2F86BD", marker="p", line="-",
    ),
    "rot_k": SiteRecord(
        hook="attn.hook_rot_k", module="attn", needs="rotation", shape=keys,
        meaning="key after the rotary embedding of its position",
        colour="#882255", marker="h", line="--",
    ),
    "z": SiteRecord(
        hook="attn.hook_z", module="attn", needs="scores", shape=queries,
        meaning="values mixed by attention, per head",
        colour="#117733", marker="v", line=":",
    ),
    "attn_out": SiteRecord(
        hook="hook_attn_out", module="resid", needs="output", shape=stream,
        meaning="what attention adds to the residual stream",
        colour="#004488", marker="P", line="-.",
    ),
    "resid_mid": SiteRecord(
        hook="hook_resid_mid", module="resid", needs="output", shape=stream,
        meaning="residual stream between attention and MLP",
        colour="#8A6D00", marker="*", line="--",
    ),
    "mlp_pre": SiteRecord(
        hook="mlp.hook_pre", module="mlp", needs="gate", shape=neurons,
        meaning="MLP before its nonlinearity",
        colour="#AA4499", marker="D", line=":",
    ),
    "mlp_pre_linear": SiteRecord(
        hook="mlp.hook_pre_linear", module="mlp", needs="up", shape=neurons,
        meaning="linear branch of a gated MLP",
        colour="#CC6677", marker="d", line="-.",
    ),
    "mlp_post": SiteRecord(
        hook="mlp.hook_post", module="mlp", needs="up", shape=neurons,
        meaning="MLP after its nonlinearity",
        colour="#332288", marker="X", line="--",
    ),
    "mlp_out": SiteRecord(
        hook="hook_mlp_out", module="resid", needs="down", shape=stream,
        meaning="what the MLP adds to the residual stream",
        colour="#000000", marker="8", line="-",
    ),
    "resid_post": SiteRecord(
        hook="hook_resid_post", module="resid", needs="down", shape=stream,
        meaning="residual stream after the block",
        colour="#8A6D00", marker=">", line=":",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A site of a model: a kind of activation that its layers have, with the model's widths.

    Parameters
    ----------
    name : str
        ``"q"``, ``"k"``, ``"v"``, ``"mlp_pre"`` ...: a key of ``tl_negation.models.SITES``, which
        says what each is; or the name of another hook within a block: ``"ln1.hook_normalized"``.
    hook : str
        Name of the TransformerLens hook, with ``{layer}`` where the layer's number goes.
    module : str
        ``"attn"``, ``"mlp"``, ``"resid"`` (the residual stream and what is added to it) or
        ``"feature"`` (made of a site by an encoder, :func:`tl_negation.collect`): the family of a
        correction within a layer (the reference divides 0.05 by the 3,840 units of
        ``c_attn``, and by the 5,120 of ``c_fc``).
    heads : int
        Number of heads, 1 where the activation is not separated into heads.
    d_head : int
        Units per head.

    Notes
    -----
    Queries and keys are taken before a rotary embedding and before a query/key norm; ``rot_q``
    and ``rot_k`` after both. A unit of ``q`` that tells two words apart knows them from the
    content; a unit that does so in ``rot_q`` only may know where they are in the window. In a
    gated MLP ``mlp_pre`` is the gate's branch and ``mlp_post`` the product of both. Where a norm
    follows attention or MLP (Gemma 2 and 3), ``attn_out`` and ``mlp_out`` are taken after it: they
    are what is added. A model whose attention and MLP run in parallel does not have ``resid_mid``.

    As with q and k, nothing in the architecture singles out the basis of the residual stream. One
    of the steps of ``HookedTransformer.from_pretrained`` that ``load_model`` leaves out,
    ``center_writing_weights``, subtracts the mean over the units of the stream; this is not
    noticed.

    Examples
    --------
    >>> site = tln.sites_of(model)["q"]
    >>> site
    Site(name='q', hook='blocks.{layer}.attn.hook_q', module='attn', heads=5, d_head=4)
    >>> site.width, site.hook_name(2)
    (20, 'blocks.2.attn.hook_q')
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


def is_site(entry: Any) -> bool:
    """Whether an entry of a file is a site of ours, or one with a plain name, as one's own have."""
    kinds = {"name": str, "hook": str, "module": str, "heads": int, "d_head": int}
    return (
        isinstance(entry, dict)
        and {name: type(value) for name, value in entry.items()} == kinds
        and (entry["name"] in SITES or is_plain(entry["name"].replace(".", "_")))
        and entry["module"] in {"feature", *(record.module for record in SITES.values())}
        and min(entry["heads"], entry["d_head"]) >= 1
    )


def has_heads(site: str) -> bool:
    """Whether the units of the site of that name are those of attention heads."""
    return SITES[site].module == "attn" if site in SITES else site.startswith("attn.hook_")


def site_label(site: str) -> str:
    """Name of a site in figures."""
    return (site in SITES and SITES[site].label) or site


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
        v are narrower than q. A mixture of experts does not have MLP units, because each token
        runs other experts. ``rot_q`` and ``rot_k`` are there if TransformerLens gives them hooks
        of their own.

    Raises
    ------
    TypeError
        ``model`` is not a TransformerLens model.

    Examples
    --------
    >>> {name: site.width for name, site in tln.sites_of(model).items()}
    {'resid_pre': 20, 'q': 20, 'k': 20, 'v': 20, 'z': 20, ..., 'mlp_post': 80, ...}
    """
    hooks, layers = model.hook_dict, range(model.cfg.n_layers)
    refused = refused_sites(model)
    return {
        name: Site(name, f"blocks.{{layer}}.{record.hook}", record.module, *record.shape(model.cfg))
        for name, record in SITES.items()
        if name not in refused and any(f"blocks.{layer}.{record.hook}" in hooks for layer in layers)
    }


def refused_sites(model: TransformerLensModel) -> dict[str, str]:
    """Sites whose hooks are not what their name says, or may not be; and why."""
    blocks = blocks_of(model)
    refused = {}
    experts = getattr(model.cfg, "num_experts", None)
    if experts or any("MoE" in type(getattr(block, "mlp", None)).__name__ for block in blocks):
        reason = "its MLP is a mixture of experts, and each token runs other experts' units"
        refused |= {name: reason for name, record in SITES.items() if record.module == "mlp"}
    # The attention of GPT-NeoX' bridge rotates inside Hugging Face's own code.
    if any("JointQKVPosition" in type(getattr(block, "attn", None)).__name__ for block in blocks):
        reason = (
            "TransformerBridge has the hook but does not reach it, as Hugging Face's own code "
            "rotates; HookedTransformer (TransformerLens 2, 3) has it"
        )
        refused |= {name: reason for name, record in SITES.items() if record.needs == "rotation"}
    return refused


def is_hook(name: str) -> bool:
    """Whether a name is that of a hook, as TransformerLens names them."""
    return name.rpartition(".")[2].startswith("hook_")


def site_name(name: str) -> str:
    """Name of the site that a hook within a block belongs to; any other name stays."""
    return next((site for site, record in SITES.items() if record.hook == name), name)


def check_site_names(names: Iterable[str]) -> tuple[str, ...]:
    """Raise unless every name is in :data:`SITES` or that of a hook, once; this needs no model.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    tuple of str
        The names in their order; a hook of a listed site has that site's name.

    Raises
    ------
    TypeError
        ``names`` is a bare string.
    ValueError
        A name that no site has, with the nearest one; a site named twice; no name.
    """
    if isinstance(names, str):
        raise TypeError(f'sites must be a sequence of names, got the string {names!r}; pass ("q",)')
    names = tuple(site_name(name) if isinstance(name, str) else name for name in names)
    for name in names:
        if isinstance(name, str) and name.startswith("blocks.") and is_hook(name):
            within = name.split(".", maxsplit=2)[-1]
            raise ValueError(
                f"name a hook within its block, for all layers: {within!r}; got {name!r}"
            )
        if not isinstance(name, str) or not (name in SITES or is_hook(name)):
            near = get_close_matches(str(name).lower(), SITES, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ";"
            raise ValueError(
                f"unknown site {name!r}{meant} there are {', '.join(SITES)}, and every hook of a "
                "block by its name, as 'ln1.hook_normalized'"
            )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"each site once; got {', '.join(repeated)} more than once in {names}")
    if not names:
        raise ValueError(f"no site was asked for; there are {', '.join(SITES)}")
    return names
