"""Project Gutenberg: where its books are, which part of a file is the work, and the download."""

import hashlib
import os
import re
import time
from pathlib import Path

from .._shared import too_large

GUTENBERG_URL = "https://www.gutenberg.org/cache/epub/{ebook}/pg{ebook}.txt"
"""Where Project Gutenberg keeps the plain text of an ebook number."""

# The marker lines that Project Gutenberg has put around its texts since 1993. A title may run over
# several lines; "End of the Project Gutenberg EBook of ..." often stands before the "***" line.
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


def work_span(raw: str) -> tuple[int, int]:
    """Span of the work between Project Gutenberg's markers; all of ``raw`` without markers."""
    start = _START.search(raw)
    first = start.end() if start else 0
    end = _END.search(raw, first)
    return first, end.start() if end else len(raw)


def read_ebook(ebook: str, timeout: float, max_bytes: int) -> bytes:
    """Bytes of an ebook, from the cache if it is there; the checksum lies beside the file."""
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
    """Download through pooch, which moves the finished file into place and cleans up otherwise."""
    import pooch
    import requests
    import urllib3

    def downloader(url: str, temporary: str, _: object) -> None:
        data = _get(url, timeout, max_bytes)
        if _cut_short(data):
            raise requests.RequestException("it ends before Project Gutenberg's end marker")
        Path(temporary).write_bytes(data)
        record.write_text(hashlib.sha256(data).hexdigest() + "\n")

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # pooch tells every user to copy the hash into their program
    try:
        pooch.retrieve(url, None, fname=path.name, path=path.parent, downloader=downloader)
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise ConnectionError(
            f"could not download {url} ({error}). Check the number and the connection, or download "
            "the book's plain-text file by hand and pass its path"
        ) from error
    finally:
        logger.setLevel(level)


def _cut_short(data: bytes) -> bool:
    """Whether a book begins with Project Gutenberg's marker and ends without it.

    A server that announces no length and breaks off leaves no other trace.
    """
    text = data.decode("latin-1")  # the markers are ASCII
    start = re.search(r"^\*\*\* ?START OF TH(?:IS|E) PROJECT GUTENBERG", text, re.MULTILINE)
    return start is not None and _END.search(text, start.end()) is None


def _get(url: str, timeout: float, max_bytes: int) -> bytes:
    import requests

    deadline = time.monotonic() + timeout
    data = bytearray()
    # Not compressed, so that max_bytes bounds what the bytes become.
    headers = {"Accept-Encoding": "identity", "User-Agent": "tl_negation"}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        # read1 returns what has arrived, so that a server that trickles cannot pass the deadline;
        # it raises where the connection ends before Content-Length.
        while chunk := response.raw.read1(2**16):
            data += chunk
            if len(data) > max_bytes:
                raise ValueError(too_large(url, max_bytes))
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {timeout:g} seconds")
    return bytes(data)
