import hashlib
import http.server
import logging
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pooch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus import text as text_module
from tl_negation.corpus.text import Text, load_text

HEADER = "The Project Gutenberg EBook of A Story\r\n\r\nYou may copy it.\r\n\r\n"
START = "*** START OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
LICENCE = "\r\n\r\nYou may not charge. PROJECT GUTENBERG LICENSE\r\n"
BODY = "It could not be.\r\nIt was.\r\n\r\n"
BOOK = f"{HEADER}{START}\r\n\r\n{BODY}{END}{LICENCE}"


@pytest.fixture
def write(tmp_path):
    def write(data, name="story.txt"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("data", "raw", "encoding"),
    [
        (b"I do not", "I do not", "ascii"),
        ("na\u00efve don\u2019t".encode(), "na\u00efve don\u2019t", "utf-8"),
        (b"\xef\xbb\xbfI do not", "I do not", "utf-8-sig"),
        ("I don\u2019t".encode("utf-16"), "I don\u2019t", "utf-16"),
        (b"\xfe\xff\x00n\x00o", "no", "utf-16"),
        ("na\u00efve".encode("latin-1"), "na\u00efve", "latin-1"),
        (b"I don\x92t, na\xefve", "I don\u2019t, na\u00efve", "cp1252"),
    ],
)
def test_encodings(write, data, raw, encoding):
    text = load_text(write(data))
    assert (text.raw, text.encoding) == (raw, encoding)
    assert text.sha256 == hashlib.sha256(data).hexdigest()


def test_source_is_the_path_as_given(write, monkeypatch, tmp_path):
    write(b"not")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_text("story.txt").source == "story.txt"
    assert load_text(Path("story.txt")).source == "story.txt"
    assert load_text("~/story.txt").source == "~/story.txt"


def test_line_ends_are_kept_in_raw_and_normalised_in_content(write):
    text = load_text(write(b"a\r\nb\rc\n\r\nd"))
    assert text.raw == "a\r\nb\rc\n\r\nd"
    assert text.content == "a\nb\nc\n\nd"
    assert text.body_in_content == (0, 8)


def test_gutenberg_header_and_licence_are_cut(write):
    text = load_text(write(BOOK.encode()))
    assert text.content == BODY.replace("\r\n", "\n")
    assert text.raw[slice(*text.body)] == BODY
    assert text.body_in_content == (0, len(text.content))


def test_boilerplate_is_kept_on_request_and_the_body_still_known(write):
    text = load_text(write(BOOK.encode()), boilerplate=True)
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


def test_from_string():
    text = Text.from_string("I don\u2019t")
    assert (text.raw, text.source, text.encoding) == ("I don\u2019t", "string", "utf-8")
    assert text.sha256 == hashlib.sha256("I don\u2019t".encode()).hexdigest()
    assert Text.from_string("x", source="mine").source == "mine"
    with pytest.raises(FrozenInstanceError, match="raw"):
        text.raw = "other"


def test_python_docs_are_a_text_with_both_kinds_of_words():
    text = load_text("builtin:python-docs")
    assert text.source == "builtin:python-docs"
    assert text.sha256 == hashlib.sha256(text.raw.encode()).hexdigest()
    assert len(text.content) > 300_000
    assert text.content.count(" not ") > 200
    assert text.content.count(" can ") > 200


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("no/such/file.txt", FileNotFoundError, r"no such file: 'no/such/file.txt'; give a path"),
        ("C:\\no\\story.txt", FileNotFoundError, "no such file: .*gutenberg:ID"),
        ("foo:bar", ValueError, "unknown kind of source 'foo:'"),
        ("https://example.org/a.txt", ValueError, "unknown kind of source 'https:'"),
        ("builtin:poems", ValueError, "unknown built-in text 'poems'; there is python-docs"),
        ("gutenberg:dick", ValueError, "known by its number, as in gutenberg:32154; got 'dick'"),
        ("gutenberg:../1", ValueError, "known by its number"),
        ("gutenberg:", ValueError, "known by its number"),
    ],
)
def test_sources_that_are_none(source, error, message):
    with pytest.raises(error, match=message):
        load_text(source)


def test_a_folder_without_texts_is_refused(tmp_path):
    (tmp_path / "story.md").write_text("not")
    with pytest.raises(FileNotFoundError, match=r"the folder '.*' has no text files \(\*.txt"):
        load_text(tmp_path)


