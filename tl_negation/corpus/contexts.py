"""Find the target words of a contrast in a text, and cut a window of tokens around each.

Everything that decides which examples a result rests on happens here, before any model runs;
`Contexts.audit` shows it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import TextIOBase
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from .._shared import Seed, prepends_bos, validated
from .audit import audit_html, audit_lines
from .contrast import NEGATION, Contrast
from .finding import COLUMNS, Finder, require_both_classes
from .text import Corpus, Text

PRESETS = ("notebook",)


@dataclass(frozen=True, eq=False)
class Contexts:
    """Windows of tokens around the target words, and where each came from.

    Attributes
    ----------
    tokens : Int[Tensor, "example pos"]
        Token ids of the window: BOS where `prepend_bos` says so, tokens of the text, the target,
        `after` tokens.
    examples
        A row per example in the order of the text: ``label`` (1: first list of the contrast, 0:
        second), ``group`` (the list's name), ``word`` (word type: *don't* and *can't* are
        ``"n't"``), ``surface`` (as written; the token's text under ``preset="notebook"``),
        ``token`` (the target token, decoded), ``position`` (its index among the text's tokens),
        ``start`` and ``end`` (characters of the analysed text), ``passage`` (text of the window),
        ``in_boilerplate`` (outside Project Gutenberg's markers), ``document`` (which document of
        several, from 0 in the order in which they were read).
    before
        Tokens before the target, BOS included: its column in `tokens`.
    contrast
        What was looked for.
    source
        Provenance, ready for JSON: the text's ``source``, ``sha256``, ``encoding``,
        ``keep_boilerplate``, ``characters`` and ``tokens``; ``tokenizer``, ``tokenizer_class``,
        ``vocab_size``; ``preset``, ``contrast``; ``dropped`` (reason -> group -> hits left out);
        ``prepend_bos``; ``sample`` where only a sample was kept. With several documents these are
        over all, ``sha256`` is that of the documents' SHA-256, a line each, and ``documents`` holds
        ``number``, ``with_examples``, ``shorter_than_window``, ``empty_rows`` and the first 100 as
        a ``list`` (``source, sha256, tokens, examples``).

    Notes
    -----
    Windows overlap, and a few words make up most of each class: the examples are not independent,
    and a unit that tells the classes apart may only know the words. Tokens and examples of unequal
    length are a ValueError, as is a window without its target.
    """

    tokens: Int[Tensor, "example pos"]
    examples: pd.DataFrame
    before: int
    contrast: Contrast
    source: Mapping[str, Any]

    def __post_init__(self):
        n_rows, width = self.tokens.shape
        if n_rows != len(self.examples):
            raise ValueError(
                f"Length of tokens ({n_rows}) does not match number of examples "
                f"({len(self.examples)}); keep the same rows of both"
            )
        if not 0 <= self.before < width:
            raise ValueError(f"before ({self.before}) must lie within the window of {width} tokens")

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def prepend_bos(self) -> bool:
        """Whether every window begins with BOS."""
        return bool(self.source.get("prepend_bos", False))

    @property
    def text_before(self) -> int:
        """Tokens of the text before the target: `before` without BOS."""
        return self.before - self.prepend_bos

    @property
    def after(self) -> int:
        """Tokens after the target; for display, a causal model does not see them."""
        return self.tokens.shape[1] - 1 - self.before

    @property
    def labels(self) -> Int[Tensor, " example"]:
        """1 for the contrast's first list, 0 for its second."""
        return torch.tensor(self.examples["label"].to_numpy(np.int64))

    @property
    def class_one_first(self) -> Int[Tensor, " example"]:
        """Rows of the examples of class 1, then of class 0, each in the order of the text."""
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
        """Word type of each example as its index in `word_types`."""
        return pd.factorize(np.array(self.words))[0]

    @property
    def documents(self) -> Int[np.ndarray, " example"]:
        """Document of each example; zeros for a single one."""
        if "document" not in self.examples:  # saved before there could be several
            return np.zeros(len(self), dtype=np.int64)
        return self.examples["document"].to_numpy(np.int64)

    def take(self, rows: Int[np.ndarray, " row"] | Int[Tensor, " row"]) -> "Contexts":
        """Keep some of the examples, in the order of `rows`; `source` stays that of the text.

        Parameters
        ----------
        rows
            Indices of the examples to keep.
        """
        index = np.asarray(rows)
        return replace(
            self,
            tokens=self.tokens[torch.from_numpy(index)],
            examples=self.examples.iloc[index].reset_index(drop=True),
        )

    @validated
    def sample(self, per_class: int, seed: Seed = 0) -> "Contexts":
        """Draw examples of each class at random, without replacement, in the order of the text.

        Parameters
        ----------
        per_class
            Examples of each class; a class that has fewer is kept whole.
        seed
            Of `numpy.random.default_rng`.

        Returns
        -------
        Contexts
            ``source["sample"]`` says what was drawn; ``source["dropped"]`` stays that of the text.

        Raises
        ------
        ValueError
            `per_class` is below 1.
        """
        if per_class < 1:
            raise ValueError(f"per_class must be at least 1; got {per_class}")
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
            ``largest_share``: the one with most examples and its share of them); ``source`` (all of
            `source`).
        """
        share = float(self.examples["label"].mean())
        groups = {
            self.contrast.groups[label]: self._group_counts(label, rows)
            for label, rows in sorted(self.examples.groupby("label"), reverse=True)
        }
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
        """A row per example with the window's token ids in ``tokens``, for a file."""
        return self.examples.assign(tokens=list(self.tokens.numpy()))

    def manifest(self) -> dict[str, Any]:
        """What `from_frame` needs beside the rows, ready for JSON."""
        return {"before": self.before, "source": dict(self.source)}

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, before: int, source: Mapping[str, Any]) -> "Contexts":
        """Rebuild contexts from `to_frame` and `manifest`."""
        tokens = torch.tensor(np.stack(frame["tokens"].to_numpy()).astype(np.int64))
        contrast = Contrast(**source["contrast"])
        return cls(tokens, frame.drop(columns="tokens"), before, contrast, source)

    def audit(self, file: TextIOBase | None = None) -> None:
        """Print `counts` as text, to standard output or to `file`."""
        print("\n".join(audit_lines(self.counts())), file=file)

    def _per_group(self, examples: pd.DataFrame) -> dict[str, int]:
        counts = Counter(examples["group"])
        return {group: counts[group] for group in reversed(self.contrast.groups)}

    @staticmethod
    def _group_counts(label: int, rows: pd.DataFrame) -> dict[str, Any]:
        words = Counter(rows["word"])
        largest, n_largest = words.most_common(1)[0]
        return {
            "label": int(label),
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
            f"tokens; "
            f"{self.source.get('source')}, {self.source.get('tokens')} tokens)"
        )

    def _repr_html_(self) -> str:
        return audit_html(repr(self), self.counts())


