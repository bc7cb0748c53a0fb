"""Project Gutenberg: the number of a book, its download, and which part of a file is the work."""

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any

from .._shared import too_large

#: A source that begins so is a book of Project Gutenberg.
SCHEME = "gutenberg:"
GUTENBERG_URL = "https://www.gutenberg.org/cache/epub/{ebook}/pg{ebook}.txt"
"""Where Project Gutenberg keeps the plain text of an ebook number."""

# The marker lines that Project Gutenberg has put around its texts since 1993. A title may run over
# several lines; "End of the Project Gutenberg EBook of ..." often precedes the "***" line.
_START = re.compile(
    r"^\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG\b[\s\S]{0,400}?\*\*\*[^\r\n]*[\r\n]*"
    r"|^\*END ?\*? ?THE SMALL PRINT![^\r\n]*[\r\n]*",
    re.MULTILINE,
)
_END = re.compile(
    r"^\*\*\* ?END OF TH(?:IS|E) PROJECT GUTENBERG\b"
    r"|^ *End of (?:the |this )?Project Gutenberg",
    re.MULTILINE | re.IGNORECASE,
)


def check_number(ebook: str) -> None:
    """Refuse a name that is not an ebook number.

    Raises
    ------
    ValueError
        Anything but one to seven digits.
    """
    if not re.fullmatch(r"[0-9]{1,7}", ebook):
        raise ValueError(
            f"an ebook of Project Gutenberg is known by its number, as in gutenberg:32154; got "
            f"{ebook!r}"
        )


def work_span(raw: str) -> tuple[int, int]:
    """Find the work between Project Gutenberg's markers; without markers it is all of ``raw``."""
    start = _START.search(raw)
    first = start.end() if start else 0
    end = _END.search(raw, first)
    return first, end.start() if end else len(raw)


def read_ebook(ebook: str, timeout: float, max_bytes: int) -> bytes:
    """Read an ebook from the cache, after downloading it there if need be.

    The folder of the cache is that of the environment variable ``TL_NEGATION_CACHE``, or the user's
    cache folder. The SHA-256 of the download is kept in a file beside it.

    Raises
    ------
    ConnectionError
        The download failed.
    ValueError
        The download is larger than ``max_bytes``; the cached file is not what was downloaded.
    """
    import platformdirs

    folder = Path(os.environ.get("TL_NEGATION_CACHE") or platformdirs.user_cache_dir("tl_negation"))
    path = folder / f"pg{ebook}.txt"
    record = folder / f"pg{ebook}.txt.sha256"
    if not path.exists():
        _download(GUTENBERG_URL.format(ebook=ebook), path, record, timeout, max_bytes)
    expected = record.read_text().strip() if record.exists() else "not recorded"
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise ValueError(
            f"the cached file {path} is not what was downloaded (SHA-256 of the download: "
            f"{expected}); delete it, and the next call downloads it again"
        )
    return data


def _download(url: str, path: Path, record: Path, timeout: float, max_bytes: int) -> None:
    """Download through pooch, which moves a complete file into place and removes any other."""
    import pooch
    import requests
    import urllib3

    def downloader(url: str, temporary: Any, _: object) -> None:
        data = _get(url, timeout, max_bytes)
        if _cut_short(data):
            raise requests.RequestException("it ends before Project Gutenberg's end marker")
        Path(temporary).write_bytes(data)
        record.write_text(hashlib.sha256(data).hexdigest() + "\n")

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # pooch tells every user to copy the hash into their program
    try:
        pooch.retrieve(
            url,
            None,
            fname=path.name,
            path=path.parent,
            downloader=downloader,  # pyright: ignore[reportArgumentType] - pooch calls it by position
        )
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise ConnectionError(
            f"could not download {url} ({error}). Check the number and the connection, or download "
            "the book's plain-text file by hand and pass its path"
        ) from error
    finally:
        logger.setLevel(level)


def _cut_short(data: bytes) -> bool:
    """Tell whether a book has Project Gutenberg's start marker but no end marker.

    If a server announces no length and breaks off, nothing else gives it away.
    """
    text = data.decode("latin-1")  # the markers are ASCII
    start = re.search(r"^\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG", text, re.MULTILINE)
    return start is not None and _END.search(text, start.end()) is None


def _get(url: str, timeout: float, max_bytes: int) -> bytes:
    import requests

    deadline = time.monotonic() + timeout
    data = bytearray()
    # Not compressed: max_bytes then limits the text itself, not its compressed size.
    headers = {"Accept-Encoding": "identity", "User-Agent": "tl_negation"}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        # read1 returns whatever has arrived, so a server that trickles cannot pass the deadline; it
        # raises if the connection ends before Content-Length.
        while chunk := response.raw.read1(2**16):
            data += chunk
            if len(data) > max_bytes:
                raise ValueError(too_large(url, max_bytes))
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {timeout:g} seconds")
    return bytes(data)
