"""A tiny random model of every family, and where Hugging Face computes what each site is.

Every dimension of a family differs from the others, and nothing has its neutral value. This list
is what ``test_architectures.py`` goes through and what ``examples/models.md`` shows.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
import transformers
from einops import rearrange
from helpers import tiny_models
from torch import Tensor

from tl_negation.models.sites import SITES

IDS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
GROUPED = {
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "hidden_size": 48,  # d_head 8, but where head_dim says otherwise
    "intermediate_size": 56,
    "max_position_embeddings": 40,
}
UNGROUPED = GROUPED | {"num_attention_heads": 3, "num_key_value_heads": 3}  # d_head 16
GEMMA = GROUPED | {
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 36,
    "head_dim": 10,  # queries are 40 wide
    "query_pre_attn_scalar": 10,
    "sliding_window": 4,  # shorter than the window of the tests
}

ROTATED = ("rot_q", "rot_k")
Place = tuple[str, str]  # "in" or "out", and the module within the block; "" is the block itself


@dataclass(frozen=True)
class Family:
    """A family: its configuration, and the modules of Hugging Face's that the sites are of."""

    config: str
    sizes: dict[str, Any]
    places: dict[str, Place]
    blocks: str = "model.layers"
    fused: str = ""  # how one projection holds q, k and v
    rotary: bool = False
    note: str = ""
    missing: dict[str, str] = field(default_factory=dict)  # class -> why it is another there
    scale: float = 0.15  # of the weights: activations of a size of 1, behind the blocks too
    norm_weight: float = 1.0  # around which the weights of norms lie
    hub: str = ""  # HookedTransformer knows it by such names on the hub, and not as a folder
    unreached: tuple[str, ...] = ()  # classes in which Hugging Face's own code rotates

    def sites(self, class_name: str) -> tuple[str, ...]:
        """All that it has in a class of TransformerLens, in the order of a block."""
        rotated = ROTATED if self.rotary and class_name not in self.unreached else ()
        return tuple(site for site in SITES if site in (*self.places, *rotated))


def _places(block: dict[str, str], attn: dict[str, str], mlp: dict[str, str]) -> dict[str, Place]:
    """Sites of projections: a module's output, but for z and mlp_post, which go into one."""
    into = {"resid_mid": "in", "z": "in", "mlp_post": "in"}
    named = attn | block | mlp
    around = {"resid_pre": ("in", ""), "resid_post": ("out", "")}
    return around | {site: (into.get(site, "out"), path) for site, path in named.items()}


def _attn(module: str, out: str = "o_proj") -> dict[str, str]:
    names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "z": out}
    return {site: f"{module}.{name}" for site, name in names.items()}


GATED = {
    "mlp_pre": "mlp.gate_proj",
    "mlp_pre_linear": "mlp.up_proj",
    "mlp_post": "mlp.down_proj",
    "mlp_out": "mlp.down_proj",
}
LLAMA = _places(
    {"attn_out": "self_attn.o_proj", "resid_mid": "post_attention_layernorm"},
    _attn("self_attn"),
    GATED,
)
GEMMAS = _places(
    {"attn_out": "post_attention_layernorm", "resid_mid": "pre_feedforward_layernorm"},
    _attn("self_attn"),
    GATED | {"mlp_out": "post_feedforward_layernorm"},
)
PLAIN = {"mlp_pre": "fc1", "mlp_post": "fc2", "mlp_out": "fc2"}

