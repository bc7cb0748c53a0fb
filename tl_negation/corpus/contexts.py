"""The examples a result rests on: windows of tokens, each with a target and a label.

``find_contexts`` cuts them out of a text, ``examples`` makes them of a table of one's own;
``Contexts.audit`` shows them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import TextIOBase
from typing import Any, TextIO

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from pandas.api.types import is_integer_dtype
from torch import Tensor

from .._shared import Count, Seed, instance, integer, validated
from .audit import audit_html, audit_lines
from .contrast import Contrast
from .finding import COLUMNS
from .labels import Labels

#: In ``Contexts.tokens``: there is no token here. No vocabulary holds it.
ABSENT = -1


@dataclass(frozen=True, eq=False)
class Contexts:
    """Windows of tokens around the target words, and where each came from.

    Attributes
    ----------
    tokens : Int[Tensor, "example pos"]
        Token ids of the windows: BOS if ``prepend_bos``, tokens of the text, the target, ``after``
        more tokens. Examples of unequal length (:func:`tl_negation.examples`) are aligned at the
        target, and where a row has no token there is ``-1``, which no model takes: see
        ``by_length``.
    examples
        A row per example in the order of the text: ``label`` (1: first list of the contrast, 0:
        second), ``group`` (name of the list), ``word`` (word type: *don't* and *can't* are
        ``"n't"``), ``surface`` (as written; the token's text under ``preset="notebook"``),
        ``token`` (the target token, decoded), ``position`` (its index among the text's tokens),
        ``start`` and ``end`` (characters of the analysed text), ``passage`` (text of the window),
        ``in_boilerplate`` (outside Project Gutenberg's markers), ``document`` (number of the
        document, from 0 in the order of reading). Examples of one's own may also carry ``pair``
        and ``item``.
    before
        Tokens before the target, BOS included (of the longest row): the target's column in
        ``tokens``.
    contrast
        What was looked for, or what the labels of one's own examples are.
    source
        Provenance, ready for JSON: the text's ``source``, ``sha256``, ``encoding``,
        ``keep_boilerplate``, ``characters`` and ``tokens``; ``tokenizer``, ``tokenizer_class``,
        ``vocab_size``; ``preset``, ``contrast``; ``dropped`` (reason -> group -> hits left out);
        ``prepend_bos``; ``sample`` if only a sample was kept. With several documents these cover
        all of them, ``sha256`` is that of the documents' SHA-256, one per line, and ``documents``
        holds ``number``, ``with_examples``, ``shorter_than_window``, ``empty_rows`` and the first
        100 as a ``list`` (``source, sha256, tokens, examples``).

    Raises
    ------
    ValueError
        Tokens and examples of unequal length, or a window that does not contain its target.

    Notes
    -----
    Windows overlap, and a few words make up most of each class. So the examples are not
    independent, and a unit that tells the classes apart may know the words and nothing more.

    Examples
    --------
    >>> contexts
    Contexts(95 negation, 108 affirmation; 6 + 1 + 2 tokens; string, 944 tokens)
    >>> contexts.tokens.shape, contexts.labels[:4].tolist(), contexts.words[:4]
    (torch.Size([203, 9]), [1, 0, 0, 1], ("n't", 'can', 'may', 'never'))
    >>> contexts.sample(20).counts()["base_rate"]  # what guessing gets right
    0.5
    """

    tokens: Int[Tensor, "example pos"]
    examples: pd.DataFrame
    before: int
    contrast: Contrast | Labels
    source: Mapping[str, Any]

    def __post_init__(self):
        self._check_types()
        needed = [name for name in COLUMNS if name != "document"]  # of one document without it
        missing = [name for name in needed if name not in self.examples]
        if missing:
            raise ValueError(
                f"examples need the columns {', '.join(needed)}; the table lacks "
                f"{', '.join(missing)}"
            )
        labels = self.examples["label"]
        if not (is_integer_dtype(labels) and labels.isin([0, 1]).all()):
            raise ValueError("the labels of examples are 1 for the first list and 0 for the second")
        if not (self.examples["group"] == labels.map(dict(enumerate(self.contrast.groups)))).all():
            raise ValueError(
                f"the group of an example is the name of its list: {self.contrast.groups[1]} with "
                f"label 1, {self.contrast.groups[0]} with label 0"
            )
        n_rows, width = self.tokens.shape
        if n_rows != len(self.examples):
            raise ValueError(
                f"Length of tokens ({n_rows}) does not match number of examples "
                f"({len(self.examples)}); keep the same rows of both"
            )
        if not 0 <= self.before < width:
            raise ValueError(f"before ({self.before}) must lie within the window of {width} tokens")

    def _check_types(self) -> None:
        """Raise TypeError for a field of another type, ValueError for tokens of another shape."""
        for name, kind in (
            ("tokens", Tensor), ("examples", pd.DataFrame), ("contrast", (Contrast, Labels)),
            ("source", Mapping),
        ):  # fmt: skip
            instance(kind)(name, getattr(self, name))
        integer("before", self.before)
        if self.tokens.dim() != 2 or self.tokens.is_floating_point():
            raise ValueError(
                f"tokens are whole numbers [example, pos]; got {self.tokens.dtype} of shape "
                f"{tuple(self.tokens.shape)}"
            )

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def prepend_bos(self) -> bool:
        """Whether every window begins with BOS."""
        return bool(self.source.get("prepend_bos", False))

    @property
    def text_before(self) -> int:
        """Tokens of the text before the target: ``before`` without BOS."""
        return self.before - self.prepend_bos

    @property
    def after(self) -> int:
        """Most tokens after a target, for display only: a causal model does not see them."""
        return self.tokens.shape[1] - 1 - self.before

    @property
    def spans(self) -> Int[Tensor, "example 2"]:
        """Columns of each window's first token and of the one after its last."""
        width, there = self.tokens.shape[1], self.tokens != ABSENT
        first = there.int().argmax(dim=1)
        last = width - there.flip(1).int().argmax(dim=1)
        return torch.stack([first, last], dim=1)

    @property
    def longest(self) -> int:
        """Tokens of the longest window."""
        return int((self.spans[:, 1] - self.spans[:, 0]).max())

    @property
    def shortest_after(self) -> int:
        """Tokens after the target that every window has."""
        return int(self.spans[:, 1].min()) - 1 - self.before

    def by_length(self) -> "list[tuple[Int[Tensor, ' row'], Contexts]]":
        """Split into contexts whose windows begin and end alike, so that no row needs padding.

        Returns
        -------
        list of (rows, contexts)
            Which rows these are, and their windows without ``-1``: a model can be given
            ``contexts.tokens`` as they are. Those with the fewest tokens before the target first.
        """
        spans, parts = self.spans, []
        for first, last in spans.unique(dim=0).flip(0).tolist():
            rows = ((spans[:, 0] == first) & (spans[:, 1] == last)).nonzero()[:, 0]
            part = self.take(rows)
            windows = part.tokens[:, first:last]
            parts.append((rows, replace(part, tokens=windows, before=self.before - first)))
        return parts

    @property
    def labels(self) -> Int[Tensor, " example"]:
        """1 for the contrast's first list, 0 for its second."""
        return torch.from_numpy(self.examples["label"].to_numpy(np.int64, copy=True))

    @property
    def class_one_first(self) -> Int[Tensor, " example"]:
        """Rows of the examples of class 1, then of class 0, each class in the order of the text."""
        return class_one_first(self.labels)

    @property
    def words(self) -> tuple[str, ...]:
        """Word type of each example."""
        return tuple(self.examples["word"])

    @property
    def word_types(self) -> tuple[str, ...]:
        """Every word type once, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.words))

    @property
    def word_codes(self) -> Int[np.ndarray, " example"]:
        """Word type of each example, as its index in ``word_types``."""
        return pd.factorize(np.array(self.words))[0]

    @property
    def documents(self) -> Int[np.ndarray, " example"]:
        """Document of each example; zeros if there is only one."""
        if "document" not in self.examples:  # saved by version 0.1, which read a single document
            return np.zeros(len(self), dtype=np.int64)
        return self.examples["document"].to_numpy(np.int64)

    def take(self, rows: Int[np.ndarray, " row"] | Int[Tensor, " row"]) -> "Contexts":
        """Keep some of the examples, in the order of ``rows``.

        Parameters
        ----------
        rows
            Indices of the examples to keep.

        Returns
        -------
        Contexts
            ``source`` stays that of the whole text.
        """
        index = np.asarray(rows)
        return replace(
            self,
            tokens=self.tokens[torch.from_numpy(index)],
            examples=self.examples.iloc[index].reset_index(drop=True),
        )

    @validated
    def sample(self, per_class: Count, seed: Seed = 0) -> "Contexts":
        """Draw examples of each class at random, without replacement, in the order of the text.

        Parameters
        ----------
        per_class
            Examples of each class; a class with fewer is kept whole.
        seed
            Seed of ``numpy.random.default_rng``.

        Returns
        -------
        Contexts
            ``source["sample"]`` says what was drawn; ``source["dropped"]`` stays that of the text.

        Raises
        ------
        ValueError
            ``per_class`` is below 1.
        """
        rng = np.random.default_rng(seed)
        labels = self.examples["label"].to_numpy()
        drawn = []
        for label in (1, 0):
            rows = np.flatnonzero(labels == label)
            drawn.append(rng.choice(rows, size=min(per_class, len(rows)), replace=False))
        rows = np.sort(np.concatenate(drawn))
        sample = {"per_class": per_class, "seed": seed, "of": self._per_group(self.examples)}
        return replace(self.take(rows), source={**self.source, "sample": sample})

    def counts(self) -> dict[str, Any]:
        """Count what a result from these contexts would rest on.

        Returns
        -------
        dict
            Ready for JSON: ``examples``; ``groups`` (name -> ``label``, ``examples``,
            ``token_types`` and ``word_types`` with counts, ``largest_word``,
            ``largest_word_share``, ``in_boilerplate``); ``share_label_1``; ``base_rate`` (share of
            the larger class, what guessing gets right); ``overlapping_windows`` (examples whose
            window shares tokens with another's); ``dropped`` (reason -> group -> hits); ``window``;
            ``documents`` (``number`` in all, ``with_examples`` here, ``largest`` and
            ``largest_share``: the one with most examples and its share of them); ``together``
            (number of ``pair`` and ``item``, of examples that carry them); ``source`` (a copy of
            the attribute).
        """
        share = float(self.examples["label"].mean())
        labels = sorted(set(self.examples["label"].tolist()), reverse=True)
        groups = {self.contrast.groups[label]: self._group_counts(label) for label in labels}
        return {
            "examples": len(self),
            "groups": groups,
            "share_label_1": share,
            "base_rate": max(share, 1 - share),
            "overlapping_windows": self._overlapping(),
            "documents": self._document_counts(),
            "together": {
                name: int(self.examples[name].nunique())
                for name in ("pair", "item")
                if name in self.examples
            },
            "dropped": self.source.get("dropped", {}),
            "window": {
                "before": self.text_before,
                "after": self.after,
                "prepend_bos": self.prepend_bos,
            },
            "source": dict(self.source),
        }

    def to_frame(self) -> pd.DataFrame:
        """Make a table for a file: a row per example, with the window's token ids in ``tokens``."""
        return self.examples.assign(tokens=list(self.tokens.numpy()))

    def manifest(self) -> dict[str, Any]:
        """Return what ``from_frame`` needs beside the rows, ready for JSON."""
        return {"before": self.before, "source": dict(self.source)}

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, before: int, source: Mapping[str, Any]) -> "Contexts":
        """Rebuild contexts from ``to_frame`` and ``manifest``."""
        tokens = torch.from_numpy(np.stack(frame["tokens"].tolist()).astype(np.int64))
        about = source["contrast"]
        contrast = Contrast(**about) if "lists" in about else Labels(**about)
        return cls(tokens, frame.drop(columns="tokens"), before, contrast, source)

    def audit(self, file: TextIO | TextIOBase | None = None) -> None:
        """Print ``counts`` as text, to standard output or to ``file``."""
        print("\n".join(audit_lines(self.counts())), file=file)

    def _per_group(self, examples: pd.DataFrame) -> dict[str, int]:
        counts = Counter(examples["group"])
        return {group: counts[group] for group in reversed(self.contrast.groups)}

    def _group_counts(self, label: int) -> dict[str, Any]:
        rows = self.examples[self.examples["label"] == label]
        words = Counter(rows["word"])
        largest, n_largest = words.most_common(1)[0]
        return {
            "label": label,
            "examples": len(rows),
            "token_types": dict(Counter(rows["token"]).most_common()),
            "word_types": dict(words.most_common()),
            "largest_word": largest,
            "largest_word_share": n_largest / len(rows),
            "in_boilerplate": int(rows["in_boilerplate"].sum()),
        }

    def _document_counts(self) -> dict[str, Any]:
        per_document = Counter(self.documents.tolist())
        largest, examples = per_document.most_common(1)[0]
        about = self.source.get("documents", {"number": 1, "list": []})
        named = about["list"][largest]["source"] if largest < len(about["list"]) else None
        return {
            "number": about["number"],
            "with_examples": len(per_document),
            "largest": named or (self.source.get("source") if about["number"] == 1 else largest),
            "largest_share": examples / len(self),
        }

    def _overlapping(self) -> int:
        width = self.text_before + 1 + self.after
        near = np.diff(self.examples["position"].to_numpy()) < width
        near &= np.diff(self.documents) == 0
        return int(np.sum(np.r_[near, False] | np.r_[False, near]))

    def __repr__(self) -> str:
        n = ", ".join(f"{n} {group}" for group, n in self._per_group(self.examples).items())
        return (
            f"Contexts({n}; {'BOS + ' * self.prepend_bos}{self.text_before} + 1 + {self.after} "
            f"tokens; {self.source.get('source')}, {self.source.get('tokens')} tokens)"
        )

    def _repr_html_(self) -> str:
        return audit_html(repr(self), self.counts())


def class_one_first(labels: Int[Tensor, " example"]) -> Int[Tensor, " example"]:
    """Rows of the examples of class 1, then of class 0: the order that the fits expect.

    Within a class the order stays as it is.
    """
    return torch.argsort(labels, descending=True, stable=True)
