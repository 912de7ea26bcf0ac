"""What the embedded model shows on prompts that training never saw, measured by a classifier.

    python benchmarks/nano.py [--model nano] [--folder nano] [--prompts 600]
    python benchmarks/nano.py --ablations

The folder is that of `make nano`: it holds held-out clips with their captions (which
`python -m audioldm2_jax.recipes.nano.build --until corpora` makes alone) and the models of
recipes/nano/ablate.py. The classifier is benchmarks/judges/panns, which no generator saw.
Writes benchmarks/results/nano.json: a record "model", and one for each ablation, the true language
of audio in place of GPT-2's among them.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import itertools
import json
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import soundfile
from tqdm import tqdm

from audioldm2_jax import Pipeline, files
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.evaluation.backbones.panns import Classifier
from audioldm2_jax.evaluation.metrics import attributes
from audioldm2_jax.evaluation.metrics.accuracy import top_1_accuracy
from audioldm2_jax.evaluation.metrics.retrieval import recall_at_1
from audioldm2_jax.evaluation.metrics.summary import distances, gap_closed
from audioldm2_jax.evaluation.reconstruction import full_scale, ground_truth_loa, reconstruct
from audioldm2_jax.recipes.nano.ablate import RUNS
from audioldm2_jax.recipes.nano.build import is_held_out_caption

CLASSIFIER = Path(__file__).parent / "judges" / "panns"
RESULTS = Path(__file__).parent / "results" / "nano.json"
SAMPLE_RATE = 16000
BATCH = 20  # prompts generated at once
RETRIEVAL_GROUP = 50
CANDIDATES = 4
CONTROLLED = 200  # prompts whose pitch is measured, and as many whose sounds are counted
COUNTABLE = 0.9  # classes whose real clips are counted right at least that often


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A held-out caption of one class, and the real clip that it describes."""

    caption: str
    label: str
    file: Path
    event: dict


def read_metadata(raw: Path) -> list[dict]:
    """Each clip's line of a corpus' metadata.jsonl."""
    return list(map(json.loads, (raw / "metadata.jsonl").read_text().splitlines()))


def read_prompts(
    raw: Path, count: int, accept: Callable[[dict], bool] = lambda event: True
) -> list[Prompt]:
    """`count` held-out captions of clips of one class, as evenly over the classes as possible.

    accept: of a clip's event, whether the clip counts.
    """
    by_label = collections.defaultdict(list)
    for line in read_metadata(raw):
        caption = next(
            (line[k] for k in ("caption_1", "caption_2") if is_held_out_caption(line[k])), None
        )
        if line["kind"] == "one" and caption and accept(line["events"][0]):
            label = line["labels"][0]
            by_label[label].append(Prompt(caption, label, raw / line["wav"], line["events"][0]))
    rounds = itertools.zip_longest(*by_label.values())
    return [prompt for one in rounds for prompt in one if prompt][:count]


def other_clips(raw: Path, prompts: list[Prompt]) -> list[Prompt]:
    """Each prompt with another real clip of its class."""
    taken, pool = {prompt.file for prompt in prompts}, collections.defaultdict(list)
    for line in read_metadata(raw):
        if line["kind"] == "one" and (file := raw / line["wav"]) not in taken:
            pool[line["labels"][0]].append(file)
    return [dataclasses.replace(prompt, file=pool[prompt.label].pop()) for prompt in prompts]


def read_clips(prompts: list[Prompt]) -> np.ndarray:
    """The prompts' real clips: [N, samples]."""
    return np.stack([soundfile.read(prompt.file, dtype="float32")[0] for prompt in prompts])


