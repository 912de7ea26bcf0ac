"""Our evaluation against its peers: the same weights and clips, equal figures, and the time.

    python benchmarks/evaluation.py --audioldm_eval FOLDER --kadtk FOLDER --torchvggish FOLDER \
        --packages FOLDER [--clips 60] [--repeats 5] [--tables 3] [--values]

FOLDERs are clones of haoheliu/audioldm_eval, YoonjinXD/kadtk and harritaylor/torchvggish;
`pip install --no-deps --target PACKAGES torchaudio torchlibrosa resampy hypy-utils` installs what
they import. Weights are random, in the published files' layout, so that nothing is downloaded.
Each toolkit computes in its own processes. Writes benchmarks/results/evaluation-cpu.json and
prints the tables of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions, version
from pathlib import Path

import numpy as np
from timing import FOREIGN, compare, sample
from versus_diffusers import _processor

HERE = Path(__file__).parent
PEERS = ("audioldm_eval", "kadtk")
SECONDS, FEW, TARGET, TOLERANCE = 10, 12, 1.5, 1e-3
CNN14 = "Cnn14_16k_mAP=0.438.pth"
VGGISH, PCA = "vggish-10086976.pth", "vggish_pca_params-970ea276.pth"
NETWORKS = {"panns": "Cnn14", "vggish": "VGGish"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in (*PEERS, "torchvggish"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="a clone of the repository")
    parser.add_argument("--packages", type=Path, required=True, help="what the peers import")
    parser.add_argument("--clips", type=int, default=60, help="of each of the two sets")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each network's rate")
    parser.add_argument("--tables", type=int, default=3, help="samples of each whole table")
    parser.add_argument("--values", action="store_true", help="compares values, without timings")
    folder = Path(tempfile.gettempdir()) / "audioldm2-evaluation-benchmark"
    parser.add_argument("--folder", type=Path, default=folder, help="inputs are kept there")
    return parser.parse_args()


def write_clips(folder: Path, count: int) -> None:
    """Two sets of soundscapes, paired by name: 16 kHz mono, 32 and 44.1 kHz stereo in turn."""
    import soundfile

    from audioldm2_jax.audio import resample
    from audioldm2_jax.data.soundscapes import make_clip

    for seed, name in enumerate(("reference", "generated")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            wave, rate = make_clip(seed, i, seconds=SECONDS).audio, (16000, 32000, 44100)[i % 3]
            if rate > 16000:
                wave = resample(np.stack([wave, 0.5 * np.roll(wave, 80)]), 16000, rate).T
            soundfile.write(folder / name / f"{i:04}.wav", wave, rate, subtype="PCM_16")
    (folder / "few").mkdir()
    for path in sorted((folder / "reference").iterdir())[:FEW]:
        os.link(path, folder / "few" / path.name)
    for peer in PEERS:  # which write caches beside the clips
        for name in ("reference", "generated", "few"):
            shutil.copytree(folder / name, folder / peer / name, copy_function=os.link)


def cnn14_state() -> dict[str, np.ndarray]:
    """Cnn14 of 16 kHz with random weights, and the constants of torchlibrosa's front end.

    Activations neither vanish nor explode: a ReLU halves the power.
    """
    import librosa

    from audioldm2_jax.checkpoints.convert import from_params
    from audioldm2_jax.checkpoints.init import random_params
    from audioldm2_jax.checkpoints.parts import PARTS
    from audioldm2_jax.presets import PANNsConfig

    config = PANNsConfig()
    state = dict(from_params(random_params("panns", config), PARTS["panns"].table(config)))
    for key, value in state.items():
        if np.ndim(value) in (2, 4):
            state[key] = np.sqrt(2) * np.asarray(value)
    n = config.fft
    basis = np.fft.fft(np.eye(n))[: n // 2 + 1] * librosa.filters.get_window("hann", n)
    mel = librosa.filters.mel(
        sr=config.sample_rate, n_fft=n, n_mels=config.mels, fmin=config.low, fmax=config.high
    )
    return state | {
        "spectrogram_extractor.stft.conv_real.weight": basis.real[:, None].astype(np.float32),
        "spectrogram_extractor.stft.conv_imag.weight": basis.imag[:, None].astype(np.float32),
        "logmel_extractor.melW": mel.T,
    }


def vggish_state() -> dict[str, np.ndarray]:
    """torchvggish's tensors with random weights."""
    random, state = np.random.default_rng(0), {}
    channels = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512)}
    shapes = {f"features.{i}": (b, a, 3, 3) for i, (a, b) in (channels | {13: (512, 512)}).items()}
    widths = (512 * 4 * 6, 4096, 4096, 128)
    shapes |= {f"embeddings.{2 * i}": (widths[i + 1], widths[i]) for i in range(3)}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        state[f"{name}.weight"] = scale * random.standard_normal(shape, np.float32)
        state[f"{name}.bias"] = 0.1 * random.standard_normal(shape[0], np.float32)
    return state


