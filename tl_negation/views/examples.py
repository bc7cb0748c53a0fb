"""Which contexts a view shows, and their tokens as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from .._shared import Seed, decoder, validated
from ..corpus import ABSENT, Contexts


@validated
def spread_examples(contexts: Contexts, n: int = 10, seed: Seed = 0) -> list[int]:
    """Choose ``n`` contexts: half of each class, its words in turn, each drawn at random.

    Going through the words, frequent ones first, shows whether a unit knows more than the one
    or two words that make up most of a class.

    Parameters
    ----------
    contexts
        From :func:`tl_negation.find_contexts`.
    n
        How many; fewer if a class has fewer.
    seed
        Of the draw.

    Returns
    -------
    list of int
        Positions of the contexts, those of the first class first.

    Raises
    ------
    ValueError
        ``n`` is below 2.

    Examples
    --------
    >>> chosen = tln.views.spread_examples(contexts, 6)
    >>> contexts.examples["word"].iloc[chosen].tolist()
    ["n't", 'not', 'cannot', 'can', 'agree', 'always']
    """
    if n < 2:
        raise ValueError(f"at least 2 contexts are needed, one of each class; got n = {n}")
    rng = np.random.default_rng(seed)
    chosen = []
    for label in (1, 0):
        rows = contexts.examples.reset_index(drop=True)
        rows = rows[rows["label"] == label].sample(frac=1, random_state=rng)
        rows = rows.assign(
            turn=rows.groupby("word").cumcount(),
            count=rows.groupby("word")["word"].transform("size"),
        ).sort_values(["turn", "count", "word"], ascending=[True, False, True], kind="stable")
        chosen += rows.index[: n // 2].tolist()
    return chosen


def chosen_examples(contexts: Contexts, examples: Sequence[int] | None, n: int) -> list[int]:
    """Give the examples that were asked for, or ``n`` of :func:`spread_examples`.

    Raises
    ------
    ValueError
        An empty list was asked for; ``n`` is below 2.
    IndexError
        An example that does not exist.
    """
    chosen = spread_examples(contexts, n) if examples is None else [int(i) for i in examples]
    if not chosen:
        raise ValueError("no example was asked for; leave `examples` out to have some chosen")
    outside = [example for example in chosen if not 0 <= example < len(contexts)]
    if outside:
        raise IndexError(f"example must be between 0 and {len(contexts) - 1}, got {outside[0]}")
    return chosen


def token_texts(tokenizer: Any, tokens: Int[Tensor, "example pos"]) -> list[list[str]]:
    """Decode each token by itself; an empty string stands for no token."""
    decode = decoder(tokenizer)
    return [[decode(t) if t != ABSENT else "" for t in row] for row in tokens.tolist()]
