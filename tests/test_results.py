"""A result: its columns and their order, cut, ranked, told in words, and on disk and back."""

import json
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import tl_negation
from tl_negation import COLUMNS, STATUSES, WORD_COLUMNS, infer, load_result
from tl_negation._files import check_target, whole_directory, whole_file
from tl_negation.inference import cluster_robust, head_probe, held_out, penalise
from tl_negation.probe import probe
from tl_negation.results import RANKS, needs_activations, unit_of

#: As DESIGN.md promises for units.parquet from the first day.
PROMISED = [
    *("layer", "site", "head", "index", "status", "beta", "intercept", "se", "z", "p", "log10_p"),
    *("lr", "lr_p", "beta_per_sd", "accuracy", "balanced_accuracy", "auc", "significant"),
]
FAILED = {
    "separated": (2, "q", 0, 1),
    "quasi_separated": (2, "k", 1, 0),
    "constant": (5, "q", 4, 3),
    "nonfinite": (8, "mlp_pre", 0, 6),
}


def every_outcome():
    """The small activations with one unit of each failed outcome that data can bring about."""
    values, labels, words = made.small()
    values[0, :, 1] = labels + 0.1 * np.arange(61) / 61
    values[0, :, 24] = np.where(labels == 1, 3.0, 1.0)
    values[0, :2, 24] = 2 + 0 * labels[:2]
    values[0, np.flatnonzero(labels == 1)[0], 24] = 2
    values[0, np.flatnonzero(labels == 0)[0], 24] = 2
    values[1, :, 19] = 0.25
    values[2, 7, 34] = np.nan
    return values, labels, words


@pytest.fixture(scope="module")
def result():
    return made.result(*every_outcome())


@pytest.fixture(scope="module")
def full(result):
    """With every column that the package can add, and something to display."""
    of = infer(result, permutations=50, tasks=2, replicates=2, progress=False)
    of = held_out(of, by="block", progress=False)
    of = cluster_robust(penalise(of))
    rows = [{"layer": 2, "site": "q", "head": 0, "index": 1, "example": i} for i in (0, 3)]
    heads = head_probe(of.activations, progress=False)
    of = of.with_table("heads", heads)
    display = pd.DataFrame(rows).assign(
        tokens=[[" not", "\u2019\n"]] * 2, values=[[0.5, -1.25]] * 2
    )
    return replace(of, display=display)


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ------------------------------------------------------------------ columns


def test_the_promised_columns_come_first_and_in_their_order(result, full):
    for one in (result, full):
        names = list(one.to_frame().columns)
        assert names[: len(PROMISED)] == PROMISED
        assert len(set(names)) == len(names)
    assert set(result.columns) == set(COLUMNS)
    assert set(full.columns) == {*COLUMNS, *WORD_COLUMNS}


def test_a_row_per_unit_in_the_order_of_the_tensors(result):
    frame = result.to_frame()
    assert len(frame) == 3 * made.WIDTH
    assert frame["layer"].tolist() == [2] * 35 + [5] * 35 + [8] * 35
    k = frame[(frame["layer"] == 5) & (frame["site"] == "k")]
    assert k["head"].tolist() == [0] * 4 + [1] * 4
    assert k["index"].tolist() == [0, 1, 2, 3] * 2
    assert list(frame["site"].cat.categories) == ["q", "k", "mlp_pre"]
    for name, column in result.columns.items():
        if name != "status":
            np.testing.assert_array_equal(frame[name], column.flatten())
    codes = [STATUSES.index(name) for name in frame["status"]]
    assert codes == result.status.flatten().tolist()


def test_every_failed_outcome_is_a_row_without_an_estimate(result):
    frame = result.to_frame()
    failed = frame[frame["status"] != "ok"]
    got = {row.status: (row.layer, row.site, row.head, row.index_) for row in _rows(failed)}
    assert got == FAILED
    assert failed[["beta", "intercept", "se", "z", "p", "beta_per_sd"]].isna().all(axis=None)
    assert not failed["significant"].any()
    assert int(result.tested.sum()) == 3 * 35 - 4
    assert result.tested.dtype == torch.bool


def _rows(frame):
    return frame.rename(columns={"index": "index_"}).itertuples(index=False)


