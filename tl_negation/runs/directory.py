"""The directory that a scan ends in: written whole or not at all, read again, added to."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from .. import plots
from .._shared import validated, whole_directory
from ..activations import collect
from ..models import TransformerLensModel
from ..probing import ProbeResult, jsonable, profile, trend, unit_statistics
from ..report import gallery, report

#: Formats of the figures of a run: to look at, and for a paper.
FIGURE_KINDS = ("png", "svg")


@validated
def write_run(
    result: ProbeResult,
    out: str | Path,
    *,
    preset: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write tables, figures and report of a result into a new directory: all of it or nothing.

    Returns
    -------
    Path
        The directory: ``units.parquet, contexts.parquet, run.json, profile.csv, trend.csv,
        figures/*.png and *.svg, report.html``, and ``display.parquet`` where the result has it.

    Raises
    ------
    FileExistsError
        ``out`` holds something that may not be replaced.
    """
    table = profile(result, preset=preset)
    with whole_directory(out, overwrite=overwrite) as folder:
        result.write_into(folder)
        table.to_csv(folder / "profile.csv", index=False)
        trend(table).to_csv(folder / "trend.csv", index=False)
        (folder / "figures").mkdir()
        pictures = list(gallery(result, table, preset))
        for picture in tqdm(pictures, desc="figures", disable=not progress):
            figure = np.ravel(picture.draw(None))[0].figure
            for kind in FIGURE_KINDS:
                plots.save(figure.axes, folder / "figures" / f"{picture.name}.{kind}", dpi=150)
                figure.set_layout_engine("none")  # all is in its place now
            plt.close(figure)
        report(result, folder / "report.html", preset=preset)
    return Path(out)


@contextmanager
def kept_if_not_written(result: ProbeResult, out: str | Path) -> Iterator[None]:
    """Where the run's own disk has no room, put the result of long work somewhere else."""
    try:
        yield
    except OSError as error:
        try:
            kept = Path(tempfile.mkdtemp(prefix="tl-negation-")) / "run"
            result.save(kept)
        except OSError as second:
            end = f"its tables could not be kept elsewhere either ({second})"
        else:
            end = (
                f"its tables are kept in {str(kept)!r}: with room again, "
                "write_run(load_result(that), out) writes the run"
            )
        what = f"{error.strerror or error}: the run {str(out)!r} is not written; {end}"
        raise type(error)(*(() if error.errno is None else (error.errno,)), what) from error


def summary(result: ProbeResult, *, preset: str | None = None) -> dict[str, Any]:
    """Collect the numbers of a run in one JSON-able dictionary (``tl-negation scan --json``)."""
    table = profile(result, preset=preset)
    strongest = result.top(10, full=True).drop(columns="significant")
    numbers = {
        "audit": result.contexts.counts(),
        "provenance": dict(result.provenance),
        "units": int(result.status.numel()),
        "status": result.status_counts(),
        "significant": int(result.significant.sum()),
        "base_rate": result.base_rate,
        "summary": result.summary().splitlines(),
        "profile": json.loads(table.to_json(orient="records")),
        "trend": json.loads(trend(table).to_json(orient="records")),
        "top": json.loads(strongest.to_json(orient="records")),
    }
    return jsonable(numbers)


#: Scores of a layer differ by less than this, on average, from device to device.
SAME_SCORES = 0.01


def with_activations(result: ProbeResult, model: TransformerLensModel) -> ProbeResult:
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


def add_to_run(result: ProbeResult, run: Path) -> None:
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
