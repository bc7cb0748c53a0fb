"""Accuracy on examples outside of the fit: words left out, folds, blocks of the text.

Every fold is an exact refit of every unit; direction and threshold come from the training part.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._shared import Seed, validated
from ..corpus import Contexts
from ..fitting import Scratch, compute, count_right
from ..probing import ProbeResult, needs_activations
from .relabelings import (
    check_relabelings,
    control_labels,
    does_not_vary,
    folds_hold_both,
    means_table,
    scores_over_words,
    words_left_out_null,
)
from .words import TooFewWordsError

SPLITS = ("word", "fold", "block", "document", "pair", "item")
#: Accuracies that differ by less are equal; each is a sum of shares, in some order.
ROUNDING = 1e-9


@validated
def held_out(
    result: ProbeResult,
    *,
    by: str = "word",
    folds: int = 5,
    relabelings: int = 40,
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
        than ``folds`` of them. ``"pair"``, ``"item"``: the same with the pairs, or items, that the
        examples carry.
    folds
        Number of folds, blocks or groups of documents, pairs or items.
    relabelings
        By word: how many other labelings of the words, as many in each class, the score is compared
        with; 0 for none. All of them where there are no more.
    seed
        Of the random folds and relabelings.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        ``by="word"`` adds ``held_out_accuracy``, balanced over classes and words: the mean over
        the two classes of the mean over the class's words of the share predicted right; and
        ``held_out_macro``, the plain mean over words. It also adds the table
        ``held_out_by_word``, from which :func:`tl_negation.profile` makes its bands: the share
        predicted right of each word (``word, label, layer, site, accuracy``), a mean over units;
        and, unless a word has both labels, the table ``held_out_null``: ``labeling`` (0: the labels
        as they are), ``layer, site`` and the mean ``accuracy`` of 64 units of each site, drawn at
        random, fitted and scored anew under each labeling.
        The others add ``fold_accuracy``, ``block_accuracy`` ... ``item_accuracy``, the balanced
        accuracy over all held-out predictions.

    Raises
    ------
    TooFewWordsError
        (A ValueError.) Training folds that miss a class: a class of one word type, or of one
        example.
    ValueError
        An unknown split; fewer than two folds, or more folds than examples; by document, pair or
        item, examples of only one, or that carry none. The result was read from disk.

    Notes
    -----
    Prediction is class 1 where p exceeds the training share of class 1. A unit that tells words
    apart without knowing the category is right in about one half of the words that its fit did not
    include, but not in just one half, and far from it by chance where words are few: leaving a word
    out shifts the mean of its class away from it, and the units of a layer err together. What such
    a unit scores is what the same units score after the labels of the words were dealt anew, which
    is the null distribution here. Its p value holds if the words are exchangeable between the
    classes; it is that of the mean over the units drawn. A high score shows that the category is
    decodable on other words of this kind, not that the model uses the unit.

    Examples
    --------
    >>> found = tln.held_out(result, by="block", folds=4, progress=False)
    >>> found.block_accuracy.shape
    torch.Size([3, 140])
    >>> found.provenance["held_out_block"]
    {'by': 'block', 'folds': 4, 'seed': None}
    >>> found = tln.held_out(result, relabelings=20, progress=False)
    >>> found.tables["held_out_null"].shape  # 21 labelings x 3 layers x 4 sites
    (252, 4)
    """
    if by not in SPLITS:
        raise ValueError(f"by must be one of {', '.join(SPLITS)}; got {by!r}")
    check_relabelings(relabelings)
    acts = needs_activations(result, "held_out")
    contexts = acts.contexts
    groups = groups_of(contexts, by, folds, seed)
    labels = contexts.labels.numpy()
    check_folds(labels, groups, by)
    cells = _cells(contexts) if by == "word" else []
    parts = _codes(contexts) if by == "word" else labels
    names = {"word": ("held_out_accuracy", "held_out_macro")}.get(by, (f"{by}_accuracy",))
    weights = example_weights(labels, contexts.word_codes if by == "word" else None)
    weights = torch.cat([weights, *(cell.weights[None] for cell in cells)])
    scores = [*names, *(f"cell {i}" for i in range(len(cells)))]

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        return dict(zip(scores, _scores(x, labels, groups, parts, weights, scratch), strict=True))

    columns = compute(acts.values, work, desc=f"held out by {by}", progress=progress)
    shares = [columns.pop(name) for name in scores[len(names) :]]
    about = {"by": by, "folds": len(np.unique(groups)), "seed": seed if by == "fold" else None}
    found = result.with_columns({**result.columns, **columns}, **{f"held_out_{by}": about})
    if by != "word":
        return found
    found = found.with_table("held_out_by_word", _by_word(found, cells, shares))
    null = words_left_out_null(acts, relabelings, seed, progress)
    if null is None:
        return found
    return found.with_columns(found.columns, held_out_null=null[1]).with_table(
        "held_out_null", null[0]
    )


