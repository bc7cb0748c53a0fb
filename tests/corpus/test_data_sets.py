"""Data sets: rows of any iterable, and those that the library ``datasets`` reads."""

import json
import sys

import datasets
import pandas as pd
import pytest
from helpers.corpora import DOCUMENTS, contents

from tl_negation.corpus.text import load_text


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A folder that the datasets library reads, with a row without words in it."""
    path = tmp_path_factory.mktemp("rows")
    table = [{"text": text, "n": i} for i, text in enumerate([*DOCUMENTS[:2], " ", *DOCUMENTS[2:]])]
    lines = "".join(json.dumps(row) + "\n" for row in table)
    (path / "train.jsonl").write_text(lines)
    return path


def test_rows_of_any_iterable(rows):
    table = [{"text": DOCUMENTS[0]}, {"text": None}, {"text": "They cannot."}]
    corpus = load_text(table, column="text")
    assert contents(corpus) == contents(corpus) == [DOCUMENTS[0], "They cannot."]
    assert [document.source for document in corpus] == [
        "list of rows, column 'text', row 0", "list of rows, column 'text', row 2",
    ]  # fmt: skip
    assert contents(load_text(table, column="text", limit=2)) == [DOCUMENTS[0]]
    file = str(rows / "train.jsonl")
    for streaming in (True, False):
        loaded = datasets.load_dataset(
            "json", data_files=file, split="train", streaming=streaming, cache_dir=rows / "cache"
        )
        assert contents(load_text(loaded, column="text")) == list(DOCUMENTS)


def test_an_iterator_is_read_once():
    corpus = load_text(iter([{"text": "They cannot."}]), column="text")
    assert contents(corpus) == ["They cannot."]
    with pytest.raises(ValueError, match=r"from an iterator \(list_iterator\), which can be read"):
        contents(corpus)


def test_a_data_set_in_a_folder_or_a_file_through_datasets(rows, tmp_path):
    assert contents(load_text(f"hf:{rows}?split=train&column=text")) == list(DOCUMENTS)
    corpus = load_text(f"hf:{rows}?limit=2")
    assert contents(corpus) == contents(corpus) == list(DOCUMENTS[:2])
    assert [document.source for document in corpus][1] == f"hf:{rows}?limit=2, row 1"
    assert contents(load_text(f"hf:{rows}/train.jsonl", limit=1)) == [DOCUMENTS[0]]
    table = pd.DataFrame({"body": DOCUMENTS})
    table.to_csv(tmp_path / "t.csv")
    table.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert contents(load_text(f"hf:{tmp_path / name}?column=body")) == list(DOCUMENTS)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:", "a data set needs a name; got 'hf:', give \"hf:NAME"),
        ("hf:x?rows=3", "unknown option 'rows' in 'hf:x.rows=3'"),
        ("hf:x?limit=0", "limit counts rows, from 1; got '0'"),
        ("hf:x?limit=few", "limit counts rows, from 1; got 'few'"),
        ("hf:x?split", "cannot read 'hf:x.split'"),
        ("hf:x?colum=a", "unknown option 'colum' .*: did you mean 'column'[?]; give"),
    ],
)
def test_a_malformed_source_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        load_text(source)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([{"text": "a"}, "b"], TypeError, "every row must be a mapping .*; row 1 is a str"),
        ([{"text": "a"}, {"body": "b"}], ValueError, "row 1 has no column 'text'; it has body"),
        ([{"text": 7}], TypeError, "column 'text' must hold text; row 0 holds a int"),
    ],
)
def test_rows_without_text_are_refused(table, error, message):
    with pytest.raises(error, match=message):
        contents(load_text(table, column="text"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("split=test", r"cannot read 'hf:.*': .*test"),
        ("config=other", r"cannot read 'hf:.*': .*other"),
        ("column=n", "column 'n' must hold text; row 0 holds a int"),
        ("column=body", "row 0 has no column 'body'; it has text, n"),
    ],
)
def test_a_data_set_without_what_was_asked_for(rows, query, message):
    with pytest.raises(ValueError, match=message):
        contents(load_text(f"hf:{rows}?{query}"))


def test_a_damaged_data_set_is_a_clear_error(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"text": "They cannot."}\n{"text": oops')
    (tmp_path / "story.md").write_text("not")
    with pytest.raises(ValueError, match=r"cannot read 'hf:.*bad\.jsonl': "):
        contents(load_text(f"hf:{tmp_path}/bad.jsonl"))
    with pytest.raises(ValueError, match=r"files of rows end in \.json, \.jsonl"):
        contents(load_text(f"hf:{tmp_path}/story.md"))


def test_no_hub_and_no_library_are_clear_errors(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    corpus = load_text("hf:Salesforce/wikitext?config=wikitext-2-raw-v1&limit=10")
    with pytest.raises(ConnectionError, match="cannot reach the Hugging Face hub for 'hf:Sales"):
        contents(corpus)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install \"tl_negation\[datasets\]\""):
        contents(corpus)
