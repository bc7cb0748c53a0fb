import copy
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import corpora
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus.contexts import Contexts
from tl_negation.corpus.contrast import NEGATION, Contrast
from tl_negation.corpus.finding import COLUMNS
from tl_negation.corpus.targets import find_contexts
from tl_negation.corpus.text import Text

TOKENIZERS = (corpora.byte_level, corpora.metaspace)
PETS = Contrast("pets", {"cats": ("cat",), "dogs": ("dog",)})
START = "*** START OF THIS PROJECT GUTENBERG EBOOK A STORY ***"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK A STORY ***"


def find(text, tokenizer=None, before=2, after=1, **options):
    tokenizer = tokenizer or corpora.byte_level()
    options = {"prepend_bos": False} | options  # with BOS: test_bos.py
    return find_contexts(text, tokenizer, before=before, after=after, **options)


def surfaces(contexts):
    return [tuple(row) for row in contexts.examples[["surface", "word", "label"]].to_numpy()]


@pytest.fixture(params=TOKENIZERS, ids=lambda build: build.__name__)
def tokenizer(request):
    return request.param()


def test_examples_tell_where_each_target_is(tokenizer):
    contexts = find(corpora.STORY, tokenizer, before=3, after=2)
    assert surfaces(contexts) == [
        ("not", "not", 1),
        ("can", "can", 0),
        ("don't", "n't", 1),
        ("can't", "n't", 1),
        ("should", "should", 0),
        ("never", "never", 1),
        ("nor", "nor", 1),
        ("may", "may", 0),
        ("might", "might", 0),
        ("cannot", "cannot", 1),
        ("Certainly", "certainly", 0),
        ("always", "always", 0),
        ("agree", "agree", 0),
        ("allow", "allow", 0),
    ]
    assert list(contexts.examples.columns) == COLUMNS
    assert (contexts.before, contexts.after) == (3, 2)
    assert contexts.words == tuple(word for _, word, _ in surfaces(contexts))
    assert contexts.labels.tolist() == [label for _, _, label in surfaces(contexts)]
    assert contexts.labels.dtype == torch.int64
    groups = {1: "negation", 0: "affirmation"}
    for row in contexts.examples.itertuples():
        assert corpora.STORY[row.start : row.end] == row.surface
        assert row.group == groups[row.label]


def test_the_target_is_the_token_of_the_last_character_and_the_window_its_neighbours(tokenizer):
    contexts = find(corpora.STORY, tokenizer, before=3, after=2)
    encoded = tokenizer(corpora.STORY, add_special_tokens=False)
    for row, tokens in zip(contexts.examples.itertuples(), contexts.tokens, strict=True):
        assert row.position == encoded.char_to_token(row.end - 1)
        window = slice(row.position - 3, row.position + 3)
        assert tokens.tolist() == encoded["input_ids"][window]
        assert row.passage.strip() == tokenizer.decode(tokens.tolist()).strip()
        assert row.surface in row.passage


def test_tokens_are_decoded_as_within_a_text(tokenizer):
    tokens = set(find(corpora.STORY, tokenizer).examples["token"])
    assert {" not", " can", " never", " may"} <= tokens


def test_no_special_tokens_and_no_warning_of_length(tokenizer, caplog):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = 8
    contexts = find(corpora.STORY * 3, tokenizer)
    assert tokenizer.bos_token_id not in contexts.tokens
    assert caplog.text == ""


def test_typographic_apostrophe_and_line_ends(tokenizer):
    text = Text.from_string("We don\u2019t know\r\nif we can\r\nnot, or can\r\ngo. We may go\r\n")
    contexts = find(text, tokenizer)
    assert surfaces(contexts) == [
        ("don\u2019t", "n't", 1),
        ("not", "not", 1),
        ("can", "can", 0),
        ("may", "may", 0),
    ]
    assert contexts.source["dropped"] == {
        "affirmation followed by not": {"negation": 0, "affirmation": 1}
    }
    first = contexts.examples.iloc[1]
    assert text.content[first["start"] : first["end"]] == "not"


