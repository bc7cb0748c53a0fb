"""A scan in one call: every stage, and everything written or nothing."""

import importlib
import inspect
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import tiny_models
from helpers.few_figures import figures

import tl_negation
from tl_negation import (
    Contrast,
    ProbeResult,
    Text,
    TooFewWordsError,
    add_extras,
    collect,
    find_contexts,
    infer,
    load_result,
    null_p_values,
    probe,
    profile,
    trend,
)
from tl_negation.commands.tables import print_run
from tl_negation.plots.save import FIGURE_KINDS
from tl_negation.report.gallery import gallery
from tl_negation.runs.directory import read_profile, summary, write_run
from tl_negation.runs.scan import DISPLAY_UNITS, scan
from tl_negation.views import spread_units

SCAN = importlib.import_module("tl_negation.runs.scan")  # the name is the function in the package
REPORT = importlib.import_module("tl_negation.report")
WINDOW = {"before": 6, "after": 2}
QUICK = {**WINDOW, "permutations": 60, "tasks": 2, "progress": False}
FILES = [
    "calibration.csv", "contexts.parquet", "control_tasks.csv", "display.parquet", "figures",
    "groups.csv", "held_out_by_word.csv", "held_out_null.csv", "lexical_null.csv", "profile.csv",
    "report.html", "run.json", "trend.csv", "units.parquet",
]  # fmt: skip
FEW = Contrast("few", {"no": ("not",), "yes": ("can", "may")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.gpt2_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder):
    return tiny_models.load(folder)


@pytest.fixture(scope="module")
def text():
    return Text.from_string(tiny_models.story(), source="made up")


@pytest.fixture(scope="module")
def written(model, text, tmp_path_factory):
    """A result and its run, with all figures."""
    out = tmp_path_factory.mktemp("runs") / "new" / "run"
    with figures(every=True):
        return scan(model, text, sites=("q", "k", "v", "mlp_pre"), out=out, seed=3, **QUICK), out


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ what a scan gives


def test_a_scan_is_its_stages_one_after_the_other(written, model, text):
    result, _ = written
    contexts = find_contexts(text, model.tokenizer, **WINDOW)
    acts = collect(model, contexts, ("q", "k", "v", "mlp_pre"), progress=False)
    same = probe(acts, progress=False)
    np.testing.assert_array_equal(result.activations.values, acts.values)
    for name, column in same.columns.items():
        np.testing.assert_array_equal(result.columns[name], column, err_msg=name)
    over_words = infer(same, permutations=60, tasks=2, seed=3, progress=False)
    for name in ("words_p_maxt", "held_out_accuracy", "selectivity"):
        np.testing.assert_array_equal(result.columns[name], over_words.columns[name], err_msg=name)
    assert result.provenance["lexical_null"] == over_words.provenance["lexical_null"]


def test_provenance_says_what_a_result_always_prints(written, text):
    result, _ = written
    about = result.provenance
    rule = {"test": "lr", "alpha": 0.05, "family": "layer", "correction": "bonferroni"}
    assert about["test"] == rule
    assert about["word_test"]["labelings"] == 60
    assert about["word_test"]["seed"] == about["selectivity"]["seed"] == 3
    assert about["preset"] is None
    assert about["model"]["hooks"][0] == "blocks.{layer}.attn.hook_q"
    assert about["model"]["versions"]["torch"]
    counts = result.contexts.counts()
    assert counts["source"]["sha256"] == text.sha256
    tokens = Counter(result.contexts.tokens[:, 6].tolist())
    assert about["lexical_baseline"] == {
        "layer": 0, "distinct_rows": len(tokens), "examples": len(result.contexts),
        "tokens": len(tokens), "sites": ["q", "k", "v"],
    }  # fmt: skip


def test_every_stage_is_timed(written):
    seconds = written[0].provenance["seconds"]
    assert set(seconds) == {"model", "contexts", "activations", "probe", "words", "display"}
    assert all(value >= 0 for value in seconds.values())
    assert seconds["words"] > 0


def test_the_strongest_units_are_kept_for_display(written):
    result, _ = written
    units = result.display[["layer", "site", "head", "index"]].drop_duplicates()
    expected = spread_units(result, DISPLAY_UNITS)[list(units)]
    assert units.astype(str).to_numpy().tolist() == expected.astype(str).to_numpy().tolist()
    assert (
        result.display.groupby(list(units), observed=True, dropna=False).size().tolist()
        == [10] * 18
    )
    assert {len(values) for values in result.display["values"]} == {9}


def test_an_editor_sees_every_parameter():
    """Two decorators wrap a scan; neither may hide what it takes or gives."""
    signature = inspect.signature(tl_negation.scan)
    assert [*signature.parameters][:3] == ["model", "text", "contrast"]
    assert {"sites", "out", "progress"} < {*signature.parameters}
    assert all(
        parameter.kind is inspect.Parameter.KEYWORD_ONLY
        for parameter in [*signature.parameters.values()][2:]
    )
    assert signature.return_annotation is ProbeResult
    documented = re.findall(r"^    (\w[\w, ]*)$", tl_negation.scan.__doc__, re.MULTILINE)
    named = {name for line in documented for name in line.split(", ")}
    assert {*signature.parameters} <= named


# ------------------------------------------------------------------ what is written


@pytest.mark.all_figures
def test_everything_is_written(written):
    result, out = written
    assert listing(out) == FILES
    names = {picture.name for picture in gallery(result, profile(result))}
    assert names > {"laminar", "word-or-category", "attention-and-mlp", "calibration", "effects"}
    assert listing(out / "figures") == sorted(f"{n}.{kind}" for n in names for kind in FIGURE_KINDS)
    for figure in (out / "figures").iterdir():
        start = figure.read_bytes()[:8]
        assert start == (b"\x89PNG\r\n\x1a\n" if figure.suffix == ".png" else b"<?xml ve")
        assert figure.stat().st_size > 5000


def test_the_tests_are_tried_on_units_that_know_only_words(written):
    result, out = written
    table = result.tables["calibration"]
    p = null_p_values(result, permutations=60, seed=3)
    assert table["test"].unique().tolist() == list(p)
    assert table.groupby("test")["n"].first().to_dict() == p.notna().sum().to_dict()
    pd.testing.assert_frame_equal(load_result(out).tables["calibration"], table)
    assert listing(out.parent) == ["run"]


def test_tables_on_disk_are_those_of_the_result(written):
    result, out = written
    table = profile(result)
    pd.testing.assert_frame_equal(pd.read_csv(out / "profile.csv"), table)
    pd.testing.assert_frame_equal(pd.read_csv(out / "trend.csv"), trend(table))
    loaded = load_result(out)
    for name, column in result.columns.items():
        np.testing.assert_array_equal(loaded.columns[name], column, err_msg=name)
    assert loaded.provenance["seconds"] == result.provenance["seconds"]
    assert "circuitsvis" in (out / "report.html").read_text("utf-8").lower()
    json.loads((out / "run.json").read_text("utf-8"), parse_constant=pytest.fail)


def test_the_profile_is_computed_once(model, text, tmp_path, monkeypatch):
    """Files, report and terminal share one profile; the curves of whole modules are another."""
    asked = []

    def counted(result, *, preset=None, by="site"):
        asked.append(by)
        return profile(result, preset=preset, by=by)

    for name, module in list(sys.modules.items()):
        if name.startswith("tl_negation.") and vars(module).get("profile") is profile:
            monkeypatch.setattr(module, "profile", counted)
    result = scan(model, text, words=False, out=tmp_path / "run", **QUICK)
    print_run(result, tmp_path / "run", as_json=False)
    print_run(result, tmp_path / "run", as_json=True)
    assert asked.count("site") == 1
    assert asked.count("module") <= 1


def test_the_profile_of_a_run_is_read_to_the_last_bit(written, model, text, tmp_path):
    result, out = written
    table = profile(result)
    read = read_profile(out)
    pd.testing.assert_frame_equal(read, table, check_exact=True, check_dtype=False)
    assert summary(result, table=read) == summary(result)
    again = write_run(result, tmp_path / "run", table=table, progress=False)
    assert (again / "profile.csv").read_bytes() == (out / "profile.csv").read_bytes()
    with pytest.raises(TypeError, match="table must be of type DataFrame; got str"):
        write_run(result, tmp_path / "no", table="profile.csv")
    with pytest.raises(FileNotFoundError, match=r"profile\.csv is missing"):
        read_profile(result.save(tmp_path / "tables"))


def test_a_column_without_any_value_is_read_as_numbers(tmp_path):
    (tmp_path / "profile.csv").write_text("layer,site,accuracy\n0,q,\n1,q,\n")
    assert read_profile(tmp_path)["accuracy"].dtype == float


def test_nothing_is_written_without_out(model, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan(model, text, words=False, **QUICK)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_scan_that_ends_early_leaves_nothing(
    model, text, tmp_path, tmp_path_factory, monkeypatch, error
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("kept")))

    def fails(result, path, **options):
        assert (Path(path).parent / "units.parquet").exists()  # it is late in the work
        raise error("no more")

    monkeypatch.setattr(REPORT, "report", fails)
    with pytest.raises(error, match=r"^no more"):
        scan(model, text, words=False, out=tmp_path / "run", **QUICK)
    assert listing(tmp_path) == []


@pytest.mark.slow
def test_a_result_without_room_for_its_run_is_kept_elsewhere(model, text, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(REPORT, "report", full)
        with pytest.raises(OSError, match=r"No space left .* tables are kept in '.*run'") as said:
            scan(model, text, out=tmp_path / "run", **QUICK)
    kept = re.search(r"kept in '(.*)'", str(said.value))[1]
    out = write_run(load_result(kept), tmp_path / "run", progress=False)
    expected = scan(model, text, **QUICK)
    pd.testing.assert_frame_equal(load_result(out).to_frame(), expected.to_frame())


def test_a_scan_that_fails_leaves_the_earlier_run(model, text, tmp_path, monkeypatch):
    options = {"words": False, "out": tmp_path / "run", **QUICK}
    first = scan(model, text, **options)
    monkeypatch.setattr(REPORT, "report", lambda *_, **__: 1 / 0)
    with pytest.raises(
        RuntimeError, match=r"ZeroDivisionError: .* is not written; its tables"
    ) as said:
        scan(model, text, per_class=20, overwrite=True, **options)
    kept = load_result(re.search(r"are kept in '([^']*)'", str(said.value)).group(1))
    assert len(kept.contexts) == 40
    assert len(load_result(tmp_path / "run").contexts) == len(first.contexts)
    assert listing(tmp_path) == ["run"]


def test_a_directory_that_may_not_be_replaced_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    for stage in ("load_text", "load_model", "collect"):
        monkeypatch.setattr(SCAN, stage, lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(FileExistsError, match="holds files but no run"):
        scan("no model", "no text", out=tmp_path)


@pytest.mark.slow
def test_a_result_is_written_later_too(written, tmp_path):
    result, out = written
    for kept in (result, load_result(out)):
        with figures("strongest units by word"):
            again = write_run(kept, tmp_path / "later", overwrite=True, progress=False)
        assert again == tmp_path / "later"
        assert listing(again) == FILES
        names = listing(again / "figures")
        # what was read from disk has no activations to draw a unit from
        assert any("unit-" in name for name in names) is (kept.activations is not None)
    with pytest.raises(FileExistsError, match="already holds a run"):
        write_run(result, tmp_path / "later")


def test_summary_is_the_run_in_json(written):
    result, _ = written
    numbers = json.loads(json.dumps(summary(result), allow_nan=False))
    assert numbers["units"] == result.status.numel() == 3 * (3 * 20 + 80)
    assert sum(numbers["status"].values()) == numbers["units"]
    assert numbers["significant"] == int(result.significant.sum())
    assert numbers["summary"] == result.summary().splitlines()
    assert len(numbers["profile"]) == 3 * 4
    assert len(numbers["top"]) == 10
    assert numbers["audit"]["examples"] == len(result.contexts)


# ------------------------------------------------------------------ options


def test_per_class_draws_a_sample(model, text):
    result = scan(model, text, words=False, per_class=25, seed=4, **QUICK)
    contexts = find_contexts(text, model.tokenizer, **WINDOW).sample(25, 4)
    assert result.contexts.examples.equals(contexts.examples)
    assert result.contexts.source["sample"]["per_class"] == 25
    with pytest.raises(ValueError, match="per_class must be at least 1; got 0"):
        scan(model, text, per_class=0, **QUICK)


def test_names_of_model_and_text_are_loaded(folder, text, tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(text.raw, "utf-8")
    result = scan(folder, path, words=False, layers=(2,), sites=("k",), **QUICK)
    assert result.layers == (2,)
    assert [site.name for site in result.sites] == ["k"]
    assert result.provenance["model"]["name"] == str(folder)
    assert result.contexts.source["sha256"] == text.sha256


def test_the_notebook_preset_sets_contexts_and_profile(model, text, tmp_path):
    result = scan(model, text, preset="notebook", words=False, out=tmp_path / "run", **QUICK)
    contexts = find_contexts(text, model.tokenizer, preset="notebook", **WINDOW)
    assert result.contexts.examples.equals(contexts.examples)
    assert result.provenance["preset"] == "notebook"
    wald = {"test": "wald", "alpha": 0.05, "family": "layer", "correction": "bonferroni"}
    assert result.provenance["test"] == wald
    assert result.significant.equal(probe(result.activations, test="wald").significant)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "run" / "profile.csv"), profile(result, preset="notebook")
    )


def test_the_test_by_example_is_the_one_asked_for(model, text):
    test = {"test": "wald", "family": "all", "correction": "bh", "alpha": 0.2}
    result = scan(model, text, words=False, **test, **QUICK)
    assert result.provenance["test"] == test
    again = probe(result.activations, progress=False, **test)
    assert again.significant.equal(result.significant)


def test_the_notebook_preset_with_another_test_is_refused_before_the_work():
    with pytest.raises(ValueError, match=r"preset is Wald .*'test': 'lr'.*: leave test, fam"):
        scan("none", "none.txt", preset="notebook", test="lr")


def test_a_run_under_a_preset_goes_by_its_test_whatever_the_results(written, tmp_path):
    result, _ = written
    run = load_result(write_run(result, tmp_path / "run", preset="notebook", progress=False))
    assert run.provenance["test"]["test"] == "wald"
    assert run.significant.equal(probe(result.activations, test="wald").significant)
    assert not run.tables.get("lexical_null", pd.DataFrame()).size
    numbers = summary(result, preset="notebook")
    assert numbers["significant"] == int(run.significant.sum())
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "By example (Wald test, Bonferroni per layer" in page


def test_the_untrained_twin(model, text):
    twin = scan(model, text, words=False, untrained=True, seed=5, **QUICK)
    assert twin.provenance["model"]["untrained"] is True
    assert twin.provenance["model"]["seed"] == 5
    assert "untrained twin" in repr(twin)
    own = scan(model, text, words=False, **QUICK)
    assert "untrained" not in own.provenance["model"]
    assert twin.activations.values.shape == own.activations.values.shape
    assert not np.allclose(twin.activations.values, own.activations.values)


def test_too_few_words_are_scanned_without_inference_over_words(model, text, tmp_path):
    result = scan(model, text, contrast=FEW, out=tmp_path / "run", **QUICK)
    assert (
        "two word types in each class; got 1 of class 1 and 2"
        in (result.provenance["words_left_out"])
    )
    assert "significant_words" not in result.columns
    assert "word-or-category.png" not in listing(tmp_path / "run" / "figures")
    assert load_result(tmp_path / "run").provenance["words_left_out"]
    with pytest.raises(TooFewWordsError):
        infer(result, progress=False)


def test_other_errors_of_the_stages_come_through(model, text):
    with pytest.raises(ValueError, match="unknown site 'y'"):
        scan(model, text, sites=("y",), **QUICK)
    with pytest.raises(ValueError, match="extras are heads, rotated, "):
        scan(model, text, extras=("hands",), **QUICK)
    with pytest.raises(TypeError, match=r"extras must be a list; got 'heads': write \['heads'\]"):
        scan(model, text, extras="heads", **QUICK)
    with pytest.raises(ValueError, match="alternative must be one of"):
        scan(model, text, alternative="both", **QUICK)


def test_extras_are_computed_and_written(model, text, tmp_path):
    extras = ("heads", "rotated", "clusters", "blocks", "firth")
    result = scan(model, text, words=False, extras=extras, out=tmp_path / "run", **QUICK)
    assert list(result.tables) == ["heads", "rotated"]
    assert {"cluster_p", "block_accuracy", "firth_beta"} <= set(result.columns)
    assert result.firth_beta[result.tested].isfinite().all()
    loaded = load_result(tmp_path / "run")
    for name in ("heads", "rotated"):
        computed = result.tables[name].reset_index(drop=True)
        pd.testing.assert_frame_equal(loaded.tables[name], computed, check_dtype=False)
    rotated = result.tables["rotated"]
    assert rotated["units"].tolist() == profile(result)["units"].tolist()
    assert rotated["accuracy"].tolist() != profile(result)["accuracy"].tolist()
    with pytest.raises(ValueError, match="heads needs the activations"):
        add_extras(loaded, ("heads",))
