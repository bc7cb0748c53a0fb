"""The command line called in this process, and what it printed as plain text."""

import re

from typer.testing import CliRunner

from tl_negation.commands.app import app

WINDOW = ("--before", "6", "--after", "2")
FAST = (*WINDOW, "--permutations", "60", "--tasks", "2")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], terminal_width=100)


def plain(output):
    """Without colours and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", output))
