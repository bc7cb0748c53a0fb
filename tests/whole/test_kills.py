"""Sixty kills at random moments of what writes: nothing is lost, and the work can be done again."""

import json
import subprocess
import sys

import pytest
from helpers import random_kills, tiny_models
from helpers.child_process import environment

pytestmark = pytest.mark.slow
KILLS = 15  # of each of collect, scan, save and ablate


def test_sixty_kills_lose_nothing_and_hinder_nothing(tmp_path):
    model = tiny_models.gpt2_folder(tmp_path / "model")
    command = [sys.executable, random_kills.__file__, model, tmp_path / "work", str(KILLS)]
    threads = environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # one: it forks
    done = subprocess.run(
        list(map(str, command)), env=threads, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == [], done.stderr[-3000:]
    assert all(moments > KILLS for moments in found["moments"].values())
