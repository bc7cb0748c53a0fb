"""One forward pass over batches of contexts, stopped where nothing more is wanted.

The hooks are added once for all batches; an exception of our own stops each pass after the last
hook that was asked for; a batch that does not fit into memory is halved and run again. Where only
the target is wanted, the last modules are given its position alone. That, and a faster GELU, are
for models as the libraries made them: somebody's own hook or module sees what it would see in
``run_with_cache``.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import gelu

from .._shared import LOG
from ..corpus import ABSENT
from ..models import SITES, TransformerLensModel, alone_with, blocks_of, is_stock, run_windows


class Part(NamedTuple):
    """What a batch is of ``tokens``: rows whose windows begin and end in the same columns.

    Attributes
    ----------
    rows
        As a slice where they follow one another, or else their numbers, on the CPU.
    columns
        Of the windows' tokens.
    """

    rows: slice | Int[Tensor, " row"]
    columns: slice


#: A hook's function: takes the activation and what the batch is.
Writer: TypeAlias = Callable[[Tensor, Part], None]
_Result = TypeVar("_Result")

#: Modules of TransformerLens known to work on each position by itself. (A recurrent block's MLP,
#: which looks back a token, is wrapped by the same class; such a block has no queries.)
_POSITIONWISE = ("MLP", "GatedMLP", "MLPBridge", "GatedMLPBridge")


@contextmanager
def _short_cuts(model: TransformerLensModel, at_target: Collection[str]) -> Iterator[None]:
    """Compute the same with less work, in a model as the libraries made it.

    ``at_target`` names the hooks if only their last position is wanted.
    """
    if not is_stock(model):
        yield
    elif not at_target:
        with _fused_gelu(model):
            yield
    else:
        with _fused_gelu(model), _target_alone(model, at_target):
            yield


@contextmanager
def _target_alone(model: TransformerLensModel, names: Iterable[str]) -> Iterator[None]:
    """Give the last modules of a pass the last position only, where they no longer mix positions.

    After the last attention whose output is wanted, nothing looks at the other positions: neither
    the MLP after it, nor the projections of a block of which only those are wanted.
    """
    layers = {name: int(name.split(".")[1]) for name in names}
    mixing = last = max(layers.values())
    blocks, handles = blocks_of(model), []
    if all(_is_before_mixing(name) for name, layer in layers.items() if layer == last):
        mixing -= 1
        if hasattr(blocks[last], "ln1"):
            handles.append(blocks[last].ln1.register_forward_pre_hook(_cut))
    if mixing >= 0 and f"blocks.{mixing}.attn.hook_q" in model.hook_dict:
        mlp: Any = getattr(blocks[mixing], "mlp", None)
        if type(mlp).__name__ in _POSITIONWISE:
            handles.append(mlp.register_forward_pre_hook(_cut))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_before_mixing(name: str) -> bool:
    """Whether the hook ``blocks.<layer>.<hook>`` is of a site before attention mixes positions."""
    _, _, hook = name.split(".", maxsplit=2)
    return any(record.hook == hook and record.before_mixing for record in SITES.values())


def _cut(module: Any, inputs: tuple) -> tuple:  # noqa: ARG001 - torch passes it
    """Leave the last position of a module's input ``[example, pos, ...]``."""
    return inputs[0][:, -1:], *inputs[1:]


@contextmanager
def _fused_gelu(model: TransformerLensModel) -> Iterator[None]:
    """Let torch compute GPT-2's GELU in one step instead of the seven that the libraries take.

    That saves about a tenth of a pass on a CPU. In half precision the seven roundings are part of
    what the model computes, so they stay.
    """
    half = next(model.parameters()).dtype.itemsize < 4
    with ExitStack() as changes:
        for module in () if half else model.modules():
            _fuse_gelu(module, changes)
        yield


def _fuse_gelu(module: Any, changes: ExitStack) -> None:
    """Replace one module's GELU until ``changes`` are undone, if it is the library's own."""
    own = vars(module)
    if _is_gelu(own.get("act_fn"), "transformer_lens", "gelu_new"):
        changes.callback(setattr, module, "act_fn", own["act_fn"])
        module.act_fn = partial(gelu, approximate="tanh")
    elif "forward" not in own and _is_gelu(
        type(module).forward, "transformers", "NewGELUActivation.forward"
    ):
        changes.callback(delattr, module, "forward")  # the class has its own
        module.forward = partial(gelu, approximate="tanh")


def _is_gelu(function: Any, library: str, name: str) -> bool:
    """Whether a function is the one that this library defines under this name."""
    module = getattr(function, "__module__", None) or ""
    return module.split(".")[0] == library and getattr(function, "__qualname__", "") == name


class _AllRecorded(Exception):  # noqa: N818 - a signal, not an error
    """Stops a forward pass once every wanted hook has fired; never leaves this module."""


