"""A stored scan of more and more contexts: memory stays flat, time grows with the contexts.

A random GPT-2 (4 layers, 64 wide) collects q, k, v and mlp_pre into a store and probes every unit
from there; each number of contexts in a process of its own.

    python tests/benchmarks/bench_store.py --json store.json

Memory is what the process holds of its own beyond what it held before (RssAnon of proc(5), asked
for every few milliseconds): the pages of the mapped file are not in it, since the system takes
them back whenever it needs the room. Collecting into memory and probing there is measured beside
it, at the smaller numbers of contexts.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import _common
from bench_extraction import VOCABULARY, save_random
from transformers.utils import logging as transformers_logging

from tl_negation import collect, load_activations, load_model, probe
from tl_negation.models.identity import identity_of

SITES = ("q", "k", "v", "mlp_pre")
CONTEXTS = (12_500, 25_000, 50_000, 100_000)
WINDOW = 16


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contexts", type=int, nargs="+", default=CONTEXTS)
    parser.add_argument("--in-memory-up-to", type=int, default=50_000)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    facts = _common.machine("transformer-lens", "pyarrow")
    _common.show_machine(facts)
    rows = []
    for n in args.contexts:
        for stored in (True, False) if n <= args.in_memory_up_to else (True,):
            with _common.CONSOLE.status(f"{n:,} contexts, {'stored' if stored else 'in memory'}"):
                rows.append(
                    _common.in_fresh_process(
                        measure, n, stored, args.layers, args.width, args.batch
                    )
                )
    _show(rows, args)
    settings = {**vars(args), "json": None, "sites": SITES, "window": WINDOW}
    _common.write_json(args.json, {"machine": facts, "settings": settings, "rows": rows})


def measure(n: int, stored: bool, layers: int, width: int, batch: int) -> dict[str, Any]:
    """Seconds, memory and bytes on the disk of one scan."""
    transformers_logging.disable_progress_bar()
    contexts = _common.examples(n, VOCABULARY)
    end = contexts.before + 1
    tokens = contexts.tokens[:, end - WINDOW : end].clone()
    contexts = replace(contexts, tokens=tokens, before=WINDOW - 1)
    warm = replace(contexts, tokens=tokens[:64], examples=contexts.examples[:64])
    with tempfile.TemporaryDirectory(prefix="bench_store_") as folder:
        shape = {"n_layer": layers, "n_embd": width, "n_head": 4, "n_positions": WINDOW}
        save_random(shape, Path(folder) / "model")
        model = load_model(Path(folder) / "model", device="cpu")
        probe(collect(model, warm, SITES, batch_size=batch, progress=False), progress=False)
        store = Path(folder) / "store" if stored else None
        kept: list[Any] = []

        def run() -> None:
            kept[:] = [
                collect(model, contexts, SITES, batch_size=batch, store=store, progress=False)
            ]

        def fit() -> None:
            probe(load_activations(store) if stored else kept[0], progress=False)

        collected, fitted = _common.watched(run), _common.watched(fit)
        opened = {
            name: _common.clock(partial(load_activations, store, verify=verify)) if stored else None
            for name, verify in (("checked", True), ("unchecked", False))
        }
        identity = _common.clock(partial(identity_of, model))
        disk = sum(path.stat().st_size for path in store.iterdir()) if stored else 0
    values = 4 * kept[0].values.numel()
    return {
        "contexts": n, "stored": stored, "collect": collected, "probe": fitted,
        "disk_bytes": disk, "activations_bytes": values, "open_s": opened,
        "identity_s": identity, "weights_bytes": sum(w.nbytes for w in model.parameters()),
    }  # fmt: skip


def _show(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    cells = [
        (
            f"{row['contexts']:,} {'stored' if row['stored'] else 'in memory'}",
            f"{row['activations_bytes'] / 1e6:,.0f}",
            *(
                f"{row[stage]['seconds']:.1f} ({row[stage]['cpu_seconds']:.1f})"
                for stage in ("collect", "probe")
            ),
            *(f"{row[stage]['anonymous_bytes'] / 1e6:,.0f}" for stage in ("collect", "probe")),
            f"{row['disk_bytes'] / 1e6:,.0f}" if row["stored"] else "-",
            *(f"{seconds:.2f}" if row["stored"] else "-" for seconds in row["open_s"].values()),
        )
        for row in rows
    ]
    _common.show_table(
        f"GPT-2 of {args.layers} layers, {args.width} wide; windows of {WINDOW} tokens",
        (
            "contexts", "activations, MB", "collect, s (CPU)", "probe, s (CPU)", "collect, own MB",
            "probe, own MB", "disk, MB", "opened and checked, s", "opened, s",
        ),
        cells,
    )  # fmt: skip


if __name__ == "__main__":
    main()
