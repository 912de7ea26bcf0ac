"""What the embedded model of speech says, on sentences that training never saw.

    python benchmarks/nano_speech.py [--model nano-speech] [--folder nano] [--sentences 500]

Each held-out clip of espeak-ng is said again by the model, from its words and a description of its
voice, and compared with it: how long it is, its rhythm, its mel along the best path of time, and
which phrases a classifier trained on espeak-ng's speech finds. Beside the model: the
VAE and the vocoder alone, and as chance another sentence of espeak-ng. Writes
benchmarks/results/nano-speech.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import soundfile
from tqdm import tqdm

from audioldm2_jax import Pipeline, files
from audioldm2_jax.encoders.latents import mel_front_end
from audioldm2_jax.evaluation.backbones.panns import Classifier
from audioldm2_jax.evaluation.metrics.accuracy import top_1_accuracy
from audioldm2_jax.evaluation.metrics.speech import compare_speech
from audioldm2_jax.evaluation.reconstruction import full_scale
from audioldm2_jax.features.mel import log_mel
from audioldm2_jax.recipes.nano.build import is_held_out
from benchmarks.nano import read_metadata, reconstruct_clips

CLASSIFIER = Path(__file__).parent / "judges" / "listener"
RESULTS = Path(__file__).parent / "results" / "nano-speech.json"
BATCH, SAMPLE_RATE = 20, 16000


def read_sentences(raw: Path, count: int) -> list[dict]:
    """The metadata of clips whose sentences are held out."""
    return [line for line in read_metadata(raw) if is_held_out(line["transcript"])][:count]


def generate_speech(pipe: Pipeline, clips: list[dict], **request) -> np.ndarray:
    """The model's clips: [N, samples]."""
    waves = []
    for start in tqdm(range(0, len(clips), BATCH), unit="batch", file=sys.stderr):
        batch = clips[start : start + BATCH]
        # The last batch is filled up: one compiled program serves all.
        padded = batch + batch[-1:] * (BATCH - len(batch))
        output = pipe(
            [clip["caption_1"] for clip in padded],
            transcription=[clip["transcript"] for clip in padded],
            first_clip=start,
            progress=False,
            **request,
        )
        waves.append(output.audio[: len(batch)])
    return full_scale(np.concatenate(waves))


def compare(pipe: Pipeline, waves: np.ndarray, references: np.ndarray) -> dict:
    """Length, rhythm and mel against espeak-ng's clips."""
    front_end = mel_front_end(pipe.config)
    mel = lambda clips: np.asarray(log_mel(clips, front_end))  # noqa: E731
    return compare_speech(waves, references, SAMPLE_RATE, mel)


def phrase_accuracy(classifier: Classifier, waves: np.ndarray, clips: list[dict]) -> dict:
    """How often the classifier finds the phrase that is said: who, did, what, of ten each."""
    logits, accuracy = classifier(waves).logits, {}
    for i, name in enumerate(("who", "did", "what")):
        phrases = sorted({clip["labels"][i] for clip in clips})
        columns = [classifier.labels.index(label) for label in phrases]
        targets = [clip["labels"][i] for clip in clips]
        accuracy[name] = top_1_accuracy(logits[:, columns], targets, phrases)
    return accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="nano-speech", help="checkpoint to study")
    add("--folder", type=Path, default=Path("nano"), help="the folder of `make nano`")
    add("--sentences", type=int, default=500)
    add("--steps", type=int, default=25)
    add("--guidance", type=float, default=None)
    add("--sampler", default=None, help="default the model's own")
    options = parser.parse_args()
    request = {"steps": options.steps, "guidance": options.guidance}
    request |= {"sampler": options.sampler, "seed": 0}
    raw = options.folder / "speech-held-raw"
    clips = read_sentences(raw, options.sentences)
    real = np.stack([soundfile.read(raw / clip["wav"], dtype="float32")[0] for clip in clips])
    classifier = Classifier(CLASSIFIER)
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    waves = {
        "generated": generate_speech(pipe, clips, **request),
        "reconstruction": reconstruct_clips(pipe, real),
        "another sentence": np.roll(real, 1, 0),
        "real": real,
    }
    results = {
        name: compare(pipe, wave, real) | {"heard": phrase_accuracy(classifier, wave, clips)}
        for name, wave in waves.items()
    }
    record = results | {
        "sentences": len(clips),
        "different sentences": len({clip["transcript"] for clip in clips}),
        "asked": request,
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {name: metadata.version(name) for name in ("jax", "flax")},
    }
    files.write_json(RESULTS, record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
