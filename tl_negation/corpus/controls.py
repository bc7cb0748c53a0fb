"""A contrast that has nothing to do with polarity: the same sizes and frequencies, other words."""

import re
from collections import Counter
from typing import Any

import numpy as np

from .._shared import Seed, validated
from .contexts import Contexts, find_contexts
from .contrast import APOSTROPHES, Contrast
from .text import Corpus, Text

# A single letter may stand for the clitic of "don't".
_WORD = re.compile(r"(?<![\w'-])[a-z]{2,}(?![\w'-])", re.IGNORECASE)
#: A control word is drawn from so many of the words whose frequency is nearest from above.
CANDIDATES = 10


@validated
def control(contexts: Contexts, text: Text | Corpus, tokenizer: Any, *, seed: Seed = 0) -> Contexts:
    """Draw contexts of arbitrary words, matched one to one in class sizes and word frequencies.

    For every word type of ``contexts`` another word of the text is drawn at random among the ten
    that are just frequent enough, and as many of its occurrences are taken. Whatever a scan of
    these shows, it is not polarity.

    Parameters
    ----------
    contexts
        Of a contrast whose targets are its own words (not a carried one).
    text, tokenizer
        Those that ``contexts`` were found with.
    seed
        Of words and occurrences.

    Returns
    -------
    Contexts
        Of the contrast ``"control (seed N)"``, lists ``control 1`` and ``control 0``.

    Raises
    ------
    ValueError
        Contexts of a carried contrast; a text without words frequent enough.
    """
    if contexts.contrast.distance:
        raise ValueError(
            "a control matches the words of a contrast; a carried contrast has the same targets in "
            "both classes and needs none"
        )
    rng = np.random.default_rng(seed)
    wanted = Counter(zip(contexts.labels.tolist(), contexts.words, strict=True)).most_common()
    window = {"before": contexts.text_before, "after": contexts.after}
    window |= {"prepend_bos": contexts.prepend_bos}
    available = _frequencies(text, contexts, rng)
    while True:
        words = _draw(available, [count for _, count in wanted], rng)
        lists = {
            f"control {label}": [
                word for word, ((of, _), _) in zip(words, wanted, strict=True) if of == label
            ]
            for label in (1, 0)
        }
        contrast = Contrast(f"control (seed {seed})", lists)
        found = find_contexts(text, tokenizer, contrast, **window)
        kept = Counter(found.words)
        take = {word: count for word, (_, count) in zip(words, wanted, strict=True)}
        short = [word for word, count in take.items() if kept[word] < count]
        if not short:
            return _take(found, take, rng)
        for word in short:  # its occurrences are no tokens of their own: draw without it
            del available[word]


def _frequencies(
    text: Text | Corpus, contexts: Contexts, rng: np.random.Generator
) -> dict[str, int]:
    """How often each word occurs that is not of the contrast, ties in random order."""
    counts: Counter[str] = Counter()
    for document in (text,) if isinstance(text, Text) else text:
        content = document.content.translate(APOSTROPHES)
        found = [match[0].lower() for match in _WORD.finditer(content)]
        # A word is a token or more, so that these have a whole window on either side.
        counts.update(found[contexts.text_before : max(0, len(found) - contexts.after)])
    words = "\n".join(counts)
    own = {words[hit.start : hit.end] for hit in contexts.contrast.find(words)}
    own |= {word.partition("|")[0] for of in contexts.contrast.lists.values() for word in of}
    words = [word for word in counts if word not in own]
    shuffled = [words[i] for i in rng.permutation(len(words))]
    return {word: counts[word] for word in sorted(shuffled, key=counts.__getitem__)}


def _draw(available: dict[str, int], counts: list[int], rng: np.random.Generator) -> list[str]:
    """For each count, a word at random among the few that are just frequent enough."""
    drawn: list[str] = []
    for count in counts:
        enough = [word for word, n in available.items() if n >= count and word not in drawn]
        if not enough:
            raise ValueError(
                f"no word of the text is left that occurs {count} times with a whole window; use a "
                "longer text or a sample of the contexts"
            )
        drawn.append(enough[rng.integers(min(len(enough), CANDIDATES))])
    return drawn


def _take(contexts: Contexts, counts: dict[str, int], rng: np.random.Generator) -> Contexts:
    words = np.array(contexts.words)
    drawn = [rng.permutation(np.flatnonzero(words == word))[:n] for word, n in counts.items()]
    return contexts.take(np.sort(np.concatenate(drawn)))