def generate(pipe: Pipeline, prompts: list[Prompt], loa=None, **request) -> np.ndarray:
    """A clip for each prompt, as long as in training: [N, samples]. loa: [N, K, D] for GPT-2's."""
    waves = []
    for start in tqdm(range(0, len(prompts), BATCH), unit="batch", file=sys.stderr):
        texts = [prompt.caption for prompt in prompts[start : start + BATCH]]
        # The last batch is filled up: one compiled program serves all.
        padded = texts + texts[-1:] * (BATCH - len(texts))
        if loa is not None:
            rows = np.minimum(np.arange(start, start + BATCH), len(prompts) - 1)
            request["loa"] = loa[rows]
        output = pipe(padded, first_clip=start, progress=False, **request)
        waves.append(output.audio[: len(texts)])
    return full_scale(np.concatenate(waves))


def reconstruct_clips(pipe: Pipeline, waves: np.ndarray, **vocoder) -> np.ndarray:
    """Through the VAE and the vocoder and back. vocoder: changes of its settings."""
    changed = dataclasses.replace(pipe.config.vocoder, **vocoder)
    config = dataclasses.replace(pipe.config, vocoder=changed)
    return reconstruct(pipe.params, waves, config, batch=BATCH)


def countable_classes(raw: Path) -> set[str]:
    """Classes whose real clips are counted right: the sounds of others do not stand apart."""
    hits = collections.defaultdict(list)
    for prompt in read_prompts(raw, 2000):
        wave, _ = soundfile.read(prompt.file, dtype="float32")
        count = attributes.count(wave, SAMPLE_RATE)
        hits[prompt.label].append(count == prompt.event["count"])
    return {label for label, hit in hits.items() if np.mean(hit) >= COUNTABLE}


def measure(
    pipe: Pipeline, classifier: Classifier, prompts: list[Prompt], clips: dict[str, np.ndarray]
) -> dict:
    """Accuracy, distances, retrieval. clips: {set: [N, samples]}, with "generated" and "real"."""
    outputs = {name: classifier(waves) for name, waves in clips.items()}
    targets = [prompt.label for prompt in prompts]
    accuracy = {
        name: top_1_accuracy(output.logits, targets, classifier.labels)
        for name, output in outputs.items()
    }
    text_features = pipe.text_features([prompt.caption for prompt in prompts])
    audio_features = pipe.audio_features(clips["generated"], SAMPLE_RATE)
    recall = recall_at_1(text_features, audio_features, RETRIEVAL_GROUP)
    return {
        "prompts": len(prompts),
        "classes": len(set(targets)),
        "top-1": accuracy | {"chance": 1 / len(classifier.labels)},
        "distances": distances(outputs, "real"),
        "retrieval": {f"first of {RETRIEVAL_GROUP}": recall, "chance": 1 / RETRIEVAL_GROUP},
    }


def measure_model(
    pipe: Pipeline, classifier: Classifier, folder: Path, count: int, request: dict
) -> dict:
    """All figures of one model."""
    raw = folder / "held-raw"
    prompts = read_prompts(raw, count)
    real = read_clips(prompts)
    clips = {"generated": generate(pipe, prompts, **request), "real": real}
    clips["reconstruction"] = reconstruct_clips(pipe, real)
    clips["reconstruction, vocoder's phases"] = reconstruct_clips(pipe, real, griffin_lim=0)
    clips["other real clips"] = read_clips(other_clips(raw, prompts))
    blank = random_checkpoint(pipe.config)
    untrained = Pipeline(dataclasses.replace(blank, tokenizers=pipe.tokenizers))
    clips["untrained"] = generate(untrained, prompts, **request)
    result = measure(pipe, classifier, prompts, clips)
    fields = "generated", "untrained", "reconstruction"
    result["gap closed"] = {
        metric: gap_closed(*(result["distances"][name][metric] for name in fields))
        for metric in ("FD", "KL", "IS")
    }
    result["attributes"] = measure_attributes(pipe, raw, min(count, CONTROLLED), request)
    result["ranking"] = measure_ranking(pipe, classifier, prompts, real, request)
    return result


