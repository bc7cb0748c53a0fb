"""Contexts from labelled examples of somebody's own: a row of a table each.

Each example is a text by itself. Its target is a token that the table names; the label, the word
type, the pair and the item are the table's columns.
"""

import hashlib
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np
import pandas as pd
import torch

from .._shared import (
    Tokenised,
    bos_of,
    check_fast,
    decoder,
    nearest,
    string,
    tokenise_each,
    validated,
)
from .contexts import ABSENT, Contexts
from .finding import COLUMNS, SHARED, UNKNOWN, token_reason
from .labels import Labels
from .tables import read_table

#: ``at`` for the last token of the text.
LAST = "last"
#: Columns of ``Contexts.examples`` that only examples of one's own have.
UNITS_OF_TESTS = ("pair", "item")
#: Why a token cannot be a target -> how the error says it.
REASONS = {
    SHARED: "its last token holds letters of another word too",
    UNKNOWN: "its last character is in no token that the tokenizer knows",
}


@dataclass(frozen=True)
class Target:
    """Where an example is read: characters of its text, and the token that holds the last one."""

    start: int
    end: int
    position: int
    surface: str


@validated
def examples(
    table: Any,  # read_table says more than its type
    tokenizer: Any,
    *,
    text: str = "text",
    label: str = "label",
    at: Any = LAST,  # a string or two; _check_at
    word: str | None = None,
    pair: str | None = None,
    item: str | None = None,
    positive: Any = None,
    prepend_bos: bool | None = None,
) -> Contexts:
    """Take labelled examples from a table: a text a row, with a label of two values.

    Parameters
    ----------
    table
        A DataFrame, a list of dicts, a Hugging Face data set, or the path of a CSV, TSV, JSON
        Lines, JSON or Parquet file. Missing values are refused.
    tokenizer
        A fast tokenizer of transformers: ``model.tokenizer``.
    text
        Column of the texts. Each is read by itself, as it is written.
    label
        Column of the labels: two different values, of any type.
    at
        Where the activations are read. ``"last"``: at the last token of the text. Names of two
        columns, ``("start", "end")``: at the last token of a span of characters, counted from 0,
        the end not included. The name of another column: at the last token of the string that it
        holds, which must occur once in the text.
    word
        Column of the word type, by which tests over words permute the labels; if not given, the
        span or string that was read (at ``"last"`` the token), in small letters.
    pair
        Column that names the minimal pair an example belongs to, for :func:`tl_negation.pair_test`.
    item
        Column that names what several pairs have in common (a template, a noun); their labels are
        then flipped together.
    positive
        Value of the label that is class 1; if not given, the later one in sorted order, as in
        scikit-learn: 1 of 0 and 1, True, ``"negated"`` of ``"affirmed"`` and ``"negated"``.
    prepend_bos
        Begin each text with the tokenizer's BOS token; by default as the model's training texts
        began (:func:`tl_negation.find_contexts`).

    Returns
    -------
    Contexts
        A row per example, in the order of the table; ``document`` is the number of the row. Texts
        differ in length: nothing is padded when they are run (:meth:`Contexts.by_length`).

    Raises
    ------
    TypeError
        Something else than a table; the tokenizer is not a fast one; a text or target that is not a
        string, a span that is not of whole numbers: the row is named.
    ValueError
        A column that does not exist; a label that has one value, or more than two; and, with the
        number of the row from 0: an empty text, a missing value, a span outside of the text, a
        target that does not occur or occurs more than once, or one whose last token holds letters
        of another word or is unknown to the tokenizer.
    FileNotFoundError
        There is no such file.

    Notes
    -----
    More than two classes are as many contrasts: call this for each of them with a column that says
    whether a row is of that class. Where both classes are read at the same words there is no test
    over words: give pairs. The model sees nothing behind the target, so that words that differ
    only there cannot be told apart.

    Examples
    --------
    >>> table = [
    ...     {"text": "She can see it", "polarity": "yes", "where": "can", "id": 0},
    ...     {"text": "They never see it at all", "polarity": "no", "where": "never", "id": 0},
    ... ]
    >>> mine = tln.examples(
    ...     table, model.tokenizer, label="polarity", at="where", pair="id", prepend_bos=False
    ... )
    >>> mine
    Contexts(1 yes, 1 no; 2 + 1 + 6 tokens; list of rows, 13 tokens)
    >>> mine.words, [part.tokens.shape[1] for _, part in mine.by_length()]
    (('can', 'never'), [8, 5])
    """
    check_fast(tokenizer)
    at = _check_at(at)
    bos = bos_of(tokenizer, prepend_bos)
    frame, source = read_table(table)
    named = {"text": text, "label": label, "word": word, "pair": pair, "item": item}
    columns = {name: column for name, column in named.items() if column is not None}
    needed = [*columns.values(), *(() if at == (LAST,) else at)]
    _check_columns(frame, needed)
    for column in needed:
        _check_filled(frame, column)
    contents = _texts(frame, text)
    labels = _labels(frame, label, positive)
    read = list(tokenise_each(contents, tokenizer))
    targets = [_target(frame, row, tokens, at) for row, tokens in enumerate(read)]
    rows = _rows(frame, columns, read, targets, labels, decoder(tokenizer))
    tokens, before = _aligned(read, targets, bos)
    positions = [target.position for target in targets]
    about = {
        "source": source,
        "sha256": _sha256(contents, positions, rows),
        "encoding": "utf-8",
        "keep_boilerplate": True,
        "characters": sum(map(len, contents)),
        "tokens": sum(len(tokens.ids) for tokens in read),
        "documents": {
            "number": len(read),
            "with_examples": len(read),
            "shorter_than_window": 0,
            "empty_rows": 0,
            "list": [],
        },
        "tokenizer": str(tokenizer.name_or_path),
        "tokenizer_class": type(tokenizer).__name__,
        "vocab_size": len(tokenizer),
        "preset": None,
        "contrast": labels.about.to_dict(),
        "dropped": {},
        "prepend_bos": bool(bos),
        "columns": columns,
        "at": list(at),
    }
    return Contexts(tokens, rows, before, labels.about, about)


