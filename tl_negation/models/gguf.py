"""GGUF files are read by transformers; here it is kept from reading the same one several times."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_ONE_AT_A_TIME = threading.Lock()


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
