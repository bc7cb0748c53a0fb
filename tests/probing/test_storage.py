"""A result on disk and back: bit by bit, and what damaged or foreign files give."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers import synthetic
from helpers.directories import assert_same, listing

import tl_negation
from tl_negation import COLUMNS, load_result, profile
from tl_negation._shared.files import whole_file
from tl_negation._shared.sealed import jsonable, read_sealed, sealed


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.every_outcome())


@pytest.fixture(scope="module")
def full(result):
    return synthetic.full(result)


# ------------------------------------------------------------------ on disk


def test_round_trip_is_bit_identical(full, tmp_path):
    loaded = load_result(full.save(tmp_path / "run"))
    assert_same(loaded, full)
    assert loaded.status.dtype == torch.int8
    assert loaded.significant.dtype == loaded.significant_words.dtype == torch.bool
    assert loaded.activations is None
    assert loaded.provenance == json.loads(json.dumps(full.provenance))
    assert loaded.summary() == full.summary()
    pd.testing.assert_frame_equal(loaded.to_frame(), full.to_frame())


def test_contexts_and_display_come_back(full, tmp_path):
    loaded = load_result(full.save(tmp_path / "run"))
    contexts = full.contexts
    assert torch.equal(loaded.contexts.tokens, contexts.tokens)
    assert loaded.contexts.labels.equal(contexts.labels)
    pd.testing.assert_frame_equal(loaded.contexts.examples, contexts.examples)
    assert loaded.contexts.contrast == contexts.contrast
    assert (loaded.contexts.before, loaded.contexts.after) == (contexts.before, contexts.after)
    assert loaded.contexts.counts() == contexts.counts()
    assert loaded.base_rate == full.base_rate
    for name in ("layer", "site", "head", "index", "example"):
        assert loaded.display[name].tolist() == full.display[name].tolist()
    assert [list(tokens) for tokens in loaded.display["tokens"]] == [[" not", "\u2019\n"]] * 2
    assert [list(values) for values in loaded.display["values"]] == [[0.5, -1.25]] * 2


#: The tables of a result with everything.
TABLES = ["groups", "held_out_by_word", "held_out_null", "control_tasks", "lexical_null", "heads"]


def _files(tables):
    """The files of a run with these tables."""
    parts = ["contexts.parquet", "display.parquet", "run.json", "units.parquet"]
    return sorted([*parts, *(f"{name}.csv" for name in tables)])


def test_tables_come_back_to_the_last_bit(full, tmp_path):
    loaded = load_result(full.save(tmp_path / "run"))
    assert list(loaded.tables) == TABLES
    for name, table in full.tables.items():
        got, want = loaded.tables[name], table.reset_index(drop=True)
        pd.testing.assert_frame_equal(got, want, check_exact=True)
    pd.testing.assert_frame_equal(profile(loaded), profile(full), check_exact=True)
    (tmp_path / "run" / "heads.csv").write_text("")
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"heads\.csv is damaged"):
            load_result(tmp_path / "run", verify=verify)
    (tmp_path / "run" / "heads.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"heads\.csv is missing"):
        load_result(tmp_path / "run")


def test_words_that_look_like_something_else_come_back_as_they_are(result, tmp_path):
    words = [
        "null",
        "nan",
        "NA",
        "01",
        "true",
        "1e3",
        "2020-01-01",
        "l'un, \"l'autre\"",
        "n\u2019t",
    ]
    odd = pd.DataFrame({"word": words, "accuracy": 0.1 + 0.2 * np.arange(9)})
    digits = pd.DataFrame({"word": ["1", "2"], "empty": [np.nan] * 2, "share": [np.inf, 5e-324]})
    named = result.with_table("odd", odd).with_table("digits", digits)
    tables = load_result(named.save(tmp_path / "run")).tables
    pd.testing.assert_frame_equal(tables["odd"], odd, check_exact=True)
    pd.testing.assert_frame_equal(tables["digits"], digits, check_exact=True)


def test_a_run_of_version_0_1_0_gives_the_same_tables_and_profile(full, tmp_path):
    run = full.save(tmp_path / "run")
    as_version_0_1_0(run, full)
    in_provenance = {"held_out_by_word", "lexical_null"}
    assert listing(run) == _files(set(TABLES) - in_provenance)
    loaded = load_result(run)
    assert_same(loaded, full)
    for name in ("held_out_by_word", "lexical_null"):
        pd.testing.assert_frame_equal(loaded.tables[name], full.tables[name], check_exact=True)
    pd.testing.assert_frame_equal(profile(loaded), profile(full), check_exact=True)
    assert loaded.provenance == json.loads(json.dumps(full.provenance))
    again = load_result(loaded.save(tmp_path / "again"))
    assert set(again.tables) == set(TABLES)
    pd.testing.assert_frame_equal(profile(again), profile(full), check_exact=True)


def test_a_run_of_version_0_1_0_without_a_test_over_words(run, result):
    edit(run / "run.json", format_version=1)
    assert_same(load_result(run), result)
    assert not load_result(run).tables


def test_a_share_without_units_was_null_in_version_0_1_0(full, tmp_path):
    table = full.tables["held_out_by_word"].assign(accuracy=np.nan)
    bands = full.tables["lexical_null"].assign(null_accuracy_low=np.nan)
    holed = replace(full, tables={"held_out_by_word": table, "lexical_null": bands})
    run = holed.save(tmp_path / "run")
    as_version_0_1_0(run, holed)
    for name, table in load_result(run).tables.items():
        pd.testing.assert_frame_equal(table, holed.tables[name], check_exact=True)


def as_version_0_1_0(run, result):
    """Rewrite a run as version 0.1.0 wrote it: two tables in the provenance, no list of columns."""
    path = run / "run.json"
    manifest, _ = read_sealed(path)
    table = result.tables["held_out_by_word"]
    words = table[["word", "label"]].drop_duplicates()
    by_word = [table[table["word"] == word] for word in words["word"]]
    manifest["provenance"]["held_out_by_word"] = {
        "layer": by_word[0]["layer"].tolist(),
        "site": by_word[0]["site"].tolist(),
        "words": words.to_dict("records"),
        "accuracy": [jsonable(rows["accuracy"].tolist()) for rows in by_word],
    }
    bands = jsonable(result.tables["lexical_null"].to_dict("list"))
    manifest["provenance"]["lexical_null"]["bands"] = bands
    for name in ("held_out_by_word", "lexical_null"):
        manifest["tables"].remove(name)
        (run / f"{name}.csv").unlink()
    del manifest["columns"], manifest["files"]
    path.write_text(json.dumps(manifest | {"format_version": 1}), "utf-8")


def test_a_saved_result_is_saved_again(result, tmp_path):
    first = load_result(result.save(tmp_path / "first"))
    assert first.display is None
    assert_same(load_result(first.save(tmp_path / "second")), result)


def test_files_are_parquet_and_json_and_nothing_is_pickled(full, tmp_path):
    folder = full.save(tmp_path / "new" / "run")
    assert listing(folder) == _files(TABLES)
    for path in folder.glob("*.parquet"):
        data = path.read_bytes()
        assert data[:4] == data[-4:] == b"PAR1"
        kinds = {str(field.type) for field in pq.read_schema(path)}
        assert not any("binary" in kind or "extension" in kind for kind in kinds)
    json.loads((folder / "run.json").read_text("utf-8"), parse_constant=pytest.fail)
    for source in Path(tl_negation.__file__).parent.rglob("*.py"):
        code = source.read_text("utf-8")
        assert not any(word in code for word in ("import pickle", "torch.save", "torch.load"))


def test_a_number_that_json_does_not_know_becomes_null(result, tmp_path):
    odd = result.with_columns(result.columns, odd={"low": [float("nan"), 0.5, float("inf")]})
    folder = odd.save(tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert manifest["provenance"]["odd"] == {"low": [None, 0.5, None]}


def test_run_json_says_where_everything_comes_from(result, tmp_path):
    folder = result.save(tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text("utf-8"))
    assert manifest["format_version"] == 3
    assert {name: len(digest) for name, digest in manifest["files"].items()} == {
        "contexts.parquet": 64, "units.parquet": 64,
    }  # fmt: skip
    assert manifest["columns"] == list(COLUMNS)
    assert manifest["layers"] == [2, 5, 8]
    assert [site["name"] for site in manifest["sites"]] == ["q", "k", "mlp_pre"]
    assert manifest["audit"]["groups"]["negation"]["examples"] == 27
    test = {"test": "lr", "alpha": 0.05, "family": "layer", "correction": "bonferroni"}
    assert manifest["provenance"]["test"] == test
    assert manifest["contexts"]["source"]["source"] == "made"


@pytest.fixture
def run(result, tmp_path):
    return result.save(tmp_path / "run")


def test_no_such_run(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no run directory .*nowhere"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no run directory .*run\.json; `scan` writes one"):
        load_result(run / "run.json")


@pytest.mark.parametrize("name", ["run.json", "units.parquet", "contexts.parquet"])
def test_a_missing_file(run, name):
    (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing: .*run is not a complete run"):
        load_result(run)


@pytest.mark.parametrize("name", ["run.json", "units.parquet", "contexts.parquet"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_truncated_file(run, name, keep):
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=rf"{name} is damaged \(.*\); scan again"):
        load_result(run)


def edit(path, **changes):
    """Change entries of a manifest, and seal it again, as somebody might who means harm."""
    manifest, _ = read_sealed(path)
    path.write_text(sealed(manifest | changes), "utf-8")


@pytest.mark.parametrize(
    "changes", [{"format": "another"}, {"format_version": 4}, {"format_version": None}]
)
def test_a_run_of_another_format(run, changes):
    edit(run / "run.json", **changes)
    with pytest.raises(ValueError, match=r"is not a run of format 1 to 3 of tl_negation\); scan"):
        load_result(run)


def test_json_that_is_not_a_manifest(run):
    (run / "run.json").write_text("[1, 2]", "utf-8")
    with pytest.raises(ValueError, match=r"is damaged \(it holds a list, not an object\); scan"):
        load_result(run)


@pytest.mark.parametrize("key", ["sites", "layers", "contexts", "columns", "provenance"])
def test_a_manifest_that_lacks_something(run, key):
    manifest, _ = read_sealed(run / "run.json")
    del manifest[key]
    (run / "run.json").write_text(sealed(manifest), "utf-8")
    with pytest.raises(ValueError, match=rf"run\.json is damaged \(it lacks {key}\); scan again"):
        load_result(run)


def test_files_that_do_not_fit_each_other(run, result):
    edit(run / "run.json", layers=[2, 5])
    with pytest.raises(ValueError, match=r"should hold 70 rows .*; it holds 105 with layer, site,"):
        load_result(run)
    result.save(run, overwrite=True)
    units = pd.read_parquet(run / "units.parquet")
    units.drop(columns="auc").to_parquet(run / "units.parquet")
    with pytest.raises(ValueError, match=r"units\.parquet is damaged \(it is not as it was wr"):
        load_result(run)
    with pytest.raises(ValueError, match=r"should hold 105 rows with the columns status, .*auc"):
        load_result(run, verify=False)


def test_units_are_read_by_their_index_columns(run, result):
    units = pd.read_parquet(run / "units.parquet")
    units.sample(frac=1, random_state=0).to_parquet(run / "units.parquet")
    assert_same(load_result(run, verify=False), result)


NO_UNIT = "there is a unit of a layer or a site that there is not"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda units: units.assign(index=0), "not every unit is there exactly once"),
        (lambda units: units.assign(head=-1), "there is a head or an index that its site has not"),
        (lambda units: units.assign(head=0.5), "a head or an index is not a whole number"),
        (lambda units: units.assign(layer=7), NO_UNIT),
        (lambda units: units.assign(site="w"), NO_UNIT),
        (lambda units: units.assign(status="fine"), "there is no status 'fine'"),
        (lambda units: units.assign(status=None), "there is no status 'None'"),
        (lambda units: units.assign(beta="large"), "the column beta holds .*, not numbers"),
    ],
)  # fmt: skip
def test_units_that_are_not_those_of_the_run(run, change, message):
    change(pd.read_parquet(run / "units.parquet")).to_parquet(run / "units.parquet")
    with pytest.raises(ValueError, match=rf"units\.parquet is damaged \({message}"):
        load_result(run, verify=False)


def test_contexts_that_do_not_fit_the_run(run, result):
    examples = pd.read_parquet(run / "contexts.parquet")
    examples.iloc[:5].to_parquet(run / "contexts.parquet")
    with pytest.raises(ValueError, match=r"contexts\.parquet should hold 61 rows .*; it holds 5 "):
        load_result(run, verify=False)
    examples.drop(columns="tokens").to_parquet(run / "contexts.parquet")
    with pytest.raises(ValueError, match=r"should hold 61 rows with the columns .*tokens; it hold"):
        load_result(run, verify=False)
    examples.assign(label=2).to_parquet(run / "contexts.parquet")
    with pytest.raises(ValueError, match=r"contexts\.parquet is damaged \(the labels of examples"):
        load_result(run, verify=False)


@pytest.mark.parametrize("verify", [True, False])
def test_a_damaged_display(full, tmp_path, verify):
    run = full.save(tmp_path / "run")
    (run / "display.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"display\.parquet is damaged"):
        load_result(run, verify=verify)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda shown: shown.drop(columns="values"), "it lacks the columns values"),
        (lambda shown: shown.assign(example=10**6), "it shows examples that there are not"),
        (lambda shown: shown.assign(tokens=[["a"]] * len(shown)), "not hold a value for every tok"),
    ],
)  # fmt: skip
def test_a_display_of_something_else(full, tmp_path, change, message):
    run = full.save(tmp_path / "run")
    change(pd.read_parquet(run / "display.parquet")).to_parquet(run / "display.parquet")
    with pytest.raises(ValueError, match=rf"display\.parquet is damaged \(.*{message}"):
        load_result(run, verify=False)


SITE = {
    "name": "q",
    "hook": "blocks.{layer}.attn.hook_q",
    "module": "attn",
    "heads": 5,
    "d_head": 4,
}
UNKNOWN = "a site that this version does not know"
RULE = {"alpha": 0.05, "family": "layer", "correction": "bonferroni"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": []}, "layers must be numbers; got "),
        ({"layers": [2, "5", 8]}, "layers must be numbers"),
        ({"layers": [2, 2, 8]}, "layers are named twice"),
        ({"tables": ["../secret"]}, r"tables must be plain names; got \['\.\./secret'\]"),
        ({"tables": "heads"}, "tables must be plain names"),
        ({"columns": ["status", "a/b"]}, "columns must be plain names"),
        ({"columns": ["beta"]}, "the column status is missing"),
        ({"sites": []}, UNKNOWN),
        ({"sites": [SITE | {"name": "<script>"}]}, UNKNOWN + ": .*<scr"),
        ({"sites": [SITE | {"heads": "5"}]}, UNKNOWN),
        ({"sites": [SITE | {"d_head": 0}]}, UNKNOWN),
        ({"sites": [SITE | {"module": "x"}]}, UNKNOWN),
        ({"sites": [SITE, SITE]}, "sites are named twice"),
        ({"provenance": {}}, "its provenance does not say what was tested"),
        ({"provenance": {"model": {}, "test": RULE | {"test": "t"}}}, "there is no test 't'"),
        ({"audit": 3}, "TypeError: .*"),
        ({"audit": {}}, "KeyError: 'examples'"),
        ({"contexts": {"before": 3}}, "TypeError: .*source"),
        ({"contexts": {"before": 99, "source": {}}}, "KeyError: 'contrast'"),
    ],
)  # fmt: skip
def test_a_manifest_whose_fields_cannot_be_is_refused(run, changes, message):
    edit(run / "run.json", **changes)
    with pytest.raises(ValueError, match=rf"is damaged \({message}"):
        load_result(run)


def test_a_manifest_nested_too_deeply_is_damage(run):
    (run / "run.json").write_text("[" * 100_000 + "]" * 100_000, "utf-8")
    with pytest.raises(ValueError, match=r"run\.json is damaged \(its entries are nested too deep"):
        load_result(run)


def test_a_table_is_not_written_outside_of_its_run(result, tmp_path):
    table = pd.DataFrame({"a": [1]})
    for name in ("../secret", "a/b", "", "a" * 61):
        with pytest.raises(ValueError, match=r"name of a table becomes that of a file: .*; got "):
            result.with_table(name, table)
        with pytest.raises(ValueError, match="name of a table becomes that of a file"):
            replace(result, tables={name: table}).save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"a run has a file profile\.csv of its own; call the tab"):
        result.with_table("profile", table)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_no_text_is_written_with_backslashes(result, tmp_path):
    odd = result.with_columns(result.columns, odd="caf\udce9")
    loaded = load_result(odd.save(tmp_path / "run"))
    assert loaded.provenance["odd"] == r"caf\udce9"


def test_a_file_of_a_run_that_is_written_again_is_known(full, tmp_path):
    run = full.save(tmp_path / "run")
    with whole_file(run / "heads.csv") as path:
        full.tables["heads"].head(1).to_csv(path, index=False)
    assert len(load_result(run).tables["heads"]) == 1
    with whole_file(run / "notes.txt") as path:
        path.write_text("mine")
    assert "notes.txt" not in json.loads((run / "run.json").read_text("utf-8"))["files"]
    load_result(run)
