"""Where the heads with tuned units look: attention patterns on chosen contexts."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import nearest, table, validated
from ..activations import check_tokens
from ..corpus import Contexts
from ..models import (
    TransformerLensModel,
    alone_with,
    check_model,
    run_windows,
    sites_of,
    token_device,
)
from ..probing import ProbeResult, head_table
from .examples import chosen_examples, token_texts
from .page import View, heatmap_from_values, inert, to_script, token_line, visible

HOOK = "blocks.{layer}.attn.hook_pattern"
#: A table with a row per head.
Heads = Annotated[pd.DataFrame, table("layer", "head", cure="tuned_heads(result) gives one")]

#: Names the list of choices that circuitsvis draws, once it is there: circuitsvis does not.
LABELLED = """new MutationObserver((_, seen) => {
  const list = document.getElementById(%s)?.querySelector("select");
  if (list) { seen.disconnect(); list.setAttribute("aria-label", "direction of attention"); }
}).observe(document.body, { childList: true, subtree: true });"""


@validated
def tuned_heads(result: ProbeResult, n: int = 3, *, site: str = "q") -> pd.DataFrame:
    """Find the heads with the most significant units of a site.

    Parameters
    ----------
    result
        Whose heads.
    n
        How many; fewer if the site has fewer.
    site
        Name of an attention site.

    Returns
    -------
    DataFrame
        The ``n`` rows of :func:`tl_negation.head_table` with the largest number of significant
        units, the largest first; that number in ``significant``.

    Raises
    ------
    TypeError
        Not a result.
    ValueError
        The result does not have that attention site; ``n`` is below 1.

    Notes
    -----
    How many units of a head are significant depends on the basis of its queries and keys, which
    nothing in the architecture singles out; :func:`tl_negation.head_probe` does not depend on it.

    Examples
    --------
    >>> tln.views.tuned_heads(result, 2)[["layer", "site", "head", "units", "significant"]]
       layer site  head  units  significant
    1      0    q     1      4            4
    0      0    q     0      4            3
    """
    heads = head_table(result)
    known = heads["site"].unique().tolist()
    if site not in known:
        raise ValueError(
            f"the result has heads of the sites {', '.join(known)}; got {site!r}"
            f"{nearest(site, known)}"
        )
    if n < 1:
        raise ValueError(f"the number of heads must be at least 1; got {n}")
    heads = heads[heads["site"] == site]
    count = (heads["share_significant"].fillna(0) * heads["tested"]).round().astype(int)
    return heads.assign(significant=count).nlargest(n, "significant", keep="first")


@validated
def head_attention(
    model: TransformerLensModel,
    contexts: Contexts,
    heads: Heads,
    *,
    examples: Sequence[int] | None = None,
    n: int = 4,
) -> View:
    """Show the attention patterns of heads on a few contexts.

    Parameters
    ----------
    model, contexts, examples, n
        As in :func:`text_heatmap`.
    heads : DataFrame
        A row per head with ``layer`` and ``head``: :func:`tuned_heads`, or rows of
        ``result.top()``. With ``site`` k or v and grouped-query attention, a key head stands for
        all query heads that share it.

    Returns
    -------
    View
        First, per context and head, how much of the target's attention each token has, on one
        colour scale. Then, per context, circuitsvis' AttentionPatterns: a map of each head (rows
        attend to columns) and the tokens to choose from. The window ends at the target.

    Raises
    ------
    TypeError
        ``heads`` is not a table; or the model is refused (see :func:`tl_negation.collect`).
    ValueError
        ``heads`` is empty, lacks a column or names a head that does not exist; an empty list of
        examples.
    IndexError
        An example that does not exist.
    RuntimeError
        The model computes attention without making the pattern (fused attention).

    Notes
    -----
    Where a head attends is not what it moves, and a head whose queries hold the category need not
    do anything with it.

    Examples
    --------
    >>> heads = tln.views.tuned_heads(result, 1)
    >>> tln.views.head_attention(model, contexts, heads, n=2)
    View(attention of layer 0, head 1; .save(path) writes it as a page)
    """
    chosen = chosen_examples(contexts, examples, n)
    pairs = _query_heads(model, heads)
    layers = sorted({layer for layer, _ in pairs})
    check_model(model, (), min(contexts.before + 1, contexts.longest), layers)
    check_tokens(model, contexts)
    firsts = contexts.spans[chosen, 0].tolist()
    windows = [
        contexts.tokens[example, first : contexts.before + 1]
        for example, first in zip(chosen, firsts, strict=True)
    ]
    texts = [token_texts(model.tokenizer, window[None])[0] for window in windows]
    maps = [_maps(_patterns(model, window[None], layers), pairs) for window in windows]
    names = [f"layer {layer}, head {head}" for layer, head in pairs]
    where = [_where(contexts, example) for example in chosen]
    looks = _looks(texts, maps, names, where)
    rows = [
        _interactive(text, example, place, names)
        for text, example, place in zip(texts, maps, where, strict=True)
    ]
    body = "".join([looks.body, '<div class="tln-view">', *(row for row, _ in rows), "</div>"])
    script = "\n".join([looks.script, *(call for _, call in rows)])
    return View(body, script, f"attention of {'; '.join(names)}")


def _maps(
    patterns: Mapping[int, Float[Tensor, "example head query key"]],
    pairs: Sequence[tuple[int, int]],
) -> Float[np.ndarray, "pair query key"]:
    """Patterns of these heads in the one window that was run."""
    return torch.stack([patterns[layer][0, head] for layer, head in pairs]).double().numpy()


def _where(contexts: Contexts, example: int) -> str:
    row = contexts.examples.iloc[example]
    return f"{row['group']}: {row['word']} · context {example}"


def _looks(
    texts: Sequence[Sequence[str]],
    maps: Sequence[Float[np.ndarray, "head _ _"]],
    names: Sequence[str],
    where: Sequence[str],
) -> View:
    """Colour the tokens by how much of the target's attention each has: a row per head."""
    return heatmap_from_values(
        [text for text in texts for _ in names],
        [head[-1] for example in maps for head in example],
        [f"{name} · {place} · from the target" for place in where for name in names],
        target=[len(text) - 1 for text in texts for _ in names],
        title="where the target looks",
        quantity="attention",
    )


