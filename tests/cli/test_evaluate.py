"""`audioldm2-jax evaluate` from sounds to files: results, resumption, bad input, generation."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from audioldm2_jax import distributed
from audioldm2_jax.cli import evaluate as command
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation import reservoir
from audioldm2_jax.evaluation.backbones.clap import CLAP
from audioldm2_jax.evaluation.backbones.panns import PANNs
from audioldm2_jax.evaluation.clips import ClipSet
from audioldm2_jax.evaluation.generated import GenerationSettings
from audioldm2_jax.evaluation.judges.words import transcripts
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.evaluation.metrics.speech import character_error_rate, word_error_rate
from audioldm2_jax.evaluation.results import METRICS, EvalResult
from tests.evaluation.clip_folders import LABELS, RATE, tone, write_classifier, write_clips

COUNT = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """tagger/, ours/ and theirs/, whose captions and labels are in a table."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_classifier(folder / "tagger")
    write_clips(folder / "ours", COUNT, seed=1)
    write_clips(folder / "theirs", COUNT, seed=2, texts=True)
    return folder


def evaluate(world, ours, out, *more, theirs=None):
    weights = [f"--weights={slot}={world / 'tagger'}" for slot in ("classifier", "fad")]
    sets = [str(ours), str(theirs or world / "theirs")]
    return main(["evaluate", *sets, *weights, "--output", str(out), "-q", *map(str, more)])


@pytest.fixture(scope="module")
def out(world, tmp_path_factory):
    """A whole evaluation."""
    out = tmp_path_factory.mktemp("out") / "a"
    assert evaluate(world, world / "ours", out, "--bootstrap", 20) == 0
    return out


def without_time(path):
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "date"}


def test_all_figures_or_their_reasons(out):
    result = EvalResult.load(out / "result.json")
    assert [figure.metric for figure in result.figures] == list(METRICS)
    present = {figure.metric for figure in result.figures if figure.value is not None}
    distances = {"FD", "FAD", "FAD_inf", "KAD", "KID"}
    assert present >= distances | {"KL", "KL_sigmoid", "IS", "PSNR", "SSIM", "LSD", "silent_share"}
    for figure in result.figures:
        assert figure.note or figure.metric == "silent_share"
        if figure.low is not None:
            assert figure.low <= figure.value <= figure.high and figure.n == COUNT
    assert "music" in result.figure("note_F1").note
    assert "--weights" in result.figure("CLAP").note, "which file, and by which option"
    assert result.figure("silent_share").value == 0
    assert result.backbones["panns exported classifier"] and len(result.hash) == 12
    assert [name for name, _ in result.ladders["FD"]] == [10, 20, 40]
    assert result.ladders["FD"][0][1] > result.ladders["FD"][-1][1], "biased at small N"


def test_figures_are_those_of_the_files_themselves(world, out):
    """Read, padded and judged here by hand: loader, pairs, directions and resamples are right."""
    network, outputs = PANNs(world / "tagger"), {}
    for name in ("ours", "theirs"):
        waves = [soundfile.read(world / name / f"clip{i:02}.wav")[0] for i in range(COUNT)]
        waves = [np.pad(wave - wave.mean(), (0, 2 * RATE - len(wave))) for wave in waves]
        clips = network([wave.astype(np.float32) for wave in waves])
        outputs[name] = [
            np.stack([c.embeddings[0] for c in clips]),
            np.stack([c.logits for c in clips]),
        ]
    (x, p), (y, q) = outputs["theirs"], outputs["ours"]
    result = EvalResult.load(out / "result.json")
    assert result.figure("FD").value == pytest.approx(frechet_distance(x, y), rel=1e-4)
    p, q = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) for logits in (p, q))
    divergences = (p * np.log(p / (q + 1e-6))).sum(1)
    assert result.figure("KL").value == pytest.approx(divergences.mean(), rel=1e-3)
    assert [c["KL"] for c in result.clips] == pytest.approx(list(divergences), rel=1e-2, abs=1e-4)
    rows = [
        resample.mean() for resample in np.random.default_rng(0).choice(divergences, (2000, COUNT))
    ]
    low, high = np.quantile(rows, [0.025, 0.975])
    figure = result.figure("KL")
    assert figure.high - figure.low == pytest.approx(high - low, rel=0.5), "of 20 resamples"


