"""From ArrayRecord to ready batches: ours against a plain torch DataLoader on the same files.

    python benchmarks/data.py [--cores 1 2] [--batches 40] [--repeats 5]

All read the same prepared corpora and make the same of each clip: read the record, take a random
crop of 10.24 s, resample to 16 kHz, take off the mean, scale the peak, draw a caption, number it
for CLAP and T5, stack the batch. One DataLoader has a Dataset as one would write it, with
soundfile, soxr, numpy and transformers; another calls our functions, so that only the machinery
differs. They alternate, held to the same cores. Writes benchmarks/results/data-cpu.json and prints
the tables of docs/data.md.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import FOREIGN, sample
from versus_diffusers import _processor

HERE = Path(__file__).parent
BATCH, LENGTHS = 16, {"clap": 77, "t5": 128}
WHO = ("ours", "torch", "torch with our functions")
CORPORA = {
    "16 kHz": "10.24 s, 16 kHz, mono FLAC",
    "44.1 kHz": "20.48 s, 44.1 kHz, stereo FLAC",
}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="numbers of cores")
    parser.add_argument("--batches", type=int, default=40, help="of a sample")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each")
    folder = Path(tempfile.gettempdir()) / "audioldm2-data-benchmark"
    parser.add_argument("--folder", type=Path, default=folder, help="corpora are kept there")
    return parser.parse_args()


def write_corpora(folder: Path) -> None:
    """Soundscapes as they are, and pairs of them as long stereo files of a higher rate."""
    from audioldm2_jax.audio import resample, save_audio
    from audioldm2_jax.cli.main import main
    from audioldm2_jax.data.soundscapes import build, make_clip
    from audioldm2_jax.data.untrained import write_random

    if (folder / "ready").is_file():
        return
    build.build(folder / "raw 16 kHz", 480, seconds=10.24)
    (folder / "raw 44.1 kHz").mkdir()
    for i in range(120):
        pair = [make_clip(1, 2 * i + j, seconds=20.48).audio for j in range(2)]
        wave = resample(np.stack(pair), 16000, 44100).T
        save_audio(folder / "raw 44.1 kHz" / f"{i}.flac", wave, 44100)
        (folder / "raw 44.1 kHz" / f"{i}.txt").write_text(f"soundscapes {2 * i} and {2 * i + 1}")
    for name in CORPORA:
        main(["prepare", str(folder / f"raw {name}"), str(folder / name), "-q"])
    write_random(folder / "tokenizers", "tiny")
    (folder / "ready").touch()


def tokenizers(folder: Path) -> dict:
    from audioldm2_jax.checkpoints.hub import read_tokenizer

    folders = {"clap": "tokenizer", "t5": "tokenizer_2"}
    return {name: read_tokenizer(folder / "tokenizers" / sub) for name, sub in folders.items()}


def transform(folder: Path):
    """What ours makes of a clip."""
    from audioldm2_jax.data.loading import tokenise
    from audioldm2_jax.data.loading.transforms import ClipTransform

    found = tokenizers(folder).items()
    return ClipTransform(tokens={k: tokenise.from_tokenizer(v, LENGTHS[k]) for k, v in found})


class OurClips:
    """The corpus as torch's DataLoader takes one, by our functions."""

    def __init__(self, folder: Path, made):
        from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource

        self.examples, self.transform = ExampleSource(CorpusSource(str(folder))), made

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        element = self.transform(self.examples[index], np.random.default_rng())
        return {key: value for key, value in element.items() if key != "transcript"}


class PlainClips(OurClips):
    """The same, as one would write it: the whole file is read, then cropped."""

    def __init__(self, folder: Path, made):
        super().__init__(folder, made)
        self.tokenizers = tokenizers(folder.parent)

    def __getitem__(self, index):
        import soundfile
        import soxr

        example, rng = self.examples[index], np.random.default_rng()
        wave, hertz = soundfile.read(io.BytesIO(example["audio"]), dtype="float32", always_2d=True)
        length = int(10.24 * hertz)
        for _ in range(10 if len(wave) > length else 0):
            start = int(rng.uniform(0, len(wave) - length))
            if np.abs(wave[start : start + length]).max() > 1e-4:
                wave = wave[start : start + length]
                break
        wave = wave[:length, 0]
        if hertz != 16000:
            wave = soxr.resample(wave, hertz, 16000, quality="HQ")
        wave = wave - wave.mean()
        wave = wave / (np.abs(wave).max() + 1e-8) * 0.5
        wave = np.pad(wave[:163840], (0, max(0, 163840 - len(wave))))
        caption = str(rng.choice([text.decode() for text in example["captions"]]))
        found = {"id": example["id"].decode(), "caption": caption, "waveform": wave}
        for name, tokenizer in self.tokenizers.items():
            settings = {"truncation": True, "padding": "max_length", "max_length": LENGTHS[name]}
            numbered = tokenizer(caption, **settings, return_tensors="np")
            found[f"{name}_tokens"] = numbered["input_ids"][0]
            found[f"{name}_mask"] = numbered["attention_mask"][0]
        return found


def theirs(clips, workers: int):
    """Endless batches of a DataLoader."""
    from torch.utils.data import DataLoader

    settings = {"num_workers": workers, "shuffle": True, "drop_last": True}
    if workers:
        settings |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(clips, BATCH, **settings)
    while True:
        yield from loader


def ours(folder: Path, made, workers: int):
    from audioldm2_jax.data.loading.batches import Batches
    from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig

    with Batches(DataConfig((CorpusSource(str(folder)),), BATCH, made, workers=workers)) as batches:
        yield from batches


