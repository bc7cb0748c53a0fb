"""What a scan computes on request."""

import numpy as np
import pandas as pd
import pytest
from helpers import synthetic
from helpers.command_line import invoke, plain

from tl_negation import add_extras, profile
from tl_negation.inference.extras import EXTRAS, Extra, check_extras
from tl_negation.inference.heads import head_probe, rotate
from tl_negation.probing.probe import probe


@pytest.fixture(scope="module")
def result():
    values, labels, words = synthetic.small()
    of = synthetic.contexts(labels, words, documents=np.arange(len(words)) % 4)
    return probe(synthetic.activations(values, of), progress=False)


def test_each_extra_adds_what_it_says(result):
    got = add_extras(result, list(EXTRAS), seed=3, progress=False)
    assert {"cluster_p", "block_accuracy", "document_accuracy", "firth_p"} <= set(
        got.columns
    ) - set(result.columns)
    assert got.tables["heads"].equals(head_probe(result.activations, progress=False))
    turned = probe(rotate(result.activations, seed=3), progress=False)
    assert got.tables["rotated"].equals(profile(turned))


def test_nothing_is_added_unasked(result):
    assert add_extras(result, (), progress=False) is result


def test_tables_come_back_from_disk(result, tmp_path):
    from tl_negation import load_result

    got = add_extras(result, ("heads",), progress=False)
    got.save(tmp_path / "run")
    again = load_result(tmp_path / "run").tables["heads"]
    assert again.to_numpy().tolist() == got.tables["heads"].to_numpy().tolist()
    (tmp_path / "run" / "heads.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"heads\.csv is missing"):
        load_result(tmp_path / "run")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"extras are heads, .*, documents, firth; got"):
        check_extras(("head",))
    with pytest.raises(ValueError, match="leaving documents out needs examples from at least two"):
        check_extras(("documents",), synthetic.contexts([1, 0], ["not", "can"]))
    with pytest.raises(TypeError, match=r"extras must be a list; got 'heads': write \['heads'\]"):
        check_extras("heads")


def test_a_new_extra_is_one_entry(result, monkeypatch):
    def seeds(result, seed, _):
        return result.with_table("seeds", pd.DataFrame({"seed": [seed]}))

    def few(contexts):
        raise ValueError(f"seeds want fewer than {len(contexts)} contexts")

    monkeypatch.setitem(EXTRAS, "seeds", Extra("the seed, as a table", seeds, check=few))
    assert add_extras(result, ["seeds"], seed=5).tables["seeds"]["seed"].tolist() == [5]
    with pytest.raises(ValueError, match="seeds want fewer than 61 contexts"):
        check_extras(["seeds"], result.contexts)
    with pytest.raises(ValueError, match=r"extras are heads, .*, firth, seeds; got 'seed'"):
        check_extras(["seed"])
    shown = plain(invoke("scan", "--help").output).replace("│ ", "")  # the frame of the table
    assert "seeds (the seed, as a table)" in shown
