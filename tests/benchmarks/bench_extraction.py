"""Extraction against the reference's forward pass, on random weights of GPT-2's shapes.

The reference keeps every position of every ``attn.c_attn`` while Hugging Face's GPT2LMHeadModel
runs 101 tokens to the logits, 8 contexts at a time. Ours is ``tl_negation.collect``.

    python tests/benchmarks/bench_extraction.py --json extraction.json
    python tests/benchmarks/bench_extraction.py --full --json full.json

``--full`` runs GPT-2 Large's shape and 398 contexts from tokens to a probed result, on a GPU if
there is one.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _common
import torch
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from tl_negation.activations.collect import START_BATCH, collect
from tl_negation.corpus.contexts import Contexts
from tl_negation.models.loading import load_model
from tl_negation.probing.probe import probe

try:
    from transformer_lens import HookedTransformer  # noqa: F401
except ImportError:  # TransformerLens 4
    CLASSES = ("TransformerBridge",)
else:
    CLASSES = ("HookedTransformer", "TransformerBridge")

VOCABULARY = 50257
SHAPES = {
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12},
    "wide": {"n_layer": 12, "n_embd": 1280, "n_head": 20},
    "gpt2-large": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
}
ALL_CONTEXTS = _common.NEGATIONS + _common.AFFIRMATIONS
REFERENCE = "reference"
TOLERANCE = 1e-4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, help="gpt2 wide; with --full gpt2-large"
    )
    parser.add_argument(
        "--contexts", type=int, help="contexts of a timed repetition: 32; with --full 398"
    )
    parser.add_argument(
        "--memory-contexts",
        type=int,
        default=ALL_CONTEXTS,
        help="contexts for the peak memory, 0 for none; all 398 need 9 GB for shape wide",
    )
    parser.add_argument("--batch", type=int, default=8, help="the reference's batch size")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, interleaved")
    parser.add_argument("--full", action="store_true", help="extraction and probe, end to end")
    parser.add_argument("--classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    facts = _common.machine("transformer_lens", "transformers")
    _common.show_machine(facts)
    chosen = args.shapes or (["gpt2-large"] if args.full else ["gpt2", "wide"])
    args.contexts = args.contexts or (ALL_CONTEXTS if args.full else 32)
    measure, show = (_full, _show_full) if args.full else (_against_reference, _show)
    report: dict[str, Any] = {"machine": facts, "full": args.full, "shapes": {}}
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="bench_extraction_") as folder:
            save_random(SHAPES[name], Path(folder))
            numbers = measure(Path(folder), args)
        report["shapes"][name] = SHAPES[name] | numbers
        show(name, report["shapes"][name])
    _common.write_json(args.json, report)


def save_random(shape: dict[str, int], folder: Path) -> None:
    """A folder as the hub has it: random weights at full size, and a tokenizer that loads."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **shape)).save_pretrained(folder)
    end = "<|endoftext|>"
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {end: VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=end))
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def load(contender: str, folder: Path, device: str | None = "cpu") -> Any:
    """Load one contender; ours onto a GPU if there is one and the device is None."""
    if contender == REFERENCE:
        return GPT2LMHeadModel.from_pretrained(folder).eval()
    return load_model(folder, bridge=contender == "TransformerBridge", device=device)


def _store(store: list[torch.Tensor], module: Any, inputs: Any, output: torch.Tensor) -> None:
    store.append(output)


def reference(model: GPT2LMHeadModel, tokens: torch.Tensor, batch: int) -> list[list[torch.Tensor]]:
    """Run the model as the notebook does: every position of ``c_attn``, a list per layer."""
    kept: list[list[torch.Tensor]] = [[] for _ in model.transformer.h]
    handles = [
        block.attn.c_attn.register_forward_hook(partial(_store, store))
        for block, store in zip(model.transformer.h, kept, strict=True)
    ]
    with torch.no_grad():
        for rows in tokens.split(batch):
            model(rows)
    for handle in handles:
        handle.remove()
    return kept


def runner(contender: str, model: Any, contexts: Contexts, batch: int | None) -> Callable[[], Any]:
    if contender == REFERENCE:
        return partial(reference, model, contexts.tokens, batch)
    return partial(collect, model, contexts, batch_size=batch, progress=False)


def memory_of(contender: str, folder: Path, n: int, batch: int | None) -> int:
    """Peak bytes beyond the loaded weights; runs in a process of its own."""
    transformers_logging.disable_progress_bar()
    model = load(contender, folder)
    contexts = _common.examples(n, VOCABULARY)
    for parameter in model.parameters():  # bring in weights that are still only on disk
        parameter.detach().sum()
    return _common.extra_memory(runner(contender, model, contexts, batch))


