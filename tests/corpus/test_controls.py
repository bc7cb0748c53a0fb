"""Contrasts made to answer what negation cannot: carried forward, anticipated, and a control."""

from collections import Counter

import numpy as np
import pytest
from helpers import corpora

from tl_negation.corpus.contrast import (
    ANOTHER_MARKER,
    ANTICIPATED,
    NEGATION,
    NO_NEXT_WORD,
    Contrast,
)
from tl_negation.corpus.controls import control
from tl_negation.corpus.finding import ONE_SIDED, SURPLUS
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text

PLAIN = Contrast("plain", {"no": ("not", "never"), "yes": ("can", "may")})
SIZE = {"before": 1, "after": 0}


def follow(text, contrast=PLAIN, distance=1):
    """(marker, target, label, reason) of every hit of the carried contrast."""
    hits = contrast.carried(distance).find(text)
    return [(hit.word, text[hit.start : hit.end], hit.label, hit.reason) for hit in hits]


def words(text):
    """A tokenizer with a token per word of the text."""
    return corpora.by_word("|".join(dict.fromkeys(text.lower().split())))


# ------------------------------------------------------------------ what lies after a marker


@pytest.mark.parametrize(("distance", "target"), [(1, "quite"), (2, "easily"), (3, "see")])
def test_the_target_lies_so_many_words_on(distance, target):
    assert follow("we can quite easily see it", distance=distance) == [("can", target, 0, None)]
    carried = PLAIN.carried(distance)
    assert (carried.distance, carried.name) == (distance, f"plain, carried {distance}")
    assert (carried.lists, carried.groups) == (PLAIN.lists, PLAIN.groups)


def test_the_target_is_found_after_a_contracted_marker_and_over_a_line_break():
    hits = NEGATION.carried(1).find("I don\u2019t\r\n  know. You may stay")
    assert [(hit.word, hit.start, hit.end) for hit in hits] == [("n't", 11, 15), ("may", 25, 29)]


def test_a_target_may_hold_an_apostrophe_or_a_hyphen():
    assert [hit[1] for hit in follow("can o'clock not mother-in-law may don\u2019t")] == [
        "o'clock",
        "mother-in-law",
        "don\u2019t",
    ]


@pytest.mark.parametrize("text", ["we can, go", "we can.", "we can", "we can (go)", "_can_ go"])
def test_no_word_follows_in_the_clause(text):
    assert [hit[0::3] for hit in follow(text)] == [("can", NO_NEXT_WORD)]


def test_the_clause_may_end_before_the_distance_is_reached():
    assert follow("we can go. Now", distance=2) == [("can", "go", 0, NO_NEXT_WORD)]


def test_another_marker_on_the_way_or_at_the_target_is_left_out():
    assert follow("we can never go") == [
        ("can", "never", 0, ANOTHER_MARKER),
        ("never", "go", 1, None),
    ]
    assert follow("we can go not far", distance=3) == [
        ("can", "far", 0, ANOTHER_MARKER),
        ("not", "far", 1, NO_NEXT_WORD),
    ]


def test_the_markers_own_reason_comes_first():
    hits = NEGATION.carried(1).find("we can not go")
    assert [hit.reason for hit in hits] == ["affirmation followed by not", None]


def test_a_distance_below_1_or_negative_is_refused():
    with pytest.raises(ValueError, match="distance must be at least 1; got 0"):
        PLAIN.carried(0)
    with pytest.raises(ValueError, match="distance counts words and cannot be negative; got -1"):
        Contrast("x", PLAIN.lists, distance=-1)


def test_distance_is_part_of_what_defines_a_contrast():
    carried = NEGATION.carried(2)
    assert Contrast(**carried.to_dict()) == carried
    assert carried != NEGATION


# ------------------------------------------------------------------ carried contexts

STORY = (
    "we can go we not go we may go we never go we can go we may see we not see "
    "we not stay we can run we may run we can go we not run we never see we can never go"
)


def carried_contexts(distance=1, **options):
    contrast = PLAIN.carried(distance)
    return find_contexts(STORY, words(STORY), contrast, **SIZE, **options)


def test_the_same_tokens_in_both_classes():
    contexts = carried_contexts()
    targets = {
        label: Counter(contexts.tokens[contexts.labels == label, contexts.before].tolist())
        for label in (0, 1)
    }
    assert targets[0] == targets[1]
    rows = contexts.examples
    assert {label: Counter(rows["token"][rows["label"] == label]) for label in (0, 1)} == {
        label: Counter({" go": 3, " see": 1, " run": 1}) for label in (0, 1)
    }
    assert contexts.counts()["base_rate"] == 0.5
    assert set(rows["surface"]) == {"go", "see", "run"}


def test_the_word_type_is_the_markers_and_the_position_the_targets():
    contexts = carried_contexts()
    tokens = STORY.split()
    for row in contexts.examples.itertuples():
        assert tokens[row.position] == row.surface
        assert tokens[row.position - 1] == row.word


