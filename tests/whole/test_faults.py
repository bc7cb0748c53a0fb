"""Runs that die, disks that fill up, files that rot: nothing is lost, nothing wrong is read."""

import json
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import crash_cases, tiny_models
from helpers.child_process import environment

import tl_negation as tln
from tl_negation._shared.files import one_writer
from tl_negation._shared.sealed import read_sealed, sealed
from tl_negation.activations.collect import collect, load_activations
from tl_negation.probing.results import load_result

pytestmark = pytest.mark.slow
KILLED = -signal.SIGKILL
N = 11
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.gpt2_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder):
    return tiny_models.load(folder)


@pytest.fixture(scope="module")
def expected(model, tmp_path_factory):
    """The store of a run that nothing disturbed."""
    return stored(model, tmp_path_factory.mktemp("whole") / "it")


def stored(model, store):
    options = {"batch_size": crash_cases.BATCH, "store": store, "progress": False}
    collect(model, tiny_models.contexts(n=N), crash_cases.SITES, **options)
    return store


def mounted(folder):
    """Whether a disk of 1 MB could be mounted there (root may, in most containers)."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    return shutil.which("mount") and subprocess.call(command, **QUIET) == 0


@pytest.fixture(scope="module")
def died(folder, tmp_path_factory):
    """What every case of crash_cases.py left behind, and how it ended."""
    work = tmp_path_factory.mktemp("died")
    for name in crash_cases.CASES:
        (work / name).mkdir()
    small = work / "disk_full"
    has_small_disk = mounted(small)
    threads = environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # one: it forks
    program = [sys.executable, crash_cases.__file__, str(folder), str(work)]
    try:
        subprocess.run(program, env=threads, check=True, capture_output=True, text=True)
        yield work
    finally:
        if has_small_disk:
            subprocess.run(["umount", str(small)], check=True)


def end(died, case):
    return json.loads((died / "ends.json").read_text())[case]


def said(died, case):
    return (died / f"{case}.err").read_text().strip().splitlines()[-1]


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------ a store


@pytest.mark.parametrize(
    ("case", "done"),
    [
        ("killed_in_the_model", 4),
        ("killed_between_values_and_manifest", 4),
        ("killed_within_the_manifest", 4),
        ("killed_at_the_beginning", 0),
        ("interrupted", 4),
        ("file_too_large", 4),
        ("disk_full", 4),
    ],
)
def test_a_collection_that_died_goes_on_to_the_same_bytes(died, model, expected, case, done):
    store = died / case / "it"
    assert end(died, case) == (KILLED if "killed" in case else 1)
    assert json.loads((store / "manifest.json").read_text())["done"] == done
    (died / case / "filler").unlink(missing_ok=True)
    calls = []
    handle = model.register_forward_pre_hook(tiny_models.as_librarys(lambda *_: calls.append(None)))
    stored(model, store)
    handle.remove()
    assert len(calls) == -(-(N - done) // crash_cases.BATCH)
    for name in ("values.npy", "contexts.parquet"):
        assert (store / name).read_bytes() == (expected / name).read_bytes()
    held, whole = (read_sealed(folder / "manifest.json")[0] for folder in (store, expected))
    assert held.pop("stretches")[-1][0] == whole.pop("stretches")[-1][0] == N
    assert held == whole
    assert torch.equal(load_activations(store).values, load_activations(expected).values)


@pytest.mark.parametrize("case", ["file_too_large", "disk_full"])
def test_a_full_disk_is_said(died, case):
    line = said(died, case)
    assert ("No space left" if (died / case).is_mount() else "File too large") in line
    assert f"{died / case / 'it'} holds 4 of 11 examples; make room and run again" in line


def test_an_interrupt_stays_one(died):
    assert said(died, "interrupted").startswith("KeyboardInterrupt")


def test_an_interrupted_command_leaves_no_run_and_no_traceback(died):
    assert end(died, "command_interrupted") not in (0, KILLED)
    assert left(died / "command_interrupted") == ["story.txt"]
    printed = (died / "command_interrupted.err").read_text()
    assert "contexts:" in printed  # it was at work on the model
    assert "Traceback" not in printed


def test_a_second_run_into_one_store_is_refused(died):
    assert end(died, "store_in_use") == 1
    line = said(died, "store_in_use")
    assert f"BlockingIOError: another run is writing to {died}/store_in_use/it; wait" in line
    assert left(died / "store_in_use") == []


def test_a_lock_left_by_a_killed_run_blocks_nobody(died, tmp_path):
    lock = died / "run_killed" / ".it.lock"
    assert lock.exists()
    shutil.copy(lock, tmp_path / ".it.lock")
    with (
        one_writer(tmp_path / "it"),
        pytest.raises(BlockingIOError, match="another run is writing to"),
        one_writer(tmp_path / "it"),
    ):
        pytest.fail("two writers at once")
    assert left(tmp_path) == []


@pytest.fixture
def damaged(expected, tmp_path):
    return Path(shutil.copytree(expected, tmp_path / "it"))


def refused(model, store, match):
    """Neither way of opening reads it, and the message says what to do."""
    with pytest.raises(ValueError, match=match):
        load_activations(store)
    with pytest.raises(ValueError, match=match):
        stored(model, store)


@pytest.mark.parametrize("keep", [0, 5, 64, 127, 128, 5000, -1])
def test_values_cut_short(model, damaged, keep):
    path = damaged / "values.npy"
    path.write_bytes(path.read_bytes()[:keep])
    refused(model, damaged, r"values\.npy is damaged.*; delete .* and collect again")


def test_values_that_are_no_such_array(model, damaged):
    path = damaged / "values.npy"
    np.save(path, np.zeros((3, N, 99), np.float32))
    refused(model, damaged, r"damaged.*\(float32 \(3, 11, 99\), the manifest says float32 \(3, 11")
    np.save(path, np.zeros((3, N, 100)))
    refused(model, damaged, r"damaged.*\(float64 \(3, 11, 100\), the manifest says float32")
    path.unlink()
    refused(model, damaged, r"values\.npy is damaged.*FileNotFoundError")


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_store_is_unpickled(model, damaged, tmp_path):
    trap = Trap(tmp_path / "sprung")
    np.save(damaged / "values.npy", np.array([trap], dtype=object), allow_pickle=True)
    refused(model, damaged, r"values\.npy is damaged")
    (damaged / "values.npy").write_bytes(pickle.dumps(trap))
    refused(model, damaged, r"values\.npy is damaged")
    assert not (tmp_path / "sprung").exists()


def test_a_garbled_manifest(model, damaged):
    path = damaged / "manifest.json"
    whole = path.read_bytes()
    garbled = [whole[:keep] for keep in range(0, len(whole) - 1, 97)]
    garbled += [b"\xff\xfe\x00", b"[1, 2]", b"null", b"7", b'"a"', b"{}"]
    for text in garbled:
        path.write_bytes(text)
        refused(model, damaged, r"manifest\.json is damaged, or of another version.*delete")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 3}, {"format": "2"}, {"stretches": []}, {"stretches": [[3, "a"], [3, "b"]]},
        {"stretches": [[N]]}, {"done": 3},
        {"done": N + 1}, {"done": -1}, {"done": "all"}, {"done": None},
        {"holds": []}, {"about": None}, {"about": {}}, {"batch_size_now": 0},
        {"holds": {"shape": [3, 11]}}, {"holds": {"shape": "abc"}},
        {"holds": {"shape": [0, 11, 1]}},
    ],
)  # fmt: skip
def test_a_manifest_with_other_things_in_it(model, damaged, change):
    path = damaged / "manifest.json"
    held, _ = read_sealed(path)
    path.write_text(sealed(held | change))
    refused(model, damaged, r"manifest\.json is damaged, or of another version")
    path.write_text(json.dumps(held))  # without a seal it is none of ours
    refused(model, damaged, r"manifest\.json is damaged, .*its SHA-256 is missing")


def test_damaged_contexts_matter_only_without_the_model(model, damaged):
    path = damaged / "contexts.parquet"
    whole = path.read_bytes()
    for text in (b"", whole[:100], whole[:-1], b"x" * len(whole)):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"contexts\.parquet is damaged"):
            load_activations(damaged)
    tiny_models.contexts(n=N, seed=1).to_frame().to_parquet(path)
    with pytest.raises(ValueError, match=r"damaged.*not those of the manifest"):
        load_activations(damaged)
    stored(model, damaged)


# ------------------------------------------------------------------ a run directory


def test_a_run_killed_while_it_was_written_is_not_there(died, model):
    parent = died / "run_killed"
    assert end(died, "run_killed") == KILLED
    assert not (parent / "it").exists()
    crash_cases.scanned(model, parent / "it")
    assert load_result(parent / "it").status.shape == (3, 60)


def test_an_earlier_run_outlives_a_kill_of_the_next(died):
    assert end(died, "run_replacement_killed") == KILLED
    earlier = load_result(died / "run_replacement_killed" / "it")
    assert earlier.status.shape == (3, 60)
    assert (died / "run_replacement_killed" / "it" / "report.html").exists()


def test_a_disk_that_fills_up_under_a_run_leaves_nothing(died):
    assert end(died, "run_disk_full") == 1
    assert said(died, "run_disk_full").startswith("OSError: [Errno 27] File too large")
    assert left(died / "run_disk_full") == []


def test_a_second_run_into_one_directory_is_refused_before_the_model(died):
    assert end(died, "out_in_use") == 1
    assert "BlockingIOError: another run is writing to" in said(died, "out_in_use")
    assert left(died / "out_in_use") == []


# ------------------------------------------------------------------ a model that fails


def test_a_layer_that_is_not_finite_costs_its_units_and_no_others(folder, tmp_path):
    options = {"sites": ("q", "k", "v", "mlp_pre"), "permutations": 60, "tasks": 2}
    options |= {"before": 6, "after": 2, "progress": False}
    text = tln.Text.from_string(tiny_models.story(), source="made up")
    sound = tln.scan(tiny_models.load(folder), text, **options).to_frame()
    model = tiny_models.load(folder)
    for parameter in model.blocks[2].ln1.parameters():
        parameter.fill_(torch.nan)
    for name, out, store in (
        ("memory", tmp_path / "run", None),
        ("store", None, tmp_path / "acts"),
    ):
        frame = tln.scan(model, text, out=out, store=store, **options).to_frame()
        last = frame["layer"] == 2
        assert set(frame["status"][last]) == {"nonfinite"}, name
        assert (
            frame.loc[last, ["beta", "p", "accuracy", "words_p", "held_out_accuracy"]]
            .isna()
            .all(axis=None)
        )
        assert not frame.loc[last, ["significant", "significant_words"]].any(axis=None)
        # Only what is corrected over all units together may know of the others.
        together = ("words_p_maxt", "words_q", "significant_words")
        own = [column for column in frame if column not in together]
        pd.testing.assert_frame_equal(frame.loc[~last, own], sound.loc[~last, own])
    written = load_result(tmp_path / "run").to_frame()
    assert set(written["status"][last]) == {"nonfinite"}
