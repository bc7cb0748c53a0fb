"""Where files may be written, and what a killed process leaves."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.child_process import environment

from tl_negation._shared.files import (
    TEMPORARY,
    check_file,
    check_name,
    check_target,
    expanded,
    recover,
    whole_directory,
    whole_file,
)
from tl_negation._shared.sealed import read_sealed

RUN = '{"format": "tl_negation run", "format_version": 3, "what": "%s"}'


def write_run(folder, what, **options):
    with whole_directory(folder, **options) as new:
        (new / "run.json").write_text(RUN % what)
        (new / "table.csv").write_text(what)


def what_is(folder):
    return read_sealed(folder / "run.json")[0]["what"]


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ what may not be written to


@pytest.mark.parametrize("check", [check_file, check_target])
def test_a_link_to_nothing_is_refused(tmp_path, check):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileExistsError, match="link is a link to nothing; remove it, or name ano"):
        check(tmp_path / "link")
    with pytest.raises(FileNotFoundError, match=r"link/new lies in .*link, which is a link to"):
        check(tmp_path / "link" / "new")


@pytest.mark.parametrize("check", [check_file, check_target])
def test_a_name_that_is_too_long_is_refused(tmp_path, check):
    with pytest.raises(OSError, match=r"a name has at most 249 bytes here; shorten 'x{40}'"):
        check(tmp_path / ("x" * 300))
    with pytest.raises(OSError, match="a name has at most 249 bytes"):
        check(tmp_path / ("\u00e9" * 140) / "run")
    check(tmp_path / ("x" * 249))


@pytest.mark.parametrize("check", [check_file, check_target])
def test_a_file_is_no_folder(tmp_path, check):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"lies in .*file, which is a file, not a"):
        check(tmp_path / "file" / "a" / "b")


@pytest.mark.parametrize("check", [check_file, check_target])
def test_a_mount_point_cannot_be_replaced(monkeypatch, tmp_path, check):
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "disk")
    with pytest.raises(FileExistsError, match="disk is a mount point, which cannot be replaced"):
        check(tmp_path / "disk")


def test_a_folder_that_may_not_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"new cannot be written: .* may not be written to"):
        check_name(tmp_path / "new")


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path, tmp_path / "link"):
        with pytest.raises(FileExistsError, match="is no regular file and is left as it is"):
            check_file(path)
    assert pipe.is_fifo()


def test_a_link_to_a_file_stays_one(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with whole_file(tmp_path / "link") as path:
        path.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_home_is_expanded_and_missing_folders_are_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with whole_file("~/a/b/file") as path:
        path.write_text("new")
    write_run("~/c/run", "new")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"
    assert what_is(tmp_path / "c" / "run") == "new"
    assert expanded("~/x") == tmp_path / "x"
    with pytest.raises(ValueError, match=r"'~nobody-of-that-name/x' names a home directory"):
        expanded("~nobody-of-that-name/x")


# ------------------------------------------------------------------ what a kill leaves

DIE = """
import os, sys
from pathlib import Path
from tl_negation._shared import files
folder, die_at = Path(sys.argv[1]), int(sys.argv[2])
rename, calls = Path.replace, []
def counted(self, target):
    calls.append(target)
    if len(calls) == die_at:
        os._exit(9)
    return rename(self, target)
Path.replace = counted
with files.whole_directory(folder, overwrite=True) as new:
    (new / "run.json").write_text('{"format": "tl_negation run", "what": "new"}')
    if die_at == 0:
        os._exit(9)
"""


@pytest.mark.parametrize(
    ("moment", "found"), [(0, "old"), (1, "old"), (2, "new")]
)  # while it is written; before the earlier run goes; when neither is there
@pytest.mark.parametrize("next_step", ["recover", "write"])
def test_a_run_is_never_at_neither_path(tmp_path, moment, found, next_step):
    run = tmp_path / "run"
    write_run(run, "old")
    (run / "notes.txt").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", DIE, run, str(moment)], env=environment(), check=False
    )
    assert done.returncode == 9
    assert run.exists() == (moment < 2)
    assert len(left(tmp_path)) == 1 + (moment < 2)
    if next_step == "recover":
        recover(run)
        assert what_is(run) == found
    else:
        with pytest.raises(FileExistsError, match="already holds a run"):
            write_run(run, "third")
        assert what_is(run) == found
        write_run(run, "third", overwrite=True)
        assert what_is(run) == "third"
    assert (run / "notes.txt").read_text() == "mine"
    assert left(tmp_path) == ["run"]


def test_what_a_living_process_writes_is_not_swept(tmp_path):
    began, may_end = threading.Event(), threading.Event()

    def slow():
        with whole_directory(tmp_path / "other") as new:
            (new / "run.json").write_text(RUN % "slow")
            began.set()
            may_end.wait(60)

    thread = threading.Thread(target=slow)
    thread.start()
    assert began.wait(60)
    write_run(tmp_path / "run", "quick")
    recover(tmp_path / "other")
    may_end.set()
    thread.join(60)
    assert what_is(tmp_path / "other") == "slow"
    assert left(tmp_path) == ["other", "run"]


def test_what_was_killed_as_it_was_made_is_swept_when_it_is_old(tmp_path):
    young, old = tmp_path / f"{TEMPORARY}a", tmp_path / f"{TEMPORARY}b"
    young.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    recover(tmp_path / "run")
    assert left(tmp_path) == [young.name]


def test_nothing_of_somebody_elses_is_recovered(tmp_path):
    """A temporary directory that names a path elsewhere puts nothing there."""
    made = tmp_path / "here" / f"{TEMPORARY}a"
    (made / "new").mkdir(parents=True)
    (made / "complete").touch()
    (made / "target").write_text("../elsewhere")
    recover(tmp_path / "here" / "run")
    assert not (tmp_path / "elsewhere").exists()
    assert left(tmp_path / "here") == ["elsewhere"]
