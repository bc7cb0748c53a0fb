"""How the package runs a model: windows without padding, one thread at a time.

A window is a stretch of a text: nothing in it is padding, whatever the tokenizer's padding side is.
Hooks belong to the model and not to a call, so two threads that run one model would read each
other's.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor

from .protocol import TransformerLensModel

#: A lock per model, by the model that all wrappers of it share.
_TURNS: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # type: ignore[type-arg]
_NEW_TURN = threading.Lock()


@contextmanager
def alone_with(model: TransformerLensModel) -> Iterator[None]:
    """Let no other thread of this package run the model until the context ends.

    Another thread that asks for the same model waits; other models run at the same time.
    """
    with _turn(model):
        yield


def _turn(model: TransformerLensModel) -> Any:
    shared = getattr(model, "original_model", None)  # two bridges may hold one Hugging Face model
    shared = model if shared is None else shared
    with _NEW_TURN:
        return _TURNS.setdefault(shared, threading.RLock())


def run_windows(
    model: TransformerLensModel,
    tokens: Int[Tensor, "example pos"],
    return_type: str | None = None,
    **options: Any,
) -> Any:
    """Run tokens through the model; every one of them counts.

    A HookedTransformer takes the first tokens of a row for padding if they are the padding token
    and its tokenizer pads on the left, or if it keeps keys and values. BOS is the padding token of
    many models. A bridge does so with strings only.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    tokens : Int[Tensor, "example pos"]
    return_type : str, optional
        ``"logits"``, or nothing.
    options
        Further arguments of the model's forward pass.
    """
    if hasattr(model, "original_model"):
        # A Hugging Face model would fill a key/value cache that nobody reads.
        options = {"use_cache": False} | options
    elif "past_kv_cache" in options or getattr(model.tokenizer, "padding_side", "") == "left":
        options["attention_mask"] = torch.ones_like(tokens)
    return model(tokens, return_type=return_type, **options)
