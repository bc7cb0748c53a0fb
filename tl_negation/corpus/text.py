"""Documents to look for words in: read from paths, Project Gutenberg, Python or data sets.

First stage of ``text -> contexts -> activations -> probe -> profile -> picture``. Here a source is
recognised, read and decoded; where a book or a data set comes from is in ``gutenberg`` and
``data_sets``.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, partial
from glob import has_magic
from itertools import islice
from pathlib import Path
from typing import Any

from .._shared import Count, expanded, nearest, too_large, validated
from . import boilerplate, data_sets, gutenberg
from .encodings import check_is_prose, decode

ACCEPTED = (
    'a path to a plain-text file, "gutenberg:ID" (as "gutenberg:32154") or "builtin:python-docs"; '
    'for many documents a folder of *.txt files, a pattern (as "stories/*.txt"), a list of these, '
    'or "hf:NAME?split=train&column=text"'
)
BUILTIN = "builtin:"
BUILTINS = ("python-docs",)


@dataclass(frozen=True, repr=False)
class Text:
    r"""A text and where it came from.

    Attributes
    ----------
    raw
        The text exactly as decoded, line ends and licence included, but for a byte-order mark.
    source
        The path as given, ``"gutenberg:32154"``, ``"builtin:python-docs"``, or ``"string"``.
    sha256
        SHA-256 (hex) of the bytes read; of the UTF-8 bytes for a string or a built-in text.
    encoding
        How the bytes were read.
    keep_boilerplate
        Whether Project Gutenberg's header and licence belong to what is analysed.

    Examples
    --------
    >>> story = tln.Text.from_string("It is not so.\r\nIt can be.", source="a note")
    >>> story.source, story.encoding, story.sha256[:8]
    ('a note', 'utf-8', 'da63374c')
    >>> story.content  # what is analysed
    'It is not so.\nIt can be.'
    """

    raw: str
    source: str
    sha256: str
    encoding: str
    keep_boilerplate: bool = False

    @classmethod
    @validated
    def from_string(cls, s: str, source: str = "string") -> "Text":
        """Wrap a string that is the text itself.

        Parameters
        ----------
        s
            The text.
        source
            What reports call it.

        Raises
        ------
        ValueError
            The string holds nothing but white space.
        """
        try:
            data = s.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the string {shortened(source)!r} is no text: half a character at {error.start} "
                "(it was decoded with surrogateescape, or cut in two); decode it again"
            ) from error
        return cls._from_bytes(data, s, source, "utf-8", keep_boilerplate=False)

    @classmethod
    def _from_bytes(
        cls, data: bytes, raw: str, source: str, encoding: str, *, keep_boilerplate: bool
    ) -> "Text":
        text = cls(raw, source, hashlib.sha256(data).hexdigest(), encoding, keep_boilerplate)
        if not raw.strip():
            raise ValueError(f"a text must hold words; {source!r} is empty: give another text")
        if not text.content.strip():
            raise ValueError(
                f"{source!r} holds nothing between Project Gutenberg's markers; "
                "load it with boilerplate=True to analyse all of it"
            )
        return text

    @cached_property
    def works(self) -> tuple[tuple[int, int], ...]:
        """Character spans of the works within ``raw``, between Project Gutenberg's markers.

        All of ``raw`` if it has no markers. A file may hold several books.
        """
        return boilerplate.works(self.raw)

    @property
    def body(self) -> tuple[int, int]:
        """Character span in ``raw`` from the beginning of the first work to the last one's end."""
        return self.works[0][0], self.works[-1][1]

    @property
    def cut(self) -> dict[str, int]:
        """Characters of ``raw`` that are not analysed: before, between and after the works."""
        if self.keep_boilerplate:
            return {"before": 0, "between": 0, "after": 0}
        first, last = self.body
        works = sum(end - start for start, end in self.works)
        return {"before": first, "between": last - first - works, "after": len(self.raw) - last}

    @cached_property
    def content(self) -> str:
        r"""What is analysed: the works, or all if ``keep_boilerplate``; line ends are ``\n``."""
        if self.keep_boilerplate:
            return _newlines(self.raw)
        return "\n\n".join(_newlines(self.raw[first:last]) for first, last in self.works)

    @property
    def works_in_content(self) -> tuple[tuple[int, int], ...]:
        """Character spans of the works within ``content``."""
        if not self.keep_boilerplate:
            return ((0, len(self.content)),)
        return tuple(
            (len(_newlines(self.raw[:first])), len(_newlines(self.raw[:last])))
            for first, last in self.works
        )

    @property
    def body_in_content(self) -> tuple[int, int]:
        """Character span in ``content`` from the first work's beginning to the last one's end."""
        works = self.works_in_content
        return works[0][0], works[-1][1]

    def __repr__(self) -> str:
        cut = sum(self.cut.values())
        licence = f", {cut:,} of licence cut" if cut else ""
        return (
            f"Text({shortened(self.source)!r}, {len(self.content):,} characters{licence}, "
            f"{self.encoding}, SHA-256 {self.sha256[:8]})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Several documents, read one at a time.

    Attributes
    ----------
    source
        What was asked for.
    read
        Called to begin reading: returns an iterator over the documents, with None for a row of a
        data set that has no words in it.

    Notes
    -----
    Nothing is read before it is iterated over, and nothing is kept. Documents that come from an
    iterator, not from a list or a data set, can be read once; a second reading raises ValueError.

    Examples
    --------
    >>> rows = [{"text": "They cannot."}, {"text": None}, {"text": "You may."}]
    >>> corpus = tln.load_text(rows, column="text")
    >>> corpus
    Corpus(list of rows, column 'text')
    >>> [document.content for document in corpus]
    ['They cannot.', 'You may.']
    """

    source: str
    read: Callable[[], Iterator[Text | None]]

    def __iter__(self) -> Iterator[Text]:
        return (document for document in self.read() if document is not None)

    def __repr__(self) -> str:
        return f"Corpus({shortened(self.source, 300)})"


def shortened(name: str, longest: int = 100) -> str:
    """Leave out the middle of a name that is too long to be read."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]} ... {name[-half:]}"


@validated
def load_text(
    source: str | Path | Text | Corpus | Iterable[Any],
    *,
    column: str | None = None,
    limit: Count | None = None,
    boilerplate: bool = False,
    timeout: float = 30.0,
    max_bytes: Count = 50_000_000,
) -> Text | Corpus:
    """Read a text, or many, and remember source, encoding and SHA-256 of each.

    Parameters
    ----------
    source
        One document: a path to a plain-text file; ``"gutenberg:ID"`` for an ebook of Project
        Gutenberg, downloaded once and kept in the user's cache folder (or in the folder named by
        the environment variable ``TL_NEGATION_CACHE``) beside its SHA-256, which every later load
        checks; or ``"builtin:python-docs"``, the language reference that comes with Python
        (``pydoc_data.topics``; it differs between Python versions, as its SHA-256 shows).

        Many documents: a folder (its ``*.txt`` files, subfolders included, in the order of their
        names), a pattern such as ``"stories/*.txt"``, or a list of sources and texts.

        A data set, whose rows are the documents:
        ``"hf:NAME?split=train&column=text&limit=1000"`` (``config=...`` if it has several
        configurations). NAME is a data set on the Hugging Face hub, a local folder of it or a file
        (.jsonl, .csv, .parquet); it is streamed through the library ``datasets``
        (``pip install "tl_negation[datasets]"``). Or any iterable of rows, with ``column``.
    column
        The column that holds the text; ``source`` is then an iterable of rows (mappings), such as
        ``datasets.load_dataset(..., streaming=True)``.
    limit
        Read at most this many documents (rows).
    boilerplate
        Keep Project Gutenberg's header and licence in what is analysed.
    timeout
        Seconds that a download may take in all.
    max_bytes
        Size in bytes of the largest file or download accepted.

    Returns
    -------
    Text or Corpus
        A :class:`Text` for one document, a :class:`Corpus` for a source of possibly many. The
        documents of a corpus are read when it is used, and one that cannot be read raises then.

    Raises
    ------
    FileNotFoundError
        No such file; a folder or pattern without text files.
    ConnectionError
        The download failed; nothing is left behind.
    ImportError
        ``datasets`` is not installed.
    TypeError
        A source or another argument of another type; rows without ``column``.
    ValueError
        An unknown form, built-in or ebook number; an empty, binary or too large text; a cached
        file that changed since its download; a data set, split or column that does not exist; a
        limit out of range.

    Notes
    -----
    UTF-8 (with or without byte-order mark) and UTF-16 with one are recognised for certain. Anything
    else is read as Latin-1, as Windows-1252 if it uses that encoding's typographic marks, or as Mac
    Roman if it has that encoding's apostrophe: a guess, which ``Text.encoding`` records.

    Examples
    --------
    >>> docs = tln.load_text("builtin:python-docs")
    >>> docs.source, len(docs.content) > 100_000
    ('builtin:python-docs', True)
    >>> tln.load_text([docs, text])  # many documents; read when they are used
    Corpus(builtin:python-docs, string)
    """
    if timeout <= 0:
        raise ValueError(f"timeout must be above 0 seconds; got {timeout}")
    load = partial(_load_document, boilerplate=boilerplate, timeout=timeout, max_bytes=max_bytes)
    if column is not None:
        return _of_rows(source, column, limit)
    if isinstance(source, (Text, Corpus)):
        return source
    if isinstance(source, (str, Path)):
        _check_source(str(source))
        if str(source).startswith(data_sets.SCHEME):
            return Corpus(str(source), lambda: _of_data_set(str(source), timeout, limit))
        if (files := _files(str(source))) is not None:
            return Corpus(str(source), lambda: map(load, islice(files, limit)))
        return load(source)
    return _of_sources(source, limit, load)


def _load_document(
    source: str | Path, *, boilerplate: bool, timeout: float, max_bytes: int
) -> Text:
    name = str(source)
    if name.startswith(BUILTIN):
        data = _builtin()
    elif name.startswith(gutenberg.SCHEME):
        data = gutenberg.read_ebook(name.removeprefix(gutenberg.SCHEME), timeout, max_bytes)
    else:
        data = _read(name, max_bytes)
    raw, encoding = decode(data, name)
    check_is_prose(name, raw)
    return Text._from_bytes(data, raw, name, encoding, keep_boilerplate=boilerplate)


def _check_source(name: str) -> None:
    """Refuse a source of no known form, or a path to nothing, before anything is read."""
    if not name:
        raise ValueError(f"the name of a source is empty; give {ACCEPTED}")
    if name.startswith(BUILTIN):
        builtin = name.removeprefix(BUILTIN)
        if builtin not in BUILTINS:
            raise ValueError(
                f"unknown built-in text {builtin!r}; there is {', '.join(BUILTINS)}"
                f"{nearest(builtin, BUILTINS)}"
            )
    elif name.startswith(gutenberg.SCHEME):
        gutenberg.check_number(name.removeprefix(gutenberg.SCHEME))
    elif name.startswith(data_sets.SCHEME):
        data_sets.parse(name)
    elif not _exists(expanded(name)) and not has_magic(name):
        # At least two letters: C:\story.txt is a path.
        if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", name):
            raise ValueError(f"unknown kind of source {scheme[0]!r} in {name!r}; give {ACCEPTED}")
        raise FileNotFoundError(f"no such file: {shortened(name)!r}; give {ACCEPTED}")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no file can have that name: it is too long, for one
        return False


def _files(name: str) -> list[str] | None:
    """List the files of a folder or a pattern; None if the name is neither."""
    path = expanded(name)
    if path.is_dir():
        found, kind = _matching(path, "**/*.txt"), "the folder"
    elif not _exists(path) and has_magic(name):
        parts = path.parts[bool(path.anchor) :]
        fixed = next(n for n, part in enumerate(parts) if has_magic(part))
        pattern = str(Path(*parts[fixed:]))
        if parts[-1] == "**":  # what is in the folders, not the folders
            pattern += "/*"
        found, kind = _matching(Path(path.anchor).joinpath(*parts[:fixed]), pattern), "the pattern"
    else:
        return None
    if not found:
        raise FileNotFoundError(
            f"{kind} {name!r} has no text files (*.txt in a folder); give {ACCEPTED}"
        )
    return found


def _matching(root: Path, pattern: str) -> list[str]:
    """Files of a pattern, each real file once; ``**`` does not follow links to folders.

    Raises
    ------
    ValueError
        The pattern is malformed, as ``a**b`` is.
    """
    try:
        found = list(root.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{pattern!r} is no pattern of files ({error}); give {ACCEPTED}"
        ) from error
    shown = [
        file for file in found if file.is_file() and not _is_hidden(file.relative_to(root), pattern)
    ]
    by_file: dict[tuple[int, int], str] = {}
    for file in sorted(shown, key=lambda file: (file.is_symlink(), str(file))):  # links come last
        status = file.stat()
        by_file.setdefault((status.st_dev, status.st_ino), str(file))
    return sorted(by_file.values())


def _is_hidden(file: Path, pattern: str) -> bool:
    """Whether a name begins with a dot that the pattern does not ask for."""
    asked = [name for name in Path(pattern).parts if name.startswith(".")]
    return any(
        name.startswith(".") and not any(fnmatchcase(name, each) for each in asked)
        for name in file.parts
        if name != ".."
    )


def _of_sources(sources: Any, limit: int | None, load: partial[Text]) -> Corpus:
    if not isinstance(sources, (list, tuple)):
        rows = " of rows; name the column that holds the text (column=...)"
        what = rows if isinstance(sources, Iterable) else ""
        raise TypeError(f"cannot load a {type(sources).__name__}{what}; give {ACCEPTED}")
    if not sources:
        raise ValueError(f"an empty list of texts was given; give {ACCEPTED}")
    for source in sources:
        if not isinstance(source, (str, Path, Text, Corpus)):
            raise TypeError(
                f"a list of texts holds sources and texts; got a {type(source).__name__} in it: "
                "for rows of a data set name their column (column=...)"
            )
        if isinstance(source, (str, Path)):
            _check_source(str(source))

    def read() -> Iterator[Text | None]:
        for source in sources:
            part = load_text(source, **load.keywords)
            if isinstance(part, Text):
                yield part
            else:
                yield from part.read()

    names = [str(getattr(source, "source", source)) for source in sources]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Corpus(shown, lambda: islice(read(), limit))


def _of_rows(rows: Any, column: str, limit: int | None) -> Corpus:
    if isinstance(rows, (str, Path, Text)) or not isinstance(rows, Iterable):
        raise TypeError(
            f"column={column!r} asks for rows of a data set; got a {type(rows).__name__}: a source "
            f"that is read through datasets names its column itself, {data_sets.FORM}"
        )
    name = f"{type(rows).__name__} of rows, column {column!r}"
    once = iter(rows) is rows
    begun: list[bool] = []

    def read() -> Iterator[Text | None]:
        if once and begun:
            raise ValueError(
                f"the rows came from an iterator ({type(rows).__name__}), which can be read once; "
                "give a list or a data set, which can be read again"
            )
        begun.append(True)
        return _documents(data_sets.strings_of(rows, column, limit), name)

    return Corpus(name, read)


def _of_data_set(source: str, timeout: float, limit: int | None) -> Iterator[Text | None]:
    return _documents(islice(data_sets.stream(source, timeout), limit), source)


def _documents(strings: Iterable[str], name: str) -> Iterator[Text | None]:
    for number, string in enumerate(strings):
        yield Text.from_string(string, f"{name}, row {number}") if string.strip() else None


def _newlines(s: str) -> str:
    return s.replace("\r\n", "\n").replace("\r", "\n")


def _builtin() -> bytes:
    from pydoc_data.topics import topics  # 700 kB, needed only here

    return "\n\n".join(topics.values()).encode("utf-8")


def _read(name: str, max_bytes: int) -> bytes:
    path = expanded(name)
    if not path.is_file():
        raise ValueError(
            f"a text is read from a regular file; {name!r} is a device, pipe or socket"
        )
    check_is_prose(name)
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(too_large(name, max_bytes))
    return data
