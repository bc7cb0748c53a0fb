"""Find the target words of a contrast in a text, and cut a window of tokens around each."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from .._shared import Count, Preset, Seed, TokenCount, bos_of, check_fast, validated
from .contexts import Contexts
from .contrast import NEGATION, Contrast
from .finding import COLUMNS, Finder, Rule, require_both_classes, rule_of
from .text import Corpus, Text


@validated
def find_contexts(
    text: Text | Corpus | str,
    tokenizer: Any,
    contrast: Contrast = NEGATION,
    before: TokenCount = 90,
    after: TokenCount = 10,
    preset: Preset = None,
    seed: Seed = 0,
    prepend_bos: bool | None = None,
    per_class: Count | None = None,
) -> Contexts:
    """Find the words of a contrast and cut a window of tokens around each.

    Parameters
    ----------
    text
        From :func:`tl_negation.load_text`; a string is taken as the text itself. Several documents
        are read one at a time, and no window reaches from one into another.
    tokenizer
        A fast tokenizer of transformers (byte-level BPE, SentencePiece ...): ``model.tokenizer``.
    contrast
        What to look for.
    before, after
        Tokens of the window on either side of the target. A target with fewer tokens on a side is
        left out.
    preset
        Name of another rule of finding. ``"notebook"`` applies the reference notebook's rule token
        by token: it reads ``text.raw`` (licence and line ends included); the token itself must be
        one of the words, or contain ``'t``; the next token must begin with a space, and must not
        be *not* after an affirmation. For one document and ``NEGATION`` only.
        ``examples/findings.md`` says what that rule gets wrong.
    seed
        Seed of the draw that balances the targets of a carried contrast (``Contrast.carried``),
        and of the sample of ``per_class``; nothing else is drawn.
    prepend_bos
        Begin each window with the tokenizer's BOS token: ``[BOS, before tokens, target, after]``.
        By default a window begins as the model's training texts did, judged by what its tokenizer
        does with a text: Llama's, Gemma's and OPT's put BOS in front, GPT-2's and SmolLM2's do not.
        (TransformerLens makes every tokenizer do it; its files are asked instead.) Never with
        ``preset="notebook"``.
    per_class
        Keep only this many contexts of each class, drawn at random with ``seed``, as
        :meth:`Contexts.sample` does; all if not given.

    Returns
    -------
    Contexts

    Raises
    ------
    TypeError
        The tokenizer is not a fast one, or an argument is of another type.
    ValueError
        A negative window; an unknown preset; ``preset="notebook"`` with several documents, another
        contrast or BOS; BOS from a tokenizer that does not have it; a text shorter than a window; a
        list of the contrast without any example.

    Notes
    -----
    By default, words are found in the text by ``Contrast.find``, and the target is the token that
    holds the word's last character. A hit is left out, and counted, if that token also holds
    letters of other words, is the tokenizer's unknown token, or is too near either end of its
    document.

    Examples
    --------
    >>> story = "We can see it, and they can not go home, but you may stay."
    >>> found = tln.find_contexts(story, model.tokenizer, before=2, after=1, prepend_bos=False)
    >>> found.examples[["label", "word", "passage"]]
       label word            passage
    0      0  can         We can see
    1      1  not    they can not go
    2      0  may   but you may stay
    >>> found.source["dropped"]
    {'affirmation followed by not': {'negation': 0, 'affirmation': 1}}
    """
    rule = rule_of(preset)
    text = Text.from_string(text) if isinstance(text, str) else text
    check_fast(tokenizer)
    _check_rule(rule, preset, contrast, text)
    bos = _bos_token(tokenizer, rule, preset, prepend_bos)
    finder = Finder(tokenizer, contrast, before, after, rule)
    for document in (text,) if isinstance(text, Text) else text.read():
        finder.add(document)
    finder.require_a_window(text.source)
    if contrast.distance:
        finder.balance(seed)
    require_both_classes(finder.labels, contrast, finder.dropped)
    first = np.full((len(finder.rows), len(bos)), bos, dtype=np.int64)
    contexts = Contexts(
        tokens=torch.from_numpy(np.hstack([first, finder.windows])),
        examples=pd.DataFrame(finder.rows, columns=COLUMNS),
        before=len(bos) + before,
        contrast=contrast,
        source={
            "source": text.source,
            **finder.provenance(),
            "tokenizer": str(tokenizer.name_or_path),
            "tokenizer_class": type(tokenizer).__name__,
            "vocab_size": len(tokenizer),
            "preset": preset,
            "contrast": contrast.to_dict(),
            "dropped": finder.dropped,
            "prepend_bos": bool(bos),
        },
    )
    return contexts if per_class is None else contexts.sample(per_class, seed)


def _check_rule(rule: Rule, preset: str | None, contrast: Contrast, text: Text | Corpus) -> None:
    if rule.contrast is not None and contrast != rule.contrast:
        raise ValueError(
            f"preset={preset!r} is the rule for the contrast {rule.contrast.name!r} only; got "
            f"{contrast.name!r}: use preset=None with another contrast"
        )
    if rule.one_document and isinstance(text, Corpus):
        raise ValueError(
            f"preset={preset!r} is the rule for a single document; got {text!r}: name one of its "
            "documents, or use preset=None"
        )


def _bos_token(
    tokenizer: Any, rule: Rule, preset: str | None, prepend_bos: bool | None
) -> tuple[int, ...]:
    """Tokens in front of a window: BOS or nothing."""
    if not rule.bos:
        if prepend_bos:
            raise ValueError(
                f"windows begin without BOS under preset={preset!r}; got prepend_bos=True: leave "
                "one of the two out"
            )
        return ()
    return bos_of(tokenizer, prepend_bos)
