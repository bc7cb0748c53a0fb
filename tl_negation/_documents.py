"""What is found in documents that are read one at a time: windows, a row each, what is left out."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from ._matching import (
    Found,
    Tokenised,
    decoder,
    find_as_notebook,
    find_words,
    surplus,
    tokenise,
)
from .contrast import Contrast
from .text import Text

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
