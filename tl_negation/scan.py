"""All the stages in one call, and the run directory that they end in."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from . import plots, views
from ._checks import COUNT, INTEGER, LIST, NUMBER, PATH, SEED, STRING, optional, takes
from ._families import check_test
from ._files import check_target, one_writer, whole_directory
from ._gallery import gallery
from ._processes import current
from .activations import Activations, collect
from .contexts import Contexts, find_contexts
from .contrast import ANTICIPATED, NEGATION, Contrast
from .controls import control
from .extras import add_calibration, add_extras, check_extras
from .inference import TooFewWordsError, check_infer, distinct_rows, held_out, infer
from .models import load_model, untrained_twin
from .probe import probe
from .profiles import check_preset, profile, trend
from .report import report
from .results import ProbeResult, jsonable
from .sites import LEXICAL_AT_FIRST, require_transformer_lens
from .text import Corpus, Text, load_text

#: Units and contexts per class whose activations over the whole window are kept for display.
DISPLAY_UNITS, DISPLAY_CONTEXTS = 18, 5
#: Formats of the figures of a run: to look at, and for a paper.
FIGURE_KINDS = ("png", "svg")


def _alone_in_out(function: Callable[..., ProbeResult]) -> Callable[..., ProbeResult]:
    """Let no second scan work towards the same ``out`` for hours, only to find it taken."""

    @wraps(function)
    def alone(*args: Any, out: str | Path | None = None, **kwargs: Any) -> ProbeResult:
        with nullcontext() if out is None or not current().is_main else one_writer(out):
            return function(*args, out=out, **kwargs)

    return alone


@takes(out=optional(PATH))  # before the directory is locked
@_alone_in_out
@takes(
    contrast=Contrast,
    sites=LIST,
    layers=optional(LIST),
    before=INTEGER,
    after=INTEGER,
    per_class=optional(INTEGER),
    family=STRING,
    correction=STRING,
    alpha=NUMBER,
    word_family=STRING,
    alternative=STRING,
    permutations=COUNT,
    tasks=INTEGER,
    seed=SEED,
    batch_size=optional(INTEGER),
)
def scan(
    model: Any,
    text: Text | Corpus | str | Path | Sequence[Any],
    *,
    contrast: Contrast = NEGATION,
    sites: Sequence[str] = ("q", "k", "v"),
    layers: Sequence[int] | None = None,
    before: int = 90,
    after: int = 10,
    preset: str | None = None,
    prepend_bos: bool | None = None,
    per_class: int | None = None,
    family: str = "layer",
    correction: str = "bonferroni",
    alpha: float = 0.05,
    words: bool = True,
    word_family: str = "all",
    alternative: str = "two-sided",
    permutations: int = 10_000,
    tasks: int = 10,
    extras: Sequence[str] = (),
    device: str | None = None,
    untrained: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    store: str | Path | None = None,
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
        A :class:`~tl_negation.Text` or :class:`~tl_negation.Corpus`, or a source (or several) for
        :func:`tl_negation.load_text`.
    contrast, before, after, preset, prepend_bos
        As in :func:`tl_negation.find_contexts`; ``preset="notebook"`` also sets the rules of the
        profile that is written.
    sites, layers, batch_size, store
        As in :func:`tl_negation.collect`; the store lies outside ``out``.
    per_class
        Draw that many contexts of each class at random instead of using all.
    family, correction, alpha
        As in :func:`tl_negation.probe`.
    words, word_family, alternative, permutations, tasks
        Run :func:`tl_negation.infer`: the word-type permutation test, words left out, selectivity
        and Firth's fit. A contrast with too few words for it is scanned without, and
        ``provenance["words_left_out"]`` says why.
    extras
        What to compute besides: see :func:`tl_negation.add_extras`.
    device
        Where a model given by name goes.
    untrained
        Scan the untrained twin of the model instead (same architecture and tokenizer, random
        weights): what the architecture and the words alone give.
    seed
        Of the draw of contexts, of the inference and of the twin's weights.
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
    BlockingIOError
        Another scan is writing to ``out``.
    OSError
        ``out`` cannot be written (a full disk); the message says where the tables were kept.
    ValueError
        The store lies within ``out``. Whatever the stages refuse; see there.

    Notes
    -----
    Splits over processes after :func:`tl_negation.use_processes`, whose notes say what is split;
    every process gets the result, the main one writes it.
    """
    test = {"family": family, "correction": correction, "alpha": alpha}
    check_test(**test)
    check_preset(preset, test)
    check_infer(family=word_family, alternative=alternative, tasks=tasks)
    check_extras(extras)
    if out is not None:
        check_target(out, overwrite=overwrite)
        _check_apart(out, store)
    progress = progress and current().is_main
    seconds: dict[str, float] = {}
    text = load_text(text)
    with _timed(seconds, "model"):
        if isinstance(model, (str, Path)):
            model = load_model(model, device=device)
        require_transformer_lens(model)
        model = untrained_twin(model, seed=seed) if untrained else model
    with _timed(seconds, "contexts"):
        contexts = find_contexts(
            text, model.tokenizer, contrast, before, after, preset, prepend_bos=prepend_bos
        )
        contexts = contexts if per_class is None else contexts.sample(per_class, seed)
        check_extras(extras, contexts)
    with _timed(seconds, "activations"):
        options = {"layers": layers, "batch_size": batch_size, "store": store}
        acts = collect(model, contexts, sites, progress=progress, **options)
    with _timed(seconds, "probe"):
        result = probe(acts, progress=progress, **test)
    with _timed(seconds, "words"):
        options = {
            "permutations": permutations, "family": word_family, "alternative": alternative,
            "tasks": tasks, "seed": seed, "progress": progress,
        }  # fmt: skip
        result = _over_words(result, options) if words else result
        result = add_extras(result, extras, seed=seed, progress=progress)
    with _timed(seconds, "display"):
        units = views.spread_units(result, DISPLAY_UNITS)
        display = views.display_table(model, contexts, units, n=2 * DISPLAY_CONTEXTS)
    lexical = _lexical_baseline(acts)
    provenance = {"preset": preset, "lexical_baseline": lexical, "seconds": seconds}
    result = replace(result, provenance={**result.provenance, **provenance}, display=display)
    if out is not None and current().is_main:
        with _kept_if_not_written(result, out):
            write_run(result, out, preset=preset, overwrite=overwrite, progress=progress)
    return result


