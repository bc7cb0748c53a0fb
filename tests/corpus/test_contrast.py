import copy
import json
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus.contrast import NEGATION, Contrast, Hit

PETS = Contrast("pets", {"cats": ("cat", "kitt*"), "dogs": ("dog", "*hound", "*terr*")})
BEFORE_NOT = "affirmation followed by not"
MONTH = "May, the month"
NOUN = "can or might, the noun"


def words(text, contrast=NEGATION):
    return [(text[hit.start : hit.end], hit.word, hit.label) for hit in contrast.find(text)]


def reasons(text):
    return [(hit.word, hit.reason) for hit in NEGATION.find(text)]


def test_negation_has_the_reference_lists():
    assert dict(NEGATION.lists) == {
        "negation": ("not", "cannot", "nor", "never", "*n't"),
        "affirmation": (
            *("agree", "always", "allow", "can", "certainly", "could"),
            *("definitely", "may", "might", "shall", "should"),
        ),
    }
    assert NEGATION.groups == ("affirmation", "negation")


def test_every_word_of_negation_is_found_with_its_label():
    for label, group in enumerate(NEGATION.groups):
        for word in NEGATION.lists[group]:
            written = word.replace("*", "is")
            expected = Hit(3, 3 + len(written), word.strip("*"), label, None)
            assert NEGATION.find(f"We {written} go") == (expected,)


@pytest.mark.parametrize("written", ["don't", "DON'T", "Can\u2019t", "ain\u02bct", "shouldn't"])
def test_contracted_forms_are_one_word_type(written):
    assert words(f"I {written}, ever") == [(written, "n't", 1)]


def test_n_apostrophe_t_alone_is_a_hit():
    assert words("I do n't know") == [("n't", "n't", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "_not_",
        "*not*",
        "(not)",
        "\u201cnot\u201d",
        "so--not",
        "not--so",
        "war\u2014not",
        "not.",
        "'not'",
        "not",
        "-not",
        "NOT\r\n",
    ],
)
def test_a_word_is_bounded_by_what_is_no_letter(text):
    assert [word for _, word, _ in words(text)] == ["not"]


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "knot",
        "not2",
        "not_implemented",
        "is_not",
        "can-opener",
        "mother-can",
        "not-a-number",
        "can\u2011do",
        "cano\u00eb",
        "\u00e9not",
        "Cantor",
        "mayhem",
        "couldn't-care",
    ],
)
def test_part_of_a_word_is_no_hit(text):
    assert words(text) == []


def test_clitic_t_makes_another_word_and_other_clitics_do_not():
    pronouns = Contrast("p", {"he": ("he",), "could": ("could", "can")})
    assert words("he's here, could've, can't", pronouns) == [("he", "he", 1), ("could", "could", 0)]


def test_stars_at_either_end_and_both():
    text = "Kittens, a greyhound, subterranean; cat, cats, dog."
    assert words(text, PETS) == [
        ("Kittens", "kitt", 1),
        ("greyhound", "hound", 0),
        ("subterranean", "terr", 0),
        ("cat", "cat", 1),
        ("dog", "dog", 0),
    ]


def test_a_word_wins_over_a_pattern_that_fits_too():
    contrast = Contrast("c", {"a": ("*n't", "*ver*"), "b": ("don't", "ever")})
    found = [hit[1:] for hit in words("isn't don't over ever", contrast)]
    assert found == [("n't", 1), ("don't", 0), ("ver", 1), ("ever", 0)]


def test_the_longer_of_two_words_that_fit_wins():
    contrast = Contrast("c", {"a": ("he", "mother"), "b": ("he's", "mother-in")})
    found = [word for _, word, _ in words("he's he'd mother-in mother", contrast)]
    assert found == ["he's", "he", "mother-in", "mother"]


@pytest.mark.parametrize(
    "text",
    [
        "can not go",
        "can\nnot go",
        "can\r\n   not go",
        "could n't go",
        "could n\u2019t go",
        "can _not_ go",
        "SHOULD NOT go",
        "might've not gone",
        "may *not* go",
    ],
)
def test_affirmation_before_not_is_left_out_and_the_not_stays(text):
    (first, reason), (second, none) = reasons(text)
    assert first in NEGATION.lists["affirmation"]
    assert second in {"not", "n't"}
    assert (reason, none) == (BEFORE_NOT, None)


@pytest.mark.parametrize("text", ["can go", "can nothing", "can, not", "can notice", "can never"])
def test_affirmation_before_anything_else_stays(text):
    assert reasons(text)[0] == ("can", None)


@pytest.mark.parametrize("text", ["couldn't", "cannot", "shouldn\u2019t not"])
def test_negations_are_never_left_out_as_affirmations(text):
    assert all(reason is None for _, reason in reasons(text))
    assert reasons(text)


@pytest.mark.parametrize(
    "text",
    [
        "On May 7, 2136",
        "a pleasant May afternoon",
        "in May the weather",
        "in May I left",
        "Late\nMay they came",
        "May the 4th be",
        "May the fourth",
        "of MAY 1953",
        "May\n",
        "Aunt May said",
    ],
)
def test_may_the_month_is_left_out(text):
    assert reasons(text) == [("may", MONTH)]


