"""The command line, ``tl-negation``: it reads options, calls :mod:`tl_negation.runs`, and prints.

``app`` declares the commands and imports nothing but typer; each command imports what it runs when
it runs. A typo is therefore answered at once, without the seconds that torch takes to load.
"""

import os
import sys
from io import TextIOWrapper

#: Exit code where whoever read the output has gone, as in ``| head -1``: that of a program which
#: the signal SIGPIPE ends.
READER_LEFT = 128 + 13


def main() -> None:
    """Run the command line: the entry point of ``tl-negation`` and ``python -m tl_negation``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A word that the terminal's encoding does not know is written with backslashes.
            stream.reconfigure(errors="backslashreplace")
    # Figures are only saved here. A notebook server's MPLBACKEND (Colab's shell cells inherit it)
    # names a module that matplotlib may not find, and then no command could draw.
    os.environ["MPLBACKEND"] = "Agg"
    from .app import app

    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()
        sys.exit(READER_LEFT)


def nobody_reads() -> None:
    """Write the rest of the output to nowhere, so that ending the program does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
