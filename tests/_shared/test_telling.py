"""Progress bars say their stage and can be switched off; silent decisions are logged."""

import logging

import pytest
import torch
from helpers import tiny_models

import tl_negation as tln
from tl_negation._shared import progress_bar, stage
from tl_negation._shared.telling import VARIABLE, is_quiet
from tl_negation.activations.forward import halve_until_it_fits


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr("tl_negation._shared.telling._SWITCH", {})
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_bar_says_which_stage_it_is_of(capfd):
    with stage(3, 6), progress_bar(total=2, desc="contexts") as shown:
        shown.update(2)
    with progress_bar(total=1, desc="alone"):
        pass
    said = capfd.readouterr().err
    assert "3/6 contexts" in said
    assert "alone" in said
    assert "6 alone" not in said


def test_one_switch_for_all_bars(monkeypatch, capfd):
    tln.quiet()
    assert is_quiet()
    assert progress_bar(total=1, desc="x").disable
    tln.quiet(False)
    assert not is_quiet()
    shown = progress_bar(total=1, desc="x")
    assert not shown.disable
    shown.close()
    monkeypatch.setattr("tl_negation._shared.telling._SWITCH", {})
    for value, quiet in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv(VARIABLE, value)
        assert is_quiet() is quiet
    tln.quiet(False)  # the call has the last word
    monkeypatch.setenv(VARIABLE, "1")
    assert not is_quiet()


def test_a_scan_numbers_its_stages_and_logs_them(tmp_path, capfd, caplog):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    text = tln.Text.from_string(tiny_models.story())
    options = {"before": 6, "after": 2, "per_class": 20, "words": False, "sites": ("q",)}
    with caplog.at_level(logging.INFO, "tl_negation"):
        tln.scan(model, text, **options)
    said = capfd.readouterr().err
    assert "3/6 contexts" in said
    assert "4/6 probe" in said
    logged = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in logged] == [
        "model", "contexts", "activations", "probe", "words", "display",
    ]  # fmt: skip
    tln.quiet()
    tln.scan(model, text, **options)
    assert "probe" not in capfd.readouterr().err


def test_a_smaller_batch_is_logged(caplog):
    def work(size):
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return size

    with caplog.at_level(logging.INFO, "tl_negation"):
        assert halve_until_it_fits(work, 8, "one") == (2, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "a batch of 8 does not fit into memory; trying 4",
        "a batch of 4 does not fit into memory; trying 2",
    ]


def test_a_complete_store_is_not_said_to_be_gone_on_with(tmp_path, caplog):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path))
    contexts = tiny_models.contexts(n=6)
    store = {"store": tmp_path / "acts", "progress": False}
    tln.collect(model, contexts, ("q",), **store)
    with caplog.at_level(logging.INFO, "tl_negation"):
        tln.collect(model, contexts, ("q",), **store)
    assert not caplog.records  # it is complete: nothing is gone on with