def words_left_out(contexts: Contexts) -> Callable[[Tensor, Scratch], Tensor]:
    """Return what computes ``held_out_accuracy`` of a block ``[example, unit]``."""
    labels, words = contexts.labels.numpy(), contexts.word_codes
    weights, parts = example_weights(labels, words)[:1], _codes(contexts)
    return lambda x, scratch: _scores(x, labels, words, parts, weights, scratch)[0]


class _Cell(NamedTuple):
    """The examples of one word and class."""

    word: str
    label: int
    weights: Float[Tensor, " example"]  # of a mean over them


def _codes(contexts: Contexts) -> Int[np.ndarray, " example"]:
    """Number the word and class of every example."""
    return np.unique(2 * contexts.word_codes + contexts.labels.numpy(), return_inverse=True)[1]


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
    proportions of the real one. A unit that merely tells words apart is as good at those. Here
    every word of a class has the same weight, in the real task and in the control tasks: weighed by
    examples, a task whose frequent words happen to lie in different classes is an easy one, and
    selectivity depends on the words' frequencies.

    Parameters
    ----------
    result
        With its activations (not one read from disk).
    tasks
        Number of control tasks.
    folds
        Folds of the out-of-sample accuracy, stratified by word type; the same splits for the real
        task and all control tasks.
    seed
        Of folds and tasks.
    progress
        Show a progress bar.

    Returns
    -------
    ProbeResult
        With ``fold_accuracy``, as :func:`held_out` by fold; ``task_accuracy``, the same predictions
        averaged over the words of a class, then over the classes; ``control_accuracy``, its mean
        over the control tasks; ``selectivity``, their difference; and ``selectivity_rank``, the
        place of the real task among all tasks, from 1, the best (ties count against it). The table
        ``control_tasks`` has ``task`` (0: the real one), ``layer, site`` and ``accuracy``, a mean
        over units.

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
    If the words are exchangeable between the classes, every rank is as likely as another: rank 1
    among ten control tasks has p = 1/11. It does not show that the model uses the unit.

    Examples
    --------
    >>> found = tln.selectivity(result, tasks=2, folds=3, progress=False)
    >>> torch.equal(found.selectivity, found.task_accuracy - found.control_accuracy)
    True
    >>> found.selectivity_rank.unique().tolist()
    [1.0, 2.0, 3.0]
    """
    check_tasks(tasks)
    acts = needs_activations(result, "selectivity")
    contexts = acts.contexts
    groups = groups_of(contexts, "fold", folds, seed)
    labels = contexts.labels.numpy()
    check_folds(labels, groups, "fold")
    controls = control_labels(contexts, groups, tasks, seed)
    every, words = np.stack([labels, *controls]), contexts.word_codes
    first = np.unique(words, return_index=True)[1]
    balanced = example_weights(labels)[0, torch.from_numpy(first)]

    def work(x: Tensor, scratch: Scratch) -> dict[str, Tensor]:
        right = count_right(x, every, groups, words, scratch)
        in_folds = (balanced.to(x.device) @ right[0]).masked_fill(does_not_vary(x), torch.nan)
        scores = scores_over_words(x, right, every, words)
        return {"fold_accuracy": in_folds, **{f"task {i}": row for i, row in enumerate(scores)}}

    columns = compute(acts.values, work, desc="selectivity", progress=progress)
    scores = torch.stack([columns.pop(f"task {i}") for i in range(len(every))])
    columns |= _selectivity_columns(scores)
    about = {"tasks": tasks, "folds": folds, "seed": seed}
    found = result.with_columns({**result.columns, **columns}, selectivity=about)
    widths = [site.width for site in result.sites]
    return found.with_table("control_tasks", means_table(found, scores, widths, "task"))


def _selectivity_columns(scores: Float[Tensor, "task layer unit"]) -> dict[str, Tensor]:
    """Real task, mean of the control tasks, their difference, and the real task's place."""
    real, mean = scores[0], scores[1:].mean(dim=0)
    rank = (scores >= real - ROUNDING).sum(dim=0).double().masked_fill(real.isnan(), torch.nan)
    return {
        "task_accuracy": real,
        "control_accuracy": mean,
        "selectivity": real - mean,
        "selectivity_rank": rank,
    }


