"""What ``tests/_shared/test_processes.py`` lets two processes do.

Run as ``accelerate launch process_worker.py MODEL WORK``. Collects into memory and into a store
that one process began, probes, and leaves the values and columns of each process in WORK; then
process 1 fails where the other waits for it.
"""

import sys
from pathlib import Path

import numpy as np
from helpers import tiny_models

import tl_negation as tln
from tl_negation.activations import store as store_module
from tl_negation.fitting import engine

SITES, N, BATCH, STRETCH, UNITS = ("q", "mlp_pre"), 23, 2, 2, 24


def contexts_of(name, model):
    """Occurrences in a story, or labelled texts of three lengths."""
    if name != "examples":
        return tiny_models.contexts(n=N)
    rows = [
        {
            "text": f"He can{' not' * (i % 2)} see it{', and you may go' * (i % 3)}",
            "polarity": ("affirmed", "negated")[i % 2],
        }
        for i in range(N)
    ]
    return tln.examples(rows, model.tokenizer, label="polarity")


def main(model_folder, work):
    processes, work = tln.use_processes(), Path(work)
    assert processes is tln.use_processes()
    assert processes.count == 2
    store_module.STRETCH_BATCHES = STRETCH
    engine.ENGINES["cpu"] = engine.ROWS._replace(units=UNITS)
    model = tiny_models.load(Path(model_folder))
    options = {"batch_size": BATCH, "progress": False}
    stores = {"examples": None, "memory": None, "begun": work / "begun", "new": work / "new"}
    for name, store in stores.items():
        acts = tln.collect(model, contexts_of(name, model), SITES, store=store, **options)
        result = tln.held_out(tln.probe(acts, progress=False), progress=False)
        frame = result.to_frame().drop(columns=["site", "status"])
        np.savez(
            work / f"{name}-{processes.index}.npz",
            values=acts.values.numpy(),
            columns=frame.to_numpy(np.float64),
        )
    # One more example than fits evenly, and fewer blocks than processes: each computes them all.
    engine.ENGINES["cpu"] = engine.ROWS._replace(units=10_000)
    np.save(work / f"whole-{processes.index}.npy", tln.probe(acts, progress=False).beta.numpy())
    processes.wait()
    if processes.index == 1:
        sys.exit("process 1 fails")
    processes.wait()
    (work / "waited-for-nobody").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
