"""The names of the presets, and the one refusal of any other."""

import pytest

from tl_negation._shared.presets import PRESETS, known_preset


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_a_preset_or_none_is_let_through(preset):
    known_preset("preset", preset)


@pytest.mark.parametrize(
    ("preset", "error", "message"),
    [
        ("paper", ValueError, "preset must be None or 'notebook'; got 'paper'$"),
        ("notebok", ValueError, "'notebok': did you mean 'notebook'[?]$"),
        (True, TypeError, "preset must be a string; got True"),
    ],
)
def test_another_name_is_refused_with_the_nearest(preset, error, message):
    with pytest.raises(error, match=message):
        known_preset("preset", preset)


def test_a_name_that_was_added_is_known_and_named(monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", "rules of my own")
    known_preset("preset", "mine")
    with pytest.raises(ValueError, match="must be None or 'notebook' or 'mine'; got 'paper'"):
        known_preset("preset", "paper")
