"""Find the words of a contrast in documents: the rules, the hits, and why a hit is left out.

A rule is one entry of ``RULES``; its key is the preset that selects it.
"""

import hashlib
from collections import Counter, UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from .._shared import PRESETS, Tokenised, decode_tokens, decoder, tokenise
from .contrast import NEGATION, Contrast, Hit
from .text import Text

#: Columns of ``Contexts.examples``; ``Finder`` writes its rows in this order.
COLUMNS = ["label", "group", "word", "surface", "token", "position", "start", "end"]
COLUMNS += ["passage", "in_boilerplate", "document"]
#: This many documents are listed one by one in the provenance.
LISTED = 100
# Why a hit is left out, as audits and messages tell it.
TOO_SHORT = "in a document shorter than one window"
NEAR_START, NEAR_END = "too near the start", "too near the end"
SHARED = "shares its token with other words"
UNKNOWN = "not in the tokenizer's vocabulary"
NO_SPACE = "next token does not begin with a space"
BEFORE_NOT = "affirmation followed by not"
ONE_SIDED = "target token follows words of one list only"
SURPLUS = "target token follows one list's words more often"

Found: TypeAlias = tuple[int, Hit]
"""Token index of the target, and the hit; a hit with a reason is left out."""


def find_words(text: Tokenised, contrast: Contrast, _before: int, _after: int) -> Iterator[Found]:
    """Find whole words in the text; the target is the token of the word's last character."""
    for hit in contrast.find(text.content):
        # Where several tokens make up one character, the last of them.
        position = int(np.searchsorted(text.starts, hit.end - 1, side="right")) - 1
        reason = hit.reason or token_reason(text, hit.start, hit.end, position)
        yield position, hit._replace(reason=reason)


def token_reason(text: Tokenised, start: int, end: int, position: int) -> str | None:
    """Why the token of a span's last character cannot be its target; None if it can."""
    missing = position < 0 or text.ends[position] < end
    if missing or text.ids[position] == text.tokenizer.unk_token_id:
        return UNKNOWN
    around = text.content[text.starts[position] : start] + text.content[end : text.ends[position]]
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
    """Apply the reference notebook's rule, token by token.

    A token that lies too near an end is left out for that reason, whatever else is wrong with it.
    """
    negation, affirmation = contrast.lists.values()
    decode = cache(lambda token: decode_tokens(text.tokenizer, [token]))
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


@dataclass(frozen=True)
class Rule:
    """How the words of a contrast are found in a document.

    Attributes
    ----------
    name
        What the rule does, as help texts and audits name it.
    find
        Called with the tokenised text, the contrast, and the number of tokens before and after a
        target; yields every hit with the index of its target token. A hit that is to be left out
        has a ``reason``; hits too near an end are left out in any case.
    whole_text
        Look at the whole document exactly as decoded, with Project Gutenberg's licence and the
        file's own line ends, instead of the work alone.
    bos
        Whether a window may begin with BOS.
    contrast
        The only contrast that the rule is made for; None: any.
    one_document
        Whether the rule is made for a single document.

    Notes
    -----
    After ``RULES["capitals"] = Rule("words in capitals", find_capitals)`` contexts are found that
    way by ``find_contexts(..., preset="capitals")``, and so by ``scan``.
    """

    name: str
    find: Callable[[Tokenised, Contrast, int, int], Iterator[Found]]
    whole_text: bool = False
    bos: bool = True
    contrast: Contrast | None = None
    one_document: bool = False

    def content(self, document: Text) -> str:
        """Text in which the rule looks for words."""
        return document.raw if self.whole_text else document.content

    def works(self, document: Text) -> tuple[tuple[int, int], ...]:
        """Character spans of the works within :meth:`content`."""
        return document.works if self.whole_text else document.works_in_content


