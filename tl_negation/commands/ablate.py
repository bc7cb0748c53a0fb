"""The command ``tl-negation ablate``: replace units of a run, and add to the run what it did."""

import json
from typing import Annotated

import typer

from .options import AsJson, BatchSize, Device, Model, PerClass, RunDirectory, Seed


def ablate_command(
    run: RunDirectory,
    model: Model,
    units: Annotated[int, typer.Option(help="Units of each selection.")] = 64,
    how: Annotated[str, typer.Option(help="What replaces units: {hows}.")] = "mean",
    per_class: PerClass = 20,
    follow: Annotated[
        int | None,
        typer.Option(
            help="Tokens after the target that count.", show_default="5, or what the window has"
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Matched random sets per selection.")] = 100,
    checked: Annotated[int, typer.Option(help="Single units to measure the gradient by.")] = 40,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Replace units at the target, and see what becomes of the words that follow.

    The units that the notebook's test, the test over words and the probe of heads put first,
    against random units of the same layer, site and variance; and the gradient's estimate for
    every unit, with single units measured to judge it by. Adds the tables ablation and
    attribution, two figures (PNG and SVG) and two columns of units.parquet to the run, and writes
    its report again.
    """
    from .._shared import check_target, jsonable, one_writer
    from ..interventions import add_effects
    from ..models import load_model
    from ..probing import load_result
    from ..runs import add_to_run, with_activations
    from .tables import ablation_table, console, print_path

    check_target(run, overwrite=True)  # before the work
    result = load_result(run)
    with one_writer(run):
        loaded = load_model(model, device=device)
        result = with_activations(result, loaded)
        result = add_effects(
            loaded, result, n=units, how=how, per_class=per_class, follow=follow, draws=draws,
            checked=checked, seed=seed, batch_size=batch_size,
        )  # fmt: skip
        add_to_run(result, run)
    about = result.provenance["interventions"]
    if as_json:
        tables = {name: result.tables[name] for name in ("ablation", "attribution")}
        rows = {name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}
        print(json.dumps({**rows, "about": jsonable(about)}))
        return
    console.print(ablation_table(result.tables["ablation"], about))
    print_path("added to", run)
