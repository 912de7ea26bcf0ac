"""`built(name)` makes the corpus of this folder's builder from dummy archives."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture
def built(tmp_path, monkeypatch):
    from audioldm2_jax.corpora.archives import Built

    monkeypatch.chdir(Path(__file__).parent.parent)

    def build(name: str) -> Built:
        return Built(name, tmp_path / "manual", tmp_path / "corpus", tmp_path / "unpacked")

    return build


@pytest.fixture
def manual(tmp_path):
    """The folder with the corpus' files as distributed."""
    folder = tmp_path / "manual"
    folder.mkdir()
    return folder