@takes(result=ProbeResult, out=PATH, preset=optional(STRING))
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
def _kept_if_not_written(result: ProbeResult, out: str | Path) -> Iterator[None]:
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


def _check_apart(out: str | Path, store: str | Path | None) -> None:
    if store is None:
        return
    out, store = Path(out).absolute(), Path(store).absolute()
    if out in (store, *store.parents):
        raise ValueError(
            f"a run directory is replaced as a whole, so its activations cannot lie within it: "
            f"the store is {store}, the run {out}; name another directory for one of them"
        )


def _lexical_baseline(acts: Activations) -> dict[str, Any]:
    """Count distinct rows of the first layer; what sees the context there is left out."""
    sites = tuple(site for site in acts.sites if site.name in LEXICAL_AT_FIRST) or acts.sites
    values = torch.cat([acts.site(site.name)[:1] for site in sites], dim=2)
    first = replace(acts, values=values, sites=sites, layers=acts.layers[:1])
    counts = {name: int(value) for name, value in distinct_rows(first).iloc[0].items()}
    tokens = acts.contexts.tokens[:, acts.contexts.before]
    return {**counts, "tokens": len(tokens.unique()), "sites": [site.name for site in sites]}


def _over_words(result: ProbeResult, options: dict[str, Any]) -> ProbeResult:
    try:
        result = infer(result, **options)
    except TooFewWordsError as error:
        return result.with_columns(result.columns, words_left_out=str(error))
    drawn = {name: options[name] for name in ("permutations", "seed")}
    return add_calibration(result, **drawn)


