"""`audioldm2-jax reproduce` from a table's file to its figures, on tiny models and sounds."""

import csv
import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audioldm2_jax.audio import save_audio
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.corpus.prepare import prepare
from audioldm2_jax.data.ingest.clip_record import ClipRecord
from audioldm2_jax.data.ingest.file_ref import FileRef
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.evaluation import generated
from audioldm2_jax.evaluation.backbones.panns import PANNs
from audioldm2_jax.evaluation.benchmark import training_rows
from audioldm2_jax.evaluation.benchmark.table_files import load_table
from audioldm2_jax.evaluation.clips import open_clips
from audioldm2_jax.evaluation.corruption import MelVocoder, corrupted_names
from tests.evaluation.clip_folders import RATE, tone, write_classifier, write_clips
from tests.kernels import xla_kernels

COUNT = 12
TABLE = '''
"""A small table of every kind of row."""
from audioldm2_jax.evaluation.tables import *
CLIPS = Corpus("esc50", "fold5", "the sound of {labels}", seconds=0.5)
HALF = Corpus(
    "esc50", "fold4+fold5", "{labels}", selection="stratified", count=1, train_split="fold5",
    seconds=0.5,
)
ONE = Generation("ddim", steps=1, guidance=1.0)
TABLE = Table(
    "small", "A small table", "nowhere, Table 1", "audioldm_eval",
    ("FD", "KL", "IS", "CLAP", "OVL"),
    (
        Row("truth", "recordings", CLIPS, Recordings(), published(OVL=4.5)),
        Row("other", "Another system", CLIPS, Outputs("its shop"),
            published(FD=3.5, OVL=(4.0, 0.1))),
        Row("text", "ours by text", CLIPS, Model("cvssp/audioldm-s-full", "text", ONE)),
        Row("again", "ours again", CLIPS, Model("cvssp/audioldm-s-full", "text", ONE)),
        Row("audio", "ours by audio", CLIPS, Model("cvssp/audioldm-s-full", "audio", ONE)),
        Row("noise", "noise", CLIPS, Corrupted("noise", (0.0, 1.0)), published(FD="rises")),
        Row("masking", "masking", CLIPS, Corrupted("masking", (0.0, 1.0))),
        Row("interference", "interference", CLIPS, Corrupted("interference", (0.0, 0.5, 1.0))),
        Row("order", "order", CLIPS, Corrupted("order", (0.0, 1.0))),
        Row(
            "trained", "trained on text", HALF,
            Training("audioldm:tiny", "cvssp/audioldm-s-full", (1, 2), (
                "batch=8", "validation.every=0", "data.seconds=0.64", "log_every=1"), ONE),
        ),
    ),
    ("a note",),
)
'''


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    xla_kernels(monkeypatch)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """table.py, corpus/ of two folds, other/ of another system, tagger/, and model/."""
    world = tmp_path_factory.mktemp("reproduce")
    (world / "table.py").write_text(TABLE)
    write_classifier(world / "tagger")
    write_random(world / "model", "tiny-audioldm")
    (world / "raw").mkdir()
    (world / "other").mkdir()
    splits = {}
    for fold in (4, 5):
        for i in range(COUNT):
            path = world / "raw" / f"{fold}-{i}.wav"
            soundfile.write(path, tone(100 * fold + i), RATE)
            record = ClipRecord(path.name, FileRef(str(path)), labels=(f"class {i % 3}",))
            splits.setdefault(f"fold{fold}", []).append(record)
    prepare(splits, world / "corpus", metadata={"name": "esc50"}, report=Report(), workers=1)
    for i in range(COUNT):
        soundfile.write(world / "other" / f"5-{i}.flac", tone(i), RATE)
    return world


