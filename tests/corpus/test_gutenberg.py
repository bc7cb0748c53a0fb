"""Project Gutenberg: which part of a file is the work, and a book downloaded once or not at all."""

import hashlib
import http.server
import logging
import threading
import time
from dataclasses import replace

import pooch
import pytest
from helpers import corpora
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus import gutenberg
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text, load_text

HEADER = "The Project Gutenberg EBook of A Story\r\n\r\nYou may copy it.\r\n\r\n"
START = "*** START OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
LICENCE = "\r\n\r\nYou may not charge. PROJECT GUTENBERG LICENSE\r\n"
BODY = "It could not be.\r\nIt was.\r\n\r\n"
BOOK = f"{HEADER}{START}\r\n\r\n{BODY}{END}{LICENCE}"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "story.txt"
        path.write_bytes(text.encode())
        return path

    return write


def test_gutenberg_header_and_licence_are_cut(write):
    text = load_text(write(BOOK))
    assert text.content == BODY.replace("\r\n", "\n")
    assert text.raw[slice(*text.body)] == BODY
    assert text.body_in_content == (0, len(text.content))


def test_boilerplate_is_kept_on_request_and_the_body_still_known(write):
    text = load_text(write(BOOK), boilerplate=True)
    assert text.content == BOOK.replace("\r\n", "\n")
    assert text.content[slice(*text.body_in_content)] == BODY.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK A STORY ***",
            "*** END OF THE PROJECT GUTENBERG",
        ),
        (
            "***START OF THE PROJECT GUTENBERG EBOOK A\r\nSTORY***",
            "***END OF THE PROJECT GUTENBERG",
        ),
        (
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
            "End of The Project Gutenberg Etext of A Story",
        ),
        (START, "End of the Project Gutenberg EBook of A Story\r\n\r\n" + END),
        (START, "End of Project Gutenberg's A Story\r\n\r\n" + END),
    ],
)
def test_markers_of_other_years(start, end):
    text = Text.from_string(f"{HEADER}{start}\r\n{BODY}{end}{LICENCE}")
    assert text.raw[slice(*text.body)] == BODY


SMALL_PRINT = (
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\r\n"
    "Why is this Small Print statement here? You may not sue us.\r\n"
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\r\n"
)
LONG = BODY * 40


@pytest.mark.parametrize(
    ("raw", "works"),
    [
        (f"{HEADER}{SMALL_PRINT}{LONG}End of Project Gutenberg's A Story", [LONG]),
        (f"{HEADER}{SMALL_PRINT}{LONG}", [LONG]),
        # small print at the end, alone, with a line after it, and with an end marker after that
        (f"{LONG}{SMALL_PRINT}", [LONG]),
        (f"{LONG}{SMALL_PRINT}\r\nOne more line.\r\n", [LONG]),
        (f"{LONG}{SMALL_PRINT}\r\nOne more line.\r\nEnd of Project Gutenberg's A Story", [LONG]),
        (f"{LONG}End of The Project Gutenberg Etext of A Story\r\n{SMALL_PRINT}\r\nLine", [LONG]),
        # two books in one file, with and without the first one's end
        (f"{HEADER}{START}\r\n{LONG}{END}{LICENCE}{START}\r\n{BODY}{END}{LICENCE}", [LONG, BODY]),
        # for copyrighted books
        (
            f"{HEADER}*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A STORY ***\r\n{BODY}"
            f"*** END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK A STORY ***{LICENCE}",
            [BODY],
        ),
        (
            f"{HEADER}*** Start of this Project Gutenberg EBook A ***\r\n{BODY}START: FULL LICENSE",
            [BODY],
        ),
        (f"{START}\r\n{BODY}Ende dieses Projekt Gutenberg Etextes{LICENCE}", [BODY]),
        (f"{START}\r\n{BODY}Fin de The Project Gutenberg EBook{LICENCE}", [BODY]),
        # a header that is longer than the poem
        (f"{HEADER * 30}{START}\r\n{BODY}", [BODY]),
    ],
)
def test_the_works_are_found_whatever_the_markers(raw, works):
    text = Text.from_string(raw)
    assert [text.raw[slice(*span)] for span in text.works] == works
    assert text.content == "\n\n".join(works).replace("\r\n", "\n")
    assert sum(text.cut.values()) + sum(map(len, works)) == len(raw)
    whole = replace(text, keep_boilerplate=True)
    spans = whole.works_in_content
    assert [whole.content[slice(*span)] for span in spans] == [
        work.replace("\r\n", "\n") for work in works
    ]
    assert whole.cut == {"before": 0, "between": 0, "after": 0}


