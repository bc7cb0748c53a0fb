"""Words as people type them: read where it is certain, left out and counted where it is not."""

import pytest
from helpers import corpora
from hypothesis import given
from hypothesis import strategies as st

from tl_negation.corpus.contrast import NEGATION, Contrast, check_exclude
from tl_negation.corpus.reading import APART, BROKEN, DAMAGED, MARKS, read
from tl_negation.corpus.targets import find_contexts

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


ENTITIES_OF_SPACES = ("&nbsp;", "&#160;", "&#xa0;")


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
        elif character == " ":
            assert text[start:end] in (" ", *ENTITIES_OF_SPACES)
        elif character == "-":
            assert text[start] in "-\u00ad\u2010\u2011\u00ac=&"
        elif character != "'":
            assert text[start:end] == character
        assert reading.is_damaged(place, place + 1) is (place in reading.damaged)
    for hit in NEGATION.find(text):
        assert 0 <= hit.start < hit.end <= len(text)


def test_a_plain_text_is_read_as_it_is():
    text = "Nothing to see; not here, - nor there."
    assert read(text).text == text
    assert read(text).places == ()


# ------------------------------------------------------------------ other examples of each kind

TAKEN_APART = (
    "could'nt", "should'nt", "might'nt", "can'nt", "can\u2019nt", "COULD'NT", "should`nt",
    "could nt", "can nt", "could n 't", "could n' t", "could n t", "can'ot", "CAN 'T", "CAN?T",
    "CAN\ufffdT", "CAN;T", "CAN T", "can-\n't", "can&#39t", "can&#8217t", "can&apos t",
    "can\\u2019t", "can\\x27t", "can%27t", "can%E2%80%99t", "can=92t", "can<U+2019>t",
    "can\u221a\u00eft", "can\u2019\u00c4\u00f4t", "can????t",
)  # fmt: skip


@pytest.mark.parametrize("text", TAKEN_APART)
def test_other_forms_of_a_contraction_are_no_affirmation(text):
    [hit] = NEGATION.find(f"They {text} go")
    assert hit.reason == APART


@pytest.mark.parametrize(
    "text",
    [
        "couldn?t", "couldn ' t", "couldn 't", "couldn,t", "don\ufffdt", "does'nt", "didnt", "dont",
        "DIDNT",
    ],
)  # fmt: skip
def test_contractions_without_their_apostrophe_are_counted(text):
    [hit] = NEGATION.find(f"They {text} go")
    assert (hit.word, hit.label, hit.reason) == ("n't", 1, APART)


@pytest.mark.parametrize(
    "text",
    [
        "nor\u00ad\nmal", "nor&shy;\nmal", "nor-\u00ad\nmal", "nor\u00ac\nmal", "nor=\nmal",
        "nor-\n\x0cmal", "nor-\x85mal", "nor-\u2028mal", "nor-\u00a0\nmal", "nor-\n\nmal",
        "nor-\n> mal", "nor\u200emal", "nor<wbr>mal", "nor&#8203;mal", "Can\u0303on", "not\u0300e",
        "may\u0308",
    ],
)  # fmt: skip
def test_parts_of_words_are_no_words(text):
    assert NEGATION.find(f"the {text} go") == ()


@pytest.mark.parametrize("text", ["nor- mal", "can- dle", "can- not"])
def test_a_hyphen_and_a_space_leave_it_open(text):
    assert NEGATION.find(f"We {text}")[0].reason == BROKEN


@pytest.mark.parametrize(
    "between", ["&nbsp;", "&#160;", " <i>", ' "', " (", " \u201c", " `", " ~~", "'", "\u00a0"]
)
def test_an_affirmation_before_an_emphasised_not_is_none(between):
    first, second = NEGATION.find(f"They can{between}not go")
    assert (first.reason, second.reason) == ("affirmation followed by not", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("We can. T. S. Eliot", ["can"]),
        ("can T-cells grow", ["can"]),
        ("they can - if they like", ["can"]),
        ("it can, not knowing", ["can", "not"]),
        ("can\u2014not so", ["can", "not"]),
        ("could've", ["could"]),
        ("can\u2019t've", ["n't"]),
        ("I can\u2019t not go", ["n't", "not"]),
        ("CAN\u2019T", ["n't"]),
        ("can\u200e't", ["n't"]),
        ("can\u2019\ufe0ft", ["n't"]),
        ("can 'a' be", ["can"]),
        ("can / could", ["can", "could"]),
    ],
)
def test_what_is_certain_is_kept(text, words):
    hits = NEGATION.find(text)
    assert [(hit.word, hit.reason) for hit in hits] == [(word, None) for word in words]


@pytest.mark.parametrize("test", ["(a|ab)*c", r"(\w{1,30}){1,30}$", "(?:a?){26}b", "(a+)+$"])
def test_other_expressions_that_explode_are_refused(test):
    with pytest.raises(ValueError, match="repeats something that is itself repeated or a choice"):
        check_exclude({"why": f"can {test}"})


@pytest.mark.parametrize("test", ["(?<=a+)b", "a{99999999999}", "(" * 5000 + ")" * 5000, "("])
def test_what_is_no_expression_is_refused(test):
    with pytest.raises(ValueError, match="is not a regular expression"):
        check_exclude({"why": test})


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
