"""What the embedded model shows on prompts that training never saw, judged by others.

    python benchmarks/nano.py [--model nano] [--folder nano] [--prompts 600]
    python benchmarks/nano.py --ablations

The folder is that of `make nano`: it holds held-out clips with their captions (which
`python -m audioldm2_jax.recipes.nano.build --until corpora` makes alone) and the models of
recipes/nano/ablate.py. The judge is benchmarks/judges/panns, a classifier that no generator saw.
Writes benchmarks/results/nano.json: a record "model", and one for each ablation, the true language
of audio in place of GPT-2's among them.
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

from audioldm2_jax import Pipeline
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.evaluation import attributes
from audioldm2_jax.evaluation.distances import frechet_distance, inception_score, kl_divergence
from audioldm2_jax.evaluation.judge import Judge
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.models.vocoding import vocode
from audioldm2_jax.recipes.nano.ablate import RUNS
from audioldm2_jax.recipes.nano.build import held_out

JUDGE = Path(__file__).parent / "judges" / "panns"
RESULTS = Path(__file__).parent / "results" / "nano.json"
BATCH = 20  # prompts generated at once
AMONG = 50  # clips that a prompt's own is to be found among
CANDIDATES = 4
CONTROLLED = 200  # prompts whose pitch is measured, and as many whose sounds are counted
COUNTABLE = 0.9  # classes whose real clips are counted right as often count


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A held-out caption of one class, and the real clip that it is of."""

    caption: str
    label: str
    file: Path
    event: dict


def clips_of(raw: Path) -> list[dict]:
    """What a corpus' list says of each clip."""
    return list(map(json.loads, (raw / "metadata.jsonl").read_text().splitlines()))


def prompts_of(raw: Path, count: int, wanted=lambda event: True) -> list[Prompt]:
    """Captions that are held out, of clips of one class, as even over the classes as may be."""
    found = collections.defaultdict(list)
    for line in clips_of(raw):
        caption = next((line[k] for k in ("caption_1", "caption_2") if held_out(line[k])), None)
        if line["kind"] == "one" and caption and wanted(line["events"][0]):
            label = line["labels"][0]
            found[label].append(Prompt(caption, label, raw / line["wav"], line["events"][0]))
    rounds = [list(of) for of in zip(*_even(found.values()))]
    return [prompt for one in rounds for prompt in one if prompt][:count]


def others_of(raw: Path, prompts: list[Prompt]) -> list[Prompt]:
    """Each prompt with another real clip of its class."""
    taken, pool = {prompt.file for prompt in prompts}, collections.defaultdict(list)
    for line in clips_of(raw):
        if line["kind"] == "one" and (file := raw / line["wav"]) not in taken:
            pool[line["labels"][0]].append(file)
    return [dataclasses.replace(prompt, file=pool[prompt.label].pop()) for prompt in prompts]


def _even(lists) -> list[list]:
    """To one length, filled with None."""
    lists = [list(x) for x in lists]
    longest = max(map(len, lists))
    return [x + [None] * (longest - len(x)) for x in lists]


def real(prompts: list[Prompt]) -> np.ndarray:
    """The prompts' own clips: [N, samples]."""
    return np.stack([soundfile.read(prompt.file, dtype="float32")[0] for prompt in prompts])


def generated(pipe: Pipeline, prompts: list[Prompt], loa=None, **asked) -> np.ndarray:
    """A clip for each prompt, as long as in training: [N, samples]. loa: [N, K, D], not GPT-2's."""
    waves = []
    for start in tqdm(range(0, len(prompts), BATCH), unit="batch", file=sys.stderr):
        texts = [prompt.caption for prompt in prompts[start : start + BATCH]]
        # One program for all batches: the last is filled up.
        full = texts + texts[-1:] * (BATCH - len(texts))
        if loa is not None:
            asked["loa"] = loa[np.minimum(np.arange(start, start + BATCH), len(prompts) - 1)]
        out = pipe(full, first_clip=start, progress=False, **asked)
        waves.append(out.audio[: len(texts)])
    return as_written(np.concatenate(waves))


def as_written(waves: np.ndarray) -> np.ndarray:
    """Cut at full scale, as `--loudness raw` writes them: figures are of these."""
    return np.clip(waves, -1.0, 1.0)


def reconstructed(pipe: Pipeline, waves: np.ndarray, **changed) -> np.ndarray:
    """Through the VAE (its mean) and the vocoder and back. changed: the vocoder's settings."""
    config = dataclasses.replace(
        pipe.config, vocoder=dataclasses.replace(pipe.config.vocoder, **changed)
    )

    @jax.jit
    def both(params, waves):
        mel = log_mel(waves, mel_config(config.vocoder))
        vae = VAE(config.vae)
        mean, _ = vae.apply({"params": params["vae"]}, mel, method="encode")
        made = vae.apply({"params": params["vae"]}, mean, method="decode")
        return vocode(config.vocoder, params["vocoder"], made)

    pieces = [both(pipe.params, waves[i : i + BATCH]) for i in range(0, len(waves), BATCH)]
    return as_written(np.concatenate(pieces)[:, : waves.shape[1]])


