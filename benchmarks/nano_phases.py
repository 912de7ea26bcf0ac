"""What fitting the phases does for the embedded model's vocoder: clips recognised, tones held.

    python benchmarks/nano_phases.py [--model nano] [--folder nano]

Held-out clips go through the VAE and back with other numbers of steps and other strengths of the
noise with which they begin; none of them is among those that benchmarks/nano.py judges. Then sines.
Writes benchmarks/results/nano-phases.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path

import jax
import numpy as np

from audioldm2_jax import Pipeline
from audioldm2_jax.evaluation import attributes
from audioldm2_jax.evaluation.distances import frechet_distance
from audioldm2_jax.evaluation.judge import Judge
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.models import vocoding
from benchmarks.nano import JUDGE, prompts_of, real, recognised, reconstructed

RESULTS = Path(__file__).parent / "results" / "nano-phases.json"
FIRST, COUNT = 600, 200  # prompts; benchmarks/nano.py takes those before
# Noise beside the vocoder's phases, of strength 1; a thousand leaves nothing of them.
STARTS = {"vocoder": 0.0, "both": vocoding.NOISE, "noise": 1000.0}
TONES = (60, 80, 110, 220, 440, 880, 1760, 2000)  # Hz


def tones(pipe: Pipeline) -> dict[int, float]:
    """{Hz: semitones off} of steady sines, vocoded from their own mel."""
    config = pipe.config.vocoder
    times = np.arange(40960) / 16000
    waves = np.stack([0.3 * np.sin(2 * np.pi * hertz * times) for hertz in TONES])
    mel = log_mel(waves.astype(np.float32), mel_config(config))
    made = jax.jit(lambda p, m: vocoding.vocode(config, p, m))(pipe.params["vocoder"], mel)
    pairs = zip(TONES, np.asarray(made))
    return {f: attributes.semitones(attributes.pitch(wave, 16000), f) for f, wave in pairs}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="checkpoint to study")
    parser.add_argument("--folder", type=Path, default=Path("nano"), help="that of `make nano`")
    options = parser.parse_args()
    prompts = prompts_of(options.folder / "held-raw", FIRST + COUNT)[FIRST:]
    own, judge = real(prompts), Judge(JUDGE)
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    embeddings, logits = judge(own)
    rows = {"real": {"recognised": recognised(judge, logits, prompts), "FD": 0.0}}
    asked = [("vocoder", 0)] + [(start, steps) for start in STARTS for steps in (8, 16, 32)]
    for start, steps in asked:
        vocoding.NOISE = STARTS[start]
        found = judge(reconstructed(pipe, own, griffin_lim=steps))
        rows[f"{start}, {steps} steps"] = {
            "recognised": recognised(judge, found[1], prompts),
            "FD": frechet_distance(embeddings, found[0]),
        }
        print(start, steps, rows[f"{start}, {steps} steps"], file=sys.stderr)
    vocoding.NOISE = STARTS["both"]
    record = {"clips": rows, "semitones off": tones(pipe), "date": str(datetime.date.today())}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