def measure_ablations(classifier: Classifier, folder: Path, count: int, request: dict) -> dict:
    """The same figures of the models of `recipes.nano.ablate`, and with the ground-truth LOA."""
    prompts, results = read_prompts(folder / "held-raw", count), {}
    real = read_clips(prompts)
    checkpoint = hub.load(download.locate(folder / "ablations" / "full"), only=("audiomae",))
    mae, config = checkpoint.params["audiomae"], checkpoint.config.audiomae
    truth = ground_truth_loa(mae, real, config, pooling=4, batch=BATCH)
    for name in (*RUNS, "true LOA"):
        model = folder / "ablations" / ("full" if name == "true LOA" else name)
        pipe = Pipeline.from_pretrained(model, progress=False)
        loa = truth if name == "true LOA" else None
        generated = generate(pipe, prompts, loa, **request)
        clips = {"generated": generated, "real": real}
        results[name] = measure(pipe, classifier, prompts, clips)
        print(name, json.dumps(results[name]), file=sys.stderr)
    return results


def measure_attributes(pipe: Pipeline, raw: Path, count: int, request: dict) -> dict:
    """Notes and numbers that captions name, measured on generated and on real clips."""
    countable = countable_classes(raw)

    def pitch_accuracy(prompts, waves):
        pitches = [prompt.event["pitch"] for prompt in prompts]
        return attributes.pitch_accuracy(waves, pitches, SAMPLE_RATE)

    def count_accuracy(prompts, waves):
        counts = [prompt.event["count"] for prompt in prompts]
        return attributes.count_accuracy(waves, counts, SAMPLE_RATE)

    several = read_prompts(raw, count, lambda e: e["class"] in countable and e["count"] > 1)
    notes = read_prompts(raw, count, lambda e: e["note"])
    result = {"countable classes": len(countable)}
    for name, prompts, metric in (
        ("pitch", notes, pitch_accuracy),
        ("count", several, count_accuracy),
    ):
        generated, real = generate(pipe, prompts, **request), read_clips(prompts)
        result[name] = {
            "prompts": len(prompts),
            "generated": metric(prompts, generated),
            "reconstruction": metric(prompts, reconstruct_clips(pipe, real)),
            "real": metric(prompts, real),
        }
    return result


def measure_ranking(
    pipe: Pipeline, classifier: Classifier, prompts: list[Prompt], real, request: dict
) -> dict:
    """Figures of the best of several clips, as CLAP ranks them. real: the prompts' own clips."""
    best = generate(pipe, prompts, candidates=CANDIDATES, **request)
    result = measure(pipe, classifier, prompts, {"generated": best, "real": real})
    return {"candidates": CANDIDATES} | {
        name: result[name] for name in ("top-1", "distances", "retrieval")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="nano", help="checkpoint to measure")
    add("--folder", type=Path, default=Path("nano"), help="the folder of `make nano`")
    add("--ablations", action="store_true", help="measure those in the folder instead")
    add("--prompts", type=int, default=600)
    add("--steps", type=int, default=25)
    add("--guidance", type=float, default=None)
    add("--sampler", default=None, help="default the model's own")
    options = parser.parse_args()
    if options.prompts < RETRIEVAL_GROUP:
        parser.error(f"--prompts {options.prompts}: retrieval takes {RETRIEVAL_GROUP}")
    request = {"steps": options.steps, "guidance": options.guidance}
    request |= {"sampler": options.sampler, "seed": 0}
    classifier = Classifier(CLASSIFIER)
    if options.ablations:
        results = measure_ablations(classifier, options.folder, options.prompts, request)
    else:
        pipe = Pipeline.from_pretrained(options.model, progress=False)
        results = {
            "model": measure_model(pipe, classifier, options.folder, options.prompts, request)
        }
    protocol = {
        "asked": request,
        "date": str(datetime.date.today()),
        "hardware": f"{platform.processor() or platform.machine()}, {jax.device_count()} device",
        "versions": {name: metadata.version(name) for name in ("jax", "flax")},
    }
    records = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    records |= {name: result | protocol for name, result in results.items()}
    files.write_json(RESULTS, records)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