FAMILIES = {
    "GPT-2": Family(
        "GPT2Config",
        {"n_layer": 3, "n_head": 5, "n_embd": 20, "n_positions": 32},
        _places(
            {"attn_out": "attn.c_proj", "resid_mid": "ln_2"},
            dict.fromkeys("qkv", "attn.c_attn") | {"z": "attn.c_proj"},
            {"mlp_pre": "mlp.c_fc", "mlp_post": "mlp.c_proj", "mlp_out": "mlp.c_proj"},
        ),
        blocks="transformer.h",
        fused="(part head d_head)",
        note="q, k, v in one projection",
    ),
    "GPT-Neo": Family(
        "GPTNeoConfig",
        {
            "num_layers": 2,
            "num_heads": 3,
            "hidden_size": 24,
            "max_position_embeddings": 32,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
        },
        _places(
            {"attn_out": "attn.attention.out_proj", "resid_mid": "ln_2"},
            _attn("attn.attention", "out_proj"),
            {"mlp_pre": "mlp.c_fc", "mlp_post": "mlp.c_proj", "mlp_out": "mlp.c_proj"},
        ),
        blocks="transformer.h",
        note="alternating local attention, unscaled scores",
    ),
    "GPT-NeoX": Family(
        "GPTNeoXConfig",
        {
            **{name: UNGROUPED[name] for name in UNGROUPED if name != "num_key_value_heads"},
            "rotary_pct": 0.25,
            "use_parallel_residual": True,
        },
        _places(
            {"attn_out": "attention.dense"},
            dict.fromkeys("qkv", "attention.query_key_value") | {"z": "attention.dense"},
            {
                "mlp_pre": "mlp.dense_h_to_4h",
                "mlp_post": "mlp.dense_4h_to_h",
                "mlp_out": "mlp.dense_4h_to_h",
            },
        ),
        blocks="gpt_neox.layers",
        fused="(head part d_head)",
        rotary=True,
        note="attention and MLP in parallel, a quarter of each head rotated",
        unreached=("TransformerBridge",),
    ),
    "OPT": Family(
        "OPTConfig",
        {
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "hidden_size": 24,
            "word_embed_proj_dim": 24,
            "ffn_dim": 96,
            "max_position_embeddings": 32,
        },
        _places(
            {"attn_out": "self_attn.out_proj", "resid_mid": "final_layer_norm"},
            _attn("self_attn", "out_proj"),
            PLAIN,
        ),
        blocks="model.decoder.layers",
        note="ReLU",
    ),
    "Llama": Family("LlamaConfig", GROUPED, LLAMA, rotary=True, note="grouped-query attention"),
    "Qwen 2": Family(
        "Qwen2Config", GROUPED, LLAMA, rotary=True, note="grouped queries; biases of q, k, v"
    ),
    "Qwen 3": Family(
        "Qwen3Config",
        GROUPED | {"head_dim": 10},
        LLAMA,
        rotary=True,
        note="grouped queries, wider than the residual stream; Q/K norm",
    ),
    "Gemma 2": Family(
        "Gemma2Config",
        GEMMA,
        GEMMAS,
        rotary=True,
        scale=0.25,
        norm_weight=0.0,  # Gemma multiplies by one plus it
        note="alternating windows, norms behind attention and MLP, wider queries",
        hub="google/gemma-2-2b",
    ),
    "Gemma 3": Family(
        "Gemma3TextConfig",
        GEMMA | {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]},
        GEMMAS,
        rotary=True,
        scale=0.25,
        norm_weight=0.0,  # Gemma multiplies by one plus it
        note="alternating windows and rotary bases, Q/K norm, norms behind, wider queries",
        hub="google/gemma-3-270m",
    ),
    "Phi": Family(
        "PhiConfig",
        UNGROUPED | {"partial_rotary_factor": 0.5},
        _places(
            {"attn_out": "self_attn.dense"},
            _attn("self_attn", "dense"),
            {site: f"mlp.{path}" for site, path in PLAIN.items()},
        ),
        rotary=True,
        note="attention and MLP in parallel, half of each head rotated",
        missing={
            "HookedTransformer": "TransformerLens 3.9 does not read Phi's configuration of "
            "transformers 5, so it becomes a TransformerBridge"
        },
    ),
    "Mixtral": Family(
        "MixtralConfig",
        GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
        {site: LLAMA[site] for site in LLAMA if site not in GATED} | {"mlp_out": ("out", "mlp")},
        rotary=True,
        note="mixture of experts: no MLP units",
    ),
}


#: Family and class, where the class has the family.
CASES = [
    (name, class_name)
    for name, family in FAMILIES.items()
    for class_name in tiny_models.CLASSES
    if class_name not in family.missing
]
#: Families that HookedTransformer has not, where a bridge takes its place.
REPLACED = [name for name, family in FAMILIES.items() if family.missing or family.hub]


def hugging_face(name: str, seed: int = 0) -> Any:
    """A random model of the family, as Hugging Face makes it."""
    family = FAMILIES[name]
    config = getattr(transformers, family.config)(
        vocab_size=len(tiny_models.tokenizer()), **IDS, **family.sizes
    )
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config)
    return tiny_models.randomise(model, seed, family.scale, family.norm_weight)


@cache
def loaded(name: str, class_name: str, folder: Any) -> Any:
    """The family's model in TransformerLens, by ``load_model`` where that can be."""
    if class_name == "HookedTransformer" and FAMILIES[name].hub:
        return _hooked_as_from_the_hub(hugging_face(name), FAMILIES[name].hub)
    return tiny_models.load(tiny_models.save(hugging_face(name), folder), class_name)