class Rules(UserDict[str | None, Rule]):
    """Rules by the preset that selects them; None is the default.

    A new entry makes its key a preset, which every stage then accepts and messages and help name.
    """

    def __setitem__(self, preset: str | None, rule: Rule) -> None:
        super().__setitem__(preset, rule)
        if preset is not None:
            PRESETS.setdefault(preset, rule.name)

    def __delitem__(self, preset: str | None) -> None:
        super().__delitem__(preset)
        if preset is not None:
            PRESETS.pop(preset, None)


RULES = Rules(
    {
        None: Rule("whole words", find_words),
        "notebook": Rule(
            "notebook",
            find_as_notebook,
            whole_text=True,
            bos=False,
            contrast=NEGATION,
            one_document=True,
        ),
    }
)


def rule_of(preset: str | None) -> Rule:
    """Rule that a preset selects: the default where the preset says nothing about finding."""
    return RULES.get(preset, RULES[None])


def surplus(targets: Sequence[int], labels: Sequence[int], seed: int) -> dict[int, str]:
    """Choose the hits to leave out so that each target token follows both lists equally often.

    Parameters
    ----------
    targets, labels
        Target token and label of each hit.
    seed
        Seed of the draw.

    Returns
    -------
    dict
        Index of a hit -> why it is left out.
    """
    rng = np.random.default_rng(seed)
    rows_of: dict[int, tuple[list[int], list[int]]] = {}  # target -> rows of label 0, of label 1
    for row, (target, label) in enumerate(zip(targets, labels, strict=True)):
        rows_of.setdefault(target, ([], []))[label].append(row)
    reasons: dict[int, str] = {}
    for by_label in rows_of.values():
        kept = min(map(len, by_label))
        reason = SURPLUS if kept else ONE_SIDED
        for rows in by_label:
            reasons |= dict.fromkeys(rng.permutation(rows)[kept:].tolist(), reason)
    return reasons


