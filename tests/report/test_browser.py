"""The report in a real browser, as readers with and without a mouse, a phone or a screen find it.

Needs Chromium, Node and two packages of npm's registry:
``npm install --prefix DIR axe-core@4.14.1 playwright-core@1.65.1``, and
``TL_NEGATION_NODE_MODULES=DIR/node_modules``. CI must have them.
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import synthetic, tiny_models
from helpers.child_process import HANGS
from helpers.few_figures import figures
from helpers.made_results import display

from tl_negation import add_effects, collect, probe
from tl_negation.inference.infer import infer
from tl_negation.report.page import report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def browse(page):
    """What Chromium and axe-core say of a page: a dictionary per width and colour scheme."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    modules = os.environ.get("TL_NEGATION_NODE_MODULES")
    if not (browser and modules):
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium and TL_NEGATION_NODE_MODULES (see this file's head)")
        pytest.skip("needs Chromium and TL_NEGATION_NODE_MODULES (see this file's head)")
    script = Path(__file__).parents[1] / "helpers" / "browse.mjs"
    command = ["node", script, page, browser, Path(modules).resolve()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    options = {"permutations": 200, "tasks": 2, "replicates": 2, "progress": False}
    result = infer(synthetic.result(*synthetic.small()), **options)
    result = replace(result, display=display(result))
    with figures(every=True):
        page = report(result, tmp_path_factory.mktemp("page") / "report.html")
    return browse(page)


def test_two_widths_in_light_and_dark(visits):
    seen = [(visit["width"], visit["colorScheme"]) for visit in visits]
    assert seen == [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


def test_axe_finds_no_violation(visits):
    assert [visit["violations"] for visit in visits] == [[]] * 4


def test_nothing_is_requested_and_nothing_goes_to_the_console(visits):
    assert [(visit["requests"], visit["console"]) for visit in visits] == [([], [])] * 4


def test_the_page_is_no_wider_than_the_screen(visits):
    assert [visit["scrolls"] for visit in visits] == [0] * 4


def test_every_unit_can_be_chosen_and_is_shown_alone(visits):
    for visit in visits:
        names = [(one["layer"], one["unit"]) for one in visit["chosen"]]
        assert names == [("0", "q, head 0, unit 1"), ("2", "q, head 0, unit 1")]
        assert [len(one["shown"]) for one in visit["chosen"]] == [1, 1]


def test_figures_are_shown_once_with_their_texts(visits):
    for visit in visits:
        assert len(visit["figures"]) == 12
        for figure in visit["figures"]:
            assert figure["shown"] == 1
            assert figure["width"] > 250
            assert figure["texts"] > 5


def test_interventions_and_where_heads_look_are_for_everybody_too(tmp_path):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path / "model"))
    contexts = tiny_models.contexts(24, before=6, after=4)
    acts = collect(model, contexts, ("q", "mlp_pre"), layers=[0, 2], progress=False)
    few = {"n": 2, "draws": 19, "checked": 4, "per_class": 2, "progress": False}
    result = add_effects(model, probe(acts, progress=False), **few)
    page = report(result, tmp_path / "report.html", model=model)
    assert 'id="effects"' in page.read_text("utf-8")
    for visit in browse(page):
        assert (visit["violations"], visit["requests"], visit["console"]) == ([], [], [])
        assert visit["scrolls"] == 0
        assert visit["patterns"] == [4, 4]  # circuitsvis drew its maps of two contexts


def test_views_are_drawn(visits):
    for visit in visits:
        assert len(visit["views"]) == 4
        assert all(width > 9 and height > 9 for width, height in visit["views"])


def test_every_column_sorts(visits):
    for visit in visits:
        assert len(visit["sorted"]) > 10
        for column in visit["sorted"]:
            known = [key for key in column["keys"] if key]
            assert column["keys"] == known + [""] * (len(column["keys"]) - len(known))
            if column["number"]:
                assert column["order"] == "descending"
                assert known == sorted(known, key=float, reverse=True), column["name"]
            else:
                assert column["order"] == "ascending"
                assert known == sorted(known), column["name"]
