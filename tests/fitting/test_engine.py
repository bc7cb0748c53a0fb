"""One function chooses the engine of a device, and an engine is one entry of a table."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.predictions import right_of

from tl_negation.fitting import (
    auc,
    engine,
    firth,
    logistic,
    tensors,
    tensors_firth,
    units_at_once,
)
from tl_negation.fitting.engine import ENGINES, ROWS, TENSORS, engine_of

GROUPS = np.arange(40) % 4
LABELS = np.repeat([1, 0], [18, 22])
VALUES = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
VALUES[:18] += 0.7


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", ROWS), ("cuda", TENSORS), ("cuda:1", TENSORS), ("mps", TENSORS)],
)
def test_a_device_has_its_engine(device, expected):
    assert engine_of(torch.device(device)) is expected


def test_a_third_engine_is_one_entry(monkeypatch):
    """Every fit goes through it; its fits and predictions are those of the others."""
    calls = []

    def noted(module, name):
        def call(*args):
            calls.append(name)
            return getattr(module, name)(*args)

        return call

    operations = {name: noted(tensors, name) for name in ("solve", "count_right", "count_wins")}
    operations["penalise"] = noted(tensors_firth, "penalise")
    compiled = (
        logistic.fit(VALUES, 18),
        right_of(VALUES, LABELS, GROUPS),
        auc(VALUES, 18),
        firth.fit(VALUES, 18),
        units_at_once(VALUES.device, 40),
    )
    third = engine.Engine(**operations, units=77, entries=2**20, threads=False)
    monkeypatch.setitem(ENGINES, "cpu", third)
    for ours, theirs in zip(logistic.fit(VALUES, 18), compiled[0], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(right_of(VALUES, LABELS, GROUPS), compiled[1])
    torch.testing.assert_close(auc(VALUES, 18), compiled[2])
    for ours, theirs in zip(firth.fit(VALUES, 18), compiled[3], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (units_at_once(VALUES.device, 40), compiled[4]) == (77, 1024)
    assert calls == ["solve", "count_right", "count_wins", "penalise"]


def test_units_that_an_engine_loses_are_fitted_again(monkeypatch):
    def loses_two(*args):
        solved = ROWS.solve(*args)
        solved.b[1:3] = torch.nan
        return solved._replace(done=torch.tensor([True, False, False, True, True, True]))

    def predicts_two_badly(*args):
        right, _ = ROWS.count_right(*args)
        right[:, :, 1:3] = 1 - right[:, :, 1:3]
        return right, torch.tensor([[False, True, True, False, False, False]])

    fitted, right = logistic.fit(VALUES, 18), right_of(VALUES, LABELS, GROUPS)
    losing = ROWS._replace(solve=loses_two, count_right=predicts_two_badly)
    monkeypatch.setitem(ENGINES, "cpu", losing)
    for again, once in zip(logistic.fit(VALUES, 18), fitted, strict=True):
        torch.testing.assert_close(again, once)
    assert torch.equal(right_of(VALUES, LABELS, GROUPS), right)


def test_a_block_is_bounded_by_units_and_by_entries():
    cpu = torch.device("cpu")
    assert units_at_once(cpu, 0) == ROWS.units
    assert units_at_once(cpu, 400) == ROWS.units
    assert units_at_once(cpu, ROWS.entries // 7) == 7
    assert units_at_once(cpu, 2 * ROWS.entries) == 1
    assert units_at_once(torch.device("cuda"), 400) == TENSORS.units


IMPORTS = """
import sys, torch
import tl_negation.fitting
assert "numba" not in sys.modules
from tl_negation.fitting import auc, count_right, ridge, tensors
x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
tensors.solve(x, 4, tl_negation.fitting.Scratch())
assert "numba" not in sys.modules
auc(x, 4)
assert "numba" in sys.modules
"""


def test_numba_is_imported_by_the_first_fit_that_it_compiles():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
