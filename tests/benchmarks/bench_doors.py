"""Own sentences without padding against padded batches; features of an encoder, streamed.

    python tests/benchmarks/bench_doors.py

Sentences of 5 to 60 tokens go through a random GPT-2, once as ``examples`` and ``collect`` run
them, and once as one would otherwise: batches in the order of the table, padded on the right, all
positions of the wanted hooks kept by ``run_with_cache`` and the last one taken. Then 65,536
features of the residual stream of twelve layers are collected into a store; memory is what the
process holds of its own beyond what it held before (see bench_store.py).
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from bench_extraction import VOCABULARY, save_random
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers.utils import logging as transformers_logging

import tl_negation as tln

SITES = ("q", "k", "v")
SHORTEST, LONGEST = 5, 60


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--features", type=int, default=65_536)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    facts = _common.machine("transformer-lens", "transformers")
    _common.show_machine(facts)
    sentences = {
        how: _common.in_fresh_process(sentences_of, how, args.sentences, args.batch)
        for how in ("collect", "padded")
    }
    _common.show_table(
        f"{args.sentences:,} sentences of {SHORTEST} to {LONGEST} tokens; 4 layers, 256 wide",
        ("how", "seconds", "own memory, MB"),
        [
            (how, f"{row['seconds']:.1f}", f"{row['anonymous_bytes'] / 1e6:,.0f}")
            for how, row in sentences.items()
        ],
    )
    ratio = sentences["padded"]["seconds"] / sentences["collect"]["seconds"]
    apart = np.abs(sentences["padded"]["some"] - sentences["collect"]["some"]).max()
    _common.CONSOLE.print(f"padded takes {ratio:.2f} times as long; values differ by {apart:.1e}")
    features = _common.in_fresh_process(features_of, args.features, args.examples)
    _common.show_table(
        f"{args.features:,} features of 12 layers, {args.examples} examples, in a store",
        ("all values, MB", "one layer, MB", "collect, s, MB", "probe, s, MB"),
        [
            (
                f"{features['bytes'] / 1e6:,.0f}",
                f"{features['bytes'] / 12e6:,.0f}",
                *(
                    f"{row['seconds']:.1f}, {row['anonymous_bytes'] / 1e6:,.0f}"
                    for row in (features["collect"], features["probe"])
                ),
            )
        ],
    )
    for row in sentences.values():
        row.pop("some")
    report = {"machine": facts, "sentences": sentences, "features": features}
    _common.write_json(args.json, report)


def load(folder: str, **shape: int) -> Any:
    """A random GPT-2 whose tokenizer splits at white space."""
    transformers_logging.disable_progress_bar()
    save_random({"n_head": 4, "n_positions": 128, **shape}, Path(folder) / "model")
    model = tln.load_model(Path(folder) / "model", device="cpu")
    model.tokenizer.backend_tokenizer.pre_tokenizer = WhitespaceSplit()
    return model


def table_of(n: int) -> list[dict[str, Any]]:
    """Random sentences with alternating labels."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, n)
    words = [rng.integers(0, VOCABULARY - 1, length) for length in lengths]
    return [
        {"text": " ".join(f"w{word}" for word in sentence), "label": i % 2}
        for i, sentence in enumerate(words)
    ]


def sentences_of(how: str, n: int, batch: int) -> dict[str, Any]:
    """Seconds and memory of one way through the sentences, and some of the values."""
    with tempfile.TemporaryDirectory(prefix="bench_doors_") as folder:
        model = load(folder, n_layer=4, n_embd=256)
    table = table_of(n)
    kept: list[torch.Tensor] = []

    def collected(rows: list[dict[str, Any]]) -> None:
        contexts = tln.examples(rows, model.tokenizer, prepend_bos=False)
        kept[:] = [tln.collect(model, contexts, SITES, batch_size=batch, progress=False).values]

    def padded(rows: list[dict[str, Any]]) -> None:
        names = tln.hook_names(model, SITES)
        parts = []
        for start in range(0, len(rows), batch):
            texts = [row["text"] for row in rows[start : start + batch]]
            ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
            longest = max(map(len, ids))
            tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
            last = torch.tensor([len(row) - 1 for row in ids])
            with torch.inference_mode():
                _, cache = model.run_with_cache(tokens, names_filter=names, return_type=None)
            by_layer = [
                torch.cat(
                    [
                        cache[f"blocks.{layer}.attn.hook_{site}"][torch.arange(len(last)), last]
                        for site in SITES
                    ],
                    dim=1,
                ).flatten(1)
                for layer in range(4)
            ]
            parts.append(torch.stack(by_layer))
        kept[:] = [torch.cat(parts, dim=1)]

    run = {"collect": collected, "padded": padded}[how]
    run(table[:64])
    found = _common.watched(lambda: run(table))
    return {**found, "some": kept[0][:, :50].numpy()}


class Encoder(torch.nn.Module):
    """The first half of a random sparse autoencoder."""

    def __init__(self, width: int, features: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width, features) / width**0.5)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight - 1).relu()


def features_of(features: int, n: int) -> dict[str, Any]:
    """Seconds and memory of features that are streamed into a store, and of their probe."""
    with tempfile.TemporaryDirectory(prefix="bench_doors_") as folder:
        model = load(folder, n_layer=12, n_embd=128)
        encoder = Encoder(128, features)
        contexts = tln.examples(table_of(n), model.tokenizer, prepend_bos=False)
        store = Path(folder) / "acts"

        def collected() -> None:
            made = {"sae": ("resid_post", encoder.encode)}
            tln.collect(
                model, contexts, ("q",), features=made, batch_size=16, store=store, progress=False
            )

        def probed() -> None:
            tln.probe(tln.load_activations(store, verify=False), progress=False)

        found = {"collect": _common.watched(collected), "probe": _common.watched(probed)}
        return {**found, "bytes": 4 * 12 * n * features}


if __name__ == "__main__":
    main()
