"""Figures that scripts beside them draw are those of today's scripts."""

import runpy

from tests.docs.commands import ROOT


def test_the_token_layout_is_as_it_is_drawn():
    script = ROOT / "docs" / "token_layout.py"
    figure = runpy.run_path(str(script))["figure"]()
    assert figure == script.with_suffix(".svg").read_text(encoding="utf-8")
    # Four frames: the last stage reads and predicts all four levels of each.
    assert figure.count("<rect") == 1 + 2 + 5 + 14 + 18
