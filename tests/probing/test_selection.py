"""Units by a condition, and units that know the contexts they were found in."""

import gc

import pandas as pd
import pytest
from helpers import tiny_models

import tl_negation as tln


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def result(model):
    contexts = tln.find_contexts(tiny_models.story(), model.tokenizer, before=6, after=3)
    return tln.probe(tln.collect(model, contexts, ("q", "k"), progress=False), progress=False)


def test_a_condition_selects_rows_of_the_frame(result):
    chosen = result.select("significant and site == 'k' and layer > 0")
    frame = result.to_frame()
    rows = frame["significant"] & (frame["site"] == "k") & (frame["layer"] > 0)
    assert 0 < len(chosen) < len(frame)
    pd.testing.assert_frame_equal(chosen, frame[rows])
    assert len(result.select("layer > 99")) == 0


@pytest.mark.parametrize("condition", ["", "nowhere > 1", "layer +", "layer", "1 == 1"])
def test_what_is_no_condition_is_refused(result, condition):
    with pytest.raises(ValueError, match=r"cannot select by|says no yes or no of each unit"):
        result.select(condition)


def test_units_know_their_contexts(model, result):
    few = {"per_class": 4, "draws": 19, "progress": False}
    found = tln.ablate(model, result.top(3), "zero", **few)
    expected = tln.ablate(model, result.contexts, result.top(3), "zero", **few)
    pd.testing.assert_frame_equal(found.table, expected.table)
    chosen = result.select("layer == 1 and site == 'q'").head(2)
    assert len(tln.ablate(model, chosen, **few).units) == 2
    with pytest.raises(ValueError, match="how must be one of mean, zero, resample"):
        tln.ablate(model, chosen, "zeros", **few)
    view = tln.views.text_heatmap(model, result.top(2), examples=[0, 3])
    assert view.body.count("<mark>") == 4


def test_units_of_nobody_need_contexts(model, result):
    units = result.top(2)
    with pytest.raises(ValueError, match="do not say which contexts they were found in"):
        tln.ablate(model, pd.DataFrame(units.to_dict("list")), progress=False)
    other = tln.probe(result.activations, progress=False)
    kept = other.top(2)
    del other
    gc.collect()
    with pytest.raises(ValueError, match="while the result is held"):
        tln.views.text_heatmap(model, kept)
    with pytest.raises(TypeError, match="text_heatmap needs units"):
        tln.views.text_heatmap(model, result.contexts)


def test_what_a_run_keeps_does_not_name_a_result_of_this_process(model, result):
    shown = tln.views.display_table(model, result.contexts, result.top(2), n=2)
    assert shown.attrs == {}


def test_a_table_that_knows_its_contexts_can_be_written(result, tmp_path):
    path = tmp_path / "units.parquet"
    result.top(2).to_parquet(path)
    read = pd.read_parquet(path)
    assert len(read) == 2
