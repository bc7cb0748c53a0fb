"""What needs the stories runs where TL_NEGATION_DATA says where they are (as CI does)."""

import importlib
import os
from itertools import islice

if "PYTEST_XDIST_WORKER" in os.environ:
    # A thread per worker: more threads than cores spin at each other's barriers. Also for the
    # programs that a test starts; so before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import pytest

mpl.use("Agg")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("TL_NEGATION_DATA"):
        return
    if os.environ.get("CI"):
        raise pytest.UsageError("CI must set TL_NEGATION_DATA: its tests may not be left out")
    left_out = [item for item in items if item.get_closest_marker("data")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("data")]


def pytest_runtest_setup(item):
    import torch

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture
def few_figures(request, monkeypatch):
    """Let runs and reports draw two figures, not fifteen, unless figures are what is tested."""
    from tl_negation._gallery import gallery

    if request.node.get_closest_marker("all_figures"):
        return
    for name in ("scan", "report"):
        module = importlib.import_module(f"tl_negation.{name}")
        monkeypatch.setattr(module, "gallery", lambda *given: islice(gallery(*given), 2))
