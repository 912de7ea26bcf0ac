"""Every path that the documents name is in the repository."""

import re

import pytest

from tests.docs.commands import DOCUMENTS, ROOT

FOLDERS = ("audioldm2_jax", "benchmarks", "configs", "data", "docs", "examples", "recipes", "tests")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda p: p.name)
def test_paths_exist(document):
    for path in PATH.findall(document.read_text(encoding="utf-8")):
        if not re.search(r"NAME|STAGE", path):
            assert (ROOT / path).exists(), path