def true_loas(model, waves: np.ndarray, pooling: int = 4) -> np.ndarray:
    """AudioMAE's language of clips: [N, K, D]."""
    found = hub.load(download.locate(model), only=("audiomae",))
    mae, config = found.params["audiomae"], found.config.audiomae
    encode = jax.jit(lambda w: audiomae_loa(mae, w, config, (pooling,)))
    pieces = [encode(waves[i : i + BATCH])[pooling] for i in range(0, len(waves), BATCH)]
    return np.concatenate(pieces)


def recognised(judge: Judge, logits: np.ndarray, prompts: list[Prompt]) -> float:
    """The share of clips whose first class is the prompt's."""
    top = logits.argmax(1)
    return float(np.mean([judge.labels[t] == p.label for t, p in zip(top, prompts)]))


def distances(heard: dict[str, tuple], reference: str) -> dict:
    """FD, KL and IS of each set of clips against the reference set, as the judge heard them."""
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
    prompts = prompts_of(raw, count)
    own = real(prompts)
    heard = {"generated": generated(pipe, prompts, **asked), "real": own}
    heard["reconstruction"] = reconstructed(pipe, own)
    heard["reconstruction, vocoder's phases"] = reconstructed(pipe, own, griffin_lim=0)
    heard["other real clips"] = real(others_of(raw, prompts))
    blank = random_checkpoint(pipe.config)
    untrained = Pipeline(dataclasses.replace(blank, tokenizers=pipe.tokenizers))
    heard["untrained"] = generated(untrained, prompts, **asked)
    found = judged(pipe, judge, prompts, heard)
    found["gap closed"] = {m: closed(found["distances"], m) for m in ("FD", "KL", "IS")}
    found["attributes"] = controlled(pipe, raw, min(count, CONTROLLED), asked)
    found["ranking"] = ranking(pipe, judge, prompts, own, asked)
    return found


def judged(pipe: Pipeline, judge: Judge, prompts: list[Prompt], heard: dict) -> dict:
    """Classes, distances and retrieval of the clips "generated", beside other sets of clips."""
    found = {"prompts": len(prompts), "classes": len({p.label for p in prompts})}
    verdicts = {name: judge(waves) for name, waves in heard.items()}
    found["top-1"] = {
        name: recognised(judge, logits, prompts) for name, (_, logits) in verdicts.items()
    }
    found["top-1"]["chance"] = 1 / len(judge.labels)
    found["distances"] = distances(verdicts, "real")
    hits = retrieved(pipe, prompts, heard["generated"])
    found["retrieval"] = {f"first of {AMONG}": hits, "chance": 1 / AMONG}
    return found


def ablations(judge: Judge, folder: Path, count: int, asked: dict) -> dict:
    """The same figures of the models of recipes/nano/ablate.py, and with the true LOA."""
    prompts, found = prompts_of(folder / "held-raw", count), {}
    own = real(prompts)
    truth = true_loas(folder / "ablations" / "full", own)
    for name in (*RUNS, "true LOA"):
        model = folder / "ablations" / ("full" if name == "true LOA" else name)
        pipe = Pipeline.from_pretrained(model, progress=False)
        loa = truth if name == "true LOA" else None
        made = generated(pipe, prompts, loa, **asked)
        found[name] = judged(pipe, judge, prompts, {"generated": made, "real": own})
        print(name, json.dumps(found[name]), file=sys.stderr)
    return found


def controlled(pipe: Pipeline, raw: Path, count: int, asked: dict) -> dict:
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
        made, own = generated(pipe, prompts, **asked), real(prompts)
        found[name] = {
            "prompts": len(prompts),
            "generated": measure(prompts, made),
            "reconstruction": measure(prompts, reconstructed(pipe, own)),
            "real": measure(prompts, own),
        }
    return found


def ranking(pipe: Pipeline, judge: Judge, prompts: list[Prompt], own, asked: dict) -> dict:
    """The judge's verdict on the best of several clips, as CLAP ranks them; own: the real ones."""
    several = generated(pipe, prompts, candidates=CANDIDATES, **asked)
    heard = judged(pipe, judge, prompts, {"generated": several, "real": own})
    return {"candidates": CANDIDATES} | {
        name: heard[name] for name in ("top-1", "distances", "retrieval")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="nano", help="checkpoint to study")
    add("--folder", type=Path, default=Path("nano"), help="the folder of `make nano`")
    add("--ablations", action="store_true", help="study those in the folder instead")
    add("--prompts", type=int, default=600)
    add("--steps", type=int, default=25)
    add("--guidance", type=float, default=None)
    add("--sampler", default=None, help="default the model's own")
    options = parser.parse_args()
    if options.prompts < AMONG:
        parser.error(f"--prompts {options.prompts}: retrieval takes {AMONG}")
    asked = {"steps": options.steps, "guidance": options.guidance}
    asked |= {"sampler": options.sampler, "seed": 0}
    judge = Judge(JUDGE)
    if options.ablations:
        records = ablations(judge, options.folder, options.prompts, asked)
    else:
        pipe = Pipeline.from_pretrained(options.model, progress=False)
        records = {"model": study(pipe, judge, options.folder, options.prompts, asked)}
    about = {
        "asked": asked,
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {name: metadata.version(name) for name in ("jax", "flax")},
    }
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    kept |= {name: record | about for name, record in records.items()}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
