"""Every public function shows an example in its docstring, and the examples are true.

They are run as a reader would run them who holds a model, contexts, activations and a result:
``tln, model, text, contexts, acts, result`` and ``torch, np, pd`` are there, and the working folder
is empty. The model is a tiny random GPT-2, ``result`` has been through ``tln.infer``.
"""

import doctest
import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import tiny_models

import tl_negation as tln

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = {"tln": tln, "tln.plots": tln.plots, "tln.views": tln.views}
PUBLIC = {
    f"{shown}.{name}": getattr(module, name)
    for shown, module in MODULES.items()
    for name in module.__all__
    if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
}
#: Errors and what only functions of this package make: described where they are raised or made.
NO_EXAMPLE = {"tln.TooFewPairsError", "tln.TooFewWordsError"}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    model = tiny_models.load(tiny_models.gpt2_folder(tmp_path_factory.mktemp("model")))
    text = tln.Text.from_string(tiny_models.story())
    window = {"before": 6, "after": 2}
    contexts = tln.find_contexts(text, model.tokenizer, prepend_bos=False, **window)
    acts = tln.collect(model, contexts, sites=("q", "k", "v", "mlp_pre"), progress=False)
    result = tln.probe(acts, progress=False)
    fast = {"permutations": 200, "tasks": 2, "replicates": 3, "progress": False}
    return {"model": model, "text": text, "contexts": contexts, "acts": acts} | {
        "result": tln.infer(result, **fast)
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_a_docstring_runs(name, held, tmp_path, monkeypatch):
    if name in NO_EXAMPLE:
        assert not [test for test in doctest.DocTestFinder().find(PUBLIC[name]) if test.examples]
        return
    monkeypatch.chdir(tmp_path)
    names = {"tln": tln, "torch": torch, "np": np, "pd": pd, **held}
    tests = [
        test
        for test in doctest.DocTestFinder(recurse=True).find(PUBLIC[name], name, globs=names)
        if test.examples
    ]
    assert tests, f"{name} shows no example"
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in tests:
        assert all(doctest.SKIP not in example.options for example in test.examples)
        runner.run(test)
    plt.close("all")
    assert runner.summarize(verbose=False).failed == 0
