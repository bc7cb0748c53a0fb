"""Slow libraries wait until they are used."""

import subprocess
import sys

from helpers.child_process import environment

PROGRAM = """
import sys
import tl_negation.models, tl_negation.activations
slow = ("transformers", "transformer_lens", "accelerate", "huggingface_hub", "numba", "matplotlib")
print([name for name in slow if name in sys.modules])
"""


def test_models_and_activations_do_not_import_slow_libraries():
    options = {"capture_output": True, "text": True, "env": environment()}
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, **options)
    assert done.stdout.strip() == "[]"
