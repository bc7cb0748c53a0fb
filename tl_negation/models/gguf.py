"""GGUF files: which are asked for, what they say of themselves, and that they are parsed once.

transformers reads them, and dequantises their weights.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .._shared import expanded
from .demo import DEMO, DEMO_NAME, DEMO_ORIGIN, demo_file

SUFFIX = ".gguf"
#: Tensor types that hold numbers as they are.
_PLAIN = {"F64", "F32", "F16", "BF16"}
_ONE_AT_A_TIME = threading.Lock()


class GgufModel(NamedTuple):
    """A model in a GGUF file.

    Attributes
    ----------
    file
        Which is there.
    name
        What the model is called.
    is_demo
        Whether it is the demo's own file, of which more is known; a name does not tell.
    """

    file: Path
    name: str
    is_demo: bool = False

    @property
    def transformers(self) -> dict[str, Any]:
        """What transformers' ``from_pretrained`` takes, all by name."""
        return {"pretrained_model_name_or_path": self.file.parent, "gguf_file": self.file.name}


def gguf_model(name: str) -> GgufModel | None:
    """Return the GGUF file that a model's name means; None if it means something else.

    Raises
    ------
    FileNotFoundError
        There is no such file; or the demo's wheel is not installed.
    ValueError
        The demo's file is not the published one; or the file is one part of several.
    """
    if name == DEMO:
        return GgufModel(demo_file(), DEMO_NAME, is_demo=True)
    file = expanded(name)
    if not name.lower().endswith(SUFFIX) or file.is_dir():  # a folder is read as any other
        return None
    if not file.is_file():
        raise FileNotFoundError(f"there is no GGUF file {file}")
    if "-of-" in file.stem and file.stem.rpartition("-of-")[2].isdigit():
        raise ValueError(
            f"{file.name} is one part of several, which transformers does not read: join them "
            "first (llama.cpp's gguf-split --merge)"
        )
    return GgufModel(file, file.stem)


def origin_of(model: GgufModel) -> dict[str, Any]:
    """What the file says of itself, for the provenance of a result."""
    if model.is_demo:
        return DEMO_ORIGIN
    import gguf

    reader = gguf.GGUFReader(model.file)
    types = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    quantised = not {*types} <= _PLAIN

    def said(key: str) -> Any:
        field = reader.get_field(key)
        return None if field is None else field.contents()

    return {
        "name": str(model.file),
        "quantised": f"{', '.join(types)} GGUF, dequantised" if quantised else None,
        "source": f"{model.file.name}, {model.file.stat().st_size:,} bytes",
        "architecture": said("general.architecture"),
        "tokenizer": said("tokenizer.ggml.model"),
        "adds_bos": said("tokenizer.ggml.add_bos_token"),
    }


@contextmanager
def gguf_errors(model: GgufModel) -> Iterator[None]:
    """Say which file it was that transformers could not read.

    Raises
    ------
    ValueError
        transformers, or gguf, raised one.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{model.file} is not a GGUF file that the installed transformers reads: {error}"
        ) from error


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once instead of three times, until the context ends.

    It parses the file for the tokenizer, the configuration and the weights, and makes gguf's table
    of names anew for every module of the model: together half of the time that the demo model takes
    to load (``load_model("demo")`` in a fresh process on one thread, imports included: 47 s of
    processor time without this, 25 s with it).
    """
    import gguf  # with what transformers takes from it each time it is called

    names = ("GGUFReader", "get_tensor_name_map")
    with _ONE_AT_A_TIME:
        own = {name: getattr(gguf, name) for name in names}
        try:
            for name, function in own.items():
                setattr(gguf, name, cache(function))
            yield
        finally:
            for name, function in own.items():
                setattr(gguf, name, function)