def _interactive(
    tokens: Sequence[str],
    maps: Float[np.ndarray, "head query key"],
    where: str,
    names: Sequence[str],
) -> tuple[str, str]:
    """HTML and script of circuitsvis' AttentionPatterns: any head, any token."""
    name = f"tln-{uuid4().hex}"
    shown = "".join(html.escape(visible(token)) for token in tokens)
    row = token_line(name, f"{where} · from every token", shown, "tln-tokens tln-scroll")
    props = {
        "tokens": [inert(visible(token)) for token in tokens],
        "attention": [
            [[float(f"{share:.3g}") for share in query] for query in head] for head in maps
        ],
        "headLabels": list(names),
    }
    component = "CircuitsVis.AttentionPatterns"
    call = f"CircuitsVis.render({to_script(name)}, {component}, {to_script(props)});"
    return row, f"{call}\n{LABELLED % to_script(name)}"


def _query_heads(model: TransformerLensModel, heads: pd.DataFrame) -> list[tuple[int, int]]:
    """(layer, query head) of each row, each once; a key head stands for those that share it."""
    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    sharing = {
        name: n_heads // site.heads
        for name, site in sites_of(model).items()
        if site.module == "attn"
    }
    pairs = []
    for row in heads.to_dict("records"):
        size = sharing.get(str(row.get("site", "q")), 1)
        first = int(row["head"]) * size
        pairs += [(int(row["layer"]), head) for head in range(first, first + size)]
    for layer, head in pairs:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ValueError(
                f"the model has {n_layers} layers of {n_heads} heads; got layer {layer}, "
                f"head {head}"
            )
    return list(dict.fromkeys(pairs))


def _patterns(
    model: TransformerLensModel, tokens: Int[Tensor, "example pos"], layers: Sequence[int]
) -> Mapping[int, Float[Tensor, "example head query key"]]:
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def record(act: Tensor, hook: object) -> None:  # noqa: ARG001 - TransformerLens passes it
            found[layer] = act.detach().float().cpu()

        return record

    hooks = [(HOOK.format(layer=layer), keep(layer)) for layer in layers]
    missing = [name for name, _ in hooks if name not in model.hook_dict]
    device = token_device(model)
    if not missing:
        with alone_with(model), torch.inference_mode(), model.hooks(fwd_hooks=hooks):
            run_windows(model, tokens.to(device))
    # A hook can also be there without firing: fused attention never makes the pattern.
    if missing or len(found) < len(layers):
        raise RuntimeError(
            f"the model makes no attention pattern at {(missing or [hooks[0][0]])[0]}; load it "
            "with eager attention (attn_implementation='eager')"
        )
    return found