def class_one_first(labels: Int[Tensor, " example"]) -> Int[Tensor, " example"]:
    """Rows of the examples of class 1, then of class 0: the order in which the fits take them.

    Each class keeps the order that it has.
    """
    return torch.argsort(labels, descending=True, stable=True)


@validated
def find_contexts(
    text: Text | Corpus | str,
    tokenizer: Any,
    contrast: Contrast = NEGATION,
    before: int = 90,
    after: int = 10,
    preset: str | None = None,
    seed: Seed = 0,
    prepend_bos: bool | None = None,
) -> Contexts:
    """Find the words of a contrast and cut a window of tokens around each.

    Parameters
    ----------
    text
        From `load_text`; a string is taken as the text itself. Of several documents one is read
        at a time, and no window reaches into another.
    tokenizer
        A fast tokenizer of transformers (byte-level BPE, SentencePiece ...): ``model.tokenizer``.
    contrast
        What to look for.
    before, after
        Tokens of the window on either side of the target. A target without so many is left out.
    preset
        ``"notebook"`` applies the reference notebook's rule token by token: `text.raw` (licence and
        line ends included); the token itself must be one of the words, or contain ``'t``; the next
        token must begin with a space, and not be *not* after an affirmation. For `NEGATION` only.
        The README says what that rule gets wrong.
    seed
        Of the draw that balances the targets of a carried contrast (`Contrast.carried`); nothing
        is drawn for others.
    prepend_bos
        Begin each window with the tokenizer's BOS token: ``[BOS, before tokens, target, after]``.
        By default as the model was trained, by what its tokenizer does with a text: Llama's,
        Gemma's and OPT's put BOS in front, GPT-2's and SmolLM2's do not. (TransformerLens sets
        every tokenizer to do it; that is looked behind.) Never under ``preset="notebook"``.

    Returns
    -------
    Contexts

    Raises
    ------
    TypeError
        The tokenizer is not a fast one, `before` or `after` is not an integer, or `text` is none.
    ValueError
        A negative window, an unknown preset, the preset with several documents, another contrast
        or BOS, BOS without such a token in the tokenizer, a text shorter than a window, or a list
        of the contrast without any example.

    Notes
    -----
    By default, words are found in the text by `Contrast.find`, and the target is the token that
    holds the word's last character. A hit is left out, and counted, if that token also holds
    letters of other words, is the tokenizer's unknown token, or lies too near either end of its
    document.
    """
    _check_arguments(tokenizer, contrast, before, after, preset)
    bos = _bos_token(tokenizer, preset, prepend_bos)
    text = Text.from_string(text) if isinstance(text, str) else text
    _check_text(text, preset)
    finder = Finder(tokenizer, contrast, before, after, notebook=preset == "notebook")
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


