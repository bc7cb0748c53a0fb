"""Build the API reference from the docstrings: ``python -W error .ci/api_pages.py FOLDER``.

pdoc, told three things that it cannot see: a function that has its module's name (``report``,
``plots.save``) is the function; the rooms behind the three doors are not public; and a default or
a check in a signature is shown by its name.
"""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pdoc
import pdoc.doc
import pdoc.render

import tl_negation

#: What users import. The map in the root's docstring names the rooms behind these doors.
DOORS = ("tl_negation", "tl_negation.plots", "tl_negation.views")
#: pdoc takes a file that has the name of a public function for a public module.
NOT_MODULES = (r"!tl_negation\.report\b", r"!tl_negation\.(plots|views)\.")


def public_modules(module: pdoc.doc.Module) -> list[pdoc.doc.Module]:
    """The modules among a module's public names."""
    found = {name: getattr(module.obj, name) for name in getattr(module.obj, "__all__", ())}
    names = [name for name, thing in found.items() if isinstance(thing, ModuleType)]
    return [pdoc.doc.Module.from_name(f"{module.fullname}.{name}") for name in names]


def named(parameter: str) -> str:
    """A parameter with ``NEGATION`` for what it holds, and ``int`` for an integer that is checked.

    >>> named("n: typing.Annotated[int, <function count>] = 5")
    'n: int = 5'
    """
    parameter = parameter.replace(repr(tl_negation.NEGATION), "NEGATION")
    return re.sub(r"typing\.Annotated\[(.*?), <function .*?>\]", r"\1", parameter)


def missing(folder: Path) -> list[str]:
    """Public names that are not on the page of their door."""
    lost = []
    for door in DOORS:
        page = (folder / f"{door.replace('.', '/')}.html").read_text(encoding="utf-8")
        module = importlib.import_module(door)
        names = [n for n in module.__all__ if not isinstance(getattr(module, n), ModuleType)]
        lost += [f"{door}.{name}" for name in names if f'id="{name}"' not in page]
    return lost


def main(folder: Path) -> None:
    """Write the pages, and fail where a public name is not on its page."""
    for name in tl_negation.__all__:
        getattr(tl_negation, name)  # the root imports its names when they are asked for
    parameters = pdoc.doc._PrettySignature._params
    pdoc.doc._PrettySignature._params = lambda shown: list(map(named, parameters(shown)))
    pdoc.doc.Module.submodules = property(public_modules)
    pdoc.render.configure(docformat="numpy", footer_text=f"tl_negation {tl_negation.__version__}")
    pdoc.pdoc("tl_negation", *NOT_MODULES, output_directory=folder)
    if lost := missing(folder):
        sys.exit(f"not on their pages: {', '.join(lost)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
