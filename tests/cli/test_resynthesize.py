"""`resynthesize` of files and folders, what it prints, and what it refuses; `doctor` of a codec."""

import re

import numpy as np
import pytest
import soundfile

from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.checkpoints.single import Single
from audioldm2_jax.cli import main as cli
from audioldm2_jax.evaluation.metrics.waveforms import log_mel_distance, si_sdr
from audioldm2_jax.presets import DACConfig

CONFIG = DACConfig(8000, 2, 8, (4, 5), 8, 3, 16, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("resynthesize")
    single.save(Single("dac", CONFIG, random_params("dac", CONFIG)), root / "codec")
    rng = np.random.default_rng(0)
    (root / "in" / "deep").mkdir(parents=True)
    soundfile.write(root / "in" / "a.flac", 0.1 * rng.standard_normal((4410, 2)), 44100)
    soundfile.write(root / "in" / "a.wav", 0.1 * rng.standard_normal(800), 8000)
    soundfile.write(root / "in" / "deep" / "silence.ogg", np.zeros(1600), 16000)
    return root


def run(*arguments, code=0):
    assert cli.main(["resynthesize", *map(str, arguments), "-q"]) == code


def test_file(folder, tmp_path, capsys):
    target = tmp_path / "new" / "out.wav"
    run(folder / "in" / "a.flac", target, "--codec", folder / "codec", "--levels", 2)
    sound, rate = soundfile.read(target)
    assert (sound.shape, rate) == ((800,), 8000)
    line = capsys.readouterr().out
    # 400 frames a second of 2 levels of 4 bits.
    expected = rf"{re.escape(str(target))}: 0.10 s at 8000 Hz, 2 of 3 levels, 3.2 kbit/s, SI-SDR "
    assert re.fullmatch(expected + r"-?[\d.]+ dB, log-mel difference [\d.]+ dB\n", line)


def test_folder(folder, tmp_path, capsys):
    (folder / "in" / "broken.wav").write_bytes(b"no sound")
    run(folder / "in", tmp_path, "--codec", folder / "codec", "--format", "flac", code=2)
    (folder / "in" / "broken.wav").unlink()
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*"))
    assert written == ["a.flac.flac", "a.wav.flac", "deep/silence.flac"]
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 4 and lines[3].startswith("mean of 3 files: SI-SDR ")
    assert "SI-SDR none (SRC is silent)" in lines[2]
    assert re.fullmatch(r"left out: .*broken.wav: .*\n", err)


@pytest.mark.parametrize(
    "source, target, options, message",
    [
        ("in/a.wav", "out.wav", ["--levels", "4"], r"--levels 4: .*codec has 3"),
        ("in/a.wav", "out.wav", ["--levels", "0"], "--levels 0: at least 1"),
        ("in/a.wav", "out.xyz", [], "out.xyz: SRC is a file, so DST must be one that ends in"),
        ("in/a.wav", "in/a.wav", [], "a.wav: is SRC itself"),
        ("in/a.wav", "out.wav", ["--format", "mp3"], "--format mp3: DST's name says it"),
        ("in/b.wav", "out.wav", [], "b.wav: no such file"),
        ("in", "in/coded", [], "in/coded: lies in SRC"),
        ("codec", "out", [], "codec: holds no sound files"),
        ("nan.wav", "out.wav", [], "nan.wav: NaN or infinity in its samples"),
        ("short.wav", "out.wav", [], r"short.wav: shorter than a frame of the codec \(0.0025 s\)"),
        ("long.wav", "out.wav", [], "long.wav: longer than 0.05 s: cut it"),
    ],
)
def test_refusals(folder, tmp_path, capsys, monkeypatch, source, target, options, message):
    soundfile.write(folder / "nan.wav", np.full(400, np.nan), 8000, "FLOAT")
    soundfile.write(folder / "short.wav", np.full(19, 0.1), 8000)
    soundfile.write(folder / "long.wav", np.full(401, 0.1), 8000)
    monkeypatch.setattr("audioldm2_jax.cli.resynthesize.MAX_SECONDS", 0.05)
    target = folder / target if target.startswith("in/") else tmp_path / target
    run(folder / source, target, "--codec", folder / "codec", *options, code=2)
    err = capsys.readouterr().err
    assert re.search(f"^error: .*{message}", err) and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_codec(folder, tmp_path, capsys):
    run(folder / "in" / "a.wav", tmp_path / "a.wav", "--codec", folder / "in", code=2)
    assert "neither model_index.json nor a config.json of a known model" in capsys.readouterr().err


def test_doctor_and_convert_know_codecs(folder, tmp_path, capsys):
    assert cli.main(["doctor", "--model", str(folder / "codec")]) == 0
    out = capsys.readouterr().out
    assert ": dac, 0.00 M parameters" in out
    line = "codec of 8000 Hz, 1 channel: 400 frames a second of 3 levels of 16 codes, 4.8 kbit/s"
    assert line in out
    assert cli.main(["convert", str(folder / "codec"), str(tmp_path / "copy"), "-q"]) == 0
    assert single.load(tmp_path / "copy").config == CONFIG


def test_si_sdr():
    """Of a scaled clip with noise, the ratio of both; mean and scale do not count."""
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 8000))
    noise -= noise @ x / (x @ x) * x
    y = 3 * x + 0.1 * noise + 5
    expected = 10 * np.log10(9 * x.var() / (0.01 * noise.var()))
    assert si_sdr(x, y) == pytest.approx(expected, abs=0.02)
    both = si_sdr(np.stack([x, x], 1), np.stack([y, x + noise], 1))
    assert both == pytest.approx((expected + si_sdr(x, x + noise)) / 2, abs=1e-3)
    assert si_sdr(x, x) > 100 and np.isnan(si_sdr(0 * x, x)) and si_sdr(x, 0 * x) == -np.inf


def test_log_mel_distance(monkeypatch):
    """Twice as loud is 6 dB further; and blocks of frames change nothing."""
    x = np.random.default_rng(0).standard_normal(16000)
    assert log_mel_distance(x, 2 * x, 16000) == pytest.approx(20 * np.log10(2), rel=1e-3)
    whole = log_mel_distance(x, x[::-1], 16000)
    monkeypatch.setattr("audioldm2_jax.evaluation.metrics.waveforms._FRAMES", 7)
    assert log_mel_distance(x, x[::-1], 16000) == pytest.approx(whole, rel=1e-6)
