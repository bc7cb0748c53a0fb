"""Where tests run, and what they may use.

What needs the two stories, or the matplotlib that drew the stored figures, runs where they are; CI
has both (TL_NEGATION_DATA names the folder of the stories).
"""

import os
from importlib.metadata import version
from importlib.util import find_spec

if "PYTEST_XDIST_WORKER" in os.environ:
    # A thread per worker: more threads than cores spin at each other's barriers. Also for the
    # programs that a test starts; so before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib as mpl
import pytest
from helpers.few_figures import figures
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


def pytest_collection_modifyitems(config, items):
    missing = {}
    old = version("transformer-lens").split(".")[0] < "4"  # sae-lens does not know version 4
    if find_spec("sae_lens") is None:
        missing["sae"] = "have sae-lens"
    if not os.environ.get("TL_NEGATION_DATA"):
        missing["data"] = "set TL_NEGATION_DATA"
    if not mpl.__version__.startswith(f"{DRAWN_BY}."):
        missing["mpl_image_compare"] = f"have matplotlib {DRAWN_BY}, not {mpl.__version__}"
    needed = [cure for mark, cure in missing.items() if mark != "sae" or old]
    if needed and os.environ.get("CI"):
        cure = " and ".join(needed)
        raise pytest.UsageError(f"CI must {cure}: its tests may not be left out")
    left_out = [item for item in items if any(map(item.get_closest_marker, missing))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=place)  # stable: files stay in their order


#: The files that take longest: a file stays with one worker, which makes its fixtures once.
LONGEST = (
    "test_demo_model.py", "test_browser.py", "test_processes.py", "test_examples.py",
    "test_malformed.py", "test_faults.py", "test_follow_up.py", "test_app.py", "test_scan.py",
)  # fmt: skip


def place(item):
    """Where a test comes in the order: those of the longest files first."""
    return LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST)


def pytest_runtest_setup(item):
    import torch

    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="module", autouse=True)
def few_figures(request):
    """Draw four figures, not fifteen, in all modules but those marked ``all_figures``."""
    with figures(every=bool(request.node.get_closest_marker("all_figures"))):
        yield


@pytest.fixture(autouse=True)
def all_figures(request, few_figures):
    """Draw all of them in a test or a class that is marked so, in a module that is not."""
    if not request.node.get_closest_marker("all_figures"):
        yield
        return
    with figures(every=True):
        yield