def reproduce(world, out, *rows, more=(), corpus=True):
    weights = [f"--weights={slot}={world / 'tagger'}" for slot in ("classifier",)]
    sources = [f"--corpus=esc50={world / 'corpus'}"] if corpus else []
    sources += [f"--checkpoint=cvssp/{name}={world / 'model'}" for name in ("audioldm-s-full",)]
    words = [*sources, *weights, "--output", out, "--bootstrap", 20, "-q", *more]
    words = ["reproduce", world / "table.py", "--rows", *rows, *words]
    return main([str(word) for word in words])


def rows_of(out):
    return {row["name"]: row for row in json.loads((out / "result.json").read_text())["rows"]}


def values(row, metric):
    return [point["figures"][metric]["value"] for point in row["points"]]


def test_rows_beside_published_figures(world, tmp_path, capsys):
    """Recordings against themselves, another system's folder, and one that is missing."""
    out = tmp_path / "out"
    more = [f"--outputs=other={world / 'other'}"]
    assert reproduce(world, out, "truth", "other", more=more) == 0
    rows, text = rows_of(out), capsys.readouterr().out
    assert values(rows["truth"], "FD") == [pytest.approx(0, abs=1e-3)]
    assert values(rows["truth"], "KL") == [pytest.approx(0, abs=1e-4)]
    (distance,) = values(rows["other"], "FD")
    assert distance > 0.01 and rows["other"]["points"][0]["figures"]["KL"]["n"] == COUNT
    line = next(line for line in text.splitlines() if line.startswith("other "))
    assert " 3.5 " in line and "4 ± 0.1" in line and f"{distance:.3g}"[:3] in line
    # CLAP's weights are not there: the row says so.
    assert rows["other"]["state"] == "part" and "  CLAP: " in text
    page = (out / "table.html").read_text()
    assert "Another system" in page and "4 ± 0.1" in page and (out / "table.md").is_file()
    with open(out / "table.csv") as file:
        cells = {(c["row"], c["metric"]): c for c in csv.DictReader(file)}
    assert float(cells["other", "FD"]["ours"]) == pytest.approx(distance)
    assert cells["other", "FD"]["published"] == "3.5" and cells["truth", "OVL"]["ours"] == ""
    prompts = (out / "esc50.prompts.txt").read_text().splitlines()
    assert len(prompts) == COUNT and "the sound of class 1|5-1.wav" in prompts


