"""Tables: every file of configs/tables/ is one, and says only what the package knows."""

import dataclasses
import re
from pathlib import Path

import pytest

import audioldm2_jax
from audioldm2_jax.checkpoints import registry
from audioldm2_jax.checkpoints.download import bundled
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.corpus.builder_files import list_builders
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.benchmark.plan_text import plan_text
from audioldm2_jax.evaluation.benchmark.sources import Sources, checkpoint_of, needs
from audioldm2_jax.evaluation.benchmark.table_files import list_tables, load_table, select_rows
from audioldm2_jax.evaluation.protocol import PROTOCOLS
from audioldm2_jax.evaluation.results import METRICS
from audioldm2_jax.evaluation.tables import Corpus, Model, Outputs, Row, Table, Training, published
from audioldm2_jax.training.configuration import read_config

TABLES = list_tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_what_there_is(name):
    table = load_table(name)
    assert table.name == name and table.protocol in PROTOCOLS and table.source
    assert {*table.metrics} <= {*METRICS} and table.metrics
    package = Path(audioldm2_jax.__file__).parent.parent
    for path in re.findall(r"[\w./]+\.(?:py|md)\b", " ".join(table.notes)):
        assert (package / path).is_file(), path
    for row in table.rows:
        assert row.corpus.name in list_builders()
        checkpoint = checkpoint_of(row.clips)
        known = {"", *registry.PUBLISHED, *registry.OFFICIAL_NAMES, *bundled()}
        own = checkpoint.count("/") > 1  # a folder, as runs of one's own write
        assert checkpoint in known or own, row.name
        if isinstance(row.clips, Outputs):
            assert row.clips.obtain, row.name


@pytest.mark.parametrize("name", ["study_table2", "study_figure2"])
def test_training_rows_are_runs_of_the_package(name):
    for row in load_table(name).rows:
        run = row.clips
        assert isinstance(run, Training) and row.corpus.train_split
        values = (f"base_checkpoint={run.base}", "data.sources=corpora/x", *run.overrides)
        config = read_config(run.config, [f"--config.{value}" for value in values])
        assert config.stage == "audioldm" and config.init_from_base == ("pretrained" in row.name)
        assert config.settings.p_clap_audio == (1.0 if row.name.endswith("-audio") else 0.0)


def test_a_run_is_scored_where_the_study_was_best():
    for row in load_table("study_table2").rows:
        run = row.clips
        assert isinstance(run, Training)
        best = 1000 * int(re.findall(r"best at (\d+) thousand", row.note)[0])
        others = {step for step in run.steps if step % 20_000}
        assert best in run.steps and others <= {best}


def cells(name, row):
    return {p.metric: p.value for p in {r.name: r for r in load_table(name).rows}[row].published}


def test_figures_are_the_published_ones():
    """A few of each table, as the papers print them."""
    table1 = {"FD": 32.79, "IS": 4.04, "KL": 1.44, "FAD": 13.74}
    assert cells("study_table1", "us8k-audio") == table1
    table2 = {"FD": 22.38, "IS": 12.98, "KL": 1.56, "FAD": 2.66}
    assert cells("study_table2", "esc50-pretrained-text") == table2
    large = {"FAD": 1.42, "KL": 0.98, "CLAP": 0.243, "OVL": 3.89, "REL": 3.87}
    assert cells("audioldm2_audiocaps", "audioldm2-ac-large") == large
    assert cells("audioldm2_musiccaps", "riffusion") == {"FAD": 14.80, "KL": 2.06, "CLAP": 0.190}
    assert cells("audioldm2_ljspeech", "fastspeech2") == {"MOS": 3.78}
    counts = {name: len(load_table(name).rows) for name in TABLES}
    assert counts["study_table1"] == 8 and counts["study_table2"] == 12


def test_wrong_names_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean study_table1"):
        load_table("study_tabel1")
    with pytest.raises(InputError, match="did you mean audioldm2-full"):
        select_rows(load_table("audioldm2_audiocaps"), ["audioldm2-ful"])
    names = [r.name for r in select_rows(load_table("study_table1"), ["esc50-*", "us8k-text"])]
    assert names == ["esc50-text", "esc50-audio", "us8k-text"]
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="defines no TABLE"):
        load_table(str(tmp_path / "empty.py"))
    (tmp_path / "broken.py").write_text("raise KeyError('x')\n")
    with pytest.raises(InputError, match="broken.py: KeyError"):
        load_table(str(tmp_path / "broken.py"))


def test_a_wrong_table_is_refused():
    corpus = Corpus("esc50", "fold1")
    row = Row("one", "one", corpus, Outputs("x"), published(FD=1.0))
    with pytest.raises(InputError, match="no column FD"):
        Table("t", "t", "s", "musicnn", ("FAD",), (row,))
    with pytest.raises(InputError, match="different names"):
        Table("t", "t", "s", "musicnn", ("FD",), (row, row))
    with pytest.raises(InputError, match="no metric 'FDD'"):
        Table("t", "t", "s", "musicnn", ("FDD",), (row,))
    with pytest.raises(InputError, match="row 'A b'"):
        Row("A b", "x", corpus, Outputs())
    with pytest.raises(InputError, match="rising"):
        Training("audioldm", "nano", (20, 10))


def test_what_is_missing_has_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = load_table("study_table1")
    text = plan_text(table, table.rows, Sources())
    assert "\n      audioldm2-jax prepare DOWNLOADS corpora/esc50 --corpus data/esc50\n" in text
    assert (
        "\n      audioldm2-jax convert audioldm-s-full.ckpt checkpoints/audioldm-s-full\n" in text
    )
    (tmp_path / "clips").mkdir()
    row = next(r for r in load_table("audioldm2_audiocaps").rows if r.name == "tango")
    given = Sources({"audiocaps": tmp_path}, {"TANGO": tmp_path / "clips"})
    assert [need.what for need in needs(row, Sources())] == ["corpus audiocaps", "clips of TANGO"]
    assert needs(row, given) == []
    own = dataclasses.replace(row, clips=Model("runs/of/mine"))
    assert needs(own, given)[0].command == "audioldm2-jax export RUN runs/of/mine"
    assert main(["reproduce", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in TABLES)
    code = main(["reproduce", "audioldm2_audiocaps", "--corpus", "audiocap=x", "--plan"])
    assert code == 2 and "did you mean audiocaps" in capsys.readouterr().err
