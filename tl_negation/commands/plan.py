"""The command ``tl-negation plan``: what a scan would need, before it is run."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    DEFAULT_SITES,
    AsJson,
    BatchSize,
    Before,
    PerClassOrAll,
    Sites,
    one_or_several,
    split_names,
)

if TYPE_CHECKING:
    from ..models import ModelSizes

_BY_HAND = "Sizes by hand"
_ELSEWHERE = "Another machine"
#: Argument of ModelSizes that has no default -> the option that gives it.
NEEDED = {
    "n_layers": "--layers",
    "d_model": "--d-model",
    "n_heads": "--heads",
    "d_head": "--d-head",
    "d_mlp": "--d-mlp",
}

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
        typer.Option(help="As in scan: count its words instead of assuming a rate."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Model whose tokenizer splits the text.", show_default="that of the model"
        ),
    ] = None,
    sites: Sites = DEFAULT_SITES,
    before: Before = 90,
    per_class: PerClassOrAll = None,
    batch_size: BatchSize = None,
    dtype: Annotated[str, typer.Option(help="Data type of the weights: {dtypes}.")] = "float32",
    device: Annotated[
        str | None,
        typer.Option(
            help="Device of this machine to measure.", show_default="cuda if there is one, else cpu"
        ),
    ] = None,
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
        str | None,
        typer.Option(
            rich_help_panel=_ELSEWHERE, help="Its devices, by published figures: {hardware}."
        ),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(rich_help_panel=_ELSEWHERE, help="Peak of a device, operations per second."),
    ] = None,
    device_memory: Annotated[
        float | None, typer.Option(rich_help_panel=_ELSEWHERE, help="Bytes of a device.")
    ] = None,
    devices: Annotated[int, typer.Option(rich_help_panel=_ELSEWHERE, help="How many.")] = 1,
    utilisation: Annotated[
        float,
        typer.Option(rich_help_panel=_ELSEWHERE, help="Share of the peak that is reached."),
    ] = 0.35,
    as_json: AsJson = False,
) -> None:
    """Predict bytes and hours of a scan, before it is run.

    Unless another machine is described, this one is measured for half a minute. A model of any
    size:

    `tl-negation plan --tokens 1e9 --layers 80 --d-model 8192 --heads 64 --kv-heads 8
    --d-head 128 --d-mlp 28672 --vocabulary 128256 --dtype bfloat16 --hardware h100 --devices 8`
    """
    from ..runs import plan
    from .tables import console, plan_table

    by_hand = {
        "n_layers": layers, "d_model": d_model, "n_heads": heads, "d_head": d_head, "d_mlp": d_mlp,
    }  # fmt: skip
    table = plan(
        _named_or_by_hand(model, by_hand, kv_heads, gated, vocabulary),
        tokens=tokens,
        text=one_or_several(text) if text else None,
        tokenizer=tokenizer,
        sites=split_names(sites),
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
        console.print(plan_table(table))


def _named_or_by_hand(
    model: str | None,
    by_hand: dict[str, int | None],
    kv_heads: int | None,
    gated: bool,
    vocabulary: int,
) -> "str | ModelSizes":
    """Take the model's name, or its sizes; the message names the options that are missing."""
    given = {name: size for name, size in by_hand.items() if size is not None}
    if model is not None:
        if given or kv_heads is not None:
            raise ValueError("give a model or its sizes by hand, not both")
        return model
    missing = [option for name, option in NEEDED.items() if name not in given]
    if missing:
        raise ValueError(f"name a model (--model), or give its sizes too: {', '.join(missing)}")
    from ..models import ModelSizes

    return ModelSizes(
        given["n_layers"], given["d_model"], given["n_heads"], given["d_head"], given["d_mlp"],
        kv_heads, gated, vocabulary,
    )  # fmt: skip