def _against_reference(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    numbers: dict[str, Any] = {"contexts": args.contexts, "batch": args.batch}
    if args.memory_contexts:
        numbers["memory"] = _memory(folder, args)
    contexts = _common.examples(args.contexts, VOCABULARY)
    loaded = {name: load(name, folder) for name in (REFERENCE, *args.classes)}
    numbers["identity"] = _identity(loaded, contexts, args.batch)
    contenders = {
        f"{name}, batch {args.batch}": runner(name, model, contexts, args.batch)
        for name, model in loaded.items()
    }
    for name in args.classes:
        label = f"{name}, default batch {START_BATCH['cpu']}"
        contenders[label] = runner(name, loaded[name], contexts, None)
    seconds = _common.interleave(contenders, args.repeats)
    numbers["timing"] = {name: _common.spread(times) for name, times in seconds.items()}
    first = next(iter(seconds))
    for name, row in numbers["timing"].items():
        row["per_context_s"] = row["median_s"] / len(contexts)
        row["relative"] = row["median_s"] / numbers["timing"][first]["median_s"]
        pairs = zip(seconds[name], seconds[first], strict=True)
        row["relative_median_of_rounds"] = statistics.median(a / b for a, b in pairs)
    return numbers


def _memory(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    batches = {REFERENCE: args.batch} | dict.fromkeys(args.classes)
    extra = {}
    for name, batch in batches.items():
        with _common.CONSOLE.status(f"peak memory of {name}, {args.memory_contexts} contexts"):
            extra[name] = _common.in_fresh_process(
                memory_of, name, folder, args.memory_contexts, batch
            )
    relative = {name: size / extra[REFERENCE] for name, size in extra.items()}
    return {"contexts": args.memory_contexts, "extra_bytes": extra, "relative": relative}


def _identity(loaded: dict[str, Any], contexts: Contexts, batch: int) -> dict[str, float]:
    """Largest difference between ours and the reference's ``c_attn`` at the target."""
    kept = reference(loaded[REFERENCE], contexts.tokens, batch)
    target = torch.stack([torch.cat(layer)[:, contexts.before] for layer in kept])
    differences = {}
    for name in loaded.keys() - {REFERENCE}:
        values = collect(loaded[name], contexts, progress=False).values
        differences[name] = float((values - target).abs().max())
    worst = max(differences.values())
    if not worst <= TOLERANCE:
        raise SystemExit(f"ours differs from the reference by {worst}: not the same computation")
    return differences


def _full(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    contexts = _common.examples(args.contexts, VOCABULARY)
    runs = {name: WholeRun(name, folder, contexts).measure(args.repeats) for name in args.classes}
    return {"contexts": args.contexts, "device": _common.device(), "runs": runs}


class WholeRun:
    """One model class from the folder to a probed result, a method per stage."""

    def __init__(self, contender: str, folder: Path, contexts: Contexts):
        self.contender, self.folder, self.contexts = contender, folder, contexts

    def load(self) -> None:
        self.model = load(self.contender, self.folder, device=None)

    def extraction(self) -> None:
        self.acts = collect(self.model, self.contexts, progress=False)

    def probe(self) -> None:
        self.result = probe(self.acts, progress=False)

    def measure(self, repeats: int) -> dict[str, Any]:
        """Seconds of the first call of each stage, and of later ones where they are short."""
        first = {
            stage.__name__: _common.clock(stage)
            for stage in (self.load, self.extraction, self.probe)
        }
        again = {"probe": self.probe}
        if torch.cuda.is_available():  # on a CPU an extraction takes minutes
            again |= {"extraction": self.extraction}
        seconds = _common.interleave(again, repeats)
        later = {stage: _common.spread(times) for stage, times in seconds.items()}
        return {"shape": list(self.acts.values.shape), "first_s": first, "later": later}


def _show(name: str, numbers: dict[str, Any]) -> None:
    rows = [
        (
            contender,
            f"{1000 * row['per_context_s']:.1f}",
            f"{row['relative']:.3f}",
            f"{row['relative_median_of_rounds']:.3f}",
        )
        for contender, row in numbers["timing"].items()
    ]
    repeats = len(next(iter(numbers["timing"].values()))["repetitions_s"])
    _common.show_table(
        f"{_shape(name, numbers)}: {numbers['contexts']} contexts, median of {repeats} "
        f"interleaved repetitions",
        ("", "ms per context", "relative to the reference", "median ratio within a round"),
        rows,
    )
    if "memory" in numbers:
        memory = numbers["memory"]
        rows = [
            (contender, f"{size / 1e6:,.0f}", f"{memory['relative'][contender]:.3f}")
            for contender, size in memory["extra_bytes"].items()
        ]
        _common.show_table(
            f"peak memory beyond the weights, {memory['contexts']} contexts",
            ("", "MB", "relative to the reference"),
            rows,
        )
    worst = max(numbers["identity"].values())
    _common.CONSOLE.print(f"largest difference from the reference's c_attn: {worst:.1e}")


def _show_full(name: str, numbers: dict[str, Any]) -> None:
    rows = []
    for contender, run in numbers["runs"].items():
        for stage, first in run["first_s"].items():
            later = run["later"].get(stage, {"median_s": math.nan})["median_s"]
            rows.append((contender, stage, f"{first:.3f}", f"{later:.3f}"))
    _common.show_table(
        f"{_shape(name, numbers)}: {numbers['contexts']} contexts on {numbers['device']}",
        ("", "stage", "first call, s", "median of later calls, s"),
        rows,
    )


def _shape(name: str, numbers: dict[str, Any]) -> str:
    return (
        f"{name} ({numbers['n_layer']} layers, {numbers['n_embd']} wide, {numbers['n_head']} heads)"
    )


if __name__ == "__main__":
    main()
