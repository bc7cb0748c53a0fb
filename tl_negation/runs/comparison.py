"""A contrast beside what is carried forward from it and beside controls."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from .._shared import Count, Seed, TokenCount, instance, validated
from ..activations import collect
from ..corpus import (
    ANTICIPATED,
    NEGATION,
    Contexts,
    Contrast,
    Corpus,
    Text,
    control,
    find_contexts,
    load_text,
)
from ..inference import TooFewWordsError, add_extras, held_out, infer
from ..models import TransformerLensModel, check_site_names, head_number, load_model
from ..probing import ProbeResult, basis_of, level_over_words, probe


@validated
def compare(
    model: TransformerLensModel | str | Path,
    text: Text | Corpus | Mapping[str, Any] | str | Path | Sequence[Any],
    *,
    contrast: Contrast = NEGATION,
    distances: Sequence[int] = (1, 2, 3),
    sites: Sequence[str] = ("q", "k", "v"),
    layers: Sequence[int] | None = None,
    before: TokenCount = 90,
    after: TokenCount = 10,
    prepend_bos: bool | None = None,
    per_class: Count | None = None,
    permutations: Count = 10_000,
    tasks: int = 10,
    heads: bool = False,
    seed: Seed = 0,
    progress: bool = True,
    device: str | None = None,
) -> pd.DataFrame:
    """Scan a contrast, what is carried forward from it, and controls: side by side.

    Parameters
    ----------
    model, text, sites, layers, before, after, prepend_bos, per_class, permutations, tasks, seed
        As in :func:`tl_negation.scan`.
        Or contexts by the name that each is to have in the table, found or made of your own
        examples (:func:`tl_negation.examples`): these are set side by side as they are.
    contrast
        The contrast itself.
    distances
        Distances of the carried contrasts (:meth:`tl_negation.Contrast.carried`).
    heads
        Probe whole heads too (:func:`tl_negation.head_probe`).
    progress, device
        As in :func:`tl_negation.scan`.

    Returns
    -------
    DataFrame
        A row per contrast: the contrast itself, carried at each distance, anticipated (for
        ``NEGATION``) and a control of arbitrary words (:func:`tl_negation.control`). Columns:
        ``contrast, examples_1, examples_0, words_1, words_0, base_rate``; ``over``: what was
        tested, ``"words"`` or, of examples that carry them, ``"pairs"``; what holds over these:
        of the groups of units, a layer's site each (:func:`tl_negation.group_test`), how many there
        are (``groups``) and pass over all of them (``groups_passed``), the ``share_words`` of units
        significant each by itself, ``share_words_expected``, and the share of all units that is
        tuned at least (``at_least_words``); ``share_significant_words`` (of all units, max-T),
        ``held_out_accuracy`` and ``selectivity``;
        then, by example, ``share_significant`` (of the units that the likelihood-ratio test exists
        for), ``accuracy`` (in sample) and ``fold_accuracy``: means over tested units; the
        ``best_unit`` by fold accuracy and its ``best_fold_accuracy``, with ``heads`` the mean over
        heads of their accuracy on words left out (``heads_held_out``) and the best head's, and a
        ``note`` where something could not be computed.

    Raises
    ------
    TypeError
        ``model`` is not a TransformerLens model.
    ValueError
        The contrast itself has no examples in the text; whatever the stages refuse.

    Notes
    -----
    The best of many units is too good by its selection; compare it with the best unit of the
    control. A difference between two rows is one between words as much as between categories:
    what the control reaches, any split of frequent words reaches.

    Examples
    --------
    >>> table = tln.compare(
    ...     model, text, distances=(1,), before=6, after=2, permutations=60, tasks=2, progress=False
    ... )
    >>> table[["contrast", "examples_1", "words_1"]]
                    contrast  examples_1  words_1
    0               negation          ...
    1    negation, carried 1          ...
    2  anticipated negation           ...
    3       control (seed 0)          ...
    """
    check_site_names(sites)
    given = _given(text, per_class, seed)
    read = None if given else load_text(text)
    if isinstance(model, (str, Path)):
        model = load_model(model, device=device, progress=progress)
    if read is not None:
        window = {"before": before, "after": after, "prepend_bos": prepend_bos}
        own = find_contexts(
            read, model.tokenizer, contrast, per_class=per_class, seed=seed, **window
        )
        given = {
            contrast.name: lambda: own,
            **_beside(contrast, distances, own, read, model.tokenizer, seed, window),
        }
    options = {"permutations": permutations, "tasks": tasks, "seed": seed, "progress": progress}
    rows = []
    for name, make in given.items():
        try:
            contexts = make()
        except ValueError as error:
            rows.append({"contrast": name, "note": str(error)})
            continue
        acts = collect(model, contexts, sites, layers=layers, progress=progress)
        called = name if read is None else contexts.contrast.name
        rows.append(_comparison_row(called, probe(acts, progress=progress), heads, options))
    return pd.DataFrame(rows)


def _given(text: Any, per_class: int | None, seed: int) -> dict[str, Callable[[], Contexts]]:
    """Contexts that were given by name; nothing if a text was given."""
    if not isinstance(text, Mapping):
        return {}
    for name, contexts in text.items():
        instance(Contexts)(f"text[{name!r}]", contexts)
    if not text:
        raise ValueError("compare needs contexts to set side by side; got none")
    sampled = {
        name: contexts if per_class is None else contexts.sample(per_class, seed)
        for name, contexts in text.items()
    }
    return {str(name): partial(_same, contexts) for name, contexts in sampled.items()}


def _same(contexts: Contexts) -> Contexts:
    return contexts


def _beside(
    contrast: Contrast,
    distances: Sequence[int],
    own: Contexts,
    text: Text | Corpus,
    tokenizer: Any,
    seed: int,
    window: dict[str, Any],
) -> dict[str, Callable[[], Contexts]]:
    """What is set beside a contrast, by name: carried, anticipated, a control."""
    others = [contrast.carried(distance) for distance in distances]
    others += [ANTICIPATED] if contrast == NEGATION else []
    found = {
        other.name: partial(find_contexts, text, tokenizer, other, seed=seed, **window)
        for other in others
    }
    return {**found, "control": partial(control, own, text, tokenizer, seed=seed)}


def _comparison_row(
    name: str, result: ProbeResult, heads: bool, options: dict[str, Any]
) -> dict[str, Any]:
    note = ""
    try:
        result = infer(result, **options)
    except TooFewWordsError as error:
        result, without = _in_folds(result, options)
        note = f"{error}. {without}".strip(". ")
    row: dict[str, Any] = {"contrast": name}
    for group in result.contexts.counts()["groups"].values():
        row[f"examples_{group['label']}"] = group["examples"]
        row[f"words_{group['label']}"] = len(group["word_types"])
    row["base_rate"] = result.base_rate
    basis = basis_of(result)
    if basis.significant in result.columns:
        row |= {"over": basis.name, **_groups(result)}
        row["share_significant_words"] = float(result.columns[basis.significant].double().mean())
    row |= _means(result, ("held_out_accuracy", "selectivity"))
    row["share_significant"] = float(result.columns["significant"].sum() / result.tested.sum())
    row |= _means(result, ("accuracy", "fold_accuracy"))
    row |= _best_unit(result)
    if heads and "word_test" in result.provenance:
        table = add_extras(result, ("heads",), progress=options["progress"]).tables["heads"]
        row["heads_held_out"] = table["held_out_accuracy"].mean()
        row["best_head_held_out"] = table["held_out_accuracy"].max()
    return {**row, "note": note}


def _groups(result: ProbeResult) -> dict[str, int | float]:
    """Count the groups of units that pass over words, and average their shares over units."""
    table = result.tables["groups"]
    share = table["units"] / table["units"].sum()
    names = {"share": "share_words", "share_expected": "share_words_expected"}
    names |= {"at_least_all": "at_least_words"}
    return {
        "groups": len(table),
        "groups_passed": int((table["p_maxt"] <= level_over_words(result)).sum()),
        **{name: float((share * table[column]).sum()) for column, name in names.items()},
    }


def _means(result: ProbeResult, names: Sequence[str]) -> dict[str, float]:
    """Means over tested units, of the columns that the result has."""
    known = [name for name in names if name in result.columns]
    return {name: float(result.columns[name][result.tested].nanmean()) for name in known}


def _best_unit(result: ProbeResult) -> dict[str, Any]:
    """Name the best unit in folds and its accuracy; nothing where no unit was scored in folds."""
    best = result.top(1, by="fold_accuracy") if "fold_accuracy" in result.columns else None
    if best is None or best.empty:
        return {}
    unit = best.to_dict("records")[0]
    return {
        "best_unit": f"{unit['layer']}.{unit['site']}.{head_number(unit['head'])}.{unit['index']}",
        "best_fold_accuracy": unit["fold_accuracy"],
    }


def _in_folds(result: ProbeResult, options: dict[str, Any]) -> tuple[ProbeResult, str]:
    """Score in folds where there are enough examples, or say why not."""
    seed, progress = options["seed"], options["progress"]
    try:
        return held_out(result, by="fold", seed=seed, progress=progress), ""
    except ValueError as error:
        return result, str(error)
