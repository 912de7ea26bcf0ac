"""What fitting the phases does for the embedded model's vocoder: clips recognised, tones held.

    python benchmarks/nano_phases.py [--model nano] [--folder nano]

Held-out clips go through the VAE and back with other numbers of steps and other strengths of the
noise with which they begin; none of them is among those that benchmarks/nano.py measures. Then
sines. Writes benchmarks/results/nano-phases.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

import jax
import numpy as np

from audioldm2_jax import Pipeline, files
from audioldm2_jax.evaluation.backbones.panns import Classifier
from audioldm2_jax.evaluation.metrics.accuracy import top_1_accuracy
from audioldm2_jax.evaluation.metrics.attributes import pitch, semitones
from audioldm2_jax.evaluation.metrics.frechet import frechet_distance
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.models import vocoding
from audioldm2_jax.presets import HiFiGANConfig
from benchmarks.nano import CLASSIFIER, read_clips, read_prompts, reconstruct_clips

RESULTS = Path(__file__).parent / "results" / "nano-phases.json"
FIRST, COUNT = 600, 200  # prompts; benchmarks/nano.py takes those before
# Noise beside the vocoder's phases, of strength 1; a thousand leaves nothing of them.
STARTS = {"vocoder": 0.0, "both": HiFiGANConfig.griffin_lim_noise, "noise": 1000.0}
TONES = (60, 80, 110, 220, 440, 880, 1760, 2000)  # Hz


def tones(pipe: Pipeline) -> dict[int, float]:
    """{Hz: semitones off} of steady sines, vocoded from their own mel."""
    config = pipe.config.vocoder
    times = np.arange(40960) / 16000
    waves = np.stack([0.3 * np.sin(2 * np.pi * hertz * times) for hertz in TONES])
    mel = log_mel(waves.astype(np.float32), mel_config(config))
    vocoded = jax.jit(lambda p, m: vocoding.vocode(config, p, m))(pipe.params["vocoder"], mel)
    pairs = zip(TONES, np.asarray(vocoded))
    return {hertz: semitones(pitch(wave, 16000), hertz) for hertz, wave in pairs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="checkpoint to study")
    parser.add_argument("--folder", type=Path, default=Path("nano"), help="that of `make nano`")
    options = parser.parse_args()
    prompts = read_prompts(options.folder / "held-raw", FIRST + COUNT)[FIRST:]
    targets = [prompt.label for prompt in prompts]
    real, classifier = read_clips(prompts), Classifier(CLASSIFIER)
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    reference = classifier(real)
    accuracy = top_1_accuracy(reference.logits, targets, classifier.labels)
    rows = {"real": {"recognised": accuracy, "FD": 0.0}}
    settings = [("vocoder", 0)] + [(start, steps) for start in STARTS for steps in (8, 16, 32)]
    for start, steps in settings:
        changes = {"griffin_lim": steps, "griffin_lim_noise": STARTS[start]}
        output = classifier(reconstruct_clips(pipe, real, **changes))
        rows[f"{start}, {steps} steps"] = {
            "recognised": top_1_accuracy(output.logits, targets, classifier.labels),
            "FD": frechet_distance(reference.embeddings, output.embeddings),
        }
        print(start, steps, rows[f"{start}, {steps} steps"], file=sys.stderr)
    record = {"clips": rows, "semitones off": tones(pipe), "date": str(datetime.date.today())}
    files.write_json(RESULTS, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
