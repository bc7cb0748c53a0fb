"""The report in a real browser, as readers with and without a mouse, a phone or a screen find it.

Needs Chromium, Node and two packages of npm's registry:
``npm install --prefix DIR axe-core@4.14.1 playwright-core@1.65.1``, and
``TL_NEGATION_NODE_MODULES=DIR/node_modules``. CI must have them.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from helpers import synthetic, tiny_models
from helpers.child_process import HANGS
from helpers.few_figures import figures
from helpers.made_results import display

from tl_negation import add_effects, collect, load_result, probe
from tl_negation._shared.sealed import jsonable, read_sealed, seal_directory, sealed
from tl_negation.corpus.contexts import Contexts
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
        assert names == [("2", "q, head 0, unit 1"), ("5", "q, head 0, unit 1")]
        assert [len(one["shown"]) for one in visit["chosen"]] == [1, 1]


def test_figures_are_shown_once_with_their_texts(visits):
    for visit in visits:
        assert len(visit["figures"]) == 13
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


# ------------------------------------------------------------------ a run from anyone

RUNS = "globalThis.foreignScriptRan = true"
HOSTILE = f"'\"></script></td><script>{RUNS}</script><img src=x onerror='{RUNS}'>"
#: What a run could not be read without, or what is looked up by its name.
STRUCTURE = ("test", "preset", "lists", "exclude", "groups", "seed")


def with_hostile_texts(value):
    if isinstance(value, dict):
        return {
            name: item if name in STRUCTURE else with_hostile_texts(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_hostile_texts(item) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a run whose every text is markup that runs a script, with the right hashes."""
    options = {"permutations": 200, "tasks": 2, "replicates": 2, "progress": False}
    result = infer(synthetic.result(*synthetic.small()), **options)
    run = replace(result, display=display(result)).save(tmp_path_factory.mktemp("run") / "run")
    manifest, _ = read_sealed(run / "run.json")
    for name in ("provenance", "contexts"):
        manifest[name] = with_hostile_texts(manifest[name])
    for name, columns in (
        ("contexts", ("word", "surface", "token", "passage")),
        ("display", ("tokens",)),
    ):
        table = pd.read_parquet(run / f"{name}.parquet")
        for column in columns:
            table[column] = [
                text + HOSTILE if isinstance(text, str) else [token + HOSTILE for token in text]
                for text in table[column]
            ]
        table.to_parquet(run / f"{name}.parquet")
    by_word = pd.read_csv(run / "held_out_by_word.csv")
    by_word.assign(word=by_word["word"] + HOSTILE).to_csv(run / "held_out_by_word.csv", index=False)
    contexts = Contexts.from_frame(
        pd.read_parquet(run / "contexts.parquet"), **manifest["contexts"]
    )
    manifest["audit"] = jsonable(contexts.counts())  # it has to fit, as it would in a real one
    (run / "run.json").write_text(sealed(manifest), "utf-8")
    seal_directory(run, "run.json")
    return report(load_result(run), run / "report.html")


def test_nothing_that_a_run_says_runs(hostile):
    assert "foreignScriptRan" in hostile.read_text("utf-8")  # as text
    for visit in browse(hostile):
        assert (visit["ran"], visit["requests"], visit["console"]) == (False, [], [])


def test_the_policy_lets_no_other_script_run(hostile, tmp_path):
    """Were something not escaped, it would still not run."""
    page = hostile.read_text("utf-8")
    assert "unsafe-inline" not in page.split("script-src", 1)[1].split(";", 1)[0]
    injected = page.replace("<main", f"<script>{RUNS}</script><img src=x onerror='{RUNS}'><main", 1)
    assert injected != page
    (tmp_path / "injected.html").write_text(injected, "utf-8")
    for visit in browse(tmp_path / "injected.html"):
        assert visit["ran"] is False
        assert any("Content Security Policy" in line for line in visit["console"])
    allowed = re.sub(r"<meta http-equiv[^>]*>", "", injected)  # the test itself can fail
    (tmp_path / "allowed.html").write_text(allowed, "utf-8")
    assert all(visit["ran"] for visit in browse(tmp_path / "allowed.html"))


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
