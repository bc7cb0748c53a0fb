"""What the Hugging Face hub and TransformerLens know about a name, without loading any weights."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

DEMO = "demo"

HUB_TIMEOUT = 10.0  # seconds


def is_path(name: str) -> bool:
    return Path(name).exists() or name.startswith((".", "~")) or Path(name).is_absolute()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, and the deprecation of the class that is used on purpose."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    level = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.filterwarnings("ignore", "HookedTransformer", DeprecationWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def hooked_transformer() -> Any:
    """Return the class, or None in TransformerLens 4, which has it no longer."""
    try:
        from transformer_lens import HookedTransformer
    except ImportError:
        return None
    return HookedTransformer


def model_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"a model's folder holds config.json, weights and tokenizer as Hugging Face's "
            f"save_pretrained writes them; there is no {folder / 'config.json'}. "
            f"A name on the hub is written without a leading '.', '~' or '/'"
        )
    return folder


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Say what can be done when the hub does not give the model."""
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} cannot be the name of a model on the Hugging Face hub ({error}). Give one "
            f"that can, or a local folder in Hugging Face's format, or '{DEMO}'"
        ) from error
    except OSError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"cannot load {name!r} from the Hugging Face hub ({reason}). Check the name and the "
            f"connection, or give a local folder in Hugging Face's format, or '{DEMO}'"
        ) from error


def official_name(name: str) -> str | None:
    """Name on the hub as HookedTransformer spells it, or None if it does not know the model."""
    if hooked_transformer() is None:
        return None
    from transformer_lens import loading_from_pretrained as loading

    try:
        return loading.get_official_model_name(name)
    except ValueError:
        return None


def ask_hub_unless_cached(name: str) -> None:
    """Raise an OSError at once if the hub cannot be reached; transformers retries for 20 s."""
    import requests
    from huggingface_hub import constants

    if cached_config(name) is None:
        requests.head(constants.ENDPOINT, timeout=HUB_TIMEOUT)


def cached_config(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json")
    return path if isinstance(path, str) else None


def revision_of(name: str) -> str | None:
    """Commit of a model in the hub's cache (``.../snapshots/<commit>/config.json``)."""
    path = cached_config(name)
    return Path(path).parent.name if path else None
