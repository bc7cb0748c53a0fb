"""Kill what writes at random moments, and do it again: ``random_kills.py MODEL_FOLDER WORK KILLS``.

A moment is one of the operations on files that an undisturbed process asks the system for (as
Python's audit hooks see them: opening, renaming, removing, making a directory), so that each kill
falls between two of them, whatever the speed of the machine. What was wrong afterwards is printed
as a list in JSON.
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from helpers import crash_cases, tiny_models
from helpers.few_figures import figures

import tl_negation as tln
from tl_negation._shared.files import TEMPORARY
from tl_negation.activations import store
from tl_negation.runs import add_to_run

EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link")
TEXT = tln.Text.from_string(tiny_models.story(), source="made up")
SCAN = {"permutations": 20, "tasks": 2, "before": 6, "after": 2, "progress": False}
FEW = {"n": 2, "draws": 19, "checked": 4, "per_class": 2, "progress": False}


class Operation:
    """Something that writes a directory: how it begins, what it does, what must hold after it."""

    def __init__(self, model, whole):
        self.model, self.whole = model, whole

    def begin(self, folder):
        """Make what is there before."""

    def check_killed(self, folder):
        """Look at what a kill left, and read it."""

    def check(self, folder):
        """Look at what there is once the work has been done again."""
        assert tln.load_result(folder).to_frame().equals(tln.load_result(self.whole).to_frame())


class Collect(Operation):
    def do(self, folder):
        store.STRETCH_BATCHES = 1
        crash_cases.stored(self.model, folder)

    def check(self, folder):
        found, whole = tln.load_activations(folder), tln.load_activations(self.whole)
        assert (found.values == whole.values).all()


class Scan(Operation):
    """Over an earlier run with notes in it: one of the two is always there, and the notes."""

    seed = 0

    def begin(self, folder):
        tln.scan(self.model, TEXT, out=folder, seed=7, **SCAN)
        (folder / "notes.txt").write_text("mine")

    def do(self, folder):
        tln.scan(self.model, TEXT, out=folder, seed=self.seed, overwrite=True, **SCAN)

    def check_killed(self, folder):
        assert len(tln.load_result(folder).layers) == 3
        assert (folder / "notes.txt").read_text() == "mine"

    def check(self, folder):
        super().check(folder)
        self.check_killed(folder)


class Save(Scan):
    def __init__(self, model, whole):
        super().__init__(model, whole)
        self.result = tln.scan(model, TEXT, **SCAN)

    def do(self, folder):
        self.result.save(folder, overwrite=True)


class Ablate(Scan):
    def __init__(self, model, whole):
        super().__init__(model, whole)
        result = tln.scan(model, TEXT, seed=7, **SCAN)
        self.result = tln.add_effects(model, result, **FEW)

    def do(self, folder):
        add_to_run(self.result, folder)


def die_at(number, folder):
    """Count operations on files beside and below a directory; end the process before one."""
    beside, seen = str(folder.parent), [0]

    def hook(event, arguments):
        if event in EVENTS and beside in str(arguments[0]):
            seen[0] += 1
            if seen[0] == number:
                crash_cases.die()

    sys.addaudithook(hook)
    return seen


def moments(operation, folder):
    """Operations on files of the undisturbed work."""
    count = folder.parent / "count"

    def body():
        seen = die_at(0, folder)
        operation.do(folder)
        n = seen[0]
        count.write_text(str(n))

    assert crash_cases.code_of(body) == 0
    return int(count.read_text())


def kill_and_go_on(operation, folder, number):
    """What is wrong with the directory after a kill at this moment, or None."""

    def killed():
        die_at(number, folder)
        operation.do(folder)

    def again():
        if not isinstance(operation, Collect):
            operation.check_killed(folder)
        operation.do(folder)
        operation.check(folder)
        left = sorted(path.name for path in folder.parent.iterdir())
        assert left == [folder.name], left

    end = crash_cases.code_of(killed)
    if end != -9:
        return f"was not killed, but ended with {end}"
    for made in folder.parent.rglob(f"{TEMPORARY}*"):  # as if that was long ago
        os.utime(made, (0, 0))
    end = crash_cases.code_of(again)
    return None if end == 0 else f"ended with {end} when it was done again"


def main(model_folder, work, kills):
    with figures(every=False):  # a run's figures are files like others: a few will do
        print(json.dumps(found(model_folder, work, kills)))


def found(model_folder, work, kills):
    """Moments counted and what was wrong, as the first lines of this file say."""
    model, work, rng = tiny_models.load(Path(model_folder)), Path(work), random.Random(5)
    wrong, done = [], {}
    for kind in (Collect, Scan, Save, Ablate):
        name = kind.__name__
        whole, earlier = work / name / "whole" / "it", work / name / "earlier" / "it"
        operation = kind(model, whole)
        for folder in (whole, earlier):
            folder.parent.mkdir(parents=True)
            operation.begin(folder)
        n = moments(operation, whole)
        done[name] = n
        for number in sorted(rng.sample(range(1, n + 1), int(kills))):
            place = work / name / str(number)
            if earlier.exists():
                shutil.copytree(earlier, place / "it")
            else:
                place.mkdir()
            if what := kill_and_go_on(operation, place / "it", number):
                wrong.append(f"{name} before operation {number} of {n}: {what}")
            shutil.rmtree(place)
    return {"moments": done, "wrong": wrong}


if __name__ == "__main__":
    main(*sys.argv[1:])
