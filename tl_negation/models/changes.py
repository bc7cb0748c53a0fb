"""What somebody has added to a model: hooks, forward passes of their own, modules of their own.

A short cut through a model is right for the code of the libraries alone, and what is kept on disk
is recognised by weights and configuration. Both must know what else decides the values.
"""

from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from torch import nn
from torch.nn.modules import module as _torch_module

from .protocol import TransformerLensModel

#: Libraries whose modules and hooks are known: torch, what a TransformerLens model is made of, and
#: those that put weights elsewhere or pack them without changing what is computed with them.
LIBRARIES = ("torch", "transformers", "transformer_lens", "accelerate", "bitsandbytes")
#: What the libraries wrap their own functions with.
WRAPPERS = ("jaxtyping", "beartype", "typeguard", "functools", "contextlib", "typing")


def changes_of(model: TransformerLensModel) -> list[str]:
    """Name every hook in the model, and every module in which a function was replaced.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    list of str
        Such as ``"a hook at blocks.2.mlp.hook_pre"``; empty for a model as the libraries made it.
        What is no module's own (a function that the libraries look up elsewhere) is not seen.
    """
    found = [f"a hook at {where}" for where in _hooks(model)]
    kinds = {type(module) for module in model.modules()}
    patched = {kind for kind in kinds if any(map(_is_patched_class, kind.__mro__))}
    found += [
        f"code of its own at {name or 'the model itself'}"
        for name, module in model.named_modules()
        if type(module) in patched or _is_patched(module)
    ]
    return found


def foreign_classes(model: TransformerLensModel) -> list[str]:
    """Name the classes of modules that are not the libraries' own, each once."""
    classes = {type(module) for module in model.modules()}
    return sorted(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in classes
        if not _is_of_library(kind.__module__)
    )


def is_stock(model: TransformerLensModel) -> bool:
    """Whether the libraries' own code, and nothing else, decides what the model computes."""
    return not changes_of(model) and not foreign_classes(model)


def _hooks(model: TransformerLensModel) -> Iterator[str]:
    everywhere = [
        *_torch_module._global_forward_hooks.values(),
        *_torch_module._global_forward_pre_hooks.values(),
    ]
    if not all(map(_is_librarys, everywhere)):  # torch's own count operations and the like
        yield "every module of torch"
    points = _names_of_hook_points(model)
    for name, module in model.named_modules():
        functions = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if hasattr(module, "fwd_hooks"):  # a hook point of TransformerLens, which wraps functions
            functions = [_unwrapped(function) for function in functions]
        if not all(map(_is_librarys, functions)):
            yield points.get(module) or name or "the model itself"


def _names_of_hook_points(model: TransformerLensModel) -> dict[nn.Module, str]:
    """Names that users know: a bridge's modules have longer ones, and its hooks have several."""
    return {point: name for name, point in sorted(model.hook_dict.items(), key=_length_of_name)}


def _length_of_name(item: tuple[str, Any]) -> int:
    return -len(item[0])  # the shortest comes last, and stays


def _is_patched(module: nn.Module) -> bool:
    """Whether code of somebody's own is in a module itself, and not only in its class."""
    own = dict(vars(module))
    moved = own.pop("_hf_hook", None)
    if moved is not None:  # accelerate wraps modules whose weights lie elsewhere
        hooks = [moved, *getattr(moved, "hooks", ())]
        if not all(_is_of_library(type(hook).__module__) for hook in hooks):
            return True
    functions = (value for value in own.values() if _is_function(value))
    return not all(map(_is_librarys, functions))


def _is_patched_class(kind: type) -> bool:
    """Whether a function of a library's class is not the library's."""
    return _is_of_library(kind.__module__) and not all(
        _is_librarys(function) for function in vars(kind).values() if _is_function(function)
    )


def _is_function(value: Any) -> bool:
    return isinstance(value, (FunctionType, MethodType, partial))


def _unwrapped(function: Any) -> Any:
    """Take out the function that was put at a hook point; None if it is not found."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    if "hook" not in names:
        return None
    return function.__closure__[names.index("hook")].cell_contents


def _is_librarys(function: Any) -> bool:
    """Whether the code of a function is a library's: its name may be copied (functools.wraps)."""
    while isinstance(function, (MethodType, partial)):
        function = function.__func__ if isinstance(function, MethodType) else function.func
    if isinstance(function, FunctionType):
        return _is_of_library(function.__globals__.get("__name__"))
    if isinstance(function, BuiltinFunctionType):
        return True  # compiled: no user's
    return _is_of_library(type(function).__module__)


def _is_of_library(name: str | None) -> bool:
    return name is not None and name.split(".")[0] in (*LIBRARIES, *WRAPPERS)
