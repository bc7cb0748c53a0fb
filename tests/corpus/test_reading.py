"""Words as people type them: read where it is certain, left out and counted where it is not."""

import pytest
from helpers import corpora
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus.contexts import find_contexts
from tl_negation.corpus.contrast import NEGATION, Contrast, check_exclude
from tl_negation.corpus.reading import APART, DAMAGED, MARKS, read

#: What a text that was read wrongly makes of a typographic apostrophe.
WRONG = [
    "\u2019".encode("utf-8").decode(name) for name in ("cp1252", "latin-1", "mac_roman", "cp437")
]
WRONG += [WRONG[0].encode("utf-8").decode("cp1252"), "\u00b4".encode("utf-8").decode("cp1252")]
ENTITIES = ["&#39;", "&#x27;", "&apos;", "&rsquo;", "&lsquo;", "&#8217;", "&#x2019;", "&amp;#39;"]
OTHERS = ["\\'", "''", "\u00b4'"]


def found(text, contrast=NEGATION):
    return [
        (hit.word, hit.label, text[hit.start : hit.end], hit.reason) for hit in contrast.find(text)
    ]


@pytest.mark.parametrize("mark", ["'", *MARKS])
@pytest.mark.parametrize("word", ["can{}t", "couldn{}t", "CAN{}T", "Won{}t"])
def test_every_apostrophe_that_people_type_makes_a_negation(word, mark):
    text = f"He {word.format(mark)} go."
    assert found(text) == [("n't", 1, word.format(mark), None)]


@pytest.mark.parametrize("mark", [*ENTITIES, *WRONG, *OTHERS])
@pytest.mark.parametrize("word", ["can{}t", "couldn{}t"])
def test_a_damaged_apostrophe_is_counted_and_left_out(word, mark):
    text = f"He {word.format(mark)} go."
    assert found(text) == [("n't", 1, word.format(mark), DAMAGED)]


@pytest.mark.parametrize(
    "apart",
    ["can 't", "can' t", "can \u2019t", "can t", "can?t", "can\ufffdt", "can\u201dt", 'can"t'],
)
def test_what_may_be_a_contraction_is_no_affirmation(apart):
    assert found(f"He {apart} go.") == [("can", 0, "can", APART)]
    contrast = Contrast("verbs", {"can": ("can",), "will": ("will",)})
    assert found(f"He {apart} go.", contrast) == [("can", 1, "can", APART)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nor\u00admal", []),
        ("nor-\nmal", []),
        ("can-\ndle", []),
        ("can- \r\n  dle", []),
        ("can\u2010\ndle", []),
        ("can\u00adnot", [("cannot", 1, "can\u00adnot", None)]),
        ("not\u200dhing", []),
        ("n\u200dot", [("not", 1, "n\u200dot", None)]),
        ("can--\nand", [("can", 0, "can", None)]),
        ("- not so\n- can go", [("not", 1, "not", None), ("can", 0, "can", None)]),
        ("`not`, \u2018can\u2019", [("not", 1, "not", None), ("can", 0, "can", None)]),
        ("I can. The end", [("can", 0, "can", None)]),
        ("can 'tis be", [("can", 0, "can", None)]),
        ("if not t: pass", [("not", 1, "not", None)]),
        ("It is not\r\nso", [("not", 1, "not", None)]),
    ],
)
def test_words_that_are_broken_and_words_that_are_not(text, words):
    assert found(text) == words


def test_reasons_are_in_the_audit():
    text = "we can&#39;t go. we can 't go. " + corpora.STORY
    contexts = find_contexts(text, corpora.byte_level(), before=1, after=0, prepend_bos=False)
    dropped = contexts.source["dropped"]
    assert dropped[DAMAGED] == {"negation": 1, "affirmation": 0}
    assert dropped[APART] == {"negation": 0, "affirmation": 1}


PIECES = [
    "not",
    "can",
    "can't",
    "-\n",
    "\u00ad",
    "&#39;",
    "\u00e2\u20ac\u2122",
    " ",
    "t",
    "''",
    "\\'",
    "\n",
    "&shy;",
]


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_places_in_what_is_read_are_places_in_what_is_written(text):
    reading = read(text)
    spans = [reading.written(place, place + 1) for place in range(len(reading.text))]
    starts = [start for start, _ in spans]
    assert starts == sorted(set(starts))
    for place, (start, end) in enumerate(spans):
        character = reading.text[place]
        if place in reading.damaged:
            assert character == "'"
        elif character != "'":
            assert text[start:end] == character
        assert reading.is_damaged(place, place + 1) is (place in reading.damaged)
    for hit in NEGATION.find(text):
        assert 0 <= hit.start < hit.end <= len(text)


def test_a_plain_text_is_read_as_it_is():
    text = "Nothing to see; not here, - nor there."
    assert read(text).text == text
    assert read(text).places == ()


# ------------------------------------------------------------------ cost


@pytest.mark.parametrize("run", ["a", "x", "ax"])
def test_a_pattern_costs_no_more_than_the_text_is_long(run):
    """A run of letters has one hit or none; without a bound it would cost its square."""
    contrast = Contrast("x", {"x": ("*x*",), "not": ("not",)})
    hits = contrast.find(run * 50_000 + " not axb")
    assert [hit.word for hit in hits[-2:]] == ["not", "x"]
    assert len(hits) <= 3


@pytest.mark.parametrize("test", ["(a+)+$", r"(?:\w+\s*)+x", "((a*)b?)*", "(?:a+?)+"])
def test_an_expression_that_explodes_is_refused(test):
    with pytest.raises(ValueError, match=r"exclude\['why'\] repeats something .* got"):
        Contrast("x", {"a": ("can",), "b": ("not",)}, exclude={"why": test})


def test_what_excludes_sees_no_further_than_its_bound():
    contrast = Contrast("x", {"a": ("can",), "b": ("not",)}, exclude={"why": r"can.*end"})
    near, far = contrast.find("can the end, can" + 400 * " " + "end")
    assert (near.reason, far.reason) == ("why", None)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (["May"], "exclude must map reasons to regular expressions, .* got a list"),
        ({"why": 3}, r"exclude\['why'\] must be a string; got 3"),
        ({3: "May"}, "a reason to exclude must be a string; got 3"),
    ],
)
def test_what_excludes_is_expressions_by_their_reason(exclude, message):
    with pytest.raises(TypeError, match=message):
        check_exclude(exclude)  # the tests' own check of types would come first
