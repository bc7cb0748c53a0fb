"""What this package needs of a TransformerLens model, in one place.

``HookedTransformer`` and ``TransformerBridge`` both have it, so neither class is imported here.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class TransformerLensModel(Protocol):
    """A ``HookedTransformer``, a ``TransformerBridge``, or any model that offers the same.

    Every parameter named ``model`` takes one; :func:`tl_negation.load_model` returns one. Your own
    class need not inherit from it: having these members is enough.

    Notes
    -----
    ``blocks``, the layers, are read where a model has them. They are not listed because
    ``isinstance`` cannot see submodules of torch from Python 3.12 on.

    Examples
    --------
    >>> isinstance(model, tln.TransformerLensModel)
    True
    >>> isinstance(torch.nn.Linear(2, 3), tln.TransformerLensModel)
    False
    """

    @property
    def cfg(self) -> Any:
        """Sizes and settings: ``n_layers``, ``d_model``, ``n_heads``, ``d_head`` and so on."""

    @property
    def hook_dict(self) -> Mapping[str, Any]:
        """Hook points by name: ``"blocks.3.attn.hook_q"``."""
        ...

    @property
    def tokenizer(self) -> Any:
        """Hugging Face's tokenizer."""

    def hooks(self, fwd_hooks: Any = (), bwd_hooks: Any = ()) -> AbstractContextManager[Any]:
        """Add functions to hook points for as long as the context lasts."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All weights."""
        ...

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights with their names."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """All parts of the model, itself included."""
        ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """All parts of the model with their names."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run tokens ``[example, pos]`` through the model."""
        ...


def blocks_of(model: TransformerLensModel) -> list[Any]:
    """Layers of the model, none if it does not name them ``blocks``."""
    return list(getattr(model, "blocks", ()))
