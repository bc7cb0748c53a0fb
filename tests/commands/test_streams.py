"""What the command prints into pipes, into terminals of old encodings, and nowhere."""

import json
import subprocess
import sys

import pytest
from helpers import tiny_models
from helpers.child_process import environment

pytestmark = pytest.mark.slow  # a process each
WINDOW = ("--before", "6", "--after", "2")


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The command ``audit`` on a text whose name, words and tokens are not ASCII."""
    folder = tmp_path_factory.mktemp("streams")
    model = tiny_models.gpt2_folder(folder)
    text = folder / "caf\u00e9 \u2013 na\u00efve.txt"
    text.write_text(tiny_models.story(), "utf-8")
    program = [sys.executable, "-m", "tl_negation", "audit"]
    return [*program, "--model", str(model), "--text", str(text), *WINDOW]


def test_a_reader_that_goes_ends_the_command_quietly(audit):
    for options in ((), ("--json",)):
        with subprocess.Popen(
            [*audit, *options], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as command:
            command.stdout.close()  # at once: whatever is written later has no reader
            says = command.stderr.read().decode()
        assert command.returncode == 128 + 13
        assert says == ""


def test_head_gets_its_line(audit):
    with subprocess.Popen(audit, env=environment(), stdout=subprocess.PIPE) as command:
        head = subprocess.run(
            ["head", "-1"], stdin=command.stdout, capture_output=True, text=True, check=True
        )
        command.stdout.close()
    assert head.stdout.startswith("text ")
    assert command.returncode in (0, 128 + 13)  # everything may have fitted into the pipe


def test_an_ascii_terminal_gets_backslashes(audit):
    done = subprocess.run(
        audit, env=environment(PYTHONIOENCODING="ascii"), capture_output=True, check=True
    )
    assert rb"caf\xe9 \u2013 na\xefve.txt" in done.stdout
    assert done.stderr == b""


def test_json_is_json_whatever_the_terminal(audit):
    for encoding in ("ascii", "utf-8", "latin-1"):
        done = subprocess.run(
            [*audit, "--json"], env=environment(PYTHONIOENCODING=encoding),
            capture_output=True, check=True,
        )  # fmt: skip
        said = json.loads(done.stdout.decode("ascii"))
        assert said["source"]["source"].endswith("caf\u00e9 \u2013 na\u00efve.txt")


def test_the_backend_of_a_notebook_breaks_no_command(audit):
    backend = environment(MPLBACKEND="module://matplotlib_inline.backend_inline_of_another_python")
    done = subprocess.run(audit, env=backend, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
