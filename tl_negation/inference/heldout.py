"""Accuracy on examples outside of the fit: words left out, folds, blocks of the text.

Every fold is an exact refit of every unit; direction and threshold come from the training part.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, validated
from ..corpus import Contexts
from ..fitting import Scratch, compute, predictions_right
from ..probing import ProbeResult, needs_activations
from .words import TooFewWordsError

SPLITS = ("word", "fold", "block", "document")


@validated
def held_out(
    result: ProbeResult,
    *,
    by: str = "word",
    folds: int = 5,
    seed: Seed = 0,
    progress: bool = True,
) -> ProbeResult:
    """Score every unit on examples that its fit did not include.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    by
        ``"word"``: each word type is left out once, the unit fitted on all other words predicts
        it. ``"fold"``: random folds, stratified by word type. ``"block"``: folds of neighbouring
        positions in the text, because windows overlap. ``"document"``: groups of whole documents
        with about equally many examples each; every document by itself where there are no more
        than ``folds`` of them.
    folds
        Number of folds, blocks or groups of documents.
    seed
        Of the random folds.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        ``by="word"`` adds ``held_out_accuracy``, balanced over classes and words: the mean over
        the two classes of the mean over the class's words of the share predicted right; and
        ``held_out_macro``, the plain mean over words. It also adds the table
        ``held_out_by_word``, from which :func:`tl_negation.profile` makes its bands: the share
        predicted right of each word (``word, label, layer, site, accuracy``), a mean over units.
        The others add ``fold_accuracy``, ``block_accuracy`` or ``document_accuracy``, the balanced
        accuracy over all held-out predictions.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) Training folds that miss a class: a class of one word type, or of one
        example.
    ValueError
        An unknown split; fewer than two folds, or more folds than examples; by document, examples
        of only one document. The result was read from disk.

    Notes
    -----
    A unit that tells words apart without knowing the category scores about one half on words that
    its fit did not include (on average over units; a single unit's score depends on as few words
    as there are). Prediction is class 1 where p exceeds the training share of class 1, so that
    guessing scores one half whatever the class sizes. A high score shows that the category is
    decodable on other words of this kind, not that the model uses the unit.

    Examples
    --------
    >>> found = tln.held_out(result, by="block", folds=4, progress=False)
    >>> found.block_accuracy.shape
    torch.Size([3, 140])
    >>> found.provenance["held_out_block"]
    {'by': 'block', 'folds': 4, 'seed': None}
    """
    if by not in SPLITS:
        raise ValueError(f"by must be one of {', '.join(SPLITS)}; got {by!r}")
    acts = needs_activations(result, "held_out")
    contexts = acts.contexts
    groups = _groups(contexts, by, folds, seed)
    labels = contexts.labels.numpy()
    check_folds(labels, groups, by)
    names = {"word": ("held_out_accuracy", "held_out_macro")}.get(by, (f"{by}_accuracy",))
    words = contexts.word_codes
    weights = example_weights(labels, words if by == "word" else None)
    cells = _cells(contexts) if by == "word" else []
    weights = torch.cat([weights, *(cell.weights[None] for cell in cells)])
    scores = [*names, *(f"cell {i}" for i in range(len(cells)))]

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        return dict(zip(scores, _scores(x, labels, groups, weights, scratch), strict=True))

    columns = compute(acts.values, work, desc=f"held out by {by}", progress=progress)
    shares = [columns.pop(name) for name in scores[len(names) :]]
    about = {"by": by, "folds": len(np.unique(groups)), "seed": seed if by == "fold" else None}
    found = result.with_columns({**result.columns, **columns}, **{f"held_out_{by}": about})
    return found.with_table("held_out_by_word", _by_word(found, cells, shares)) if cells else found


class _Cell(NamedTuple):
    """The examples of one word and class."""

    word: str
    label: int
    weights: Float[Tensor, " example"]  # of a mean over them


def _cells(contexts: Contexts) -> list[_Cell]:
    keys = list(zip(contexts.words, contexts.labels.tolist(), strict=True))
    members = {cell: np.array([float(key == cell) for key in keys]) for cell in dict.fromkeys(keys)}
    return [
        _Cell(word, label, torch.from_numpy(member / member.sum()))
        for (word, label), member in members.items()
    ]


def _by_word(
    result: ProbeResult, cells: Sequence[_Cell], shares: Sequence[Float[Tensor, "layer unit"]]
) -> pd.DataFrame:
    """Make a table of the mean over units of the share predicted right."""
    widths = [site.width for site in result.sites]
    rows = [
        {
            "word": cell.word,
            "label": cell.label,
            "layer": layer,
            "site": site.name,
            "accuracy": mean,
        }
        for cell, share in zip(cells, shares, strict=True)
        for layer, means in zip(result.layers, _means(share, widths), strict=True)
        for site, mean in zip(result.sites, means, strict=True)
    ]
    return pd.DataFrame(rows)


def _means(share: Float[Tensor, "layer unit"], widths: Sequence[int]) -> list[list[float]]:
    """Means over units [layer][site]."""
    parts = share.split(list(widths), dim=1)
    return torch.stack([part.nanmean(dim=1) for part in parts], dim=1).tolist()


@validated
def selectivity(
    result: ProbeResult,
    *,
    tasks: int = 10,
    folds: int = 5,
    seed: Seed = 0,
    progress: bool = True,
) -> ProbeResult:
    """Compare the accuracy on the real task with that on control tasks that only words decide.

    Hewitt & Liang (2019): a control task gives every word type a class at random, in the
    proportions of the real one. A unit that merely tells words apart is as good at those.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    tasks
        Number of control tasks.
    folds
        Folds of the out-of-sample balanced accuracy, stratified by word type; the same splits
        for the real task and all control tasks.
    seed
        Of folds and tasks.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        With ``fold_accuracy``, ``control_accuracy`` (mean over tasks) and ``selectivity``, their
        difference.

    Raises
    ------
    TooFewWordsError
        As :func:`held_out`; a word that has both labels; too few words for control tasks.
    ValueError
        ``tasks`` below 1; fewer than two folds, or more folds than examples. The result was read
        from disk.

    Notes
    -----
    Selectivity above 0 says that a unit does better than telling these words apart would let it.
    It does not show that the model uses the unit.

    Examples
    --------
    >>> found = tln.selectivity(result, tasks=2, folds=3, progress=False)
    >>> torch.equal(found.selectivity, found.fold_accuracy - found.control_accuracy)
    True
    """
    check_tasks(tasks)
    acts = needs_activations(result, "selectivity")
    contexts = acts.contexts
    groups = _groups(contexts, "fold", folds, seed)
    labels = contexts.labels.numpy()
    check_folds(labels, groups, "fold")
    controls = control_labels(contexts, groups, tasks, seed)
    weighted = [(task, example_weights(task)) for task in (labels, *controls)]

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        real, *control = (_scores(x, y, groups, w, scratch)[0] for y, w in weighted)
        mean = torch.stack(control).mean(dim=0)
        return {"fold_accuracy": real, "control_accuracy": mean, "selectivity": real - mean}

    columns = compute(acts.values, work, desc="selectivity", progress=progress)
    about = {"tasks": tasks, "folds": folds, "seed": seed}
    return result.with_columns({**result.columns, **columns}, selectivity=about)


def check_tasks(tasks: int) -> None:
    """Refuse a selectivity without control tasks.

    Raises
    ------
    ValueError
        ``tasks`` below 1.
    """
    if tasks < 1:
        raise ValueError(f"selectivity needs at least one control task; got {tasks}")


def control_labels(
    contexts: Contexts, groups: Int[np.ndarray, " example"], tasks: int, seed: int
) -> list[Int[np.ndarray, " example"]]:
    """Draw the labels of the control tasks: word types relabelled in the real proportions.

    A relabelling that leaves a training fold without one of the classes (all words of the class
    are rare) is drawn again.

    Raises
    ------
    TooFewWordsError
        A word has both labels, which no control task can keep; too few of the draws, 100 for
        each task, are usable.
    """
    rng = np.random.default_rng((seed, 1))
    words, types = contexts.word_codes, contexts.word_types
    by_type = np.zeros(len(types), dtype=np.int64)
    by_type[words] = contexts.labels.numpy()
    both = by_type[words] != contexts.labels.numpy()
    if both.any():
        raise TooFewWordsError(
            f"a control task gives each word type one class; {types[words[both][0]]!r} has both"
        )
    found: list[np.ndarray] = []
    for _ in range(100 * tasks):
        labels = rng.permutation(by_type)[words]
        if _folds_hold_both(labels, groups):
            found.append(labels)
        if len(found) == tasks:
            return found
    raise TooFewWordsError(
        f"no {tasks} control tasks whose training folds hold both classes could be drawn from "
        f"{len(types)} word types; use a contrast with more words, or fewer folds"
    )


def check_folds(
    labels: Int[np.ndarray, " example"], groups: Int[np.ndarray, " example"], by: str
) -> None:
    """Refuse folds whose training part misses a class.

    Raises
    ------
    TooFewWordsError
        Names the split and what to do.
    """
    if not _folds_hold_both(labels, groups):
        raise TooFewWordsError(
            f"held out by {by}, a training fold has no example of one class: a class needs at "
            "least two word types (by word) and examples in at least two folds; use a contrast or "
            "text with more of them"
        )


def _folds_hold_both(labels: np.ndarray, groups: np.ndarray) -> bool:
    return all(0 < labels[groups != g].sum() < (groups != g).sum() for g in np.unique(groups))


def _groups(contexts: Contexts, by: str, folds: int, seed: int) -> Int[np.ndarray, " example"]:
    """Number the fold of every example."""
    n = len(contexts)
    if by == "word":
        return contexts.word_codes
    if not 2 <= folds <= n:
        raise ValueError(f"folds must lie between 2 and the {n} examples; got {folds}")
    if by == "document":
        return document_folds(contexts, folds)
    if by == "block":
        order = np.lexsort((contexts.examples["position"].to_numpy(), contexts.documents))
        rank = np.empty(n, dtype=np.int64)
        rank[order] = np.arange(n)
        return rank * folds // n
    rng = np.random.default_rng((seed, 0))
    shuffled = rng.permutation(n)
    words = np.array(contexts.words)[shuffled]
    dealt = shuffled[np.argsort(words, kind="stable")]  # words one after the other, shuffled within
    groups = np.empty(n, dtype=np.int64)
    groups[dealt] = np.arange(n) % folds
    return groups


def document_folds(contexts: Contexts, folds: int = 5) -> Int[np.ndarray, " example"]:
    """Deal whole documents to folds of about equally many examples, the largest first.

    Raises
    ------
    ValueError
        All examples come from one document.
    """
    numbers, sizes = np.unique(contexts.documents, return_counts=True)
    if len(numbers) < 2:
        raise ValueError(
            "leaving documents out needs examples from at least two of them; these contexts come "
            f"from {len(numbers)}: load several texts (load_text), or hold out by block"
        )
    filled = np.zeros(min(folds, len(numbers)), dtype=np.int64)
    fold_of = np.empty(len(numbers), dtype=np.int64)
    for document in np.argsort(-sizes, kind="stable"):
        fold_of[document] = filled.argmin()
        filled[fold_of[document]] += sizes[document]
    return fold_of[np.searchsorted(numbers, contexts.documents)]


def _scores(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    weights: Float[Tensor, "score example"],
    scratch: Scratch,
) -> Float[Tensor, "score unit"]:
    """Average whether held-out predictions are right; NaN for units that do not vary."""
    right = predictions_right(x, labels, groups, scratch)
    scores = weights.to(x.device) @ right.double()
    low, high = x.amin(dim=0), x.amax(dim=0)
    invalid = ~(low.isfinite() & high.isfinite()) | (low == high)
    return scores.masked_fill(invalid, torch.nan)


def example_weights(
    labels: Int[np.ndarray, " example"], words: Int[np.ndarray, " example"] | None = None
) -> Float[Tensor, "score example"]:
    """Weight the examples so that sums of right predictions are the scores of held_out."""
    per_class = np.bincount(labels)
    if words is None:
        return torch.from_numpy(0.5 / per_class[labels])[None]
    per_word = np.bincount(words)[words]
    cell = 2 * words + labels  # a word may have examples of both classes
    words_of_class = [len(np.unique(words[labels == label])) for label in (0, 1)]
    balanced = 0.5 / np.bincount(cell)[cell] / np.array(words_of_class)[labels]
    return torch.from_numpy(np.stack([balanced, 1 / per_word / len(np.unique(words))]))
