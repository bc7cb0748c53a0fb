"""Where the heads with tuned units look: attention patterns on chosen contexts."""

import html
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from .._shared import validated
from ..activations import check_tokens
from ..corpus import Contexts
from ..models import TransformerLensModel, check_model, token_device
from ..probing import ProbeResult, head_table
from .contexts import chosen_examples, token_texts
from .page import View, heatmap_from_values, inert, to_script, visible

HOOK = "blocks.{layer}.attn.hook_pattern"


#: What circuitsvis leaves out: what its list of choices is for, once it is there.
LABELLED = """new MutationObserver((_, seen) => {
  const list = document.getElementById(%s)?.querySelector("select");
  if (list) { seen.disconnect(); list.setAttribute("aria-label", "direction of attention"); }
}).observe(document.body, { childList: true, subtree: true });"""


@validated
def tuned_heads(result: Any, n: int = 3, *, site: str = "q") -> pd.DataFrame:
    """Find the heads with the most significant units of a site.

    Returns
    -------
    DataFrame
        The ``n`` rows of :func:`tl_negation.profiles.head_table` with the largest number of
        significant units, the largest first; that number in ``significant``.

    Raises
    ------
    TypeError
        Not a result.
    ValueError
        No such attention site; ``n`` is below 1.
    """
    if not isinstance(result, ProbeResult):
        raise TypeError(f"tuned_heads needs a ProbeResult; got {type(result).__name__}")
    table = head_table(result)
    if site not in set(table["site"]):
        known = ", ".join(table["site"].unique().tolist())
        raise ValueError(f"the result has heads of the sites {known}; got {site!r}")
    if n < 1:
        raise ValueError(f"the number of heads must be at least 1; got {n}")
    table = table[table["site"] == site]
    count = (table["share_significant"].fillna(0) * table["tested"]).round().astype(int)
    return table.assign(significant=count).nlargest(n, "significant", keep="first")


@validated
def head_attention(
    model: TransformerLensModel,
    contexts: Contexts,
    heads: Any,
    *,
    examples: Sequence[int] | None = None,
    n: int = 4,
) -> View:
    """Show the attention patterns of heads on a few contexts.

    Parameters
    ----------
    model
        The TransformerLens model; it runs again, over the shown contexts only.
    contexts
        From :func:`tl_negation.find_contexts`.
    heads : DataFrame
        A row per head with ``layer`` and ``head``: :func:`tuned_heads`, or rows of
        ``result.top()``. With ``site`` k or v and grouped-query attention, a key head stands for
        all query heads that share it.
    examples
        Which contexts, by position. By default :func:`spread_examples` chooses ``n``.
    n
        How many to choose.

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
        ``heads`` is empty, lacks a column or names a head that there is not; no example.
    IndexError
        An example that does not exist.
    RuntimeError
        The model computes attention without making the pattern.

    Notes
    -----
    Where a head attends is not what it moves, and a head whose queries hold the category need not
    do anything with it.
    """
    chosen = chosen_examples(contexts, examples, n)
    pairs = _query_heads(model, heads)
    check_model(model, (), contexts.before + 1, sorted({layer for layer, _ in pairs}))
    check_tokens(model, contexts)
    tokens = contexts.tokens[chosen, : contexts.before + 1]
    patterns = _patterns(model, tokens, sorted({layer for layer, _ in pairs}))
    texts = token_texts(model.tokenizer, tokens)
    maps = torch.stack([patterns[layer][:, head] for layer, head in pairs], dim=1).double().numpy()
    names = [f"layer {layer}, head {head}" for layer, head in pairs]
    where = [_where(contexts, example) for example in chosen]
    looks = _looks(texts, maps, names, where)
    rows = [_interactive(*one, names) for one in zip(texts, maps, where, strict=True)]
    body = "".join([looks.body, '<div class="tln-view">', *(row for row, _ in rows), "</div>"])
    script = "\n".join([looks.script, *(call for _, call in rows)])
    return View(body, script, f"attention of {'; '.join(names)}")


def _where(contexts: Contexts, example: int) -> str:
    row = contexts.examples.iloc[example]
    return f"{row['group']}: {row['word']} · context {example}"


def _looks(
    texts: Sequence[Sequence[str]],
    maps: Float[np.ndarray, "example head query key"],
    names: Sequence[str],
    where: Sequence[str],
) -> View:
    """Colour the tokens by how much of the target's attention each has: a row per head."""
    return heatmap_from_values(
        [text for text in texts for _ in names],
        [head[-1] for example in maps for head in example],
        [f"{name} · {place} · from the target" for place in where for name in names],
        target=maps.shape[-1] - 1,
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
    row = (
        f'<div class="tln-row"><p class="tln-label">{html.escape(where)} · from every token</p>'
        f'<div class="tln-tokens tln-scroll" id="{name}">{shown}</div></div>'
    )
    props = {
        "tokens": [inert(visible(token)) for token in tokens],
        "attention": [[[float(f"{v:.3g}") for v in row] for row in head] for head in maps],
        "headLabels": list(names),
    }
    component = "CircuitsVis.AttentionPatterns"
    call = f"CircuitsVis.render({to_script(name)}, {component}, {to_script(props)});"
    return row, f"{call}\n{LABELLED % to_script(name)}"


def _query_heads(model: TransformerLensModel, heads: Any) -> list[tuple[int, int]]:
    """(layer, query head) of each row, each once; a key head stands for those that share it."""
    if not isinstance(heads, pd.DataFrame):
        raise TypeError(
            f"heads must be a table such as tuned_heads(result); got {type(heads).__name__}"
        )
    missing = [name for name in ("layer", "head") if name not in heads]
    if missing or heads.empty:
        raise ValueError(
            f"heads needs rows and the columns layer and head; it has {len(heads)} rows and lacks "
            f"{', '.join(missing) or 'no column'}"
        )
    shared = model.cfg.n_heads // (
        getattr(model.cfg, "n_key_value_heads", None) or model.cfg.n_heads
    )
    pairs = []
    for row in heads.to_dict("records"):
        size = shared if row.get("site", "q") in ("k", "v", "rot_k") else 1
        first = int(row["head"]) * size
        pairs += [(int(row["layer"]), head) for head in range(first, first + size)]
    wrong = [
        p for p in pairs if not (0 <= p[0] < model.cfg.n_layers and 0 <= p[1] < model.cfg.n_heads)
    ]
    if wrong:
        raise ValueError(
            f"the model has {model.cfg.n_layers} layers of {model.cfg.n_heads} heads; got layer "
            f"{wrong[0][0]}, head {wrong[0][1]}"
        )
    return list(dict.fromkeys(pairs))


def _patterns(
    model: TransformerLensModel, tokens: Tensor, layers: Sequence[int]
) -> Mapping[int, Float[Tensor, "example head query key"]]:
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Any:
        def record(act: Tensor, hook: Any) -> None:  # noqa: ARG001 - TransformerLens passes it
            found[layer] = act.detach().float().cpu()

        return record

    hooks = [(HOOK.format(layer=layer), keep(layer)) for layer in layers]
    missing = [name for name, _ in hooks if name not in model.hook_dict]
    device = token_device(model)
    if not missing:
        with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
            model(tokens.to(device), return_type=None)
    if missing or len(found) < len(layers):
        raise RuntimeError(
            f"the model makes no attention pattern at {(missing or [hooks[0][0]])[0]}; load it "
            "with eager attention (attn_implementation='eager')"
        )
    return found