@pytest.mark.parametrize("ending", ["", ".", "\n", "--so", "_ we"])
def test_what_follows_a_target_does_not_matter(tokenizer, ending):
    contexts = find(f"Well, they all could see. He would _not{ending}", tokenizer, after=0)
    assert surfaces(contexts) == [("could", "could", 0), ("not", "not", 1)]


def test_targets_too_near_an_end_are_left_out_and_counted():
    text = "can we not go as we can not or we could go not"
    tokenizer = corpora.by_word("can|we|not|go|as|or|could")
    contexts = find_contexts(text, tokenizer, before=2, after=2)
    assert contexts.examples["position"].tolist() == [2, 7, 10]
    assert contexts.source["dropped"] == {
        "too near the start": {"negation": 0, "affirmation": 1},
        "affirmation followed by not": {"negation": 0, "affirmation": 1},
        "too near the end": {"negation": 1, "affirmation": 0},
    }
    assert contexts.tokens.shape == (3, 5)
    assert contexts.source["tokens"] == 13


@pytest.mark.parametrize(("before", "after", "positions"), [(2, 1, [2, 3]), (0, 0, [1, 2, 3, 4])])
def test_the_outermost_windows_that_fit_are_kept(before, after, positions):
    contexts = find_contexts(
        "a not can not can", corpora.by_word("a|not|can"), NEGATION_PLAIN, before, after
    )
    assert contexts.examples["position"].tolist() == positions


NEGATION_PLAIN = Contrast("plain", {"negation": ("not",), "affirmation": ("can",)})


def test_a_token_that_holds_other_words_is_left_out():
    tokenizer = corpora.by_word("the cat|a dog|cat|dog|and|cat and", split=r"\||(?<=,) ")
    text = "the cat|a dog|cat|dog|and|cat and"
    contexts = find_contexts(text, tokenizer, PETS, before=0, after=0)
    assert contexts.examples["position"].tolist() == [2, 3]
    assert contexts.source["dropped"] == {
        "shares its token with other words": {"cats": 2, "dogs": 1}
    }


def test_words_unknown_to_the_tokenizer_are_left_out():
    contexts = find_contexts(
        "I can may not never I", corpora.by_word("i|can|not"), before=0, after=0
    )
    assert surfaces(contexts) == [("can", "can", 0), ("not", "not", 1)]
    assert contexts.source["dropped"]["not in the tokenizer's vocabulary"] == {
        "negation": 1,
        "affirmation": 0,
    }


def test_words_that_the_tokenizer_drops_are_left_out():
    tokenizer = corpora.by_word("i|can|not", split=r"\s+|never|should")
    contexts = find_contexts("never I can go not should", tokenizer, before=0, after=0)
    assert surfaces(contexts) == [("can", "can", 0), ("not", "not", 1)]
    assert contexts.source["dropped"] == {
        "not in the tokenizer's vocabulary": {"negation": 1, "affirmation": 1}
    }


def test_licence_is_cut_by_default_and_marked_where_it_is_kept():
    blank = "\r\n" * 40
    raw = (
        f"You may not go.{blank}{START}\r\nYou can see. It is not so.\r\n{END}\r\nYou never should."
    )
    text = Text.from_string(raw)
    assert [word for word, _, _ in surfaces(find(text))] == ["can", "not"]
    kept = Text(raw, "string", text.sha256, "utf-8", keep_boilerplate=True)
    contexts = find(kept)
    assert contexts.examples["surface"].tolist() == ["not", "can", "not", "never", "should"]
    assert contexts.examples["in_boilerplate"].tolist() == [True, False, False, True, True]
    counts = contexts.counts()["groups"]
    assert [counts[group]["in_boilerplate"] for group in ("negation", "affirmation")] == [2, 1]


def test_another_contrast():
    contexts = find("A cat, a dog and Cat.", contrast=PETS, before=0, after=0)
    assert surfaces(contexts) == [("cat", "cat", 1), ("dog", "dog", 0), ("Cat", "cat", 1)]
    assert contexts.contrast == PETS
    assert contexts.source["contrast"] == PETS.to_dict()