def test_clips_classes_and_their_means(out):
    result = EvalResult.load(out / "result.json")
    assert len(result.clips) == COUNT and result.clips[3]["caption"] == "a sound 3"
    kl = np.array([clip["KL"] for clip in result.clips])
    assert kl.mean() == pytest.approx(result.figure("KL").value) and kl.std() > 0
    assert list(result.per_class) == sorted(LABELS[:2])
    classes = {name: {f.metric: f for f in fs} for name, fs in result.per_class.items()}
    for i, name in enumerate(LABELS[:2]):
        assert classes[name]["KL"].value == pytest.approx(kl[i::2].mean())
        assert classes[name]["FD"].n == COUNT // 2


def test_files_beside_the_result(out):
    assert {p.name for p in out.iterdir()} == {"cache", *command.FILES}
    page = (out / "report.html").read_text()
    assert page.count("<audio") == 4 * 5 and "data:audio/mpeg;base64," in page
    assert (out / "figures.csv").read_text().count("\n") > len(METRICS)


def test_a_second_run_reads_the_cache_and_agrees(world, out, tmp_path, monkeypatch, capsys):
    """Without a network: all features come from the cache. A killed run's leftovers do no harm."""
    before = without_time(out / "result.json")
    monkeypatch.setattr(PANNs, "rows", lambda *given: pytest.fail("computed again"))
    for name in command.FILES:
        (out / name).unlink()
    assert evaluate(world, world / "ours", out, "--bootstrap", 20) == 0
    assert without_time(out / "result.json") == before
    text = capsys.readouterr().out
    assert text.startswith(f"{world / 'ours'} against {world / 'theirs'}\nprotocol audioldm_eval")


def test_a_clip_is_read_once_for_networks_of_one_reader(world, tmp_path, monkeypatch):
    """The classifier and FAD's network have one loader and one rate in audioldm_eval."""
    reads, read = [], ClipSet.read
    monkeypatch.setattr(
        ClipSet, "read", lambda *given: reads.append(given[0].name + given[1].name) or read(*given)
    )
    other = shutil.copytree(world / "tagger", tmp_path / "other")
    sets = [world / "ours", world / "theirs", f"--weights=classifier={world / 'tagger'}"]
    words = [*sets, f"--weights=fad={other}", "--metrics", "FD,FAD,KL", "--limit", 9]
    words += ["--bootstrap", 0, "--clips", 0, "--output", tmp_path / "out", "-q"]
    assert main(["evaluate", *map(str, words)]) == 0
    assert len(reads) == len(set(reads)) == 2 * 9


def test_of_large_sets_a_part_is_held(world, out, tmp_path, monkeypatch):
    """Distances are of all clips, other figures of the part, which has the same pairs."""
    monkeypatch.setattr(reservoir, "CLIPS", 24)
    words = ["--metrics", "FD,FAD,KL,KAD,IS", "--bootstrap", 20, "--cache", out / "cache"]
    assert evaluate(world, world / "ours", tmp_path / "out", *words) == 0
    whole, part = (EvalResult.load(path / "result.json") for path in (out, tmp_path / "out"))
    for metric in ("FD", "FAD"):
        figure = part.figure(metric)
        assert figure.value == pytest.approx(whole.figure(metric).value, rel=1e-6)
        assert figure.n == COUNT and figure.low <= figure.value <= figure.high
        parts = "24 of 40 generated clips, 24 of 40 reference clips"
        assert figure.note.startswith(f"interval and parts of the set of {parts}")
        assert part.ladders[metric][-1][0] == 24
    scored = {clip["name"]: clip["KL"] for clip in part.clips if "KL" in clip}
    kl = {clip["name"]: clip["KL"] for clip in whole.clips}
    assert len(scored) == 24 and scored == {name: kl[name] for name in scored}
    assert part.figure("KL").value == pytest.approx(np.mean(list(scored.values())))
    for metric in ("KL", "KAD", "IS"):
        assert part.figure(metric).n == 24
        assert part.figure(metric).note.startswith(f"computed of {parts}; ")


