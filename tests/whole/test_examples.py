"""The example notebooks run, from the first cell to the last, wherever the demo model is."""

from pathlib import Path

import nbformat
import pytest
from helpers.child_process import HANGS
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: Shorter windows, and fewer random sets, than a reader takes: the same contexts at a fraction of
#: the passes' cost. What each notebook says, and what is run.
SMALLER = {
    "01_negation_units": {"before=90": "before=20"},
    "02_attention_and_mlp": {"model.tokenizer)": "model.tokenizer, before=20)"},
    "03_word_or_category": {
        "model.tokenizer)": "model.tokenizer, before=20)",
        "before=40": "before=20",
    },
    "04_your_own_contrast": {"range(0, 24, 3), 60": "range(0, 24, 3), 20"},
    "05_do_the_units_matter": {
        "before=60": "before=20",
        "dict(per_class=10, follow=3, draws=100)": "dict(per_class=4, follow=3, draws=39)",
    },
}


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept(path):
    """Outputs are kept, no error and no path of a machine among them; question and answer stand."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert code(notebook)[-1].outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert "/home/" not in str(outputs)
    assert "site-packages" not in str(outputs)
    assert "**The question.**" in notebook.cells[0].source
    assert "GPT-2 Large on a GPU" in notebook.cells[0].source
    assert notebook.cells[-1].source.startswith("## The answer")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_and_view_is_kept(path):
    """A cell that draws has its picture; one that shows a view has its page."""
    cells = code(nbformat.read(path, as_version=4))
    for start, kind in (("tln.plots.", "image/png"), ("tln.views.", "text/html")):
        drawing = [cell for cell in cells if cell.source.splitlines()[-1].startswith(start)]
        for cell in drawing:
            kinds = {name for output in cell.outputs for name in output.get("data", {})}
            assert kind in kinds, cell.source
    assert any("tln.plots." in cell.source for cell in cells)


@pytest.mark.demo
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    for cell in code(notebook):
        cell.outputs = []
    for said, run in SMALLER[path.stem].items():
        assert any(said in cell.source for cell in code(notebook)), said
        for cell in code(notebook):
            cell.source = cell.source.replace(said, run)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=HANGS, kernel_name="python3", resources=place).execute()
    assert code(notebook)[-1].outputs
    for cell in code(notebook):
        if cell.source.splitlines()[-1].startswith("tln.plots."):
            kinds = {name for output in cell.outputs for name in output.get("data", {})}
            assert "image/png" in kinds, cell.source
