"""The command line called in this process, and what it printed as plain text."""

import os
import re
from pathlib import Path

from typer.testing import CliRunner

import tl_negation
from tl_negation.commands.app import app

WINDOW = ("--before", "6", "--after", "2")
#: For a child process: the package that is tested, installed or not.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(tl_negation.__file__).parents[1])}
FAST = (*WINDOW, "--permutations", "60", "--tasks", "2")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], terminal_width=100)


def plain(output):
    """Without colours and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m", "", output))