def streams(folder: Path, made, cores: int) -> dict:
    """Ways to read a corpus with so many cores."""
    plain, same = PlainClips(folder, made), OurClips(folder, made)
    return {
        "ours, threads": lambda: ours(folder, made, 0),
        "ours, workers": lambda: ours(folder, made, cores),
        "torch, no workers": lambda: theirs(plain, 0),
        "torch, workers": lambda: theirs(plain, cores),
        "torch with our functions, no workers": lambda: theirs(same, 0),
        "torch with our functions, workers": lambda: theirs(same, cores),
    }


def rate(stream, batches: int) -> tuple[float, float]:
    """Clips per second once the buffers are empty, and the share of the machine others took."""
    for _ in range(8):
        next(stream)
    seconds, foreign = sample(lambda: [next(stream) for _ in range(batches)])
    stream.close()
    return batches * BATCH / seconds, foreign


def compare(makers: dict, batches: int, repeats: int) -> dict:
    """Medians of clean samples in clips per second, alternating."""
    taken: dict[str, list] = {name: [] for name in makers}
    for _ in range(repeats):
        for name, make in makers.items():
            taken[name].append(rate(make(), batches))
    found = {}
    for name, pairs in taken.items():
        clean = [clips for clips, foreign in pairs if foreign <= FOREIGN]
        found[name] = round(statistics.median(clean or [clips for clips, _ in pairs]), 1)
        found[f"{name} samples"] = [round(clips, 1) for clips, _ in pairs]
        found[f"{name} clean"] = f"{len(clean)}/{repeats}"
    return found


def steps(folder: Path, made, count: int = 96) -> dict:
    """Microseconds of each step for a clip, one after another in one thread."""
    from audioldm2_jax.audio import resample
    from audioldm2_jax.data.loading import crops
    from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource

    examples, rng = ExampleSource(CorpusSource(str(folder))), np.random.default_rng(0)
    found: dict[str, float] = {}

    def timed(name, run, *arguments):
        begin = time.perf_counter()
        result = run(*arguments)
        found[name] = found.get(name, 0.0) + time.perf_counter() - begin
        return result

    def clip(i):
        example = timed("read the record", examples.__getitem__, i % len(examples))
        wave, hertz = timed("decode a crop", crops.random_crop, example["audio"], 10.24, rng)
        wave = timed("resample", resample, wave[:, 0], hertz, 16000)
        wave = timed("normalise, pad", crops.normalise, wave, 163840)
        texts, _ = timed("draw and number the caption", made._texts, example, rng)
        return {"waveform": wave, **texts}

    def stacked(group):
        return {key: np.stack([element[key] for element in group]) for key in group[0]}

    for start in range(-BATCH, count, BATCH):
        if not start:
            found.clear()  # the first batch only warms up
        timed("stack the batch", stacked, [clip(start + i) for i in range(BATCH)])
    return {name: round(seconds / count * 1e6, 1) for name, seconds in found.items()}


def main():
    args = options()
    args.folder.mkdir(parents=True, exist_ok=True)
    write_corpora(args.folder)
    import grain
    import torch

    made, available = transform(args.folder), sorted(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    rows: dict[str, dict] = {}
    shares = {name: steps(args.folder / name, made) for name in CORPORA}
    for name in CORPORA:
        for cores in args.cores:
            os.sched_setaffinity(0, available[:cores])
            makers = streams(args.folder / name, made, cores)
            found = compare(makers, args.batches, args.repeats)
            best = {who: max(found[k] for k in makers if k.split(",")[0] == who) for who in WHO}
            for who in WHO[1:]:
                found[f"ours / {who}"] = round(best["ours"] / best[who], 3)
            rows[f"{name}, {cores} core{'s' if cores > 1 else ''}"] = found
            os.sched_setaffinity(0, available)
    result = {
        "date": datetime.date.today().isoformat(),
        "hardware": _processor(),
        "cores": len(available),
        "batch": BATCH,
        "corpora": CORPORA,
        "versions": {
            "python": platform.python_version(),
            "grain": grain.__version__ if hasattr(grain, "__version__") else _version("grain"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "soundfile": _version("soundfile"),
        },
        "clips_per_second": rows,
        "microseconds_per_clip": shares,
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "data-cpu.json").write_text(json.dumps(result, indent=2) + "\n")
    print_tables(result)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def print_tables(result):
    """The tables of docs/data.md."""
    print(f"{result['hardware']}, {result['date']}\n")
    rows = result["clips_per_second"]
    names = [k for k in next(iter(rows.values())) if not k.endswith(("samples", "clean"))]
    print("| clips, cores |", " | ".join(names), "|")
    print("| --- " * (len(names) + 1) + "|")
    for row, found in rows.items():
        cells = [f"{found[k]:.2f}" if "/" in k else f"{found[k]:.0f}" for k in names]
        print("|", " | ".join([row, *cells]), "|")
    print("\n| step, share of a clip's time |", " | ".join(CORPORA), "|")
    print("| --- " * (len(CORPORA) + 1) + "|")
    shares = result["microseconds_per_clip"]
    for step in next(iter(shares.values())):
        cells = []
        for found in shares.values():
            cells.append(f"{100 * found[step] / sum(found.values()):.0f} % ({found[step]:.0f} us)")
        print("|", " | ".join([step, *cells]), "|")


if __name__ == "__main__":
    main()
