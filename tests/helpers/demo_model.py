"""The demo model, loaded once for the tests of it, which are in one file."""

from functools import cache
from typing import Any

import torch
from helpers import tiny_models
from transformers import AutoModelForCausalLM

from tl_negation.models.demo import demo_file
from tl_negation.models.loading import load_model


@cache
def load(class_name: str = tiny_models.CLASSES[0]) -> Any:
    """SmolLM2 as the class of that name; no test may change it."""
    return load_model("demo", device="cpu", bridge=class_name == "TransformerBridge")


@cache
def hugging_face() -> Any:
    """SmolLM2 as Hugging Face reads it from the same file."""
    file, dtype = demo_file(), torch.float32
    # Without our parsed_once: what is compared with it must not rest on it.
    hf = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
    return hf.eval()
