"""The command ``tl-negation ablate``: replace units of a run, and add to the run what it did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from .._shared import one_writer
from ..interventions import add_effects
from ..models import load_model
from ..probing import jsonable, load_result
from ..runs import add_to_run, with_activations


def ablate_command(
    run: Annotated[Path, typer.Argument(help="A run directory that scan or demo wrote.")],
    model: Annotated[str, typer.Option(help="The model of that run, as in scan.")],
    units: Annotated[int, typer.Option(help="Units of each selection.")] = 64,
    how: Annotated[
        str, typer.Option(help="What units are replaced by: mean, zero or resample.")
    ] = "mean",
    per_class: Annotated[int, typer.Option(help="Contexts of each class to measure on.")] = 20,
    follow: Annotated[
        int | None, typer.Option(help="Tokens after the target that count; 5 if not given.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Matched random sets per selection.")] = 100,
    checked: Annotated[int, typer.Option(help="Single units to measure the gradient by.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Rows a forward pass.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for machines.")
    ] = False,
) -> None:
    """Replace units at the target, and see what becomes of the words that follow.

    The units that the notebook's test, the test over words and the probe of heads put first,
    against random units of the same layer, site and variance; and the gradient's estimate for
    every unit, with single units measured to judge it by. Adds the tables ablation and
    attribution, two figures and two columns of units.parquet to the run, and writes its report
    again.
    """
    result = load_result(run)
    with one_writer(run):
        loaded = load_model(model, device=device)
        result = with_activations(result, loaded)
        result = add_effects(
            loaded, result, n=units, how=how, per_class=per_class, follow=follow, draws=draws,
            checked=checked, seed=seed, batch_size=batch_size,
        )  # fmt: skip
        add_to_run(result, run)
    if as_json:
        tables = {name: result.tables[name] for name in ("ablation", "attribution")}
        rows = {name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}
        print(json.dumps({**rows, "about": jsonable(result.provenance["interventions"])}))
        return
    console = Console()
    console.print(_printed(result.tables["ablation"], result.provenance["interventions"]))
    console.print(f"added to [bold]{run}[/bold]", soft_wrap=True)


def _printed(table: pd.DataFrame, about: Mapping[str, Any]) -> Table:
    r, n = about["correlation"], sum(about["contexts"].values())
    view = Table(
        title=f"Change of the log-probability of the next {about['follow']} tokens (nats)",
        caption=(
            f"units replaced ({about['how']}) at the target in {n} contexts; p: {about['draws']} "
            f"matched random sets, two-sided, each row by itself. Gradient's estimate against "
            f"measurement of single units: r = {r['all']:.2f} (random units {r['random']:.2f})"
        ),
    )
    for name in ("selection", "class"):
        view.add_column(name)
    for name in ("effect", "random, 95 %", "p"):
        view.add_column(name, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        band = f"{row['random_q025']:+.3f} to {row['random_q975']:+.3f}"
        cells = (f"{row['effect']:+.3f}", band, f"{row['p']:.2g}")
        view.add_row(row["selection"], row["class"], *cells)
    return view