def test_what_was_cut_is_in_the_text_and_in_the_audit(capsys):
    raw = f"{HEADER}{START}\r\n{LONG}{END}{LICENCE}{START}\r\n{LONG}{END}{LICENCE}"
    text = Text.from_string(raw.replace("It was", "It can be"))
    between = len(f"{END}{LICENCE}{START}\r\n")
    cut = {"before": len(f"{HEADER}{START}\r\n"), "between": between, "after": len(END + LICENCE)}
    assert text.cut == cut
    assert f"{sum(cut.values()):,} of licence cut" in repr(text)
    contexts = find_contexts(text, corpora.byte_level(), before=1, after=0, prepend_bos=False)
    assert contexts.source["cut"] == cut
    contexts.audit()
    assert f"{cut['before']:,} before, {between:,} between, {cut['after']:,} after the work" in (
        capsys.readouterr().out
    )
    assert not contexts.examples["in_boilerplate"].any()


def test_an_end_before_the_start_is_none():
    text = Text.from_string(f"End of Project Gutenberg's notes\n{START}\n{BODY}{END}{LICENCE}")
    assert text.raw[slice(*text.body)] == BODY


def test_one_marker_alone_cuts_one_side():
    assert Text.from_string(f"{START}\r\n{BODY}").content == "It could not be.\nIt was.\n\n"
    assert Text.from_string(f"{BODY}{END}").content == "It could not be.\nIt was.\n\n"


def test_a_text_that_speaks_of_gutenberg_is_not_cut():
    s = "We read *** START OF THIS PROJECT GUTENBERG in it.\nThe end of Project Gutenberg is near."
    assert Text.from_string(s).content == s


@given(st.text(alphabet="ab \r\n", min_size=1), st.booleans())
def test_body_in_content_holds_the_normalised_body(inside, keep):
    raw = f"{HEADER}{START}\nx{inside}y\n{END}{LICENCE}"
    text = Text(raw, "string", "", "utf-8", keep_boilerplate=keep)
    first, last = text.body_in_content
    body = text.content[first:last]
    assert body == f"x{inside}y\n".replace("\r\n", "\n").replace("\r", "\n")


def test_nothing_between_the_markers_is_refused_unless_they_are_kept(write):
    path = write(f"{HEADER}{START}\r\n{END}{LICENCE}")
    with pytest.raises(ValueError, match="load it with boilerplate=True"):
        load_text(path)
    assert "may copy" in load_text(path, boilerplate=True).content


