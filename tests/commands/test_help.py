"""Help that lists the package's tables, options that repeat the library's defaults, and typos."""

import inspect
from dataclasses import replace

import pytest
from helpers.command_line import invoke, plain

import tl_negation as tln
from tl_negation._shared import PRESETS
from tl_negation.commands.app import app
from tl_negation.commands.help import LISTS, entries
from tl_negation.inference import EXTRAS
from tl_negation.interventions import HOWS
from tl_negation.models import SITES
from tl_negation.probing import CORRECTIONS, EXAMPLE_TESTS, FAMILIES
from tl_negation.runs import HARDWARE


def help_of(command):
    """The help of a command without borders, so that a phrase is found across lines."""
    done = invoke(command, "--help")
    assert done.exit_code == 0
    return " ".join(plain(done.output.replace("│", " ")).split())


@pytest.mark.parametrize(
    ("command", "table"),
    [
        ("scan", SITES), ("compare", SITES), ("plan", SITES), ("scan", FAMILIES),
        ("scan", CORRECTIONS), ("scan", EXAMPLE_TESTS), ("scan", EXTRAS), ("scan", PRESETS),
        ("audit", PRESETS), ("ablate", HOWS), ("plan", HARDWARE),
    ],
)  # fmt: skip
def test_help_lists_the_entries_of_a_table(command, table):
    text = help_of(command)
    assert all(name in text for name in table)
    assert not [known for known in LISTS if f"{{{known}}}" in text]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_has_entries(name):
    assert len(entries(LISTS[name])) > 3


@pytest.mark.parametrize(
    ("command", "table", "like", "shown"),
    [
        ("scan", SITES, "q", {"meaning": "bend of the stream"}),
        ("scan", CORRECTIONS, "holm", {"name": "bend of the stream"}),
        ("scan", FAMILIES, "all", {"meaning": "bend of the stream"}),
        ("scan", EXTRAS, "firth", {"meaning": "bend of the stream"}),
        ("ablate", HOWS, "zero", {"meaning": "bend of the stream"}),
        ("plan", HARDWARE, "h100", {"name": "bend of the stream"}),
    ],
)
def test_a_new_entry_is_in_the_help_at_once(monkeypatch, command, table, like, shown):
    assert "knee" not in help_of(command)
    monkeypatch.setitem(table, "knee", changed(table[like], **shown))
    assert "knee (bend of the stream)" in help_of(command)
    monkeypatch.undo()
    assert "knee" not in help_of(command)


def changed(entry, **changes):
    """A copy of a record, of whichever kind."""
    return entry._replace(**changes) if isinstance(entry, tuple) else replace(entry, **changes)


def options_of(command):
    """Default of every option of a command, by name."""
    [found] = [known for known in app.registered_commands if name_of(known) == command]
    parameters = inspect.signature(found.callback).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def name_of(command):
    return command.name or command.callback.__name__


@pytest.mark.parametrize(
    ("command", "function", "renamed"),
    [
        ("scan", tln.scan, {"contrast": "a file"}),
        ("compare", tln.compare, {"contrast": "a file"}),
        ("plan", tln.plan, {}),
        ("ablate", tln.add_effects, {"n": "units"}),
        ("audit", tln.find_contexts, {"contrast": "a file"}),
        ("replicate", tln.replicate, {}),
    ],
)
def test_defaults_of_a_command_are_those_of_its_function(command, function, renamed):
    options = options_of(command)
    compared = 0
    for name, parameter in inspect.signature(function).parameters.items():
        option = options.get(renamed.get(name, name), parameter.empty)
        if parameter.default is parameter.empty or option is inspect.Parameter.empty:
            continue
        expected = parameter.default
        assert option == (",".join(expected) if isinstance(expected, tuple) else expected), name
        compared += 1
    assert compared > (0 if command == "replicate" else 3)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("scna",), "No such command 'scna'. Did you mean 'scan'?"),
        (("scan", "--sitse", "q"), "No such option: --sitse"),
        (("scan", "--sitse", "q"), "--sites"),
        (("plan", "--hardwear", "h100"), "--hardware"),
        (("scan", "--text", "x"), "Missing option '--out'"),
        (("report",), "Missing argument"),
        (("audit", "--text", "x", "--after", "many"), "Invalid value for '--after'"),
    ],
)
def test_a_typo_is_answered_with_what_is_near(arguments, answer):
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert answer in " ".join(plain(done.stderr.replace("│", " ")).split())