def check_tasks(tasks: int) -> None:
    """Refuse a selectivity without control tasks.

    Raises
    ------
    ValueError
        ``tasks`` below 1.
    """
    if tasks < 1:
        raise ValueError(f"selectivity needs at least one control task; got {tasks}")


def check_folds(
    labels: Int[np.ndarray, " example"], groups: Int[np.ndarray, " example"], by: str
) -> None:
    """Refuse folds whose training part misses a class.

    Raises
    ------
    TooFewWordsError
        Names the split and what to do.
    """
    if not folds_hold_both(labels, groups):
        raise TooFewWordsError(
            f"held out by {by}, a training fold has no example of one class: a class needs at "
            "least two word types (by word) and examples in at least two folds; use a contrast or "
            "text with more of them"
        )


def groups_of(contexts: Contexts, by: str, folds: int, seed: int) -> Int[np.ndarray, " example"]:
    """Number the fold of every example."""
    n = len(contexts)
    if by == "word":
        return contexts.word_codes
    if not 2 <= folds <= n:
        raise ValueError(f"folds must lie between 2 and the {n} examples; got {folds}")
    if by == "document":
        return document_folds(contexts, folds)
    if by in ("pair", "item"):
        return _whole(_named_groups(contexts, by), folds)
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
    numbers = np.unique(contexts.documents)
    if len(numbers) < 2:
        raise ValueError(
            "leaving documents out needs examples from at least two of them; these contexts come "
            f"from {len(numbers)}: load several texts (load_text), or hold out by block"
        )
    return _whole(np.searchsorted(numbers, contexts.documents), folds)


def _named_groups(contexts: Contexts, by: str) -> Int[np.ndarray, " example"]:
    """Number the pair or the item of every example."""
    if by not in contexts.examples:
        raise ValueError(
            f"leaving {by}s out needs examples that carry one; their table has no column {by!r}"
        )
    codes, names = pd.factorize(contexts.examples[by].astype(str))
    if len(names) < 2:
        raise ValueError(f"leaving {by}s out needs at least two of them; there is {len(names)}")
    return codes


def _whole(numbers: Int[np.ndarray, " example"], folds: int) -> Int[np.ndarray, " example"]:
    """Deal whole groups of examples to folds of about equally many, the largest first."""
    sizes = np.bincount(numbers)
    filled = np.zeros(min(folds, len(sizes)), dtype=np.int64)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[numbers]


def _scores(
    x: Float[Tensor, "example unit"],
    labels: Int[np.ndarray, " example"],
    groups: Int[np.ndarray, " example"],
    parts: Int[np.ndarray, " example"],
    weights: Float[Tensor, "score example"],
    scratch: Scratch,
) -> Float[Tensor, "score unit"]:
    """Average whether held-out predictions are right; NaN for units that do not vary.

    The examples of a part have the same weights.
    """
    right = count_right(x, labels[None], groups, parts, scratch)[0]
    first = np.unique(parts, return_index=True)[1]
    scores = weights[:, torch.from_numpy(first)].to(x.device) @ right
    return scores.masked_fill(does_not_vary(x), torch.nan)


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
