"""The commands that follow up on the units of a run: replicate."""

import json

import pandas as pd
import pytest
import tiny
from test_cli import FAST, invoke, plain

from tl_negation import load_result, replicate


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """Runs on two texts, and one of another site."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, sites in (("one", 0, "q,k"), ("two", 1, "q,k"), ("other", 0, "v")):
        text = folder / f"{name}.txt"
        text.write_text(tiny.story(seed=seed), "utf-8")
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
        "overlap.csv", "signs.csv", "ranks.csv", "run.json", "replication.png",
    }  # fmt: skip
    read = pd.read_csv(out / "ranks.csv")
    pd.testing.assert_series_equal(read["rho"], found.ranks["rho"])
    assert read["rho"].iloc[0] > 0.5  # the same model, the same words
    again = invoke("replicate", runs / "one", runs / "two", "--out", out)
    assert again.exit_code == 2
    assert "already holds a run" in again.stderr


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
