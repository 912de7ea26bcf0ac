"""The study's corpora have the published shapes, and are made anew bit for bit."""

import collections

import numpy as np
import pytest

from audioldm2_jax.configs.study.audioldm import STEPS, get_config
from audioldm2_jax.data.corpus.corpus_builder import load_builder
from audioldm2_jax.data.ingest.file_index import FileIndex
from audioldm2_jax.data.ingest.report import Report
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.recipes.study import corpora, field
from audioldm2_jax.training import entries


def clips_of(builder, folder):
    """{split: clips} as the published corpus' builder reads the folder."""
    report = Report()
    return load_builder(builder).clips(FileIndex(folder, folder / "scratch", report), report)


def test_esc_has_the_shape_of_esc_50(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "make_recording", lambda *_: np.zeros(16, np.float32))
    monkeypatch.setattr(corpora, "parallel_map", lambda f, jobs, workers: map(f, jobs))
    corpora.build_esc(tmp_path)
    splits = clips_of("esc50", tmp_path)
    assert {name: len(clips) for name, clips in splits.items()} == {
        f"fold{i}": 400 for i in range(1, 6)
    }
    for clips in splits.values():
        counts = collections.Counter(clip.labels for clip in clips)
        assert len(counts) == 50 and set(counts.values()) == {8}
        assert all(clip.file is not None for clip in clips)


def test_us8k_is_unbalanced_and_evaluates_870(tmp_path, monkeypatch):
    lengths = []
    monkeypatch.setattr(
        corpora, "make_recording", lambda *a: lengths.append(a[3]) or np.zeros(16, np.float32)
    )
    monkeypatch.setattr(corpora, "parallel_map", lambda f, jobs, workers: map(f, jobs))
    corpora.build_us8k(tmp_path)
    splits = clips_of("urbansound8k", tmp_path)
    assert len(splits["fold10"]) == 870 and len(splits) == 10
    counts = collections.Counter(clip.labels for clips in splits.values() for clip in clips)
    assert len(counts) == 10 and min(counts.values()) < max(counts.values()) / 2
    assert min(lengths) < 1.5 < max(lengths) <= corpora.SECONDS
    # A second build draws the same.
    again = tmp_path / "again"
    corpora.build_us8k(again)
    name = "metadata/UrbanSound8K.csv"
    assert (again / name).read_text() == (tmp_path / name).read_text()


@pytest.mark.parametrize("name", ["dog_bark", "rain", "car_horn"])
def test_recordings_differ_from_the_plain_sound_and_repeat(name):
    first, again = (field.make_recording(1, 2, name, 1.28) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and first.shape == (round(1.28 * 16000),)
    peak = 20 * np.log10(np.abs(first).max())
    assert field.PEAK[0] - 1e-3 <= peak <= field.PEAK[1] + 1e-3
    other = field.make_recording(1, 3, name, 1.28)
    assert np.abs(first - other).max() > 0.01


def test_noise_is_as_far_below_the_sound_as_drawn():
    """In silence after a sound there is the place's noise; sounds are never cut."""
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    recordings = [field.record(tone, np.random.default_rng(i)) for i in range(8)]
    for recording in recordings:
        spectrum = np.abs(np.fft.rfft(recording * np.hanning(len(recording)))) ** 2
        tonal = np.argmax(spectrum)
        # Played at another speed.
        assert 440 * field.SPEED[0] - 2 <= tonal <= 440 * field.SPEED[1] + 2
        rest = spectrum.sum() - spectrum[tonal - 8 : tonal + 9].sum()
        assert 0 < rest < 0.2 * spectrum.sum()


def test_configurations_are_valid_and_keep_what_is_evaluated():
    for kind in ("pretrain", "finetune"):
        entries.check(get_config(kind))
    config = get_config("finetune")
    assert config.steps == STEPS[-1]
    assert all(step % config.keep_every == 0 for step in STEPS)


def test_the_model_reads_clap_alone():
    model = PRESETS["nano-audioldm"]()
    assert model.unet.plain and model.unet.film == model.clap.width and model.gpt2 is None
