"""What needs the two stories, or the matplotlib that drew the stored figures, runs where they are.

CI has both (TL_NEGATION_DATA names the folder of the stories).
"""

import importlib
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # A thread per worker: more threads than cores spin at each other's barriers. Also for the
    # programs that a test starts; so before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import pytest

mpl.use("Agg")


#: The matplotlib that drew the stored figures; others set text a pixel further.
DRAWN_BY = "3.11"


def pytest_collection_modifyitems(config, items):
    missing = {}
    if not os.environ.get("TL_NEGATION_DATA"):
        missing["data"] = "set TL_NEGATION_DATA"
    if not mpl.__version__.startswith(f"{DRAWN_BY}."):
        missing["mpl_image_compare"] = f"have matplotlib {DRAWN_BY}, not {mpl.__version__}"
    if missing and os.environ.get("CI"):
        cure = " and ".join(missing.values())
        raise pytest.UsageError(f"CI must {cure}: its tests may not be left out")
    left_out = [item for item in items if any(map(item.get_closest_marker, missing))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item):
    import torch

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def few_figures(request, monkeypatch):
    """Let runs and reports draw a few figures, not fifteen, unless figures are what is tested."""
    if request.node.get_closest_marker("all_figures"):
        return
    few = {"profile by layer", "word or category", "units replaced", "estimates of the gradient"}
    module = importlib.import_module("tl_negation.report.gallery")
    monkeypatch.setattr(module, "FIGURES", [e for e in module.FIGURES if e.name in few])
