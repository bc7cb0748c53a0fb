"""What a scan computes on request."""

import numpy as np
import pytest
from helpers import synthetic

from tl_negation import add_extras, profile
from tl_negation.inference.extras import EXTRAS, check_extras
from tl_negation.inference.heads import head_probe, rotate
from tl_negation.probing.probe import probe


@pytest.fixture(scope="module")
def result():
    values, labels, words = synthetic.small()
    of = synthetic.contexts(labels, words, documents=np.arange(len(words)) % 4)
    return probe(synthetic.activations(values, of), progress=False)


def test_each_extra_adds_what_it_says(result):
    got = add_extras(result, EXTRAS, seed=3, progress=False)
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
    with pytest.raises(ValueError, match="leaving documents out needs examples from two of them"):
        check_extras(("documents",), synthetic.contexts([1, 0], ["not", "can"]))
    with pytest.raises(TypeError, match=r"extras must be a list; got 'heads': write \['heads'\]"):
        check_extras("heads")
