"""Find the words of a contrast among the tokens of a text.

A hit is kept with the index of its target token, or dropped with a reason that is counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .contrast import Contrast, Hit

TOO_SHORT = "in a document shorter than one window"
NEAR_START, NEAR_END = "too near the start", "too near the end"
SHARED = "shares its token with other words"
UNKNOWN = "not in the tokenizer's vocabulary"
NO_SPACE = "next token does not begin with a space"
BEFORE_NOT = "affirmation followed by not"
ONE_SIDED = "target token follows words of one list only"
SURPLUS = "target token follows one list's words more often"


class Tokenised(NamedTuple):
    """A text, its tokens, and where each begins and ends in it."""

    content: str
    tokenizer: Any
    ids: np.ndarray  # token
    starts: np.ndarray  # character at which each token begins
    ends: np.ndarray


Found: TypeAlias = tuple[int, Hit]
"""Token index of the target, and the hit; a reason in the hit says that it is dropped."""


def tokenise(content: str, tokenizer: Any) -> Tokenised:
    """Tokenise a text without special tokens."""
    encoded = tokenizer(
        content,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        padding=False,
        truncation=False,
        verbose=False,  # no warning that the text is longer than the model's context
    )
    offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    return Tokenised(content, tokenizer, ids, offsets[:, 0], offsets[:, 1])


def find_words(text: Tokenised, contrast: Contrast, before: int, after: int) -> Iterator[Found]:
    """Hits of the contrast with the token that holds the last character of each."""
    for hit in contrast.find(text.content):
        # Where several tokens make up one character, the last of them.
        position = int(np.searchsorted(text.starts, hit.end - 1, side="right")) - 1
        reason = hit.reason or _token_reason(text, hit, position)
        yield position, hit._replace(reason=reason or _edge_reason(text, position, before, after))


def _token_reason(text: Tokenised, hit: Hit, position: int) -> str | None:
    missing = position < 0 or text.ends[position] < hit.end
    if missing or text.ids[position] == text.tokenizer.unk_token_id:
        return UNKNOWN
    start, end = text.starts[position], text.ends[position]
    around = text.content[start : hit.start] + text.content[hit.end : end]
    return SHARED if any(map(str.isalnum, around)) else None


def _edge_reason(text: Tokenised, position: int, before: int, after: int) -> str | None:
    if len(text.ids) < before + 1 + after:
        return TOO_SHORT
    if position < before:
        return NEAR_START
    return NEAR_END if position + after >= len(text.ids) else None


def find_as_notebook(
    text: Tokenised, contrast: Contrast, before: int, after: int
) -> Iterator[Found]:
    """Apply the reference notebook's rule, token by token."""
    negation, affirmation = contrast.lists.values()
    decode = cache(lambda token: _decode(text.tokenizer, [token]))
    tokens = [decode(token) for token in text.ids.tolist()]
    for position, (token, following) in enumerate(zip(tokens, [*tokens[1:], ""], strict=True)):
        word = token.strip().lower()
        if "'t" in token:
            word, label = "n't", 1
        elif word in negation or word in affirmation:
            label = int(word in negation)
        else:
            continue
        reason = _edge_reason(text, position, before, after)
        if not following.startswith(" "):
            reason = reason or NO_SPACE
        elif label == 0 and following.strip().lower() == "not":
            reason = reason or BEFORE_NOT
        yield position, Hit(*_stripped_span(text, position), word, label, reason)


def _stripped_span(text: Tokenised, position: int) -> tuple[int, int]:
    start, end = int(text.starts[position]), int(text.ends[position])
    written = text.content[start:end]
    return start + len(written) - len(written.lstrip()), end


def surplus(targets: Sequence[int], labels: Sequence[int], seed: int) -> dict[int, str]:
    """Which hits to leave out so that each target token follows both lists' words equally often.

    Parameters
    ----------
    targets, labels
        Target token and label of each hit.
    seed
        Of the draw.

    Returns
    -------
    dict
        Index of a hit -> why it is left out.
    """
    rng = np.random.default_rng(seed)
    hits: dict[int, tuple[list[int], list[int]]] = {}
    for i, (target, label) in enumerate(zip(targets, labels, strict=True)):
        hits.setdefault(target, ([], []))[label].append(i)
    out = {}
    for by_label in hits.values():
        n = min(map(len, by_label))
        for rows in by_label:
            out |= dict.fromkeys(rng.permutation(rows)[n:].tolist(), SURPLUS if n else ONE_SIDED)
    return out


def require_both_classes(
    labels: Sequence[int], contrast: Contrast, dropped: Mapping[str, Mapping[str, int]]
) -> None:
    """Refuse a text in which one of the lists has no example.

    Raises
    ------
    ValueError
        Names the list, its words and what was left out.
    """
    for label in (1, 0):
        if label not in labels:
            raise ValueError(_empty_class(contrast, contrast.groups[label], dropped))


def _empty_class(contrast: Contrast, group: str, dropped: Mapping[str, Mapping[str, int]]) -> str:
    reasons = [f"{by[group]} {reason}" for reason, by in dropped.items() if by[group]]
    return (
        f"each list needs an example; {group!r} ({', '.join(contrast.lists[group])}) has none "
        f"in this text. Hits left out: {'; '.join(reasons) or 'none'}. "
        "Give a longer text, other words, or a smaller window"
    )


def _decode(tokenizer: Any, tokens: list[int]) -> str:
    return tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def decoder(tokenizer: Any) -> Callable[[int], str]:
    """Decode one token as within a text: SentencePiece drops the space of a text's first token."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    skip = len(_decode(tokenizer, anchor))
    return cache(lambda token: _decode(tokenizer, [*anchor, token])[skip:])
