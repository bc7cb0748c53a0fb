"""Many documents: read one at a time, windows within each, the document kept per context."""

import gc
import hashlib
import json
import sys
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.command_line import FAST, invoke, plain
from helpers.corpora import DOCUMENTS, contents
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_negation import Contrast, Corpus, Text, control, find_contexts, load_result, load_text
from tl_negation._shared.sealed import read_sealed, sealed
from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.finding import LISTED

WINDOW = {"before": 4, "after": 2}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in zip(("b", "a", "in/c", "d"), DOCUMENTS, strict=True):
        (tmp_path / f"{name}.txt").write_text(content)
    (tmp_path / "notes.md").write_text("cannot")
    return tmp_path


def find(corpus, **options):
    return find_contexts(corpus, tiny_models.tokenizer(), **(WINDOW | options))


# ------------------------------------------------------------------ what is a corpus


def test_a_folder_is_its_text_files_by_name(folder):
    corpus = load_text(folder)
    assert isinstance(corpus, Corpus)
    assert contents(corpus) == [DOCUMENTS[i] for i in (1, 0, 3, 2)]
    assert next(iter(corpus)).source.endswith("a.txt")
    assert repr(corpus) == f"Corpus({folder})"


def test_a_pattern_a_list_and_texts(folder, monkeypatch):
    assert contents(load_text(f"{folder}/*.txt")) == [DOCUMENTS[i] for i in (1, 0, 3)]
    assert contents(load_text(str(folder / "**/*.txt"), limit=2)) == [DOCUMENTS[1], DOCUMENTS[0]]
    made = Text.from_string("They cannot.")
    mixed = [str(folder / "d.txt"), folder / "a.txt", made, f"{folder}/in/*.txt"]
    assert contents(load_text(mixed)) == [
        DOCUMENTS[3], DOCUMENTS[1], "They cannot.", DOCUMENTS[2],
    ]  # fmt: skip
    assert contents(load_text(tuple(mixed), limit=3))[-1] == "They cannot."
    assert load_text([made] * 9).source == "string, string, string and 6 more"
    assert load_text(made) is made
    corpus = load_text([made])
    assert load_text(corpus) is corpus
    monkeypatch.chdir(folder)
    assert contents(load_text("b.txt*"))[0] == DOCUMENTS[0]


def test_nothing_is_read_before_it_is_used(folder):
    corpus = load_text(folder)
    (folder / "d.txt").write_bytes(b"PK\0")
    reading = iter(corpus)
    assert next(reading).content == DOCUMENTS[1]
    with pytest.raises(ValueError, match=r"d\.txt' is binary"):
        list(reading)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ([], {}, ValueError, "an empty list of texts"),
        ([{"text": "x"}], {}, TypeError, "got a dict in it: for rows .* name their column"),
        (iter(["a"]), {}, TypeError, "cannot load a list_iterator of rows; name the column"),
        ({"a": 1}, {}, TypeError, "cannot load a dict of rows; name the column"),
        (["no/such.txt"], {}, FileNotFoundError, "no such file: 'no/such.txt'"),
        (["builtin:poems"], {}, ValueError, "unknown built-in text 'poems'"),
        ("no/such/*.txt", {}, FileNotFoundError, "the pattern 'no/such/.*' has no text files"),
        ("builtin:python-docs", {"column": "x"}, TypeError, "asks for rows of a data set; got a s"),
        ("builtin:python-docs", {"limit": 0}, ValueError, "limit must be at least 1; got 0"),
        ("builtin:python-docs", {"limit": True}, TypeError, "limit must be an integer; got True"),
    ],
)
def test_what_is_not_a_source_is_refused(source, options, error, message):
    with pytest.raises(error, match=message):
        load_text(source, **options)


# ------------------------------------------------------------------ contexts


