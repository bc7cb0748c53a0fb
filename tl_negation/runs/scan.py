"""All stages in one call, and the run directory that they end in."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec

import pandas as pd
import torch

from .._shared import (
    LOG,
    Count,
    Preset,
    Seed,
    TokenCount,
    check_target,
    current,
    expanded,
    one_writer,
    stage,
    validated,
)
from ..activations import Activations, Features, collect
from ..corpus import NEGATION, Contexts, Contrast, Corpus, Text, find_contexts, load_text
from ..inference import (
    TooFewWordsError,
    add_calibration,
    add_extras,
    check_extras,
    check_infer,
    distinct_rows,
    infer,
)
from ..models import (
    SITES,
    TransformerLensModel,
    check_site_names,
    load_model,
    untrained_twin,
)
from ..probing import ProbeResult, check_preset, check_test, default_test, probe
from .directory import kept_if_not_written, write_run

_Given = ParamSpec("_Given")
#: Stages of a scan, in their order; each is timed, and its progress bars say which it is.
STAGES = ("model", "contexts", "activations", "probe", "words", "display", "files")
#: Units and contexts per class whose activations over the whole window are kept for display.
DISPLAY_UNITS, DISPLAY_CONTEXTS = 18, 5


def _alone_in_out(function: Callable[_Given, ProbeResult]) -> Callable[_Given, ProbeResult]:
    """Keep a second scan from working for hours towards an ``out`` that is then taken.

    The decorated function keeps its signature (a ParamSpec), so that editors show its parameters.
    """

    @wraps(function)
    def alone(*args: _Given.args, **kwargs: _Given.kwargs) -> ProbeResult:
        out = kwargs.get("out")
        if isinstance(out, (str, Path)) and current().is_main:
            with one_writer(out):
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    return alone


@validated
@_alone_in_out
def scan(
    model: TransformerLensModel | str | Path,
    text: Text | Corpus | Contexts | str | Path | Sequence[Any],
    *,
    contrast: Contrast = NEGATION,
    sites: Sequence[str] = ("q", "k", "v"),
    layers: Sequence[int] | None = None,
    features: Features = None,
    before: TokenCount = 90,
    after: TokenCount = 10,
    preset: Preset = None,
    prepend_bos: bool | None = None,
    per_class: Count | None = None,
    test: str | None = None,
    family: str = "layer",
    correction: str = "bonferroni",
    alpha: float = 0.05,
    words: bool = True,
    word_family: str = "all",
    alternative: str = "two-sided",
    permutations: Count = 10_000,
    tasks: int = 10,
    extras: Sequence[str] = (),
    device: str | None = None,
    untrained: bool = False,
    seed: Seed = 0,
    batch_size: Count | None = None,
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
        :func:`tl_negation.load_text`. Or contexts that were found already, or made of your own
        examples (:func:`tl_negation.examples`), with the model's tokenizer; then ``contrast``,
        ``before``, ``after`` and ``prepend_bos`` say nothing more and are refused.
    contrast
        The word lists to tell apart; ``NEGATION`` is *not, can't, never* against *can, could, may*.
    sites
        Activations to score, as in :func:`tl_negation.sites_of`; ``"q"``, ``"k"`` and ``"v"`` are
        queries, keys and values, before any rotation by position.
    layers
        Numbers of the layers to score, from 0; all of them if not given.
    features
        What encoders make of sites, as in :func:`tl_negation.collect`:
        ``{"sae": ("resid_post", sae.encode)}``.
    before
        Tokens before the target that the model reads.
    after
        Tokens after the target: for display, and for interventions to be measured on.
    preset
        ``"notebook"``: the reference notebook's rules of finding contexts (see
        :func:`tl_negation.find_contexts`), its test by example (Wald, Bonferroni per layer at .05)
        and the profile that is written (see :func:`tl_negation.profile`).
    prepend_bos
        Begin each window with the tokenizer's BOS token; if not given, as the tokenizer itself
        does with a text.
    per_class
        Draw this many contexts of each class at random instead of using all.
    test
        Test by which units are ``significant`` by example, as in :func:`tl_negation.probe`:
        ``"lr"`` (likelihood ratio) or ``"wald"``; if not given, that of the preset, or else
        ``"lr"``.
    family
        Tests by example that are corrected together: those of a ``"layer"`` (attention and MLP
        apart) or another family of :func:`tl_negation.adjusted`.
    correction
        Within a family: ``"bonferroni"`` or another correction of :func:`tl_negation.adjusted`.
    alpha
        Level of the corrected test by example.
    words
        Run :func:`tl_negation.infer`: the word-type permutation test, words left out, selectivity
        and Firth's fit, and the test over pairs of examples that carry them. A contrast with too
        few words for it is scanned without, and ``provenance["words_left_out"]`` says why.
    word_family, alternative, permutations
        Of the test over words: ``family``, ``alternative`` and ``permutations`` of
        :func:`tl_negation.word_test`.
    tasks
        Control tasks of the selectivity, as in :func:`tl_negation.selectivity`.
    extras
        Names of what to compute besides, as in :func:`tl_negation.add_extras`.
    device
        Where a model given by name goes: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; CUDA if
        there is any, otherwise the CPU.
    untrained
        Scan the untrained twin of the model instead (same architecture and tokenizer, random
        weights): what the architecture and the words alone give.
    seed
        Of the draw of contexts, of the inference and of the twin's weights.
    batch_size
        Contexts in one forward pass, as in :func:`tl_negation.collect`.
    store
        Directory that keeps the activations, as in :func:`tl_negation.collect`; not within
        ``out``.
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
        ``out`` holds something that may not be replaced; raised before anything is computed.
    BlockingIOError
        Another scan is writing to ``out``.
    OSError
        ``out`` cannot be written (a full disk); the message says where the tables were kept.
    TypeError, ValueError
        The store is within ``out``; whatever the stages refuse. Names that no model has are
        refused before the model is loaded.

    Notes
    -----
    The work is split over processes after :func:`tl_negation.use_processes`, whose notes say how;
    every process gets the result, the main one writes it.

    A significant unit is one from which the class is *decodable*. Whether it knows the category or
    only some of its words is what the inference over words answers; whether the model uses the
    unit, :func:`tl_negation.add_effects`.

    Examples
    --------
    >>> found = tln.scan(
    ...     model, text, before=6, after=2, per_class=60, words=False, progress=False
    ... )
    >>> print(found)
    ProbeResult of ...: 3 layers x (q 20, k 20, v 20) units on 120 contexts
    ...
    >>> list(found.provenance["seconds"])
    ['model', 'contexts', 'activations', 'probe', 'words', 'display']
    """
    test = default_test(preset) if test is None else test
    rule = {"test": test, "alpha": alpha, "family": family, "correction": correction}
    check_test(**rule)
    check_preset(preset, rule)
    check_infer(family=word_family, alternative=alternative, tasks=tasks)
    check_extras(extras)
    check_site_names(sites)
    if out is not None:
        check_target(out, overwrite=overwrite)
        _check_apart(out, store)
    progress = progress and current().is_main
    seconds: dict[str, float] = {}
    stages = [name for name in STAGES if name != "files" or out is not None]
    if isinstance(text, Contexts):
        _check_found(contrast=contrast, before=before, after=after, prepend_bos=prepend_bos)
    else:
        text = load_text(text)
    with _timed(seconds, "model", stages):
        if isinstance(model, (str, Path)):
            model = load_model(model, device=device, progress=progress)
        model = untrained_twin(model, seed=seed) if untrained else model
    with _timed(seconds, "contexts", stages):
        if isinstance(text, Contexts):
            contexts = text
        else:
            contexts = find_contexts(
                text, model.tokenizer, contrast, before, after, preset, prepend_bos=prepend_bos
            )
        contexts = contexts if per_class is None else contexts.sample(per_class, seed)
        check_extras(extras, contexts)
    with _timed(seconds, "activations", stages):
        options = {"layers": layers, "batch_size": batch_size, "store": store}
        acts = collect(model, contexts, sites, features=features, progress=progress, **options)
    with _timed(seconds, "probe", stages):
        result = probe(acts, progress=progress, **rule)
    with _timed(seconds, "words", stages):
        options = {
            "permutations": permutations, "family": word_family, "alternative": alternative,
            "tasks": tasks, "seed": seed, "progress": progress,
        }  # fmt: skip
        result = _over_words(result, options) if words else result
        result = add_extras(result, extras, seed=seed, progress=progress)
    with _timed(seconds, "display", stages):
        display = _display(model, result, features)
    lexical = _lexical_baseline(acts)
    provenance = {"preset": preset, "lexical_baseline": lexical, "seconds": seconds}
    result = replace(result, provenance={**result.provenance, **provenance}, display=display)
    if out is not None and current().is_main:
        with kept_if_not_written(result, out), stage(len(stages), len(stages)):
            write_run(result, out, preset=preset, overwrite=overwrite, progress=progress)
    return result