def test_what_balancing_leaves_out_is_counted():
    # go after: not, never, never (2 + 1) and can, may, can, can; stay after not alone
    assert carried_contexts().source["dropped"] == {
        SURPLUS: {"no": 1, "yes": 2},
        ONE_SIDED: {"no": 1, "yes": 0},
        ANOTHER_MARKER: {"no": 0, "yes": 1},
    }
    n_dropped = sum(sum(by.values()) for by in carried_contexts().source["dropped"].values())
    assert len(carried_contexts()) + n_dropped == len(PLAIN.find(STORY))


def test_which_of_a_surplus_stay_depends_on_the_seed_only():
    draws = {tuple(carried_contexts(seed=seed).examples["position"]) for seed in range(20)}
    assert len(draws) > 1
    first = carried_contexts(seed=3).examples["position"].tolist()
    assert carried_contexts(seed=3).examples["position"].tolist() == first
    assert {len(draw) for draw in draws} == {10}


@pytest.mark.parametrize(("distance", "targets"), [(2, {"we"}), (3, {"can", "may", "not"})])
def test_other_distances(distance, targets):
    text = STORY.replace("we ", "we all ") if distance == 2 else STORY
    if distance == 3:
        with pytest.raises(ValueError, match="another word of the contrast follows"):
            carried_contexts(3)
        return
    contexts = find_contexts(text, words(text), PLAIN.carried(2), **SIZE)
    assert set(contexts.examples["surface"]) == targets
    assert contexts.labels.sum() * 2 == len(contexts)


def test_targets_of_one_list_only_make_an_empty_class():
    text = "we can go we not stay we may go we never stay"
    with pytest.raises(ValueError, match=f"'no' .*Hits left out: 2 {ONE_SIDED}"):
        find_contexts(text, words(text), PLAIN.carried(1), **SIZE)


def test_one_token_after_either_kind_is_enough_at_a_distance_of_three():
    text = "we can go up there we not go up there"
    contexts = find_contexts(text, words(text), PLAIN.carried(3), **SIZE)
    assert contexts.examples[["word", "surface"]].to_numpy().tolist() == [
        ["can", "there"],
        ["not", "there"],
    ]


# ------------------------------------------------------------------ anticipated


def test_can_before_the_clitic_against_plain_can():
    text = "I can't go, Can\u2019t you? We can go, he cannot, she CAN; can'ts and can not"
    found = [(text[h.start : h.end], h.word, h.label, h.reason) for h in ANTICIPATED.find(text)]
    assert found == [
        ("can", "can|'t", 1, None),
        ("Can", "can|'t", 1, None),
        ("can", "can", 0, None),
        ("CAN", "can", 0, None),
        ("can", "can", 0, None),  # can'ts: another word than can't
        ("can", "can", 0, "affirmation followed by not"),
    ]


def test_the_target_ends_before_the_clitic_and_the_model_has_not_seen_it():
    contexts = find_contexts(
        corpora.STORY + "You can go.", corpora.byte_level(), ANTICIPATED, before=2, after=1
    )
    rows = contexts.examples
    assert rows["surface"].tolist() == ["can", "can", "can"]
    assert rows["label"].tolist() == [0, 1, 0]
    assert rows["token"].tolist() == [" can"] * 3
    following = corpora.byte_level().convert_ids_to_tokens(contexts.tokens[:, 3].tolist())
    assert following[1] == "'t"


def test_a_bar_works_with_any_word_and_other_clitics():
    contrast = Contrast("c", {"had or would": ("he|'d",), "is": ("he|'s", "she|'s")})
    found = [(hit.word, hit.label, hit.end) for hit in contrast.find("he\u2019d, She's he'd'")]
    assert found == [("he|'d", 1, 2), ("she|'s", 0, 9), ("he|'d", 1, 14)]


@pytest.mark.parametrize("word", ["|'t", "can|", "can|'t|x", "can||'t"])
def test_a_bar_stands_between_two_parts_once(word):
    with pytest.raises(ValueError, match="may hold one bar, between the target and what follows"):
        Contrast("c", {"a": (word,), "b": ("y",)})


# ------------------------------------------------------------------ a contrast of one's own


def test_the_example_of_the_docstring():
    pronouns = Contrast("pronouns", {"she": ("she", "her"), "he": ("he", "him", "his")})
    assert [hit.word for hit in pronouns.find("She saw him.")] == ["she", "him"]
    text = "She saw him and he saw her, his hat and hers."
    contexts = find_contexts(
        text, corpora.by_word("she|saw|him|and|he|her|,|his|hat|hers|.", r" |(?=[,.])"),
        pronouns, before=0, after=0,
    )  # fmt: skip
    assert list(zip(contexts.words, contexts.labels.tolist(), strict=True)) == [
        ("she", 1), ("him", 0), ("he", 0), ("her", 1), ("his", 0),
    ]  # fmt: skip


# ------------------------------------------------------------------ control

OTHERS = ("go", "see", "we", "all", "up", "there", "stay", "run", "home", "far", "hat", "red")


