"""What the Hugging Face hub and TransformerLens know about a name, without loading any weights."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from .._shared import expanded
from .demo import DEMO

HUB_TIMEOUT = 10.0  # seconds


def is_path(name: str) -> bool:
    """Whether a name means a local folder rather than a model on the hub."""
    return Path(name).exists() or name.startswith((".", "~")) or Path(name).is_absolute()


@contextmanager
def quiet(*, downloads: bool = False) -> Iterator[None]:
    """Silence progress bars, and the deprecation of the class that is used on purpose.

    ``downloads`` leaves the hub's progress bars as they are.
    """
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging as transformers_logging

    bars, hub_bars = (
        transformers_logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    level = transformers_logging.get_verbosity()
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.filterwarnings("ignore", "HookedTransformer", DeprecationWarning)
        # An environment variable has the last word on the hub's bars.
        warnings.filterwarnings("ignore", "Cannot (en|dis)able progress bars", UserWarning)
        transformers_logging.disable_progress_bar()  # the hub's too
        if downloads and hub_bars:
            enable_progress_bars()
        transformers_logging.set_verbosity_error()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()  # the hub's too
            (enable_progress_bars if hub_bars else disable_progress_bars)()


def hooked_transformer() -> Any:
    """Return the class, or None in TransformerLens 4, where it is gone."""
    try:
        from transformer_lens import HookedTransformer
    except ImportError:
        return None
    return HookedTransformer


def model_folder(name: str) -> Path:
    """Return the folder of a model, or raise FileNotFoundError if it holds no configuration."""
    folder = expanded(name)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"a model's folder holds config.json, weights and tokenizer as Hugging Face's "
            f"save_pretrained writes them; there is no {folder / 'config.json'}. "
            f"A name on the hub is written without a leading '.', '~' or '/'"
        )
    return folder


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Add to errors of the hub what can be done about them."""
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} cannot be the name of a model on the Hugging Face hub ({error}). Give such "
            f"a name, a local folder in Hugging Face's format, or '{DEMO}'"
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
    """Path of a model's configuration in the hub's cache, None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, "config.json")
    return path if isinstance(path, str) else None


def revision_of(name: str) -> str | None:
    """Commit of a model in the hub's cache (``.../snapshots/<commit>/config.json``)."""
    path = cached_config(name)
    return Path(path).parent.name if path else None
