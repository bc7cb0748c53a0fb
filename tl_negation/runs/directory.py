"""The directory that a scan ends in: written whole or not at all, read again, added to."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from .._shared import (
    Preset,
    expanded,
    files_of_run,
    jsonable,
    progress_bar,
    validated,
    whole_directory,
)
from ..activations import Activations, collect
from ..models import TransformerLensModel
from ..probing import (
    ProbeResult,
    Replication,
    profile,
    read_csv,
    trend,
    under_preset,
    unit_statistics,
)

PROFILE = "profile.csv"


@validated
def write_run(
    result: ProbeResult,
    out: str | Path,
    *,
    preset: Preset = None,
    overwrite: bool = False,
    progress: bool = True,
    table: pd.DataFrame | None = None,
) -> Path:
    """Write tables, figures and report of a result into a new directory: all of it or nothing.

    Parameters
    ----------
    result
        From :func:`tl_negation.scan`, :func:`tl_negation.infer` or :func:`tl_negation.probe`.
    out
        The directory; must be new or empty, unless ``overwrite`` is on.
    preset
        As in :func:`tl_negation.profile`; what is written of ``significant`` goes by the preset's
        test, too.
    overwrite
        Replace an earlier run in ``out``. A directory that holds anything else is never replaced.
    progress
        Show a progress bar while figures are drawn.
    table
        The result's profile under ``preset``, if you have it already; computed otherwise.

    Returns
    -------
    Path
        The directory: ``units.parquet, contexts.parquet, run.json, profile.csv, trend.csv,
        figures/*.png and *.svg, report.html``, and ``display.parquet`` where the result has it.

    Raises
    ------
    FileExistsError
        ``out`` holds something that may not be replaced.
    ValueError
        An unknown preset.

    Examples
    --------
    >>> run = tln.write_run(result, "run", progress=False)
    >>> sorted(path.name for path in run.iterdir())  # doctest: +ELLIPSIS
    ['contexts.parquet', ..., 'figures', 'groups.csv', ..., 'trend.csv', 'units.parquet']
    >>> tln.load_result(run).to_frame().equals(result.to_frame())
    True
    """
    from ..report import gallery, report

    result = under_preset(result, preset)
    table = profile(result, preset=preset) if table is None else table
    with whole_directory(out, overwrite=overwrite) as folder:
        result.write_into(folder)
        table.to_csv(folder / PROFILE, index=False)
        trend(table).to_csv(folder / "trend.csv", index=False)
        figures = gallery(result, table, preset)
        for picture in progress_bar(figures, desc="figures", disable=not progress):
            picture.save(folder / "figures")
        report(result, folder / "report.html", preset=preset, figures=figures)
    return expanded(out)


def read_profile(run: str | Path) -> pd.DataFrame:
    """Read the profile that a run was written with, to the last bit.

    Raises
    ------
    FileNotFoundError
        The run has none: :meth:`tl_negation.ProbeResult.save` writes a result without its profile.
    """
    table = read_csv(expanded(run) / PROFILE)
    # pandas before 2.2 reads a column without any value as objects, not as NaN.
    return table.astype(dict.fromkeys(table.columns[table.isna().all()], float))


@contextmanager
def kept_if_not_written(result: ProbeResult, out: str | Path) -> Iterator[None]:
    """Put the result of long work somewhere else if the run cannot be written, for any reason.

    Raises
    ------
    OSError, RuntimeError
        Says why, and where the result is now. An OSError stays one.
    """
    try:
        yield
    except Exception as error:
        try:
            kept = Path(tempfile.mkdtemp(prefix="tl-negation-")) / "run"
            result.save(kept)
        except Exception as second:
            end = f"its tables could not be kept elsewhere either ({second})"
        else:
            end = (
                f"its tables are kept in {str(kept)!r}: once that is mended, "
                "write_run(load_result(that), out) writes the run"
            )
        why = getattr(error, "strerror", None) or error
        what = f"{why}: the run {str(out)!r} is not written; {end}"
        if not isinstance(error, OSError):
            raise RuntimeError(f"{type(error).__name__}: {what}") from error
        raise type(error)(*(() if error.errno is None else (error.errno,)), what) from error


@validated
def summary(
    result: ProbeResult, *, preset: Preset = None, table: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Collect the numbers of a run in one JSON-able dictionary (``tl-negation scan --json``).

    Parameters
    ----------
    result
        Any result.
    preset, table
        As in :func:`write_run`.
    """
    result = under_preset(result, preset)
    table = profile(result, preset=preset) if table is None else table
    over_words = result.columns.get("significant_words")
    numbers = {
        "audit": result.contexts.counts(),
        "provenance": dict(result.provenance),
        "summary": result.summary().splitlines(),
        "units": int(result.status.numel()),
        "significant_words": None if over_words is None else int(over_words.sum()),
        "status": result.status_counts(),
        "tested": int(result.tested.sum()),
        "significant": int(result.significant.sum()),
        "base_rate": result.base_rate,
        "profile": _rows(table),
        "trend": _rows(trend(table)),
        "top": _rows(result.top(10, full=True)),
    }
    return jsonable(numbers)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))


#: The AUCs of a layer differ by less than this, on average, from device to device.
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
    if acts.sites != result.sites or _score_difference(acts, result) > SAME_SCORES:
        raise ValueError(
            f"the model must be that of the run ({result.provenance['model'].get('name')}); this "
            f"one scores the units of layer {layers[0]} otherwise. Give the name that scan was "
            f"given (a run of an untrained twin cannot be taken up)"
        )
    return replace(result, activations=acts)


def _score_difference(acts: Activations, result: ProbeResult) -> float:
    """Mean difference of the AUCs in the first layer: one layer is enough to tell models apart."""
    scores = unit_statistics(acts.values[0], acts.labels)["auc"].cpu()
    return float((scores - result.columns["auc"][0].cpu()).abs().nanmean())


def add_to_run(result: ProbeResult, run: str | Path) -> None:
    """Add the tables, figures and columns of interventions to a run, and write its report again.

    Everything else in the directory is kept; if anything fails, all of it is as it was.

    Parameters
    ----------
    result
        The result of the run, through :func:`tl_negation.add_effects`.
    run
        Its directory.
    """
    from ..report import gallery, report

    preset = result.provenance.get("preset")
    figures = gallery(result, profile(result, preset=preset), preset)
    with kept_if_not_written(result, run), whole_directory(run, overwrite=True) as folder:
        for name in files_of_run(run):  # what is not ours is kept by whole_directory
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(expanded(run) / name, folder / name)
        result.write_into(folder)
        for picture in figures.section("effects"):
            picture.save(folder / "figures")
        report(result, folder / "report.html", preset=preset, figures=figures)


def write_replication(found: Replication, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write tables and figure of a replication into a new directory: all of it or nothing.

    Returns
    -------
    Path
        The directory: ``overlap.csv, signs.csv, ranks.csv, run.json, replication.png`` and
        ``replication.svg``.

    Raises
    ------
    FileExistsError
        ``out`` holds something that may not be replaced.
    """
    from .. import plots
    from ..report import Picture

    title, caption = "Found again?", "Units found in both, signs that agree, and rank correlations."
    picture = Picture("replication", title, caption, lambda _: plots.replication(found))
    with whole_directory(out, overwrite=overwrite) as folder:
        found.write_into(folder)
        picture.save(folder)
    return expanded(out)