@dataclass(frozen=True)
class _Classes:
    """Class of every row, and what the classes are called."""

    of_row: np.ndarray
    about: Labels


def _check_at(at: Any) -> tuple[str, ...]:
    """Give the names of the columns that say where the target is; ``("last",)`` for none."""
    if isinstance(at, str):
        return (at,)
    if not isinstance(at, Sequence) or len(at) != 2 or not all(isinstance(x, str) for x in at):
        raise TypeError(
            'at must be "last", the name of a column with the target, or the names of two columns '
            f'with its span, ("start", "end"); got {short(at)}'
        )
    return tuple(at)


def _check_columns(frame: pd.DataFrame, needed: Sequence[str]) -> None:
    for column in needed:
        if column not in frame:
            there = list(map(str, frame.columns))
            raise ValueError(
                f"the table has no column {column!r}; it has {', '.join(there)}"
                f"{nearest(column, there)}"
            )


def _check_filled(frame: pd.DataFrame, column: str) -> None:
    missing = np.flatnonzero(frame[column].isna().to_numpy())
    if len(missing):
        raise ValueError(f"row {missing[0]} has no {column!r}: fill it in, or leave the row out")


def _texts(frame: pd.DataFrame, column: str) -> list[str]:
    contents = frame[column].tolist()
    for row, content in enumerate(contents):
        string(f"column {column!r}, row {row}", content)
        if not content.strip():
            raise ValueError(f"row {row} has an empty text; leave it out")
    return contents


def _labels(frame: pd.DataFrame, column: str, positive: Any) -> _Classes:
    values = [_plain(value) for value in frame[column].tolist()]
    found = list(dict.fromkeys(values))
    if len(found) > 2:
        raise ValueError(
            f"a label has two values; column {column!r} has {found[0]!r}, {found[1]!r}, and in row "
            f"{values.index(found[2])} {found[2]!r}: take two classes, or give a column that says "
            "whether a row is of one class"
        )
    if len(found) < 2:
        raise ValueError(f"a label has two values; column {column!r} has {found[0]!r} in all rows")
    if positive is None:
        positive = max(found, key=lambda value: (type(value).__name__, value))
    elif positive not in found:
        raise ValueError(
            f"positive must be a value of the label, {found[0]!r} or {found[1]!r}; got "
            f"{short(positive)}"
        )
    other = next(value for value in found if value != positive)
    first, second = (x if isinstance(x, str) and x else f"{column} {x}" for x in (positive, other))
    of_row = np.array([value == positive for value in values], dtype=np.int64)
    return _Classes(of_row, Labels(column, (second, first)))


