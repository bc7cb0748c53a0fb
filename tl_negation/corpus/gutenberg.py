"""Project Gutenberg: the number of a book, and its download."""

import hashlib
import os
import queue
import re
import threading
from pathlib import Path
from typing import Any

from .._shared import too_large
from .boilerplate import END, START
from .encodings import is_html

#: A source that begins so is a book of Project Gutenberg.
SCHEME = "gutenberg:"
GUTENBERG_URL = "https://www.gutenberg.org/cache/epub/{ebook}/pg{ebook}.txt"
"""Where Project Gutenberg keeps the plain text of an ebook number."""


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
        if why := _no_book(data):
            raise requests.RequestException(why)
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


def _no_book(data: bytes) -> str | None:
    """Say why what a server sent is not a whole book; None if it may be one.

    If a server announces no length and breaks off, only a missing end marker gives it away.
    """
    text = data.decode("latin-1")  # the markers are ASCII
    start = START.search(text)
    if data.startswith(b"\x1f\x8b"):
        return "it is compressed, though plain text was asked for"
    if is_html(text):
        return "it is a page in HTML, not the plain text of a book"
    if start is not None and END.search(text, start.end()) is None:
        return "it ends before Project Gutenberg's end marker"
    return None


def _get(url: str, timeout: float, max_bytes: int) -> bytes:
    """Download a file; the time limit is that of the whole download.

    The time limits of requests start anew with each answer of the server, and a server that
    redirects, or sends its headers slowly, gives many answers. So the download runs in a thread,
    and the thread is abandoned when the time is over.
    """
    found: queue.Queue[bytes | BaseException] = queue.Queue()
    overdue = threading.Event()

    def work() -> None:
        try:
            found.put(_stream(url, timeout, max_bytes, overdue))
        except BaseException as error:
            found.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        ended = found.get(timeout=timeout)
    except queue.Empty:
        overdue.set()
        raise TimeoutError(f"not finished after {timeout:g} seconds") from None
    if isinstance(ended, BaseException):
        raise ended
    return ended


def _stream(url: str, timeout: float, max_bytes: int, overdue: threading.Event) -> bytes:
    import requests

    data = bytearray()
    # Not compressed: max_bytes then limits the text itself, not its compressed size.
    headers = {"Accept-Encoding": "identity", "User-Agent": "tl_negation"}
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        response.raise_for_status()
        # read1 returns whatever has arrived; it raises if the connection ends before
        # Content-Length.
        while not overdue.is_set() and (chunk := response.raw.read1(2**16)):
            data += chunk
            if len(data) > max_bytes:
                raise ValueError(too_large(url, max_bytes))
    return bytes(data)
