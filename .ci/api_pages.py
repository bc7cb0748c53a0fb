"""Build the API reference from the docstrings: ``python -W error .ci/api_pages.py FOLDER``.

pdoc, told three things that it cannot see: a function that has its module's name (``report``,
``plots.save``) is the function; the rooms behind the three doors are not public; and a default or
a check in a signature is shown by its name.
"""

import sys
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.doc
import pdoc.render

import tl_negation
from tl_negation._shared import checks

#: What users import: the package and its two modules. The map in the root's docstring names the
#: rooms behind them.
DOORS = ("tl_negation", "tl_negation.plots", "tl_negation.views")


def public_modules(module: pdoc.doc.Module) -> list[pdoc.doc.Module]:
    """The modules that ``import`` gives under their names, where pdoc takes any file so named."""
    found = {name: getattr(module.obj, name) for name in getattr(module.obj, "__all__", ())}
    names = [name for name, thing in found.items() if isinstance(thing, ModuleType)]
    return [pdoc.doc.Module.from_name(f"{module.fullname}.{name}") for name in names]


def named(signature: str) -> str:
    """A signature with ``NEGATION`` for what it is, and ``int`` for an integer that is checked."""
    signature = signature.replace(repr(tl_negation.NEGATION), "NEGATION")
    for name in checks.__all__:
        check = getattr(checks, name)
        if callable(check):
            signature = signature.replace(f", <function {name}>]", "]")
    return signature


def main(folder: str) -> None:
    """Write the pages, and fail where a public name is not on its page."""
    for name in tl_negation.__all__:
        getattr(tl_negation, name)  # the root imports its names when they are asked for
    pdoc.doc.Module.submodules = property(public_modules)
    pdoc.render.configure(docformat="numpy", footer_text=f"tl_negation {tl_negation.__version__}")
    pdoc.pdoc(*DOORS, output_directory=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