def _check_found(**given: Any) -> None:
    """Refuse what says how contexts are to be found where they have been found already."""
    defaults = signature(scan).parameters
    for name, value in given.items():
        if value != defaults[name].default:
            raise ValueError(
                f"{name} says how contexts are found in a text, and these have been found already; "
                f"leave it out, or give it to find_contexts or examples"
            )


def _check_apart(out: str | Path, store: str | Path | None) -> None:
    if store is None:
        return
    out, store = expanded(out).absolute(), expanded(store).absolute()
    if out in (store, *store.parents):
        raise ValueError(
            f"a run directory is replaced as a whole, so its activations cannot lie within it: "
            f"the store is {store}, the run {out}; name another directory for one of them"
        )


def _lexical_baseline(acts: Activations) -> dict[str, Any]:
    """Count distinct rows of the first layer, of the sites that see only the token there."""
    sites = tuple(
        site for site in acts.sites if site.name in SITES and SITES[site.name].lexical_at_first
    )
    sites = sites or acts.sites
    values = torch.cat([acts.site(site.name)[:1] for site in sites], dim=2)
    first = replace(acts, values=values, sites=sites, layers=acts.layers[:1])
    counts = {str(name): int(value) for name, value in distinct_rows(first).iloc[0].items()}
    tokens = acts.contexts.tokens[:, acts.contexts.before]
    return {**counts, "tokens": len(tokens.unique()), "sites": [site.name for site in sites]}


def _over_words(result: ProbeResult, options: dict[str, Any]) -> ProbeResult:
    try:
        result = infer(result, **options)
    except TooFewWordsError as error:
        return result.with_columns(result.columns, words_left_out=str(error))
    if "word_test" not in result.provenance:
        return result
    drawn = {name: options[name] for name in ("permutations", "seed")}
    return add_calibration(result, **drawn)


def _display(model: Any, result: ProbeResult, features: Features) -> pd.DataFrame:
    """Activations of the strongest units over whole windows, to show them in the report."""
    from .. import views

    units = views.spread_units(result, DISPLAY_UNITS)
    n = 2 * DISPLAY_CONTEXTS
    return views.display_table(model, result.contexts, units, n=n, features=features)


@contextmanager
def _timed(seconds: dict[str, float], name: str, stages: Sequence[str]) -> Iterator[None]:
    """Time a stage, number its progress bars, and log how long it took."""
    start = time.perf_counter()
    with stage(stages.index(name) + 1, len(stages)):
        yield
    seconds[name] = round(time.perf_counter() - start, 3)
    LOG.info("%s took %.1f s", name, seconds[name])