def test_columns_are_attributes_and_are_listed(result, full):
    assert result.beta is result.columns["beta"]
    assert result.beta.shape == (3, made.WIDTH)
    assert {"beta", "status", "split", "save"} <= set(dir(result))
    assert "words_p_maxt" in dir(full)
    assert "words_p_maxt" not in dir(result)
    with pytest.raises(AttributeError, match=r"has no 'betta'; its columns are status, beta, "):
        result.betta  # noqa: B018 - the access is the test


def test_every_column_is_explained(full):
    explained = COLUMNS | WORD_COLUMNS
    assert all(explained[name] for name in full.columns)


@pytest.mark.parametrize(("ones", "rate"), [(27, 34 / 61), (50, 50 / 61)])
def test_base_rate_is_the_share_of_the_larger_class(ones, rate):
    values, _, words = made.small()
    labels = np.repeat([1, 0], [ones, 61 - ones])
    assert made.result(values, labels, words).base_rate == pytest.approx(rate, abs=1e-15)


# ------------------------------------------------------------------ split


def test_split_is_torch_split_at_the_sites_widths(full):
    parts = full.split()
    assert list(parts) == ["q", "k", "mlp_pre"]
    for name, column in full.columns.items():
        for part, expected in zip(parts.values(), torch.split(column, [20, 8, 7], 1), strict=True):
            np.testing.assert_array_equal(part.columns[name], expected)
    acts = torch.split(full.activations.values, [20, 8, 7], dim=2)
    for part, expected in zip(parts.values(), acts, strict=True):
        np.testing.assert_array_equal(part.activations.values, expected)


def test_a_part_is_a_result_of_its_own(result):
    k = result.split()["k"]
    assert [site.name for site in k.sites] == ["k"]
    whole = result.to_frame().query("site == 'k'").reset_index(drop=True)
    whole["site"] = whole["site"].cat.remove_unused_categories()
    pd.testing.assert_frame_equal(k.to_frame(), whole)
    again = probe(k.activations, progress=False, family="site")
    np.testing.assert_allclose(again.lr, k.lr, rtol=1e-9)
    np.testing.assert_array_equal(k.split()["k"].beta, k.beta)


def test_a_result_without_activations_is_split_too(result):
    bare = replace(result, activations=None)
    assert all(part.activations is None for part in bare.split().values())


# ------------------------------------------------------------------ top


@pytest.mark.parametrize("by", RANKS)
def test_top_ranks_by_size_and_leaves_out_what_has_none(full, by):
    frame = full.to_frame()
    size = (frame[by] - (0.5 if by == "auc" else 0)).abs()
    got = full.top(len(frame), by=by)
    assert sorted(got.index) == sorted(size.dropna().index)
    assert (np.diff(size[got.index]) <= 0).all()
    pd.testing.assert_frame_equal(full.top(3, by=by), got.head(3))
    assert set(got) == set(frame)
    assert list(got)[:6] == ["layer", "site", "head", "index", "status", by]
    pd.testing.assert_frame_equal(got, frame.loc[got.index, list(got)])


def test_top_takes_a_separated_unit_for_the_strongest_and_a_small_auc_for_a_strong_one(result):
    first = result.top(1).iloc[0]
    assert (first["status"], first["layer"], first["index"]) == ("separated", 2, 1)
    columns = {**result.columns, "auc": torch.full_like(result.auc, 0.6)}
    columns["auc"][1, 3] = 0.1
    assert result.with_columns(columns).top(1, by="auc").index.tolist() == [35 + 3]


def test_ties_stay_in_the_order_of_the_units(result):
    lr = torch.zeros_like(result.lr)
    lr[1, [4, 9]] = 2.0
    lr[2, 0] = 2.0
    tied = result.with_columns({**result.columns, "lr": lr})
    assert tied.top(5).index.tolist() == [35 + 4, 35 + 9, 70, 0, 1]


def test_top_refuses_what_does_not_rank(result):
    with pytest.raises(ValueError, match=r"ranked by one of lr, z, score, .*; got 'beta'"):
        result.top(by="beta")
    with pytest.raises(ValueError, match=r"ranked by one of lr, z, .*; got 'words_t'"):
        result.top(by="words_t")  # inference has not run
    with pytest.raises(ValueError, match="must be at least 1; got 0"):
        result.top(0)


