"""The sizes of a transformer: bytes and arithmetic follow from them before any weight is loaded.

They are read from a loaded model or a configuration, or given by hand.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._shared import validated
from .gguf import gguf_errors, gguf_model
from .hub import (
    ask_hub_unless_cached,
    cached_config,
    hub_errors,
    is_path,
    model_folder,
    official_name,
    quiet,
)
from .protocol import TransformerLensModel
from .sites import PRODUCTS, SITES, check_site_names

#: Products of attention and of the MLP.
_ATTENTION, _MLP = PRODUCTS[: PRODUCTS.index("gate")], PRODUCTS[PRODUCTS.index("gate") :]


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a decoder-only transformer, from which its bytes and arithmetic follow.

    Parameters
    ----------
    n_layers, d_model, n_heads, d_head, d_mlp
        As in ``model.cfg`` of TransformerLens.
    n_key_value_heads
        Fewer than ``n_heads`` with grouped-query attention; the same if not given.
    gated_mlp
        Three matrices in an MLP (Llama) instead of two (GPT-2).
    d_vocab
        Tokens of the vocabulary; 0 leaves the embeddings out of the weights.
    name
        For display.

    Raises
    ------
    ValueError
        A size below 1, or more heads of keys than of queries.
    TypeError
        A size that is not an integer.

    Notes
    -----
    Dense models only: a mixture of experts holds more weights than a token passes through.

    Examples
    --------
    >>> sizes = tln.ModelSizes(n_layers=12, d_model=768, n_heads=12, d_head=64, d_mlp=3072)
    >>> f"{sizes.parameters:,} weights; {sizes.width('mlp_pre'):,} units of mlp_pre in a layer"
    '84,934,656 weights; 3,072 units of mlp_pre in a layer'
    >>> f"{sizes.forward_flops(tokens=91, sites=('q', 'k', 'v')):.3g} operations for a context"
    '1.36e+10 operations for a context'
    """

    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    n_key_value_heads: int | None = None
    gated_mlp: bool = False
    d_vocab: int = 0
    name: str = "sizes given by hand"

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in _SIZES}
        for name, size in (*sizes.items(), ("n_key_value_heads", self.kv_heads)):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} must be an integer; got {size!r}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1; got {size}")
        if self.d_vocab < 0:
            raise ValueError(f"d_vocab counts tokens and cannot be negative; got {self.d_vocab}")
        if self.kv_heads > self.n_heads:
            raise ValueError(
                f"keys have at most as many heads as queries; got {self.kv_heads} and "
                f"{self.n_heads}"
            )

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_key_value_heads is None else self.n_key_value_heads

    @property
    def parameters(self) -> int:
        """Weights: matrices of the layers, embedding and unembedding; no biases or norms.

        Embedding and unembedding both count, because ``HookedTransformer`` stores them twice even
        where a model ties them.
        """
        attention = 2 * self.d_model * self.d_head * (self.n_heads + self.kv_heads)
        mlp = (3 if self.gated_mlp else 2) * self.d_model * self.d_mlp
        return self.n_layers * (attention + mlp) + 2 * self.d_vocab * self.d_model

    def width(self, site: str) -> int:
        """Units of a site in one layer.

        Parameters
        ----------
        site : str

        Raises
        ------
        ValueError
            No such site.
        """
        heads, d_head = SITES[_listed((site,))[0]].shape(self)
        return heads * d_head

    def layer_flops(self, tokens: int) -> int:
        """Floating-point operations of one layer for one context of this many tokens."""
        return sum(self._products(tokens).values())

    def forward_flops(self, tokens: int, sites: Iterable[str]) -> int:
        """Floating-point operations of a pass over one context that stops after the last hook.

        A multiplication and an addition count as two. A matrix of m x n weights costs ``2 m n`` a
        token; the attention scores and their use ``2 tokens n_heads d_head`` each, masked or not.
        Norms, activations and softmax are not counted; the unembedding is not computed. Everything
        after the last mixing of positions is computed at the target alone.

        Parameters
        ----------
        tokens : int
            Of a context, up to the target.
        sites : iterable of str

        Raises
        ------
        ValueError
            An unknown site, or no site.

        Notes
        -----
        Source: Hoffmann et al. (2022), *Training compute-optimal large language models*, appendix
        F, without its softmax term. A test compares it with ``torch.utils.flop_counter``.
        """
        records = [SITES[site] for site in _listed(sites)]
        last = max(PRODUCTS.index(record.needs) for record in records)
        done = PRODUCTS[: last + 1]
        all_tokens, target = self._products(tokens), self._products(1)
        layer, mlp = self.layer_flops(tokens), sum(target[name] for name in _MLP)
        if all(record.before_mixing for record in records):
            # Nothing mixes positions after the attention of the layer before, so that layer's MLP
            # is computed at the target alone as well.
            before = sum(all_tokens[name] for name in _ATTENTION) + mlp
            inside = sum(target[name] for name in done)
            return max(0, self.n_layers - 2) * layer + min(1, self.n_layers - 1) * before + inside
        attention = sum(all_tokens[name] for name in done if name in _ATTENTION)
        inside = sum(target[name] for name in done if name in _MLP)
        return (self.n_layers - 1) * layer + attention + inside

    def _products(self, tokens: int) -> dict[str, int]:
        """Operations of each of ``PRODUCTS`` in one layer."""
        token = 2 * tokens * self.d_model
        inner, kv = self.n_heads * self.d_head, self.kv_heads * self.d_head
        return {
            "nothing": 0,
            "query": token * inner,
            "key": token * kv,
            "value": token * kv,
            "rotation": 0,
            "scores": 4 * tokens**2 * inner,
            "output": token * inner,
            "gate": token * self.d_mlp,
            "up": token * self.d_mlp if self.gated_mlp else 0,
            "down": token * self.d_mlp,
        }