@given(
    pieces=st.lists(
        st.sampled_from(
            ["not", "can", "don't", "we", "--", ". ", "\n", "\u2019", "\u00e9", "always"]
        ),
        max_size=30,
    ),
    build=st.sampled_from(TOKENIZERS),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
)
def test_every_hit_is_either_kept_or_counted(pieces, build, before, after):
    text = " ".join(
        ["we can not be so, we can be not so.", *pieces, "we can be not so, we can be so"]
    )
    contexts = find(text, build(), before=before, after=after)
    n_dropped = sum(sum(by.values()) for by in contexts.source["dropped"].values())
    assert len(contexts) + n_dropped == len(NEGATION.find(text))
    ids = np.array(build()(text, add_special_tokens=False)["input_ids"])
    for row, tokens in zip(contexts.examples.itertuples(), contexts.tokens.numpy(), strict=True):
        np.testing.assert_array_equal(tokens, ids[row.position - before : row.position + after + 1])
        assert row.surface == text[row.start : row.end]


# What is counted


def test_counts_of_a_small_text():
    tokenizer = corpora.by_word("can|we|not|go|as|or|could")
    text = "we not go we not go or we could go as we go we can go or we can go"
    counts = find_contexts(text, tokenizer, before=1, after=1).counts()
    assert counts["groups"] == {
        "negation": {
            "label": 1,
            "examples": 2,
            "token_types": {" not": 2},
            "word_types": {"not": 2},
            "largest_word": "not",
            "largest_word_share": 1.0,
            "in_boilerplate": 0,
        },
        "affirmation": {
            "label": 0,
            "examples": 3,
            "token_types": {" can": 2, " could": 1},
            "word_types": {"can": 2, "could": 1},
            "largest_word": "can",
            "largest_word_share": 2 / 3,
            "in_boilerplate": 0,
        },
    }
    assert (counts["examples"], counts["share_label_1"], counts["base_rate"]) == (5, 0.4, 0.6)
    assert counts["window"] == {"before": 1, "after": 1, "prepend_bos": False}
    assert counts["dropped"] == {}


@pytest.mark.parametrize(("before", "after", "overlapping"), [(1, 1, 0), (2, 1, 2), (2, 4, 3)])
def test_overlapping_windows(before, after, overlapping):
    text = "a b c not e f can h i j k l not n o p q"  # targets at 3, 6 and 12
    tokenizer = corpora.by_word("|".join("abcefhijklnopq") + "|not|can")
    contexts = find_contexts(text, tokenizer, before=before, after=after)
    assert contexts.counts()["overlapping_windows"] == overlapping


def test_counts_and_source_survive_json(tokenizer):
    contexts = find(corpora.STORY, tokenizer).sample(2)
    counts = contexts.counts()
    assert json.loads(json.dumps(counts)) == counts
    text = Text.from_string(corpora.STORY)
    source = counts["source"]
    assert (source["source"], source["sha256"]) == ("string", text.sha256)
    assert (source["encoding"], source["characters"]) == ("utf-8", len(corpora.STORY))
    assert source["vocab_size"] == len(tokenizer)
    assert source["tokenizer_class"] == type(tokenizer).__name__


def test_audit_prints_what_is_counted(capsys):
    contexts = find(corpora.STORY + "It might not.")
    out = io.StringIO()
    contexts.audit(out)
    for words in (
        "base rate 53.3% (guessing the larger class)",
        "negation (label 1): 7 examples",
        "largest word type: not, 28.6%",
        '"n\'t" 2',
        "' can' 1",
        "overlapping windows  ",
        "affirmation followed by not: 0 negation, 2 affirmation",
        Text.from_string(corpora.STORY + "It might not.").sha256,
        "2 before + target + 1 after",
    ):
        assert words in out.getvalue()
    assert "sample " not in out.getvalue()
    contexts.sample(3, seed=5).audit()
    assert "3 of each class (seed 5), of 7 negation, 8 affirmation" in capsys.readouterr().out


