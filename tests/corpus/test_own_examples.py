"""Labelled examples of one's own: what a table may be, where it is read, what is refused."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models

from tl_negation import Contexts, Contrast, Text, control, examples
from tl_negation.corpus import ABSENT, Labels

ROWS = [
    {"text": "He can see it", "polarity": "yes", "where": "can", "start": 3, "end": 6, "id": 0},
    {
        "text": "you never know it at",
        "polarity": "no",
        "where": "never",
        "start": 4,
        "end": 9,
        "id": 0,
    },
    {
        "text": "I may always go home",
        "polarity": "yes",
        "where": "may",
        "start": 2,
        "end": 5,
        "id": 1,
    },
    {"text": "They don't agree", "polarity": "no", "where": "n't", "start": 7, "end": 10, "id": 1},
]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tokenizer()


def take(table, tokenizer, **options):
    return examples(table, tokenizer, **{"label": "polarity", "prepend_bos": False, **options})


def decoded(contexts, tokenizer):
    return [tokenizer.decode([token]) for token in contexts.tokens[:, contexts.before].tolist()]


# ------------------------------------------------------------------ where a text is read


def test_the_last_token_of_every_text_is_in_the_targets_column(tokenizer):
    contexts = take(ROWS, tokenizer)
    assert [text.strip() for text in decoded(contexts, tokenizer)] == ["it", "at", "home", "agree"]
    assert contexts.labels.tolist() == [1, 0, 1, 0]  # "yes" comes after "no"
    assert contexts.contrast == Labels("polarity", ("no", "yes"))
    assert contexts.words == ("it", "at", "home", "agree")
    assert contexts.after == contexts.shortest_after == 0
    assert contexts.longest == max(len(tokenizer(row["text"])["input_ids"]) for row in ROWS)


@pytest.mark.parametrize("at", ["where", ("start", "end")])
def test_a_string_and_its_span_are_the_same_target(tokenizer, at):
    contexts = take(ROWS, tokenizer, at=at)
    assert [text.strip() for text in decoded(contexts, tokenizer)] == ["can", "never", "may", "'t"]
    assert contexts.words == ("can", "never", "may", "n't")
    starts = contexts.examples[["start", "end"]].to_numpy().tolist()
    assert starts == [[row["start"], row["end"]] for row in ROWS]
    assert contexts.examples["passage"].tolist() == [row["text"] for row in ROWS]


@pytest.mark.parametrize("bos", [False, True])
def test_every_row_holds_its_own_text_and_nothing_else(tokenizer, bos):
    contexts = take(ROWS, tokenizer, at="where", prepend_bos=bos)
    for row, (first, last), tokens in zip(
        ROWS, contexts.spans.tolist(), contexts.tokens.tolist(), strict=True
    ):
        alone = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        assert tokens[first:last] == [tokenizer.bos_token_id] * bos + alone
        assert {*tokens[:first], *tokens[last:]} <= {ABSENT}
    assert contexts.prepend_bos is bos


def test_parts_of_equal_length_are_all_rows_without_padding(tokenizer):
    contexts = take([*ROWS, *ROWS[:2]], tokenizer, at="where")
    parts = contexts.by_length()
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(6))
    for rows, part in parts:
        assert int(part.tokens.min()) >= 0
        assert torch.equal(part.tokens[:, part.before], contexts.tokens[rows, contexts.before])
        assert part.examples["passage"].tolist() == [
            contexts.examples["passage"][row] for row in rows.tolist()
        ]
    assert [part.before for _, part in parts] == sorted(part.before for _, part in parts)


def test_a_word_within_another_is_not_the_target(tokenizer):
    row = {"text": "you cannot say that you can", "polarity": 1, "where": "can"}
    contexts = take([row, {**row, "polarity": 0}], tokenizer, at="where")
    assert contexts.examples["start"].tolist() == [24, 24]


# ------------------------------------------------------------------ what a table may be


@pytest.mark.parametrize("kind", ["frame", "dicts", "csv", "tsv", "jsonl", "json", "parquet", "hf"])
def test_every_kind_of_table_gives_the_same_examples(tokenizer, tmp_path, kind):
    frame = pd.DataFrame(ROWS, index=list("abcd"))
    path = tmp_path / f"rows.{kind}"
    if kind == "hf":
        import datasets

        table = datasets.Dataset.from_list(ROWS)
    elif kind in ("frame", "dicts"):
        table = frame if kind == "frame" else ROWS
    else:
        writers = {
            "csv": lambda: frame.to_csv(path, index=False),
            "tsv": lambda: frame.to_csv(path, index=False, sep="\t", encoding="utf-8-sig"),
            "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
            "json": lambda: frame.to_json(path, orient="records"),
            "parquet": lambda: frame.to_parquet(path),
        }
        writers[kind]()
        table = path
    contexts = take(table, tokenizer, at=("start", "end"), pair="id")
    plain = take(ROWS, tokenizer, at=("start", "end"), pair="id")
    pd.testing.assert_frame_equal(contexts.examples, plain.examples)
    assert torch.equal(contexts.tokens, plain.tokens)
    assert contexts.source["sha256"] == plain.source["sha256"]


def test_what_a_text_says_is_no_missing_value(tokenizer, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,polarity\nNone,0\nNA,1\n", "utf-8")
    assert take(path, tokenizer).examples["passage"].tolist() == ["None", "NA"]


@pytest.mark.parametrize(
    ("labels", "positive", "groups"),
    [
        ([0, 1], None, ("polarity 0", "polarity 1")),
        ([False, True], None, ("polarity False", "polarity True")),
        ([0.0, 1.0], None, ("polarity 0", "polarity 1")),
        (["negated", "affirmed"], "affirmed", ("negated", "affirmed")),
        ([-1, 2], -1, ("polarity 2", "polarity -1")),
        (np.array([3, 7], np.int8), None, ("polarity 3", "polarity 7")),
    ],
)
def test_labels_are_any_two_values(tokenizer, labels, positive, groups):
    frame = pd.DataFrame({"text": ["He can", "I may"], "polarity": labels})
    contexts = take(frame, tokenizer, positive=positive)
    assert contexts.contrast.groups == groups
    assert sorted(contexts.labels.tolist()) == [0, 1]


def test_pairs_items_and_words_are_kept_and_counted(tokenizer, capsys):
    rows = [{**row, "noun": f"n{i // 2}", "kind": row["where"][0]} for i, row in enumerate(ROWS)]
    contexts = take(rows, tokenizer, word="kind", pair="id", item="noun")
    assert contexts.words == ("c", "n", "m", "n")
    assert contexts.examples["pair"].tolist() == ["0", "0", "1", "1"]
    assert contexts.counts()["together"] == {"pair": 2, "item": 2}
    contexts.audit()
    shown = capsys.readouterr().out
    assert "table      list of rows, 4 rows" in shown
    assert "pair 'id', item 'noun'; read at the last token" in shown
    assert "together   2 pairs, 2 items" in shown
    assert "licence" not in shown


def test_examples_survive_a_file(tokenizer, tmp_path):
    contexts = take(ROWS, tokenizer, at="where", pair="id")
    path = tmp_path / "contexts.parquet"
    contexts.to_frame().to_parquet(path)
    again = Contexts.from_frame(pd.read_parquet(path), **contexts.manifest())
    assert torch.equal(again.tokens, contexts.tokens)
    assert again.contrast == contexts.contrast
    pd.testing.assert_frame_equal(again.examples, contexts.examples)


# ------------------------------------------------------------------ what is refused


def changed(row, **changes):
    return [*ROWS[:row], {**ROWS[row], **changes}, *ROWS[row + 1 :]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (changed(2, polarity="perhaps"), {}, "has 'yes', 'no', and in row 2 'perhaps'"),
        ([ROWS[0], ROWS[2]], {}, "a label has two values; column 'polarity' has 'yes' in all rows"),
        (changed(1, text="  "), {}, "row 1 has an empty text"),
        (changed(1, text=None), {}, "row 1 has no 'text'"),
        (changed(3, polarity=None), {}, "row 3 has no 'polarity'"),
        (changed(2, id=None), {"pair": "id"}, "row 2 has no 'id'"),
        (
            changed(1, where="can"),
            {"at": "where"},
            "row 1: the target 'can' must occur once in the text, and occurs nowhere",
        ),
        (
            changed(0, text="can he can it"),
            {"at": "where"},
            "row 0: the target 'can' must occur once in the text, and occurs 2 times",
        ),
        (changed(0, where=" "), {"at": "where"}, "row 0 has an empty target"),
        (
            changed(2, end=99),
            {"at": ("start", "end")},
            "row 2: a span lies within the text, which has 20 characters",
        ),
        (changed(2, start=5), {"at": ("start", "end")}, "row 2: a span lies within the text"),
        (
            changed(2, start=1, end=2),
            {"at": ("start", "end")},
            "row 2: a span lies within the text",
        ),
        (changed(2, start=-1), {"at": ("start", "end")}, "row 2: a span lies within the text"),
        (
            changed(1, end=7),
            {"at": ("start", "end")},
            "(characters 4 to 7): its last token holds letters of another word too",
        ),
        (
            ROWS,
            {"label": "polarty"},
            "it has text, polarity, where, start, end, id: did you mean 'polarity'?",
        ),
        (ROWS, {"at": "whare"}, "the table has no column 'whare'"),
        (
            ROWS,
            {"positive": "maybe"},
            "positive must be a value of the label, 'yes' or 'no'; got 'maybe'",
        ),
        ([], {}, "examples need rows"),
    ],
)
def test_what_cannot_be_names_the_row(tokenizer, rows, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        take(rows, tokenizer, **options)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (changed(1, text=3), {}, "column 'text', row 1 must be a string; got 3"),
        (changed(1, where=3), {"at": "where"}, "column 'where', row 1 must be a string"),
        (
            changed(0, start=2.5),
            {"at": ("start", "end")},
            "column 'start' counts characters in whole numbers; row 0 holds 2.5",
        ),
        (changed(0, polarity=[1]), {}, "a label is a string, a number or a truth value; got [1]"),
        (ROWS, {"at": ("start",)}, 'at must be "last", the name of a column with the target'),
        (ROWS, {"at": 3}, 'at must be "last"'),
        ([ROWS[0], "text"], {}, "row 1 is a str"),
        (7, {}, "a table of examples is a DataFrame"),
        ({"train": pd.DataFrame(ROWS)}, {}, "a table of examples is a DataFrame"),
        (b"text", {}, "a table of examples is a DataFrame"),
    ],
)
def test_what_is_of_another_type_is_named(tokenizer, table, options, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        take(table, tokenizer, **options)


def test_a_data_set_of_several_splits_names_them(tokenizer):
    import datasets

    both = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(TypeError, match="the data set has the splits train; give one of them"):
        take(both, tokenizer)


def test_files_that_cannot_be_read(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        take(tmp_path / "none.csv", tokenizer)
    other = tmp_path / "rows.xlsx"
    other.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"a table of examples is a DataFrame.*rows\.xlsx"):
        take(other, tokenizer)
    latin = tmp_path / "rows.csv"
    latin.write_bytes("text,polarity\ncaf\u00e9,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not UTF-8 .* save it as UTF-8"):
        take(latin, tokenizer)
    broken = tmp_path / "rows.parquet"
    broken.write_bytes(b"nothing of that kind")
    with pytest.raises(ValueError, match="as a table"):
        take(broken, tokenizer)
    with pytest.raises(ValueError, match="each column once; the table has 'text' more than once"):
        take(pd.DataFrame([["a", "b", 1]], columns=["text", "text", "polarity"]), tokenizer)


def test_a_control_needs_words_of_a_text(tokenizer):
    contexts = take(ROWS, tokenizer)
    with pytest.raises(ValueError, match="these are examples of your own"):
        control(contexts, Text.from_string(tiny_models.story()), tokenizer)


def test_two_classes_have_two_names():
    with pytest.raises(ValueError, match="there are two classes, with names of their own"):
        Labels("polarity", ("yes", "yes"))
    with pytest.raises(TypeError, match="groups must be a list; got 'yes'"):
        Labels("polarity", "yes")


# ------------------------------------------------------------------ a contrast from a file


def test_a_contrast_is_read_from_a_file(tmp_path):
    path = tmp_path / "contrast.toml"
    path.write_text(
        'name = "pronouns"\ndistance = 1\n[lists]\nshe = ["she", "her"]\nhe = ["he"]\n'
        "[exclude]\n'quoted' = 'he\\b\"'\n",
        "utf-8",
    )
    wanted = Contrast("pronouns", {"she": ("she", "her"), "he": ("he",)}, {"quoted": 'he\\b"'}, 1)
    assert Contrast.from_file(path) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'name = "x"', "lacks 'lists'"),
        (b'name = "x"\nwords = 1\n[lists]\na = ["b"]\nc = ["d"]', "holds 'words'"),
        (b"name = ", "is not TOML in UTF-8"),
        (b'name = "\xff"', "is not TOML in UTF-8"),
        (b'name = "x"\n[lists]\na = ["b"]', "exactly two lists; got 1"),
    ],
)
def test_a_file_that_holds_no_contrast(tmp_path, content, message):
    path = tmp_path / "contrast.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Contrast.from_file(path)
    with pytest.raises(FileNotFoundError, match="a contrast is a TOML file"):
        Contrast.from_file(tmp_path / "other.toml")
