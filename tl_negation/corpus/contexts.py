"""Find the target words of a contrast in a text, and cut a window of tokens around each.

Everything that decides which examples a result rests on happens here, before any model runs;
``Contexts.audit`` shows it.
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

from .._shared import Count, Preset, Seed, TokenCount, instance, integer, prepends_bos, validated
from .audit import audit_html, audit_lines
from .contrast import NEGATION, Contrast
from .finding import COLUMNS, Finder, Rule, require_both_classes, rule_of
from .text import Corpus, Text


@dataclass(frozen=True, eq=False)
class Contexts:
    """Windows of tokens around the target words, and where each came from.

    Attributes
    ----------
    tokens : Int[Tensor, "example pos"]
        Token ids of the windows: BOS if ``prepend_bos``, tokens of the text, the target, ``after``
        more tokens.
    examples
        A row per example in the order of the text: ``label`` (1: first list of the contrast, 0:
        second), ``group`` (name of the list), ``word`` (word type: *don't* and *can't* are
        ``"n't"``), ``surface`` (as written; the token's text under ``preset="notebook"``),
        ``token`` (the target token, decoded), ``position`` (its index among the text's tokens),
        ``start`` and ``end`` (characters of the analysed text), ``passage`` (text of the window),
        ``in_boilerplate`` (outside Project Gutenberg's markers), ``document`` (number of the
        document, from 0 in the order of reading).
    before
        Tokens before the target, BOS included: the target's column in ``tokens``.
    contrast
        What was looked for.
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
    contrast: Contrast
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
            ("tokens", Tensor), ("examples", pd.DataFrame), ("contrast", Contrast),
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
        """Tokens after the target, for display only: a causal model does not see them."""
        return self.tokens.shape[1] - 1 - self.before

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
            ``largest_share``: the one with most examples and its share of them); ``source`` (a
            copy of the attribute).
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
        contrast = Contrast(**source["contrast"])
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
        be *not* after an affirmation. For one document and ``NEGATION`` only. The README says what
        that rule gets wrong.
    seed
        Seed of the draw that balances the targets of a carried contrast (``Contrast.carried``);
        nothing is drawn for other contrasts.
    prepend_bos
        Begin each window with the tokenizer's BOS token: ``[BOS, before tokens, target, after]``.
        By default a window begins as the model's training texts did, judged by what its tokenizer
        does with a text: Llama's, Gemma's and OPT's put BOS in front, GPT-2's and SmolLM2's do not.
        (TransformerLens makes every tokenizer do it; its files are asked instead.) Never with
        ``preset="notebook"``.

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
    _check_tokenizer(tokenizer)
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
    return Contexts(
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


def _check_tokenizer(tokenizer: Any) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(
            "the tokenizer must be a fast one, which knows where its tokens are in the text; got "
            f"{type(tokenizer).__name__}: use AutoTokenizer.from_pretrained(name, use_fast=True)"
        )


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
    if prepend_bos is None:
        prepend_bos = prepends_bos(tokenizer)
    if prepend_bos and tokenizer.bos_token_id is None:
        raise ValueError(
            f"prepend_bos=True needs a BOS token, and {type(tokenizer).__name__} "
            f"{str(tokenizer.name_or_path)!r} does not have one: use prepend_bos=False"
        )
    return (int(tokenizer.bos_token_id),) if prepend_bos else ()