def test_words_are_judged_by_the_transcripts(world, tmp_path):
    theirs = write_clips(tmp_path / "theirs", 3, seed=1)
    texts = ["a bee hums", "owls", "a fan turns slowly"]
    rows = "".join(f"clip{i:02}.wav,{text}\n" for i, text in enumerate(texts))
    (tmp_path / "texts.csv").write_text(f"file_name,transcript\n{rows}")
    words = ["--metrics", "WER,CER", "--captions", tmp_path / "texts.csv", "--limit", 3]
    assert evaluate(world, world / "ours", tmp_path / "out", *words, theirs=theirs) == 0
    result = EvalResult.load(tmp_path / "out" / "result.json")
    spoken = transcripts([tone(1000 + i) for i in range(3)], RATE)
    assert result.figure("WER").value == pytest.approx(word_error_rate(texts, spoken))
    assert result.figure("CER").value == pytest.approx(character_error_rate(texts, spoken))
    assert result.figure("WER").n == 3


def test_a_stopped_run_goes_on_to_the_same_result(world, out, tmp_path, monkeypatch):
    real, calls = PANNs.rows, []

    def stops(self, wave):
        calls.append(1)
        if len(calls) > COUNT:  # within the reference set
            raise KeyboardInterrupt
        return real(self, wave)

    monkeypatch.setattr(PANNs, "rows", stops)
    assert evaluate(world, world / "ours", tmp_path / "b", "--bootstrap", 20) == 130
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["cache"]
    calls.clear()
    monkeypatch.setattr(PANNs, "rows", lambda *given: calls.append(1) or real(*given))
    assert evaluate(world, world / "ours", tmp_path / "b", "--bootstrap", 20) == 0
    assert len(calls) == COUNT, "the generated set's features were there"
    assert without_time(tmp_path / "b" / "result.json") == without_time(out / "result.json")


def test_silence_shows_in_every_figure_and_warning(world, tmp_path, capsys):
    ours = write_clips(tmp_path / "ours", COUNT, seed=1)
    for i in range(10):
        soundfile.write(ours / f"clip{i:02}.wav", np.zeros(6400), RATE)
    (ours / "clip39.wav").write_bytes(b"not a sound")
    soundfile.write(ours / "clip38.wav", np.full(6400, np.nan), RATE, subtype="FLOAT")
    metrics = "FD,silent_share,KL_sigmoid"
    assert evaluate(world, ours, tmp_path / "out", "--metrics", metrics) == 0
    result = EvalResult.load(tmp_path / "out" / "result.json")
    assert result.figure("silent_share").value == pytest.approx(10 / 38)
    assert "10 of 38 clips silent" in result.figure("FD").note
    assert any("silent" in line for line in result.warnings)
    assert any("2 clips are left out" in line for line in result.warnings)
    assert result.figure("KL_sigmoid").n == 38, "2 of 40 pairs are more than 1 %, but have names"
    assert any("2 of 40 pairs are left out" in line for line in result.warnings)
    assert "warning: " in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'role="alert"' in page and "clip39.wav" in page


def test_one_pair_has_a_divergence_and_no_distance(world, tmp_path, capsys):
    words = ["--limit", 1, "--metrics"]
    assert evaluate(world, world / "ours", tmp_path / "out", *words, "KL,KL_sigmoid") == 0
    figure = EvalResult.load(tmp_path / "out" / "result.json").figure("KL")
    assert figure.n == 1 and np.isfinite(figure.value) and figure.low is None
    capsys.readouterr()
    assert evaluate(world, world / "ours", tmp_path / "out", *words, "FD") == 2
    assert "FD: 1 clip in a set; it takes at least 2" in capsys.readouterr().err


