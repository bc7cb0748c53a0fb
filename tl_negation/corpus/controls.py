"""A contrast that has nothing to do with polarity: the same sizes and frequencies, other words."""

import re
from collections import Counter
from typing import Any

import numpy as np

from .._shared import Seed, validated
from .contexts import Contexts
from .contrast import Contrast
from .reading import read
from .targets import find_contexts
from .text import Corpus, Text

# At least two letters: a single one may be the clitic of "don't".
_WORD = re.compile(r"(?<![\w'-])[a-z]{2,}(?![\w'-])", re.IGNORECASE)
#: A control word is drawn from this many words, those whose frequency is nearest from above.
CANDIDATES = 10


@validated
def control(contexts: Contexts, text: Text | Corpus, tokenizer: Any, *, seed: Seed = 0) -> Contexts:
    """Draw contexts of arbitrary words, matched one to one in class sizes and word frequencies.

    For every word type of ``contexts`` another word of the text is drawn at random among the ten
    that are just frequent enough, and an equal number of its occurrences is taken. Whatever a scan
    of these shows, it is not polarity.

    Parameters
    ----------
    contexts
        Contexts of a contrast whose targets are its own words (not a carried one).
    text, tokenizer
        Those with which ``contexts`` were found.
    seed
        Seed of the draw of words and occurrences.

    Returns
    -------
    Contexts
        Their contrast is ``"control (seed N)"``, with the lists ``control 1`` and ``control 0``.

    Raises
    ------
    TypeError
        An argument of another type.
    ValueError
        Contexts of a carried contrast, or of examples of one's own; a text without words that are
        frequent enough.

    Notes
    -----
    The words differ in meaning and part of speech, and one draw may split them along such a line.
    One control therefore does not give the level to expect by chance; several seeds do.

    Examples
    --------
    >>> matched = tln.control(contexts, text, model.tokenizer)
    >>> matched
    Contexts(95 control 1, 108 control 0; 6 + 1 + 2 tokens; string, 944 tokens)
    >>> set(matched.words) & set(contexts.words)
    set()
    """
    if not isinstance(contexts.contrast, Contrast):
        raise ValueError(
            "a control matches the words that a contrast finds in a text; these are examples of "
            "your own, which are no words of a text: label other sentences as their control"
        )
    if contexts.contrast.distance:
        raise ValueError(
            "a control matches the words of a contrast; a carried contrast has the same targets in "
            "both classes and needs none"
        )
    rng = np.random.default_rng(seed)
    wanted = Counter(zip(contexts.labels.tolist(), contexts.words, strict=True)).most_common()
    labels = [label for (label, _), _ in wanted]
    counts = [count for _, count in wanted]
    available = _frequencies(text, contexts, contexts.contrast, rng)
    while True:
        words = _draw(available, counts, rng)
        lists = {
            f"control {label}": [w for w, own in zip(words, labels, strict=True) if own == label]
            for label in (1, 0)
        }
        found = find_contexts(
            text,
            tokenizer,
            Contrast(f"control (seed {seed})", lists),
            before=contexts.text_before,
            after=contexts.after,
            prepend_bos=contexts.prepend_bos,
        )
        kept = Counter(found.words)
        take = dict(zip(words, counts, strict=True))
        short = [word for word, count in take.items() if kept[word] < count]
        if not short:
            return _take(found, take, rng)
        for word in short:  # the tokenizer does not give it tokens of its own: draw without it
            del available[word]


def _frequencies(
    text: Text | Corpus, contexts: Contexts, contrast: Contrast, rng: np.random.Generator
) -> dict[str, int]:
    """Count the words that are not of the contrast, the rarest first, ties in random order."""
    counts: Counter[str] = Counter()
    for document in (text,) if isinstance(text, Text) else text:
        content = read(document.content).text
        found = [match[0].lower() for match in _WORD.finditer(content)]
        # A word is at least one token, so all of these have a whole window on either side.
        counts.update(found[contexts.text_before : max(0, len(found) - contexts.after)])
    lines = "\n".join(counts)  # found among these are the words that a pattern covers
    own = {lines[hit.start : hit.end] for hit in contrast.find(lines)}
    lists = contrast.lists.values()
    own |= {word.partition("|")[0] for entries in lists for word in entries}
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
                "longer text or a sample of the contexts (contexts.sample)"
            )
        drawn.append(enough[rng.integers(min(len(enough), CANDIDATES))])
    return drawn


def _take(contexts: Contexts, counts: dict[str, int], rng: np.random.Generator) -> Contexts:
    words = np.array(contexts.words)
    drawn = [rng.permutation(np.flatnonzero(words == word))[:n] for word, n in counts.items()]
    return contexts.take(np.sort(np.concatenate(drawn)))
