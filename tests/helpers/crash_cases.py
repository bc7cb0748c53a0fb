"""Processes that die at a chosen moment: ``python crash_cases.py MODEL_FOLDER WORK_FOLDER``.

Loads a tiny model once and forks a process per case, since loading takes most of the time. How
each ended is in WORK_FOLDER/ends.json (the signal as a negative number, or the exit code),
what it printed in WORK_FOLDER/CASE.err.
"""

import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")

from helpers import tiny_models
from matplotlib.figure import Figure

import tl_negation as tln
from tl_negation._shared.files import one_writer
from tl_negation.activations import store
from tl_negation.commands import main as command_line

#: What the cases collect, and how: 11 examples in batches of 2, four to an entry in the manifest.
SITES, BATCH, STRETCH = ("q", "mlp_pre"), 2, 2
QUICK = {"before": 6, "after": 2, "words": False, "progress": False}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, number, action):
    """Do something before the call of a function that has this number."""
    original, calls = getattr(owner, name), []

    def counted(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            action()
        return original(*args, **kwargs)

    setattr(owner, name, tiny_models.as_librarys(counted))


def stored(model, folder):
    store.STRETCH_BATCHES = STRETCH
    contexts = tiny_models.contexts(n=11)
    tln.collect(model, contexts, SITES, batch_size=BATCH, store=folder, progress=False)


def scanned(model, folder, **options):
    tln.scan(
        model,
        tln.Text.from_string(tiny_models.story(), source="made up"),
        out=folder,
        **QUICK,
        **options,
    )


def killed_in_the_model(model, folder):
    at_call(model, "forward", 4, die)
    stored(model, folder)


def killed_between_values_and_manifest(model, folder):
    at_call(os, "fsync", 5, die)  # manifest twice, values, manifest, values
    stored(model, folder)


def killed_within_the_manifest(model, folder):
    sealed, calls = store.sealed, []

    def half(content):
        calls.append(content)
        return sealed(content)[: 300 if len(calls) == 4 else None]

    store.sealed = half
    at_call(os, "fsync", 6, die)  # manifest twice, values, manifest, values, half a manifest
    stored(model, folder)


def killed_at_the_beginning(model, folder):
    """The manifest is there, the values are not."""
    at_call(store.np.lib.format, "open_memmap", 1, die)
    stored(model, folder)


def interrupted(model, folder):
    at_call(model, "forward", 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    stored(model, folder)


def limit(size=2000):
    """Let no file grow beyond this many bytes, as a full quota does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def command_interrupted(model, folder):
    """The command ``scan``, which is stopped from the keyboard in the model's fourth batch."""
    text = folder.parent / "story.txt"
    text.write_text(tiny_models.story(), "utf-8")
    at_call(type(model), "forward", 4, lambda: os.kill(os.getpid(), signal.SIGINT))
    options = ("--batch-size", str(BATCH), "--before", "6", "--after", "2")
    name = tln.describe_model(model)["name"]
    arguments = ["scan", "--model", name, "--text", text, "--out", folder, *options]
    sys.argv = ["tl-negation", *map(str, arguments)]
    command_line()


def file_too_large(model, folder):
    at_call(model, "forward", 3, limit)
    stored(model, folder)


def disk_full(model, folder):
    """On the small disk, which somebody else fills meanwhile; a quota where there is none."""
    filler = folder.parent / "filler"

    def fill():
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    at_call(model, "forward", 3, fill if folder.parent.is_mount() else limit)
    stored(model, folder)


def store_in_use(model, folder):
    with one_writer(folder):
        in_a_process(lambda: stored(model, folder))


def out_in_use(model, folder):
    with one_writer(folder):
        in_a_process(lambda: scanned("no-such-model", folder))


def run_killed(model, folder):
    at_call(Figure, "savefig", 2, die)
    scanned(model, folder)


def run_replacement_killed(model, folder):
    scanned(model, folder, seed=7)
    at_call(Figure, "savefig", 2, die)
    scanned(model, folder, overwrite=True)


def run_disk_full(model, folder):
    at_call(pd.DataFrame, "to_csv", 1, lambda: limit(20_000))
    scanned(model, folder)


def in_a_process(body):
    """Run in a fork, and exit as it ended."""
    sys.exit(code_of(body))


def code_of(body):
    """Run in a fork: its exit code, or the signal that ended it as a negative number."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 0
    try:
        body()
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        limit(resource.RLIM_INFINITY)  # or it would cut what is printed, too
        traceback.print_exc()
        code = 1
    os._exit(code)


def end_of(case, model, folder, log):
    """How a process of this case ended."""

    def body():
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
        case(model, folder)

    return code_of(body)


CASES = {
    case.__name__: case
    for case in (
        killed_in_the_model, killed_between_values_and_manifest, killed_within_the_manifest,
        killed_at_the_beginning, interrupted, command_interrupted, file_too_large, disk_full,
        store_in_use, out_in_use, run_killed, run_replacement_killed, run_disk_full,
    )
}  # fmt: skip


def main(model_folder, work):
    model, work = tiny_models.load(Path(model_folder)), Path(work)
    # A shell that starts programs in the background lets them ignore what a keyboard sends.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ends = {}
    for name, case in CASES.items():
        ends[name] = end_of(case, model, work / name / "it", work / f"{name}.err")
    (work / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(*sys.argv[1:])
