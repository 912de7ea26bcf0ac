"""What the embedded model shows on prompts that training never saw, judged by others.

    python benchmarks/nano.py [--model nano] [--name full] [--folder nano] [--prompts 600]

The folder is that of `make nano`: it holds the judge (a classifier that no generator saw) and
held-out clips with their captions. Writes benchmarks/results/nano.json, a record for each NAME.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
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

from audioldm2_jax import Pipeline, features
from audioldm2_jax.checkpoints.random import random_checkpoint
from audioldm2_jax.data.encoders import mel_config
from audioldm2_jax.evaluation import attributes
from audioldm2_jax.evaluation.distances import frechet_distance, inception_score, kl_divergence
from audioldm2_jax.evaluation.judge import Judge
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.vae import VAE
from configs.nano.build import held_out

RESULTS = Path(__file__).parent / "results" / "nano.json"
BATCH = 20  # prompts generated at once
AMONG = 50  # clips that a prompt's own is to be found among
COUNTABLE = 0.9  # classes whose real clips are counted right as often count


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A held-out caption of one class, and the real clip that it is of."""

    caption: str
    label: str
    file: Path
    event: dict


def prompts_of(raw: Path, count: int, wanted=lambda event: True) -> list[Prompt]:
    """Captions that are held out, of clips of one class, as even over the classes as may be."""
    found = collections.defaultdict(list)
    for line in map(json.loads, (raw / "metadata.jsonl").read_text().splitlines()):
        caption = next((line[k] for k in ("caption_1", "caption_2") if held_out(line[k])), None)
        if line["kind"] == "one" and caption and wanted(line["events"][0]):
            label = line["labels"][0]
            found[label].append(Prompt(caption, label, raw / line["wav"], line["events"][0]))
    rounds = [list(of) for of in zip(*_even(found.values()))]
    return [prompt for one in rounds for prompt in one if prompt][:count]


def _even(lists) -> list[list]:
    """To one length, filled with None."""
    lists = [list(x) for x in lists]
    longest = max(map(len, lists))
    return [x + [None] * (longest - len(x)) for x in lists]


def real(prompts: list[Prompt]) -> np.ndarray:
    """The prompts' own clips: [N, samples]."""
    return np.stack([soundfile.read(prompt.file, dtype="float32")[0] for prompt in prompts])


def generated(pipe: Pipeline, prompts: list[Prompt], seconds: float, **asked) -> np.ndarray:
    """A clip for each prompt: [N, samples]."""
    waves = []
    for start in tqdm(range(0, len(prompts), BATCH), unit="batch", file=sys.stderr):
        texts = [prompt.caption for prompt in prompts[start : start + BATCH]]
        # One program for all batches: the last is filled up.
        full = texts + texts[-1:] * (BATCH - len(texts))
        out = pipe(full, seconds=seconds, first_clip=start, progress=False, **asked)
        waves.append(out.audio[: len(texts)])
    return np.concatenate(waves)


def reconstructed(pipe: Pipeline, waves: np.ndarray) -> np.ndarray:
    """Through the VAE (its mean) and the vocoder and back."""
    config = pipe.config

    @jax.jit
    def both(params, waves):
        mel = features.log_mel(waves, mel_config(config))
        vae = VAE(config.vae)
        mean, _ = vae.apply({"params": params["vae"]}, mel, method="encode")
        made = vae.apply({"params": params["vae"]}, mean, method="decode")
        return HiFiGAN(config.vocoder).apply({"params": params["vocoder"]}, made)

    pieces = [both(pipe.params, waves[i : i + BATCH]) for i in range(0, len(waves), BATCH)]
    return np.concatenate(pieces)[:, : waves.shape[1]]


def recognised(judge: Judge, logits: np.ndarray, prompts: list[Prompt]) -> float:
    """The share of clips whose first class is the prompt's."""
    top = logits.argmax(1)
    return float(np.mean([judge.labels[t] == p.label for t, p in zip(top, prompts)]))


def distances(judge: Judge, clips: dict[str, np.ndarray], reference: str) -> dict:
    """FD, KL and IS of each set of clips against the reference set."""
    heard = {name: judge(waves) for name, waves in clips.items()}
    embeddings, logits = heard[reference]
    return {
        name: {
            "FD": frechet_distance(embeddings, found[0]),
            "KL": kl_divergence(logits, found[1]),
            "IS": inception_score(found[1])[0],
        }
        for name, found in heard.items()
        if name != reference
    }


def closed(found: dict, metric: str) -> float:
    """The share of the way from untrained to reconstruction; nan if there is no way."""
    worst, best = found["untrained"][metric], found["reconstruction"][metric]
    return (worst - found["generated"][metric]) / (worst - best) if worst != best else np.nan


def retrieved(pipe: Pipeline, prompts: list[Prompt], waves: np.ndarray) -> float:
    """How often CLAP finds a prompt's own clip first among AMONG generated ones."""
    heard = pipe.audio_features(waves, 16000)
    read = pipe.text_features([prompt.caption for prompt in prompts])
    hits = []
    for start in range(0, len(prompts) - AMONG + 1, AMONG):
        group = slice(start, start + AMONG)
        hits += list((read[group] @ heard[group].T).argmax(1) == np.arange(AMONG))
    return float(np.mean(hits))