def test_what_is_missing_is_told_and_the_rest_runs(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert reproduce(world, tmp_path / "out", "other", "truth") == 0
    text = capsys.readouterr().out
    assert "--outputs other=FOLDER" in text and "its shop" in text
    assert {n: r["state"] for n, r in rows_of(tmp_path / "out").items()} == {
        "truth": "part",
        "other": "missing",
    }
    assert reproduce(world, tmp_path / "no", "truth", "trained", corpus=False) == 0
    text = capsys.readouterr().out
    assert "    audioldm2-jax prepare DOWNLOADS corpora/esc50 --corpus data/esc50\n" in text
    assert "    --train\n" in text
    words = ["reproduce", str(world / "table.py"), "--rows", "text", "-o", str(tmp_path / "hub")]
    assert main([*words, f"--corpus=esc50={world / 'corpus'}", "-q"]) == 0
    assert rows_of(tmp_path / "hub")["text"]["state"] == "missing"
    assert "    hf download cvssp/audioldm-s-full\n" in capsys.readouterr().out
    wrong = [f"--outputs=other={world / 'raw' / '..' / 'model'}"]
    assert reproduce(world, tmp_path / "out", "other", more=wrong) == 0
    row = rows_of(tmp_path / "out")["other"]
    assert row["state"] == "failed" and "no sound files" in row["lines"][0]


def test_links_are_read_when_asked_for(world, tmp_path):
    (tmp_path / "links").mkdir()
    for path in (world / "other").iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    out, more = tmp_path / "out", [f"--outputs=other={tmp_path / 'links'}", "--limit", 4]
    reproduce(world, out, "other", more=more)
    assert "--follow_links" in rows_of(out)["other"]["lines"][0]
    assert reproduce(world, out, "other", more=[*more, "--follow_links"]) == 0
    assert rows_of(out)["other"]["points"][0]["figures"]["KL"]["n"] == 4


def test_a_limit_is_told(world, tmp_path, capsys):
    more = ["--limit", 4, f"--outputs=Another system={world / 'other'}"]
    assert reproduce(world, tmp_path / "out", "other", more=more) == 0
    row = rows_of(tmp_path / "out")["other"]
    assert row["points"][0]["clips"] == 4 and row["points"][0]["figures"]["FD"]["n"] == 4
    text = capsys.readouterr().out
    assert "not comparable with the published" in text and "  only 4 clips" in text
    assert "classifier.weights" in text, "a network of our own is told"


class Tones:
    """A pipeline whose clips follow from their prompts and numbers, as those of networks do."""

    @classmethod
    def from_opened(cls, opened):
        return cls()

    def run(self, request, *, clap_features, progress):
        waves = [tone(len(clip.prompt) + clip.clip) for clip in request.clips]
        return SimpleNamespace(audio=np.array(waves), sample_rate=RATE)


def test_a_model_goes_on(world, tmp_path, monkeypatch):
    """Stopped within the second row: a second run makes the rest alone, and agrees."""
    real, made = generated._generate, []

    def counted(pipe, plan, numbers, *more):
        made.extend(plan.names[i] for i in numbers)
        if len(made) == 18:
            raise KeyboardInterrupt
        return real(pipe, plan, numbers, *more)

    monkeypatch.setattr(generated, "Pipeline", Tones)
    monkeypatch.setattr(generated, "_generate", counted)
    out = tmp_path / "out"
    assert reproduce(world, out, "text", "again", more=["-b", 1]) == 130
    assert list(rows_of(out)) == ["text"] and len(made) == 18
    before = values(rows_of(out)["text"], "FD")
    assert reproduce(world, out, "text", "again", more=["-b", 1]) == 0
    assert len(made) == 18 + 7, "the clip that was interrupted, and the rest"
    assert values(rows_of(out)["text"], "FD") == before
    record = json.loads((out / "text" / "clips.generation.json").read_text())
    assert record["clips"]["5-3.wav"]["prompt"] == "the sound of class 0"
    assert record["condition"] == "text" and record["guidance"] == 1
    made.clear()
    monkeypatch.setattr(PANNs, "rows", lambda *given: pytest.fail("scored again"))
    assert reproduce(world, out, "text", "again") == 0 and not made


def test_figures_follow_the_bytes_of_clips(world, tmp_path):
    """Outputs and corpus audio that are written anew, under their names and with their sizes."""
    corpus, other = tmp_path / "corpus", write_clips(tmp_path / "other", COUNT, seed=1)
    write_clips(corpus, COUNT, texts=True)
    rows, out = ("other", "interference"), tmp_path / "out"
    more = [f"--outputs=other={other}", f"--corpus=esc50={corpus}"]

    def figures():
        assert reproduce(world, out, *rows, more=more, corpus=False) == 0
        return [values(rows_of(out)[name], "FD") for name in rows]

    first, sizes = figures(), [path.stat().st_size for path in sorted(other.iterdir())]
    assert figures() == first
    for i, path in enumerate(sorted(other.iterdir())):
        save_audio(path, tone(2000 + i), RATE)
    assert [path.stat().st_size for path in sorted(other.iterdir())] == sizes
    second = figures()
    assert second[0] != first[0] and second[1] == first[1]
    for i, path in enumerate(sorted(corpus.glob("*.wav"))):
        save_audio(path, tone(3000 + i), RATE)
    third = figures()
    assert third[0] != second[0]
    assert third[1][0] == pytest.approx(0, abs=1e-3) and third[1][1:] != second[1][1:]


def test_audio_conditions_follow_the_bytes_of_clips(world, tmp_path, monkeypatch):
    class Heard(Tones):
        def audio_features(self, waves, rate):
            return np.abs(waves).mean(1, keepdims=True)

        def run(self, request, *, clap_features, progress):
            waves = [tone(int(1e6 * feature)) for feature in clap_features[:, 0]]
            return SimpleNamespace(audio=np.array(waves), sample_rate=RATE)

    monkeypatch.setattr(generated, "Pipeline", Heard)
    corpus, out = write_clips(tmp_path / "corpus", COUNT, texts=True), tmp_path / "out"
    more = ["--limit", 4, f"--corpus=esc50={corpus}"]
    distances = []
    for seed in (0, 3):
        for i, path in enumerate(sorted(corpus.glob("*.wav"))):
            save_audio(path, tone(1000 * seed + i), RATE)
        assert reproduce(world, out, "audio", more=more, corpus=False) == 0
        assert rows_of(out)["audio"]["state"] == "part", rows_of(out)["audio"]["lines"]
        distances += values(rows_of(out)["audio"], "FD")
    assert distances[0] != distances[1]
    first, second = (
        {p.read_bytes() for p in f.iterdir()} for f in (out / "audio").glob("clips-*/")
    )
    assert len(first) == len(second) == 4 and not first & second


@pytest.mark.slow
def test_a_model_by_text_and_by_audio(world, tmp_path):
    """The same clip numbers and prompts: the condition alone differs."""
    out = tmp_path / "out"
    assert reproduce(world, out, "text", "audio", more=["--limit", 2]) == 0
    manifests = [
        json.loads(next(out.glob(f"{n}/clips*.generation.json")).read_text()) for n in rows_of(out)
    ]
    assert [m["condition"] for m in manifests] == ["text", "audio"]
    name = next(iter(manifests[0]["clips"]))
    waves = [soundfile.read(next(out.glob(f"{row}/clips*/{name}")))[0] for row in ("text", "audio")]
    assert np.abs(waves[0] - waves[1]).max() > 1e-4


def test_corruptions_rise_with_their_share(world, tmp_path, monkeypatch, capsys):
    """The clean clips of noise and masking are vocoded once for both."""
    out, vocoded, wave = tmp_path / "out", [], MelVocoder.wave
    monkeypatch.setattr(MelVocoder, "wave", lambda *given: vocoded.append(given[1]) or wave(*given))
    more = [f"--checkpoint=cvssp/audioldm2={world / 'model'}"]
    kinds = "noise", "masking", "interference", "order"
    assert reproduce(world, out, *kinds, more=more) == 0
    rows = rows_of(out)
    assert len(vocoded) == 3 * COUNT and len({mel.tobytes() for mel in vocoded}) == 3 * COUNT
    for name, row in rows.items():
        distances = values(row, "FD")
        assert distances[0] == pytest.approx(0, abs=1e-3) and distances[-1] > 1e-3, name
    assert [point["at"] for point in rows["interference"]["points"]] == [0, 0.5, 1]
    half = corrupted_names([f"5-{i}.wav" for i in range(COUNT)], 0.5)
    report = json.loads((out / "interference" / "at-0.5" / "result.json").read_text())
    kl = {clip["name"]: clip["KL"] for clip in report["clips"]}
    assert {name for name, value in kl.items() if value > 1e-5} == half
    (folder,) = (out / "order").glob("clips-*")
    clean, changed = (soundfile.read(folder / p / "5-0.wav")[0] for p in ("clean", "corrupted"))
    np.testing.assert_allclose(np.sort(clean), np.sort(changed))
    text = capsys.readouterr().out
    assert "0 to " in text and "<svg" in (out / "table.html").read_text()


def test_a_run_of_other_inputs_is_refused(world, tmp_path, monkeypatch):
    """A changed value, base or corpus never scores the states of an earlier run."""
    home, out, trained = tmp_path / "world", tmp_path / "out", []
    shutil.copytree(world, home)

    def train(config, workdir, *, quiet):
        trained.append(config.steps)
        (workdir / "checkpoints" / str(config.steps)).mkdir(parents=True)
        (workdir / "config.json").write_text("{}")

    def make(work, reference, checkpoint, generation, folder):
        clips = write_clips(folder, len(reference.clips))
        for path, clip in zip(sorted(clips.iterdir()), reference.clips):
            path.rename(folder / clip.name)
        return open_clips(folder, work.plan.protocol), None

    monkeypatch.setattr(training_rows, "train", train)
    monkeypatch.setattr(training_rows, "export", lambda run, target, step: target.mkdir())
    monkeypatch.setattr(training_rows, "make", make)

    def run():
        assert reproduce(home, out, "trained", more=["--train"]) == 0
        row = rows_of(out)["trained"]
        return row["state"], " ".join(row["lines"])

    assert run()[0] == "part" and trained == [1, 2]
    table = (home / "table.py").read_text()
    (home / "table.py").write_text(table.replace('"log_every=1"', '"log_every=1", "seed=3"'))
    state, line = run()
    assert state == "failed" and f"{out / 'trained'}: trained with seed 0, not 3; delete" in line
    (home / "table.py").write_text(table)
    assert run()[0] == "part" and trained == [1, 2]
    (home / "model" / "note.txt").write_text("other weights")
    state, line = run()
    assert state == "failed" and f"trained with weights of {home / 'model'} " in line
    (home / "model" / "note.txt").unlink()
    rests = [p for p in out.glob("esc50-train*") if p.is_dir()]
    records = [ClipRecord(f"4-{i}.wav", FileRef(str(world / "raw" / f"5-{i}.wav")),
                          labels=(f"class {i % 3}",)) for i in range(COUNT)]  # fmt: skip
    splits = {"fold4": records, "fold5": records[:0]}
    splits["fold5"] = [dataclasses.replace(r, id=f"5-{i}.wav") for i, r in enumerate(records)]
    shutil.rmtree(home / "corpus")
    prepare(splits, home / "corpus", metadata={"name": "esc50"}, report=Report(), workers=1)
    state, line = run()
    assert state == "failed" and "trained with " in line and trained == [1, 2]
    assert len([p for p in out.glob("esc50-train*") if p.is_dir()]) == len(rests) + 1 == 2
    (out / "trained" / "run" / "inputs.json").unlink()
    assert "no inputs.json says" in run()[1]
    shutil.rmtree(out / "trained")
    assert run()[0] == "part" and trained == [1, 2, 1, 2]


@pytest.mark.slow
def test_a_training_run_is_scored_at_its_steps(world, tmp_path, capsys):
    """Its corpus holds none of the scored clips; best and last are told; a second run is quick."""
    out = tmp_path / "out"
    assert reproduce(world, out, "trained", more=["--train"]) == 0
    row = rows_of(out)["trained"]
    assert [point["at"] for point in row["points"]] == [1, 2], row["lines"]
    scored = {clip["name"] for clip in json.loads(
        (out / "trained" / "at-2" / "result.json").read_text())["clips"]}  # fmt: skip
    assert len(scored) == 3
    from audioldm2_jax.data.corpus import reader

    (rest,) = out.glob("esc50-train-*")
    trained = {e["id"].decode() for e in reader.open_split(rest, "train")}
    assert len(trained) > 8 and not trained & scored
    assert not list((out / "trained").glob("exported-*"))
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("trained "))
    assert "@" in line and "last" in line
    assert reproduce(world, out, "trained", more=["--train"]) == 0


def test_wrong_options_are_one_line(world, tmp_path, capsys):
    wrong = {
        "--protocol=musicn": "choose one of",
        "--limit=0": "--limit is 0",
        "--weights=fad": "NAME=PATH",
        "--corpus=esc5=x": "did you mean esc50",
        "--outputs=other=nowhere": "no such folder",
        "--checkpoint=x=y": "no such name",
    }
    for option, message in wrong.items():
        assert reproduce(world, tmp_path / "out", "truth", more=[option]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(["reproduce"]) == 2 and "--list" in capsys.readouterr().err
    assert main(["reproduce", "study_tabel1"]) == 2
    assert "did you mean study_table1" in capsys.readouterr().err
    assert load_table(str(world / "table.py")).notes == ("a note",)
