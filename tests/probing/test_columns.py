"""A column is one entry: tables, ranks, corrections, files and the report's hints follow."""

import pickle

import pytest
import torch
from helpers import synthetic

from tl_negation import COLUMNS, WORD_COLUMNS, adjusted, load_result
from tl_negation.probing.columns import (
    ESTIMATE_COLUMNS,
    PAIR_COLUMNS,
    Column,
    explained,
    in_order,
    p_values,
    ranks,
    read_first,
    tie_breakers,
)
from tl_negation.report.tables import page_table

MEANING = "distance of the two classes' means, in SD"


@pytest.fixture(scope="module")
def plain():
    return synthetic.result(*synthetic.small())


@pytest.fixture
def margin(plain, monkeypatch):
    """A result with a column that the package does not have, given as the very first one."""
    monkeypatch.setitem(COLUMNS, "margin", Column(MEANING, ranks=True, read_first=True))
    values = torch.linspace(-4, 3, plain.beta.numel()).reshape_as(plain.beta).double()
    words_t = torch.zeros_like(values)
    return plain.with_columns({"margin": values, "words_t": words_t, **plain.columns})


def test_a_new_column_is_in_the_order_of_the_table(margin, plain):
    where = ["layer", "site", "head", "index"]
    assert list(plain.to_frame()) == [*where, *(name for name in COLUMNS if name != "margin")]
    assert list(margin.to_frame()) == [*where, *COLUMNS, "words_t"]
    assert list(COLUMNS)[-1] == "margin"


def test_units_are_ranked_by_a_new_column_and_tables_begin_with_it(margin, plain):
    best = margin.top(4, by="margin")
    assert best.index.tolist() == [0, 1, 2, 3]
    assert best["margin"].iloc[0] == -4
    assert "margin" in margin.top(2, by="lr")
    with pytest.raises(ValueError, match=r"one of z, .*, score; got 'margin'"):
        plain.top(by="margin")
    with pytest.raises(ValueError, match=r"one of z, .*, score, margin, words_t; got 'beta'"):
        margin.top(by="beta")


def test_the_report_says_what_a_new_column_means(margin):
    table = page_table(margin.top(2, full=True))
    headers = {header.name: header.hint for header in table.headers}
    assert headers["margin"] == MEANING
    assert headers["likelihood ratio"] == COLUMNS["lr"]


def test_runs_with_and_without_a_new_column_are_read(margin, plain, tmp_path):
    old, new = plain.save(tmp_path / "old"), margin.save(tmp_path / "new")
    assert set(load_result(old).columns) == set(plain.columns)
    assert torch.equal(load_result(new).margin, margin.margin)


def test_new_p_values_can_be_adjusted(plain, monkeypatch):
    monkeypatch.setitem(WORD_COLUMNS, "chance", Column("a p value", p_value=True))
    result = plain.with_columns({**plain.columns, "chance": plain.p, "own_p": plain.p})
    for column in ("chance", "own_p"):  # the second is known by its name
        assert torch.equal(adjusted(result, column), adjusted(plain, "p"))
    with pytest.raises(ValueError, match="one of p, lr_p, score_p; got 'chance'"):
        adjusted(plain, "chance")


def test_a_column_is_its_meaning():
    column = Column(MEANING, ranks=True)
    assert column == MEANING
    assert f"{column}." == f"{MEANING}."
    again = pickle.loads(pickle.dumps(column))
    assert (again, again.ranks, again.p_value) == (MEANING, True, False)


def test_what_the_columns_are_used_for():
    assert tie_breakers() == ["lr", "score"]
    assert read_first() == [
        "significant_pairs", "pairs_p_maxt", "significant_words", "words_p_maxt",
        "held_out_accuracy", "beta_per_sd", "accuracy", "auc", "significant",
    ]  # fmt: skip
    assert set(ranks()) == {
        "lr", "z", "score", "beta_per_sd", "log10_p", "accuracy", "balanced_accuracy", "auc",
        "words_t", "held_out_accuracy", "fold_accuracy", "block_accuracy", "document_accuracy",
        "selectivity", "firth_lr", "pairs_t", "pair_accuracy", "item_accuracy",
    }  # fmt: skip
    assert p_values(explained()) == [
        "p", "lr_p", "score_p", "pairs_p", "pairs_p_maxt", "words_p", "words_p_maxt", "cluster_p",
        "firth_p",
    ]  # fmt: skip
    assert explained() == COLUMNS | PAIR_COLUMNS | WORD_COLUMNS | ESTIMATE_COLUMNS
    assert in_order(["words_t", "beta", "status", "mine"]) == ["status", "beta", "words_t", "mine"]