@takes(
    contrast=Contrast,
    distances=LIST,
    sites=LIST,
    layers=optional(LIST),
    before=INTEGER,
    after=INTEGER,
    per_class=optional(INTEGER),
    permutations=COUNT,
    tasks=INTEGER,
    seed=SEED,
)
def compare(
    model: Any,
    text: Text | Corpus | str | Path | Sequence[Any],
    *,
    contrast: Contrast = NEGATION,
    distances: Sequence[int] = (1, 2, 3),
    sites: Sequence[str] = ("q", "k", "v"),
    layers: Sequence[int] | None = None,
    before: int = 90,
    after: int = 10,
    prepend_bos: bool | None = None,
    per_class: int | None = None,
    permutations: int = 10_000,
    tasks: int = 10,
    heads: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Scan a contrast, what is carried forward from it, and controls: side by side.

    Parameters
    ----------
    model, text, sites, layers, before, after, per_class, permutations, tasks, seed, progress
        As in :func:`scan`.
    contrast
        The contrast itself.
    prepend_bos
        As in :func:`tl_negation.find_contexts`.
    distances
        Distances of the carried contrasts (:meth:`tl_negation.Contrast.carried`).
    heads
        Probe whole heads too (:func:`tl_negation.head_probe`).

    Returns
    -------
    DataFrame
        A row per contrast: the contrast itself, carried at each distance, anticipated (for
        ``NEGATION``) and a control of arbitrary words (:func:`tl_negation.control`). Columns:
        ``contrast, examples_1, examples_0, words_1, words_0, base_rate``, means over tested units
        of ``accuracy`` (in sample), ``fold_accuracy``, ``held_out_accuracy``, ``selectivity``,
        the shares ``share_significant`` and ``share_significant_words``, the ``best_unit`` by
        fold accuracy and its ``best_fold_accuracy``, with ``heads`` the mean over heads of their
        accuracy on words left out (``heads_held_out``) and the best head's, and a ``note`` where
        something could not be computed. The best of many units is too good by its selection;
        compare it with the best unit of the control.

    Raises
    ------
    ValueError
        The contrast itself has no examples in the text.
    """
    text = load_text(text)
    model = load_model(model) if isinstance(model, (str, Path)) else model
    require_transformer_lens(model)
    window = {"before": before, "after": after, "prepend_bos": prepend_bos}
    own = find_contexts(text, model.tokenizer, contrast, **window)
    own = own if per_class is None else own.sample(per_class, seed)
    made: list[tuple[str, Callable[[], Contexts]]] = [(contrast.name, lambda: own)]
    others = [contrast.carried(distance) for distance in distances]
    others += [ANTICIPATED] if contrast == NEGATION else []
    for other in others:
        find = partial(find_contexts, text, model.tokenizer, other, seed=seed, **window)
        made.append((other.name, find))
    made.append(("control", partial(control, own, text, model.tokenizer, seed=seed)))
    options = {"permutations": permutations, "tasks": tasks, "seed": seed, "progress": progress}
    rows = []
    for name, make in made:
        try:
            contexts = make()
        except ValueError as error:
            if name == contrast.name:
                raise
            rows.append({"contrast": name, "note": str(error)})
            continue
        acts = collect(model, contexts, sites, layers=layers, progress=progress)
        rows.append(_comparison_row(probe(acts, progress=progress), heads, options))
    return pd.DataFrame(rows)


def _comparison_row(result: ProbeResult, heads: bool, options: dict[str, Any]) -> dict[str, Any]:
    note = ""
    try:
        result = infer(result, **options)
    except TooFewWordsError as error:
        result, without = _in_folds(result, options)
        note = f"{error}. {without}".strip(". ")
    counts = result.contexts.counts()
    row: dict[str, Any] = {"contrast": result.contexts.contrast.name}
    for of in counts["groups"].values():
        row[f"examples_{of['label']}"] = of["examples"]
        row[f"words_{of['label']}"] = len(of["word_types"])
    row["base_rate"] = result.base_rate
    for name in ("accuracy", "fold_accuracy", "held_out_accuracy", "selectivity"):
        if name in result.columns:
            row[name] = float(result.columns[name].nanmean())
    for name in ("significant", "significant_words"):
        if name in result.columns:
            row[f"share_{name}"] = float(result.columns[name].double().mean())
    best = result.top(1, by="fold_accuracy") if "fold_accuracy" in result.columns else ()
    for unit in best.to_dict("records") if len(best) else ():
        row["best_unit"] = f"{unit['layer']}.{unit['site']}.{unit['head']}.{unit['index']}"
        row["best_fold_accuracy"] = unit["fold_accuracy"]
    if heads and not note:
        table = add_extras(result, ("heads",), progress=options["progress"]).tables["heads"]
        row["heads_held_out"] = table["held_out_accuracy"].mean()
        row["best_head_held_out"] = table["held_out_accuracy"].max()
    return {**row, "note": note}


def _in_folds(result: ProbeResult, options: dict[str, Any]) -> tuple[ProbeResult, str]:
    """Score in folds where there are examples enough, or say why not."""
    seed, progress = options["seed"], options["progress"]
    try:
        return held_out(result, by="fold", seed=seed, progress=progress), ""
    except ValueError as error:
        return result, str(error)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - start, 3)