# ------------------------------------------------------------------ unit_of


def test_unit_of_is_the_inverse_of_the_rows(result):
    frame = result.to_frame()
    for i, row in frame.iterrows():
        layer, unit = unit_of(result, row)
        assert layer * made.WIDTH + unit == i
    assert unit_of(result, (5, "k", 1, 2)) == (1, 20 + 4 + 2)
    assert unit_of(result, {"layer": 8, "site": "mlp_pre", "head": 0, "index": 6}) == (2, 34)
    assert unit_of(result, result.top(1)) == (0, 1)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ((5, "v", 0, 0), "has the sites q, k, mlp_pre; got 'v'"),
        ((3, "q", 0, 0), r"has the layers \[2, 5, 8\]; got 3"),
        ((5, "k", 2, 0), "site k has 2 heads of 4 units; got head 2, index 0"),
        ((5, "q", 0, 4), "site q has 5 heads of 4 units; got head 0, index 4"),
        ((5, "q", -1, 0), "got head -1, index 0"),
    ],
)
def test_no_such_unit(result, unit, message):
    with pytest.raises(ValueError, match=message):
        unit_of(result, unit)


def test_one_unit_at_a_time(result):
    with pytest.raises(ValueError, match="one unit is wanted; got a table of 2 rows"):
        unit_of(result, result.top(2))


# ------------------------------------------------------------------ in words


def test_summary_of_a_plain_probe(result):
    lines = result.summary().splitlines()
    frame = result.to_frame()
    passed = frame[frame["significant"]]
    assert lines[0] == (
        "Stands on 27 negation contexts (4 words; 'not' makes 41%); 34 affirmation contexts "
        "(5 words; 'can' makes 38%); guessing the larger class is right in 55.7%."
    )
    assert lines[1] == (
        "Example by example (Wald, bonferroni per layer, alpha 0.05), "
        f"{len(passed)} of 105 units are significant ({len(passed) / 105:.2%}); their accuracy in "
        f"sample is {passed['accuracy'].mean():.1%}."
    )
    assert "may be no more than the word" in lines[2]
    assert len(lines) == 3
    assert 10 < len(passed) < 100


def test_summary_with_inference_over_words(full):
    text = full.summary()
    frame = full.to_frame()
    passed = int(frame["significant_words"].sum())
    assert (
        "Over words (50 labelings at random, max-T over all units, alpha 0.05), "
        f"{passed} of 105 units are significant ({passed / 105:.2%}); the smallest p is "
        f"{frame['words_p_maxt'].min():.2g}."
    ) in text
    assert "affirmation: can (' can')" not in text  # the tokens as they are
    assert "negation: not ('not'), n't (\"n't\"), never ('never'), nor ('nor')" in text
    assert (
        f"the mean unit is right in {frame['held_out_accuracy'].mean():.1%} (balanced; guessing: "
        f"50 %) against {frame['balanced_accuracy'].mean():.1%} on the words"
    ) in text
    assert (
        f"predicted at {frame['control_accuracy'].mean():.1%}, the real one at "
        f"{frame['fold_accuracy'].mean():.1%}: mean selectivity "
        f"{100 * frame['selectivity'].mean():+.1f} points."
    ) in text
    best = full.tables["heads"]["held_out_accuracy"]
    assert f"best of {len(best)}: " in text
    assert f"{best.max():.1%} (the best of many" in text
    assert text.endswith("Decodable from, not used by: no intervention was run.")


@pytest.mark.parametrize(
    ("passed", "claim"), [(0, "no single unit can be said"), (3, "over words from 3 units")]
)
def test_the_claim_follows_the_test_over_words(full, passed, claim):
    significant = torch.zeros(3, made.WIDTH, dtype=torch.bool)
    significant[0, :passed] = True
    columns = {**full.columns, "significant_words": significant}
    assert claim in full.with_columns(columns).summary().splitlines()[-1]


def test_reprs(result):
    text = repr(result)
    assert text.startswith("ProbeResult of made: 3 layers x (q 20, k 8, mlp_pre 7) units on 61 con")
    assert "units: 101 ok, 1 separated, 1 quasi_separated, 1 constant, 1 nonfinite" in text
    passed = int(result.significant.sum())
    assert f"(Wald, bonferroni per layer, alpha 0.05): {passed}; base rate 55.7%" in text
    page = result._repr_html_()
    assert page.count("<tr") == 1 + 5
    assert "separated" in page


