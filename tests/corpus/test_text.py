"""A single document: how it is read and decoded, and what is refused."""

import hashlib
import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tl_negation.corpus.text import Text, load_text


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
        (b"I don\xd5t, na\x95ve", "I don\u2019t, na\u00efve", "mac_roman"),
        (b"LI\xc7\xd5ES", "LI\u00c7\u00d5ES", "latin-1"),
        ("I don\u2019t".encode("utf-32"), "I don\u2019t", "utf-32"),
        ("I don\u2019t".encode("utf-32-be").join([b"\0\0\xfe\xff", b""]), "I don\u2019t", "utf-32"),
        (
            "I don\u2019t, we can\u2019t, ".encode() + b"na\xefve",
            "I don\u2019t, we can\u2019t, na\ufffdve",
            "utf-8, 1 damaged characters replaced",
        ),
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
        ("builtin:pythondocs", ValueError, "'pythondocs'; .*: did you mean 'python-docs'[?]$"),
        ("gutenberg:dick", ValueError, "known by its number, as in gutenberg:32154; got 'dick'"),
        ("gutenberg:../1", ValueError, "known by its number"),
        ("gutenberg:", ValueError, "known by its number"),
    ],
)
def test_a_source_of_no_known_form_is_refused(source, error, message):
    with pytest.raises(error, match=message):
        load_text(source)


def test_a_folder_without_texts_is_refused(tmp_path):
    (tmp_path / "story.md").write_text("not")
    with pytest.raises(FileNotFoundError, match=r"the folder '.*' has no text files \(\*.txt"):
        load_text(tmp_path)


@pytest.mark.parametrize(
    "name", ["table.csv", "table.TSV", "rows.jsonl", "rows.json", "rows.parquet", "book.xlsx"]
)
def test_a_table_is_not_read_as_prose(tmp_path, name):
    (tmp_path / name).write_text("text,label\nI can not,1\n")
    with pytest.raises(ValueError, match=rf"{name}' is a table, not prose; name the column .*hf:"):
        load_text(tmp_path / name)


@pytest.mark.parametrize(
    "data", [b'{"text": "not"}\n{"text": "can"}\n', b'["not", "can"]', b'{\n"a": 1}']
)
def test_rows_in_json_are_known_by_what_they_are(write, data):
    with pytest.raises(ValueError, match=r"story.txt' is a table, not prose"):
        load_text(write(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", b"I can not"),
        ("a.pdf", b"not"),
        ("a.txt", b" <!DOCTYPE html><html><p>not"),
        ("a.txt", b"<html>not"),
        ("a.txt", b'<?xml version="1.0"?><p>not</p>'),
        ("a.txt", b"%PDF-1.7 not"),
    ],
)
def test_a_document_in_a_format_of_its_own_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"is not plain text; save the text that it holds as .txt"):
        load_text(tmp_path / name)


def test_a_text_that_begins_with_a_bracket_is_prose(write):
    assert load_text(write(b"[Illustration] He can not. {sic}")).raw.startswith("[")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ValueError, match=r"regular file; '.*pipe.txt' is a device, pipe or socket"):
        load_text(tmp_path / "pipe.txt")


def test_each_file_is_read_once_whatever_links_lead_to_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("not")
    (tmp_path / "a" / ".hidden.txt").write_text("can")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "again.txt").symlink_to(tmp_path / "a" / "one.txt")
    for source in (tmp_path, tmp_path / "**" / "*.txt", tmp_path / "**/*.txt"):
        [document] = load_text(source)
        assert document.content == "not"
    [document] = load_text(tmp_path / "b" / "*.txt")  # a link that is named is followed
    assert document.source == str(tmp_path / "b" / "one.txt")
    [hidden] = load_text(tmp_path / "a" / ".*.txt")
    assert hidden.content == "can"


def test_the_repr_of_a_text_is_short():
    text = Text.from_string("not " * 10_000, source="a note")
    assert repr(text) == f"Text('a note', 40,000 characters, utf-8, SHA-256 {text.sha256[:8]})"


@pytest.mark.parametrize("data", [b"", b" \r\n\t", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(write, data):
    with pytest.raises(ValueError, match=r"story.txt' is empty"):
        load_text(write(data))


def test_an_empty_string_is_refused():
    with pytest.raises(ValueError, match="'string' is empty"):
        Text.from_string(" \n")


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


@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        ({"timeout": 0.0}, ValueError, r"timeout must be above 0 seconds; got 0\.0"),
        ({"timeout": "1"}, TypeError, "timeout must be a number; got '1'"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be at least 1; got 0"),
    ],
)
def test_limits_out_of_range_are_refused(limit, error, message):
    with pytest.raises(error, match=message):
        load_text("builtin:python-docs", **limit)
