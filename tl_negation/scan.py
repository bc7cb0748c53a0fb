"""All the stages in one call, and the run directory that they end in."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from tqdm.auto import tqdm

from . import plots
from ._files import check_target, whole_directory
from .activations import collect, token_activations
from .contexts import Contexts, find_contexts
from .contrast import NEGATION, Contrast
from .models import load_model
from .probe import probe
from .profiles import profile, trend
from .report import report
from .results import ProbeResult
from .text import Text, load_text

#: Units and contexts per class whose activations over the whole window are kept for display.
DISPLAY_UNITS, DISPLAY_CONTEXTS = 6, 6


def scan(
    model: Any,
    text: Text | str | Path,
    *,
    contrast: Contrast = NEGATION,
    sites: Sequence[str] = ("q", "k", "v"),
    layers: Sequence[int] | None = None,
    before: int = 90,
    after: int = 10,
    preset: str | None = None,
    per_class: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ProbeResult:
    """Find the contexts, collect the activations, probe every unit; write a run if asked to.

    Parameters
    ----------
    model
        A TransformerLens model, or a name for :func:`tl_negation.load_model`.
    text
        A :class:`~tl_negation.Text`, or a source for :func:`tl_negation.load_text`.
    contrast, before, after, preset
        As in :func:`tl_negation.find_contexts`; ``preset="notebook"`` also sets the rules of the
        profile that is written.
    sites, layers, batch_size
        As in :func:`tl_negation.collect`.
    per_class, seed
        Draw that many contexts of each class at random instead of using all.
    out
        Directory for the tables, figures and report; nothing is written without it.
    overwrite
        Replace an earlier run in ``out``.
    progress
        Show progress bars.

    Returns
    -------
    ProbeResult
        With the seconds of each stage in ``provenance["seconds"]`` and, for the strongest units,
        the activations over whole windows in ``display``.

    Raises
    ------
    FileExistsError
        ``out`` holds something that may not be replaced; said before anything is computed.
    ValueError
        Whatever the stages refuse; see there.
    """
    if out is not None:
        check_target(out, overwrite=overwrite)
    seconds: dict[str, float] = {}
    text = text if isinstance(text, Text) else load_text(text)
    with _timed(seconds, "model"):
        model = load_model(model) if isinstance(model, (str, Path)) else model
    with _timed(seconds, "contexts"):
        contexts = find_contexts(text, model.tokenizer, contrast, before, after, preset)
        contexts = contexts.sample(per_class, seed) if per_class else contexts
    with _timed(seconds, "activations"):
        acts = collect(
            model, contexts, sites, layers=layers, batch_size=batch_size, progress=progress
        )
    with _timed(seconds, "probe"):
        result = probe(acts, progress=progress)
    with _timed(seconds, "display"):
        display = _display(model, contexts, result)
    provenance = {**result.provenance, "preset": preset, "seconds": seconds}
    result = replace(result, provenance=provenance, display=display)
    if out is not None:
        write_run(result, out, preset=preset, overwrite=overwrite, progress=progress)
    return result


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
        figures/*.png, report.html``, and ``display.parquet`` where the result has it.

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
        for name, draw in tqdm(_figures(result, table), desc="figures", disable=not progress):
            figure = _figure_of(draw())
            figure.savefig(folder / "figures" / f"{name}.png", dpi=150, bbox_inches="tight")
            plt.close(figure)
        report(result, folder / "report.html", preset=preset)
    return Path(out)


def summary(result: ProbeResult, *, preset: str | None = None) -> dict[str, Any]:
    """Collect the numbers of a run in one JSON-able dictionary (``tl-negation scan --json``)."""
    table = profile(result, preset=preset)
    strongest = result.top(10).drop(columns="significant")
    return {
        "audit": result.contexts.counts(),
        "provenance": dict(result.provenance),
        "units": int(result.status.numel()),
        "tested": int(result.tested.sum()),
        "significant": int(result.significant.sum()),
        "base_rate": result.base_rate,
        "profile": json.loads(table.to_json(orient="records")),
        "trend": json.loads(trend(table).to_json(orient="records")),
        "top": json.loads(strongest.to_json(orient="records")),
    }


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)


def _display(model: Any, contexts: Contexts, result: ProbeResult) -> Any:
    """Activations of the strongest units over whole windows of a few contexts of each class."""
    units = result.top(DISPLAY_UNITS)[["layer", "site", "head", "index"]]
    labels = contexts.labels.numpy()
    spread = [
        rows[np.linspace(0, len(rows) - 1, min(DISPLAY_CONTEXTS, len(rows))).astype(int)]
        for rows in (np.flatnonzero(labels == label) for label in (1, 0))
    ]
    examples = np.concatenate(spread).tolist()
    values = token_activations(model, contexts, units, examples).cpu().numpy()
    rows = units.loc[units.index.repeat(len(examples))].reset_index(drop=True)
    return rows.assign(
        example=examples * len(units), values=list(values.reshape(len(rows), -1).astype(float))
    )


def _figures(result: ProbeResult, table: Any) -> list[tuple[str, Any]]:
    best = result.top(1)
    layer = int(best["layer"].iloc[0])
    figures = [
        ("laminar", lambda: plots.laminar(table)),
        (f"volcano-layer-{layer}", lambda: plots.volcano(result, layer)),
    ]
    if result.activations is not None:
        figures.append(("best-unit", lambda: plots.unit(result, best)))
    return figures


def _figure_of(axes: Any) -> Any:
    return np.ravel(axes)[0].figure
