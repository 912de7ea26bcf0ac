"""The bundled model: a classifier recognises its clips, diffusers agrees, its size."""

import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AudioLDM2Pipeline, DDIMScheduler

from audioldm2_jax import Pipeline
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.data.soundscapes.voices import Voice, speak
from audioldm2_jax.evaluation.backbones.panns import Classifier
from audioldm2_jax.evaluation.metrics.speech import span
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.recipes.nano.build import is_held_out

CLASSIFIER = Path(__file__).parent.parent.parent / "benchmarks" / "judges" / "panns"
# Captions of the kinds that are learnt best; what is learnt at all: benchmarks/nano.py.
PROMPTS = {
    "loud rain": "rain",
    "a fast helicopter": "helicopter",
    "a quiet steam hiss": "steam",
    "cicadas": "cicadas",
    "a slow heartbeat": "heartbeat",
    "a wailing siren": "wailing_siren",
    "an idling motorcycle": "motorcycle",
    "applause": "applause",
}


@pytest.fixture(scope="module")
def pipe():
    return Pipeline.from_pretrained("nano", progress=False)


@pytest.mark.slow
def test_prompts_are_heard(pipe):
    """Most of these; chance is one in a hundred."""
    outputs = pipe(list(PROMPTS), steps=12, seed=0, progress=False)
    assert outputs.audio.shape == (len(PROMPTS), 40960)
    classifier = Classifier(CLASSIFIER)
    labels = [classifier.labels[i] for i in classifier(outputs.audio).logits.argmax(1)]
    assert sum(a == b for a, b in zip(labels, PROMPTS.values())) > len(PROMPTS) / 2, labels


@pytest.mark.slow
def test_same_in_diffusers():
    text, rng = "loud rain", np.random.default_rng(0)
    noise = rng.standard_normal((1, 32, 8, 8), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AudioLDM2Pipeline.from_pretrained(
            download.locate("nano"), torch_dtype=torch.float32
        )
    assert theirs.scheduler.config.algorithm_type == "sde-dpmsolver++"
    theirs.scheduler = DDIMScheduler.from_config(
        theirs.scheduler.config, clip_sample=False, set_alpha_to_one=False
    )
    theirs.set_progress_bar_config(disable=True)
    wanted = theirs(
        text,
        num_inference_steps=3,
        audio_length_in_s=2.56,
        latents=torch.tensor(noise).permute(0, 3, 1, 2),
    ).audios
    ours = Pipeline.from_pretrained("nano", convention="diffusers", dtype="fp32", progress=False)
    results = ours(
        [text], steps=3, sampler="ddim", seconds=2.56, latents=jnp.asarray(noise), progress=False
    )
    assert np.linalg.norm(results.audio - wanted) < 1e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", ["nano", "nano-speech"])
def test_of_its_preset(name):
    config = hub.read_config(download.locate(name), hub.convention_named("authors"))
    preset = PRESETS[name]()
    for part in ("clap", "t5", "phonemes", "projection", "gpt2", "unet", "vocoder", "audiomae"):
        assert getattr(config, part) == getattr(preset, part), part
    assert config.schedule == preset.schedule


@pytest.mark.slow
def test_speech_lasts_as_long_as_espeak_ng_s():
    """Of sentences that no training saw, at three speeds."""
    words = ["Our teacher found seven letters.", "The small child remembered two bicycles."]
    assert all(is_held_out(text) for text in words)
    manners = {" quickly": 215, "": 170, " slowly": 140}
    requested = [(text, manner) for text in words for manner in manners]
    theirs = [
        speak(text, Voice("man", "m3", manners[manner], 45, 50)) for text, manner in requested
    ]
    ours = Pipeline.from_pretrained("nano-speech", progress=False)(
        [f"a man speaks{manner}" for _, manner in requested],
        transcription=[text for text, _ in requested],
        progress=False,
    )
    lengths = np.array([[np.diff(span(w, 16000))[0] for w in ws] for ws in (ours.audio, theirs)])
    assert np.ptp(lengths[1]) > 0.6, "the sentences prove nothing"
    np.testing.assert_allclose(*lengths, atol=0.2)


def test_size():
    """All models of the package together."""
    place = download.locate("nano").parent
    assert sum(f.stat().st_size for f in place.rglob("*") if f.is_file()) < 60e6
