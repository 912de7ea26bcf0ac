"""Builders of published corpora are found by their folders; help and docs list what there is."""

import re
import shutil
import sys
import types
from pathlib import Path

import pytest

from audioldm2_jax.cli.main import main
from audioldm2_jax.corpora.archives import read, sound, write
from audioldm2_jax.data.corpus.builder_files import list_builders
from audioldm2_jax.data.corpus.corpus_builder import load_builder

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "data" / "esc50"

DUMMY = '''
"""A corpus of one table."""
from audioldm2_jax.data.corpus.corpus_builder import CorpusBuilder
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.tables import read_table

class Builder(CorpusBuilder):
    """Dummy."""

    def clips(self, index, report):
        table = read_table(index.require("t.csv"), "t.csv")
        return {"train": [ClipRecord(r["f"], index.find(r["f"]), (r["c"],)) for r in table]}
'''


def test_a_users_own_module_named_data_is_no_hindrance(monkeypatch):
    monkeypatch.setitem(sys.modules, "data", types.ModuleType("data"))
    monkeypatch.delitem(sys.modules, "data.esc50.esc50_dataset_builder", raising=False)
    assert "ESC" in load_builder(str(FOLDER)).info.citation


def test_a_copy_of_a_builder_loads_beside_it(tmp_path):
    """TFDS' registry knows one builder of a name."""
    for parent in ("data", "corpora", "mine"):
        copy = tmp_path / parent / "esc50"
        shutil.copytree(FOLDER, copy)
        assert load_builder(str(copy)).pkg_dir_path == copy.resolve()
    assert load_builder(str(FOLDER)).pkg_dir_path == FOLDER.resolve()


def test_a_new_folder_is_enough(tmp_path, monkeypatch, capsys):
    """A dummy builder appears in the help and in errors, and prepares."""
    write(
        tmp_path,
        {
            "data/dummy/dummy_dataset_builder.py": DUMMY.encode(),
            "data/dummy/README.md": b"# Dummy\n",
            "data/dummy/CITATIONS.bib": b"",
            "in/a.wav": sound(1),
            "in/t.csv": b"f,c\na.wav,one\n",
        },
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    assert " dummy " in capsys.readouterr().out.replace("\n", " ")
    assert main(["prepare", "in", "out", "--corpus", "nonesuch"]) == 2
    assert " dummy " in capsys.readouterr().err
    for name in ("dummy", "data/dummy"):
        target = tmp_path / name.replace("/", "-")
        assert main(["prepare", "in", str(target), "--corpus", name, "--workers", "1", "-q"]) == 0
        assert read(target, "train")["a.wav"]["captions"] == ["one"]
    write(tmp_path, {"in/t.csv": b"other\nx\n"})
    assert main(["prepare", "in", "bad", "--corpus", "dummy", "-q"]) == 2
    assert "the metadata is not as dummy publishes it" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["import nonesuch_module", "x = ", "raise OSError('no')", "x = 1"])
def test_builders_that_do_not_load(tmp_path, monkeypatch, capsys, code):
    write(tmp_path, {"data/torn/torn_dataset_builder.py": code.encode(), "in/a.wav": sound(1)})
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "in", "out", "--corpus", "torn", "-q"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and "torn_dataset_builder.py" in stderr


def test_help_and_docs_list_every_builder(capsys):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    words = capsys.readouterr().out.split()
    docs = (ROOT / "docs" / "data.md").read_text()
    table = {
        match[1]: match[0]
        for match in re.finditer(r"^\| `data/(\w+)[^|]*\|.*$", docs, re.MULTILINE)
    }
    here = {path.name for path in (ROOT / "data").iterdir() if (path / "README.md").is_file()}
    assert set(table) == here == set(list_builders())
    for name in here:
        assert name in words
        source = (ROOT / "data" / name / f"{name}_dataset_builder.py").read_text()
        if "BUILDER_CONFIGS" in source:
            assert ":" in table[name], f"{name}: the docs name its configurations"
