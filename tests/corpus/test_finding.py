"""A rule of finding is one entry: a new one is known wherever a preset is."""

from io import StringIO

import pytest
from helpers import corpora

from tl_negation import find_contexts
from tl_negation._shared import PRESETS
from tl_negation.commands.help import fill
from tl_negation.corpus.contrast import NEGATION, Contrast
from tl_negation.corpus.finding import RULES, Rule, find_words, rule_of
from tl_negation.corpus.text import Text, load_text

PLAIN = Contrast("plain", {"no": ("not",), "yes": ("can",)})
SIZE = {"before": 1, "after": 1}


def capitals(text, contrast, before, after):
    """Yield words in capitals only; nothing here looks at the ends of the text."""
    for position, hit in find_words(text, contrast, before, after):
        shouted = text.content[hit.start : hit.end].isupper()
        yield position, hit if shouted else hit._replace(reason="not in capitals")


@pytest.fixture
def rule(monkeypatch):
    """Add a rule from outside for as long as a test runs."""
    rule = Rule("words in capitals", capitals, whole_text=True, bos=False)
    monkeypatch.setitem(RULES, "capitals", rule)
    return rule


def find(text, preset="capitals", **options):
    return find_contexts(text, corpora.byte_level(), preset=preset, **(SIZE | options))


def test_a_rule_added_from_outside_finds_the_contexts(rule):
    contexts = find("We NOT, we CAN go, we not go, so we CAN")
    assert contexts.examples["surface"].tolist() == ["NOT", "CAN"]
    assert contexts.source["preset"] == "capitals"
    assert contexts.source["keep_boilerplate"] is True
    assert contexts.source["dropped"] == {
        "not in capitals": {"negation": 1, "affirmation": 0},
        "too near the end": {"negation": 0, "affirmation": 1},
    }
    out = StringIO()
    contexts.audit(out)
    assert "rule       capitals" in out.getvalue()


def test_it_is_a_preset_that_messages_and_help_name(rule):
    assert PRESETS["capitals"] == "words in capitals"
    assert "capitals (words in capitals)" in fill("A preset: {presets}.")
    with pytest.raises(ValueError, match=r"None or 'notebook' or 'capitals'; got 'capitols': did"):
        find("We can not", preset="capitols")
    with pytest.raises(ValueError, match="without BOS under preset='capitals'; got prepend_bos=Tr"):
        find("We can not", prepend_bos=True)


def test_what_is_taken_away_is_no_longer_known(rule):
    del RULES["capitals"]
    assert "capitals" not in PRESETS
    with pytest.raises(ValueError, match="preset must be None or 'notebook'; got 'capitals'"):
        find("We can not")
    RULES["capitals"] = rule  # the fixture takes it away again


def test_a_preset_of_another_stage_finds_whole_words(monkeypatch):
    monkeypatch.setitem(PRESETS, "by head", "a preset of the profile")
    assert rule_of("by head") is rule_of(None)
    found = find("We can go, we not go", "by head", prepend_bos=False)
    assert found.words == ("can", "not")


def test_every_preset_of_the_package_has_its_rule():
    assert set(RULES) == {None, *PRESETS}


def test_a_rule_for_one_contrast_or_document_refuses_others(monkeypatch):
    rule = Rule("plain", find_words, contrast=PLAIN, one_document=True)
    monkeypatch.setitem(RULES, "plain", rule)
    text = "We can go, we not go"
    assert find(text, "plain", contrast=PLAIN, prepend_bos=False).words == ("can", "not")
    with pytest.raises(ValueError, match="the rule for the contrast 'plain' only; got 'negation'"):
        find(text, "plain", contrast=NEGATION)
    with pytest.raises(ValueError, match="preset='plain' is the rule for a single document; got"):
        find(load_text([Text.from_string(text)]), "plain", contrast=PLAIN)