def test_reprs_are_short_and_escaped():
    contexts = find(Text.from_string(corpora.STORY, source="<b>"))
    n_tokens = contexts.source["tokens"]
    assert repr(contexts) == (
        f"Contexts(6 negation, 8 affirmation; 2 + 1 + 1 tokens; <b>, {n_tokens} tokens)"
    )
    assert "&lt;b&gt;" in contexts._repr_html_()
    assert "<td>" in contexts._repr_html_()


# Words as numbers, rows in another order


def test_word_codes_number_the_word_types_as_they_first_occur(tokenizer):
    contexts = find(corpora.STORY * 2, tokenizer)
    assert contexts.word_types[:4] == ("not", "can", "n't", "should")
    assert len(set(contexts.word_types)) == len(contexts.word_types)
    assert contexts.word_codes.dtype == np.int64
    assert [contexts.word_types[code] for code in contexts.word_codes] == list(contexts.words)


def test_class_one_comes_first_and_each_class_stays_in_the_order_of_the_text():
    contexts = find(corpora.STORY * 3)
    order, labels = contexts.class_one_first.tolist(), contexts.labels.tolist()
    assert order == [row for label in (1, 0) for row, own in enumerate(labels) if own == label]


def test_taken_rows_are_the_examples_in_the_order_asked_for():
    contexts = find(corpora.STORY)
    taken = contexts.take(contexts.class_one_first)
    assert taken.labels.tolist() == sorted(contexts.labels.tolist(), reverse=True)
    assert taken.word_types[-1] == "allow"
    rows = [5, 2]
    taken = contexts.take(np.array(rows))
    assert taken.words == (contexts.words[5], contexts.words[2])
    assert taken.tokens.tolist() == contexts.tokens[rows].tolist()
    assert taken.examples.index.tolist() == [0, 1]
    assert (taken.before, taken.contrast, taken.source) == (2, NEGATION, contexts.source)


# Samples


def test_sample_is_seeded_balanced_and_in_the_order_of_the_text():
    contexts = find(corpora.STORY * 5)
    sample = contexts.sample(7, seed=3)
    assert sample.labels.sum() == 7
    assert len(sample) == 14
    assert sample.examples["position"].is_monotonic_increasing
    assert sample.examples["position"].is_unique
    pd.testing.assert_frame_equal(sample.examples, contexts.sample(7, seed=3).examples)
    assert not sample.examples.equals(contexts.sample(7, seed=4).examples)
    assert sample.source["sample"] == {
        "per_class": 7,
        "seed": 3,
        "of": {"negation": 30, "affirmation": 40},
    }
    whole = dict(zip(contexts.examples["position"], contexts.tokens.tolist(), strict=True))
    for position, tokens in zip(sample.examples["position"], sample.tokens, strict=True):
        assert tokens.tolist() == whole[position]


def test_sample_takes_all_of_a_class_that_has_fewer():
    sample = find(corpora.STORY).sample(7)
    assert (len(sample), int(sample.labels.sum())) == (13, 6)


def test_sample_of_none_is_refused():
    with pytest.raises(ValueError, match="per_class must be at least 1; got 0"):
        find(corpora.STORY).sample(0)


# Errors, all before a model is touched


def test_an_empty_class_says_what_was_left_out():
    with pytest.raises(ValueError, match=r"'affirmation' \(agree, .*Hits left out: none\."):
        find("We do not go, we do not go")
    with pytest.raises(ValueError, match=r"'negation' .*Hits left out: 1 too near the start"):
        find("not, and we can go")
    with pytest.raises(ValueError, match=r"'negation' .*space"):
        find(corpora.STORY, corpora.metaspace(), preset="notebook")


def test_a_text_shorter_than_a_window_is_refused():
    tokenizer = corpora.by_word("can|not|we")
    assert len(find_contexts("we can not can we", tokenizer, before=2, after=0)) == 2
    with pytest.raises(ValueError, match=r"\('string'\) has 5 tokens, fewer than one window of 3 "):
        find_contexts("we can not can we", tokenizer, before=3, after=2)


