"""The demo model, loaded once by the worker that runs the tests of it (see ``conftest.py``)."""

from functools import cache
from typing import Any

from helpers import tiny_models

from tl_negation.models.loading import load_model


@cache
def load(class_name: str = tiny_models.CLASSES[0]) -> Any:
    """SmolLM2 as the class of that name; no test may change it."""
    model = load_model("demo", device="cpu", bridge=class_name == "TransformerBridge")
    assert type(model).__name__ == class_name
    return model
