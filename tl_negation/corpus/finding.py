"""Find the words of a contrast among the tokens of a text: rules, hits, and why a hit is dropped."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from .._shared import Tokenised, decode_tokens, decoder, tokenise
from .contrast import Contrast, Hit
from .text import Text

TOO_SHORT = "in a document shorter than one window"
NEAR_START, NEAR_END = "too near the start", "too near the end"
SHARED = "shares its token with other words"
UNKNOWN = "not in the tokenizer's vocabulary"
NO_SPACE = "next token does not begin with a space"
BEFORE_NOT = "affirmation followed by not"
ONE_SIDED = "target token follows words of one list only"
SURPLUS = "target token follows one list's words more often"

Found: TypeAlias = tuple[int, Hit]
"""Token index of the target, and the hit; a reason in the hit says that it is dropped."""


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


COLUMNS = ["label", "group", "word", "surface", "token", "position", "start", "end"]
COLUMNS += ["passage", "in_boilerplate", "document"]
#: Documents that the provenance lists one by one.
LISTED = 100


class Finder:
    """Collects the hits of a contrast document by document; of a document nothing else is kept."""

    def __init__(
        self, tokenizer: Any, contrast: Contrast, before: int, after: int, *, notebook: bool
    ) -> None:
        self.tokenizer, self.contrast = tokenizer, contrast
        self.before, self.after, self.notebook = before, after, notebook
        self.rows: list[tuple[Any, ...]] = []
        self.dropped: dict[str, dict[str, int]] = {}
        self._windows: list[np.ndarray] = []
        self._decode = decoder(tokenizer)
        self._digest = hashlib.sha256()
        self._listed: list[dict[str, Any]] = []
        self._encodings: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._keep_boilerplate = notebook

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
        text = tokenise(document.raw if self.notebook else document.content, self.tokenizer)
        find = find_as_notebook if self.notebook else find_words
        kept = list(self._kept(find(text, self.contrast, self.before, self.after)))
        if kept:
            self._take(text, kept, document)
        self._account(document, text, len(kept))

    def _kept(self, found: Iterator[Found]) -> Iterator[Found]:
        for position, hit in found:
            if hit.reason is None:
                yield position, hit
            else:
                self._drop(hit.reason, hit.label)

    def _drop(self, reason: str, label: int) -> None:
        groups = self.contrast.groups
        self.dropped.setdefault(reason, dict.fromkeys(reversed(groups), 0))[groups[label]] += 1

    def _take(self, text: Tokenised, kept: list[Found], document: Text) -> None:
        positions = np.array([position for position, _ in kept], dtype=np.int64)
        window = positions[:, None] + np.arange(-self.before, self.after + 1)
        body = document.body if self.notebook else document.body_in_content
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
                    hit.start < body[0] or hit.end > body[1],
                    self._counts["number"],
                )
            )

    def _account(self, document: Text, text: Tokenised, examples: int) -> None:
        if len(self._listed) < LISTED:
            about = {"source": document.source, "sha256": document.sha256}
            self._listed.append({**about, "tokens": len(text.ids), "examples": examples})
        self._digest.update(f"{document.sha256}\n".encode())
        self._encodings.add(document.encoding)
        self._keep_boilerplate |= document.keep_boilerplate
        self._counts["number"] += 1
        self._counts["characters"] += len(text.content)
        self._counts["tokens"] += len(text.ids)
        self._counts["with_examples"] += examples > 0
        width = self.before + 1 + self.after
        self._counts["shorter_than_window"] += len(text.ids) < width
        self._counts["longest"] = max(self._counts["longest"], len(text.ids))

    def require_a_window(self, source: str) -> None:
        """Refuse texts of which none is as long as a window.

        Raises
        ------
        ValueError
            Says how long the longest is.
        """
        n, longest = self._counts["number"], self._counts["longest"]
        width = f"{self.before} + 1 + {self.after}"
        if n == 0:
            raise ValueError(f"{source!r} holds no document with words in it: give other texts")
        if longest < self.before + 1 + self.after:
            what = f"the text ({source!r}) has" if n == 1 else f"the longest of {n} documents has"
            raise ValueError(
                f"{what} {longest} tokens, fewer than one window of {width}: give a longer text (a "
                "path is read by load_text) or lower before and after"
            )

    def balance(self, seed: int) -> None:
        """Keep each target token as often after one list's words as after the other's."""
        if not self.rows:
            return
        windows = self.windows
        targets = windows[:, self.before].tolist()
        out = surplus(targets, self.labels, seed)
        for i, reason in sorted(out.items()):
            self._drop(reason, self.rows[i][0])
        kept = [i for i in range(len(self.rows)) if i not in out]
        self.rows = [self.rows[i] for i in kept]
        self._windows = [windows[kept]]

    def provenance(self) -> dict[str, Any]:
        """What was read, ready for JSON: as of one text, with ``documents`` where there are more.

        The SHA-256 of several documents is that of their SHA-256, a line each.
        """
        n, empty = self._counts["number"], self._counts["empty_rows"]
        one = n == 1 and not empty
        of_all = {
            "sha256": self._listed[0]["sha256"] if one else self._digest.hexdigest(),
            "encoding": ", ".join(sorted(self._encodings)),
            "keep_boilerplate": self._keep_boilerplate,
            "characters": self._counts["characters"],
            "tokens": self._counts["tokens"],
        }
        if one:
            return of_all
        names = ("number", "with_examples", "shorter_than_window", "empty_rows")
        counted = {name: self._counts[name] for name in names}
        return {**of_all, "documents": {**counted, "list": self._listed}}