@pytest.mark.parametrize("tokenizer", [None, str])
def test_a_tokenizer_without_offsets_is_refused(tokenizer):
    with pytest.raises(TypeError, match=r"got (NoneType|type): use AutoTokenizer.*use_fast=True"):
        find_contexts("We can not", tokenizer)


@pytest.mark.parametrize("name", ["before", "after"])
def test_windows_are_counted_in_whole_tokens(name):
    with pytest.raises(ValueError, match=f"{name} counts tokens and cannot be negative; got -1"):
        find(corpora.STORY, **{name: -1})
    with pytest.raises(TypeError, match=f"{name} must be an integer; got True"):
        find(corpora.STORY, **{name: True})


def test_unknown_preset_and_preset_with_another_contrast_are_refused():
    with pytest.raises(ValueError, match=r"preset must be None or 'notebook'; got 'paper'"):
        find(corpora.STORY, preset="paper")
    with pytest.raises(
        ValueError,
        match="preset='notebook' is the rule for the contrast 'negation' only; got 'pets'",
    ):
        find(corpora.STORY, contrast=PETS, preset="notebook")


def test_contexts_without_some_columns_are_refused_at_once():
    good = find(corpora.STORY)
    short = good.examples.drop(columns=["word", "start", "document"])
    with pytest.raises(
        ValueError, match=r"need the columns label, .*; the table lacks word, start"
    ):
        Contexts(good.tokens, short, 2, NEGATION, {})


def test_contexts_without_a_document_are_of_one():
    good = find(corpora.STORY)
    short = good.examples.drop(columns="document")
    one = Contexts(good.tokens, short, 2, NEGATION, good.source)
    assert one.documents.tolist() == [0] * len(good)
    assert one.counts() == good.counts()


def test_labels_are_one_or_zero():
    good = find(corpora.STORY)
    with pytest.raises(ValueError, match="labels of examples are 1 for the first list and 0"):
        Contexts(good.tokens, good.examples.assign(label=2), 2, NEGATION, {})


def test_contexts_that_do_not_fit_together_are_refused():
    good = find(corpora.STORY)
    with pytest.raises(ValueError, match=r"Length of tokens \(2\) does not match number of exam"):
        Contexts(good.tokens[:2], good.examples, 2, NEGATION, {})
    with pytest.raises(ValueError, match=r"before \(4\) must lie within the window of 4 tokens"):
        Contexts(good.tokens, good.examples, 4, NEGATION, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": {"label": [1]}}, "examples must be of type DataFrame; got dict"),
        ({"tokens": np.zeros((2, 3))}, "tokens must be of type Tensor; got ndarray"),
        ({"contrast": None}, "contrast must be of type Contrast or Labels; got NoneType"),
        ({"source": None}, "source must be of type Mapping; got NoneType"),
        ({"before": 1.5}, r"before must be an integer; got 1\.5"),
    ],
)
def test_fields_of_another_type_are_named(change, message):
    fields = vars(find(corpora.STORY)) | change
    made = object.__new__(Contexts)  # the tests' own check of types would come first
    vars(made).update(fields)
    with pytest.raises(TypeError, match=message):
        made._check_types()


def test_tokens_are_whole_numbers_of_two_dimensions():
    good = find(corpora.STORY)
    made = object.__new__(Contexts)
    for tokens in (good.tokens[0], good.tokens.double()):
        vars(made).update(vars(good) | {"tokens": tokens})
        with pytest.raises(ValueError, match=r"tokens are whole numbers \[example, pos\]; got"):
            made._check_types()


def test_a_group_that_contradicts_its_label_is_refused():
    good = find(corpora.STORY)
    flipped = good.examples.assign(label=1 - good.examples["label"])
    with pytest.raises(ValueError, match="group of an example is the name of its list: negation"):
        Contexts(good.tokens, flipped, good.before, good.contrast, good.source)
