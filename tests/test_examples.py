"""The notebooks run from top to bottom, draw what they say they draw, and end in numbers."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
#: A notebook takes a minute and a half on two quiet cores.
SECONDS_PER_CELL = 900
LARGEST = 2.5e6


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    """Everything a cell shows, as text."""
    parts = [output.get("text", "") for output in cell.outputs]
    parts += ["".join(output.get("data", {}).values()) for output in cell.outputs]
    return "".join(parts).strip()


def has_picture(cell):
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def draws(cell):
    return "tln.plots." in cell.source


def named(path):
    return path.stem


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory outside the repository, and a kernel that draws into the notebook."""
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_there_are_four():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.demo
@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_it_runs(path, folder):
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs = []
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources=where
    ).execute()  # raises CellExecutionError
    cells = code_cells(notebook)
    assert shown(cells[-1])
    for cell in filter(draws, cells):
        assert has_picture(cell), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
class TestStored:
    def test_begins_with_a_question_and_ends_with_an_answer(self, path):
        first, *_, last = read(path).cells
        assert first.cell_type == last.cell_type == "markdown"
        assert "**The question.**" in first.source
        assert "For GPT-2 Large on a GPU" in first.source
        assert last.source.startswith("## The answer")
        assert any(character.isdigit() for character in last.source)

    def test_outputs_are_kept(self, path):
        cells = code_cells(read(path))
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert shown(cells[-1])
        assert all(map(has_picture, filter(draws, cells)))

    def test_nothing_of_the_machine_is_kept(self, path):
        notebook = read(path)
        assert notebook.metadata.kernelspec.name == "python3"
        for cell in notebook.cells:
            assert not cell.metadata
        for cell in code_cells(notebook):
            assert not any(output.get("name") == "stderr" for output in cell.outputs)
            assert not any(sign in shown(cell) for sign in ("Warning", "Traceback", "site-packages"))
            assert not any(f"{root}/" in shown(cell) for root in ("/home", "/root", "/tmp", "/work"))
        assert path.stat().st_size < LARGEST
