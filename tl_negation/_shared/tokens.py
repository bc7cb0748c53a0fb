"""Tokens: whether a tokenizer begins with BOS, where each token is in its text, a token decoded.

A ``tokenizer`` is one of transformers' fast tokenizers.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

#: Attribute of a tokenizer that keeps whether it began with BOS before TransformerLens changed it.
MARK = "tl_negation_prepends_bos"


def remember_bos(tokenizer: Any, prepends: bool) -> None:
    """Note on a tokenizer that TransformerLens will change whether it began a text with BOS."""
    setattr(tokenizer, MARK, prepends)


def encodes_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer, as it is set now, begins a text with BOS."""
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a", add_special_tokens=True)["input_ids"][0] == bos


def prepends_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer, as its maker left it, begins a text with BOS.

    Both model classes of TransformerLens load their tokenizer again with ``add_bos_token=True``,
    even if the model was trained without BOS (GPT-2). For such a tokenizer we go by what
    ``load_model`` noted, or else by the tokenizer's own files, which are read again.

    Raises
    ------
    ValueError
        The tokenizer was set to prepend BOS, and its files are no longer there to be read.
    """
    if hasattr(tokenizer, MARK):
        return bool(getattr(tokenizer, MARK))
    if not encodes_bos(tokenizer):
        return False
    if not getattr(tokenizer, "init_kwargs", {}).get("add_bos_token"):
        return True
    return encodes_bos(_as_made(tokenizer))


def _as_made(tokenizer: Any) -> Any:
    """Load the tokenizer as its maker left it, from the files it came from."""
    from transformers import AutoTokenizer

    name = str(tokenizer.name_or_path)
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot tell whether the tokenizer {name!r} begins a text with BOS by itself: it was "
            f"loaded with add_bos_token=True, as TransformerLens loads every tokenizer, and its "
            f"files are not here to be read again; pass prepend_bos=True or prepend_bos=False"
        ) from error


def bos_of(tokenizer: Any, prepend_bos: bool | None) -> tuple[int, ...]:
    """Tokens in front of a text: BOS or nothing; None asks what the tokenizer itself does.

    Raises
    ------
    ValueError
        BOS is asked for, and the tokenizer does not have it.
    """
    if prepend_bos is None:
        prepend_bos = prepends_bos(tokenizer)
    if prepend_bos and tokenizer.bos_token_id is None:
        raise ValueError(
            f"prepend_bos=True needs a BOS token, and {type(tokenizer).__name__} "
            f"{str(tokenizer.name_or_path)!r} does not have one: use prepend_bos=False"
        )
    return (int(tokenizer.bos_token_id),) if prepend_bos else ()


def check_fast(tokenizer: Any) -> None:
    """Raise TypeError unless the tokenizer knows where in a text its tokens are."""
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(
            "the tokenizer must be a fast one, which knows where its tokens are in the text; got "
            f"{type(tokenizer).__name__}: use AutoTokenizer.from_pretrained(name, use_fast=True)"
        )


class Tokenised(NamedTuple):
    """A text, its tokens, and where each begins and ends in it."""

    content: str
    tokenizer: Any
    ids: np.ndarray  # token
    starts: np.ndarray  # character at which each token begins
    ends: np.ndarray


def tokenise(content: str, tokenizer: Any) -> Tokenised:
    """Tokenise a text without special tokens."""
    return next(tokenise_each([content], tokenizer))


def tokenise_each(contents: list[str], tokenizer: Any) -> Iterator[Tokenised]:
    """Tokenise texts, each by itself and without special tokens."""
    encoded = tokenizer(
        contents,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        padding=False,
        truncation=False,
        verbose=False,  # no warning that a text is longer than the model's context
    )
    parts = zip(contents, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for content, tokens, places in parts:
        offsets = np.array(places, dtype=np.int64).reshape(-1, 2)
        ids = np.array(tokens, dtype=np.int64)
        yield Tokenised(content, tokenizer, ids, offsets[:, 0], offsets[:, 1])


def decode_tokens(tokenizer: Any, tokens: list[int]) -> str:
    """Decode tokens without the tidying of spaces that some tokenizers do by default."""
    return tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def decoder(tokenizer: Any) -> Callable[[int], str]:
    """Build a function that decodes one token as it reads within a text.

    A token is decoded behind an "a" that is then cut off, because SentencePiece drops the space of
    a text's first token.
    """
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    skip = len(decode_tokens(tokenizer, anchor))
    return cache(lambda token: decode_tokens(tokenizer, [*anchor, token])[skip:])
