"""The example notebooks run, from the first cell to the last, wherever the demo model is."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers.child_process import environment

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: Shorter windows, fewer contexts, layers and random sets than a reader takes: every cell at a
#: fraction of the cost. What each notebook says, and what is run.
SMALLER = {
    "01_negation_units": {'python-docs", 100': 'python-docs", 50', "before=90": "before=8"},
    "02_attention_and_mlp": {
        'python-docs", 100': 'python-docs", 20',
        "model.tokenizer)": "model.tokenizer, before=8)",
    },
    "03_word_or_category": {
        'python-docs", 75': 'python-docs", 24',
        "n_layers, 3": "n_layers, 15",
        "model.tokenizer)": "model.tokenizer, before=8)",
        "layers=(6, 18), before=40": "layers=(1, 2), before=8",
    },
    "04_your_own_contrast": {"range(0, 24, 3), 60": "range(0, 24, 12), 8"},
    "06_your_own_examples": {"range(0, 30, 3)": "range(0, 30, 15)"},
    "07_features": {"per_class=100": "per_class=30", "d_model, 4096": "d_model, 256"},
    "05_do_the_units_matter": {
        "before=60).sample(per_class=60)": "before=8).sample(per_class=20)",
        "dict(per_class=10, follow=3, draws=100)": "dict(per_class=2, follow=2, draws=19)",
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
    """A cell that draws has its picture, and so has one that shows a view."""
    cells = code(nbformat.read(path, as_version=4))
    for start in ("tln.plots.", "tln.views."):
        for cell in (cell for cell in cells if start in cell.source.splitlines()[0]):
            kinds = {name for output in cell.outputs for name in output.get("data", {})}
            assert "image/png" in kinds, cell.source
    assert any("tln.plots." in cell.source for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_holds_no_script(path):
    """A view's page holds 1.3 MB of script: its picture is kept instead."""
    assert path.stat().st_size < 300_000
    assert "<script" not in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder with the smaller notebooks as they were run."""
    work = tmp_path_factory.mktemp("notebooks")
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        for said, instead in SMALLER[path.stem].items():
            assert any(said in cell.source for cell in code(notebook)), said
            for cell in code(notebook):
                cell.source = cell.source.replace(said, instead)
        for cell in code(notebook):
            cell.outputs = []
        nbformat.write(notebook, work / path.name)
    paths = [str(work / path.name) for path in NOTEBOOKS]
    (work / "run").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "helpers.run_notebooks", work / "run", *paths],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return work / "run"


@pytest.mark.demo
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, run):
    notebook = nbformat.read(run / path.name, as_version=4)
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    errors = [output for output in outputs if output.output_type == "error"]
    assert not errors, "\n".join(errors[0].traceback)
    assert code(notebook)[-1].outputs
    for cell in code(notebook):
        if cell.source.splitlines()[-1].startswith("tln.plots."):
            kinds = {name for output in cell.outputs for name in output.get("data", {})}
            assert "image/png" in kinds, cell.source
