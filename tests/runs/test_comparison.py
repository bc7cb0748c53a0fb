"""Contrasts side by side: each row is a scan of its contrast, and what is missing is noted."""

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models

from tl_negation import Contrast, Text, compare, scan

QUICK = {"before": 6, "after": 2, "permutations": 60, "tasks": 2, "progress": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def text():
    return Text.from_string(tiny_models.story(), source="made up")


@pytest.fixture(scope="module")
def table(model, text):
    return compare(model, text, distances=(1, 2), heads=True, **QUICK)


def test_a_row_per_contrast(table):
    assert table["contrast"].tolist() == [
        "negation",
        "negation, carried 1",
        "negation, carried 2",
        "anticipated negation",
        "control (seed 0)",
    ]
    assert table["examples_1"].notna().all()


def test_the_first_row_is_the_scan_of_the_contrast(table, model, text):
    result = scan(model, text, **QUICK)
    row = table.iloc[0]
    assert row["examples_1"] == int(result.contexts.labels.sum())
    assert (row["words_1"], row["words_0"]) == (5, 8)
    assert row["base_rate"] == result.base_rate
    for name in ("accuracy", "fold_accuracy", "held_out_accuracy", "selectivity"):
        assert row[name] == pytest.approx(float(result.columns[name].nanmean()))
    for name in ("significant", "significant_words"):
        assert row[f"share_{name}"] == pytest.approx(float(result.columns[name].double().mean()))
    best = result.top(1, by="fold_accuracy").iloc[0]
    assert row["best_fold_accuracy"] == best["fold_accuracy"]
    assert row["best_unit"] == f"{best['layer']}.{best['site']}.{best['head']}.{best['index']}"
    assert row["note"] == ""


def test_carried_rows_are_balanced_and_the_control_is_matched(table):
    own, *carried, _, control = table.to_dict("records")
    for row in carried:
        assert row["base_rate"] == 0.5
        assert row["examples_1"] == row["examples_0"]
    for name in ("examples_1", "examples_0", "words_1", "words_0", "base_rate"):
        assert control[name] == own[name]


def test_one_word_a_class_is_scored_in_folds_and_noted(table):
    row = table.set_index("contrast").loc["anticipated negation"]
    assert (row["words_1"], row["words_0"]) == (1, 1)
    assert "needs two word types in each class" in row["note"]
    assert np.isnan(row["held_out_accuracy"])
    assert 0 < row["fold_accuracy"] < 1
    assert row["best_unit"].count(".") == 3


def test_what_is_not_in_the_text_is_noted(model):
    # no "can't" for the anticipated contrast, no word often enough for the control
    text = "he go and not see and can see he never see and may see " * 2 + "he go and it"
    table = compare(model, Text.from_string(text), distances=(1,), **QUICK)
    notes = table.set_index("contrast")["note"]
    assert "has none in this text" in notes["anticipated negation"]
    assert table["contrast"].tolist()[0] == "negation"
    assert len(table) == 4


def test_a_handful_of_examples_is_noted_and_not_scored(model):
    text = "he go and not see it but he can see it and you may go but he can not know it and he go"
    table = compare(model, Text.from_string(text), distances=(1,), **QUICK)
    row = table.iloc[0]
    assert row["examples_1"] >= 1
    assert "needs two word types" in row["note"]
    assert "fold" in row["note"]
    assert pd.isna(row.get("best_fold_accuracy"))


def test_the_contrast_itself_must_be_there(model):
    with pytest.raises(ValueError, match=r"'negation' .*has none in this text"):
        compare(model, Text.from_string("he can see it and you may go " * 5), **QUICK)


def test_another_contrast_has_no_anticipated_row(model, text):
    contrast = Contrast("pronouns", {"she": ("she", "it"), "he": ("he", "they")})
    table = compare(model, text, contrast=contrast, distances=(), per_class=30, **QUICK)
    assert table["contrast"].tolist() == ["pronouns", "control (seed 0)"]
    assert table["examples_1"].tolist() == [30, 30]
