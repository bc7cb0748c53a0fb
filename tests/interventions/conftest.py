"""Models, contexts and activations that the tests of interventions share."""

import pytest
from helpers import tiny_models
from helpers.intervention_oracles import FAMILIES, SITES

from tl_negation import collect


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return {name: folder(tmp_path_factory.mktemp(name)) for name, (_, folder) in FAMILIES.items()}


@pytest.fixture(scope="session")
def contexts():
    return tiny_models.contexts(12, before=6, after=4)


@pytest.fixture(scope="session")
def model(folders):
    return tiny_models.load(folders["gpt2"])


@pytest.fixture(scope="session")
def acts(model, contexts):
    return collect(model, contexts, SITES, progress=False)