def test_links_are_read_when_asked_for(world, tmp_path, capsys):
    """In both sets, as the reason that stands beside a skipped link says."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"clip{i:02}.wav").symlink_to(world / name / f"clip{i:02}.wav")
    given = [world, tmp_path / "ours", tmp_path / "out", "--metrics", "KL"]
    assert evaluate(*given, theirs=tmp_path / "theirs") == 2
    assert "left out 3, a link: clip00.wav (link; --follow_links reads" in capsys.readouterr().err
    assert evaluate(*given, "--follow_links", theirs=tmp_path / "theirs") == 0
    assert EvalResult.load(tmp_path / "out" / "result.json").figure("KL").n == 3


def test_comparison_names_what_differs(world, out, tmp_path, capsys):
    assert evaluate(world, world / "ours", tmp_path / "b", "--metrics", "FD", "--limit", 30,
                    "--protocol", "kadtk", "--bootstrap", 0) == 0  # fmt: skip
    capsys.readouterr()
    assert (
        main(["evaluate", "--compare", *(str(f / "result.json") for f in (out, tmp_path / "b"))])
        == 0
    )
    text = capsys.readouterr().out
    assert "pairing: name in audioldm_eval, stem in kadtk" in text and "40 and 30" in text


TAGGER = ("--weights", "classifier={tagger}")
BAD = {
    "one set": (["{ours}"], "name two sets"),
    "no folder": (["{ours}", "{world}/nothing"], "no such folder"),
    "no sounds": (["{world}/empty", "{theirs}"], "no sound files"),
    "metric": (["{ours}", "{theirs}", "--metrics", "FDD"], "did you mean FD"),
    "no weights": (["{ours}", "{theirs}", "--metrics", "FAD"], "vggish-10086976.pth"),
    "weights without path": (["{ours}", "{theirs}", "--weights", "fad"], "NAME=PATH"),
    "weights of nothing": (["{ours}", "{theirs}", "--weights", "x=."], "not of protocol"),
    "weights that are not": (["{ours}", "{theirs}", "--weights", "fad={world}/no"], "no such file"),
    "weights of another kind": (["{ours}", "{theirs}", "--weights", "fad={ours}"], "config.json"),
    "protocol": (["{ours}", "{theirs}", "--protocol", "x"], "no protocol 'x'"),
    "negative count": (["{ours}", "{theirs}", "--bootstrap", "-1"], "--bootstrap is -1"),
    "no clip": (["{ours}", "{theirs}", "--limit", "0"], "--limit is 0"),
    "no effect": (["{ours}", "{theirs}", "--seconds", "3"], "name a --model"),
    "too few": (
        ["{ours}", "{theirs}", "--limit", "5", "--metrics", "IS", *TAGGER],
        "5 clips in a set; it takes at least 10",
    ),
    "no pairs": (
        ["{world}/alone", "{theirs}", "--metrics", "KL", *TAGGER],
        "unpaired",
    ),
    "captions": (
        ["{ours}", "{ours}", "--metrics", "WER"],
        "transcripts|not installed",
    ),
    "compare with sets": (["{ours}", "--compare", "a.json"], "leave out"),
    "compare one": (["--compare", "{out}/result.json"], "at least two"),
    "compare another file": (["--compare", "{ours}/clip00.wav", "{ours}/clip00.wav"], "."),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(world, out, tmp_path, capsys, name):
    (world / "empty").mkdir(exist_ok=True)
    if not (world / "alone").exists():
        (world / "alone").mkdir()
        for i in range(2):
            soundfile.write(world / "alone" / f"other{i}.wav", tone(i), RATE)
    places = {k: world / k for k in ("ours", "theirs", "tagger")} | {"world": world, "out": out}
    arguments, message = BAD[name]
    words = [word.format(**places) for word in arguments]
    assert main(["evaluate", *words, "--output", str(tmp_path / "new"), "-q"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "new").exists()


def test_options_of_generation_have_no_effect_without_a_model(world, tmp_path, capsys):
    values = {"prompts": "p.txt", "seconds": "3", "steps": "25", "sampler": "ddim", "eta": "0"}
    values |= {"guidance": "2", "candidates": "1", "negative_prompt": "hum", "dtype": "fp32"}
    values["batch"] = "4"
    assert {*values} == {*command.SETTINGS, "prompts", "dtype"}
    fields = {field.name for field in dataclasses.fields(GenerationSettings)}
    assert fields == {*command.SETTINGS, "seed"}
    for name, value in values.items():
        output = tmp_path / name
        assert evaluate(world / "ours", world / "theirs", output, f"--{name}", value) == 2
        assert f"--{name}: is of generated clips" in capsys.readouterr().err
        assert not output.exists()


def test_options_are_read_before_jax_starts(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distributed, "initialize", lambda: pytest.fail("JAX starts"))
    output = tmp_path / "new"
    assert evaluate(world / "ours", world / "theirs", output, "--protocol", "x") == 2
    assert "no protocol 'x'" in capsys.readouterr().err


def test_the_result_of_other_sets_is_not_replaced(world, out, capsys):
    before = (out / "result.json").read_bytes()
    assert evaluate(world, world / "theirs", out, "--metrics", "FD") == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (out / "result.json").read_bytes() == before


def test_weights_have_names_with_equal_signs():
    entries = ["Cnn14_16k_mAP=0.438.pth=a=b.pth", "fad=x=y"]
    assert command.read_weights(entries) == {"Cnn14_16k_mAP=0.438.pth": "a=b.pth", "fad": "x=y"}
    with pytest.raises(InputError, match="stands twice"):
        command.read_weights(["fad=a", "fad=b"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_random(folder, "tiny")
    return folder


def test_captions_are_scored_by_clap(world, model, tmp_path, capsys, monkeypatch):
    """Its score names the weights; without a tokenizer the reason is told before any work."""
    clap = tmp_path / "clap"
    shutil.copytree(model / "text_encoder", clap)
    shutil.copytree(model / "feature_extractor", clap, dirs_exist_ok=True)
    words = ["--weights", f"clap={clap}", "--metrics", "CLAP,R@1,mAP@10", "--limit", 4]
    assert evaluate(world, world / "ours", tmp_path / "out", *words) == 2
    assert "tokenizer" in capsys.readouterr().err and not (tmp_path / "out").exists()
    shutil.copytree(model / "tokenizer", clap, dirs_exist_ok=True)
    read, text_features = [], CLAP.text_features
    monkeypatch.setattr(
        CLAP, "text_features", lambda self, texts: read.extend(texts) or text_features(self, texts)
    )
    assert evaluate(world, world / "ours", tmp_path / "out", *words) == 0
    assert read == [f"a sound {i}" for i in range(4)], "once for all metrics"
    result = EvalResult.load(tmp_path / "out" / "result.json")
    scores = [clip["CLAP"] for clip in result.clips]
    assert result.figure("CLAP").value == pytest.approx(np.mean(scores)) and np.std(scores) > 0
    assert all(-1 <= score <= 1 for score in scores)
    assert 0 <= result.figure("R@1").value <= result.figure("mAP@10").value <= 1
    assert result.figure("CLAP").note == "clap" and "clap clap" in result.backbones
    # Of two captions, R@1 would be of few, and R@5 would be 1 whatever the clips.
    (tmp_path / "two.csv").write_text("file_name,caption\nclip00.wav,a dog\nclip01.wav,rain\n")
    theirs = write_clips(tmp_path / "theirs", 6, seed=2)
    words = ["--weights", f"clap={clap}", "--metrics", "R@1,R@5", "--limit", 6]
    words += ["--captions", tmp_path / "two.csv"]
    assert evaluate(world, world / "ours", tmp_path / "few", *words, theirs=theirs) == 0
    result = EvalResult.load(tmp_path / "few" / "result.json")
    assert result.figure("R@1").n == 2 and result.figure("R@5").value is None
    assert result.figure("R@5").note == "2 captioned clips in a set; it takes at least 6"


@pytest.mark.slow
def test_a_model_is_evaluated_on_the_captions_of_the_reference(world, model, tmp_path, capsys):
    theirs = write_clips(tmp_path / "theirs", 3, seed=3, texts=True)
    clips, out = tmp_path / "clips", tmp_path / "out"
    words = ["--model", model, "-dur", 0.5, "--steps", 1, "--metrics", "FD,KL", "--bootstrap", 0]
    assert evaluate(world, clips, out, *words, theirs=theirs) == 0
    result = EvalResult.load(out / "result.json")
    assert result.figure("KL").n == 3 and result.generation["steps"] == 1
    assert [clip["caption"] for clip in result.clips] == [f"a sound {i}" for i in range(3)]
    record = json.loads((tmp_path / "clips.generation.json").read_text())
    assert record["clips"]["clip01.wav"]["prompt"] == "a sound 1"
    times = {p: p.stat().st_mtime_ns for p in clips.iterdir()}
    assert evaluate(world, clips, out, *words, theirs=theirs) == 0
    assert {p: p.stat().st_mtime_ns for p in clips.iterdir()} == times
    capsys.readouterr()
    assert evaluate(world, clips, out, *words, "--seed", 5, theirs=theirs) == 2
    assert "generated with seed 0, not 5" in capsys.readouterr().err


def test_what_cannot_be_computed_is_told_before_generation(world, model, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("rain\nwind\n")
    words = ["--model", model, "--prompts", prompts, "--metrics", "KL"]
    assert evaluate(world, tmp_path / "clips", tmp_path / "out", *words) == 2
    assert "unpaired" in capsys.readouterr().err
    words = ["--model", model]
    ours = world / "ours"
    assert evaluate(world, tmp_path / "clips", tmp_path / "out", *words, theirs=ours) == 2
    assert "40 of 40 clips have no caption" in capsys.readouterr().err
    assert not (tmp_path / "clips").exists() and not (tmp_path / "out").exists()