def long_text(seed=0, n=600):
    """Words of the contrast among others, all at random, every other often enough."""
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice([*OTHERS, *OTHERS, "not", "never", "can", "may"], n))


@pytest.fixture(scope="module")
def matched():
    text = Text.from_string(long_text())
    tokenizer = corpora.by_word("|".join([*OTHERS, "not", "never", "can", "may"]))
    of = find_contexts(text, tokenizer, PLAIN, before=4, after=2)
    return of, text, tokenizer


def test_class_sizes_and_word_counts_are_matched_one_to_one(matched):
    of, text, tokenizer = matched
    for seed in range(5):
        other = control(of, text, tokenizer, seed=seed)
        assert other.contrast.name == f"control (seed {seed})"
        assert other.contrast.groups == ("control 0", "control 1")
        for label in (0, 1):
            counts = [
                sorted(
                    Counter(
                        w for w, y in zip(c.words, c.labels, strict=True) if y == label
                    ).values()
                )
                for c in (of, other)
            ]
            assert counts[0] == counts[1]
        assert other.labels.sum() == of.labels.sum()
        assert other.tokens.shape == of.tokens.shape
        assert other.examples["position"].is_monotonic_increasing


def test_none_of_the_words_is_of_the_contrast(matched):
    of, text, tokenizer = matched
    for seed in range(10):
        drawn = control(of, text, tokenizer, seed=seed)
        assert set(drawn.words) <= set(OTHERS)
        assert len(set(drawn.words)) == 4
        tokens = [tokenizer.decode([i]) for i in drawn.tokens[:, drawn.before].tolist()]
        assert tokens == list(drawn.words)


def test_a_control_is_drawn_by_seed(matched):
    of, text, tokenizer = matched
    first, again, other = (control(of, text, tokenizer, seed=seed) for seed in (1, 1, 2))
    assert first.examples.equals(again.examples)
    assert first.tokens.equal(again.tokens)
    assert first.words != other.words


def test_words_of_a_pattern_are_not_drawn():
    text = "cat " * 6 + "kitten kittens kittle " * 7 + "dog " * 5 + "sun moon " * 12
    pets = Contrast("pets", {"cats": ("cat", "kitt*"), "dogs": ("dog",)})
    of = find_contexts(text, words(text), pets, **SIZE).sample(5)
    of_cat = find_contexts(text, words(text), Contrast("p", {"a": ("cat",), "b": ("dog",)}), **SIZE)
    assert "kitten" in {
        w
        for seed in range(30)
        for w in control(of_cat, Text.from_string(text), words(text), seed=seed).words
    }
    for seed in range(30):
        drawn = draw_or_none(of, text, seed)
        assert drawn is None or set(drawn.words) <= {"sun", "moon"}


def draw_or_none(of, text, seed):
    try:
        return control(of, Text.from_string(text), words(text), seed=seed)
    except ValueError:
        return None


@pytest.mark.parametrize("apostrophe", ["'", "\u2019"])
def test_parts_of_contracted_words_are_not_drawn(apostrophe):
    text = f"don{apostrophe}t " * 9 + "can " * 9 + "t a " * 9 + "red hat we go " * 9
    tokenizer = corpora.by_word(f"don|{apostrophe}t|can|t|a|red|hat|we|go", rf" |(?={apostrophe}t)")
    contrast = Contrast("c", {"no": ("*n't",), "yes": ("can",)})
    of = find_contexts(text, tokenizer, contrast, **SIZE)
    drawn = {
        word
        for seed in range(30)
        for word in control(of, Text.from_string(text), tokenizer, seed=seed).words
    }
    assert drawn == {"red", "hat", "we", "go"}


def test_a_word_whose_windows_run_off_an_end_is_drawn_without():
    text = "zoo zoo zoo zoo " + long_text(1, 200).replace("red", "hat")
    tokenizer = corpora.by_word("|".join([*OTHERS, "not", "never", "can", "may", "zoo"]))
    of = find_contexts(text, tokenizer, PLAIN, before=4, after=2).sample(3, seed=1)
    for seed in range(20):
        assert "zoo" not in control(of, Text.from_string(text), tokenizer, seed=seed).words


def test_a_word_that_the_tokenizer_does_not_know_is_drawn_without(matched):
    of, text, _ = matched
    known = [word for word in OTHERS if word not in ("hat", "red", "go")]
    tokenizer = corpora.by_word("|".join([*known, "not", "never", "can", "may"]))
    for seed in range(10):
        assert set(control(of, text, tokenizer, seed=seed).words) <= set(known)


def test_a_text_without_words_frequent_enough_is_refused():
    text = "we not go we can go we not stay we can stay we not run we can see"
    of = find_contexts(text, words(text), Contrast("c", {"a": ("not",), "b": ("can",)}), **SIZE)
    with pytest.raises(ValueError, match="no word of the text is left that occurs 3 times with a"):
        control(of, Text.from_string(text), words(text))


def test_a_carried_contrast_needs_no_control():
    with pytest.raises(ValueError, match=r"same targets in both classes and needs none"):
        control(carried_contexts(), Text.from_string(STORY), words(STORY))
