"""Folders of short sounds and a classifier with random weights, for tests of whole evaluations."""

from pathlib import Path

import numpy as np

from audioldm2_jax.audio import save_audio
from audioldm2_jax.checkpoints import single
from audioldm2_jax.checkpoints.init import random_params
from audioldm2_jax.evaluation.backbones.panns import PANNs
from audioldm2_jax.presets import PANNsConfig

RATE = 16000
LABELS = ("bee", "fan", "owl")


def write_classifier(folder: Path) -> Path:
    """A classifier of three classes that tells the sounds below apart a little."""
    config = PANNsConfig(channels=(8, 16), width=12, classes=3, labels=LABELS)
    params = random_params("panns", config)
    draft = folder.with_name("draft")
    single.save(single.Single("panns", config, params), draft)
    # Random weights say one class of all sounds: the bias brings their logits to 0.
    outputs = PANNs(draft)([np.pad(tone(i), (0, 2 * RATE - len(tone(i)))) for i in range(8)])
    middle = np.mean([output.logits for output in outputs], 0)
    params["classes"]["bias"] = params["classes"]["bias"] - middle
    single.save(single.Single("panns", config, params), folder)
    return folder


def tone(seed: int, seconds: float = 0.4) -> np.ndarray:
    """A tone in noise: float32 [samples], another one for each seed."""
    random = np.random.default_rng(seed)
    times = np.arange(int(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * random.uniform(200, 2000) * times)
    return (wave + 0.05 * random.standard_normal(len(times))).astype(np.float32)


def write_clips(folder: Path, count: int = 16, *, seed: int = 0, texts: bool = False) -> Path:
    """`count` clips clip00.wav ...; with `texts` captions and labels in metadata.csv."""
    folder.mkdir(parents=True)
    for i in range(count):
        save_audio(folder / f"clip{i:02}.wav", tone(1000 * seed + i), RATE)
    if texts:
        rows = [f"clip{i:02}.wav,a sound {i},{LABELS[i % 2]}" for i in range(count)]
        (folder / "metadata.csv").write_text("\n".join(["file_name,caption,labels", *rows]) + "\n")
    return folder