def test_windows_stay_within_their_document():
    contexts = find(load_text([Text.from_string(text, f"{text[:3]}") for text in DOCUMENTS]))
    assert set(contexts.documents) == {0, 2}
    for row, tokens in zip(contexts.examples.itertuples(), contexts.tokens, strict=True):
        text = DOCUMENTS[row.document]
        ids = tiny_models.tokenizer()(text, add_special_tokens=False)["input_ids"]
        assert tokens.tolist() == ids[row.position - 4 : row.position + 3]
        assert text[row.start : row.end] == row.surface
        assert row.passage in text
    dropped = contexts.source["dropped"]
    assert dropped["in a document shorter than one window"] == {"negation": 1, "affirmation": 1}


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 3))
def test_a_corpus_holds_what_its_documents_hold_one_by_one(lengths, seed):
    whole = tiny_models.story(60, seed)
    texts = [tiny_models.story(n, seed + i) for i, n in enumerate(lengths)]
    contexts = find(load_text([Text.from_string(text) for text in [whole, *texts]]))
    expected = [(0, *row) for row in _rows(find(whole))]
    for i, text in enumerate(texts, 1):
        # the whole story gives each class an example, so that a short one by itself may have none
        both = find(load_text([Text.from_string(whole), Text.from_string(text)]))
        expected += [(i, *row) for row in _rows(both, 1)]
    assert [(row.document, *rest) for row, rest in _with_rows(contexts)] == expected


def _with_rows(contexts):
    return zip(contexts.examples.itertuples(), _rows(contexts), strict=True)


def _rows(contexts, document=None):
    table = contexts.examples.assign(ids=contexts.tokens.tolist())
    table = table if document is None else table[table["document"] == document]
    columns = ["label", "word", "position", "start", "passage", "ids"]
    return list(table[columns].itertuples(index=False, name=None))


def test_provenance_covers_all_documents():
    texts = [Text.from_string(text, f"text {i}") for i, text in enumerate(DOCUMENTS)]
    source = find(load_text(texts)).source
    lines = "".join(f"{text.sha256}\n" for text in texts)
    assert source["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert source["characters"] == sum(map(len, DOCUMENTS))
    assert source["source"] == "text 0, text 1, text 2 and 1 more"
    of = source["documents"]
    assert (of["number"], of["with_examples"], of["shorter_than_window"]) == (4, 2, 1)
    assert [listed["source"] for listed in of["list"]] == ["text 0", "text 1", "text 2", "text 3"]
    assert [listed["sha256"] for listed in of["list"]] == [text.sha256 for text in texts]
    assert sum(listed["tokens"] for listed in of["list"]) == source["tokens"]
    json.dumps(source)


def test_one_document_in_a_corpus_is_as_that_text():
    text = Text.from_string(DOCUMENTS[0], "text")
    one, alone = find(load_text([text])), find(text)
    assert dict(one.source) == dict(alone.source)
    pd.testing.assert_frame_equal(one.examples, alone.examples)
    assert "documents" not in one.source


def test_the_audit_names_the_documents_and_the_largest():
    texts = [*DOCUMENTS[:2], " ", *DOCUMENTS[2:]]
    table = [{"text": text} for text in texts]
    contexts = find(load_text(table, column="text"))
    counts = contexts.counts()["documents"]
    n = np.bincount(contexts.documents)
    assert counts == {
        "number": 4, "with_examples": 2, "largest_share": n.max() / n.sum(),
        "largest": f"list of rows, column 'text', row {0 if n[0] >= n[2] else 3}",
    }  # fmt: skip
    out = StringIO()
    contexts.audit(out)
    printed = " ".join(out.getvalue().split())
    assert "documents 4, 2 with examples; largest share:" in printed
    assert "not used: 1 shorter than a window, 1 rows without words" in printed
    alone = StringIO()
    find(DOCUMENTS[0]).audit(alone)
    assert "documents" not in alone.getvalue()


@pytest.mark.slow
def test_a_stream_of_thousands_is_read_one_at_a_time(monkeypatch):
    alive = []

    def table():
        for i in range(10_000):
            if i % 2500 == 2499:
                alive.append(sum(type(thing) is Text for thing in gc.get_objects()))
            yield {
                "text": "You and I can go but I do not say it all." if i % 50 == 0 else "A note."
            }

    before = sum(type(thing) is Text for thing in gc.get_objects())
    contexts = find(load_text(table(), column="text"), before=2, after=2)
    assert len(contexts) == 400
    assert max(alive) - before <= 2
    of = contexts.source["documents"]
    assert (of["number"], of["with_examples"]) == (10_000, 200)
    assert len(of["list"]) == LISTED == 100
    assert len(json.dumps(contexts.source)) < 50_000
    # the largest is named where it is listed, else by its number
    late = contexts.examples[contexts.documents > 5000].reset_index(drop=True)
    kept = Contexts(
        contexts.tokens[-len(late) :], late, 2, contexts.contrast, contexts.source
    ).counts()
    assert kept["documents"]["largest"] == int(late["document"].iloc[0])


def test_overlap_does_not_reach_across_documents():
    text = "They all go home and can see it all, and we can not stay."
    texts = [Text.from_string(text)] * 3
    apart, one = find(load_text(texts)), find(text)
    assert apart.counts()["overlapping_windows"] == 3 * one.counts()["overlapping_windows"]


def test_a_carried_contrast_is_balanced_over_all_documents():
    carried = Contrast("small", {"negation": ["not"], "affirmation": ["can"]}).carried(1)
    parts = ["you and I not go home and so on we stay", "you and I can go home and so on we stay"]
    contexts = find(load_text([Text.from_string(part) for part in parts]), contrast=carried)
    assert contexts.examples["surface"].tolist() == ["go", "go"]
    assert sorted(contexts.labels.tolist()) == [0, 1]


def test_a_control_draws_from_all_documents():
    texts = [Text.from_string(tiny_models.story(80, seed)) for seed in range(3)]
    own = find(load_text(texts)).sample(6)
    found = control(own, load_text(texts), tiny_models.tokenizer())
    assert len(found) == len(own)
    assert len(set(found.documents)) > 1


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["not", "can"], {}, "the longest of 2 documents has 2 tokens, fewer than one window"),
        (["It is."] * 2, {"before": 0, "after": 0}, "each list needs an example; 'negation'"),
        (DOCUMENTS, {"preset": "notebook"}, r"rule for a single document; got Corpus\(string"),
    ],
)
def test_corpora_without_examples_and_with_the_preset(texts, options, message):
    corpus = load_text([Text.from_string(text) for text in texts])
    with pytest.raises(ValueError, match=message):
        find(corpus, **options)