def write_weights(folder: Path) -> None:
    """The files where each toolkit looks for its download."""
    import torch

    def tensors(state):
        arrays = {key: np.array(value, np.float32) for key, value in state.items()}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    (folder / "weights").mkdir(parents=True, exist_ok=True)
    torch.save({"model": tensors(cnn14_state())}, folder / "weights" / CNN14)
    torch.save(tensors(vggish_state()), folder / "weights" / VGGISH)
    pca = {"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(128, 1)}  # not used
    torch.save(pca, folder / "weights" / PCA)
    for place, name in {
        f"home/.cache/audioldm_eval/ckpt/{CNN14}": CNN14,
        "home/.cache/audioldm_eval/ckpt/Cnn14_mAP=0.431.pth": CNN14,  # only looked for
        f"kadtk/.model-checkpoints/{CNN14}": CNN14,
        f"home/torch/hub/checkpoints/{VGGISH}": VGGISH,
        f"home/torch/hub/checkpoints/{PCA}": PCA,
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / "weights" / name, folder / place)


def write_inputs(folder: Path, count: int) -> None:
    if not (folder / f"ready {count}").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_clips(folder, count)
        write_weights(folder)
        (folder / f"ready {count}").touch()


class Toolkit:
    """A toolkit in a process of its own."""

    def __init__(self, name: str, args, cache: Path):
        """cache: of compiled programs."""
        peers = {peer: str(getattr(args, peer).resolve()) for peer in (*PEERS, "torchvggish")}
        peers["packages"] = str(args.packages.resolve())
        settings = {"toolkit": name, "folder": str(args.folder.resolve()), "peers": peers}
        home = args.folder.resolve() / "home"
        environment = os.environ | {
            "EVALUATION_BENCHMARK": json.dumps(settings),
            "XDG_CACHE_HOME": str(cache),
            "TORCH_HOME": str(home / "torch"),
            "HF_HUB_OFFLINE": "1",
        }
        if name != "ours":
            environment["HOME"] = str(home)
        self.name, self.log = name, (args.folder / f"{name}.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "evaluation_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
        )

    def __call__(self, task: str):
        """What the toolkit answers to a task."""
        self.process.stdin.write(task + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: {task} failed; see {self.log.name}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def compare_values(ours: Toolkit, theirs: dict[str, Toolkit]) -> dict:
    """Each figure of both, and the relative difference."""
    rows: dict[str, dict] = {}
    for name, peer in theirs.items():
        mine, other = ours(name), peer(name)
        for metric in other:
            difference = abs(mine[metric] / other[metric] - 1)
            rows[f"{name}: {metric}"] = {
                "ours": mine[metric],
                "theirs": other[metric],
                "relative difference": difference,
                "equal": difference <= TOLERANCE,
            }
            print(f"{name}: {metric}", rows[f"{name}: {metric}"], flush=True)
    return rows


def cold(name: str, task: str, args, fresh: bool) -> tuple[float, float]:
    """Seconds of a whole table in a new process, from its start on; and others' share.

    fresh: without programs that earlier processes compiled.
    """

    def run():
        with Toolkit(name, args, cache) as toolkit:
            toolkit(task)

    cache = args.folder / "programs"
    if fresh:
        cache = Path(tempfile.mkdtemp(prefix="programs-", dir=args.folder))
    taken = sample(run)
    if fresh:
        shutil.rmtree(cache)
    return taken


def compare_cold(task: str, args) -> dict:
    """Whole tables of new processes, alternating: a first run, a later one, the peer."""
    samples: dict[str, list] = {"first": [], "later": [], "theirs": []}
    for _ in range(args.tables):
        for name, taken in samples.items():
            time.sleep(0.5)
            who = task if name == "theirs" else "ours"
            taken.append(cold(who, task, args, fresh=name == "first"))
    result = {}
    for name, taken in samples.items():
        clean = [wall for wall, foreign in taken if foreign <= FOREIGN]
        result[name] = statistics.median(clean or [wall for wall, _ in taken])
        result[f"{name}_samples"] = [round(wall, 2) for wall, _ in taken]
        result[f"{name}_clean"] = f"{len(clean)}/{args.tables}"
    for name in ("first", "later"):
        result[f"theirs / {name}"] = result["theirs"] / result[name]
    return result


def timings(ours: Toolkit, theirs: dict[str, Toolkit], args) -> dict:
    """Rates of networks, and whole tables, warm and cold."""
    rows = {}
    for name, peer in theirs.items():
        for network, title in NETWORKS.items():
            row = compare(
                lambda: ours(f"{network} {name}"), lambda: peer(network), repeats=args.repeats
            )
            row |= {f"{who} clips per second": FEW / row[who] for who in ("ours", "theirs")}
            row["theirs / ours"] = 1 / row.pop("ratio")
            rows[f"{name}: {title}"] = row
            print(f"{name}: {title}", row, flush=True)
        row = compare(lambda: ours(name), lambda: peer(name), repeats=args.tables)
        row["theirs / ours"] = 1 / row.pop("ratio")
        rows[f"{name}: table, warm"] = row
        print(f"{name}: table, warm", row, flush=True)
    return rows


def main():
    args = options()
    write_inputs(args.folder, args.clips)
    cache = args.folder / "programs"
    with (
        Toolkit("ours", args, cache) as ours,
        Toolkit("audioldm_eval", args, cache) as first,
        Toolkit("kadtk", args, cache) as second,
    ):
        theirs = {"audioldm_eval": first, "kadtk": second}
        values = compare_values(ours, theirs)
        if args.values:
            return
        seconds = timings(ours, theirs, args)
    for peer in PEERS:
        seconds[f"{peer}: table, new process"] = compare_cold(peer, args)
        print(peer, seconds[f"{peer}: table, new process"], flush=True)
    write_result(args, values, seconds)


def commit(folder: Path) -> str:
    """The commit of a clone, in short."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def write_result(args, values: dict, seconds: dict) -> None:
    """Writes the JSON file and prints the tables."""
    from audioldm2_jax import files

    theirs = {d.metadata["Name"]: d.version for d in distributions(path=[str(args.packages)])}
    result = {
        "date": datetime.date.today().isoformat(),
        "hardware": _processor(),
        "threads": os.cpu_count(),
        "clips": f"2 sets of {args.clips} of {SECONDS} s; 16 kHz mono, 32 and 44.1 kHz stereo",
        "clips_of_a_rate": FEW,
        "weights": "random, Cnn14 at 16 kHz and VGGish at their published sizes",
        "peers": {peer: commit(getattr(args, peer)) for peer in (*PEERS, "torchvggish")},
        "stand_ins": "torchaudio.load and .save by soundfile; torchaudio without its native "
        "library; empty modules for scikit-image and ssr_eval, which the figures do not use",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("jax", "torch", "numpy", "scipy", "soundfile")}
        | theirs,
        "values": values,
        "seconds": seconds,
    }
    (HERE / "results").mkdir(exist_ok=True)
    files.write_json(HERE / "results" / "evaluation-cpu.json", result)
    print_tables(result)


def print_tables(result: dict) -> None:
    """The tables of docs/evaluation.md."""
    print("| figure | ours | theirs | relative difference |\n| --- | --- | --- | --- |")
    for name, row in result["values"].items():
        numbers = f"{row['ours']:.6g} | {row['theirs']:.6g} | {row['relative difference']:.1e}"
        print(f"| {name} | {numbers} |")
    print("\n| what | ours, s | theirs, s | theirs / ours |\n| --- | --- | --- | --- |")
    for name, row in result["seconds"].items():
        for who in ("ours", "first", "later"):
            if who in row:
                title = name if who == "ours" else f"{name}, {who} run"
                ratio = row["theirs"] / row[who]
                print(f"| {title} | {row[who]:.2f} | {row['theirs']:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