@pytest.mark.parametrize(
    "text",
    [
        "May I come in?",
        "May the force be",
        "May\nGod bless",
        "MAY be used",
        "it may 7 times",
        "you may come",
    ],
)
def test_may_the_modal_stays(text):
    assert reasons(text) == [("may", None)]


@pytest.mark.parametrize(
    "text", ["like a tin can, torn", "The Can fell", "all his might", "a\ncan"]
)
def test_nouns_are_left_out(text):
    assert [reason for _, reason in reasons(text)] == [NOUN]


def test_what_precedes_a_noun_must_be_a_word_of_its_own():
    assert reasons("the plan a can B; bathe can; Russia can; this might") == [
        ("can", NOUN),
        ("can", None),
        ("can", None),
        ("might", None),
    ]


def test_exclusions_see_straight_apostrophes_and_case():
    contrast = Contrast("c", {"a": ("can",), "b": ("no",)}, {"why": "can o'"})
    found = [hit.reason for hit in contrast.find("can o\u2019 beans, Can o' beans")]
    assert found == ["why", None]


@given(st.lists(st.sampled_from([*"aZ9 '-_.\n\u2019\u00e9", "not", "can", "n't", "May", "never"])))
def test_hits_are_ordered_whole_and_true_to_the_text(pieces):
    text = "".join(pieces)
    end = 0
    for hit in NEGATION.find(text):
        written = text[hit.start : hit.end].replace("\u2019", "'").lower()
        assert end <= hit.start < hit.end
        assert written.endswith(hit.word) if hit.word == "n't" else written == hit.word
        assert not text[hit.start - 1 : hit.start].isalnum()
        assert not text[hit.end : hit.end + 1].isalnum()
        end = hit.end


@given(st.lists(st.sampled_from(["not", "can", "don't", "tree", "--", "always", "cannot"])))
def test_every_word_between_spaces_is_found(pieces):
    types = {"not": "not", "cannot": "cannot", "don't": "n't", "can": "can", "always": "always"}
    expected = [types[piece] for piece in pieces if piece in types]
    assert [hit.word for hit in NEGATION.find(" ".join(pieces))] == expected


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"a": ("x",)}, "exactly two lists; got 1"),
        ({"a": ("x",), "b": ("y",), "c": ("z",)}, "exactly two lists; got 3"),
        ({"a": ("x",), "b": ()}, "list 'b' is empty"),
        ({"a": ("x",), "b": ("Y", "X")}, "'x' is in 'a' and again in 'b'"),
        ({"a": ("x", "x"), "b": ("y",)}, "'x' is in 'a' and again in 'a'"),
        ({"a": ("*n't",), "b": ("n\u2019t",)}, "again in 'b'"),
        ({"a": ("x*y",), "b": ("z",)}, "may begin with a star and end with one, but not"),
        ({"a": ("**x",), "b": ("z",)}, "may begin with a star and end with one, but not"),
        ({"a": ("*",), "b": ("z",)}, "has no letter"),
        ({"a": ("",), "b": ("z",)}, "has no letter"),
        ({"a": ("can not",), "b": ("z",)}, "holds white space"),
    ],
)
def test_malformed_lists_are_refused(lists, message):
    with pytest.raises(ValueError, match=message):
        Contrast("c", lists)


def test_a_list_given_as_one_string_is_refused():
    with pytest.raises(TypeError, match="list 'b' must be a list of words"):
        Contrast("c", {"a": ("x",), "b": "not"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name must be a string; got 3"),
        ({"lists": ["x", "y"]}, "lists must map two names to lists of words; got a list"),
        ({"lists": {"a": ("x",), "b": [3]}}, r"list 'b' must hold words \(strings\); got \[3\]"),
        ({"distance": 1.5}, r"distance must be an integer; got 1\.5"),
    ],
)
def test_fields_of_another_type_are_refused(change, message):
    fields = {"name": "c", "lists": {"a": ("x",), "b": ("y",)}, "exclude": {}, "distance": 0}
    with pytest.raises(TypeError, match=message):  # under pytest, beartype checks __init__ itself
        Contrast.__post_init__(SimpleNamespace(**fields | change))


def test_an_invalid_expression_is_refused():
    with pytest.raises(ValueError, match=r"exclude\['why'\] is not a regular expression"):
        Contrast("c", {"a": ("x",), "b": ("y",)}, {"why": "(x"})


def test_a_contrast_cannot_be_changed_through_what_it_was_made_from():
    lists, exclude = {"a": ["x"], "b": ["y"]}, {}
    contrast = Contrast("c", lists, exclude)
    lists["a"].append("z")
    exclude["why"] = "x"
    assert contrast.lists["a"] == ("x",)
    assert not contrast.exclude
    with pytest.raises(TypeError, match="item assignment"):
        contrast.lists["a"] = ("z",)


def test_copies_are_equal_and_find_the_same():
    for other in (pickle.loads(pickle.dumps(NEGATION)), copy.deepcopy(NEGATION)):
        assert other == NEGATION
        assert other.find("May we not?") == NEGATION.find("May we not?")


def test_to_dict_survives_json_and_makes_the_contrast_again():
    assert Contrast(**json.loads(json.dumps(NEGATION.to_dict()))) == NEGATION
