"""How the package is entered: its names, what importing it costs, and what a typo costs."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tl_negation as tln

ROOT = Path(tln.__file__)
#: Loaded where they are used, not before.
HEAVY = (
    "accelerate", "circuitsvis", "datasets", "jinja2", "matplotlib", "numba", "pooch", "requests",
    "scipy.stats", "statsmodels", "transformer_lens", "transformers",
)  # fmt: skip
FIRST_NAMES = ("scan", "collect", "probe", "load_model", "load_text")
TYPOS = (
    ("scna",),
    ("dance",),
    ("--verbose", "scan"),
    ("scan",),
    ("scan", "--sitse", "q"),
    ("scan", "--text", "x", "--out", "y", "--seed", "zero"),
    ("replicate", "one"),
    ("plan", "--tokens", "many"),
    ("ablate",),
)


def run_python(program, *, cwd, **environment):
    """Run a program in a new process, and read the JSON that it prints."""
    path = os.pathsep.join([str(ROOT.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": path} | environment,
    )  # fmt: skip
    return json.loads(done.stdout)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("name", tln.__all__)
def test_every_public_name_is_there(name):
    assert getattr(tln, name) is not None
    assert name in dir(tln)


def test_names_are_listed_in_order_and_once():
    assert tln.__all__ == sorted(set(tln.__all__))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tl_negation' has no attribute 'scna'"):
        tln.scna  # noqa: B018


def test_the_report_stays_a_function_after_its_room_was_imported():
    room = importlib.import_module("tl_negation.report")
    assert tln.report is room.report
    import tl_negation.report

    assert callable(tl_negation.report)


def test_type_checkers_are_told_of_the_names_that_are_loaded():
    """The imports under TYPE_CHECKING and the table of rooms say the same."""
    tree = ast.parse(ROOT.read_text("utf-8"))
    [block] = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    told = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        assert line.level == 1
        for name in line.names:
            assert name.asname == name.name  # "as": handed on
            told.setdefault(line.module, []).append(name.name)
    loaded = {room: sorted(names) for room, names in tln._ROOMS.items()}
    assert {room: sorted(names) for room, names in told.items()} == loaded | {
        None: sorted(tln._MODULES)
    }


# ------------------------------------------------------------------ cost


def test_nothing_heavy_is_loaded_before_it_is_used(tmp_path):
    program = f"""
import json, sys
import tl_negation as tln
found = [sorted(sys.modules)]
for name in {FIRST_NAMES}:
    getattr(tln, name)
print(json.dumps([*found, sorted(sys.modules)]))
"""
    imported, touched = run_python(program, cwd=tmp_path)
    assert not {"torch", "numpy", "pandas"} & {*imported}
    assert "torch" in touched
    assert not {*HEAVY} & {*touched}


def test_a_typo_is_answered_without_torch(tmp_path):
    program = f"""
import contextlib, io, json, sys
from tl_negation.commands import main
answers = []
for arguments in {(*TYPOS, ("--version",), ("--help",), ())}:
    sys.argv = ["tl-negation", *arguments]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            answers.append(end.code)
print(json.dumps([answers, sorted(sys.modules)]))
"""
    codes, modules = run_python(program, cwd=tmp_path)
    assert codes[: len(TYPOS)] == [2] * len(TYPOS)
    assert codes[len(TYPOS) : -1] == [0, 0]
    assert not {"torch", "numpy", "pandas", "matplotlib"} & {*modules}
