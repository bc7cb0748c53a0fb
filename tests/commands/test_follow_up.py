"""The commands that follow up on the units of a run: replicate and ablate."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
from helpers import tiny_models
from helpers.child_process import environment
from helpers.command_line import FAST, invoke, plain

from tl_negation import add_effects, collect, load_model, load_result, replicate


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """Runs on two texts, and one of another site."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, sites in (("one", 0, "q,k"), ("two", 1, "q,k"), ("other", 0, "v")):
        text = folder / f"{name}.txt"
        text.write_text(tiny_models.story(seed=seed), "utf-8")
        scan = ("scan", "--model", model, "--text", text, "--sites", sites, "--out", folder / name)
        done = invoke(*scan, *FAST)
        assert done.exit_code == 0, done.output
    return folder


def test_replicate_writes_what_the_function_gives(runs, tmp_path):
    out = tmp_path / "both"
    done = invoke("replicate", runs / "one", runs / "two", "--strongest", 9, "--out", out)
    assert done.exit_code == 0, done.output
    found = replicate(load_result(runs / "one"), load_result(runs / "two"), strongest=9)
    assert found.provenance["tests"] == ["examples", "words"]
    for line in found.summary().splitlines():
        assert " ".join(line.split()) in plain(done.output)
    assert {path.name for path in out.iterdir()} == {
        "overlap.csv", "signs.csv", "ranks.csv", "run.json", "replication.png", "replication.svg",
    }  # fmt: skip
    read = pd.read_csv(out / "ranks.csv")
    pd.testing.assert_series_equal(read["rho"], found.ranks["rho"])
    assert read["rho"].iloc[0] > 0.5  # the same model, the same words
    again = invoke("replicate", runs / "one", runs / "two", "--out", out)
    assert again.exit_code == 2
    assert "already holds a run" in again.stderr


def test_figures_are_drawn_whatever_backend_a_notebook_asks_for(runs, tmp_path):
    """Colab names a backend of its own to every process, which matplotlib there cannot load."""
    command = ("replicate", runs / "one", runs / "two", "--out", tmp_path / "both")
    done = subprocess.run(
        [sys.executable, "-m", "tl_negation", *map(str, command)],
        capture_output=True, text=True, check=False,
        env=environment(MPLBACKEND="module://no_such"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "both" / "replication.svg").stat().st_size > 5000


def test_replicate_for_machines(runs, tmp_path):
    out = tmp_path / "both"
    done = invoke("replicate", runs / "one", runs / "one", "--json", "--out", out)
    rows = pd.DataFrame(json.loads(done.stdout))
    assert (rows.query("name == 'jaccard' and site == 'all'")["value"].dropna() == 1).all()


def test_replicate_refuses_runs_of_unequal_shape(runs, tmp_path):
    done = invoke("replicate", runs / "one", runs / "other", "--out", tmp_path / "no")
    assert done.exit_code == 2
    assert "site v (heads x units) not there and 5 x 4" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "no").exists()


# ------------------------------------------------------------------ ablate

ABLATE = ("--units", 5, "--per-class", 6, "--draws", 19, "--checked", 6)


@pytest.fixture(scope="module")
def ablated(runs, model):
    run = runs / "ablated"
    shutil.copytree(runs / "one", run)
    (run / "notes.txt").write_text("mine")
    return run, invoke("ablate", run, "--model", model, *ABLATE)


def test_ablate_adds_to_the_run_what_the_function_gives(runs, ablated, model):
    run, done = ablated
    assert done.exit_code == 0, done.output
    before, after = load_result(runs / "one"), load_result(run)
    loaded = load_model(model, device="cpu")
    acts = collect(loaded, before.contexts, ("q", "k"), progress=False)
    options = {"n": 5, "per_class": 6, "draws": 19, "checked": 6, "progress": False}
    found = add_effects(loaded, replace(before, activations=acts), **options)
    for name in ("ablation", "attribution"):
        pd.testing.assert_frame_equal(after.tables[name], found.tables[name], atol=1e-5)
    for label in ("attribution_1", "attribution_0"):
        assert (after.columns[label] - found.columns[label]).abs().max() < 1e-5
    assert (after.columns["lr"] == before.columns["lr"]).all()
    assert after.provenance["interventions"]["draws"] == 19
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    kept = {
        p.relative_to(runs / "one").as_posix() for p in (runs / "one").rglob("*") if p.is_file()
    }
    assert names - kept == {
        "ablation.csv", "attribution.csv", "figures/ablation.png", "figures/ablation.svg",
        "figures/attribution.png", "figures/attribution.svg",
        "notes.txt",
    }  # fmt: skip
    assert kept <= names
    printed = plain(done.output)
    for row in after.tables["ablation"].itertuples():
        assert f"{row.effect:+.3f}" in printed
    assert "19 matched random sets, two-sided, each row by itself" in printed


def test_the_report_has_a_section_only_then(runs, ablated):
    page = (ablated[0] / "report.html").read_text("utf-8")
    assert "What the units do</h2>" in page
    assert "Units replaced." in page
    assert "see what the units do." in page
    assert "no intervention was run" not in page
    rows = load_result(ablated[0]).tables["ablation"]
    assert f"{(rows['p'] <= 0.05).sum()} of the 9 comparisons" in page
    assert "Wald" in page
    without = (runs / "one" / "report.html").read_text("utf-8")
    assert "What the units do" not in without
    assert "no intervention was run" in without


def test_ablate_again_for_machines(ablated, model):
    run, _ = ablated
    done = invoke("ablate", run, "--model", model, *ABLATE, "--how", "zero", "--json")
    found = json.loads(done.stdout)
    assert {row["how"] for row in found["ablation"]} == {"zero"}
    assert set(load_result(run).tables["ablation"]["how"]) == {"zero"}
    assert found["about"]["contexts"] == {"negation": 6, "affirmation": 6}


def test_ablate_refuses_another_model_and_leaves_the_run(runs, tmp_path):
    other = tiny_models.gpt2_folder(tmp_path, seed=5)
    done = invoke("ablate", runs / "two", "--model", other, *ABLATE)
    assert done.exit_code == 2
    assert "must be that of the run" in done.stderr
    assert "this one scores the units of layer 0 otherwise" in done.stderr
    assert not (runs / "two" / "ablation.csv").exists()
    wide = tiny_models.gpt2_folder(tmp_path / "wide", n_head=10)
    done = invoke("ablate", runs / "two", "--model", wide, *ABLATE)
    assert "must be that of the run" in done.stderr


def test_ablate_refuses_what_the_function_refuses(runs, model):
    done = invoke("ablate", runs / "two", "--model", model, *ABLATE, "--how", "noise")
    assert done.exit_code == 2
    assert "how must be one of mean, zero, resample; got 'noise'" in done.stderr