def _hooked_as_from_the_hub(hf: Any, hub: str) -> Any:
    """TransformerLens's own configuration for a name on the hub, with our sizes."""
    from transformer_lens import HookedTransformer
    from transformer_lens import loading_from_pretrained as loading

    cfg, ours = loading.get_pretrained_model_config(hub, device="cpu"), hf.config
    sizes = {
        "n_layers": ours.num_hidden_layers,
        "d_model": ours.hidden_size,
        "d_head": ours.head_dim,
        "rotary_dim": ours.head_dim,
        "n_heads": ours.num_attention_heads,
        "n_key_value_heads": ours.num_key_value_heads,
        "d_mlp": ours.intermediate_size,
        "n_ctx": ours.max_position_embeddings,
        "d_vocab": ours.vocab_size,
        "d_vocab_out": ours.vocab_size,
        "window_size": ours.sliding_window,
        "attn_types": [
            "local" if kind == "sliding_attention" else "global" for kind in ours.layer_types
        ],
        "attn_scale": ours.query_pre_attn_scalar**0.5,
        "tokenizer_name": None,
    }
    for size, value in sizes.items():
        assert hasattr(cfg, size)
        setattr(cfg, size, value)
    model = HookedTransformer(cfg)
    state = loading.get_pretrained_state_dict(hub, cfg, hf, dtype=torch.float32)
    model.load_state_dict(model.fill_missing_keys(state), strict=False)
    return model.eval().requires_grad_(False)


def _keep(
    of: list[Tensor], end: str, shape: Any, module: Any, given: Any, kwargs: Any, out: Any
) -> None:
    value = out if end == "out" else given[0] if given else kwargs["hidden_states"]
    value = value[0] if isinstance(value, tuple) else value
    of.append(value.detach().reshape(*shape, -1))  # OPT's MLP has examples and positions in one


def recorded(name: str, hf: Any, tokens: Tensor) -> dict[str, Tensor]:
    """What Hugging Face's own modules take and give: per site ``[layer, example, pos, unit]``."""
    family, seen = FAMILIES[name], {}
    blocks = hf.get_submodule(family.blocks)
    handles = []
    for block in blocks:
        for site, (end, path) in family.places.items():
            of = seen.setdefault(site, [])
            hook = partial(_keep, of, end, tokens.shape)
            module = block.get_submodule(path) if path else block
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    with torch.no_grad(), _recording_rotations(hf) as rotated:
        hf(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    values = {site: torch.stack(of) for site, of in seen.items()}
    if family.fused:
        heads = hf.config.num_attention_heads
        parts = rearrange(
            values["q"],
            f"layer example pos {family.fused} -> part layer example pos (head d_head)",
            part=3,
            head=heads,
        )
        values |= dict(zip("qkv", parts, strict=True))
    if family.rotary:
        values |= {site: torch.stack(of) for site, of in rotated.items()}
    assert {len(of) for of in values.values()} == {len(blocks)}
    return values


@contextmanager
def _recording_rotations(hf: Any) -> Iterator[dict[str, list[Tensor]]]:
    """Note the queries and keys that Hugging Face hands to its attention: rotated, in heads."""
    module, rotated = sys.modules[type(hf).__module__], {"rot_q": [], "rot_k": []}
    attend = getattr(module, "eager_attention_forward", None)

    def noted(block: Any, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        for site, value in zip(rotated, (query, key), strict=True):
            flat = rearrange(value, "example head pos d_head -> example pos (head d_head)")
            rotated[site].append(flat.detach())
        return attend(block, query, key, *args, **kwargs)

    if attend:
        module.eager_attention_forward = noted
    try:
        yield rotated
    finally:
        if attend:
            module.eager_attention_forward = attend


def table() -> str:
    """The list as ``examples/models.md`` shows it."""
    lines = [
        "| family | what is special | HookedTransformer | TransformerBridge | units of |",
        "|---|---|---|---|---|",
    ]
    for name, family in FAMILIES.items():
        cells = [f"{name} (`{family.config}`)", family.note]
        for class_name in ("HookedTransformer", "TransformerBridge"):
            sites = family.sites(class_name)
            kinds = [site for site in SITES if site not in sites]
            cell = f"all but {', '.join(f'`{site}`' for site in kinds)}" if kinds else "all"
            if class_name == "HookedTransformer" and family.hub:
                cell += f", as `{family.hub}` with these sizes; a folder becomes a bridge"
            cells.append(family.missing.get(class_name, cell))
        paths = dict.fromkeys(path for _, path in family.places.values() if path)
        cells.append(", ".join(f"`{path}`" for path in paths))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
