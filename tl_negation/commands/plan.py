"""The command ``tl-negation plan``: options, and the table that it prints."""

import json
import math
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from ..models import ModelSizes
from ..runs import HARDWARE, UTILISATION, plan

_BY_HAND = "Sizes by hand"
_ELSEWHERE = "Another machine"

Size = Annotated[int | None, typer.Option(rich_help_panel=_BY_HAND, help="As in model.cfg.")]


def plan_command(
    model: Annotated[
        str | None,
        typer.Option(help="As in scan; only its configuration is read. Or give its sizes by hand."),
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Tokens of the text to be scanned (1e9).")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Count the words here instead of assuming a rate."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Model whose tokenizer splits the text, if not the model's.")
    ] = None,
    sites: Annotated[str, typer.Option(help="Sites to scan, separated by commas.")] = "q,k,v",
    before: Annotated[int, typer.Option(help="Tokens before the target.")] = 90,
    per_class: Annotated[int | None, typer.Option(help="Contexts drawn of each class.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Contexts a forward pass.")] = None,
    dtype: Annotated[
        str, typer.Option(help="Of the weights: float32, bfloat16, float16.")
    ] = "float32",
    device: Annotated[str | None, typer.Option(help="Device of this machine to measure.")] = None,
    layers: Size = None,
    d_model: Size = None,
    heads: Size = None,
    kv_heads: Size = None,
    d_head: Size = None,
    d_mlp: Size = None,
    gated: Annotated[
        bool,
        typer.Option(rich_help_panel=_BY_HAND, help="Three matrices in an MLP (Llama), not two."),
    ] = True,
    vocabulary: Annotated[
        int, typer.Option(rich_help_panel=_BY_HAND, help="Tokens; 0 leaves the embeddings out.")
    ] = 0,
    hardware: Annotated[
        str | None, typer.Option(rich_help_panel=_ELSEWHERE, help=f"{', '.join(HARDWARE)}.")
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(rich_help_panel=_ELSEWHERE, help="Peak of a device, operations a second."),
    ] = None,
    device_memory: Annotated[
        float | None, typer.Option(rich_help_panel=_ELSEWHERE, help="Bytes of a device.")
    ] = None,
    devices: Annotated[int, typer.Option(rich_help_panel=_ELSEWHERE, help="How many.")] = 1,
    utilisation: Annotated[
        float, typer.Option(rich_help_panel=_ELSEWHERE, help="Share of the peak that is reached.")
    ] = UTILISATION,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict bytes and hours of a scan, before it is run.

    Without a machine named, this one is measured for half a minute. A model of any size:

    `tl-negation plan --tokens 1e9 --layers 80 --d-model 8192 --heads 64 --kv-heads 8
    --d-head 128 --d-mlp 28672 --vocabulary 128256 --dtype bfloat16 --hardware h100 --devices 8`
    """
    by_hand = {
        "n_layers": layers, "d_model": d_model, "n_heads": heads, "d_head": d_head, "d_mlp": d_mlp,
    }  # fmt: skip
    sizes = _sizes(model, by_hand, kv_heads, gated, vocabulary)
    table = plan(
        sizes,
        tokens=tokens,
        text=text[0] if text and len(text) == 1 else text or None,
        tokenizer=tokenizer,
        sites=tuple(name.strip() for name in sites.split(",") if name.strip()),
        before=before,
        per_class=per_class,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        hardware=hardware,
        flops=flops,
        device_memory=device_memory,
        devices=devices,
        utilisation=utilisation,
    )
    if as_json:
        print(json.dumps({"plan": json.loads(table.to_json(orient="records"))}))
    else:
        Console().print(_rich(table))


def _sizes(
    model: str | None, by_hand: dict[str, int | None], kv_heads: int | None, gated: bool, vocab: int
) -> str | ModelSizes:
    given = {name: size for name, size in by_hand.items() if size is not None}
    if model is not None:
        if given or kv_heads is not None:
            raise ValueError("give a model or its sizes by hand, not both")
        return model
    missing = [
        "--" + {"n_layers": "layers", "n_heads": "heads"}.get(name, name).replace("_", "-")
        for name in by_hand
        if name not in given
    ]
    if missing:
        raise ValueError(f"name a model (--model), or give its sizes too: {', '.join(missing)}")
    return ModelSizes(**given, n_key_value_heads=kv_heads, gated_mlp=gated, d_vocab=vocab)


def _rich(table: pd.DataFrame) -> Table:
    view = Table(title="Before a run: bytes and hours", padding=(0, 1))
    view.add_column("stage", no_wrap=True)
    view.add_column("quantity")
    view.add_column("value", justify="right", no_wrap=True)
    view.add_column("basis", style="dim")
    last = None
    for row in table.itertuples():
        if last not in (None, row.stage):
            view.add_section()
        view.add_row(
            "" if row.stage == last else row.stage, row.quantity, format_value(row), row.basis
        )
        last = row.stage
    return view


def format_value(row: Any) -> str:
    """Write a value as people read it: 34.4 TB, 26 hours, 10,503,235."""
    value, unit = row.value, row.unit
    if math.isnan(value):
        return "-"
    if unit == "s":
        return _duration(value)
    if unit:
        return _prefixed(value, unit)
    return f"{value:,.0f}"


def _prefixed(value: int | float, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    power = min(len(prefixes) - 1, max(0, int(math.log10(value) // 3))) if value > 0 else 0
    return f"{value / 1000**power:.3g} {prefixes[power]}{unit}"


def _duration(seconds: int | float) -> str:
    for size, name in ((365.25 * 86_400, "years"), (86_400, "days"), (3600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds / 60:.3g} minutes" if seconds >= 120 else f"{seconds:.3g} s"
