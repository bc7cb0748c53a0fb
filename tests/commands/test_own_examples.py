"""The command line on tables of one's own, chosen layers and a contrast from a file."""

import json

import pandas as pd
import pytest
from helpers import tiny_models
from helpers.command_line import FAST, WINDOW, invoke, plain

import tl_negation as tln
from tl_negation.commands.options import layer_numbers

TEXTS = [
    ("He can see it", "He can not see it"),
    ("you may know it", "you never know it"),
    ("they might see it", "they might not see it"),
    ("You shall stay at home", "You can't stay at home"),
    ("I can go and see it", "I cannot go and see it"),
    ("We say that she could stay", "We say that she could not stay"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [
        {"sentence": text, "polarity": label, "id": i, "where": text.split()[-1], "noun": i % 3}
        for i, pair in enumerate(TEXTS)
        for label, text in zip(("affirmed", "negated"), pair, strict=True)
    ]
    path = tmp_path_factory.mktemp("table") / "pairs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(tiny_models.story(), "utf-8")
    return path


OWN = ("--text-column", "sentence", "--label", "polarity", "--pair", "id")


def test_scan_of_a_table_writes_a_run_that_says_what_it_was_of(model, table, tmp_path):
    out = tmp_path / "run"
    done = invoke(
        "scan", "--model", model, "--examples", table, *OWN, "--at", "where", "--layers", "0,2",
        "--permutations", "64", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = tln.load_result(out)
    assert result.layers == (0, 2)
    assert len(result.contexts) == 12
    assert result.contexts.source["columns"]["pair"] == "id"
    assert "over pairs" in plain(done.output)
    expected = tln.scan(
        model,
        tln.examples(
            table, tln.load_model(model).tokenizer, text="sentence", label="polarity", pair="id",
            at="where",
        ),
        layers=[0, 2], permutations=64, progress=False,
    )  # fmt: skip
    pd.testing.assert_frame_equal(result.to_frame(), expected.to_frame())
    assert invoke("report", out).exit_code == 0


def test_audit_of_a_table(model, table):
    done = invoke("audit", "--model", model, "--examples", table, *OWN)
    assert done.exit_code == 0
    assert "12 rows" in done.output
    assert "together   6 pairs" in done.output
    counts = json.loads(
        invoke("audit", "--model", model, "--examples", table, *OWN, "--json").output
    )
    assert counts["together"] == {"pair": 6}


def test_compare_sets_tables_side_by_side(model, table, tmp_path):
    other = tmp_path / "nouns.csv"
    frame = pd.read_csv(table)
    frame.assign(polarity=["affirmed", "negated"] * 6, id=range(12)).to_csv(other, index=False)
    out = tmp_path / "table.csv"
    done = invoke(
        "compare", "--model", model, "--examples", table, "--examples", other, *OWN,
        "--permutations", "64", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(out)
    assert rows["contrast"].tolist() == ["pairs", "nouns"]
    assert rows["over"].tolist()[0] == "pairs"
    assert rows["groups"].tolist()[0] == 9
    assert "a pair has examples of both classes" in rows["note"].tolist()[1]


def test_a_contrast_from_a_file_and_layers(model, story, tmp_path):
    path = tmp_path / "contrast.toml"
    path.write_text(
        'name = "plain"\n[lists]\nno = ["not", "never", "nor"]\n'
        'yes = ["can", "may", "could", "might"]\n',
        "utf-8",
    )
    done = invoke("audit", "--model", model, "--text", story, "--contrast", path, *WINDOW)
    assert done.exit_code == 0
    assert "no (label 1)" in done.output
    out = tmp_path / "run"
    done = invoke(
        "scan", "--model", model, "--text", story, "--contrast", path, "--layers", "1-2", *FAST,
        "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = tln.load_result(out)
    assert result.contexts.contrast == tln.Contrast.from_file(path)
    assert result.layers == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --text (a text to find words in) or --examples"),
        (("--text", "a.txt", "--examples", "b.csv"), "got both"),
        (("--examples", "nowhere.csv"), "there is no file nowhere.csv"),
        (("--examples", "b.csv", "--contrast", "c.toml"), "labelled examples need no word lists"),
        (("--text", "a.txt", "--contrast", "nowhere.toml"), "there is no file nowhere.toml"),
    ],
)
def test_one_source_and_files_that_are_there(model, arguments, message):
    done = invoke("audit", "--model", model, *arguments)
    assert done.exit_code == 2
    assert message in plain(done.output)


def test_a_table_is_not_read_as_prose(model, table):
    done = invoke("audit", "--model", model, "--text", table)
    assert done.exit_code == 2
    assert "is a table, not prose" in plain(done.output)
    assert "--examples reads them" in plain(done.output)


def test_layers_are_numbers_and_ranges():
    assert layer_numbers(None) is None
    assert layer_numbers("0-3, 20,7-7") == [0, 1, 2, 3, 20, 7]
    for wrong in ("", "a", "1-", "-1", "3:5", "1--2", "2.5"):
        with pytest.raises(ValueError, match="layers are numbers and ranges, as 0-11,20"):
            layer_numbers(wrong)
    with pytest.raises(ValueError, match="a range of layers goes upwards"):
        layer_numbers("5-3")


def test_contexts_that_were_found_already_take_no_further_rule(model, story):
    contexts = tln.find_contexts(
        tln.load_text(story), tln.load_model(model).tokenizer, before=6, after=2, per_class=30
    )
    assert contexts.counts()["examples"] == 60
    result = tln.scan(model, contexts, layers=[0], words=False, progress=False)
    assert result.contexts is contexts
    with pytest.raises(ValueError, match="before says how contexts are found in a text"):
        tln.scan(model, contexts, before=6)
    table = tln.compare(
        model, {"mine": contexts}, layers=[0], permutations=60, tasks=2, progress=False
    )
    assert table["contrast"].tolist() == ["mine"]
    with pytest.raises(TypeError, match=r"text\['mine'\] must be of type Contexts"):
        tln.compare(model, {"mine": "a text"})
    with pytest.raises(ValueError, match="needs contexts to set side by side"):
        tln.compare(model, {})