def require_both_classes(
    labels: Sequence[int], contrast: Contrast, dropped: Mapping[str, Mapping[str, int]]
) -> None:
    """Refuse a text in which one of the lists has no example.

    Raises
    ------
    ValueError
        A list has no example; the message names its words and what was left out.
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


class Finder:
    """Collects the hits of a contrast, one document after the other.

    Of each document only its windows, their rows and a few counts are kept.
    """

    def __init__(
        self, tokenizer: Any, contrast: Contrast, before: int, after: int, rule: Rule
    ) -> None:
        self.tokenizer, self.contrast, self.rule = tokenizer, contrast, rule
        self.before, self.after = before, after
        self.rows: list[tuple[Any, ...]] = []
        self.dropped: dict[str, dict[str, int]] = {}
        self._windows: list[np.ndarray] = []
        self._decode = decoder(tokenizer)
        self._digest = hashlib.sha256()
        self._listed: list[dict[str, Any]] = []
        self._encodings: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._keep_boilerplate = rule.whole_text

    @property
    def width(self) -> int:
        """Tokens of a window."""
        return self.before + 1 + self.after

    @property
    def labels(self) -> list[int]:
        """Label of every example."""
        return [row[0] for row in self.rows]

    @property
    def windows(self) -> Int[np.ndarray, "example pos"]:
        """Token ids around every target."""
        return np.concatenate(self._windows)

    def add(self, document: Text | None) -> None:
        """Find the words in a document; None is a row of a data set without words."""
        if document is None:
            self._counts["empty_rows"] += 1
            return
        text = tokenise(self.rule.content(document), self.tokenizer)
        kept = list(self._kept(text))
        if kept:
            self._keep(text, kept, self.rule.works(document))
        self._count(document, text, len(kept))

    def _kept(self, text: Tokenised) -> Iterator[Found]:
        for position, hit in self.rule.find(text, self.contrast, self.before, self.after):
            reason = hit.reason or _edge_reason(text, position, self.before, self.after)
            if reason is None:
                yield position, hit
            else:
                self._drop(reason, hit.label)

    def _drop(self, reason: str, label: int) -> None:
        groups = self.contrast.groups
        self.dropped.setdefault(reason, dict.fromkeys(reversed(groups), 0))[groups[label]] += 1

    def _keep(self, text: Tokenised, kept: list[Found], works: Sequence[tuple[int, int]]) -> None:
        """Cut the windows, and write a row of ``COLUMNS`` for each."""
        positions = np.array([position for position, _ in kept], dtype=np.int64)
        window = positions[:, None] + np.arange(-self.before, self.after + 1)
        self._windows.append(text.ids[window])
        for (position, hit), first, last in zip(kept, window[:, 0], window[:, -1], strict=True):
            self.rows.append(
                (
                    hit.label,
                    self.contrast.groups[hit.label],
                    hit.word,
                    text.content[hit.start : hit.end],
                    self._decode(int(text.ids[position])),
                    position,
                    hit.start,
                    hit.end,
                    text.content[text.starts[first] : text.ends[last]],
                    not any(first <= hit.start and hit.end <= last for first, last in works),
                    self._counts["number"],
                )
            )

    def _count(self, document: Text, text: Tokenised, examples: int) -> None:
        n_tokens = len(text.ids)
        if len(self._listed) < LISTED:
            about = {"source": document.source, "sha256": document.sha256}
            self._listed.append({**about, "tokens": n_tokens, "examples": examples})
        self._digest.update(f"{document.sha256}\n".encode())
        self._encodings.add(document.encoding)
        self._keep_boilerplate |= document.keep_boilerplate
        self._counts["number"] += 1
        self._counts["characters"] += len(text.content)
        for place, characters in ({} if self.rule.whole_text else document.cut).items():
            self._counts[f"cut {place}"] += characters
        self._counts["tokens"] += n_tokens
        self._counts["with_examples"] += examples > 0
        self._counts["shorter_than_window"] += n_tokens < self.width
        self._counts["longest"] = max(self._counts["longest"], n_tokens)

    def require_a_window(self, source: str) -> None:
        """Refuse texts that are all shorter than a window.

        Raises
        ------
        ValueError
            No document, or none long enough; the message gives the length of the longest.
        """
        number, longest = self._counts["number"], self._counts["longest"]
        if number == 0:
            raise ValueError(f"{source!r} holds no document with words in it: give other texts")
        if longest < self.width:
            which = (
                f"the text ({source!r})" if number == 1 else f"the longest of {number} documents"
            )
            raise ValueError(
                f"{which} has {longest} tokens, fewer than one window of {self.before} + 1 + "
                f"{self.after}: give a longer text (a path is read by load_text) or lower before "
                "and after"
            )

    def balance(self, seed: int) -> None:
        """Keep each target token as often after one list's words as after the other's."""
        if not self.rows:
            return
        windows = self.windows
        reasons = surplus(windows[:, self.before].tolist(), self.labels, seed)
        for row, reason in sorted(reasons.items()):
            self._drop(reason, self.rows[row][0])
        kept = [row for row in range(len(self.rows)) if row not in reasons]
        self.rows = [self.rows[row] for row in kept]
        self._windows = [windows[kept]]

    def provenance(self) -> dict[str, Any]:
        """Tell what was read, ready for JSON; ``documents`` only where there were several.

        The SHA-256 of several documents is that of their SHA-256, one per line.
        """
        single = self._counts["number"] == 1 and not self._counts["empty_rows"]
        overall = {
            "sha256": self._listed[0]["sha256"] if single else self._digest.hexdigest(),
            "encoding": ", ".join(sorted(self._encodings)),
            "keep_boilerplate": self._keep_boilerplate,
            "characters": self._counts["characters"],
            "cut": {
                place: self._counts[f"cut {place}"] for place in ("before", "between", "after")
            },
            "tokens": self._counts["tokens"],
        }
        if single:
            return overall
        names = ("number", "with_examples", "shorter_than_window", "empty_rows")
        counted = {name: self._counts[name] for name in names}
        return {**overall, "documents": {**counted, "list": self._listed}}