def _plain(value: Any) -> Hashable:
    """A label as a value of Python's own; a float of whole value is its integer."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, (str, bool, int, float)):
        raise TypeError(f"a label is a string, a number or a truth value; got {short(value)}")
    return value


def _target(frame: pd.DataFrame, row: int, text: Tokenised, at: tuple[str, ...]) -> Target:
    """Find the token at which an example is read."""
    if not len(text.ids):
        raise ValueError(f"row {row} has a text without a token: {short(text.content)}")
    if at == (LAST,):
        position = len(text.ids) - 1
        start, end = int(text.starts[position]), int(text.ends[position])
    else:
        start, end = _span(frame, row, text.content, at)
        # Where several tokens make up one character, the last of them.
        position = int(np.searchsorted(text.starts, end - 1, side="right")) - 1
    reason = token_reason(text, start, end, position)
    if reason is not None:
        raise ValueError(
            f"row {row} cannot be read at {text.content[start:end]!r} (characters {start} to "
            f"{end}): {REASONS[reason]}"
        )
    return Target(start, end, position, text.content[start:end])


def _span(frame: pd.DataFrame, row: int, content: str, at: tuple[str, ...]) -> tuple[int, int]:
    if len(at) == 2:
        start, end = (_whole(frame[column].iloc[row], column, row) for column in at)
        if not 0 <= start < end <= len(content) or not content[start:end].strip():
            raise ValueError(
                f"row {row}: a span lies within the text, which has {len(content)} characters, and "
                f"holds more than white space; got {start} to {end}"
            )
        return start, start + len(content[start:end].rstrip())
    wanted = frame[at[0]].iloc[row]
    string(f"column {at[0]!r}, row {row}", wanted)
    wanted = wanted.strip()
    if not wanted:
        raise ValueError(f"row {row} has an empty target in column {at[0]!r}")
    found = [match.start() for match in re.finditer(_whole_word(wanted), content)]
    if not found:  # part of a word, like the n't of don't
        found = [match.start() for match in re.finditer(f"(?={re.escape(wanted)})", content)]
    if len(found) != 1:
        times = f"{len(found)} times" if found else "nowhere"
        raise ValueError(
            f"row {row}: the target {wanted!r} must occur once in the text, and occurs {times}; "
            'name its characters, at=("start", "end")'
        )
    return found[0], found[0] + len(wanted)


def _whole_word(wanted: str) -> str:
    before = r"(?<!\w)" if wanted[0].isalnum() else ""
    after = r"(?!\w)" if wanted[-1].isalnum() else ""
    return f"{before}{re.escape(wanted)}{after}"


def _whole(value: Any, column: str, row: int) -> int:
    """Take 3 and 3.0, which a table with other floats makes of it, but not True or 3.5."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or int(value) != value:
        raise TypeError(
            f"column {column!r} counts characters in whole numbers; row {row} holds {value}"
        )
    return int(value)


def _rows(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    read: Sequence[Tokenised],
    targets: Sequence[Target],
    labels: _Classes,
    decode: Any,
) -> pd.DataFrame:
    """Make the table of examples, with the columns of ``COLUMNS``."""
    if "word" in columns:
        words = frame[columns["word"]].astype(str).tolist()
    else:
        words = [target.surface.strip().lower() or repr(target.surface) for target in targets]
    rows = [
        (
            int(label), labels.about.groups[label], word, target.surface,
            decode(int(text.ids[target.position])), target.position, target.start, target.end,
            text.content, False, number,
        )
        for number, (label, word, target, text) in enumerate(
            zip(labels.of_row.tolist(), words, targets, read, strict=True)
        )
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    own = {name: frame[columns[name]].astype(str) for name in UNITS_OF_TESTS if name in columns}
    return table.assign(**own)


def _aligned(
    read: Sequence[Tokenised], targets: Sequence[Target], bos: tuple[int, ...]
) -> tuple[torch.Tensor, int]:
    """Lay the texts out so that all targets are in one column; give that column too."""
    before = max(target.position for target in targets) + len(bos)
    after = max(
        len(text.ids) - 1 - target.position for text, target in zip(read, targets, strict=True)
    )
    tokens = torch.full((len(read), before + 1 + after), ABSENT, dtype=torch.int64, device="cpu")
    for row, (text, target) in enumerate(zip(read, targets, strict=True)):
        ids = [*bos, *text.ids.tolist()]
        first = before - target.position - len(bos)
        tokens[row, first : first + len(ids)] = torch.tensor(ids, dtype=torch.int64, device="cpu")
    return tokens, before


def _sha256(contents: Sequence[str], positions: Sequence[int], rows: pd.DataFrame) -> str:
    """SHA-256 of what the examples are: texts, places of the targets, labels, words, pairs."""
    names = ["label", "word", *(name for name in UNITS_OF_TESTS if name in rows)]
    digest = hashlib.sha256()
    parts = (rows[name].tolist() for name in names)
    for record in zip(contents, positions, *parts, strict=True):
        digest.update(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
