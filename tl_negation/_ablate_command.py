"""The command ``tl-negation ablate``: replace units of a run, and add to the run what it did."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from . import plots
from ._files import one_writer, whole_directory
from .activations import collect
from .interventions import add_effects
from .models import load_model
from .probe import unit_statistics
from .report import report
from .results import ProbeResult, jsonable, load_result

#: Scores of a layer differ by less than this, on average, from device to device.
SAME_SCORES = 0.01


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
        write_again(result, run)
    if as_json:
        tables = {name: result.tables[name] for name in ("ablation", "attribution")}
        rows = {name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}
        print(json.dumps({**rows, "about": jsonable(result.provenance["interventions"])}))
        return
    console = Console()
    console.print(_printed(result.tables["ablation"], result.provenance["interventions"]))
    console.print(f"added to [bold]{run}[/bold]", soft_wrap=True)


def with_activations(result: ProbeResult, model: Any) -> ProbeResult:
    """Collect the activations of a result read from disk, and make sure they are the same.

    Raises
    ------
    ValueError
        The model gives other activations than the run was scored on.
    """
    sites, layers = [site.name for site in result.sites], result.layers
    acts = collect(model, result.contexts, sites, layers=layers)
    if acts.sites == result.sites:
        scores = unit_statistics(acts.values[0], acts.labels)["auc"].cpu()
        difference = float((scores - result.columns["auc"][0].cpu()).abs().nanmean())
    if acts.sites != result.sites or difference > SAME_SCORES:
        raise ValueError(
            f"the model must be that of the run ({result.provenance['model'].get('name')}); this "
            f"one scores the units of layer {layers[0]} otherwise. Give the name that scan was "
            f"given (a run of an untrained twin cannot be taken up)"
        )
    return replace(result, activations=acts)


def write_again(result: ProbeResult, run: Path) -> None:
    """Replace the tables and the report of a run, add the two figures, keep everything else."""
    draw = {
        "ablation": lambda: plots.ablation(result.tables["ablation"])[0],
        "attribution": lambda: plots.attribution(
            result.tables["attribution"], about=result.provenance["interventions"]
        ),
    }
    with whole_directory(run, overwrite=True) as folder:
        shutil.copytree(run, folder, dirs_exist_ok=True)
        result.write_into(folder)
        (folder / "figures").mkdir(exist_ok=True)
        for name, axes in draw.items():
            figure = axes().figure
            figure.savefig(folder / "figures" / f"{name}.png", dpi=150, bbox_inches="tight")
            plt.close(figure)
        report(result, folder / "report.html", preset=result.provenance.get("preset"))


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