@pytest.mark.parametrize("data", [b"", b" \r\n\t", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(write, data):
    with pytest.raises(ValueError, match=r"story.txt' is empty"):
        load_text(write(data))


def test_an_empty_string_is_refused():
    with pytest.raises(ValueError, match="'string' is empty"):
        Text.from_string(" \n")


def test_nothing_between_the_markers_is_refused_unless_they_are_kept(write):
    path = write(f"{HEADER}{START}\r\n{END}{LICENCE}".encode())
    with pytest.raises(ValueError, match="load it with boilerplate=True"):
        load_text(path)
    assert "may copy" in load_text(path, boilerplate=True).content


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\0\0not", "is binary"),
        (b"na\xefve\x81", r"cannot be read as text \(cp1252: .* at byte 5\); save it as UTF-8"),
        (b"\xff\xfeabc", r"cannot be read as text \(utf-16: "),
        (b"\xef\xbb\xbfna\xefve", r"cannot be read as text \(utf-8-sig: "),
    ],
)
def test_what_is_no_text_is_refused(write, data, message):
    with pytest.raises(ValueError, match=message):
        load_text(write(data))


def test_a_file_above_the_size_limit_is_refused_and_one_at_it_read(write):
    path = write(b"can not")
    assert load_text(path, max_bytes=7).raw == "can not"
    with pytest.raises(ValueError, match="larger than 6 bytes; raise max_bytes"):
        load_text(path, max_bytes=6)


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
def gutenberg(monkeypatch, tmp_path):
    monkeypatch.setenv("TL_NEGATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Gutenberg(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/{{ebook}}/pg{{ebook}}.txt"
        monkeypatch.setattr(text_module, "GUTENBERG_URL", url)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("announce", [True, False])
def test_a_book_is_downloaded_once_with_its_checksum(gutenberg, tmp_path, announce, caplog):
    gutenberg.announce = announce
    logger = pooch.get_logger()
    level = logger.level
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        first, second = load_text("gutenberg:7"), load_text("gutenberg:7", boilerplate=True)
    assert gutenberg.requests == 1
    assert first.source == second.source == "gutenberg:7"
    assert first.raw == BOOK
    assert first.content == BODY.replace("\r\n", "\n")
    assert cached(tmp_path) == ["pg7.txt", "pg7.txt.sha256"]
    recorded = (tmp_path / "cache" / "pg7.txt.sha256").read_text().strip()
    assert recorded == first.sha256 == hashlib.sha256(BOOK.encode()).hexdigest()
    logger.removeHandler(caplog.handler)
    assert "SHA256" not in caplog.text
    assert logger.level == level


def test_the_default_cache_is_the_users(gutenberg, monkeypatch, tmp_path):
    monkeypatch.delenv("TL_NEGATION_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    load_text("gutenberg:7")
    assert (tmp_path / "cache" / "tl_negation" / "pg7.txt").exists()


@pytest.mark.parametrize("changed", ["pg7.txt", "pg7.txt.sha256"])
def test_a_changed_cache_is_refused_until_it_is_deleted(gutenberg, tmp_path, changed):
    load_text("gutenberg:7")
    (tmp_path / "cache" / changed).write_text("tampered")
    with pytest.raises(ValueError, match=r"cached file .*pg7\.txt is not what was .*delete it"):
        load_text("gutenberg:7")
    (tmp_path / "cache" / "pg7.txt").unlink()
    assert load_text("gutenberg:7").raw == BOOK
    assert gutenberg.requests == 2


def test_a_cached_file_without_its_checksum_is_refused(gutenberg, tmp_path):
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
        ({"pause": 0.05}, "could not download .*not finished after 0.3 seconds"),
        ({"pause": 2.0}, "could not download .*imed out"),
    ],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(gutenberg, tmp_path, fault, message):
    for name, value in fault.items():
        setattr(gutenberg, name, value)
    with pytest.raises(ConnectionError, match=message):
        load_text("gutenberg:7", timeout=0.3)
    assert cached(tmp_path) == []


def test_a_download_above_the_size_limit_leaves_nothing(gutenberg, tmp_path):
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_text("gutenberg:7", max_bytes=10)
    assert cached(tmp_path) == []


def test_no_internet_says_to_pass_a_path(gutenberg, monkeypatch, tmp_path):
    monkeypatch.setattr(text_module, "GUTENBERG_URL", "http://127.0.0.1:9/pg{ebook}.txt")
    with pytest.raises(ConnectionError, match="download the book's plain-text file by hand and"):
        load_text("gutenberg:7")
    assert cached(tmp_path) == []