def _check_text(text: Any, preset: str | None) -> None:
    if not isinstance(text, (Text, Corpus)):
        raise TypeError(
            f"a text is a string, a Text or a Corpus; got {type(text).__name__}: use load_text"
        )
    if preset == "notebook" and isinstance(text, Corpus):
        raise ValueError(
            "preset='notebook' is the rule for a single document; got "
            f"{text!r}: name one of its documents, or use preset=None"
        )


def _check_arguments(
    tokenizer: Any, contrast: Contrast, before: int, after: int, preset: str | None
) -> None:
    for name, size in (("before", before), ("after", after)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} must be an integer; got {size!r}")
        if size < 0:
            raise ValueError(f"{name} counts tokens and cannot be negative; got {size}")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset must be None or one of {PRESETS}; got {preset!r}")
    if preset == "notebook" and contrast != NEGATION:
        raise ValueError(
            f"preset='notebook' is the rule for NEGATION only; got {contrast.name!r}: "
            "use preset=None with another contrast"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise TypeError(
            "the tokenizer must be a fast one, which knows where its tokens are in the text; got "
            f"{type(tokenizer).__name__}: use AutoTokenizer.from_pretrained(name, use_fast=True)"
        )


def _bos_token(tokenizer: Any, preset: str | None, prepend_bos: bool | None) -> tuple[int, ...]:
    """Tokens in front of a window: BOS or nothing."""
    if preset == "notebook":
        if prepend_bos:
            raise ValueError(
                "preset='notebook' has no BOS, as the reference had none; got prepend_bos=True: "
                "leave one of the two out"
            )
        return ()
    if prepend_bos is None:
        prepend_bos = prepends_bos(tokenizer)
    if prepend_bos and tokenizer.bos_token_id is None:
        raise ValueError(
            f"prepend_bos=True needs a BOS token, and {type(tokenizer).__name__} "
            f"{str(tokenizer.name_or_path)!r} has none: use prepend_bos=False"
        )
    return (int(tokenizer.bos_token_id),) if prepend_bos else ()
