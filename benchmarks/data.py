"""Reading: batches from ArrayRecord, by this package and by torch DataLoaders on the same files.

    python benchmarks/data.py [--cores 1 2] [--batches 40] [--repeats 5]

All read the same prepared corpora and compute the same of each clip: read the record, take a
random crop of 10.24 s, resample to 16 kHz, remove the mean, scale the peak, draw a caption,
tokenise it for CLAP and T5, stack the batch. One DataLoader has a plain Dataset with soundfile,
soxr, numpy and transformers. Another calls our functions, which isolates the loading machinery.
Samples alternate on the same cores. Writes benchmarks/results/data-cpu.json and prints
the tables of docs/data.md.
"""

from __future__ import annotations

import argparse
import datetime
import io
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
    """Prepares soundscapes, and pairs of them as longer stereo files of a higher rate."""
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
    """The tokenizers of transformers by encoder."""
    from audioldm2_jax.checkpoints.hub import read_tokenizer

    folders = {"clap": "tokenizer", "t5": "tokenizer_2"}
    return {name: read_tokenizer(folder / "tokenizers" / sub) for name, sub in folders.items()}


def clip_transform(folder: Path):
    """The transform that our streams and our functions in torch use."""
    from audioldm2_jax.data.loading import tokenise
    from audioldm2_jax.data.loading.transforms import ClipTransform

    known = tokenizers(folder).items()
    return ClipTransform(tokens={k: tokenise.from_tokenizer(v, LENGTHS[k]) for k, v in known})


class OurClips:
    """A Dataset for torch's DataLoader that calls our functions."""

    def __init__(self, folder: Path, transform):
        from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource

        self.examples, self.transform = ExampleSource(CorpusSource(str(folder))), transform

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        element = self.transform(self.examples[index], np.random.default_rng())
        return {key: value for key, value in element.items() if key != "transcript"}


class PlainClips(OurClips):
    """A plain Dataset: it reads the whole file, then crops it."""

    def __init__(self, folder: Path, transform):
        super().__init__(folder, transform)
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
        element = {"id": example["id"].decode(), "caption": caption, "waveform": wave}
        for name, tokenizer in self.tokenizers.items():
            settings = {"truncation": True, "padding": "max_length", "max_length": LENGTHS[name]}
            encoded = tokenizer(caption, **settings, return_tensors="np")
            element[f"{name}_tokens"] = encoded["input_ids"][0]
            element[f"{name}_mask"] = encoded["attention_mask"][0]
        return element


def theirs(clips, workers: int):
    """Yields batches of a DataLoader forever."""
    from torch.utils.data import DataLoader

    settings = {"num_workers": workers, "shuffle": True, "drop_last": True}
    if workers:
        settings |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(clips, BATCH, **settings)
    while True:
        yield from loader


def ours(folder: Path, transform, workers: int):
    """Yields batches of our stream forever."""
    from audioldm2_jax.data.loading.batches import Batches
    from audioldm2_jax.data.loading.stream import CorpusSource, DataConfig

    with Batches(
        DataConfig((CorpusSource(str(folder)),), BATCH, transform, workers=workers)
    ) as batches:
        yield from batches


def streams(folder: Path, transform, cores: int) -> dict:
    """The ways to read a corpus with `cores` cores."""
    plain, same = PlainClips(folder, transform), OurClips(folder, transform)
    return {
        "ours, threads": lambda: ours(folder, transform, 0),
        "ours, workers": lambda: ours(folder, transform, cores),
        "torch, no workers": lambda: theirs(plain, 0),
        "torch, workers": lambda: theirs(plain, cores),
        "torch with our functions, no workers": lambda: theirs(same, 0),
        "torch with our functions, workers": lambda: theirs(same, cores),
    }