def test_rows_without_words_alone_are_refused():
    with pytest.raises(ValueError, match="holds no document with words in it"):
        find(load_text([{"text": " "}], column="text"))


# ------------------------------------------------------------------ kept, and read again


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    model = str(tiny_models.gpt2_folder(path))
    texts = []
    for seed in range(3):
        texts += ["--text", path / f"story {seed}.txt"]
        texts[-1].write_text(tiny_models.story(102, seed))
    scan = ("scan", "--model", model, "--extras", "documents", *FAST)
    done = invoke(*scan, *texts, "--out", path / "out", "--json")
    return path, scan, texts, done


def test_a_scan_of_several_texts_holds_documents_out(run):
    path, _, texts, done = run
    assert done.exit_code == 0, done.output
    audit = json.loads(done.stdout)["audit"]
    assert audit["documents"]["number"] == 3
    result = load_result(path / "out")
    assert result.columns["document_accuracy"].isfinite().all()
    assert result.provenance["held_out_document"] == {"by": "document", "folds": 3, "seed": None}
    assert set(result.contexts.documents) == {0, 1, 2}
    assert "3, 3 of them with examples" in (path / "out" / "report.html").read_text()
    folder = invoke("audit", "--model", path / "tiny-gpt2", "--text", path, "--before", 6)
    assert "documents 3, 3 with examples" in plain(folder.output)
    assert len(texts) == 6


def test_a_run_saved_without_documents_still_loads(run):
    path = run[0]
    old = pd.read_parquet(path / "out" / "contexts.parquet")
    old.drop(columns="document").to_parquet(path / "out" / "contexts.parquet", index=False)
    with pytest.raises(ValueError, match=r"contexts\.parquet is damaged .*SHA-256 differs"):
        load_result(path / "out")
    manifest, _ = read_sealed(path / "out" / "run.json")
    written = (path / "out" / "run.json").read_bytes()
    del manifest["files"]
    (path / "out" / "run.json").write_text(sealed(manifest | {"format_version": 2}), "utf-8")
    contexts = load_result(path / "out").contexts
    (path / "out" / "run.json").write_bytes(written)
    assert contexts.documents.tolist() == [0] * len(contexts)
    assert contexts.counts()["documents"]["with_examples"] == 1
    old.to_parquet(path / "out" / "contexts.parquet", index=False)


def test_one_text_cannot_hold_documents_out_and_says_so_before_the_work(run, monkeypatch):
    path, scan, texts, _ = run
    monkeypatch.setattr(sys.modules["tl_negation.runs.scan"], "collect", None)  # nothing runs
    done = invoke(*scan, *texts[:2], "--out", path / "other")
    assert done.exit_code == 2
    assert "leaving documents out needs examples from at least two of them" in plain(done.stderr)
    assert not (path / "other").exists()
