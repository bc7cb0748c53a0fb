"""What it costs to enter this room, which every command line does."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "transformers", "accelerate", "filelock", "rich")
ENTER = """
import sys
import tl_negation._shared as shared
assert shared.launched() == 1
shared.check_target("no such folder")
print(" ".join(sys.modules))
"""


@pytest.fixture(scope="module")
def loaded():
    command = [sys.executable, "-c", ENTER]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", HEAVY)
def test_checks_and_files_do_without_what_is_heavy(loaded, name):
    assert "tl_negation._shared.files" in loaded
    assert name not in loaded
