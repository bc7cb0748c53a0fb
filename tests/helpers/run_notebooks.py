"""Run notebooks one after the other in one kernel, with the demo model loaded once.

``python -m helpers.run_notebooks FOLDER NOTEBOOK...`` in a process of its own: Jupyter leaves
sockets open. Each notebook is written to FOLDER as it was run, with the first error, if there is
one, as an output of the cell that raised it.
"""

import sys
from pathlib import Path

import nbformat
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

#: Before the first notebook, and before each of the others.
ONCE = """
import functools
import tl_negation
tl_negation.load_model = functools.cache(tl_negation.load_model)
"""
AGAIN = "%reset -f"


def main(folder: str, *notebooks: str) -> None:
    kernel = KernelManager(kernel_name="python3")
    try:
        for number, path in enumerate(notebooks):
            notebook = nbformat.read(path, as_version=4)
            first = nbformat.v4.new_code_cell(AGAIN if number else ONCE)
            notebook.cells.insert(0, first)
            client = NotebookClient(
                notebook, km=kernel, timeout=None, resources={"metadata": {"path": folder}}
            )
            if not number:
                client.start_new_kernel()
            client.start_new_kernel_client()
            try:
                for index, cell in enumerate(notebook.cells):
                    if cell.cell_type == "code":
                        client.execute_cell(cell, index)
            except CellExecutionError:
                pass  # it is an output of the cell, and the tests look for it there
            notebook.cells.remove(first)
            nbformat.write(notebook, Path(folder) / Path(path).name)
    finally:
        kernel.shutdown_kernel(now=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
