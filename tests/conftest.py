"""Where tests run, and what they may use.

What needs the two stories, or the matplotlib that drew the stored figures, runs where they are; CI
has both (TL_NEGATION_DATA names the folder of the stories).
"""

import importlib
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # A thread per worker: more threads than cores spin at each other's barriers. Also for the
    # programs that a test starts; so before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import pytest
from hypothesis import HealthCheck, settings

mpl.use("Agg")

# The same examples on every machine, however slow it is: no deadline, nothing from a last run.
settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

#: The matplotlib that drew the stored figures; others set text a pixel further.
DRAWN_BY = "3.11"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
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
    share_between_workers(items)


#: What one worker computes for several files, or takes longest: it begins with these.
LONGEST = ("demo", "test_malformed.py", "test_faults.py", "test_processes.py", "test_reference.py")


def share_between_workers(items):
    """Let a file stay with one worker, which makes its fixtures once; the longest files first.

    What needs the demo model stays together too: it takes half a minute to load.
    """

    def group(item):
        return "demo" if item.get_closest_marker("demo") else item.path.name

    def place(item):
        return LONGEST.index(group(item)) if group(item) in LONGEST else len(LONGEST)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=place)  # stable: files stay in their order


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
