"""What tests of activations share: a folder of each family of tiny models."""

import pytest
from helpers import tiny_models


@pytest.fixture(params=tiny_models.FOLDERS)
def folder(request, tmp_path):
    return tiny_models.FOLDERS[request.param](tmp_path)
