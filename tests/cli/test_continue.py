"""`audioldm2-jax continue`: recordings become files; what is wrong is one line and exit code 2."""

import json

import numpy as np
import pytest
import soundfile

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.cli.main import main
from audioldm2_jax.data.untrained import write_random
from audioldm2_jax.pipelines.audiolm import AudioLM

RATE = 16000


def sound(path, seconds=1.0, rate=44100, channels=2):
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal((round(seconds * rate), channels)), rate)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continue") / "tiny"
    write_random(folder, "tiny-audiolm")
    return folder


def run(folder, *arguments):
    return main(["continue", *map(str, arguments), "--model_name", str(folder)])


def test_a_recording_goes_on(folder, tmp_path, capsys):
    """Beside the recording itself, which stays."""
    path = sound(tmp_path / "voice.wav")
    before = path.read_bytes()
    assert run(folder, path, "-d", 1.12, "-n", 3, "-b", 2, "-s", tmp_path, "--seed", 5) == 0
    done = capsys.readouterr()
    paths = [tmp_path / f"voice_{i}.wav" for i in (2, 3, 4)]
    assert done.out.split() == list(map(str, paths)) and path.read_bytes() == before
    assert "voice.wav: its last 0.48 s go on" in done.err and "memory: " in done.err
    waves = [soundfile.read(p)[0] for p in paths]
    assert {len(wave) for wave in waves} == {round(1.6 * RATE)}
    assert soundfile.info(paths[0]).samplerate == RATE
    records = [json.loads(p.with_suffix(".json").read_text()) for p in paths]
    assert [r["first_clip"] for r in records] == [0, 1, 2]
    assert {r["seed"] for r in records} == {5} and records[0]["prompt"] == "voice.wav"
    assert records[0]["temperature"] == [0.6, 0.8, 0.6] and records[0]["mode"] == "continuation"
    # The third alone, from its record.
    model = AudioLM.from_pretrained(folder, progress=False)
    again = model.continuation(path, seconds=1.12, seed=5, first_clip=2, progress=False)
    (saved,) = again.save(tmp_path / "again", ["x.wav"])
    np.testing.assert_allclose(soundfile.read(saved)[0], waves[2], atol=1e-3)


def test_after_ctrl_c_what_is_finished_stays(folder, tmp_path, capsys, monkeypatch):
    pieces = AudioLM.pieces

    def interrupted(self, request, **options):
        yield next(pieces(self, request, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(AudioLM, "pieces", interrupted)
    path = sound(tmp_path / "voice.flac", 0.5)
    out = tmp_path / "out" / "long.ogg"
    assert run(folder, path, "-d", 30, "-q", "-o", out, "-n", 1) == 130
    assert soundfile.info(out).duration == pytest.approx(1.6, abs=0.01)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["seconds"] == pytest.approx(1.6)
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav"], "none.wav: no such file"),
        (["text.wav"], "text.wav: no audio that libsndfile reads"),
        (["silent.wav"], "silent.wav: silence"),
        (["nan.wav"], "nan.wav: NaN or infinity"),
        (["short.wav"], "short.wav: 10 ms long; one frame of the model is 40 ms"),
        (["voice.wav", "-d", "0"], "seconds is 0"),
        (["voice.wav", "-n", "0"], "candidates (-n) is 0"),
        (["voice.wav", "-b", "0"], "batchsize (-b) is 0"),
        (["voice.wav", "--temperature", "hot"], "--temperature hot: give numbers"),
        (["voice.wav", "--temperature", "1,2"], "temperature has 2 values"),
        (["voice.wav", "--top_p", "2"], "top_p is 2"),
        (["voice.wav", "--seed", "-3"], "seed is -3"),
        (["voice.wav", "-t", "piano"], "--prompt piano: AudioLM reads no text"),
        (["voice.wav", "-gs", "3"], "--guidance 3.0: AudioLM reads no text"),
        (["voice.wav", "-n", "2", "-o", "a.wav"], "takes one sound, not 2"),
        (["voice.wav", "-o", "voice.wav"], "-o voice.wav: is the recording itself"),
        (["voice.wav", "--dtype", "fp8"], "unknown dtype"),
        (["voice.wav", "--device", "abacus"], "unknown device"),
        (["voice.wav", "--loudness", "loud"], "loudness is 'loud'"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    sound(tmp_path / "voice.wav", 0.4)
    sound(tmp_path / "short.wav", 0.01)
    soundfile.write("silent.wav", np.zeros(16000), RATE)
    soundfile.write("nan.wav", np.full(16000, np.nan), RATE, "FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    before = sorted(tmp_path.rglob("*"))
    assert run(folder, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1, error
    assert sorted(tmp_path.rglob("*")) == before


def test_models_of_other_families_are_one_line(tmp_path, capsys, folder):
    path = sound(tmp_path / "voice.wav")
    assert run("nano", path) == 2
    assert "nano: of the family audioldm2; audiolm musicgen can run here" in capsys.readouterr().err
    assert main(["generate", "-t", "rain", "--model_name", str(folder), "-q"]) == 2
    assert "of the family audiolm" in capsys.readouterr().err


def test_doctor_and_convert_know_the_model(folder, tmp_path, capsys):
    assert main(["doctor", "--model", str(folder), "-n", "2"]) == 0
    text = capsys.readouterr().out
    assert "semantic_lm" in text and "dac" in text
    assert "2 clips of 1.6 s, by an estimate: fits" in text
    assert main(["doctor", "--model", "tiny-audiolm", "--low_memory"]) == 2
    assert "--low_memory: AudioLM has no such mode" in capsys.readouterr().err
    assert main(["convert", str(folder), str(tmp_path / "half"), "--dtype", "bf16"]) == 0
    assert "next: audioldm2-jax continue FILE" in capsys.readouterr().err
    assert hub.describe(tmp_path / "half").config == hub.describe(folder).config