def rate(stream, batches: int) -> tuple[float, float]:
    """Clips per second in the steady state, and the share of the machine that others used."""
    for _ in range(8):
        next(stream)
    seconds, foreign = sample(lambda: [next(stream) for _ in range(batches)])
    stream.close()
    return batches * BATCH / seconds, foreign


def compare(makers: dict, batches: int, repeats: int) -> dict:
    """Medians of clean samples in clips per second, alternating."""
    samples: dict[str, list] = {name: [] for name in makers}
    for _ in range(repeats):
        for name, make in makers.items():
            samples[name].append(rate(make(), batches))
    result = {}
    for name, pairs in samples.items():
        clean = [clips for clips, foreign in pairs if foreign <= FOREIGN]
        result[name] = round(statistics.median(clean or [clips for clips, _ in pairs]), 1)
        result[f"{name} samples"] = [round(clips, 1) for clips, _ in pairs]
        result[f"{name} clean"] = f"{len(clean)}/{repeats}"
    return result


def steps(folder: Path, transform, count: int = 96) -> dict:
    """Microseconds per clip of each step, in one thread."""
    from audioldm2_jax.audio import resample
    from audioldm2_jax.data.loading import crops
    from audioldm2_jax.data.loading.stream import CorpusSource, ExampleSource

    examples, rng = ExampleSource(CorpusSource(str(folder))), np.random.default_rng(0)
    seconds: dict[str, float] = {}

    def timed(name, run, *arguments):
        begin = time.perf_counter()
        output = run(*arguments)
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
        return output

    def clip(i):
        example = timed("read the record", examples.__getitem__, i % len(examples))
        wave, hertz = timed("decode a crop", crops.random_crop, example["audio"], 10.24, rng)
        wave = timed("resample", resample, wave[:, 0], hertz, 16000)
        wave = timed("normalise, pad", crops.normalise, wave, 163840)
        texts, _ = timed("draw and tokenise the caption", transform._texts, example, rng)
        return {"waveform": wave, **texts}

    def stack(group):
        return {key: np.stack([element[key] for element in group]) for key in group[0]}

    for start in range(-BATCH, count, BATCH):
        if not start:
            seconds.clear()  # the first batch is a warm-up
        timed("stack the batch", stack, [clip(start + i) for i in range(BATCH)])
    return {name: round(total / count * 1e6, 1) for name, total in seconds.items()}


def main():
    args = options()
    args.folder.mkdir(parents=True, exist_ok=True)
    write_corpora(args.folder)
    import grain
    import torch

    from audioldm2_jax import files

    transform, available = clip_transform(args.folder), sorted(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    rows: dict[str, dict] = {}
    shares = {name: steps(args.folder / name, transform) for name in CORPORA}
    for name in CORPORA:
        for cores in args.cores:
            os.sched_setaffinity(0, available[:cores])
            makers = streams(args.folder / name, transform, cores)
            rates = compare(makers, args.batches, args.repeats)
            best = {who: max(rates[k] for k in makers if k.split(",")[0] == who) for who in WHO}
            for who in WHO[1:]:
                rates[f"ours / {who}"] = round(best["ours"] / best[who], 3)
            rows[f"{name}, {cores} core{'s' if cores > 1 else ''}"] = rates
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
    files.write_json(HERE / "results" / "data-cpu.json", result)
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
    for row, rates in rows.items():
        cells = [f"{rates[k]:.2f}" if "/" in k else f"{rates[k]:.0f}" for k in names]
        print("|", " | ".join([row, *cells]), "|")
    print("\n| step, share of a clip's time |", " | ".join(CORPORA), "|")
    print("| --- " * (len(CORPORA) + 1) + "|")
    shares = result["microseconds_per_clip"]
    for step in next(iter(shares.values())):
        cells = []
        for rates in shares.values():
            cells.append(f"{100 * rates[step] / sum(rates.values()):.0f} % ({rates[step]:.0f} us)")
        print("|", " | ".join([step, *cells]), "|")


if __name__ == "__main__":
    main()
