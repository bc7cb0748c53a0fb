"""Log-probability of the words that follow the target, while its activations are edited.

Nothing before the target depends on it. Where the model's class can keep keys and values, those of
the tokens before the target are computed once per context; every further pass then runs only the
target and the tokens after it.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..models import Site, TransformerLensModel, alone_with, is_stock, run_windows, token_device

# What an edit does with the activation at the target: ``[row, unit]`` in, ``[row, unit]`` out.
Edit: TypeAlias = Callable[[Tensor], Tensor]

#: Log-probabilities of a continuation with and without kept keys may differ by rounding only.
ROUNDING = {torch.float32: 1e-2, torch.float64: 1e-6}
COARSE_ROUNDING = 0.5
#: TransformerLens' cache since 3.0, and before.
CACHE_NAMES = ("TransformerLensKeyValueCache", "HookedTransformerKeyValueCache")


class Continuation:
    """The windows of some contexts, ready to be run with edits at the target.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    tokens : Int[Tensor, "example pos"]
        The windows up to the last token whose probability counts.
    before : int
        Column of the target.
    keep : bool
        Keep keys and values of the tokens before the target, if that gives the same numbers.
    """

    def __init__(
        self,
        model: TransformerLensModel,
        tokens: Int[Tensor, "example pos"],
        before: int,
        keep: bool,
    ):
        self.model, self.before = model, before
        self.edits: Mapping[str, Edit] = {}
        self.tokens = tokens.to(token_device(model))
        self.cache = None
        with alone_with(model), torch.no_grad():
            # A hook of somebody's own may look at any position of the window.
            if not (keep and before and is_stock(model)):
                return
            full, self.cache = self.log_p(1), _kept(model, self.tokens[:, :before])
            # A model that takes a cache and does not use it as expected gives other numbers; then
            # every pass runs whole windows.
            if self.cache is not None and not self._same(full, self.log_p(1)):
                self.cache = None

    @property
    def target(self) -> int:
        """Where the target is, counted from the end.

        With kept keys, hooks on what is made of old and new tokens together (``rot_k``) see the
        whole window and the others only the target and what follows it; from the end, the target
        is in the same place for both. The last token of the window is never run: only its
        probability counts.
        """
        return self.before + 1 - self.tokens.shape[1]

    def log_p(self, copies: int) -> Float[Tensor, "example copy"]:
        """Sum of the log-probabilities of the tokens after the target.

        Every window is run in this many copies, one behind the other, which edits may treat
        differently.
        """
        tokens = repeat(self.tokens, "example pos -> (example copy) pos", copy=copies)
        given, options = tokens[:, :-1], {}
        if self.cache is not None:
            given, options = given[:, self.before :], _options(self.cache, copies)
        logits = run_windows(self.model, given, "logits", **options)[:, self.target :]
        wanted = tokens[:, self.before + 1 :].to(logits.device)
        # In half precision the softmax would round away the small changes that are measured.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        by_token = rearrange(logits, "row pos token -> row token pos")
        loss = cross_entropy(by_token, wanted, reduction="none")
        return rearrange(-loss.sum(dim=1), "(example copy) -> example copy", copy=copies)

    def _same(self, full: Tensor, kept: Tensor) -> bool:
        dtype = next(self.model.parameters()).dtype
        return bool((full - kept).abs().max() <= ROUNDING.get(dtype, COARSE_ROUNDING))

    @contextmanager
    def hooked(self, hooks: Mapping[str, Site]) -> Iterator[None]:
        """Put the hooks in, for any number of passes; ``edits`` says what each pass does.

        Parameters
        ----------
        hooks
            Hook name -> its site.
        """
        pairs = [(name, self._hook(name, site)) for name, site in hooks.items()]
        with alone_with(self.model), self.model.hooks(fwd_hooks=pairs):
            yield

    def _hook(self, name: str, site: Site) -> Callable[..., Tensor | None]:
        def edit(act: Tensor, hook: object) -> Tensor | None:  # noqa: ARG001 - TransformerLens passes it
            if name not in self.edits:
                return None  # TransformerLens then leaves the activation as it is
            _check_shape(act, site, name)
            new = act.clone()  # the residual stream or a cache may hold the same tensor
            at = act[:, self.target]
            edited = self.edits[name](at.reshape(len(at), site.width))
            new[:, self.target] = edited.to(act.dtype).reshape(at.shape)
            return new

        return edit


def _check_shape(act: Tensor, site: Site, name: str) -> None:
    """Raise unless the layout is known: heads apart or side by side, as class and model have it.

    Raises
    ------
    RuntimeError
        Neither ``[example, pos, head, d_head]`` nor ``[example, pos, unit]``.
    """
    shapes = {(site.heads, site.d_head), (site.width,)}
    if tuple(act.shape[2:]) not in shapes:
        raise RuntimeError(
            f"hook {name} gave {tuple(act.shape)}, but an intervention needs [example, pos, "
            f"{site.heads} heads, {site.d_head} per head] or [example, pos, {site.width}]: leave "
            f"site {site.name!r} out"
        )


def _kept(model: TransformerLensModel, tokens: Int[Tensor, "example pos"]) -> Any:
    """Keys and values of these tokens as the model's class reads them; None if it cannot.

    TransformerLens' or transformers' cache: the two have nothing in common.
    """
    hf = getattr(model, "original_model", None)
    if hf is None:
        import transformer_lens

        kinds = (getattr(transformer_lens, name, None) for name in CACHE_NAMES)
        kind: Any = next(kind for kind in kinds if kind is not None)
        cache = kind.init_cache(model.cfg, tokens.device, len(tokens))
        run_windows(model, tokens, past_kv_cache=cache)
        cache.freeze()  # later passes read it and add nothing to it
        return cache
    # The bridge's attention reads the cache under the name that transformers gave it until 5.23;
    # a model that does not take that name cannot read one.
    if "past_key_values" not in inspect.signature(hf.forward).parameters:
        return None
    from transformers import DynamicCache

    cache = DynamicCache()
    run_windows(model, tokens, past_key_values=cache, use_cache=True)
    return cache if cache.get_seq_length() == tokens.shape[1] else None


def _options(cache: Any, copies: int) -> dict[str, Any]:
    """Arguments of a forward pass that reads a copy of the cache, each context this many times.

    A copy, because it is repeated in place, and because transformers' cache cannot be frozen: it
    takes in the tokens of every pass.
    """
    cache = copy.deepcopy(cache)
    if hasattr(cache, "batch_repeat_interleave"):
        cache.batch_repeat_interleave(copies)
        return {"past_key_values": cache, "use_cache": True}
    # TransformerLens' cache has no such method; its attention mask is repeated along with it.
    for entry in cache.entries:
        entry.past_keys = entry.past_keys.repeat_interleave(copies, dim=0)
        entry.past_values = entry.past_values.repeat_interleave(copies, dim=0)
    mask = cache.previous_attention_mask
    cache.previous_attention_mask = mask.repeat_interleave(copies, dim=0)
    return {"past_kv_cache": cache}