_SIZES = ("n_layers", "d_model", "n_heads", "d_head", "d_mlp")


@validated
def sizes_of(model: TransformerLensModel | ModelSizes | str | Path) -> ModelSizes:
    """Read the sizes of a model without loading its weights.

    Parameters
    ----------
    model : HookedTransformer, TransformerBridge, ModelSizes, str or Path
        A loaded model, or a name as in :func:`tl_negation.load_model`: only its configuration is
        read, from the folder, the demo's file, the hub's cache, TransformerLens's own tables
        (Llama, Gemma) or the hub.

    Raises
    ------
    TypeError
        Not a TransformerLens model, a name or sizes.
    ValueError
        A mixture of experts, or layers that are not attention and one MLP.
    OSError
        The configuration is not on this machine and the hub cannot be reached.
    """
    if isinstance(model, ModelSizes):
        return model
    if not isinstance(model, (str, Path)):
        return _of_cfg(vars(model.cfg), model.cfg.model_name)
    with quiet():
        return _of_name(str(model))


def _of_name(name: str) -> ModelSizes:
    from transformers import AutoConfig

    if (gguf := gguf_model(name)) is not None:
        with gguf_errors(gguf):
            return _of_config(AutoConfig.from_pretrained(**gguf.transformers), gguf.name)
    if is_path(name):
        folder = model_folder(name)
        return _of_config(AutoConfig.from_pretrained(folder), folder.resolve().name)
    official = official_name(name) or name
    try:
        with hub_errors(name):
            known = None if cached_config(official) else _of_table(official)
            if known is not None:
                return known
            ask_hub_unless_cached(official)
            config = AutoConfig.from_pretrained(official)
    except OSError as error:
        raise OSError(
            f"{error}, or the model's sizes by hand (ModelSizes, --layers ...)"
        ) from error
    return _of_config(config, name)


def _of_table(official: str) -> ModelSizes | None:
    """Sizes from TransformerLens 3's own tables, so that nothing is fetched."""
    if official_name(official) is None or not re.search("llama|gemma", official, re.IGNORECASE):
        return None
    from transformer_lens import loading_from_pretrained as loading

    return _of_cfg(loading.convert_hf_model_config(official), official)


def _of_cfg(cfg: Mapping[str, Any], name: str) -> ModelSizes:
    """Sizes from TransformerLens's configuration."""
    if cfg.get("num_experts"):
        raise ValueError(_experts(name))
    return ModelSizes(
        **{size: cfg[size] for size in _SIZES},
        n_key_value_heads=cfg.get("n_key_value_heads"),
        gated_mlp=bool(cfg.get("gated_mlp")),
        d_vocab=cfg["d_vocab"],
        name=name,
    )


def _experts(name: str) -> str:
    return (
        f"{name} is a mixture of experts, so its layers are not attention and one MLP; give the "
        "sizes by hand, with what a token passes through as d_mlp (experts per token times width), "
        "and add the weights of the other experts yourself"
    )


def _of_config(config: Any, name: str) -> ModelSizes:
    """Sizes from Hugging Face's configuration; the architecture is built without its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = config.get_text_config()
    if any(getattr(config, key, None) for key in ("num_local_experts", "num_experts")):
        raise ValueError(_experts(name))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    n_layers, d_model = config.num_hidden_layers, config.hidden_size
    n_heads = config.num_attention_heads
    d_head = getattr(config, "head_dim", None) or d_model // n_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    widths = (getattr(config, key, None) for key in ("intermediate_size", "n_inner", "ffn_dim"))
    d_mlp = next((width for width in widths if width), 4 * d_model)
    weights = sum(
        parameter.numel()
        for key, parameter in model.named_parameters()
        if parameter.ndim == 2 and re.search(r"\.\d+\.", key)
    )
    attention = 2 * d_model * d_head * (n_heads + kv_heads)
    matrices = (weights / n_layers - attention) / (d_model * d_mlp)
    if min(abs(matrices - 2), abs(matrices - 3)) > 0.01:
        raise ValueError(
            f"the layers of {name} are not attention and an MLP of two or three matrices (besides "
            f"attention they have the weights of {matrices:.2f}); give the sizes by hand"
        )
    return ModelSizes(
        n_layers, d_model, n_heads, d_head, d_mlp, kv_heads, round(matrices) == 3,
        config.vocab_size, name,
    )  # fmt: skip


def _listed(sites: Iterable[str]) -> tuple[str, ...]:
    """Raise ValueError for a hook that is not in the table: only a loaded model tells its size."""
    names = check_site_names(sites)
    for name in names:
        if name not in SITES:
            raise ValueError(
                f"the size of hook {name!r} is known from a loaded model only; a plan can be made "
                f"for {', '.join(SITES)}"
            )
    return names
