"""Accuracy on examples outside of the fit, against scikit-learn, one fit at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import synthetic
from helpers.predictions import right_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.svm import SVC

from tl_negation.fitting import compiled_folds, count_right, engine, tensors
from tl_negation.inference import heldout, relabelings
from tl_negation.inference.heldout import held_out, selectivity
from tl_negation.inference.words import TooFewWordsError

#: Documents of the 61 examples.
SEVEN = np.arange(61) % 7


def result_of(values, labels, words, positions=None, documents=None):
    of = synthetic.contexts(labels, words, positions=positions, documents=documents)
    return synthetic.bare(synthetic.activations(values, of))


def separates(x, y):
    return x[y == 1].min() >= x[y == 0].max() or x[y == 1].max() <= x[y == 0].min()


def predict(x, y, train, test):
    """Class of the test examples: p above the training share; a gap cut in the middle."""
    x = ((x - x[train].mean()) / x[train].std())[:, None]
    if separates(x[train], y[train]):
        return SVC(kernel="linear", C=1e6, tol=1e-8).fit(x[train], y[train]).predict(x[test])
    fit = LogisticRegression(C=1e12, solver="newton-cg", tol=1e-9, max_iter=1000)
    fit.fit(x[train], y[train])
    return (fit.predict_proba(x[test])[:, 1] > y[train].mean()).astype(int)


def predict_all(x, y, groups):
    """Every example predicted by the fit to the other groups, unit by unit and fold by fold."""
    predicted = np.empty(x.shape, dtype=int)
    for unit in range(x.shape[1]):
        for train, test in LeaveOneGroupOut().split(x, y, groups):
            predicted[test, unit] = predict(x[:, unit], y, train, test)
    return predicted


@pytest.fixture(scope="module")
def data():
    """One layer of 12 units; two of them separated in some training folds, one in all."""
    values, labels, words = synthetic.small(seed=5)
    values = np.float64(np.float32(values[:1, :, :12]))
    rng = np.random.default_rng(0)
    values[0, :, 3] = 3 * labels + rng.uniform(-1, 1, 61)  # a gap in every fold
    values[0, :, 4] = 3 * labels + rng.uniform(-1, 1, 61)
    values[0, words == "nor", 4] = -0.5  # a gap only where "nor" is left out
    values[0, :, 5] = -3 * labels + rng.uniform(-1, 1, 61)
    values[0, words == "agree", 5] = -2.5
    return values, labels, words


# ------------------------------------------------------------------ against scikit-learn


@pytest.mark.parametrize("way", ["rows", "tensors", "lost"])
def test_words_left_out_are_predicted_as_a_scikit_learn_loop_predicts_them(data, way, monkeypatch):
    """As on a CPU, as on other devices, and for units that the compiled iteration lost."""
    if way == "tensors":
        other = engine.ROWS._replace(count_right=tensors.count_right)
        monkeypatch.setitem(engine.ENGINES, "cpu", other)
    if way == "lost":
        monkeypatch.setattr(compiled_folds, "count_right", lambda *args: args[-1].fill(True))
    values, labels, words = data
    values = np.float64(np.float32(values))
    want = predict_all(values[0], labels, words) == labels[:, None]
    groups = np.unique(words, return_inverse=True)[1]
    got = right_of(torch.from_numpy(values[0]), labels, groups).numpy()
    np.testing.assert_array_equal(got, want)
    assert 0.3 < want.mean() < 0.95  # neither all right nor a coin
    for unit, word in ((3, "not"), (4, "nor"), (5, "agree")):
        assert separates(values[0, words != word, unit], labels[words != word])
    assert not separates(values[0, words != "can", 4], labels[words != "can"])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gap_in_training_is_cut_in_the_middle(sign):
    """Without "nor", class 1 begins at 2 and class 0 ends at 1; the mean lies elsewhere."""
    words = np.array(["not"] * 3 + ["nor"] * 4 + ["can"] * 3 + ["may"] * 2)
    labels = np.isin(words, ["not", "nor"]).astype(np.int64)
    x = sign * np.array([2, 5, 60, 1.49, 1.51, 1.1, 1.9, 1, 0.5, -3, 0, 0.9])
    right = right_of(torch.from_numpy(x)[:, None], labels, np.unique(words, return_inverse=True)[1])
    assert right[words == "nor", 0].tolist() == [False, True, False, True]


def test_scores_over_words(data):
    values, labels, words = data
    right = predict_all(values[0], labels, words) == labels[:, None]
    by_word = {word: right[words == word].mean(axis=0) for word in dict.fromkeys(words)}
    ones = [share for word, share in by_word.items() if labels[words == word][0] == 1]
    zeros = [share for word, share in by_word.items() if labels[words == word][0] == 0]
    got = held_out(result_of(*data), progress=False)
    balanced = (np.mean(ones, axis=0) + np.mean(zeros, axis=0)) / 2
    np.testing.assert_allclose(got.held_out_accuracy[0], balanced, rtol=1e-12)
    np.testing.assert_allclose(got.held_out_macro[0], np.mean(list(by_word.values()), axis=0))
    assert got.provenance["held_out_word"] == {"by": "word", "folds": 9, "seed": None}


@pytest.mark.parametrize(
    ("by", "folds"), [("fold", 4), ("block", 3), ("document", 3), ("document", 9)]
)
def test_folds_are_scored_as_a_scikit_learn_loop_scores_them(data, by, folds):
    values, labels, _ = data
    of_seven = result_of(*data, documents=SEVEN)
    groups = heldout.groups_of(of_seven.contexts, by, folds, 7)
    predicted = predict_all(values[0], labels, groups)
    got = held_out(of_seven, by=by, folds=folds, seed=7, progress=False)
    want = [balanced_accuracy_score(labels, predicted[:, unit]) for unit in range(12)]
    np.testing.assert_allclose(got.columns[f"{by}_accuracy"][0], want, rtol=1e-12)
    about = {"by": by, "folds": len(set(groups)), "seed": 7 if by == "fold" else None}
    assert got.provenance[f"held_out_{by}"] == about


def test_a_word_with_examples_of_both_classes_counts_in_both():
    """As in a contrast whose targets are the same words in both classes."""
    rng = np.random.default_rng(0)
    words = np.repeat(["be", "go", "see", "do"], [6, 9, 12, 15])
    labels = np.tile([1, 0, 0], 14)
    x = rng.normal(size=(42, 8)) + labels[:, None] * np.r_[10, np.linspace(0, 2, 7)]
    right = predict_all(np.float64(np.float32(x)), labels, words) == labels[:, None]
    cells = [
        [right[(words == word) & (labels == label)].mean(axis=0) for word in np.unique(words)]
        for label in (0, 1)
    ]
    got = held_out(result_of(x[None], labels, words), progress=False)
    np.testing.assert_allclose(got.held_out_accuracy[0], np.mean(cells, axis=(0, 1)))
    assert got.held_out_accuracy[0, 0].item() == pytest.approx(1)  # not one half


# ------------------------------------------------------------------ splits


def test_random_folds_are_stratified_by_word_and_seeded():
    of = synthetic.story_contexts()
    groups = heldout.groups_of(of, "fold", 5, 0)
    for word in set(of.words):
        counts = np.bincount(groups[np.array(of.words) == word], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.bincount(groups).tolist() == [80, 80, 80, 79, 79]
    assert (groups == heldout.groups_of(of, "fold", 5, 0)).all()
    assert (groups != heldout.groups_of(of, "fold", 5, 1)).any()
    assert len(set(groups[:20])) > 1  # neighbours are dealt apart


def test_blocks_are_neighbours_in_the_text_not_in_the_table():
    rng = np.random.default_rng(0)
    positions = rng.permutation(1000)[:47]
    of = synthetic.contexts(np.arange(47) % 2, ["w"] * 47, positions=positions)
    groups = heldout.groups_of(of, "block", 4, 0)
    assert np.bincount(groups).tolist() == [12, 12, 12, 11]
    assert (np.diff(groups[np.argsort(positions)]) >= 0).all()


def test_blocks_follow_the_documents_in_which_positions_begin_anew():
    of = synthetic.contexts(
        np.arange(12) % 2, ["w"] * 12, positions=[5, 1, 3] * 4, documents=np.repeat([1, 0, 2, 3], 3)
    )
    groups = heldout.groups_of(of, "block", 4, 0)
    assert groups.tolist() == [1] * 3 + [0] * 3 + [2] * 3 + [3] * 3


def test_documents_are_left_out_whole_in_groups_of_about_one_size():
    sizes = [40, 9, 11, 30, 10, 20, 5, 15]
    documents = np.repeat(np.arange(8) * 3, sizes)  # documents 1, 2, 4 ... have no example
    of = synthetic.contexts(np.arange(140) % 2, ["w"] * 140, documents=documents)
    groups = heldout.document_folds(of, 4)
    assert all(len(set(groups[documents == number])) == 1 for number in documents)
    assert sorted(np.bincount(groups)) == [30, 35, 35, 40]
    alone = heldout.document_folds(of, 50)
    assert len(set(alone)) == 8
    assert len(set(zip(alone, documents, strict=True))) == 8


def test_one_document_cannot_be_left_out():
    values, labels, words = synthetic.small()
    result = synthetic.bare(synthetic.activations(values, synthetic.contexts(labels, words)))
    with pytest.raises(ValueError, match="from at least two of them; these contexts come from 1"):
        held_out(result, by="document", progress=False)


def test_more_folds_than_words_leave_examples_out_one_by_one(data):
    values, labels, words = data
    one = values[:, :, :2]
    got = held_out(result_of(one, labels, words), by="fold", folds=61, progress=False)
    predicted = predict_all(one[0], labels, np.arange(61))
    want = [balanced_accuracy_score(labels, predicted[:, unit]) for unit in range(2)]
    np.testing.assert_allclose(got.fold_accuracy[0], want)


# ------------------------------------------------------------------ what must not change it


@pytest.mark.parametrize("by", heldout.SPLITS[:4])  # pairs and items: test_pairs.py
def test_chunks_do_not_matter(monkeypatch, by):
    data = synthetic.small()
    whole = held_out(result_of(*data, documents=SEVEN), by=by, progress=False)
    monkeypatch.setitem(engine.ENGINES, "cpu", engine.ROWS._replace(units=4))
    cut = held_out(result_of(*data, documents=SEVEN), by=by, progress=False)
    names = set(whole.columns) - {"status"}
    assert names
    for name in names:
        torch.testing.assert_close(whole.columns[name], cut.columns[name], equal_nan=True)


def test_flipped_labels_and_rescaled_units_score_the_same():
    values, labels, words = synthetic.small()
    plain = held_out(result_of(values, labels, words), progress=False)
    flipped = held_out(result_of(values, 1 - labels, words), progress=False)
    moved = held_out(result_of(values * -8 + 0.25, labels, words), progress=False)
    assert torch.equal(plain.held_out_accuracy, flipped.held_out_accuracy)
    torch.testing.assert_close(plain.held_out_accuracy, moved.held_out_accuracy)


def test_units_without_a_fit_are_nan():
    values, labels, words = synthetic.small()
    values[0, :, 2] = 0.7
    values[1, 5, 3] = np.nan
    values[1, 6, 4] = -np.inf
    got = held_out(result_of(values, labels, words), progress=False).held_out_accuracy
    missing = torch.zeros_like(got, dtype=torch.bool)
    missing[[0, 1, 1], [2, 3, 4]] = True
    assert torch.equal(torch.isnan(got), missing)


def test_a_unit_constant_in_training_says_class_0():
    """All that it knows of the words left is the base rate, which p does not exceed."""
    _, labels, words = synthetic.small()
    groups = np.unique(words, return_inverse=True)[1]
    x = torch.from_numpy(np.float32(words == "nor")[:, None])
    assert not right_of(x, labels, groups)[words == "nor"].any()
    x = torch.from_numpy(np.float32(words == "may")[:, None])
    assert right_of(x, labels, groups)[words == "may"].all()


# ------------------------------------------------------------------ selectivity


def over_words(right, task, words):
    """Mean over the words of a class, then over the classes, of the share predicted right."""
    cells = [
        np.mean([right[words == word].mean() for word in np.unique(words[task == label])])
        for label in (0, 1)
    ]
    return np.mean(cells)


def test_selectivity_is_the_real_task_minus_the_mean_of_the_control_tasks():
    values, labels, words = synthetic.small(seed=4)
    result = result_of(values[:1], labels, words)
    got = selectivity(result, tasks=3, folds=4, seed=2, progress=False)
    of = result.contexts
    groups = heldout.groups_of(of, "fold", 4, 2)
    tasks = [labels, *relabelings.control_labels(of, groups, 3, 2)]
    predicted = [predict_all(values[0, :, :6], task, groups) for task in tasks]
    scores = np.array(
        [
            [over_words(column == task, task, words) for column in of_task.T]
            for task, of_task in zip(tasks, predicted, strict=True)
        ]
    )
    balanced = [balanced_accuracy_score(labels, column) for column in predicted[0].T]
    np.testing.assert_allclose(got.fold_accuracy[0, :6], balanced)
    np.testing.assert_allclose(got.task_accuracy[0, :6], scores[0])
    np.testing.assert_allclose(got.control_accuracy[0, :6], np.mean(scores[1:], axis=0))
    assert torch.equal(got.selectivity, got.task_accuracy - got.control_accuracy)
    rank = (scores >= scores[0] - 1e-9).sum(axis=0)
    assert got.selectivity_rank[0, :6].tolist() == rank.tolist()
    assert len(set(rank.tolist())) > 1
    fold = held_out(result, by="fold", folds=4, seed=2, progress=False)
    torch.testing.assert_close(fold.fold_accuracy, got.fold_accuracy)  # the same splits
    assert got.provenance["selectivity"] == {"tasks": 3, "folds": 4, "seed": 2}


def test_the_table_of_control_tasks_holds_the_means_over_units():
    result = result_of(*synthetic.small(seed=4))
    got = selectivity(result, tasks=3, progress=False)
    table = got.tables["control_tasks"].set_index(["task", "layer", "site"])["accuracy"]
    assert len(table) == 4 * 3 * 3
    for name, part in got.split().items():
        for row, layer in enumerate(part.layers):
            real = part.task_accuracy[row].mean().item()
            control = part.control_accuracy[row].mean().item()
            assert table[(0, layer, name)] == pytest.approx(real)
            assert table.loc[1:3, layer, name].mean() == pytest.approx(control)


def test_selectivity_of_units_that_know_only_words_does_not_depend_on_their_frequencies():
    """The demo's counts. Weighed by examples the real task is the easier one by about 6 points:
    the two frequent words of negation are in one class there, and not in most control tasks.
    """
    counts = {"not": 164, "cannot": 14, "n't": 13, "never": 6, "nor": 3}
    counts |= {"can": 84, "may": 48, "should": 44, "always": 15, "allow": 5, "could": 3, "might": 1}
    words = np.array(synthetic.tokens_of(counts))
    labels = np.repeat([1, 0], [200, 200])
    x = synthetic.lexical_units(words, 1500, np.random.default_rng(0))
    result = result_of(x[None], labels, words)
    got = selectivity(result, tasks=30, progress=False)
    of = result.contexts
    groups = heldout.groups_of(of, "fold", 5, 0)
    tasks = np.stack(relabelings.control_labels(of, groups, 30, 0))
    right = count_right(result.activations.values[0], tasks, groups, np.arange(400))
    by_example = [
        (heldout.example_weights(task) @ counts)[0]
        for task, counts in zip(tasks, right, strict=True)
    ]
    old = got.fold_accuracy[0] - torch.stack(by_example).mean(dim=0)
    assert old.mean() > 0.04
    means = got.tables["control_tasks"].groupby("task")["accuracy"].mean()
    # the real task is one of the labelings, and its mean is over 1,500 units
    error = math.hypot(means[1:].std(), got.selectivity.std().item() / math.sqrt(1500))
    assert error < 0.006
    assert abs(got.selectivity.mean().item()) < 3 * error


def test_selectivity_is_seeded():
    data = synthetic.small(seed=4)
    one, same, other = (
        selectivity(result_of(*data), tasks=2, seed=seed, progress=False) for seed in (1, 1, 2)
    )
    assert torch.equal(one.control_accuracy, same.control_accuracy)
    assert not torch.equal(one.control_accuracy, other.control_accuracy)


def test_who_knows_only_words_is_not_selective_and_who_knows_the_category_is():
    """Sixteen words of equal counts, so that no labelling of them is easier than another."""
    rng = np.random.default_rng(0)
    words = np.repeat([f"w{i:02}" for i in range(16)], 12)
    labels = np.repeat([1, 0], [96, 96])
    lexical = synthetic.lexical_units(words, 300, rng, noise=0.2)
    category = labels[:, None] + rng.normal(size=(192, 300))
    values = np.concatenate([lexical, category], axis=1)
    got = selectivity(result_of(values[None], labels, words), tasks=20, progress=False)
    of_words, of_category = got.selectivity[0, :300], got.selectivity[0, 300:]
    standard_error = of_words.std().item() / math.sqrt(300)
    assert abs(of_words.mean().item()) < 3 * standard_error < 0.02
    assert got.control_accuracy[0, :300].mean() > 0.55  # words alone tell control classes apart
    assert (of_category > 0).all()
    assert of_category.mean() > 0.1


@st.composite
def word_lists(draw):
    """Examples of 4 to 9 words, two or more of each class, in any order; a fold number for each."""
    n_types = draw(st.integers(4, 9))
    n1 = draw(st.integers(2, n_types - 2))
    counts = draw(st.lists(st.integers(1, 8), min_size=n_types, max_size=n_types))
    words = draw(st.permutations([w for w, times in enumerate(counts) for _ in range(times)]))
    groups = draw(st.lists(st.integers(0, 2), min_size=len(words), max_size=len(words)))
    return [int(word < n1) for word in words], [f"w{word}" for word in words], np.array(groups)


@settings(max_examples=50, deadline=None)
@given(word_lists(), st.integers(1, 4), st.integers(0, 1000))
def test_control_labels_relabel_whole_words_in_the_real_proportions(made_list, tasks, seed):
    labels, words, groups = made_list
    of = synthetic.contexts(labels, words)
    assume(len(set(groups.tolist())) > 1)
    try:
        found = relabelings.control_labels(of, groups, tasks, seed)
    except TooFewWordsError:
        assume(False)
    again = relabelings.control_labels(of, groups, tasks, seed)
    ones = len({word for word, label in zip(words, labels, strict=True) if label})
    assert len(found) == tasks
    for task, repeat in zip(found, again, strict=True):
        assert (task == repeat).all()
        by_word = {word: set(task[np.array(words) == word].tolist()) for word in words}
        assert all(len(classes) == 1 for classes in by_word.values())
        assert sum(classes == {1} for classes in by_word.values()) == ones
        for group in np.unique(groups):
            assert set(task[groups != group].tolist()) == {0, 1}


# ------------------------------------------------------------------ what is refused


def by_counts(ones, zeros):
    labels = [1] * len(ones) + [0] * len(zeros)
    values = np.random.default_rng(0).normal(size=(1, len(labels), 3))
    return result_of(values, labels, [*ones, *zeros])


def test_one_word_type_in_a_class_cannot_be_left_out():
    result = by_counts(["not"] * 4, ["can", "may", "could", "must"])
    with pytest.raises(TooFewWordsError, match="held out by word, a training fold has no example"):
        held_out(result)
    held_out(result, by="fold", folds=2, progress=False)


@pytest.mark.parametrize("by", ["fold", "block"])
def test_a_class_of_one_example_cannot_be_folded(by):
    result = by_counts(["not"], ["can", "may", "could", "must"])
    with pytest.raises(TooFewWordsError, match=f"held out by {by}, a training fold has no example"):
        held_out(result, by=by, folds=2)
    with pytest.raises(TooFewWordsError, match="at least two word types"):
        selectivity(result, folds=2)


def test_blocks_without_both_classes_are_refused():
    result = by_counts(["not"] * 6, ["can"] * 6)  # one class, then the other
    with pytest.raises(ValueError, match="held out by block, a training fold has no example"):
        held_out(result, by="block", folds=2)


def test_control_tasks_that_do_not_exist_are_refused():
    """Two words, one of which has one example: no fold without it keeps both classes."""
    of = synthetic.contexts([1, 0, 0, 0], ["not", "can", "can", "can"])
    with pytest.raises(TooFewWordsError, match=r"no 3 control tasks .* from 2 word types"):
        relabelings.control_labels(of, np.array([0, 0, 1, 1]), 3, 0)


def test_a_word_with_both_labels_has_no_control_task():
    result = by_counts(["not", "be", "never"] * 4, ["can", "be", "may"] * 4)
    with pytest.raises(TooFewWordsError, match="gives each word type one class; 'be' has both"):
        selectivity(result)


@pytest.mark.parametrize("folds", [1, 62])
def test_impossible_numbers_of_folds_are_refused(folds):
    result = result_of(*synthetic.small())
    with pytest.raises(ValueError, match=f"between 2 and the 61 examples; got {folds}"):
        held_out(result, by="fold", folds=folds)


def test_unknown_splits_no_tasks_and_no_activations_are_refused():
    result = result_of(*synthetic.small())
    with pytest.raises(ValueError, match=r"by must be one of word, .*, item; got 'words'"):
        held_out(result, by="words")
    with pytest.raises(ValueError, match="at least one control task; got 0"):
        selectivity(result, tasks=0)
    stored = replace(result, activations=None)
    with pytest.raises(ValueError, match="held_out needs the activations"):
        held_out(stored)
    with pytest.raises(ValueError, match="selectivity needs the activations"):
        selectivity(stored)
