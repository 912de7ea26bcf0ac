"""Builders of published corpora are found by their folders."""

import sys
import types
from pathlib import Path

from audioldm2_jax.data.corpus import load_corpus

FOLDER = Path(__file__).parent.parent.parent / "data" / "esc50"


def test_a_users_own_module_named_data_is_no_hindrance(monkeypatch):
    monkeypatch.setitem(sys.modules, "data", types.ModuleType("data"))
    monkeypatch.delitem(sys.modules, "data.esc50.esc50_dataset_builder", raising=False)
    assert "ESC" in load_corpus(str(FOLDER)).info.citation
