"""The command line, ``tl-negation``: it reads options, calls :mod:`tl_negation.runs`, and prints.

``app`` declares the commands and imports nothing but typer; each command imports what it runs when
it runs. A typo is therefore answered at once, without the seconds that torch takes to load.
"""

import os


def main() -> None:
    """Run the command line: the entry point of ``tl-negation`` and ``python -m tl_negation``."""
    # Figures are only saved here. A notebook server's MPLBACKEND (Colab's shell cells inherit it)
    # names a module that matplotlib may not find, and then no command could draw.
    os.environ["MPLBACKEND"] = "Agg"
    from .app import app

    app()