class _Recorder:
    """Hands what the hooks see to their writers, and stops the pass after the last of them."""

    def __init__(self, writers: Mapping[str, Writer], target: int | None):
        self.writers, self.target = writers, target
        self.begin(Part(slice(0, 0), slice(0, 0)))

    def begin(self, part: Part) -> None:
        """Get ready for the forward pass of these examples."""
        self.part = part
        self.pending = set(self.writers)

    def hooks(self) -> list[tuple[str, Callable[..., None]]]:
        """Pairs of hook name and function, as ``model.hooks`` takes them."""
        return [(name, self._hook(name)) for name in self.writers]

    def _hook(self, name: str) -> Callable[..., None]:
        def record(act: Tensor, hook: Any) -> None:  # noqa: ARG001 - TransformerLens passes it
            self.writers[name](self._wanted(act), self.part)
            self.pending.discard(name)
            if not self.pending:
                raise _AllRecorded

        return record

    def _wanted(self, act: Tensor) -> Tensor:
        """Leave the target's position, counted from the end: a module may see the last alone."""
        if self.target is None:
            return act
        end = act.shape[1] - (self.part.columns.stop - 1 - self.target)
        return act[:, end - 1 : end]

    def forward(self, model: TransformerLensModel, tokens: Int[Tensor, "example pos"]) -> None:
        """Run the model as far as needed."""
        try:
            run_windows(model, tokens)
        except _AllRecorded:
            return
        raise RuntimeError(
            f"{len(self.pending)} hooks did not fire, {min(self.pending)} among them: this "
            f"model does not compute them. Leave those sites or layers out"
        )


def run(
    model: TransformerLensModel,
    tokens: Int[Tensor, "example pos"],
    writers: Mapping[str, Writer],
    batch_size: int,
    advance: Callable[[int], Any],
    *,
    target: int | None = None,
) -> int:
    """Run all batches; one that does not fit is halved, and the work goes on from there.

    Windows of unequal length are run in batches of equal length. The writers are given one
    position, that of the column ``target``, or else all positions. Returns the batch size that
    fitted in the end.
    """
    recorder, size = _Recorder(writers, target), min(batch_size, len(tokens))
    # The hooks are added once: adding them for every batch would cost as much as several layers.
    with (
        alone_with(model),
        _short_cuts(model, writers if target == tokens.shape[1] - 1 else ()),
        torch.inference_mode(),
        model.hooks(fwd_hooks=recorder.hooks()),
    ):
        for columns, rows in _of_equal_length(tokens):
            size = _run_windows(recorder, model, tokens, columns, rows, size, advance)
    return size


def _of_equal_length(
    tokens: Int[Tensor, "example pos"],
) -> Iterator[tuple[slice, Int[Tensor, " row"] | None]]:
    """Yield the columns of windows that begin and end alike, and their rows; None for all."""
    there = (tokens != ABSENT).cpu()
    if bool(there.all()):
        yield slice(0, tokens.shape[1]), None
        return
    first = there.int().argmax(dim=1)
    last = tokens.shape[1] - there.flip(1).int().argmax(dim=1)
    spans, group = torch.stack([first, last], dim=1).unique(dim=0, return_inverse=True)
    for number, (start, stop) in enumerate(spans.tolist()):
        yield slice(start, stop), (group == number).nonzero()[:, 0]


def _run_windows(
    recorder: _Recorder,
    model: TransformerLensModel,
    tokens: Int[Tensor, "example pos"],
    columns: slice,
    rows: Int[Tensor, " row"] | None,
    batch_size: int,
    advance: Callable[[int], Any],
) -> int:
    """Run the windows that lie in the same columns."""
    done, number = 0, len(tokens) if rows is None else len(rows)

    def batches(batch_size: int) -> None:
        nonlocal done
        while done < number:
            batch = slice(done, min(done + batch_size, number))
            part = Part(batch if rows is None else rows[batch], columns)
            recorder.begin(part)
            recorder.forward(model, tokens[part.rows, columns])
            advance(batch.stop - batch.start)
            done = batch.stop

    _, size = halve_until_it_fits(
        batches, batch_size, f"one context of {columns.stop - columns.start} tokens"
    )
    return size


def halve_until_it_fits(
    work: Callable[[int], _Result], batch_size: int, smallest: str
) -> tuple[_Result, int]:
    """Call ``work`` with a batch size, halved for as long as the work does not fit into memory.

    Parameters
    ----------
    work
        Takes a batch size. After a failure it is called again.
    batch_size
        To begin with.
    smallest
        What a batch of size 1 is, for the message.

    Returns
    -------
    result, batch_size
        What ``work`` returned, and the batch size that fitted.

    Raises
    ------
    RuntimeError
        A batch of size 1 does not fit; whatever else ``work`` raises.
    """
    while True:
        try:
            return work(batch_size), batch_size
        except RuntimeError as error:
            from accelerate.utils.memory import should_reduce_batch_size  # slow to import

            if not should_reduce_batch_size(error):
                raise
            if batch_size == 1:
                raise RuntimeError(
                    f"{smallest} does not fit into memory; use fewer tokens before the target, a "
                    f"smaller dtype or another device"
                ) from error
        # Here and not above: as long as the error lives, it holds the tensors of the failed pass.
        from accelerate.utils.memory import release_memory

        release_memory()
        LOG.info("a batch of %d does not fit into memory; trying %d", batch_size, batch_size // 2)
        batch_size //= 2