class Gutenberg(http.server.ThreadingHTTPServer):
    """A server of one book, which counts requests and can misbehave."""

    daemon_threads = True
    book = BOOK.encode()
    status = 200
    missing = 0  # bytes announced and never sent
    pause = 0.0  # seconds between two bytes
    announce = True
    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests += 1
        self.send_response(server.status)
        if server.announce:
            self.send_header("Content-Length", str(len(server.book) + server.missing))
        self.end_headers()
        try:
            for i in range(0, len(server.book), 1 if server.pause else len(server.book)):
                self.wfile.write(server.book[i : i + 1] if server.pause else server.book)
                time.sleep(server.pause)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TL_NEGATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Gutenberg(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/{{ebook}}/pg{{ebook}}.txt"
        monkeypatch.setattr(gutenberg, "GUTENBERG_URL", url)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("announce", [True, False])
def test_a_book_is_downloaded_once_with_its_checksum(server, tmp_path, announce, caplog):
    server.announce = announce
    logger = pooch.get_logger()
    level = logger.level
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        first, second = load_text("gutenberg:7"), load_text("gutenberg:7", boilerplate=True)
    assert server.requests == 1
    assert first.source == second.source == "gutenberg:7"
    assert first.raw == BOOK
    assert first.content == BODY.replace("\r\n", "\n")
    assert cached(tmp_path) == ["pg7.txt", "pg7.txt.sha256"]
    recorded = (tmp_path / "cache" / "pg7.txt.sha256").read_text().strip()
    assert recorded == first.sha256 == hashlib.sha256(BOOK.encode()).hexdigest()
    logger.removeHandler(caplog.handler)
    assert "SHA256" not in caplog.text
    assert logger.level == level


def test_the_default_cache_is_the_users(server, monkeypatch, tmp_path):
    monkeypatch.delenv("TL_NEGATION_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    load_text("gutenberg:7")
    assert (tmp_path / "cache" / "tl_negation" / "pg7.txt").exists()


@pytest.mark.parametrize("changed", ["pg7.txt", "pg7.txt.sha256"])
def test_a_changed_cache_is_refused_until_it_is_deleted(server, tmp_path, changed):
    load_text("gutenberg:7")
    (tmp_path / "cache" / changed).write_text("tampered")
    with pytest.raises(ValueError, match=r"cached file .*pg7\.txt is not what was .*delete it"):
        load_text("gutenberg:7")
    (tmp_path / "cache" / "pg7.txt").unlink()
    assert load_text("gutenberg:7").raw == BOOK
    assert server.requests == 2


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\x1f\x8b\x08 compressed", "it is compressed, though plain text was asked for"),
        (
            b"<!DOCTYPE html><html><title>Not found</title>",
            "it is a page in HTML, not the plain text",
        ),
        (b"\r\n<html lang='en'>", "it is a page in HTML"),
    ],
)
def test_what_is_no_book_is_not_kept(server, tmp_path, sent, message):
    server.book = sent
    with pytest.raises(ConnectionError, match=f"could not download .*{message}"):
        load_text("gutenberg:7")
    assert cached(tmp_path) == []


@pytest.mark.parametrize("slow", ["headers", "redirects"])
def test_the_timeout_is_that_of_the_whole_download(server, tmp_path, slow, monkeypatch):
    """Each single answer comes in time."""

    def trickle(handler):
        if slow == "redirects":
            time.sleep(0.2)
            handler.send_response(302)
            handler.send_header("Location", handler.path)
            handler.end_headers()
            return
        for byte in b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 1000:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.2)

    monkeypatch.setattr(Handler, "do_GET", trickle)
    begun = time.monotonic()
    with pytest.raises(ConnectionError, match="not finished after 1 seconds"):
        load_text("gutenberg:7", timeout=1.0)
    assert time.monotonic() - begun < 60  # the 1,000 bytes would take 200 s, the redirects for ever
    assert cached(tmp_path) == []


def test_a_cached_file_without_its_checksum_is_refused(server, tmp_path):
    load_text("gutenberg:7")
    (tmp_path / "cache" / "pg7.txt.sha256").unlink()
    with pytest.raises(ValueError, match="download: not recorded"):
        load_text("gutenberg:7")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"missing": 5}, r"could not download .*pass its path"),
        (
            {"announce": False, "book": BOOK[: BOOK.index(END)].encode()},
            r"could not download .*ends before Project Gutenberg's end marker.*pass its path",
        ),
        ({"status": 404}, r"could not download .*404.*Check the number"),
        ({"status": 503}, r"could not download .*503"),
    ],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(server, tmp_path, fault, message):
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(ConnectionError, match=message):
        load_text("gutenberg:7")
    assert cached(tmp_path) == []


def test_a_silent_server_is_given_up(server, tmp_path):
    server.pause = 5.0
    with pytest.raises(ConnectionError, match=r"could not download .*(imed out|not finished)"):
        load_text("gutenberg:7", timeout=0.3)
    assert cached(tmp_path) == []


def test_a_download_above_the_size_limit_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_text("gutenberg:7", max_bytes=10)
    assert cached(tmp_path) == []


def test_no_internet_says_to_pass_a_path(server, monkeypatch, tmp_path):
    monkeypatch.setattr(gutenberg, "GUTENBERG_URL", "http://127.0.0.1:9/pg{ebook}.txt")
    with pytest.raises(ConnectionError, match="download the book's plain-text file by hand and"):
        load_text("gutenberg:7")
    assert cached(tmp_path) == []
