"""Several processes: each thing done once, and the same bits as one process."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import process_worker, tiny_models
from helpers.child_process import HANGS, environment
from hypothesis import given
from hypothesis import strategies as st

import tl_negation as tln
from tl_negation._shared.processes import Processes, current, use_processes
from tl_negation._shared.sealed import read_sealed
from tl_negation.activations import store as store_module
from tl_negation.fitting import engine

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
LAUNCH += ["--main_process_port", "0"]  # any that is free
OPTIONS = {"before": 6, "after": 2, "permutations": 60, "tasks": 2}


@pytest.fixture
def one_thread():
    """As many as accelerate gives each process: sums in another order would differ in a bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def launched(*arguments):
    command = [*LAUNCH, *map(str, arguments)]
    options = {
        "env": environment(OMP_NUM_THREADS="1", COLUMNS="100"),
        "capture_output": True,
        "text": True,
        "timeout": HANGS,
    }
    return subprocess.run(command, check=False, **options)


@given(
    n=st.integers(0, 200),
    whole=st.integers(1, 20),
    count=st.integers(1, 9),
    extra=st.integers(0, 3),
)
def test_shares_cover_everything_once_in_whole_batches(n, whole, count, extra):
    shares = [Processes(index, count).share(n, whole) for index in range(count)]
    assert [i for share in shares for i in range(n)[share]] == list(range(n))
    assert all(share.start % whole == 0 or share.start == n for share in shares)
    assert shares == [Processes(extra % count, count).share(n, whole, i) for i in range(count)]
    batches = [-(-len(range(n)[share]) // whole) for share in shares]
    assert max(batches) - min(batches) <= 1


def test_one_process_is_by_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = use_processes()
    assert alone == current() == Processes(0, 1, None)
    assert alone.is_main
    alone.wait()
    part = torch.arange(3)
    assert alone.join(part, 3) is part
    alone.end()


@pytest.mark.slow
def test_the_command_gives_the_same_run_as_one_process(tmp_path, one_thread):
    folder = tiny_models.gpt2_folder(tmp_path, n_embd=200)  # more than one block of units
    (tmp_path / "story.txt").write_text(tiny_models.story(), encoding="utf-8")
    one, two, text = tmp_path / "one", tmp_path / "two", tmp_path / "story.txt"
    options = [part for name, n in OPTIONS.items() for part in (f"--{name}", n)]
    ended = launched(
        "-m", "helpers.few_figures", "scan",
        "--model", folder, "--text", text, "--out", two, *options,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    tln.scan(str(folder), text, out=one, progress=False, **OPTIONS)
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for name in names:
        if name.suffix in (".parquet", ".csv"):
            assert (two / name).read_bytes() == (one / name).read_bytes(), name
    runs = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    for run in runs:
        run["provenance"].pop("seconds")
        del run["sha256"], run["files"]["report.html"]  # the page shows the seconds
    assert runs[0] == runs[1]
    # Printed once, and one bar per stage, to its end.
    assert ended.stdout.count("Units from which the class is decodable") == 1
    assert ended.stderr.count("selectivity: 100%") == 1
    assert not list(tmp_path.glob(".*"))  # no lock, nothing half-written


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The work of two processes, the last of which failed; and of one, beside it."""
    work = tmp_path_factory.mktemp("shared")
    folder = tiny_models.gpt2_folder(work)
    model = tiny_models.load(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "STRETCH_BATCHES", process_worker.STRETCH)
        _begin(model, work / "begun", patch)
        ended = launched(process_worker.__file__, folder, work)
    return work, model, ended


def _collect(model, name="memory", **options):
    contexts = process_worker.contexts_of(name, model)
    options = {"batch_size": process_worker.BATCH, "progress": False, **options}
    return tln.collect(model, contexts, process_worker.SITES, **options)


def _begin(model, store, patch):
    """Let one process collect a part of a store and die."""
    forward, calls = model.forward, []

    def dying(*args, **kwargs):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    patch.setattr(model, "forward", tiny_models.as_librarys(dying))
    with pytest.raises(KeyboardInterrupt):
        _collect(model, store=store)
    patch.setattr(model, "forward", forward)
    assert json.loads((store / "manifest.json").read_text())["done"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["examples", "memory", "begun", "new"])
def test_every_process_has_the_values_and_columns_of_one(shared, monkeypatch, one_thread, name):
    work, model, _ = shared
    acts = _collect(model, name)
    few = engine.ROWS._replace(units=process_worker.UNITS)
    monkeypatch.setitem(engine.ENGINES, "cpu", few)
    result = tln.held_out(tln.probe(acts, progress=False), progress=False)
    columns = result.to_frame().drop(columns=["site", "status"]).to_numpy(np.float64)
    for index in (0, 1):
        with np.load(work / f"{name}-{index}.npz") as found:
            np.testing.assert_array_equal(found["values"], acts.values)
            np.testing.assert_array_equal(found["columns"], columns)


@pytest.mark.slow
def test_a_store_of_two_processes_is_that_of_one(shared, monkeypatch, tmp_path):
    work, model, _ = shared
    _collect(model, store=tmp_path / "one")
    for name in ("begun", "new"):
        for file in ("values.npy", "contexts.parquet"):
            assert (work / name / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
        two, one = (
            read_sealed(folder / "manifest.json")[0] for folder in (work / name, tmp_path / "one")
        )
        assert two.pop("stretches")[-1][0] == one.pop("stretches")[-1][0]
        assert two == one


@pytest.mark.slow
def test_fewer_blocks_than_processes_are_computed_by_each(shared, monkeypatch, one_thread):
    work, model, _ = shared
    beta = tln.probe(_collect(model), progress=False).beta
    for index in (0, 1):
        np.testing.assert_array_equal(np.load(work / f"whole-{index}.npy"), beta)


@pytest.mark.slow
def test_a_process_that_fails_does_not_leave_the_other_waiting(shared):
    work, _, ended = shared
    assert ended.returncode != 0
    assert "process 1 fails" in ended.stderr
    assert not (work / "waited-for-nobody").exists()
