"""Tiny random models and contexts: every dimension different, nothing at its neutral value."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.contrast import NEGATION
from tl_negation.models.loading import load_model
from tl_negation.models.protocol import TransformerLensModel

try:
    from transformer_lens import HookedTransformer  # noqa: F401
except ImportError:  # TransformerLens 4
    CLASSES = ("TransformerBridge",)
else:
    CLASSES = ("HookedTransformer", "TransformerBridge")

GPT2 = {"n_layer": 3, "n_head": 5, "n_embd": 20, "n_positions": 32}  # d_head 4, d_mlp 80
LLAMA = {
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "hidden_size": 48,  # d_head 8
    "intermediate_size": 56,
    "max_position_embeddings": 40,
}
WORDS = {
    "negation": ("not", "never", "cannot", "n't"),
    "affirmation": ("can", "may", "always", "should"),
}
SENTENCES = (
    "He can not see it, and you may never know. I should always go home, but I cannot.\n"
    "They don't agree that she could stay; we didn't say it, nor might they. You shall see.\n"
)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on ``SENTENCES``: each of their words is a token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[end], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([f"{SENTENCES} n't"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=end, eos_token=end, model_max_length=32
    )


def gpt2(seed: int = 0, **changes: Any) -> GPT2LMHeadModel:
    """A random GPT-2 with LayerNorms and biases away from 1 and 0."""
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = GPT2Config(vocab_size=len(tokenizer()), **ids, **(GPT2 | changes))
    return randomise(GPT2LMHeadModel(config), seed)


def llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A random Llama with grouped-query attention: 6 query heads, 3 key/value heads."""
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = LlamaConfig(vocab_size=len(tokenizer()), **ids, **(LLAMA | changes))
    return randomise(LlamaForCausalLM(config), seed)


def randomise(
    model: PreTrainedModel, seed: int, scale: float = 0.3, norm_weight: float = 1.0
) -> Any:
    """Give every parameter a value of its own, none of them neutral."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        for module in model.modules():
            if "Norm" in type(module).__name__:
                module.weight += norm_weight
    return model.eval()


def save(model: PreTrainedModel, folder: Path) -> Path:
    """Write the model and the tokenizer as Hugging Face does."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def gpt2_folder(path: Path, seed: int = 0, **changes: Any) -> Path:
    """A Hugging Face folder with a random GPT-2 and its tokenizer."""
    return save(gpt2(seed, **changes), path / "tiny-gpt2")


def llama_folder(path: Path, seed: int = 0, **changes: Any) -> Path:
    """A Hugging Face folder with a random Llama and its tokenizer."""
    return save(llama(seed, **changes), path / "tiny-llama")


#: What writes a model's folder, by the family of the model.
FOLDERS = {"gpt2": gpt2_folder, "llama": llama_folder}


def load(folder: Path, name: str = CLASSES[0], **options: Any) -> Any:
    """Load a folder as the class of that name."""
    return load_model(folder, bridge=name == "TransformerBridge", device="cpu", **options)


def as_librarys(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that only watches pass for one of the libraries, not for somebody's change."""
    names = {**function.__globals__, "__name__": "transformer_lens.made_by_a_test"}
    made = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class StandIn:
    """An object with the members of a TransformerLens model and nothing behind them."""

    def __init__(self, **parts: Any):
        members = {name for name in vars(TransformerLensModel) if not name.startswith("_")}
        vars(self).update(dict.fromkeys((*members, "__call__"), print) | parts)


def contexts(n: int = 11, before: int = 6, after: int = 2, seed: int = 0) -> Contexts:
    """Random windows for the tiny vocabulary with a target word in each; labels alternate."""
    generator = torch.Generator().manual_seed(seed)
    tok = tokenizer()
    tokens = torch.randint(1, len(tok), (n, before + 1 + after), generator=generator)
    rows = []
    for example in range(n):
        group = ("negation", "affirmation")[example % 2]
        words = WORDS[group]
        word = words[example // 2 % len(words)]
        target = tok.encode("didn't" if word == "n't" else f" {word}")[-1]
        tokens[example, before] = target
        rows.append(
            {
                "label": int(group == "negation"),
                "group": group,
                "word": word,
                "surface": "didn't" if word == "n't" else word,
                "token": tok.decode([target]),
                "position": before + example * (before + 1 + after),
                "start": 100 * example,
                "end": 100 * example + len(word),
                "passage": tok.decode(tokens[example]),
                "in_boilerplate": False,
                "document": 0,
            }
        )
    source = {"source": "random", "tokenizer": "tiny", "seed": seed}
    source["contrast"] = NEGATION.to_dict()
    return Contexts(tokens, pd.DataFrame(rows), before, NEGATION, source)


FILLERS = ("he", "see", "it", "and", "you", "know", "go", "home", "but", "they", "that", "she")
FILLERS += ("stay", "we", "say", "all")
TARGETS = ("not", "don't", "can", "may", "never", "can't", "could", "always", "not", "cannot")
TARGETS += ("might", "should", "nor", "didn't", "can", "shall", "agree")


def story(n: int = 204, seed: int = 0) -> str:
    """``n`` words of ``NEGATION``, each as often as in ``TARGETS``, two to four words apart."""
    rng = random.Random(seed)
    words = []
    for i in range(n):
        words += [*rng.choices(FILLERS, k=rng.randint(2, 4)), TARGETS[i % len(TARGETS)]]
    return " ".join([*words, *FILLERS])
