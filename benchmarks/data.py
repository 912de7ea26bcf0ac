"""From ArrayRecord to ready batches: ours against a plain torch DataLoader on the same files.

    python benchmarks/data.py [--cores 1 2] [--batches 40] [--repeats 5]

Both read the same prepared corpora and do the same to each clip with the same functions: read the
record, decode a random crop of 10.24 s, resample to 16 kHz, take off the mean, scale the peak, draw a
caption, number it for CLAP and T5, stack the batch. They alternate, held to the same cores. Writes
benchmarks/results/data-cpu.json and prints the README's tables.
"""

from __future__ import annotations

import argparse
import datetime
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
    from audioldm2_jax.audio import resample, save_wav
    from audioldm2_jax.checkpoints.random import write_random
    from audioldm2_jax.cli.main import main
    from audioldm2_jax.data.soundscapes import build, make_clip

    if (folder / "ready").is_file():
        return
    build.build(folder / "raw 16 kHz", 480, seconds=10.24)
    (folder / "raw 44.1 kHz").mkdir()
    for i in range(120):
        pair = [make_clip(1, 2 * i + j, seconds=20.48).audio for j in range(2)]
        wave = resample(np.stack(pair), 16000, 44100).T
        save_wav(folder / "raw 44.1 kHz" / f"{i}.flac", wave, 44100)
        (folder / "raw 44.1 kHz" / f"{i}.txt").write_text(f"soundscapes {2 * i} and {2 * i + 1}")
    for name in CORPORA:
        main(["prepare", str(folder / f"raw {name}"), str(folder / name), "-q"])
    write_random(folder / "tokenizers", "tiny")
    (folder / "ready").touch()


def recipe(folder: Path):
    """What both make of a clip."""
    from audioldm2_jax.checkpoints.hub import read_tokenizer
    from audioldm2_jax.data import tokens
    from audioldm2_jax.data.elements import Recipe

    folders = {"clap": "tokenizer", "t5": "tokenizer_2"}
    numbered = {
        name: tokens.of_tokenizer(read_tokenizer(folder / "tokenizers" / sub), LENGTHS[name])
        for name, sub in folders.items()
    }
    return Recipe(tokens=numbered)


class Clips:
    """The corpus as torch's DataLoader takes one."""

    def __init__(self, folder: Path, made):
        from audioldm2_jax.data.pipeline import Examples, Source

        self.examples, self.recipe = Examples(Source(str(folder))), made

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        element = self.recipe(self.examples[index], np.random.default_rng())
        return {key: value for key, value in element.items() if key != "transcript"}


def theirs(folder: Path, made, workers: int):
    """Endless batches of a DataLoader."""
    from torch.utils.data import DataLoader

    settings = {"num_workers": workers, "shuffle": True, "drop_last": True}
    if workers:
        settings |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = DataLoader(Clips(folder, made), BATCH, **settings)
    while True:
        yield from loader


def ours(folder: Path, made, workers: int):
    from audioldm2_jax.data.batches import Batches
    from audioldm2_jax.data.pipeline import DataConfig, Source

    with Batches(DataConfig((Source(str(folder)),), BATCH, made, workers=workers)) as batches:
        yield from batches


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
    from audioldm2_jax.data import crops
    from audioldm2_jax.data.pipeline import Examples, Source

    examples, rng, found = Examples(Source(str(folder))), np.random.default_rng(0), {}
    elements = []

    def timed(name, run):
        begin = time.perf_counter()
        result = run()
        found[name] = found.get(name, 0.0) + time.perf_counter() - begin
        return result

    for i in range(count):
        example = timed("read the record", lambda: examples[i % len(examples)])
        wave, hertz = timed("decode a crop", lambda: crops.crop(example["audio"], 10.24, rng))
        wave = timed("resample", lambda: resample(wave[:, 0], hertz, 16000))
        wave = timed("normalise, pad", lambda: crops.fitted(crops.normalised(wave), 163840))
        texts = timed("draw and number the caption", lambda: made._texts(example, rng)[0])
        elements.append({"waveform": wave, **texts})
    for start in range(0, count, BATCH):
        group = elements[start : start + BATCH]
        timed("stack the batch", lambda: {k: np.stack([e[k] for e in group]) for k in group[0]})
    return {name: round(seconds / count * 1e6, 1) for name, seconds in found.items()}


def main():
    args = options()
    args.folder.mkdir(parents=True, exist_ok=True)
    write_corpora(args.folder)
    import grain
    import torch

    made, available = recipe(args.folder), sorted(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    rows: dict[str, dict] = {}
    shares = {name: steps(args.folder / name, made) for name in CORPORA}
    for name in CORPORA:
        for cores in args.cores:
            os.sched_setaffinity(0, available[:cores])
            folder = args.folder / name
            makers = {
                "ours, threads": lambda f=folder: ours(f, made, 0),
                "ours, workers": lambda f=folder, n=cores: ours(f, made, n),
                "torch, no workers": lambda f=folder: theirs(f, made, 0),
                "torch, workers": lambda f=folder, n=cores: theirs(f, made, n),
            }
            found = compare(makers, args.batches, args.repeats)
            best = {
                who: max(found[k] for k in makers if k.startswith(who)) for who in ("ours", "torch")
            }
            found["ratio"] = round(best["ours"] / best["torch"], 3)
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
    names = ("ours, threads", "ours, workers", "torch, no workers", "torch, workers")
    print(f"{result['hardware']}, {result['date']}\n")
    print("| clips, cores |", " | ".join(names), "| best of ours / best of torch |")
    print("| --- " * (len(names) + 2) + "|")
    for row, found in result["clips_per_second"].items():
        cells = [f"{found[name]:.0f}" for name in names]
        print("|", " | ".join([row, *cells, f"{found['ratio']:.2f}"]), "|")
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