def pitched(prompts: list[Prompt], waves: np.ndarray) -> dict:
    """How many notes are hit within a semitone, and in another octave."""
    off = [
        attributes.semitones(attributes.pitch(wave, 16000), prompt.event["pitch"])
        for prompt, wave in zip(prompts, waves)
    ]
    off = np.nan_to_num(off, nan=99.0)
    octaves = np.abs(off - 12 * np.round(off / 12))
    return {
        "within a semitone": float(np.mean(np.abs(off) < 1)),
        "or octaves": float(np.mean(octaves < 1)),
    }


def counted(prompts: list[Prompt], waves: np.ndarray) -> float:
    """How often there are as many sounds as the caption says."""
    pairs = zip(prompts, waves)
    return float(np.mean([attributes.count(w, 16000) == p.event["count"] for p, w in pairs]))


def countable(raw: Path) -> set[str]:
    """Classes whose real clips are counted right: the others' sounds do not stand apart."""
    right = collections.defaultdict(list)
    for prompt in prompts_of(raw, 2000):
        wave, _ = soundfile.read(prompt.file, dtype="float32")
        right[prompt.label].append(attributes.count(wave, 16000) == prompt.event["count"])
    return {label for label, found in right.items() if np.mean(found) >= COUNTABLE}


def study(pipe: Pipeline, judge: Judge, folder: Path, count: int, asked: dict) -> dict:
    """All figures of one model."""
    raw = folder / "held-raw"
    prompts = prompts_of(raw, 2 * count)
    prompts, others = prompts[:count], prompts[count:]
    seconds = len(real(prompts[:1])[0]) / 16000
    made, own = generated(pipe, prompts, seconds, **asked), real(prompts)
    found = {"prompts": len(prompts), "classes": len({p.label for p in prompts})}
    heard = {"generated": made, "real": own, "reconstruction": reconstructed(pipe, own)}
    found["top-1"] = {name: recognised(judge, judge(w)[1], prompts) for name, w in heard.items()}
    found["top-1"]["chance"] = 1 / len(judge.labels)
    blank = random_checkpoint(pipe.config)
    untrained = Pipeline(dataclasses.replace(blank, tokenizers=pipe.tokenizers))
    heard["untrained"] = generated(untrained, prompts, seconds, **asked)
    heard["other real clips"] = real(others[:count])
    found["distances"] = distances(judge, heard, "real")
    found["gap closed"] = {m: closed(found["distances"], m) for m in ("FD", "KL", "IS")}
    found["retrieval"] = {"first of 50": retrieved(pipe, prompts, made), "chance": 1 / AMONG}
    found["attributes"] = controlled(pipe, raw, seconds, count, asked)
    return found


def controlled(pipe: Pipeline, raw: Path, seconds: float, count: int, asked: dict) -> dict:
    """Notes and numbers that captions name, measured on generated and on real clips."""
    clear = countable(raw)
    found = {"countable classes": len(clear)}
    lists = {
        "pitch": (prompts_of(raw, count, lambda e: e["note"]), pitched),
        "count": (
            prompts_of(raw, count, lambda e: e["class"] in clear and e["count"] > 1),
            counted,
        ),
    }
    for name, (prompts, measure) in lists.items():
        made = generated(pipe, prompts, seconds, **asked)
        found[name] = {
            "prompts": len(prompts),
            "generated": measure(prompts, made),
            "real": measure(prompts, real(prompts)),
        }
    return found


def ranking(pipe: Pipeline, judge: Judge, folder: Path, count: int, asked: dict) -> dict:
    """The judge's verdict on single clips, and on the best of several as CLAP ranks them."""
    prompts = prompts_of(folder / "held-raw", count)
    seconds, shares = len(real(prompts[:1])[0]) / 16000, {}
    for candidates in (1, 4):
        waves = generated(pipe, prompts, seconds, candidates=candidates, **asked)
        shares[f"{candidates} candidates"] = recognised(judge, judge(waves)[1], prompts)
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="nano", help="checkpoint to study")
    add("--name", default="full", help="of its record")
    add("--folder", type=Path, default=Path("nano"), help="the folder of `make nano`")
    add("--prompts", type=int, default=600)
    add("--steps", type=int, default=25)
    add("--guidance", type=float, default=None)
    options = parser.parse_args()
    asked = {"steps": options.steps, "guidance": options.guidance, "seed": 0}
    judge = Judge(options.folder / "models" / "tagger")
    pipe = Pipeline.from_pretrained(options.model, progress=False)
    found = study(pipe, judge, options.folder, options.prompts, asked)
    found["ranking"] = ranking(pipe, judge, options.folder, options.prompts // 4, asked)
    found |= {
        "asked": asked,
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {name: metadata.version(name) for name in ("jax", "flax")},
    }
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(kept | {options.name: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
