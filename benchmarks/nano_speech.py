"""What the embedded model of speech says, on sentences that training never saw.

    python benchmarks/nano_speech.py [--model nano-speech] [--folder nano] [--sentences 500]

Each held-out clip of espeak-ng is said again by the model, from its words and a description of its
voice, and compared with it: how long it is, its rhythm, its mel along the best path of time, and
which phrases a listener (a classifier trained on espeak-ng's speech) hears. Beside the model: the
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

from audioldm2_jax import Pipeline
from audioldm2_jax.evaluation import speech
from audioldm2_jax.evaluation.judge import Judge
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.recipes.nano.build import drawn
from benchmarks.nano import as_written, clips_of, reconstructed

JUDGE = Path(__file__).parent / "judges" / "listener"
RESULTS = Path(__file__).parent / "results" / "nano-speech.json"
BATCH, RATE = 20, 16000


def sentences_of(raw: Path, count: int) -> list[dict]:
    """Clips whose sentences are held out."""
    return [line for line in clips_of(raw) if drawn(line["transcript"])][:count]


def said(pipe: Pipeline, clips: list[dict], **asked) -> np.ndarray:
    """The model's clips: [N, samples]."""
    waves = []
    for start in tqdm(range(0, len(clips), BATCH), unit="batch", file=sys.stderr):
        some = clips[start : start + BATCH]
        # One program for all batches: the last is filled up.
        full = some + some[-1:] * (BATCH - len(some))
        out = pipe(
            [clip["caption_1"] for clip in full],
            transcription=[clip["transcript"] for clip in full],
            first_clip=start,
            progress=False,
            **asked,
        )
        waves.append(out.audio[: len(some)])
    return as_written(np.concatenate(waves))


def compared(pipe: Pipeline, waves: np.ndarray, own: np.ndarray) -> dict:
    """Length, rhythm and mel against espeak-ng's clips."""
    config = mel_config(pipe.config.vocoder)
    mels = [np.asarray(log_mel(w, config)) for w in (waves, own)]
    spans = np.array([[speech.span(w, RATE) for w in clips] for clips in (waves, own)])
    lengths = spans[..., 1] - spans[..., 0]
    rhythms = [speech.rhythm(a, b, RATE) for a, b in zip(waves, own)]
    return {
        "seconds off": float(np.nanmean(np.abs(lengths[0] - lengths[1]))),
        "correlation of lengths": float(np.corrcoef(np.nan_to_num(lengths))[0, 1]),
        "correlation of envelopes": float(np.mean(np.nan_to_num(rhythms))),
        "mel distance": float(np.mean([speech.mel_distance(a, b) for a, b in zip(*mels)])),
    }


def heard(listener: Judge, waves: np.ndarray, clips: list[dict]) -> dict:
    """How often the listener hears the phrase that is said: who, did, what, of ten each."""
    logits, found = listener(waves)[1], {}
    for i, name in enumerate(("who", "did", "what")):
        known = sorted({clip["labels"][i] for clip in clips})
        columns = [listener.labels.index(label) for label in known]
        top = logits[:, columns].argmax(1)
        found[name] = float(np.mean([known[t] == c["labels"][i] for t, c in zip(top, clips)]))
    return found


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
    asked = {"steps": options.steps, "guidance": options.guidance}
    asked |= {"sampler": options.sampler, "seed": 0}
    raw = options.folder / "speech-held-raw"
    clips = sentences_of(raw, options.sentences)
    own = np.stack([soundfile.read(raw / clip["wav"], dtype="float32")[0] for clip in clips])
    listener = Judge(JUDGE)
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    waves = {
        "generated": said(pipe, clips, **asked),
        "reconstruction": reconstructed(pipe, own),
        "another sentence": np.roll(own, 1, 0),
        "real": own,
    }
    found = {
        name: compared(pipe, made, own) | {"heard": heard(listener, made, clips)}
        for name, made in waves.items()
    }
    record = found | {
        "sentences": len(clips),
        "different sentences": len({clip["transcript"] for clip in clips}),
        "asked": asked,
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {name: metadata.version(name) for name in ("jax", "flax")},
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