def test_what_needs_activations_says_so(result):
    assert needs_activations(result, "this") is result.activations
    with pytest.raises(ValueError, match=r"this needs the activations, .* collect and probe again"):
        needs_activations(replace(result, activations=None), "this")


# ------------------------------------------------------------------ on disk


def assert_same(loaded, saved):
    assert set(loaded.columns) == set(saved.columns)
    for name, column in saved.columns.items():
        got, want = loaded.columns[name].numpy(), column.numpy()
        assert (got.dtype, got.shape) == (want.dtype, want.shape), name
        known = ~np.isnan(want)
        np.testing.assert_array_equal(np.isnan(got), ~known, err_msg=name)
        assert got[known].tobytes() == want[known].tobytes(), name
    assert (loaded.sites, loaded.layers) == (saved.sites, saved.layers)


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


def test_tables_come_back_to_the_last_bit(full, tmp_path):
    loaded = load_result(full.save(tmp_path / "run"))
    assert list(loaded.tables) == ["heads"]
    pd.testing.assert_frame_equal(
        loaded.tables["heads"],
        full.tables["heads"].reset_index(drop=True),
        check_exact=True,
        check_dtype=False,
    )
    (tmp_path / "run" / "heads.csv").write_text("")
    with pytest.raises(ValueError, match=r"heads\.csv is damaged"):
        load_result(tmp_path / "run")
    (tmp_path / "run" / "heads.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"heads\.csv is missing"):
        load_result(tmp_path / "run")


def test_a_saved_result_is_saved_again(result, tmp_path):
    first = load_result(result.save(tmp_path / "first"))
    assert first.display is None
    assert_same(load_result(first.save(tmp_path / "second")), result)


def test_files_are_parquet_and_json_and_nothing_is_pickled(full, tmp_path):
    folder = full.save(tmp_path / "new" / "run")
    assert listing(folder) == [
        "contexts.parquet", "display.parquet", "heads.csv", "run.json", "units.parquet",
    ]  # fmt: skip
    for path in folder.glob("*.parquet"):
        data = path.read_bytes()
        assert data[:4] == data[-4:] == b"PAR1"
        kinds = {str(field.type) for field in pq.read_schema(path)}
        assert not any("binary" in kind or "extension" in kind for kind in kinds)
    json.loads((folder / "run.json").read_text("utf-8"), parse_constant=pytest.fail)
    for source in Path(tl_negation.__file__).parent.rglob("*.py"):
        code = source.read_text("utf-8")
        assert not any(word in code for word in ("import pickle", "torch.save", "torch.load"))


def test_a_number_that_json_has_not_becomes_null(result, tmp_path):
    odd = result.with_columns(result.columns, odd={"low": [float("nan"), 0.5, float("inf")]})
    folder = odd.save(tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert manifest["provenance"]["odd"] == {"low": [None, 0.5, None]}


def test_run_json_says_where_everything_comes_from(result, tmp_path):
    folder = result.save(tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text("utf-8"))
    assert manifest["format_version"] == 1
    assert manifest["layers"] == [2, 5, 8]
    assert [site["name"] for site in manifest["sites"]] == ["q", "k", "mlp_pre"]
    assert manifest["audit"]["groups"]["negation"]["examples"] == 27
    test = {"alpha": 0.05, "family": "layer", "correction": "bonferroni"}
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
    manifest = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(manifest | changes), "utf-8")


@pytest.mark.parametrize(
    "changes", [{"format": "another"}, {"format_version": 2}, {"format_version": None}]
)
def test_a_run_of_another_format(run, changes):
    edit(run / "run.json", **changes)
    with pytest.raises(ValueError, match=r"not a run of format 1 of tl_negation; scan again with"):
        load_result(run)


def test_json_that_is_no_manifest(run):
    (run / "run.json").write_text("[1, 2]", "utf-8")
    with pytest.raises(ValueError, match="not a run of format 1"):
        load_result(run)


@pytest.mark.parametrize("key", ["sites", "layers", "contexts", "provenance"])
def test_a_manifest_that_lacks_something(run, key):
    manifest = json.loads((run / "run.json").read_text("utf-8"))
    del manifest[key]
    (run / "run.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ValueError, match=rf"run\.json is damaged \(it lacks {key}\); scan again"):
        load_result(run)


def test_files_that_do_not_fit_each_other(run, result):
    edit(run / "run.json", layers=[2, 5])
    with pytest.raises(ValueError, match=r"should hold 70 rows .*; it holds 105 with layer, site,"):
        load_result(run)
    result.save(run, overwrite=True)
    units = pd.read_parquet(run / "units.parquet")
    units.drop(columns="auc").to_parquet(run / "units.parquet")
    with pytest.raises(ValueError, match=r"should hold 105 rows with the columns status, .*auc"):
        load_result(run)


def test_contexts_that_do_not_fit_the_run(run, result):
    examples = pd.read_parquet(run / "contexts.parquet")
    examples.iloc[:5].to_parquet(run / "contexts.parquet")
    with pytest.raises(ValueError, match=r"contexts\.parquet should hold 61 rows .*; it holds 5 "):
        load_result(run)
    examples.drop(columns="tokens").to_parquet(run / "contexts.parquet")
    with pytest.raises(ValueError, match=r"should hold 61 rows with the columns .*tokens; it hold"):
        load_result(run)


def test_a_damaged_display(full, tmp_path):
    run = full.save(tmp_path / "run")
    (run / "display.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"display\.parquet is damaged"):
        load_result(run)


# ------------------------------------------------------------------ all of it or nothing


def test_an_earlier_run_is_replaced_only_if_asked_for(run, result):
    (run / "extra.txt").write_text("of the earlier run")
    with pytest.raises(FileExistsError, match=r"already holds a run; .*--overwrite"):
        result.save(run)
    assert (run / "extra.txt").exists()
    result.save(run, overwrite=True)
    assert listing(run) == ["contexts.parquet", "run.json", "units.parquet"]
    assert listing(run.parent) == ["run", *(f"run/{name}" for name in listing(run))]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_run_is_never_replaced(result, tmp_path, overwrite):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds files but no run\.json, .* left alone"):
        result.save(tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(FileExistsError, match=r"file is a file, name another"):
        result.save(tmp_path / "file", overwrite=overwrite)
    assert listing(tmp_path) == ["file", "mine", "mine/thesis.tex"]


@pytest.mark.parametrize("name", [".", ".."])
def test_the_working_directory_has_no_name_to_take(name):
    with pytest.raises(FileExistsError, match=r"needs a directory with a name of its own; got "):
        check_target(name)


def test_an_empty_directory_is_taken(result, tmp_path):
    (tmp_path / "run").mkdir()
    check_target(tmp_path / "run")
    check_target(tmp_path / "not there")
    assert_same(load_result(result.save(tmp_path / "run")), result)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_an_interrupted_directory_leaves_nothing(run, result, error, there):
    target = run if there else run.parent / "other"
    before = {path: path.read_bytes() for path in run.iterdir()}

    def half_done():
        with whole_directory(target, overwrite=True) as folder:
            (folder / "run.json").write_text("half")
            raise error

    with pytest.raises(error):
        half_done()
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert [path.name for path in run.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_earlier_run_survives_a_failed_replacement(run, result, monkeypatch, error):
    rename = Path.replace

    def fails(self, target):
        if self.name == "new":
            raise error("in the middle of it")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    other = result.with_columns(result.columns, changed=True)
    with pytest.raises(error, match="in the middle of it"):
        other.save(run, overwrite=True)
    monkeypatch.undo()
    loaded = load_result(run)
    assert_same(loaded, result)
    assert "changed" not in loaded.provenance
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_run_that_came_meanwhile_is_kept(result, tmp_path):
    def race():
        with whole_directory(tmp_path / "run") as folder:
            (folder / "run.json").write_text("late")
            result.save(tmp_path / "run")

    with pytest.raises(FileExistsError, match="already holds a run"):
        race()
    assert_same(load_result(tmp_path / "run"), result)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "table.csv"
    with whole_file(target) as path:
        path.write_text("first")

    def half_done():
        with whole_file(target) as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    assert target.read_text() == "first"
    assert listing(tmp_path) == ["new", "new/table.csv"]
