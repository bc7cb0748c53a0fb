"""A run that takes another's place: all of it or nothing, and nothing that is not ours."""

from pathlib import Path

import pytest
from helpers import synthetic
from helpers.directories import assert_same, listing

from tl_negation import load_result
from tl_negation._shared.files import check_target, whole_directory, whole_file


@pytest.fixture(scope="module")
def result():
    return synthetic.result(*synthetic.every_outcome())


@pytest.fixture(scope="module")
def full(result):
    return synthetic.full(result)


@pytest.fixture
def run(result, tmp_path):
    return result.save(tmp_path / "run")


def test_an_earlier_run_is_replaced_only_if_asked_for(run, full):
    with pytest.raises(FileExistsError, match=r"already holds a run; .*--overwrite"):
        full.save(run)
    assert listing(run) == ["contexts.parquet", "run.json", "units.parquet"]
    full.save(run, overwrite=True)
    assert len(listing(run)) == 4 + len(full.tables)
    assert listing(run.parent) == ["run", *(f"run/{name}" for name in listing(run))]


def test_only_what_a_run_wrote_is_replaced(run, result, full):
    full.save(run, overwrite=True)
    (run / "notes").mkdir()
    (run / "notes" / "mine.txt").write_text("mine")
    (run / "mine.txt").symlink_to("notes/mine.txt")
    result.save(run, overwrite=True)
    assert listing(run) == [
        "contexts.parquet", "mine.txt", "notes", "notes/mine.txt", "run.json", "units.parquet",
    ]  # fmt: skip
    assert (run / "mine.txt").is_symlink()
    assert (run / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["{}", "[]", "not JSON", '{"format": "another"}'])
def test_a_directory_with_somebody_elses_run_json_is_never_replaced(result, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(FileExistsError, match=r"run\.json is not that of a run of tl_negation"):
        result.save(tmp_path, overwrite=True)
    assert (tmp_path / "run.json").read_text() == content


def test_a_damaged_run_of_ours_may_be_replaced(run, result):
    (run / "run.json").write_bytes((run / "run.json").read_bytes()[:400])
    assert_same(load_result(result.save(run, overwrite=True)), result)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_not_a_run_is_never_replaced(result, tmp_path, overwrite):
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
